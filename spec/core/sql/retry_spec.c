/* What may be run again, by whom, how often and when: no server is needed to say so. */
#include "sql/retry.h"

#include "support/spec.h"

static struct sql_error error_of(const char *sqlstate, bool again)
{
    struct sql_error error = { .again = again };
    sql_error_set(&error, sqlstate, "for the spec");
    error.again = again;
    return error;
}

static void what_was_rolled_back_may_be_run_again_by_anybody(void **state)
{
    (void)state;
    static const char *const undone[] = { "40001", "40P01", "40000" };
    for (int i = 0; i < 3; i++) {
        struct sql_error error = error_of(undone[i], false);
        assert_int_equal(sql_retry_fate(&error), SQL_FATE_UNDONE);
        assert_true(sql_retry_statement(&error, /* repeatable= */ false));
        assert_true(sql_retry_transaction(&error, false, 0));
        assert_true(sql_retry_transaction(&error, false, 2));
        assert_false(sql_retry_transaction(&error, false, 3));
    }
}

static void what_may_have_taken_place_is_run_again_only_where_twice_is_as_good_as_once(void **state)
{
    (void)state;
    static const char *const unknown[] = { "08006", "08007", "08001", "57P01", "57P02" };
    for (int i = 0; i < 5; i++) {
        struct sql_error error = error_of(unknown[i], false);
        assert_int_equal(sql_retry_fate(&error), SQL_FATE_UNKNOWN);
        assert_false(sql_retry_statement(&error, false));
        assert_true(sql_retry_statement(&error, true));
        assert_false(sql_retry_transaction(&error, false, 0));
        assert_true(sql_retry_transaction(&error, true, 0));
    }
}

static void a_stale_plan_is_told_from_what_is_not_supported_by_its_mark(void **state)
{
    (void)state;
    static const char *const states[] = { "0A000", "26000", "42P05", "57P01" };
    for (int i = 0; i < 4; i++) {
        struct sql_error marked = error_of(states[i], true), plain = error_of(states[i], false);
        assert_true(sql_retry_transaction(&marked, false, 0));
        assert_false(sql_retry_transaction(&plain, false, 0));
    }
}

static void everything_else_is_its_authors_business(void **state)
{
    (void)state;
    static const char *const refused[] = { "57014", "23505", "22012", "55P03", "53300", "57P03",
                                           "53100", "28P01", "40002", "40003", "25006", "" };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct sql_error error = error_of(refused[i], false);
        assert_false(sql_retry_statement(&error, true));
        assert_false(sql_retry_transaction(&error, true, 0));
    }
}

static void waits_have_full_jitter_under_a_bound_that_grows(void **state)
{
    (void)state;
    static const unsigned bounds_ms[] = { 10, 40, 160, 500, 500 };
    for (unsigned n = 0; n < 5; n++) {
        unsigned least = 1000, most = 0;
        for (uint64_t chance = 0; chance < 1000; chance++) {
            unsigned ms = sql_retry_wait_ms(n, chance);
            least = ms < least ? ms : least;
            most = ms > most ? ms : most;
        }
        assert_int_equal(least, 1);
        assert_int_equal(most, bounds_ms[n]);
    }
}

static unsigned spend_all(struct sql_retry_budget *budget, uint64_t now_ms)
{
    unsigned spent = 0;
    while (spent < 100000 && sql_retry_spend(budget, now_ms))
        spent++;
    return spent;
}

static void one_in_ten_of_the_last_ten_seconds_and_a_floor_may_be_run_again(void **state)
{
    (void)state;
    struct sql_retry_budget budget = { 0 };
    assert_int_equal(spend_all(&budget, 5000), SQL_RETRY_FLOOR);
    assert_int_equal(spend_all(&budget, 14999), 0);
    assert_int_equal(spend_all(&budget, 15000), SQL_RETRY_FLOOR); /* what was spent is ten seconds old */
    for (int i = 0; i < 1000; i++)
        sql_retry_note(&budget, 30000 + (uint64_t)i);
    assert_int_equal(spend_all(&budget, 31000), SQL_RETRY_FLOOR + 100);
    assert_int_equal(spend_all(&budget, 1000000), SQL_RETRY_FLOOR);
    assert_int_equal(spend_all(&budget, 999000), 0); /* a clock that stands or goes back gives nothing */
}

static void a_label_is_one_of_few(void **state)
{
    (void)state;
    assert_string_equal(sql_retry_label("40P01"), "40P01");
    assert_string_equal(sql_retry_label("08006"), "08006");
    assert_string_equal(sql_retry_label("12345"), "other");
    assert_string_equal(sql_retry_label(""), "other");
    for (unsigned i = 0; i < SQL_RETRY_LABELS; i++)
        assert_int_equal(sql_retry_label_number(sql_retry_label_at(i)), i);
    assert_string_equal(sql_retry_label_at(99), "other");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_rolled_back_may_be_run_again_by_anybody),
        cmocka_unit_test(what_may_have_taken_place_is_run_again_only_where_twice_is_as_good_as_once),
        cmocka_unit_test(a_stale_plan_is_told_from_what_is_not_supported_by_its_mark),
        cmocka_unit_test(everything_else_is_its_authors_business),
        cmocka_unit_test(waits_have_full_jitter_under_a_bound_that_grows),
        cmocka_unit_test(one_in_ten_of_the_last_ten_seconds_and_a_floor_may_be_run_again),
        cmocka_unit_test(a_label_is_one_of_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
