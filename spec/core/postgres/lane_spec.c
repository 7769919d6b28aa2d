/* A call from submit to on_done: its deadlines, what is said when one is over, and what is learned of it. */
#include "settled.h"

#include "postgres/lane.h"

static struct postgres_lane *lane_of(const struct asked *asked) { return postgres_call_lane(&asked->call); }
static uint64_t timeouts(const struct asked *asked)
{
    return metric_counter_value(lane_of(asked)->pool->meter.timeouts);
}

/* --- deadlines ------------------------------------------------------------------------------------------------ */

static void what_is_run_again_may_wait_for_a_connection_once_more(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked read = { .is_done = false };
    settings.max_size = 1;
    settings.acquire_timeout_ms = slow_ms(300);
    open_it();
    run("select 1");
    char text[64];
    snprintf(text, sizeof text, "select 7 from pg_sleep(%u.%03u)", slow_ms(600) / 1000, slow_ms(600) % 1000);
    ask(&read, text, true);
    turn(slow_ms(450)); /* it runs for longer than it may wait */
    outside("select pg_terminate_backend(pid) from pg_stat_activity where state = 'active' and query like '%pg_sleep%' "
            "and pid <> pg_backend_pid()");
    expect_ok(&read);
    assert_int_equal(sql_rows_cell(read.call.rows, 0, 0).integer, 7);
    drop_rows(&read);
}

static void a_session_that_may_wait_for_less_than_acquire_timeout_is_told_for_how_long_it_did(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    settings.max_size = 1;
    settings.acquire_timeout_ms = 5000;
    open_it();
    struct leased first, second = { .lease = { .timeout_ms = 100, .on_lease = on_leased, .arg = &second } };
    struct sql_session *session = begin(&first);
    sql_begin(world.engine, &second.lease);
    turn_until(2000, second.is_done);
    assert_int_equal(second.lease.fail, FAIL_TIMEOUT);
    assert_string_equal(second.lease.error.sqlstate, "53300");
    assert_non_null(strstr(second.lease.error.text, "within 100 ms"));
    sql_session_end(session);
}

static void who_waits_behind_its_own_session_is_not_told_of_connections(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked slow = { .is_done = false }, behind = { .is_done = false };
    struct leased leased;
    open_it();
    struct sql_session *session = begin(&leased);
    ask_in(session, &slow, "select pg_sleep(0.5)");
    uint64_t before = timeouts(&slow);
    prepare_call(&behind, "select 1", 0);
    behind.call.timeout_ms = 100;
    sql_session_run(session, &behind.call);
    expect_error(&behind, FAIL_TIMEOUT, "57014");
    assert_null(strstr(behind.call.error.text, "connection"));
    assert_non_null(strstr(behind.call.error.text, "100 ms"));
    assert_int_equal(timeouts(&slow), before);
    expect_ok(&slow);
    drop_rows(&slow);
    sql_session_end(session);
}

/* --- what is learned ------------------------------------------------------------------------------------------ */

static void a_statement_whose_result_is_too_large_is_as_slow_as_it_was(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked large = { .is_done = false };
    open_it();
    run("select 1");
    prepare_call(&large, "select repeat('x', 1000) from generate_series(1, 100000)", 0);
    large.call.read_only = true;
    large.call.bytes_max = 1 << 20;
    sql_run(world.engine, &large.call);
    expect_error(&large, FAIL_SQL, "54000");
    uint64_t hash = postgres_call_hash(&large.call);
    const struct postgres_pace *pace = &lane_of(&large)->batch.paces[hash % POSTGRES_PACES];
    assert_true(pace->hash == hash);
    assert_true(pace->ewma_ns < UINT64_C(20) * 1000 * 1000 * 1000);
    assert_string_equal(run("select 2"), "2");
}

/* --- what is told of it --------------------------------------------------------------------------------------- */

static void on_reported(struct sql_report *report) { *(bool *)report->arg = true; }

static void a_pool_may_have_any_name(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    bool is_done = false;
    settings.name = "the \"first\"";
    open_it();
    struct sql_report report = { .loop = world.loop, .on_done = on_reported, .arg = &is_done };
    buf_init(&report.json, MEM_POSTGRES, SQL_REPORT_BYTES_MAX);
    world.engine->ops->report(world.engine, &report);
    turn_until(2000, is_done);
    buf_add_char(&report.json, '\0');
    assert_non_null(strstr(report.json.data, "\"pool\":\"the \\\"first\\\"\",\"min_size\":1"));
    buf_clear(&report.json);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_run_again_may_wait_for_a_connection_once_more),
        TEST(a_session_that_may_wait_for_less_than_acquire_timeout_is_told_for_how_long_it_did),
        TEST(who_waits_behind_its_own_session_is_not_told_of_connections),
        TEST(a_statement_whose_result_is_too_large_is_as_slow_as_it_was),
        TEST(a_pool_may_have_any_name),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
