/* What is beyond the limit, and worth keeping, is set aside: open, given to nobody, and back at once. */
#include "loop/timer.h"
#include "postgres/lane.h"
#include "postgres/parking.h"
#include "world.h"

enum { SLEEPERS = 12, SIZE = 4, FEWER = 2 };
static struct asked sleepers[SLEEPERS];
static struct postgres_pool *pool;
static bool is_over;
static unsigned sleeping;

static void on_slept(struct sql_call *call);

static void sleep_on_server(struct asked *asked)
{
    ask(asked, "select pg_sleep(0.01)", false);
    asked->call.on_done = on_slept;
}

static void on_slept(struct sql_call *call)
{
    assert_int_equal(call->fail, FAIL_OK);
    sql_rows_free(call->rows);
    if (is_over)
        sleeping--;
    else
        sleep_on_server(call->arg);
}

/* Calls without an end, SIZE connections, and nobody but the spec who sets how many of them may be in use. */
static void open_busy_pool(void)
{
    struct postgres_settings settings = settings_for(server_url());
    settings.min_size = settings.max_size = SIZE;
    settings.autosize = true;
    settings.batches = false;
    open_world_and_admin(settings);
    is_over = false;
    sleeping = SLEEPERS;
    for (int i = 0; i < SLEEPERS; i++)
        sleep_on_server(&sleepers[i]);
    pool = ((struct postgres_lane *)sleepers[0].call.engine_data[0])->pool;
    turn_until(5000, pool->total == SIZE && pool->opening == 0 && timer_is_set(&pool->sizing.timer));
    timer_stop(&pool->sizing.timer);
}

static void allow(unsigned limit)
{
    atomic_store(&pool->sizing.limit, limit);
    postgres_pool_lock(pool);
    postgres_parking_end(pool);
    postgres_pool_unlock(pool);
}

static unsigned used(void)
{
    struct postgres_counts counts;
    postgres_pool_count(pool, &counts);
    assert_int_equal(counts.idle, counts.total - counts.used - counts.opening);
    return counts.used;
}

static void end_calls(void)
{
    is_over = true;
    turn_until(5000, sleeping == 0);
}

/* The same as long as no back end has come or gone. */
static int back_ends(void) { return outside_int("select sum(pid) from pg_stat_activity where " OURS); }

static void beyond_the_limit_they_are_set_aside_and_come_back_without_being_opened_again(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    open_busy_pool();
    int before = back_ends();
    for (int times = 0; times < 5; times++) {
        allow(FEWER);
        turn_until(2000, pool->parked == SIZE - FEWER);
        for (uint64_t end_ms = clock_mono_ms() + 50; clock_mono_ms() < end_ms; turn(2))
            assert_in_range(used(), 0, FEWER);
        allow(SIZE);
        assert_int_equal(pool->parked, 0);
        turn_until(2000, used() == SIZE);
    }
    assert_int_equal(back_ends(), before);
    end_calls();
}

static void one_that_is_lost_while_it_is_set_aside_is_counted_no_more(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    open_busy_pool();
    allow(FEWER);
    turn_until(2000, pool->parked == SIZE - FEWER);
    struct postgres_connection *parked = LIST_ENTRY(list_peek(&pool->lanes[0].parked), struct postgres_connection,
                                                    node);
    char text[64];
    snprintf(text, sizeof text, "select pg_terminate_backend(%d)", parked->pid);
    outside(text);
    turn_until(2000, pool->parked == SIZE - FEWER - 1);
    assert_int_equal(pool->total, SIZE - 1);
    allow(SIZE);
    turn_until(2000, used() == SIZE);
    end_calls();
}

static void what_is_not_worth_keeping_any_more_is_closed(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    open_busy_pool();
    allow(FEWER);
    turn_until(2000, pool->parked == SIZE - FEWER);
    atomic_store(&pool->sizing.kept, FEWER);
    turn_until(5000, pool->total == FEWER && pool->parked == 0);
    turn_until(5000, front_connections() == FEWER);
    end_calls();
}

static void a_pool_that_closes_closes_them_too(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    open_busy_pool();
    allow(FEWER);
    turn_until(2000, pool->parked == SIZE - FEWER);
    end_calls();
    close_engine();
    turn_until(5000, front_connections() == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(beyond_the_limit_they_are_set_aside_and_come_back_without_being_opened_again,
                                  close_world),
        cmocka_unit_test_teardown(one_that_is_lost_while_it_is_set_aside_is_counted_no_more, close_world),
        cmocka_unit_test_teardown(what_is_not_worth_keeping_any_more_is_closed, close_world),
        cmocka_unit_test_teardown(a_pool_that_closes_closes_them_too, close_world),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
