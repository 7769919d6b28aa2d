/* Deadlines and cancels end statements on the server, and never hit anybody else. */
#include "world.h"

static int set_up(void **state)
{
    (void)state;
    if (!server_url())
        return 0;
    open_world_and_admin(settings_for(server_url()));
    run("select 1");
    return 0;
}

static int running_on_server(void)
{
    return outside_int("select count(*) from pg_stat_activity where state = 'active' and " OURS);
}

static void a_deadline_cancels_on_the_server(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked asked = { .is_done = false };
    prepare_call(&asked, "select pg_sleep(30)", 0);
    asked.call.timeout_ms = 100;
    uint64_t begin_ms = clock_mono_ms();
    sql_run(world.engine, &asked.call);
    turn(50);
    assert_int_equal(running_on_server(), 1);
    expect_error(&asked, FAIL_TIMEOUT, "57014");
    assert_in_range(clock_mono_ms() - begin_ms, 100, slow_ms(200));
    assert_true(asked.call.error.sent);
    turn_until(500, running_on_server() == 0);
}

static void a_cancel_is_answered_at_once_and_ends_the_statement(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked asked = { .is_done = false };
    ask(&asked, "select pg_sleep(30)", true);
    turn(50);
    uint64_t begin_ms = clock_mono_ms();
    sql_cancel(world.engine, &asked.call);
    assert_false(asked.is_done);
    expect_error(&asked, FAIL_CANCELLED, "57014");
    assert_true(clock_mono_ms() - begin_ms < slow_ms(20));
    turn_until(500, running_on_server() == 0);
    sql_cancel(world.engine, &asked.call); /* too late: nothing happens */
    turn(20);
}

static void a_cancelled_call_that_waits_sends_nothing(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked busy[4], waiting = { .is_done = false };
    outside("drop table if exists cancel_spec; create table cancel_spec(i int)");
    for (int i = 0; i < 4; i++)
        ask(&busy[i], "select pg_sleep(0.4)", true);
    turn(100);
    ask(&waiting, "insert into cancel_spec values (1)", false);
    turn(50);
    sql_cancel(world.engine, &waiting.call);
    expect_error(&waiting, FAIL_CANCELLED, "57014");
    assert_false(waiting.call.error.sent);
    struct asked at_once = { .is_done = false };
    ask(&at_once, "insert into cancel_spec values (2)", false);
    sql_cancel(world.engine, &at_once.call); /* in the turn it was asked in */
    expect_error(&at_once, FAIL_CANCELLED, "57014");
    for (int i = 0; i < 4; i++) {
        expect_ok(&busy[i]);
        drop_rows(&busy[i]);
    }
    turn(50);
    assert_int_equal(outside_int("select count(*) from cancel_spec"), 0);
}

static void a_write_that_was_cancelled_left_nothing(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked asked = { .is_done = false };
    outside("drop table if exists cancel_spec; create table cancel_spec(i int)");
    ask(&asked, "insert into cancel_spec select i from generate_series(1, 5) i, pg_sleep(2)", false);
    turn(100);
    sql_cancel(world.engine, &asked.call);
    expect_error(&asked, FAIL_CANCELLED, "57014");
    turn_until(500, running_on_server() == 0);
    assert_int_equal(outside_int("select count(*) from cancel_spec"), 0);
}

/* --- the hammer: random cancels, and every call that was not cancelled gets its own answer --- */

enum { HAMMERS = 24 };
static struct {
    struct asked asked[HAMMERS];
    uint64_t random;
    unsigned started, answered, cancelled, hits;
} hammer;

static uint32_t next_random(void)
{
    hammer.random = hammer.random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(hammer.random >> 33);
}

static void strike(struct asked *asked)
{
    static const char *const texts[] = { "select $1::int as n", "select $1::int as n from pg_sleep(0.0005)",
                                         "select $1::int as n, count(*) from generate_series(1, 3000)",
                                         "insert into hammer_spec values ($1) returning i" };
    unsigned kind = next_random() % 4;
    prepare_call(asked, texts[kind], 1);
    asked->call.read_only = kind != 3;
    asked->params[0] = (struct sql_value){ .type = SQL_INT, .integer = ++hammer.started };
    sql_run(world.engine, &asked->call);
}

static void check_answer(struct asked *asked)
{
    if (asked->call.fail == FAIL_CANCELLED) {
        hammer.cancelled++;
        return;
    }
    hammer.hits += asked->call.fail != FAIL_OK; /* a cancel that was meant for another */
    if (asked->call.fail)
        fprintf(stderr, "hit: %s %s\n", asked->call.error.sqlstate, asked->call.error.text);
    else
        assert_int_equal(sql_rows_cell(asked->call.rows, 0, 0).integer, asked->params[0].integer);
    hammer.answered++;
    drop_rows(asked);
}

static void a_cancel_never_hits_the_next_user(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    const char *given = getenv("WICK_HAMMER"), *sanitize = getenv("WICK_TEST_SANITIZE");
    unsigned total = given ? (unsigned)atoi(given) : sanitize && sanitize[0] ? 8000 : 30000; /* tools/soak: more */
    memset(&hammer, 0, sizeof hammer);
    hammer.random = 2026;
    outside("drop table if exists hammer_spec; create unlogged table hammer_spec(i int)");
    for (int i = 0; i < HAMMERS; i++)
        strike(&hammer.asked[i]);
    while (hammer.started < total) {
        turn(next_random() % 2);
        for (int i = 0; i < HAMMERS; i++) {
            struct asked *asked = &hammer.asked[i];
            if (asked->is_done) {
                check_answer(asked);
                strike(asked);
            } else if (next_random() % 8 == 0) {
                sql_cancel(world.engine, &asked->call);
            }
        }
    }
    for (int i = 0; i < HAMMERS; i++) {
        wait_for(&hammer.asked[i]);
        check_answer(&hammer.asked[i]);
    }
    printf("%u answered, %u cancelled\n", hammer.answered, hammer.cancelled);
    assert_int_equal(hammer.hits, 0);
    assert_true(hammer.cancelled > total / 50);
    assert_true(front_connections() <= 4);
}

static void a_server_that_stands_still_blocks_no_loop(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    skip_pooled("it takes another back end (pooler_spec stops the pooler itself)");
    int pid = atoi(run("select pg_backend_pid()"));
    struct asked asked = { .is_done = false };
    outside("create or replace function stand_still(pid int) returns void language plpgsql as $$ begin "
            "execute format('copy (select 1) to program ''cat >/dev/null; kill -STOP %s''', pid); end $$");
    char text[64];
    snprintf(text, sizeof text, "select stand_still(%d)", pid);
    outside(text);
    prepare_call(&asked, "select 1", 0);
    asked.call.timeout_ms = 200;
    uint64_t begin_ms = clock_mono_ms();
    sql_run(world.engine, &asked.call);
    expect_error(&asked, FAIL_TIMEOUT, "57014");
    assert_in_range(clock_mono_ms() - begin_ms, 200, slow_ms(300));
    assert_string_equal(run("select 2"), "2"); /* on another connection */
    struct loop_load load;
    loop_load_take(world.loop, &load);
    turn(2500); /* the connection is given up */
    loop_load_take(world.loop, &load);
    assert_true(load.longest_ns < 50 * 1000 * 1000);
    snprintf(text, sizeof text, "copy (select 1) to program 'cat >/dev/null; kill -CONT %d'", pid);
    outside(text);
    snprintf(text, sizeof text, "select count(*) from pg_stat_activity where pid = %d", pid);
    turn_until(2000, outside_int(text) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_deadline_cancels_on_the_server, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_cancel_is_answered_at_once_and_ends_the_statement, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_cancelled_call_that_waits_sends_nothing, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_write_that_was_cancelled_left_nothing, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_cancel_never_hits_the_next_user, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_server_that_stands_still_blocks_no_loop, set_up, close_world),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
