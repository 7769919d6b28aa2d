/* Quick reads share connections, and one that is slow keeps none of them: whether it is known to be, is asked for the first time, or used
 * to be quick until somebody locked its table. */
#include "postgres/batch.h"
#include "world.h"

#include <stdlib.h>

enum { QUICK = 16, SAMPLES_MAX = 1 << 20, BOUND_MS = 20, HOLD_MS = 500 };
static struct asked quick[QUICK], slow[64];
static uint64_t took_ns[SAMPLES_MAX];
static unsigned samples;

static int set_up(void **state)
{
    (void)state;
    if (!server_url())
        return 0;
    struct postgres_settings settings = settings_for(server_url());
    settings.min_size = 4;
    settings.max_size = 20;
    open_world_and_admin(settings);
    outside("drop table if exists batch_spec; create table batch_spec as select i from generate_series(1, 10) i");
    turn_until(2000, front_connections() == 4);
    return 0;
}

/* --- quick reads, as fast as they are answered ---------------------------------------------------------------- */

static void ask_quick(struct asked *asked, int64_t n)
{
    prepare_call(asked, "select $1::int as n", 1);
    asked->params[0] = (struct sql_value){ .type = SQL_INT, .integer = n };
    asked->call.read_only = true;
    sql_run(world.engine, &asked->call);
}

/* Where the time of the answer is known: from within on_done. */
static void on_quick(struct sql_call *call)
{
    struct asked *asked = call->arg;
    if (samples < SAMPLES_MAX)
        took_ns[samples++] = clock_mono_ns() - call->submitted_ns;
    asked->is_done = true;
}

static void go_round(void)
{
    turn(2);
    for (int i = 0; i < QUICK; i++) {
        if (!quick[i].is_done)
            continue;
        expect_ok(&quick[i]);
        assert_int_equal(sql_rows_cell(quick[i].call.rows, 0, 0).integer, i);
        drop_rows(&quick[i]);
        ask_quick(&quick[i], i);
        quick[i].call.on_done = on_quick;
    }
}

static void go_round_for(unsigned ms)
{
    for (uint64_t end_ms = clock_mono_ms() + ms; clock_mono_ms() < end_ms;)
        go_round();
}

static void start_quick(void)
{
    samples = 0;
    for (int i = 0; i < QUICK; i++)
        quick[i] = (struct asked){ .is_done = false };
    for (int times = 0; times < 2; times++) /* the first answer says how quick they are */
        for (int i = 0; i < QUICK; i++) {
            ask_quick(&quick[i], i);
            expect_ok(&quick[i]);
            drop_rows(&quick[i]);
        }
    for (int i = 0; i < QUICK; i++) {
        ask_quick(&quick[i], i);
        quick[i].call.on_done = on_quick;
    }
}

static void end_quick(void)
{
    for (int i = 0; i < QUICK; i++) {
        expect_ok(&quick[i]);
        drop_rows(&quick[i]);
    }
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Bounded even where the machine is slow: it must stay well below the time the slow ones take. */
static void expect_quick_ones_to_have_been_quick(void)
{
    assert_true(samples > 100);
    qsort(took_ns, samples, sizeof *took_ns, by_size);
    uint64_t p99_ns = took_ns[samples - 1 - samples / 100];
    unsigned bound_ms = slow_ms(BOUND_MS) < HOLD_MS / 2 ? slow_ms(BOUND_MS) : HOLD_MS / 2;
    unsigned late = 0;
    while (late < samples && took_ns[samples - 1 - late] >= bound_ms * UINT64_C(1000000))
        late++;
    print_message("          %u quick reads: p50 %.2f ms, p99 %.2f ms, longest %.1f ms, %u over %u ms\n", samples,
                  (double)took_ns[samples / 2] / 1e6, (double)p99_ns / 1e6, (double)took_ns[samples - 1] / 1e6, late,
                  bound_ms);
    assert_true(p99_ns < bound_ms * UINT64_C(1000000));
}

/* --- what is slow among them ---------------------------------------------------------------------------------- */

/* Quick ones go on while one text after the other takes half a second. */
static void expect_none_to_be_held_up_by(const char *const texts[4])
{
    start_quick();
    for (int i = 0; i < 4; i++) {
        ask(&slow[0], texts[i], true);
        while (!slow[0].is_done)
            go_round();
        expect_ok(&slow[0]);
        drop_rows(&slow[0]);
    }
    end_quick();
    expect_quick_ones_to_have_been_quick();
}

static void one_that_is_known_to_be_slow_holds_up_none(void **state)
{
    (void)state;
    static const char again[] = "select pg_sleep(0.5)";
    if (!needs_server())
        skip();
    expect_none_to_be_held_up_by((const char *const[]){ again, again, again, again });
}

static void one_that_is_asked_for_the_first_time_holds_up_none(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    expect_none_to_be_held_up_by(
        (const char *const[]){ "select pg_sleep(0.5) as never_seen_0", "select pg_sleep(0.5) as never_seen_1",
                               "select pg_sleep(0.5) as never_seen_2", "select pg_sleep(0.5) as never_seen_3" });
}

static void ask_locked(struct asked *asked) { ask(asked, "select count(*) from batch_spec", true); }

static void learn_that_it_is_quick(void)
{
    for (int i = 0; i < 60; i++) { /* also after it was slow */
        ask_locked(&slow[0]);
        expect_ok(&slow[0]);
        drop_rows(&slow[0]);
    }
}

static void lock(void) { outside("begin; lock table batch_spec in access exclusive mode"); }

static void one_that_was_quick_until_its_table_was_locked_holds_up_hardly_any(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    learn_that_it_is_quick();
    start_quick();
    for (int i = 0; i < 2; i++) {
        lock();
        ask_locked(&slow[0]);
        go_round_for(HOLD_MS);
        assert_false(slow[0].is_done);
        outside("commit");
        expect_ok(&slow[0]);
        drop_rows(&slow[0]);
        go_round_for(HOLD_MS);
    }
    end_quick();
    expect_quick_ones_to_have_been_quick();
}

/* There are as many as connections that are shared, so each of those has one; and then come the quick ones. */
static void behind_one_that_waits_for_a_lock_nothing_is_put(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { LOCKED = POSTGRES_BATCH_CONNECTIONS + 2 };
    learn_that_it_is_quick();
    start_quick();
    end_quick();
    struct metric_counter *stuck = metric_counter("wick_pg_batch_stuck_total", "", "pool=\"primary\"");
    uint64_t before = metric_counter_value(stuck);
    lock();
    for (int i = 0; i < LOCKED; i++) {
        ask_locked(&slow[i]);
        turn(20);
    }
    samples = 0;
    for (uint64_t end_ms = clock_mono_ms() + HOLD_MS; clock_mono_ms() < end_ms;) {
        ask_quick(&quick[0], 0);
        quick[0].call.on_done = on_quick;
        expect_ok(&quick[0]);
        drop_rows(&quick[0]);
    }
    for (int i = 0; i < LOCKED; i++)
        assert_false(slow[i].is_done);
    outside("commit");
    for (int i = 0; i < LOCKED; i++) {
        expect_ok(&slow[i]);
        drop_rows(&slow[i]);
    }
    expect_quick_ones_to_have_been_quick();
    assert_true(metric_counter_value(stuck) >= before + POSTGRES_BATCH_CONNECTIONS);
    assert_true(took_ns[samples - 1] < HOLD_MS / 2 * UINT64_C(1000000)); /* not one of them */
}

#define BATCH_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BATCH_TEST(one_that_is_known_to_be_slow_holds_up_none),
        BATCH_TEST(one_that_is_asked_for_the_first_time_holds_up_none),
        BATCH_TEST(one_that_was_quick_until_its_table_was_locked_holds_up_hardly_any),
        BATCH_TEST(behind_one_that_waits_for_a_lock_nothing_is_put),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
