/* What the pool tells the metrics: each thing that happens is counted, once, and the gauges of one look add up. */
#include "wire.h"

static struct postgres_settings settings;

static int set_up(void **state)
{
    (void)state;
    if (!server_url())
        return 0;
    settings = settings_for(server_url());
    settings.max_size = 2;
    open_world_and_admin(settings);
    outside("drop table if exists meter_spec; create table meter_spec(i int)");
    return 0;
}

static uint64_t observed(const char *name)
{
    return metric_count(metric_histogram(name, "", "pool=\"primary\"", METRIC_SECONDS));
}

static uint64_t leases(void) { return observed("wick_pg_pool_use_duration_seconds"); }

static uint64_t cancels(const char *cause, const char *outcome)
{
    char labels[100];
    snprintf(labels, sizeof labels, "pool=\"primary\",cause=\"%s\",outcome=\"%s\"", cause, outcome);
    return metric_counter_value(metric_counter("wick_pg_cancels_total", "", labels));
}

static uint64_t batched(const char *what, const char *kind)
{
    char name[64], labels[64];
    snprintf(name, sizeof name, "wick_pg_batch_%s_total", what);
    snprintf(labels, sizeof labels, "pool=\"primary\",kind=\"%s\"", kind);
    return metric_counter_value(metric_counter(name, "", labels));
}

static double gauge(const char *name, const char *labels)
{
    struct buf out;
    buf_init(&out, MEM_METRICS, 0);
    metrics_write(&out); /* which collects */
    buf_clear(&out);
    return metric_gauge_value(metric_gauge(name, "", labels));
}

static void reads(unsigned count)
{
    static struct asked asked[32];
    for (unsigned i = 0; i < count; i++)
        ask(&asked[i], "select 1", true);
    for (unsigned i = 0; i < count; i++) {
        expect_ok(&asked[i]);
        drop_rows(&asked[i]);
    }
}

static void every_connection_that_is_given_out_is_counted_when_it_comes_back(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    run("select 1");
    uint64_t before = leases();
    for (int i = 0; i < 10; i++)
        run("select 1");
    assert_int_equal(leases(), before + 10);
    for (int i = 0; i < 20; i++)
        reads(1); /* until it is known how quick it is .. */
    before = leases();
    uint64_t units = batched("units", "read"), statements = batched("statements", "read");
    reads(30); /* .. and then they share connections, and round trips */
    assert_in_range(leases() - before, 1, 15);
    assert_in_range(batched("statements", "read") - statements, 15, 30);
    assert_in_range(batched("units", "read") - units, 1, 15);
    struct leased leased;
    before = leases();
    struct sql_session *session = begin(&leased);
    run_in(session, "select 1");
    turn(20);
    assert_int_equal(leases(), before);
    sql_session_end(session);
    turn_until(1000, leases() == before + 1);
}

static void writes_that_share_a_commit_are_counted_as_one(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static struct asked asked[20];
    run("insert into meter_spec values (1)");
    uint64_t before = leases(), units = batched("units", "write"), statements = batched("statements", "write");
    for (int i = 0; i < 20; i++) {
        prepare_call(&asked[i], "insert into meter_spec values (2)", 0);
        asked[i].call.shares_commit = true;
        sql_run(world.engine, &asked[i].call);
    }
    for (int i = 0; i < 20; i++) {
        expect_ok(&asked[i]);
        drop_rows(&asked[i]);
    }
    turn_until(1000, leases() > before);
    assert_in_range(leases() - before, 1, 2);
    assert_int_equal(batched("statements", "write") - statements, 20);
    assert_in_range(batched("units", "write") - units, 1, 2);
}

static void a_connection_is_replaced_after_so_many_shared_uses_as_well(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    close_world(NULL);
    settings.max_size = 1;
    settings.max_uses = 5;
    open_world_and_admin(settings);
    reads(1);
    int pid = outside_int("select pid from pg_stat_activity where " OURS);
    for (int i = 0; i < 5; i++)
        reads(3);
    turn_until(2000, outside_int("select pid from pg_stat_activity where " OURS) != pid && pool_total() == 1);
}

static void the_time_to_open_one_is_measured(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    uint64_t before = observed("wick_pg_pool_create_duration_seconds");
    close_world(NULL);
    open_world_and_admin(settings);
    run("select 1");
    assert_int_equal(observed("wick_pg_pool_create_duration_seconds"), before + 1);
}

static void a_cancel_is_counted_with_its_cause_and_how_it_ended(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    close_world(NULL);
    settings.max_size = 1; /* so that it is known which back end is used */
    open_world_and_admin(settings);
    uint64_t late = cancels("deadline", "ended"), left = cancels("client", "ended");
    uint64_t dropped = cancels("abandoned", "ended"), lost = cancels("deadline", "lost");
    struct asked asked = { .is_done = false };
    run("select 1"); /* the connection is open: no deadline hits who waits for that */
    prepare_call(&asked, "select pg_sleep(30)", 0);
    asked.call.timeout_ms = 60;
    sql_run(world.engine, &asked.call);
    expect_error(&asked, FAIL_TIMEOUT, "57014");
    turn_until(1000, cancels("deadline", "ended") == late + 1);

    ask(&asked, "select pg_sleep(30)", true);
    turn(50);
    sql_cancel(world.engine, &asked.call);
    expect_error(&asked, FAIL_CANCELLED, "57014");
    turn_until(1000, cancels("client", "ended") == left + 1);

    struct leased leased;
    struct sql_session *session = begin(&leased);
    ask_in(session, &asked, "select pg_sleep(30)");
    turn(50);
    sql_session_end(session);
    expect_error(&asked, FAIL_CANCELLED, "57014");
    turn_until(1000, cancels("abandoned", "ended") == dropped + 1);

    int pid = atoi(run("select pg_backend_pid()"));
    prepare_call(&asked, "select pg_sleep(30)", 0);
    asked.call.timeout_ms = 60;
    sql_run(world.engine, &asked.call);
    turn(20);
    kill(pid, SIGSTOP); /* it takes no signal any more */
    expect_error(&asked, FAIL_TIMEOUT, "57014");
    turn_until(POSTGRES_CANCEL_MS + 1000, cancels("deadline", "lost") == lost + 1);
    kill(pid, SIGCONT);
    assert_int_equal(cancels("deadline", "ended"), late + 1);
    assert_string_equal(run("select 41 + 1"), "42");
}

static void what_each_connection_goes_through_adds_up_to_the_total(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    run("select 1");
    struct postgres_pool *pool = pool_of();
    int pid = atoi(run("select pg_backend_pid()"));
    struct asked asked = { .is_done = false };
    prepare_call(&asked, "select pg_sleep(30)", 0);
    asked.call.timeout_ms = 60;
    sql_run(world.engine, &asked.call);
    turn(20);
    kill(pid, SIGSTOP);
    expect_error(&asked, FAIL_TIMEOUT, "57014");
    struct postgres_counts counts;
    postgres_pool_count(pool, &counts);
    assert_int_equal(counts.cancelling, 1);
    assert_int_equal(counts.total, counts.idle + counts.used + counts.opening + counts.resetting + counts.cancelling);
    assert_true(gauge("wick_pg_pool_connections", "pool=\"primary\",state=\"cancelling\"") == 1);
    kill(pid, SIGCONT);
    turn_until(2000, gauge("wick_pg_pool_connections", "pool=\"primary\",state=\"cancelling\"") == 0);
    struct leased leased;
    struct sql_session *session = begin(&leased);
    run_in(session, "select 1");
    pid = outside_int("select pid from pg_stat_activity where state = 'idle in transaction' and " OURS);
    kill(pid, SIGSTOP);
    sql_session_end(session); /* which rolls back */
    turn(20);
    assert_true(gauge("wick_pg_pool_connections", "pool=\"primary\",state=\"resetting\"") == 1);
    kill(pid, SIGCONT);
    turn_until(2000, gauge("wick_pg_pool_connections", "pool=\"primary\",state=\"resetting\"") == 0);
    assert_true(gauge("wick_pg_pool_size", "pool=\"primary\"") == 2);
    assert_true(gauge("wick_pg_pool_size_min", "pool=\"primary\"") == 1);
}

static void the_breaker_is_seen_to_open_and_to_close(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    open_wire("");
    assert_string_equal(run("select 1"), "1");
    assert_true(gauge("wick_pg_pool_breaker_state", "pool=\"primary\"") == 0);
    proxy_tell(&proxy, "refuse");
    proxy_tell(&proxy, "rst");
    bool was_open = false, was_half = false;
    for (uint64_t end_ms = clock_mono_ms() + slow_ms(4000); clock_mono_ms() < end_ms && !(was_open && was_half);) {
        turn(5);
        double value = gauge("wick_pg_pool_breaker_state", "pool=\"primary\"");
        was_open |= value == 2;
        was_half |= value == 1;
    }
    assert_true(was_open && was_half);
    proxy_tell(&proxy, "listen");
    turn_until(5000, gauge("wick_pg_pool_breaker_state", "pool=\"primary\"") == 0);
}

#define METER_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        METER_TEST(every_connection_that_is_given_out_is_counted_when_it_comes_back),
        METER_TEST(writes_that_share_a_commit_are_counted_as_one),
        METER_TEST(a_connection_is_replaced_after_so_many_shared_uses_as_well),
        METER_TEST(the_time_to_open_one_is_measured),
        METER_TEST(a_cancel_is_counted_with_its_cause_and_how_it_ended),
        METER_TEST(what_each_connection_goes_through_adds_up_to_the_total),
        WIRE_TEST(the_breaker_is_seen_to_open_and_to_close),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
