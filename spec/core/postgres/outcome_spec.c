/* A COMMIT whose answer is lost: what is reported is what took place, whenever and however the connection or the server goes. */
#include "world.h"

#include "support/servers.h"

#include <signal.h>
#include <unistd.h>

static char server_dir[128], url[256];

static void start_server(void)
{
    char arguments[256];
    snprintf(arguments, sizeof arguments, "postgres start %s --set=restart_after_crash=on", server_dir);
    servers_run(arguments, "url", url, sizeof url);
}

static void stop_server(void)
{
    char arguments[256];
    snprintf(arguments, sizeof arguments, "postgres stop %s", server_dir);
    servers_run(arguments, NULL, NULL, 0);
}

static void set_up_tables(void)
{
    outside("drop table if exists outcome_spec, outcome_slow cascade; create table outcome_spec(i int); create table "
            "outcome_slow(i int);"
            "create or replace function outcome_wait() returns trigger language plpgsql as "
            "$$ begin perform pg_sleep(0.5); return null; end $$; "
            "create constraint trigger slowly after insert on outcome_slow deferrable initially deferred for each row "
            "execute function outcome_wait();"
            "create or replace function outcome_add(i int) returns int language sql as "
            "$$ insert into outcome_spec values (i) returning i $$");
}

static int set_up(void **state)
{
    (void)state;
    if (!server_url())
        return 0;
    open_world_with(settings_for(server_url()));
    world.admin = open_admin(server_url());
    set_up_tables();
    return 0;
}

static int set_up_own(void **state)
{
    (void)state;
    world = (struct world){ .loop = NULL };
    if (!server_url() || !servers_are_there())
        return 0;
    start_server();
    struct postgres_settings settings = settings_for(url);
    settings.min_size = 2;
    open_world_with(settings);
    world.admin = open_admin(url);
    set_up_tables();
    assert_string_equal(run("select 1"), "1");
    return 0;
}

static int tear_down_own(void **state)
{
    int code = close_world(state);
    if (url[0])
        stop_server();
    return code;
}

static int count(int i)
{
    char text[96];
    snprintf(text, sizeof text, "select count(*) from outcome_spec where i = %d", i);
    return outside_int(text);
}

static struct sql_session *begin_with(struct leased *leased, int i, bool is_slow)
{
    char text[96];
    struct sql_session *session = begin(leased);
    snprintf(text, sizeof text, "insert into outcome_spec values (%d)", i);
    run_in(session, text);
    if (is_slow)
        run_in(session, "insert into outcome_slow values (1)");
    return session;
}

/* The COMMIT that was asked for: it is known that nothing of the transaction is left, and so it may run again. */
static void expect_rolled_back(struct sql_session *session, struct asked *asked, const char *sqlstate)
{
    expect_error(asked, FAIL_SQL, sqlstate);
    assert_true(asked->call.error.again);
    sql_session_end(session);
    assert_int_equal(count(1), 0);
}

static void a_back_end_ended_in_the_midst_of_commit_has_rolled_back_and_that_is_known(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct asked asked = { .is_done = false };
    struct sql_session *session = begin_with(&leased, 1, /* is_slow= */ true);
    ask_in(session, &asked, "commit");
    turn(100);
    outside("select pg_terminate_backend(pid) from pg_stat_activity where state = 'active' and " OURS);
    expect_rolled_back(session, &asked, "40000");
}

/* pg_terminate_backend at any moment around the COMMIT, some thousand times less than it takes to be sure of each. */
static void at_whatever_moment_a_back_end_is_ended_the_truth_is_reported(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    unsigned committed = 0, undone = 0, unknown = 0;
    uint64_t seed = 12345;
    for (int i = 0; i < 300; i++) {
        struct leased leased;
        struct asked asked = { .is_done = false };
        char text[160];
        struct sql_session *session = begin(&leased);
        if (i % 3 == 0)
            snprintf(text, sizeof text, "select outcome_add(%d), pg_backend_pid()", i); /* a read that writes */
        else
            snprintf(text, sizeof text, "insert into outcome_spec values (%d) returning i, pg_backend_pid()", i);
        ask_in(session, &asked, text);
        wait_for(&asked);
        if (asked.call.fail) { /* what ended the one before came after its COMMIT */
            assert_true(asked.call.error.again);
            sql_session_end(session);
            continue;
        }
        snprintf(text, sizeof text, "select pg_terminate_backend(%d)",
                 (int)sql_rows_cell(asked.call.rows, 0, 1).integer);
        drop_rows(&asked);
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        unsigned kind = (seed >> 33) % 4;
        if (kind == 0)
            outside(text); /* before */
        ask_in(session, &asked, "commit");
        if (kind == 1)
            outside(text); /* the COMMIT is on its way, the signal overtakes it or does not */
        if (kind == 2) {
            assert_int_equal(PQsendQuery(world.admin, text), 1);
            turn(0);
        }
        if (kind == 3) {
            for (uint64_t end_ns = clock_mono_ns() + (seed >> 40) % 400000; clock_mono_ns() < end_ns;)
                continue;
            outside(text);
        }
        wait_for(&asked);
        for (PGresult *result; kind == 2 && (result = PQgetResult(world.admin));)
            PQclear(result);
        bool is_done = asked.call.fail == FAIL_OK;
        bool is_unknown = !is_done && !asked.call.error.again;
        if (is_unknown && i % 3)
            fail_msg("%d: %s %s", i, asked.call.error.sqlstate, asked.call.error.text);
        committed += is_done;
        undone += asked.call.error.again;
        unknown += is_unknown; /* of reads that write, when even the answer to the question before COMMIT is lost */
        if (!is_unknown)
            assert_int_equal(count(i), is_done);
        drop_rows(&asked);
        sql_session_end(session);
    }
    fprintf(stderr, "committed %u, rolled back %u, unknown %u\n", committed, undone, unknown);
    assert_true(committed > 20 && undone > 20 && unknown < 20);
}

static void what_cannot_be_known_in_time_is_said_to_be_unknown(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct asked asked = { .is_done = false };
    struct sql_session *session = begin_with(&leased, 1, /* is_slow= */ true);
    prepare_call(&asked, "commit", 0);
    asked.call.timeout_ms = 100;
    sql_session_run(session, &asked.call);
    expect_error(&asked, FAIL_TIMEOUT, "57014");
    assert_false(asked.call.error.again);
    assert_non_null(strstr(asked.call.error.text, "not known"));
    sql_session_end(session);
}

static void a_connection_lost_before_commit_takes_the_transaction_with_it(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct asked asked = { .is_done = false };
    struct sql_session *session = begin_with(&leased, 1, /* is_slow= */ false);
    outside("select pg_terminate_backend(pid) from pg_stat_activity where state like 'idle in%' and " OURS);
    turn(50);
    ask_in(session, &asked, "commit");
    expect_rolled_back(session, &asked, "57P01");
}

/* --- the whole server ----------------------------------------------------------------------------------------- */

static void reopen_admin(void)
{
    PQfinish(world.admin);
    world.admin = NULL;
    for (uint64_t end_ms = clock_mono_ms() + slow_ms(10000); !world.admin && clock_mono_ms() < end_ms; usleep(20000)) {
        PGconn *admin = PQconnectdb(url);
        if (PQstatus(admin) == CONNECTION_OK)
            world.admin = admin;
        else
            PQfinish(admin);
    }
    assert_non_null(world.admin);
}

/* What the server does not know any more is not taken for another transaction's: others write as soon as it is back. */
static void write_much(void)
{
    for (int i = 0; i < 20; i++)
        outside("insert into outcome_slow select 1 where false; insert into outcome_spec values (-1)");
}

static void wait_until_served(void)
{
    struct asked asked = { .is_done = false };
    uint64_t end_ms = clock_mono_ms() + slow_ms(10000);
    do {
        turn(20);
        ask(&asked, "select 1", true);
        wait_for(&asked);
        drop_rows(&asked);
    } while (asked.call.fail && clock_mono_ms() < end_ms);
    assert_int_equal(asked.call.fail, FAIL_OK);
}

static void an_immediate_shutdown_around_commit_is_resolved_when_the_server_is_back(void **state)
{
    (void)state;
    if (!world.loop)
        skip();
    unsigned committed = 0, undone = 0;
    for (int i = 1; i <= 8; i++) {
        struct leased leased;
        struct asked asked = { .is_done = false };
        bool is_slow = i % 4 == 3; /* goes down while it commits */
        struct sql_session *session = begin_with(&leased, i, is_slow);
        ask_in(session, &asked, "commit");
        if (is_slow)
            turn(100);
        else if (i % 2)
            turn(0);
        servers_signal_postmaster(server_dir, SIGQUIT);
        turn(i % 2 ? 300 : 60);
        PQfinish(world.admin);
        world.admin = NULL;
        stop_server();
        if (i != 2)
            usleep(1100000); /* within one second nobody could tell a recovery from what was before it */
        start_server();
        reopen_admin();
        write_much();
        wait_for(&asked);
        wait_until_served();
        bool is_done = asked.call.fail == FAIL_OK;
        if (!is_done && !asked.call.error.again)
            fprintf(stderr, "unknown: %s %s\n", asked.call.error.sqlstate, asked.call.error.text);
        if (is_done || asked.call.error.again)
            assert_int_equal(count(i), is_done);
        committed += is_done;
        undone += !is_done && asked.call.error.again;
        drop_rows(&asked);
        sql_session_end(session);
    }
    fprintf(stderr, "committed %u, rolled back %u of 8\n", committed, undone);
    assert_true(committed + undone >= 7);
    assert_true(undone > 0);
}

int main(void)
{
#define SPEC(name) cmocka_unit_test_setup_teardown(name, set_up, close_world)
    const struct CMUnitTest tests[] = {
        SPEC(a_back_end_ended_in_the_midst_of_commit_has_rolled_back_and_that_is_known),
        SPEC(at_whatever_moment_a_back_end_is_ended_the_truth_is_reported),
        SPEC(what_cannot_be_known_in_time_is_said_to_be_unknown),
        SPEC(a_connection_lost_before_commit_takes_the_transaction_with_it),
        cmocka_unit_test_setup_teardown(an_immediate_shutdown_around_commit_is_resolved_when_the_server_is_back,
                                        set_up_own, tear_down_own),
        cmocka_unit_test(everything_is_given_back),
    };
    const char *folder = getenv("WICK_TEST_TMP");
    snprintf(server_dir, sizeof server_dir, "%s/outcome_spec", folder ? folder : "/tmp/wick_outcome_spec");
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
