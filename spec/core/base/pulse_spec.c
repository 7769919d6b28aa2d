/* pulse_spec.c - a thread that computes is looked at, one that waits is not. */
#include "support/spec.h"

#include "base/clock.h"
#include "base/pulse.h"

#include <pthread.h>
#include <time.h>

static void count(void *arg) { (*(volatile unsigned *)arg)++; }

static void compute(unsigned ms)
{
    uint64_t end_ns = clock_thread_cpu_ns() + ms * UINT64_C(1000000);
    while (clock_thread_cpu_ns() < end_ns)
        continue;
}

static void who_computes_is_looked_at(void **state)
{
    (void)state;
    if (!pulse_beats())
        skip();
    volatile unsigned looks = 0;
    struct pulse pulse = { .look = count, .arg = (void *)&looks };
    struct pulse *before = pulse_enter(&pulse);
    compute(20 * PULSE_MS);
    pulse_leave(before);
    assert_in_range(looks, 3, 21);
}

static void who_waits_is_left_in_peace(void **state)
{
    (void)state;
    volatile unsigned looks = 0;
    struct pulse pulse = { .look = count, .arg = (void *)&looks };
    struct pulse *before = pulse_enter(&pulse);
    struct timespec wait = { .tv_nsec = 300 * 1000000L };
    assert_int_equal(nanosleep(&wait, NULL), 0); /* nor is the wait cut short */
    pulse_leave(before);
    assert_in_range(looks, 0, 1);
}

static void the_innermost_pulse_counts(void **state)
{
    (void)state;
    if (!pulse_beats())
        skip();
    volatile unsigned outer = 0, inner = 0;
    struct pulse of_outer = { .look = count, .arg = (void *)&outer },
                 of_inner = { .look = count, .arg = (void *)&inner };
    struct pulse *none = pulse_enter(&of_outer);
    assert_null(none);
    struct pulse *before = pulse_enter(&of_inner);
    assert_ptr_equal(before, &of_outer);
    compute(10 * PULSE_MS);
    assert_true(inner > 0);
    assert_int_equal(outer, 0);
    pulse_leave(before);
    compute(10 * PULSE_MS);
    assert_true(outer > 0);
    pulse_leave(none);
    unsigned seen = outer;
    compute(5 * PULSE_MS);
    assert_int_equal(outer, seen);
}

static void *compute_elsewhere(void *arg)
{
    volatile unsigned *looks = arg;
    struct pulse pulse = { .look = count, .arg = (void *)looks };
    struct pulse *before = pulse_enter(&pulse);
    compute(10 * PULSE_MS);
    pulse_leave(before);
    return NULL;
}

static void each_thread_has_its_own(void **state)
{
    (void)state;
    if (!pulse_beats())
        skip();
    for (int i = 0; i < 4; i++) {
        volatile unsigned looks = 0;
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, compute_elsewhere, (void *)&looks), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_true(looks > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_computes_is_looked_at),
        cmocka_unit_test(who_waits_is_left_in_peace),
        cmocka_unit_test(the_innermost_pulse_counts),
        cmocka_unit_test(each_thread_has_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
