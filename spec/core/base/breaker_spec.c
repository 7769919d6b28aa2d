/* breaker_spec.c - who may ask, and when. */
#include "support/spec.h"

#include "base/breaker.h"

static const struct breaker_limits limits = { .failures_max = 3, .open_ms = 100, .open_ms_max = 300 };

static struct breaker open_breaker(uint64_t now_ms)
{
    struct breaker breaker;
    breaker_init(&breaker, limits);
    for (unsigned i = 0; i < 3; i++)
        breaker_failed(&breaker, now_ms);
    return breaker;
}

static void failures_in_a_row_open_it(void **state)
{
    (void)state;
    struct breaker breaker;
    breaker_init(&breaker, limits);
    breaker_failed(&breaker, 1);
    breaker_failed(&breaker, 2);
    breaker_worked(&breaker, 3); /* the row starts anew */
    breaker_failed(&breaker, 4);
    breaker_failed(&breaker, 5);
    assert_true(breaker_allows(&breaker, 5));
    assert_int_equal(breaker_retry_ms(&breaker, 5), 0);
    breaker_failed(&breaker, 6);
    assert_true(breaker_is_open(&breaker, 6));
    assert_false(breaker_allows(&breaker, 6));
    assert_int_equal(breaker_retry_ms(&breaker, 26), 80);
}

static void one_prober_goes_first(void **state)
{
    (void)state;
    struct breaker breaker = open_breaker(1000);
    assert_false(breaker_allows(&breaker, 1099));
    assert_true(breaker_allows(&breaker, 1100));
    assert_int_equal(breaker.state, BREAKER_HALF);
    assert_false(breaker_allows(&breaker, 1100));
    assert_true(breaker_is_open(&breaker, 1101));
    breaker_worked(&breaker, 1110);
    assert_int_equal(breaker.state, BREAKER_CLOSED);
    assert_true(breaker_allows(&breaker, 1110) && breaker_allows(&breaker, 1110));
}

static void each_failed_probe_doubles_the_wait_up_to_a_limit(void **state)
{
    (void)state;
    struct breaker breaker = open_breaker(0);
    static const uint64_t waits_ms[] = { 200, 300, 300 };
    uint64_t now_ms = 100;
    for (size_t i = 0; i < COUNT_OF(waits_ms); i++) {
        assert_true(breaker_allows(&breaker, now_ms));
        breaker_failed(&breaker, now_ms);
        assert_int_equal(breaker_retry_ms(&breaker, now_ms), waits_ms[i]);
        now_ms += waits_ms[i];
    }
    assert_true(breaker_allows(&breaker, now_ms));
    breaker_worked(&breaker, now_ms);
    for (unsigned i = 0; i < 3; i++)
        breaker_failed(&breaker, now_ms);
    assert_int_equal(breaker_retry_ms(&breaker, now_ms), 100); /* and short again after success */
}

static void a_lost_prober_does_not_close_the_door_for_ever(void **state)
{
    (void)state;
    struct breaker breaker = open_breaker(0);
    assert_true(breaker_allows(&breaker, 100));
    assert_false(breaker_allows(&breaker, 199));
    assert_true(breaker_allows(&breaker, 200));
}

static void results_from_before_it_opened_change_nothing(void **state)
{
    (void)state;
    struct breaker breaker = open_breaker(0);
    breaker_worked(&breaker, 10);
    breaker_failed(&breaker, 20);
    assert_true(breaker_is_open(&breaker, 99));
    assert_int_equal(breaker_retry_ms(&breaker, 99), 1);
}

static void too_many_failures_in_a_window_open_it(void **state)
{
    (void)state;
    struct breaker breaker;
    breaker_init(&breaker,
                 (struct breaker_limits){ .window_calls = 10, .window_failures = 5, .window_ms = 1000, .open_ms = 50 });
    for (unsigned i = 0; i < 4; i++) {
        breaker_failed(&breaker, 5000);
        breaker_worked(&breaker, 5000);
    }
    breaker_worked(&breaker, 5999);
    assert_true(breaker_allows(&breaker, 5999));
    breaker_failed(&breaker, 5999); /* the 10th call, the 5th failure */
    assert_true(breaker_is_open(&breaker, 5999));
}

static void a_new_window_forgets(void **state)
{
    (void)state;
    struct breaker breaker;
    breaker_init(&breaker,
                 (struct breaker_limits){ .window_calls = 2, .window_failures = 2, .window_ms = 1000, .open_ms = 50 });
    for (uint64_t now_ms = 0; now_ms < 20000; now_ms += 1000) {
        breaker_failed(&breaker, now_ms);
        assert_true(breaker_allows(&breaker, now_ms));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_in_a_row_open_it),
        cmocka_unit_test(one_prober_goes_first),
        cmocka_unit_test(each_failed_probe_doubles_the_wait_up_to_a_limit),
        cmocka_unit_test(a_lost_prober_does_not_close_the_door_for_ever),
        cmocka_unit_test(results_from_before_it_opened_change_nothing),
        cmocka_unit_test(too_many_failures_in_a_window_open_it),
        cmocka_unit_test(a_new_window_forgets),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
