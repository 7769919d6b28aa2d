/* timer_spec.c - never early, hardly late, and cheap by the million. */
#include "support/spec.h"

#include "base/clock.h"
#include "base/random.h"
#include "loop/loop.h"
#include "loop/timer.h"

#include <stdlib.h>

static struct loop *loop;
static unsigned fired;

static int open_loop(void **state)
{
    (void)state;
    fired = 0;
    return loop_open("spec", &loop) == FAIL_OK ? 0 : -1;
}

static int close_loop(void **state)
{
    (void)state;
    clock_fake(0, 0);
    return (int)loop_close(loop, 100);
}

static void count(void *arg)
{
    (void)arg;
    fired++;
}

struct alarm {
    struct timer timer;
    uint64_t due_ns;
    unsigned *left;
    bool *done;
};

static void check_punctual(void *arg)
{
    struct alarm *alarm = arg;
    uint64_t now_ns = clock_mono_ns();
    assert_false(timer_is_set(&alarm->timer));
    assert_true(now_ns >= alarm->due_ns);                /* never early */
    assert_true(now_ns < alarm->due_ns + 100 * 1000000); /* nor late, on a machine busy with other specs */
    *alarm->done = --*alarm->left == 0;
}

static void timers_are_never_early_and_hardly_late(void **state)
{
    (void)state;
    enum { COUNT = 500 };
    struct alarm *alarms = calloc(COUNT, sizeof *alarms);
    unsigned left = COUNT;
    bool done = false;
    for (unsigned i = 0; i < COUNT; i++) {
        unsigned ms = (unsigned)(random_u64() % 700);
        alarms[i].left = &left;
        alarms[i].done = &done;
        alarms[i].due_ns = clock_mono_ns() + ms * UINT64_C(1000000);
        timer_start(loop, &alarms[i].timer, ms, check_punctual, &alarms[i]);
    }
    loop_turn(loop, 5000, &done);
    assert_int_equal(left, 0);
    free(alarms);
}

static void a_stopped_timer_does_not_fire(void **state)
{
    (void)state;
    struct timer timer = { 0 };
    timer_stop(&timer);
    assert_false(timer_is_set(&timer));
    timer_start(loop, &timer, 10, count, NULL);
    assert_true(timer_is_set(&timer));
    timer_stop(&timer);
    assert_false(timer_is_set(&timer));
    loop_turn(loop, 50, NULL);
    assert_int_equal(fired, 0);
}

/* With a clock that we move, years pass in a spec. */
static uint64_t fake_ms;
static void set_clock(uint64_t ms)
{
    fake_ms = ms;
    clock_fake(ms * 1000000, INT64_C(1700000000000000));
}
static int open_fake_loop(void **state)
{
    set_clock(1000); /* before the loop opens: time never runs backwards */
    return open_loop(state);
}
static void turn(void) { loop_turn(loop, 0, NULL); }

static void waits_of_every_length_end_within_a_tick(void **state)
{
    (void)state;
    set_clock(1000003);
    turn();
    for (uint64_t ms = 1; ms < UINT64_C(200) * 365 * 86400 * 1000 / 10; ms = ms * 3 + 1) {
        struct timer timer = { 0 };
        fired = 0;
        uint64_t start_ms = fake_ms;
        timer_start(loop, &timer, ms, count, NULL);
        for (uint64_t step = ms / 2; step > 0 && fake_ms + step < start_ms + ms; step /= 2) {
            set_clock(fake_ms + step);
            turn();
            assert_int_equal(fired, 0);
        }
        set_clock(start_ms + ms - 1);
        turn();
        assert_int_equal(fired, 0);
        set_clock(start_ms + ms + 5); /* one tick, and one millisecond for the rounding */
        turn();
        assert_int_equal(fired, 1);
    }
}

/* The wheel against a plain array of due times, with random steps of time. */
struct shadow {
    struct timer timer;
    uint64_t due_ms; /* 0: not set */
    unsigned number;
};
static struct shadow shadows[2000];

static void on_shadow(void *arg)
{
    struct shadow *shadow = arg;
    assert_true(shadow->due_ms != 0);
    assert_true(shadow->due_ms <= fake_ms);
    shadow->due_ms = 0;
    fired++;
    if (shadow->number % 3 == 0) { /* callbacks start and stop others, and themselves */
        struct shadow *other = &shadows[random_u64() % COUNT_OF(shadows)];
        other->due_ms = 0;
        timer_stop(&other->timer);
        uint64_t ms = random_u64() % 5000;
        shadow->due_ms = fake_ms + ms;
        timer_start(loop, &shadow->timer, ms, on_shadow, shadow);
    }
}

static void the_wheel_agrees_with_a_plain_table(void **state)
{
    (void)state;
    set_clock(UINT64_C(4) * 64 * 64 * 64 - 1000);
    turn();
    for (unsigned round = 0; round < 3000; round++) {
        for (unsigned i = 0; i < 50; i++) {
            unsigned number = (unsigned)(random_u64() % COUNT_OF(shadows));
            struct shadow *shadow = &shadows[number];
            shadow->number = number;
            if (random_u64() % 3 == 0) {
                shadow->due_ms = 0;
                timer_stop(&shadow->timer);
                continue;
            }
            uint64_t ms = random_u64() % (UINT64_C(1) << (random_u64() % 24));
            shadow->due_ms = fake_ms + ms;
            timer_start(loop, &shadow->timer, ms, on_shadow, shadow);
        }
        set_clock(fake_ms + random_u64() % (round % 50 == 0 ? 1000000 : 50));
        turn();
        for (unsigned i = 0; i < COUNT_OF(shadows); i++) {
            assert_int_equal(timer_is_set(&shadows[i].timer), shadows[i].due_ms != 0);
            assert_true(shadows[i].due_ms == 0 || shadows[i].due_ms + 5 >= fake_ms);
        }
    }
    assert_true(fired > 1000);
    for (unsigned i = 0; i < COUNT_OF(shadows); i++)
        timer_stop(&shadows[i].timer);
}

static void restart(void *arg)
{
    struct timer *timer = arg;
    fired++;
    timer_start(loop, timer, 0, restart, timer);
}

static void a_timer_that_restarts_itself_at_once_fires_once_a_turn(void **state)
{
    (void)state;
    struct timer timer = { 0 };
    set_clock(10000);
    turn();
    timer_start(loop, &timer, 0, restart, &timer);
    assert_int_equal(fired, 0);
    for (unsigned i = 1; i <= 10; i++) {
        set_clock(fake_ms + 10);
        turn();
        assert_int_equal(fired, i);
    }
    timer_stop(&timer);
}

static void putting_a_deadline_off_and_back_moves_it(void **state)
{
    (void)state;
    struct timer timer = { 0 };
    set_clock(20000);
    turn();
    timer_start(loop, &timer, 100, count, NULL);
    timer_start(loop, &timer, 5000, count, NULL);
    set_clock(24900);
    turn();
    assert_int_equal(fired, 0);
    timer_start(loop, &timer, 20, count, NULL);
    set_clock(24930);
    turn();
    assert_int_equal(fired, 1);
    set_clock(40000);
    turn();
    assert_int_equal(fired, 1);
}

static void a_start_and_a_stop_cost_well_below_a_microsecond(void **state)
{
    (void)state;
    enum { COUNT = 10000, ROUNDS = 100 };
    struct timer *timers = calloc(COUNT, sizeof *timers);
    uint64_t start_ns = clock_thread_cpu_ns();
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < COUNT; i++)
            timer_start(loop, &timers[i], 1000 + i, count, NULL);
        for (unsigned i = 0; i < COUNT; i++)
            timer_stop(&timers[i]);
    }
    double pair_ns = (double)(clock_thread_cpu_ns() - start_ns) / (COUNT * ROUNDS);
    start_ns = clock_thread_cpu_ns();
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned i = 0; i < COUNT; i++)
            timer_start(loop, &timers[i], 30000, count, NULL);
    double again_ns = (double)(clock_thread_cpu_ns() - start_ns) / (COUNT * ROUNDS);
    print_message("start and stop %.0f ns, put off %.0f ns\n", pair_ns, again_ns);
    for (unsigned i = 0; i < COUNT; i++)
        timer_stop(&timers[i]);
    assert_true(pair_ns < 5000); /* sanitizers included */
    free(timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(timers_are_never_early_and_hardly_late, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(a_stopped_timer_does_not_fire, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(waits_of_every_length_end_within_a_tick, open_fake_loop, close_loop),
        cmocka_unit_test_setup_teardown(the_wheel_agrees_with_a_plain_table, open_fake_loop, close_loop),
        cmocka_unit_test_setup_teardown(a_timer_that_restarts_itself_at_once_fires_once_a_turn, open_fake_loop,
                                        close_loop),
        cmocka_unit_test_setup_teardown(putting_a_deadline_off_and_back_moves_it, open_fake_loop, close_loop),
        cmocka_unit_test_setup_teardown(a_start_and_a_stop_cost_well_below_a_microsecond, open_loop, close_loop),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
