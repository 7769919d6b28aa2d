/* Prepared statements while the tables change under them: nobody sees a stale plan in autocommit, and a transaction at most once. */
#include "world.h"

static int set_up(void **state)
{
    (void)state;
    if (!server_url())
        return 0;
    struct postgres_settings settings = settings_for(server_url());
    settings.max_size = 4;
    settings.statements_max = 10;
    open_world_with(settings);
    world.admin = open_admin(server_url());
    outside("drop table if exists plans_spec; create table plans_spec(i int, kept text); insert into plans_spec values "
            "(1, 'a');"
            "drop schema if exists plans_a cascade; create schema plans_a; create table plans_a.named as select 1 as i;"
            "drop schema if exists plans_b cascade; create schema plans_b; create table plans_b.named as select 'b' as "
            "name, 2 as i");
    return 0;
}

static uint64_t counted_with(const char *name, const char *labels)
{
    return metric_counter_value(metric_counter(name, "", labels));
}

static uint64_t counted(const char *name) { return counted_with(name, "pool=\"primary\""); }

/* --- autocommit ----------------------------------------------------------------------------------------------- */

static const char *const changes[] = {
    "alter table plans_spec add column more text",
    "alter table plans_spec alter column i type bigint",
    "alter table plans_spec rename column kept to other",
    "alter table plans_spec rename column other to kept",
    "alter table plans_spec drop column more",
    "alter table plans_spec alter column i type int",
};
enum { CHANGES = sizeof changes / sizeof *changes };

static void check(const struct asked *asked)
{
    if (asked->call.fail)
        fail_msg("%s: %s %s", asked->call.text.data, asked->call.error.sqlstate, asked->call.error.text);
}

static void tables_change_under_traffic_and_nobody_in_autocommit_sees_a_stale_plan(void **state)
{
    static const char *const texts[] = { "select * from plans_spec", "select * from plans_spec where i = 1",
                                         "update plans_spec set i = 1 where i = 1 returning *",
                                         "with p as (select * from plans_spec) select * from p limit 1" };
    static struct asked asked[24];
    (void)state;
    if (!needs_server())
        skip();
    unsigned answers = 0, ddl = 0;
    for (unsigned i = 0; i < 24; i++)
        ask(&asked[i], texts[i % 4], /* read_only= */ i % 4 < 2);
    uint64_t end_ms = clock_mono_ms() + 1500;
    while (clock_mono_ms() < end_ms || ddl < 4 * CHANGES) {
        outside(changes[ddl++ % CHANGES]);
        for (int turns = 0; turns < 8; turns++) {
            turn(2);
            for (unsigned i = 0; i < 24; i++) {
                if (!asked[i].is_done)
                    continue;
                check(&asked[i]);
                answers++;
                drop_rows(&asked[i]);
                ask(&asked[i], texts[i % 4], i % 4 < 2);
            }
        }
    }
    for (unsigned i = 0; i < 24; i++) {
        wait_for(&asked[i]);
        check(&asked[i]);
        drop_rows(&asked[i]);
    }
    assert_true(answers > 4 * ddl);
}

static void what_a_plugin_deallocates_is_prepared_again(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    for (int round = 0; round < 20; round++) {
        run("select 1");
        run("update plans_spec set i = i");
        run(round % 2 ? "deallocate all" : "discard all");
        run("update plans_spec set i = i");
        /* Behind the pool's back: */
        run("do $$ begin execute 'deallocate all'; end $$");
        run("update plans_spec set i = i");
    }
}

/* --- pipelines ------------------------------------------------------------------------------------------------ */

static void run_piped(struct asked *asked, struct sql_call **calls, const char *const *texts, unsigned count,
                      bool atomic)
{
    for (unsigned i = 0; i < count; i++) {
        prepare_call(&asked[i], texts[i], 0);
        calls[i] = &asked[i].call;
    }
    sql_run_many(world.engine, calls, count, atomic);
    for (unsigned i = 0; i < count; i++) {
        wait_for(&asked[i]);
        check(&asked[i]);
        drop_rows(&asked[i]);
    }
}

static void a_pipeline_with_a_stale_plan_takes_place_once(void **state)
{
    static const char *const texts[] = { "insert into plans_spec values (7) returning *", "select * from plans_spec",
                                         "insert into plans_spec values (7)" };
    static struct asked asked[3];
    struct sql_call *calls[3];
    (void)state;
    if (!needs_server())
        skip();
    for (unsigned round = 0; round < 8; round++) {
        outside(changes[round % CHANGES]);
        run_piped(asked, calls, texts, 3, /* atomic= */ round % 2 == 0);
    }
    assert_int_equal(outside_int("select count(*) from plans_spec where i = 7"), 16);
}

static void a_pipeline_may_deallocate_in_its_midst(void **state)
{
    static const char *const texts[] = { "select 11", "select 12", "deallocate all",
                                         "select 11", "select 13", "select 12" };
    static struct asked asked[6];
    struct sql_call *calls[6];
    (void)state;
    if (!needs_server())
        skip();
    for (unsigned round = 0; round < 6; round++)
        run_piped(asked, calls, texts, 6, /* atomic= */ round % 2 == 0);
}

static void a_pipeline_may_overflow_the_cache(void **state)
{
    static struct asked asked[64];
    static char texts[64][32];
    const char *pointers[64];
    struct sql_call *calls[64];
    (void)state;
    if (!needs_server())
        skip();
    uint64_t evicted = counted("wick_pg_statement_cache_evictions_total");
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned i = 0; i < 64; i++) {
            snprintf(texts[i], sizeof texts[i], "select %u", i % 48); /* far more than 10, some of them twice */
            pointers[i] = texts[i];
        }
        run_piped(asked, calls, pointers, 64, round % 2 == 0);
    }
    run("select 1");
    assert_true(counted("wick_pg_statement_cache_evictions_total") > evicted + 100);
    /* What made room is closed on the server, too. */
    turn(20);
    assert_true(atoi(run("select count(*) from pg_prepared_statements")) <= 11);
}

/* --- transactions --------------------------------------------------------------------------------------------- */

static uint64_t abandoned(void)
{
    static const char *const outcomes[] = { "ended", "lost" };
    uint64_t sum = 0;
    for (size_t i = 0; i < COUNT_OF(outcomes); i++) {
        char labels[96];
        snprintf(labels, sizeof labels, "pool=\"primary\",cause=\"abandoned\",outcome=\"%s\"", outcomes[i]);
        sum += counted_with("wick_pg_cancels_total", labels);
    }
    return sum;
}

/* What made room is deallocated behind the COMMIT; that is no statement which somebody left. */
static void a_transaction_with_new_texts_is_not_cancelled_when_it_has_ended(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    uint64_t before = abandoned();
    for (unsigned round = 0; round < 100; round++) {
        struct leased leased;
        char text[32];
        struct sql_session *session = begin(&leased);
        for (unsigned i = 0; i < 12; i++) {
            snprintf(text, sizeof text, "select %u", 12 * round + i);
            run_in(session, text);
        }
        run_in(session, "commit");
        sql_session_end(session);
    }
    turn(50);
    assert_int_equal(abandoned(), before);
    assert_true(atoi(run("select count(*) from pg_prepared_statements")) <= 11);
}

/* The first statement that fails; "" when all went well. */
static bool try_all(const char *const *texts, unsigned count, bool *again)
{
    struct leased leased;
    struct sql_session *session = begin(&leased);
    bool is_good = true;
    for (unsigned i = 0; i < count && is_good; i++) {
        struct asked asked = { .is_done = false };
        ask_in(session, &asked, texts[i]);
        wait_for(&asked);
        is_good = asked.call.fail == FAIL_OK;
        *again = asked.call.error.again;
        drop_rows(&asked);
    }
    sql_session_end(session);
    return is_good;
}

static void a_transaction_meets_at_most_one_stale_plan_however_many_there_are(void **state)
{
    static const char *const texts[] = { "select * from plans_spec", "select * from plans_spec where i > 0",
                                         "update plans_spec set i = 1 where i = 1 returning *", "commit" };
    struct leased leased[4];
    (void)state;
    if (!needs_server())
        skip();
    unsigned stale = 0;
    for (unsigned round = 0; round < 12; round++) {
        for (unsigned i = 0; i < 4; i++) /* each of the four connections knows them all */
            begin(&leased[i]);
        for (unsigned i = 0; i < 4; i++) {
            for (unsigned k = 0; k < 2; k++)
                run_in(leased[i].lease.session, texts[k]);
            sql_session_end(leased[i].lease.session);
        }
        turn(20);
        outside(changes[round % CHANGES]);
        for (unsigned i = 0; i < 4; i++) {
            bool again = false;
            if (try_all(texts, 4, &again))
                continue;
            stale++;
            assert_true(again);
            assert_true(try_all(texts, 4, &again));
        }
        turn(20);
    }
    assert_true(stale > 0 && stale <= 12); /* one for each change, at most */
}

static void in_a_transaction_names_mean_what_the_search_path_says(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    for (unsigned round = 0; round < 4; round++) {
        struct leased leased;
        struct asked asked = { .is_done = false };
        struct sql_session *session = begin(&leased);
        static const char *const paths[] = { "set local search_path = plans_a",
                                             "set search_path to plans_b",
                                             "select set_config('search_path', 'plans_a', true)",
                                             "savepoint s",
                                             "set search_path to plans_b",
                                             "rollback to s" };
        static const unsigned columns[] = { 1, 2, 1, 1, 2, 1 };
        for (unsigned i = 0; i < 6; i++) {
            run_in(session, paths[i]);
            ask_in(session, &asked, "select * from named");
            expect_ok(&asked);
            assert_int_equal(asked.call.rows->column_count, columns[i]);
            drop_rows(&asked);
        }
        run_in(session, round % 2 ? "commit" : "rollback");
        sql_session_end(session);
        turn(20);
        ask(&asked, "select * from named", true);
        expect_error(&asked, FAIL_SQL, "42P01"); /* on whichever connection */
        assert_string_equal(run("select pg_catalog.current_setting('search_path')"), "\"$user\", public");
        run("select set_config('search_path', 'plans_a', false)");
        assert_string_equal(run("select pg_catalog.current_setting('search_path')"), "\"$user\", public");
    }
}

static void a_scope_that_comes_again_finds_its_plans(void **state)
{
    static const char *const texts[] = { "set local search_path = plans_a", "select * from named" };
    bool again;
    (void)state;
    if (!needs_server())
        skip();
    assert_true(try_all(texts, 2, &again));
    turn(20);
    uint64_t misses = counted("wick_pg_statement_cache_misses_total"),
             hits = counted("wick_pg_statement_cache_hits_total");
    assert_true(try_all(texts, 2, &again));
    assert_int_equal(counted("wick_pg_statement_cache_misses_total"), misses);
    assert_int_equal(counted("wick_pg_statement_cache_hits_total"), hits + 2);
}

static void the_plugins_own_mistakes_stay_its_own(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked asked = { .is_done = false };
    ask(&asked, "execute nothing", false);
    expect_error(&asked, FAIL_SQL, "26000");
    assert_false(asked.call.error.again);
    struct leased leased;
    struct sql_session *session = begin(&leased);
    run_in(session, "prepare mine as select 1");
    ask_in(session, &asked, "prepare mine as select 1");
    expect_error(&asked, FAIL_SQL, "42P05");
    assert_false(asked.call.error.again);
    sql_session_end(session);
}

int main(void)
{
#define SPEC(name) cmocka_unit_test_setup_teardown(name, set_up, close_world)
    const struct CMUnitTest tests[] = {
        SPEC(tables_change_under_traffic_and_nobody_in_autocommit_sees_a_stale_plan),
        SPEC(what_a_plugin_deallocates_is_prepared_again),
        SPEC(a_pipeline_with_a_stale_plan_takes_place_once),
        SPEC(a_pipeline_may_deallocate_in_its_midst),
        SPEC(a_pipeline_may_overflow_the_cache),
        SPEC(a_transaction_with_new_texts_is_not_cancelled_when_it_has_ended),
        SPEC(a_transaction_meets_at_most_one_stale_plan_however_many_there_are),
        SPEC(in_a_transaction_names_mean_what_the_search_path_says),
        SPEC(a_scope_that_comes_again_finds_its_plans),
        SPEC(the_plugins_own_mistakes_stay_its_own),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
