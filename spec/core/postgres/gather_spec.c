/* Writes that may share a commit: one transaction for those of a turn, and each for itself where that fails. */
#include "world.h"

enum { WRITES = 40 };
static struct asked writes[WRITES];

static int set_up(void **state)
{
    (void)state;
    if (!server_url())
        return 0;
    struct postgres_settings settings = settings_for(server_url());
    settings.min_size = 2;
    open_world_and_admin(settings);
    outside("drop table if exists gather_spec; create table gather_spec(id int primary key, parent int references "
            "gather_spec deferrable initially deferred, slept text)");
    return 0;
}

static void ask_write(struct asked *asked, const char *text)
{
    prepare_call(asked, text, 0);
    asked->call.shares_commit = true;
    sql_run(world.engine, &asked->call);
}

/* Each inserts its number; texts that are prepared already, so that all fit into one unit. */
static void ask_insert(struct asked *asked, int64_t id)
{
    prepare_call(asked, "insert into gather_spec(id) values ($1) returning id", 1);
    asked->params[0] = (struct sql_value){ .type = SQL_INT, .integer = id };
    asked->call.shares_commit = true;
    sql_run(world.engine, &asked->call);
}

static void ask_inserts(unsigned count, int64_t first)
{
    for (unsigned i = 0; i < count; i++)
        ask_insert(&writes[i], first + i);
}

static void expect_inserted(struct asked *asked)
{
    expect_ok(asked);
    assert_int_equal(asked->call.rows->row_count, 1);
    drop_rows(asked);
}

static int stored(void) { return outside_int("select count(*) from gather_spec"); }
static int transactions(void) { return outside_int("select count(distinct xmin::text) from gather_spec"); }

static void writes_of_a_turn_share_a_commit(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    run("select 1");
    ask_inserts(WRITES, 1);
    for (unsigned i = 0; i < WRITES; i++)
        expect_inserted(&writes[i]);
    assert_int_equal(stored(), WRITES);
    assert_int_equal(transactions(), 1);
}

static void who_does_not_ask_for_it_commits_alone(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    run("select 1");
    struct asked plain[4] = { { .is_done = false } };
    for (int i = 0; i < 4; i++) {
        prepare_call(&plain[i], "insert into gather_spec(id) values ($1)", 1);
        plain[i].params[0] = (struct sql_value){ .type = SQL_INT, .integer = i };
        sql_run(world.engine, &plain[i].call);
    }
    for (int i = 0; i < 4; i++) {
        expect_ok(&plain[i]);
        drop_rows(&plain[i]);
    }
    assert_int_equal(transactions(), 4);
}

static void one_that_fails_takes_no_other_down(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    outside("insert into gather_spec values (5)");
    ask_inserts(10, 1);
    for (unsigned i = 0; i < 10; i++)
        if (i == 4)
            expect_error(&writes[i], FAIL_SQL, "23505");
        else
            expect_inserted(&writes[i]);
    assert_int_equal(stored(), 10);
}

/* A trigger, or a server behind this one that is down: the SQLSTATE is of a lost connection, which this is not. */
static void an_error_that_names_a_lost_connection_is_an_error_like_others(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    outside("create or replace function gather_spec_down() returns trigger language plpgsql as $$ begin "
            "if new.id = 5 then raise exception 'the foreign server is down' using errcode = '08001'; end if; return "
            "new; end $$;"
            "create trigger down before insert on gather_spec for each row execute function gather_spec_down()");
    ask_inserts(10, 1);
    for (unsigned i = 0; i < 10; i++)
        if (i == 4)
            expect_error(&writes[i], FAIL_SQL, "08001");
        else
            expect_inserted(&writes[i]);
    assert_int_equal(stored(), 9);
}

static void of_two_that_exclude_each_other_one_is_stored(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    for (unsigned i = 0; i < 4; i++)
        ask_insert(&writes[i], 7);
    unsigned fine = 0;
    for (unsigned i = 0; i < 4; i++) {
        wait_for(&writes[i]);
        fine += writes[i].call.fail == FAIL_OK;
        drop_rows(&writes[i]);
    }
    assert_int_equal(fine, 1);
    assert_int_equal(stored(), 1);
}

static void what_fails_only_at_the_commit_is_found_as_well(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    ask_inserts(3, 1);
    ask_write(&writes[3], "insert into gather_spec values (4, 99)"); /* there is no 99: said when it commits */
    ask_insert(&writes[4], 5);
    for (unsigned i = 0; i < 5; i++)
        if (i == 3)
            expect_error(&writes[i], FAIL_SQL, "23503");
        else
            expect_inserted(&writes[i]);
    assert_int_equal(stored(), 4);
}

static void one_that_is_given_up_leaves_the_others_stored(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    ask_inserts(3, 1);
    ask_write(&writes[3], "insert into gather_spec values (4, null, pg_sleep(30)::text)");
    ask_insert(&writes[4], 5);
    turn_until(2000, outside_int("select count(*) from pg_stat_activity where state = 'active' and query like "
                                 "'%pg_sleep(30)%' and " OURS) == 1);
    sql_cancel(world.engine, &writes[3].call);
    for (unsigned i = 0; i < 5; i++)
        if (i == 3)
            expect_error(&writes[i], FAIL_CANCELLED, "57014");
        else
            expect_inserted(&writes[i]);
    assert_int_equal(stored(), 4);
}

static void of_a_lost_connection_the_outcome_is_unknown_and_nothing_is_run_twice(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    ask_inserts(3, 1);
    ask_write(&writes[3], "insert into gather_spec values (4, null, pg_sleep(30)::text)");
    turn_until(2000, outside_int("select count(*) from pg_stat_activity where state = 'active' and query like "
                                 "'%pg_sleep(30)%' and " OURS) == 1);
    outside("select pg_terminate_backend(pid) from pg_stat_activity where state = 'active' and " OURS);
    for (unsigned i = 0; i < 4; i++) {
        wait_for(&writes[i]);
        assert_int_equal(writes[i].call.fail, FAIL_SQL);
        assert_true(writes[i].call.error.sent);
        assert_true(sql_error_is(&writes[i].call.error, "57P01") || sql_error_is(&writes[i].call.error, "08"));
    }
    assert_int_equal(stored(), 0);
}

static void what_comes_while_two_units_are_on_their_way_leaves_with_the_next(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    outside("insert into gather_spec select i, null, null from generate_series(1000, 1001) i");
    turn_until(2000, front_connections() == 2);
    turn(20);
    outside("begin; update gather_spec set slept = 'x' where id in (1000, 1001)"); /* holds two units up */
    for (unsigned i = 0; i < 2; i++) {
        char text[96];
        snprintf(text, sizeof text,
                 "with held as (delete from gather_spec where id = %u) insert into gather_spec values (%u)", 1000 + i,
                 2000 + i);
        ask_write(&writes[30 + i], text);
        turn(5);
    }
    for (unsigned i = 0; i < 20; i++) {
        ask_insert(&writes[i], (int)i);
        turn(1);
    }
    turn(50);
    for (unsigned i = 0; i < 20; i++)
        assert_false(writes[i].is_done);
    outside("commit");
    for (unsigned i = 0; i < 20; i++)
        expect_inserted(&writes[i]);
    for (unsigned i = 30; i < 32; i++) {
        expect_ok(&writes[i]);
        drop_rows(&writes[i]);
    }
    assert_int_equal(outside_int("select count(distinct xmin::text) from gather_spec where id < 100"), 1);
}

static void who_waits_has_a_deadline(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    close_engine();
    world.settings.min_size = world.settings.max_size = 1;
    world.settings.acquire_timeout_ms = slow_ms(150);
    char why[256] = "";
    assert_int_equal(postgres_engine_open(&world.settings, &world.loop, 1, &world.engine, why, sizeof why), FAIL_OK);
    struct leased leased;
    struct sql_session *session = begin(&leased);
    ask_inserts(3, 1);
    for (unsigned i = 0; i < 3; i++)
        expect_error(&writes[i], FAIL_TIMEOUT, "53300");
    ask_inserts(3, 1);
    turn(10);
    sql_cancel(world.engine, &writes[0].call);
    expect_error(&writes[0], FAIL_CANCELLED, "57014");
    sql_session_end(session);
    expect_inserted(&writes[1]);
    expect_inserted(&writes[2]);
    assert_int_equal(stored(), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(writes_of_a_turn_share_a_commit),
        TEST(who_does_not_ask_for_it_commits_alone),
        TEST(one_that_fails_takes_no_other_down),
        TEST(an_error_that_names_a_lost_connection_is_an_error_like_others),
        TEST(of_two_that_exclude_each_other_one_is_stored),
        TEST(what_fails_only_at_the_commit_is_found_as_well),
        TEST(one_that_is_given_up_leaves_the_others_stored),
        TEST(of_a_lost_connection_the_outcome_is_unknown_and_nothing_is_run_twice),
        TEST(what_comes_while_two_units_are_on_their_way_leaves_with_the_next),
        TEST(who_waits_has_a_deadline),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
