/* Transactions: BEGIN rides along, what is open at the end is rolled back, nothing of one reaches the next. */
#include "world.h"

static int set_up_with(unsigned idle_ms)
{
    if (!server_url())
        return 0;
    struct postgres_settings settings = settings_for(server_url());
    settings.max_size = 2;
    settings.idle_in_transaction_ms = idle_ms;
    open_world_and_admin(settings);
    outside("drop table if exists session_spec; create table session_spec(i int primary key deferrable initially "
            "deferred)");
    return 0;
}
static int set_up(void **state)
{
    (void)state;
    return set_up_with(10000);
}
static int set_up_impatient(void **state)
{
    (void)state;
    return set_up_with(100);
}

/* A transaction that stored 1 and is open. */
static struct sql_session *begin_with_a_row(struct leased *leased)
{
    struct sql_session *session = begin(leased);
    run_in(session, "insert into session_spec values (1)");
    return session;
}

static int count(void) { return outside_int("select count(*) from session_spec"); }

static void what_is_committed_is_there_and_what_is_not_is_not(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct sql_session *session = begin_with_a_row(&leased);
    assert_int_equal(count(), 0);
    run_in(session, "commit");
    sql_session_end(session);
    assert_int_equal(count(), 1);

    session = begin(&leased);
    run_in(session, "insert into session_spec values (2)");
    run_in(session, "rollback");
    sql_session_end(session);
    session = begin(&leased);
    run_in(session, "insert into session_spec values (3)");
    sql_session_end(session); /* left open: rolled back */
    session = begin(&leased);
    sql_session_end(session); /* nothing was ever sent */
    assert_int_equal(count(), 1);
    turn_until(2000, outside_int("select count(*) from pg_stat_activity where state like 'idle in%' and " OURS) == 0);
}

static void begin_leaves_together_with_the_first_statement(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct sql_session *session = begin(&leased);
    turn(50);
    assert_int_equal(outside_int("select count(*) from pg_stat_activity where state like 'idle in%' and " OURS), 0);
    run_in(session, "select 1");
    assert_int_equal(outside_int("select count(*) from pg_stat_activity where state = 'idle in transaction' and " OURS),
                     1);
    sql_session_end(session);
}

static void a_commit_after_an_error_says_that_nothing_was_committed(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct asked asked = { .is_done = false };
    struct sql_session *session = begin_with_a_row(&leased);
    ask_in(session, &asked, "select 1/0");
    expect_error(&asked, FAIL_SQL, "22012");
    ask_in(session, &asked, "select 1");
    expect_error(&asked, FAIL_SQL, "25P02");
    ask_in(session, &asked, "COMMIT");
    expect_error(&asked, FAIL_SQL, "25P02");
    ask_in(session, &asked, "select 1");
    expect_error(&asked, FAIL_SQL, "25P01");
    sql_session_end(session);
    assert_int_equal(count(), 0);
}

static void a_commit_behind_a_comment_is_one_as_well(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char *const commits[] = { "-- done\ncommit", "/* a /* b */ */ END", "commit work" };
    for (size_t i = 0; i < COUNT_OF(commits); i++) {
        struct leased leased;
        struct asked asked = { .is_done = false };
        struct sql_session *session = begin(&leased);
        run_in(session, "insert into session_spec values (1)");
        ask_in(session, &asked, "select 1/0");
        expect_error(&asked, FAIL_SQL, "22012");
        ask_in(session, &asked, commits[i]);
        expect_error(&asked, FAIL_SQL, "25P02");
        sql_session_end(session);
        assert_int_equal(count(), 0);
    }
}

static void a_deferred_constraint_fails_the_commit(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct asked asked = { .is_done = false };
    struct sql_session *session = begin_with_a_row(&leased);
    run_in(session, "insert into session_spec values (1)");
    ask_in(session, &asked, "commit");
    expect_error(&asked, FAIL_SQL, "23505");
    sql_session_end(session);
    assert_int_equal(count(), 0);
    assert_string_equal(run("select 5"), "5");
}

static void a_read_only_session_writes_nothing(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct asked asked = { .is_done = false };
    ask_session(&leased, /* read_only= */ true);
    turn_until(2000, leased.is_done);
    ask_in(leased.lease.session, &asked, "insert into session_spec values (1)");
    expect_error(&asked, FAIL_SQL, "25006");
    sql_session_end(leased.lease.session);
}

static void calls_of_a_session_run_in_order(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    static struct asked asked[20];
    struct sql_session *session = begin(&leased);
    for (int i = 0; i < 20; i++)
        ask_in(session, &asked[i],
               i % 2 ? "select max(i) from session_spec"
                     : "insert into session_spec select count(*) from session_spec");
    for (int i = 0; i < 20; i++) {
        expect_ok(&asked[i]);
        if (i % 2)
            assert_int_equal(sql_rows_cell(asked[i].call.rows, 0, 0).integer, i / 2);
        if (i)
            assert_true(asked[i].order > asked[i - 1].order);
        drop_rows(&asked[i]);
    }
    sql_session_end(session);
}

static void ending_a_session_ends_what_runs_in_it(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct asked running = { .is_done = false }, queued = { .is_done = false };
    struct sql_session *session = begin_with_a_row(&leased);
    ask_in(session, &running, "select pg_sleep(30)");
    ask_in(session, &queued, "insert into session_spec values (2)");
    turn(100);
    sql_session_end(session);
    expect_error(&running, FAIL_CANCELLED, "57014");
    expect_error(&queued, FAIL_CANCELLED, "57014");
    turn_until(
        1000,
        outside_int(
            "select count(*) from pg_stat_activity where (state = 'active' or state like 'idle in%') and " OURS) == 0);
    assert_int_equal(count(), 0);
    for (int i = 0; i < 10; i++)
        assert_string_equal(run("select 3"), "3");
}

static void a_deadline_in_a_session_fails_its_transaction_only(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct asked asked = { .is_done = false };
    struct sql_session *session = begin_with_a_row(&leased);
    prepare_call(&asked, "select pg_sleep(30)", 0);
    asked.call.timeout_ms = 100;
    sql_session_run(session, &asked.call);
    expect_error(&asked, FAIL_TIMEOUT, "57014");
    ask_in(session, &asked, "select 1"); /* waits until the cancel is over */
    expect_error(&asked, FAIL_SQL, "25P02");
    run_in(session, "rollback");
    sql_session_end(session);
    assert_string_equal(run("select 3"), "3");
}

static void a_session_that_sends_nothing_is_rolled_back(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct asked asked = { .is_done = false };
    struct sql_session *session = begin_with_a_row(&leased);
    turn_until(1000, outside_int("select count(*) from pg_stat_activity where state like 'idle in%' and " OURS) == 0);
    ask_in(session, &asked, "insert into session_spec values (2)");
    expect_error(&asked, FAIL_SQL, "25P03");
    ask_in(session, &asked, "commit");
    expect_error(&asked, FAIL_SQL, "25P03");
    sql_session_end(session);
    assert_int_equal(count(), 0);
}

static void settings_of_one_session_do_not_reach_the_next(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    skip_pooled("SET and LISTEN are refused there (pooler_spec)");
    for (int i = 0; i < 4; i++) {
        struct leased leased;
        struct sql_session *session = begin(&leased);
        run_in(session, "set datestyle = 'German'");
        run_in(session, "set search_path = pg_catalog");
        run_in(session, "listen something");
        run_in(session, "commit");
        sql_session_end(session);
    }
    for (int i = 0; i < 4; i++) {
        assert_string_equal(run("show datestyle"), "ISO, MDY");
        assert_string_equal(run("show search_path"), "\"$user\", public");
        assert_string_equal(run("select count(*) from pg_listening_channels()"), "0");
        assert_string_equal(run("show timezone"), "UTC");
    }
}

/* It would be rolled back as soon as its connection is given back, and what follows would be on its own. */
static void a_transaction_outside_of_a_session_is_refused(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char *const texts[] = { "begin", "START TRANSACTION", "commit", "end", "rollback", "savepoint a" };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct asked asked = { .is_done = false };
        ask(&asked, texts[i], false);
        expect_error(&asked, FAIL_SQL, "25001");
    }
    assert_int_equal(outside_int("select count(*) from pg_stat_activity where state like 'idle in%' and " OURS), 0);
    run("insert into session_spec values (7)");
    assert_int_equal(count(), 1);
}

static void a_lost_commit_is_looked_up_and_its_session_is_over(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    outside("create or replace function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(1); "
            "return null; end $$; "
            "create constraint trigger slowly after insert on session_spec deferrable initially deferred for each row "
            "execute function slow()");
    struct leased leased;
    struct asked asked = { .is_done = false };
    struct sql_session *session = begin_with_a_row(&leased);
    ask_in(session, &asked, "commit");
    turn(100);
    outside("select pg_terminate_backend(pid) from pg_stat_activity where state = 'active' and " OURS);
    expect_error(&asked, FAIL_SQL, "40000"); /* outcome_spec.c has more of it */
    ask_in(session, &asked, "select 1");
    wait_for(&asked);
    assert_int_equal(asked.call.fail, FAIL_SQL);
    sql_session_end(session);
    assert_string_equal(run("select 3"), "3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_committed_is_there_and_what_is_not_is_not, set_up, close_world),
        cmocka_unit_test_setup_teardown(begin_leaves_together_with_the_first_statement, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_commit_after_an_error_says_that_nothing_was_committed, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_commit_behind_a_comment_is_one_as_well, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_deferred_constraint_fails_the_commit, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_read_only_session_writes_nothing, set_up, close_world),
        cmocka_unit_test_setup_teardown(calls_of_a_session_run_in_order, set_up, close_world),
        cmocka_unit_test_setup_teardown(ending_a_session_ends_what_runs_in_it, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_deadline_in_a_session_fails_its_transaction_only, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_session_that_sends_nothing_is_rolled_back, set_up_impatient, close_world),
        cmocka_unit_test_setup_teardown(settings_of_one_session_do_not_reach_the_next, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_transaction_outside_of_a_session_is_refused, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_lost_commit_is_looked_up_and_its_session_is_over, set_up, close_world),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
