/* functions_spec.c - the functions of PostgreSQL, with the answers PostgreSQL 15 gives. */
#include "support/sqlite_world.h"

#include "base/uuid.h"

static struct world world;

static int open_world(void **state)
{
    (void)state;
    world_open(&world);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    world_close(&world);
    return 0;
}

/* What the expression gives, as JSON. */
static const char *value(const char *expression)
{
    static char out[512];
    char text[512];
    snprintf(text, sizeof text, "select (select %s) as v", expression);
    snprintf(out, sizeof out, "%s", ask(&world, text, ""));
    if (out[0] != '[')
        return out;
    out[strlen(out) - 2] = '\0';
    return out + strlen("[{\"v\":");
}

#define assert_value(expression, json)                           \
    do {                                                         \
        const char *is_ = value(expression);                     \
        if (strcmp(is_, json) != 0)                              \
            fail_msg("%s is %s, not %s", expression, is_, json); \
    } while (0)

static void time_is_truncated(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "microseconds", "2024-02-29 13:14:15.123456+02" },
        { "milliseconds", "2024-02-29 13:14:15.123+02" },
        { "second", "2024-02-29 13:14:15+02" },
        { "minute", "2024-02-29 13:14:00+02" },
        { "hour", "2024-02-29 13:00:00+02" },
        { "day", "2024-02-29 00:00:00+02" },
        { "week", "2024-02-26 00:00:00+02" },
        { "month", "2024-02-01 00:00:00+02" },
        { "quarter", "2024-01-01 00:00:00+02" },
        { "year", "2024-01-01 00:00:00+02" },
        { "decade", "2020-01-01 00:00:00+02" },
        { "century", "2001-01-01 00:00:00+02" },
        { "millennium", "2001-01-01 00:00:00+02" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char expression[128], expected[64];
        snprintf(expression, sizeof expression, "date_trunc('%s', '2024-02-29 13:14:15.123456+02')", cases[i][0]);
        snprintf(expected, sizeof expected, "\"%s\"", cases[i][1]);
        assert_value(expression, expected);
    }
    assert_value("date_trunc('week', '2021-01-03')", "\"2020-12-28 00:00:00\"");
    assert_value("date_trunc('week', '2024-03-04T10:00Z')", "\"2024-03-04T00:00:00Z\"");
    assert_value("date_trunc('HOUR', '2021-01-03T10:59')", "\"2021-01-03T10:00:00\"");
    assert_value("date_trunc('day', null)", "null");
    assert_value("date_trunc('day', 'yesterday')", "XX000");
    assert_value("date_trunc('fortnight', '2021-01-03')", "XX000");
}

static void text_functions_answer_as_postgresql_does(void **state)
{
    (void)state;
    assert_value("md5('')", "\"d41d8cd98f00b204e9800998ecf8427e\"");
    assert_value("md5('message digest')", "\"f96b697d7cb7938d525a2f31aaf161d0\"");
    assert_value("md5('12345678901234567890123456789012345678901234567890123456789012345678901234567890')",
                 "\"57edf4a22be3c955ac49da2e2107b67a\"");
    assert_value("md5(substr('12345678901234567890123456789012345678901234567890123456789012345', 1, 60))",
                 "\"c5b549377c826cc3712418b064fc417e\"");
    assert_value("md5(null)", "null");
    assert_value("starts_with('alphabet', 'alph')", "1");
    assert_value("starts_with('alphabet', 'Alph')", "0");
    assert_value("split_part('abc~@~def~@~ghi', '~@~', 2)", "\"def\"");
    assert_value("split_part('abc,def,ghi,jkl', ',', -2)", "\"ghi\"");
    assert_value("split_part('abc,def', ',', 3)", "\"\"");
    assert_value("split_part('abc,def', ',', -3)", "\"\"");
    assert_value("split_part('abc', '', 1)", "\"abc\"");
    assert_value("split_part('a,', ',', 2)", "\"\"");
    assert_value("split_part('a', ',', 0)", "XX000");
    assert_value("concat('a', null, 1, 2.5)", "\"a12.5\"");
    assert_value("concat_ws(',', 'abcde', 2, null, 22)", "\"abcde,2,22\"");
    assert_value("concat_ws(null, 'a')", "null");
    assert_value("concat_ws(',')", "\"\"");
}

static void the_greatest_and_the_least_ignore_null(void **state)
{
    (void)state;
    assert_value("greatest(1, null, 3, 2)", "3");
    assert_value("least(2, null, 1.5)", "1.5");
    assert_value("greatest(null, null)", "null");
    assert_value("greatest(9007199254740993, 9007199254740992)", "9007199254740993");
    assert_value("greatest(9007199254740993, 9007199254740992.0)", "9007199254740993");
    assert_value("least('b', 'a', 'ab')", "\"a\"");
}

static void percentiles_interpolate(void **state)
{
    (void)state;
    ask(&world, "create table p(v)", "");
    ask(&world, "insert into p values (1), (4), (2), (3), (null)", "");
    assert_value("percentile(v, 0.5) from p", "2.5");
    assert_value("percentile(v, 0) from p", "1");
    assert_value("percentile(v, 1) from p", "4");
    assert_value("percentile(v, 0.95) from p", "3.8499999999999996");
    assert_value("percentile(v, 0.5) from p where v > 9", "null");
    assert_value("percentile(v, 1.5) from p", "XX000");
    assert_value("percentile('x', 0.5) from p", "XX000");
}

static void uuids_and_time_are_made(void **state)
{
    (void)state;
    char uuid[64];
    snprintf(uuid, sizeof uuid, "%s", value("gen_random_uuid()"));
    assert_true(uuid_is(str_make(uuid + 1, UUID_LEN)));
    assert_value("count(distinct gen_random_uuid()) from (values (1), (2), (3))", "3");
    clock_fake(0, INT64_C(1709208000123456)); /* 2024-02-29 12:00:00.123456 */
    assert_value("now()", "\"2024-02-29 12:00:00.123456+00\"");
    clock_fake(0, 0);
    assert_value("count(distinct now()) from (values (1), (2), (3))", "1");
    ask(&world, "create table d(id text default (gen_random_uuid()), at timestamptz default (now()))", "");
    assert_string_equal(ask(&world, "insert into d default values returning length(id) as n, at > '2024' as new", ""),
                        "[{\"n\":36,\"new\":1}]");
}

/* SQLite would refuse a function that is not deterministic in an index. */
static void pure_functions_may_stand_in_an_index(void **state)
{
    (void)state;
    ask(&world, "create table i(a)", "");
    assert_string_equal(
        ask(&world, "create index by_md5 on i(md5(a), date_trunc('day', a), split_part(a, '-', 1))", ""), "[]");
    assert_string_equal(ask(&world, "create index by_now on i(now())", ""), "XX000");
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(time_is_truncated, open_world, close_world),
        cmocka_unit_test_setup_teardown(text_functions_answer_as_postgresql_does, open_world, close_world),
        cmocka_unit_test_setup_teardown(the_greatest_and_the_least_ignore_null, open_world, close_world),
        cmocka_unit_test_setup_teardown(percentiles_interpolate, open_world, close_world),
        cmocka_unit_test_setup_teardown(uuids_and_time_are_made, open_world, close_world),
        cmocka_unit_test_setup_teardown(pure_functions_may_stand_in_an_index, open_world, close_world),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
