/* A server that stops, starts, crashes or stands still: calls fail fast, the loop goes on, and all is well again within 2 s. */
#include "world.h"

#include "support/servers.h"

#include <signal.h>
#include <unistd.h>

static char server_dir[128], url[256];
static bool is_running;

static void start_server(void)
{
    char arguments[256];
    snprintf(arguments, sizeof arguments, "postgres start %s", server_dir);
    servers_run(arguments, "url", url, sizeof url);
    is_running = true;
}

/* To every process of it. */
static void signal_server(const char *name)
{
    char arguments[256];
    snprintf(arguments, sizeof arguments, "postgres signal %s %s", server_dir, name);
    servers_run(arguments, NULL, NULL, 0);
}

static void stop_server(void)
{
    char arguments[256];
    snprintf(arguments, sizeof arguments, "postgres stop %s", server_dir);
    servers_run(arguments, NULL, NULL, 0);
    is_running = false;
}

static int set_up(void **state)
{
    (void)state;
    world = (struct world){ .loop = NULL };
    if (!server_url() || !servers_are_there())
        return 0;
    if (!is_running)
        start_server();
    struct postgres_settings settings = settings_for(url);
    settings.min_size = 3;
    open_world_with(settings);
    assert_string_equal(run("select 1"), "1");
    return 0;
}

static int needs_servers(void)
{
    if (world.loop)
        return 1;
    fprintf(stderr, "skipped: needs WICK_TEST_POSTGRES, and spec/support/servers.sh below the current folder\n");
    return 0;
}

/* Asks again and again; ms until the first answer. No single call may take longer than call_ms_max. */
static uint64_t ms_until_answered(unsigned ms_max, unsigned call_ms_max)
{
    uint64_t begin_ms = clock_mono_ms();
    while (clock_mono_ms() - begin_ms < ms_max) {
        struct asked asked = { .is_done = false };
        uint64_t asked_ms = clock_mono_ms();
        ask(&asked, "select 1", true);
        wait_for(&asked);
        assert_true(clock_mono_ms() - asked_ms <= slow_ms(call_ms_max));
        bool is_answered = asked.call.fail == FAIL_OK;
        drop_rows(&asked);
        if (is_answered)
            return clock_mono_ms() - begin_ms;
        turn(5);
    }
    fail_msg("no answer within %u ms", ms_max);
    return 0;
}

static void a_server_killed_and_started_again_is_used_within_two_seconds(void **state)
{
    (void)state;
    if (!needs_servers())
        skip();
    for (int round = 0; round < 3; round++) {
        stop_server(); /* kill -9 of all of it */
        struct asked asked = { .is_done = false };
        uint64_t begin_ms = clock_mono_ms();
        while (clock_mono_ms() - begin_ms < 1500) {
            uint64_t asked_ms = clock_mono_ms();
            ask(&asked, "select 1", true);
            wait_for(&asked);
            assert_int_not_equal(asked.call.fail, FAIL_OK);
            assert_int_equal(sql_error_status(&asked.call.error), 503);
            assert_true(clock_mono_ms() - asked_ms < slow_ms(500));
            turn(5);
        }
        expect_error(&asked, FAIL_REFUSED, "08001");
        start_server();
        assert_true(ms_until_answered(slow_ms(4000), 500) < slow_ms(2000));
        char why[128];
        assert_true(world.engine->ops->is_ready(world.engine, why, sizeof why));
    }
}

static void a_fast_shutdown_ends_calls_with_57P01_and_is_recovered_from(void **state)
{
    (void)state;
    if (!needs_servers())
        skip();
    struct asked write = { .is_done = false };
    ask(&write, "create table fault_spec as select 1 as i from pg_sleep(10)", false);
    turn(100);
    servers_signal_postmaster(server_dir, SIGINT);
    expect_error(&write, FAIL_SQL, "57P01");
    stop_server();
    start_server();
    assert_true(ms_until_answered(slow_ms(4000), 500) < slow_ms(2000));
    assert_string_equal(run("select to_regclass('fault_spec') is null"), "t");
}

static void a_server_that_stands_still_costs_deadlines_and_nothing_else(void **state)
{
    (void)state;
    if (!needs_servers())
        skip();
    signal_server("STOP");
    struct loop_load load;
    loop_load_take(world.loop, &load);
    for (int i = 0; i < 6; i++) {
        struct asked asked = { .is_done = false };
        prepare_call(&asked, "select 1", 0);
        asked.call.timeout_ms = 200;
        uint64_t begin_ms = clock_mono_ms();
        sql_run(world.engine, &asked.call);
        expect_error(&asked, FAIL_TIMEOUT, "57014");
        assert_in_range(clock_mono_ms() - begin_ms, 200, slow_ms(320));
    }
    turn(2500); /* cancels are given up meanwhile */
    loop_load_take(world.loop, &load);
    assert_true(load.longest_ns < (uint64_t)slow_ms(50) * 1000 * 1000);
    signal_server("CONT");
    assert_true(ms_until_answered(slow_ms(8000), 5100) <
                slow_ms(6000)); /* what still connects has its connect_timeout */
}

/* One back end dies: the server ends all and recovers, which new connections are told by 57P03. */
static void a_crash_of_one_back_end_is_recovered_from(void **state)
{
    (void)state;
    if (!needs_servers())
        skip();
    world.admin = open_admin(url);
    outside("create table if not exists crash_spec(i int); truncate crash_spec");
    PQfinish(world.admin);
    world.admin = NULL;
    for (int round = 0; round < 3; round++) {
        struct asked write = { .is_done = false }, read = { .is_done = false };
        struct leased leased;
        struct sql_session *session = begin(&leased);
        run_in(session, "insert into crash_spec values (1)");
        ask(&write, "insert into crash_spec select 2 from pg_sleep(10)", false);
        ask(&read, "select count(*) from crash_spec, pg_sleep(0.2)", true);
        turn(50);
        int pid = atoi(run("select pg_backend_pid()"));
        uint64_t begin_ms = clock_mono_ms();
        assert_int_equal(kill(pid, SIGKILL), 0);
        wait_for(&write);
        assert_int_equal(write.call.fail, FAIL_SQL);
        assert_true(sql_error_is(&write.call.error, "57P02") || sql_error_is(&write.call.error, "08006"));
        assert_true(write.call.error.sent);
        wait_for(&read); /* run again, or refused while the server recovers */
        assert_true(read.call.fail == FAIL_OK || sql_error_status(&read.call.error) == 503);
        drop_rows(&read);
        struct asked commit = { .is_done = false };
        ask_in(session, &commit, "commit");
        wait_for(&commit);
        assert_int_equal(commit.call.fail, FAIL_SQL);
        sql_session_end(session);
        ms_until_answered(slow_ms(6000), 1500);
        printf("answers %llu ms after the crash\n", (unsigned long long)(clock_mono_ms() - begin_ms));
        assert_true(clock_mono_ms() - begin_ms < slow_ms(3000));
        assert_string_equal(run("select count(*) from crash_spec"), "0");
    }
}

/* Immediate shutdown, a minute of nothing in short, and the first answer less than a second after it is back. */
static void an_immediate_shutdown_is_recovered_from_within_a_second(void **state)
{
    (void)state;
    if (!needs_servers())
        skip();
    struct loop_load load;
    loop_load_take(world.loop, &load);
    signal_server("QUIT");
    uint64_t begin_ms = clock_mono_ms();
    struct asked asked = { .is_done = false };
    while (clock_mono_ms() - begin_ms < 2500) { /* long enough for the breaker to be at its slowest */
        ask(&asked, "select 1", true);
        wait_for(&asked);
        turn(20);
    }
    expect_error(&asked, FAIL_REFUSED, "08001");
    assert_non_null(strstr(asked.call.error.text, "refused"));
    loop_load_take(world.loop, &load);
    assert_true(load.longest_ns < (uint64_t)slow_ms(20) * 1000 * 1000);
    stop_server();
    start_server();
    uint64_t ms = ms_until_answered(slow_ms(4000), 1500);
    printf("answers %llu ms after the server\n", (unsigned long long)ms);
    assert_true(ms < slow_ms(1000));
}

/* All of it is stopped; those who wait are told after acquire_timeout, not before and not much later. */
static void who_waits_for_a_server_that_stands_still_waits_for_acquire_timeout(void **state)
{
    (void)state;
    if (!needs_servers())
        skip();
    close_world(NULL);
    struct postgres_settings settings = settings_for(url);
    settings.max_size = 2;
    settings.acquire_timeout_ms = 500;
    settings.statement_timeout_ms = 4000;
    open_world_with(settings);
    assert_string_equal(run("select 1"), "1");
    signal_server("STOP");
    enum { BUSY = 2, N = 10 };
    static struct asked busy[BUSY], asked[N];
    struct loop_load load;
    for (int i = 0; i < BUSY; i++)
        ask(&busy[i], "select 1", false);
    turn(20);
    loop_load_take(world.loop, &load);
    for (int i = 0; i < N; i++) {
        ask(&asked[i], "select 1", i % 2);
        turn(10);
    }
    for (int i = 0; i < N; i++) {
        expect_error(&asked[i], FAIL_TIMEOUT, "53300");
        uint64_t waited_ms = (clock_mono_ns() - asked[i].call.submitted_ns) / 1000000;
        assert_in_range(waited_ms, 500, 500 + slow_ms(50));
    }
    loop_load_take(world.loop, &load);
    printf("the longest turn: %.2f ms\n", (double)load.longest_ns / 1e6);
    assert_true(load.longest_ns < (uint64_t)slow_ms(20) * 1000 * 1000);
    signal_server("CONT");
    for (int i = 0; i < BUSY; i++) {
        wait_for(&busy[i]);
        drop_rows(&busy[i]);
    }
    assert_true(ms_until_answered(slow_ms(8000), 5100) < slow_ms(6000));
}

static void it_opens_before_the_server_does(void **state)
{
    (void)state;
    if (!needs_servers())
        skip();
    close_world(NULL);
    stop_server();
    struct postgres_settings settings = settings_for(url);
    settings.min_size = 3;
    open_world_with(settings);
    turn(1500);
    start_server();
    char why[128];
    turn_until(2000, world.engine->ops->is_ready(world.engine, why, sizeof why));
    assert_string_equal(run("select 1"), "1");
}

static void the_servers_last_connection_slot_is_not_fought_over(void **state)
{
    (void)state;
    if (!needs_servers())
        skip();
    close_world(NULL);
    stop_server();
    char arguments[256];
    snprintf(arguments, sizeof arguments,
             "postgres start %s --set=max_connections=5 --set=superuser_reserved_connections=1", server_dir);
    servers_run(arguments, "url", url, sizeof url);
    is_running = true;
    PGconn *admin = open_admin(url);
    PQclear(PQexec(admin, "drop role if exists guest; create role guest login password 'guest'"));
    char guest[256];
    const char *at = strstr(url, "wick:wick@");
    assert_non_null(at);
    snprintf(guest, sizeof guest, "%.*sguest:guest@%s", (int)(at - url), url, at + strlen("wick:wick@"));
    struct postgres_settings settings = settings_for(guest);
    settings.max_size = 10;
    open_world_with(settings);
    enum { N = 30 };
    static struct asked asked[N];
    for (int i = 0; i < N; i++)
        ask(&asked[i], "select pg_sleep(0.02)", false);
    for (int i = 0; i < N; i++) { /* the few connections there are serve all */
        expect_ok(&asked[i]);
        drop_rows(&asked[i]);
    }
    PQfinish(admin);
    close_world(NULL);
    stop_server(); /* the others want more connections */
}

static int tear_down_group(void **state)
{
    (void)state;
    if (!url[0])
        return 0;
    stop_server();
    char command[160];
    snprintf(command, sizeof command, "rm -rf %s", server_dir);
    return system(command);
}

static int set_up_group(void **state)
{
    const char *tmp = getenv("WICK_TEST_TMP");
    snprintf(server_dir, sizeof server_dir, "%s/wick-fault-%d", tmp ? tmp : "/tmp", (int)getpid());
    return set_up_process(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_server_killed_and_started_again_is_used_within_two_seconds, set_up,
                                        close_world),
        cmocka_unit_test_setup_teardown(a_fast_shutdown_ends_calls_with_57P01_and_is_recovered_from, set_up,
                                        close_world),
        cmocka_unit_test_setup_teardown(a_server_that_stands_still_costs_deadlines_and_nothing_else, set_up,
                                        close_world),
        cmocka_unit_test_setup_teardown(a_crash_of_one_back_end_is_recovered_from, set_up, close_world),
        cmocka_unit_test_setup_teardown(an_immediate_shutdown_is_recovered_from_within_a_second, set_up, close_world),
        cmocka_unit_test_setup_teardown(who_waits_for_a_server_that_stands_still_waits_for_acquire_timeout, set_up,
                                        close_world),
        cmocka_unit_test_setup_teardown(it_opens_before_the_server_does, set_up, close_world),
        cmocka_unit_test_setup_teardown(the_servers_last_connection_slot_is_not_fought_over, set_up, close_world),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_group, tear_down_group);
}
