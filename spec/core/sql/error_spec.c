/* error_spec.c - SQLSTATE decides what a consumer sees and what may be tried again. */
#include "support/spec.h"

#include "sql/error.h"

static void a_state_becomes_a_status(void **state)
{
    (void)state;
    static const struct {
        const char *state;
        int status;
        bool is_transient;
    } cases[] = {
        { "23505", 409, false }, { "23503", 409, false }, { "23502", 422, false }, { "23514", 422, false },
        { "23P01", 409, false }, { "22P02", 422, false }, { "22003", 422, false }, { "25006", 503, false },
        { "40000", 503, true },  { "40001", 503, true },  { "40P01", 503, true },  { "42501", 403, false },
        { "53100", 503, true },  { "53300", 503, true },  { "57P01", 503, true },  { "57P03", 503, true },
        { "08006", 503, true },  { "57014", 504, false }, { "55P03", 503, true },  { "42601", 500, false },
        { "XX000", 500, false }, { "23000", 500, false }, { "40002", 500, false }, { "", 500, false },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct sql_error error = { 0 };
        sql_error_set(&error, cases[i].state, "x");
        if (sql_error_status(&error) != cases[i].status || sql_error_is_transient(&error) != cases[i].is_transient)
            fail_msg("%s gives %d", cases[i].state, sql_error_status(&error));
    }
}

static void a_state_is_itself_and_its_class(void **state)
{
    (void)state;
    struct sql_error error = { 0 };
    assert_false(sql_error_is(&error, ""));
    sql_error_set(&error, "23505", "key %d", 7);
    assert_string_equal(error.text, "key 7");
    assert_true(sql_error_is(&error, "23505"));
    assert_true(sql_error_is(&error, "23"));
    assert_false(sql_error_is(&error, "22"));
    assert_false(sql_error_is(&error, "235050"));
}

static void setting_it_anew_forgets_all_but_that_it_was_sent(void **state)
{
    (void)state;
    struct sql_error error = { .sent = true, .detail = "old", .constraint = "old" };
    sql_error_set(&error, "08006", "gone");
    assert_true(error.sent);
    assert_string_equal(error.detail, "");
    assert_string_equal(error.constraint, "");
}

static void a_long_text_is_cut(void **state)
{
    (void)state;
    struct sql_error error = { 0 };
    char text[1000];
    memset(text, 'x', sizeof text);
    sql_error_set(&error, "XX000too long", "%.*s", (int)sizeof text, text);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    assert_string_equal(error.sqlstate, "XX000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_becomes_a_status),
        cmocka_unit_test(a_state_is_itself_and_its_class),
        cmocka_unit_test(setting_it_anew_forgets_all_but_that_it_was_sent),
        cmocka_unit_test(a_long_text_is_cut),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
