/* Two loops, each turned when the spec says so: what holds for the process, and a connection that does not arrive. */
#include "wire.h"

static struct loop *loops[2];
static struct postgres_settings settings;
static struct postgres_pool *pool;

static int set_up(void **state)
{
    (void)state;
    settings = settings_for(server_url() ? server_url() : "");
    world = (struct world){ .loop = NULL };
    return 0;
}

static void open_both(void)
{
    char why[256] = "";
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(loop_open("spec", &loops[i]), FAIL_OK);
    world = (struct world){ .settings = settings, .admin = open_admin(server_url()) };
    assert_int_equal(postgres_engine_open(&settings, loops, 2, &world.engine, why, sizeof why), FAIL_OK);
}

static void turn_both(void)
{
    for (unsigned i = 0; i < 2; i++)
        loop_turn(loops[i], 2, NULL);
}

#define both_until(ms, condition)                         \
    do {                                                  \
        uint64_t end_ms_ = clock_mono_ms() + slow_ms(ms); \
        while (!(condition) && clock_mono_ms() < end_ms_) \
            turn_both();                                  \
        assert_true(condition);                           \
    } while (0)

static int close_both(void **state)
{
    (void)state;
    if (!loops[0])
        return 0;
    world.engine->ops->close(world.engine, loops[0], /* drain_ms= */ 500, on_world_closed, &world.is_closed);
    both_until(5000, world.is_closed);
    PQfinish(world.admin);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(loop_close(loops[i], 1000), 0);
        loops[i] = NULL;
    }
    return 0;
}

/* --- asking on one of them --- */

struct errand {
    struct loop_task task;
    struct asked asked;
};

static void run_errand(void *arg)
{
    struct errand *errand = arg;
    sql_run(world.engine, &errand->asked.call);
    pool = postgres_call_lane(&errand->asked.call)->pool;
}

static void send_errand(struct errand *errand, unsigned i, const char *text, bool shares_commit)
{
    prepare_call(&errand->asked, text, 0);
    errand->asked.call.shares_commit = shares_commit;
    errand->task = (struct loop_task){ .run = run_errand, .arg = errand };
    loop_post(loops[i], &errand->task);
}

static void expect_done(struct errand *errand, enum fail fail)
{
    both_until(5000, errand->asked.is_done);
    assert_int_equal(errand->asked.call.fail, fail);
    drop_rows(&errand->asked);
}

/* --- sentences --- */

static void writes_that_wait_for_a_commit_are_bounded_for_the_process(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static struct errand busy, writes[6];
    settings.max_size = 1;
    settings.max_waiting = 4;
    open_both();
    outside("drop table if exists loops_spec; create table loops_spec(i int)");
    send_errand(&busy, 0, "select pg_sleep(0.5)", false);
    both_until(2000, outside_int("select count(*) from pg_stat_activity where state = 'active' and " OURS) == 1);
    for (unsigned i = 0; i < 6; i++)
        send_errand(&writes[i], i / 3, "insert into loops_spec values (1)", true);
    expect_done(&busy, FAIL_OK);
    unsigned refused = 0;
    for (unsigned i = 0; i < 6; i++) {
        both_until(5000, writes[i].asked.is_done);
        refused += writes[i].asked.call.fail == FAIL_FULL;
        expect_done(&writes[i], writes[i].asked.call.fail == FAIL_FULL ? FAIL_FULL : FAIL_OK);
    }
    assert_int_equal(refused, 1); /* a scout of each loop waits for a connection, and four wait for them */
    assert_int_equal(outside_int("select count(*) from loops_spec"), 5);
}

static void a_connection_that_does_not_arrive_on_its_new_loop_is_counted_as_lost(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static struct errand first, second;
    settings.max_size = 1;
    open_both();
    send_errand(&first, 0, "select 1", false);
    expect_done(&first, FAIL_OK);
    struct metric_counter *lost = metric_counter("wick_pg_pool_reconnects_total", "",
                                                 "pool=\"primary\",reason=\"lost\"");
    uint64_t before = metric_counter_value(lost);
    unsigned there = pool->lanes[0].homes ? 0 : 1;
    send_errand(&second, 1 - there, "select 2", false);
    loop_turn(loops[1 - there], 0, NULL); /* it is promised to the other loop */
    loop_turn(loops[there], 0, NULL);     /* it leaves */
    mem_fail_after(1);
    loop_turn(loops[1 - there], 0, NULL); /* where there is no memory for it */
    mem_fail_after(0);
    assert_int_equal(metric_counter_value(lost), before + 1);
    expect_done(&second, FAIL_OK);
}

static void a_connection_that_is_over_does_not_move_to_who_waits_for_one(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static struct errand first, second;
    settings.max_size = 1;
    settings.max_lifetime_ms = (unsigned)slow_ms(300);
    open_both();
    send_errand(&first, 0, "select 1", false);
    expect_done(&first, FAIL_OK);
    int pid = outside_int("select pid from pg_stat_activity where " OURS);
    unsigned there = pool->lanes[0].homes ? 0 : 1;
    char text[64];
    snprintf(text, sizeof text, "select 1 / (pg_backend_pid() <> %d)::int", pid); /* an error on the old one */
    usleep((unsigned)slow_ms(300) * 1000);                                        /* nobody looks after it meanwhile */
    send_errand(&second, 1 - there, text, false);
    loop_turn(loops[1 - there], 0, NULL);
    expect_done(&second, FAIL_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, close_both)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(writes_that_wait_for_a_commit_are_bounded_for_the_process),
        TEST(a_connection_that_does_not_arrive_on_its_new_loop_is_counted_as_lost),
        TEST(a_connection_that_is_over_does_not_move_to_who_waits_for_one),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
