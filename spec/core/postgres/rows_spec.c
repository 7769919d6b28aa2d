/* Rows as JSON are what PostgreSQL's own row_to_json makes of them. */
#include "world.h"

#include <unistd.h>

static int set_up(void **state)
{
    (void)state;
    if (!server_url())
        return 0;
    open_world_and_admin(settings_for(server_url()));
    return 0;
}

/* Our rows of the query, as JSON, against the server's own words for each row. */
static void expect_as_row_to_json(const char *query)
{
    char text[8192], oracle[1 << 16];
    snprintf(text, sizeof text,
             "select coalesce('[' || string_agg(row_to_json(q)::text, ',') || ']', '[]') from (%s) q", query);
    snprintf(oracle, sizeof oracle, "%s", outside(text));
    struct asked asked = { .is_done = false };
    ask(&asked, query, true);
    expect_ok(&asked);
    struct buf json;
    buf_init(&json, MEM_SQL, 0);
    sql_rows_add_json(&json, asked.call.rows);
    buf_add_char(&json, '\0');
    assert_string_equal(json.data, oracle);
    buf_clear(&json);
    drop_rows(&asked);
}

static void values_of_every_kind_read_as_row_to_json_writes_them(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char *const queries[] = {
        "select true as a, false as b, null::bool as c",
        "select 1::int2 as a, (-2147483648)::int4 as b, 9007199254740993::int8 as c, (-9223372036854775808)::int8 as d",
        "select 0.1::float4 as a, 1e-7::float8 as b, 'NaN'::float8 as c, '-Infinity'::float8 as d, 1e300::float8 as e, "
        "123456789012345678::float8 as f",
        "select 123456789012345678.90::numeric as a, 'NaN'::numeric as b, 1e-20::numeric as c, 100::numeric(10,2) as d",
        "select 'x'::text as a, '' as b, E'a\"b\\\\c\\n\\t\\u0001' as c, 'h\303\251'::varchar as d, 'ab'::char(4) as "
        "e, 'n'::name as f",
        "select '{\"a\": [1, 2.50, null]}'::json as a, '{\"b\":1e2}'::jsonb as b, 'null'::jsonb as c",
        "select '2026-11-23 14:02:22.123456'::timestamp as a, '2026-11-23 14:02:22.5+02'::timestamptz as b, "
        "'infinity'::timestamptz as c",
        "select '2026-11-23'::date as a, '14:02:22'::time as b, '14:02:22+05:30'::timetz as c, '1 year 2 days "
        "03:04:05'::interval as d",
        "select '0001-01-01 BC'::date as a, '0044-03-15 12:00 BC'::timestamp as b",
        "select '\\xdeadbeef'::bytea as a, ''::bytea as b",
        "select '5a0b8a5e-3f2b-4d8c-9a54-1d2e3f4a5b6c'::uuid as a, '10.0.0.1/8'::inet as b, "
        "'08:00:2b:01:02:03'::macaddr as c, b'101' as d",
        "select 5::oid as a, '(1,2)'::point as b, '[1,5)'::int4range as c, 12.5::money as d, 'a b'::tsvector as e",
        "select array[1,2,null]::int4[] as a, array['x','y \"z\"',null,'']::text[] as b, '{}'::int8[] as c, "
        "array[[1,2],[3,4]] as d",
        "select array[true,null] as a, array[1.5,'NaN']::float8[] as b, array['{\"a\":1}']::jsonb[] as c, "
        "array['2026-11-23 01:02:03+00']::timestamptz[] as d",
        "select array['5a0b8a5e-3f2b-4d8c-9a54-1d2e3f4a5b6c']::uuid[] as a, array['2026-01-01']::date[] as b, "
        "array['\\x00ff']::bytea[] as c",
        "select 1 as \"quo\"\"te\", 2 as \"sp ace\", 3 as \"uml\303\244ut\"",
        "select i, 'row ' || i as name from generate_series(1, 500) i",
        "select 1 as a where false",
    };
    for (size_t i = 0; i < COUNT_OF(queries); i++)
        expect_as_row_to_json(queries[i]);
}

/* The text is the same, the server sees no reason to refuse it, and the columns are others. */
static void a_cursor_of_the_same_name_has_columns_of_its_own(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const struct {
        const char *cursor, *json;
    } cases[] = {
        { "declare c cursor for select 1 as a, 2 as b", "[{\"a\":1,\"b\":2}]" },
        { "declare c cursor for select 'x'::text as a, 'y'::text as b", "[{\"a\":\"x\",\"b\":\"y\"}]" },
        { "declare c cursor for select 'x'::text as c, 'y'::text as d", "[{\"c\":\"x\",\"d\":\"y\"}]" },
    };
    struct leased leased;
    struct sql_session *session = begin(&leased);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct asked asked = { .is_done = false };
        run_in(session, cases[i].cursor);
        ask_in(session, &asked, "fetch 10 from c");
        expect_ok(&asked);
        struct buf json;
        buf_init(&json, MEM_SQL, 0);
        sql_rows_add_json(&json, asked.call.rows);
        buf_add_char(&json, '\0');
        assert_string_equal(json.data, cases[i].json);
        buf_clear(&json);
        drop_rows(&asked);
        run_in(session, "close c");
    }
    sql_session_end(session);
}

static void a_result_tells_how_many_rows_a_write_changed(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const struct {
        const char *text;
        int64_t changed;
        size_t rows;
    } cases[] = {
        { "drop table if exists rows_spec", 0, 0 },
        { "create table rows_spec(i int)", 0, 0 },
        { "insert into rows_spec select generate_series(1, 12)", 12, 0 },
        { "update rows_spec set i = i + 1 where i > 2 returning i", 10, 10 },
        { "delete from rows_spec where i > 100", 0, 0 },
        { "select * from rows_spec", -1, 12 },
        { "drop table rows_spec", 0, 0 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct asked asked = { .is_done = false };
        ask(&asked, cases[i].text, false);
        expect_ok(&asked);
        assert_int_equal(asked.call.rows->changed, cases[i].changed);
        assert_int_equal(asked.call.rows->row_count, cases[i].rows);
        drop_rows(&asked);
    }
}

static void rows_outlive_their_connection_and_engine(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked asked = { .is_done = false };
    ask(&asked, "select 42 as answer, 'x' as letter", true);
    expect_ok(&asked);
    close_engine();
    assert_int_equal(sql_rows_cell(asked.call.rows, 0, 0).integer, 42);
    assert_int_equal(sql_rows_find(asked.call.rows, STR("letter")), 1);
    assert_text(sql_rows_cell(asked.call.rows, 0, 1).text, "x");
    drop_rows(&asked);
}

static void a_result_over_its_limit_is_refused_and_the_connection_serves_on(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char *const texts[] = { "select repeat('x', 1000) from generate_series(1, 200)",
                                         "select repeat('x', 1000) from generate_series(1, 200000)" };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct asked asked = { .is_done = false };
        prepare_call(&asked, texts[i], 0);
        asked.call.bytes_max = 100000;
        sql_run(world.engine, &asked.call);
        expect_error(&asked, FAIL_SQL, "54000");
        assert_string_equal(run("select 7"), "7");
    }
}

/* Half of it waits in the socket when it is first looked at, and is counted once nevertheless. */
static void a_result_below_the_limit_is_given_however_it_arrives(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked asked = { .is_done = false };
    for (int round = 0; round < 3; round++) {
        prepare_call(&asked, "select repeat('x', 1000) from generate_series(1, 16000)", 0);
        asked.call.bytes_max = 24 << 20;
        sql_run(world.engine, &asked.call);
        turn(0);
        usleep(100 * 1000);
        expect_ok(&asked);
        assert_int_equal(asked.call.rows->row_count, 16000);
        drop_rows(&asked);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_of_every_kind_read_as_row_to_json_writes_them, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_cursor_of_the_same_name_has_columns_of_its_own, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_result_tells_how_many_rows_a_write_changed, set_up, close_world),
        cmocka_unit_test_setup_teardown(rows_outlive_their_connection_and_engine, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_result_over_its_limit_is_refused_and_the_connection_serves_on, set_up,
                                        close_world),
        cmocka_unit_test_setup_teardown(a_result_below_the_limit_is_given_however_it_arrives, set_up, close_world),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
