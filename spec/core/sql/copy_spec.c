/* Which COPY is one between client and server is told by its text alone. */
#include "sql/copy.h"
#include "support/spec.h"

static void expect_copy(const char *text, enum sql_copy_way way)
{
    enum sql_copy_way found = SQL_COPY_IN;
    const char *why = "";
    if (sql_copy_check(str_of(text), &found, &why))
        fail_msg("%s: %s", text, why);
    assert_int_equal(found, way);
}

static void a_copy_between_client_and_server_is_one(void **state)
{
    (void)state;
    expect_copy("copy t from stdin", SQL_COPY_IN);
    expect_copy(" /* from 'x' */ COPY binary \"to\".t(\"from\", b) FROM -- a\n STDIN with (format csv) where a > 1;",
                SQL_COPY_IN);
    expect_copy("copy t to stdout", SQL_COPY_OUT);
    expect_copy(
        "copy (select a from t where b = ') to ''x''' and c in (select $$ from stdin $$)) to stdout (format binary)",
        SQL_COPY_OUT);
}

static void files_and_programs_of_the_server_are_out_of_reach(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "copy t from '/etc/passwd'",
        "copy t from program 'id'",
        "copy t to '/tmp/x'",
        "copy (select 1) to program 'cat'",
        "copy t from /* stdin */ '/etc/passwd' with (null 'stdin')",
        "copy t from \"stdin\"",
        "copy t from e'stdin'",
        "copy t to stdin",
        "copy t from stdout",
        "copy (select 1 from stdin) to 'x'",
        "copy t",
        "copy t from",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        enum sql_copy_way way;
        const char *why = NULL;
        if (sql_copy_check(str_of(texts[i]), &way, &why) != FAIL_INVALID)
            fail_msg("not refused: %s", texts[i]);
        assert_non_null(why);
    }
}

static void anything_but_one_copy_without_parameters_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = { "select 1 from stdin",
                                         "copy t from stdin; drop table t",
                                         "copy t from stdin where a = $1",
                                         "copy",
                                         "",
                                         "copy t from stdin where a = 'x" };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        enum sql_copy_way way;
        const char *why = NULL;
        if (sql_copy_check(str_of(texts[i]), &way, &why) != FAIL_INVALID)
            fail_msg("not refused: %s", texts[i]);
        assert_non_null(why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_between_client_and_server_is_one),
        cmocka_unit_test(files_and_programs_of_the_server_are_out_of_reach),
        cmocka_unit_test(anything_but_one_copy_without_parameters_is_refused),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
