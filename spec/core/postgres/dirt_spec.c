/* What a statement leaves on its connection, by its words; and that the next user finds none of it. */
#include "world.h"

#include "postgres/dirt.h"

static void what_ends_with_the_transaction_is_clean(void **state)
{
    (void)state;
    static const char *const clean[] = {
        "",
        "select 1",
        "select temp, prepared from readings where hold = $1",
        "insert into temp_log values ($1)",
        "set local search_path = a",
        "/* x */ set transaction isolation level serializable",
        "set constraints all deferred",
        "select set_config('a.b', $1, true)",
        "select set_config('a.b', (select max(x) from t), TRUE), 1",
        "select pg_advisory_xact_lock($1)",
        "select pg_advisory_unlock(1)",
        "declare c cursor for select 1",
        "select 'set_config(1)'",
        "select 1 -- set_config(a, b, false)",
        "create table temperature(i int)",
        "select * into archive from t",
        "with x as (select 1) select * from x",
        "unlisten *",
        "notify a, 'b'",
        "select $$ listen $$",
        "select setting from pg_settings where name = 'a'",
        "update settings set value = 1",
        "explain analyze select 1",
        "select \"a b\" from t",
    };
    for (size_t i = 0; i < COUNT_OF(clean); i++)
        if (postgres_dirt_of(str_of(clean[i])))
            fail_msg("dirty: %s", clean[i]);
}

static void what_stays_is_dirt(void **state)
{
    (void)state;
    static const char *const dirty[] = {
        "set search_path = a",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "set role x",
        "-- c\n set x to 1",
        "select set_config('a.b', $1, false)",
        "select set_config('a.b', $1, $2)",
        "select pg_catalog.\"set_config\"('a', 'b', false)",
        "select set_config('a.b', 'c', true), set_config('a.b', 'c', false)",
        "select pg_advisory_lock(1)",
        "select Pg_Try_Advisory_Lock_Shared(1)",
        "create temp table t(i int)",
        "create local temporary view v as select 1",
        "create or replace temp view v as select 1",
        "select 1 as a into temp t",
        "select 1 as a into local temp t",
        "listen a",
        "declare c cursor with hold for select 1",
        "create table pg_temp.t(i int)",
        "select 1 as i into \"pg_temp\".t",
        "select set_config('a.b', 'c', not true)",
        "select set_config('a.b', 'c', $1 and true)",
        "update pg_settings set setting = 'a' where name = 'search_path'",
        "with x as (update pg_catalog.pg_settings set setting = $1 where name = $2 returning 1) select * from x",
        "explain analyze create temp table t as select 1",
        "explain (analyze, verbose) create temporary table t as select 1",
        "select U&\"set\\005fconfig\"('a.b', 'c', false)",
        "select U&\"set!005fconfig\" uescape '!' ('a.b', 'c', false)",
    };
    for (size_t i = 0; i < COUNT_OF(dirty); i++)
        if (postgres_dirt_of(str_of(dirty[i])) != POSTGRES_DIRT_STATE)
            fail_msg("not dirty: %s", dirty[i]);
    assert_int_equal(postgres_dirt_of(STR("prepare p as select 1")), POSTGRES_DIRT_PREPARED);
    assert_int_equal(postgres_dirt_of(STR("do $$ begin end $$")), POSTGRES_DIRT_UNTOLD);
    assert_int_equal(postgres_dirt_of(STR("CALL p(1)")), POSTGRES_DIRT_UNTOLD);
}

static int set_up(void **state)
{
    (void)state;
    if (!server_url())
        return 0;
    struct postgres_settings settings = settings_for(server_url());
    settings.max_size = 1; /* so that the next user has the same connection */
    open_world_with(settings);
    world.admin = open_admin(server_url());
    return 0;
}

static void the_next_user_finds_nothing(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    int pid = atoi(run("select pg_backend_pid()"));
    run("select set_config('app.tenant', 'alice', false)");
    assert_string_equal(run("select coalesce(current_setting('app.tenant', true), '')"), "");
    run("create temp table dirt_spec(i int)");
    assert_string_equal(run("select coalesce(to_regclass('dirt_spec')::text, '')"), "");
    run("create table pg_temp.dirt_spec(i int)");
    assert_string_equal(run("select coalesce(to_regclass('dirt_spec')::text, '')"), "");
    run("do $$ begin perform set_config('app.tenant', 'alice', false); end $$");
    assert_string_equal(run("select coalesce(current_setting('app.tenant', true), '')"), "");
    run("update pg_settings set setting = 'pg_catalog' where name = 'search_path'");
    assert_string_equal(run("select current_setting('search_path')"), "\"$user\", public");
    run("explain analyze create temp table dirt_spec as select 1");
    assert_string_equal(run("select coalesce(to_regclass('dirt_spec')::text, '')"), "");
    run("select pg_advisory_lock(4242)");
    run("select 1");
    assert_int_equal(outside_int("select count(*) from pg_locks where locktype = 'advisory' and objid = 4242"), 0);
    run("prepare dirt_spec as select 1");
    run("prepare dirt_spec as select 2"); /* the name is free again */
    run("select 1 as still_works");
    run("listen dirt_spec");
    assert_string_equal(run("select count(*) from pg_listening_channels()"), "0");
    assert_int_equal(atoi(run("select pg_backend_pid()")), pid);
}

static void a_connection_that_cannot_be_cleaned_is_closed(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    outside("drop role if exists dirt_guest; create role dirt_guest login password 'guest';"
            "revoke execute on function pg_catalog.pg_advisory_unlock_all() from public");
    close_world(NULL);
    const char *at = strchr(server_url(), '@');
    char url[400];
    snprintf(url, sizeof url, "postgres://dirt_guest:guest%s", at ? at : "");
    struct postgres_settings settings = settings_for(url);
    settings.max_size = 1;
    open_world_with(settings);
    world.admin = open_admin(server_url());
    int pid = atoi(run("select pg_backend_pid()"));
    run("select set_config('app.tenant', 'mallory', false)");
    assert_string_equal(run("select coalesce(current_setting('app.tenant', true), '')"), "");
    assert_int_not_equal(atoi(run("select pg_backend_pid()")), pid);
    outside("grant execute on function pg_catalog.pg_advisory_unlock_all() to public");
}

static void what_a_session_leaves_is_gone_also_when_it_committed(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct sql_session *session = begin(&leased);
    run_in(session, "select set_config('app.tenant', 'bob', false)");
    run_in(session, "commit");
    sql_session_end(session);
    assert_string_equal(run("select coalesce(current_setting('app.tenant', true), '')"), "");
}

static void neighbours_of_one_turn_find_nothing_either(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static struct asked asked[8];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 8; i++)
            ask(&asked[i],
                i % 2 ? "select coalesce(current_setting('app.tenant', true), '')"
                      : "select set_config('app.tenant', 'eve', false)",
                /* read_only= */ true);
        for (int i = 0; i < 8; i++) {
            expect_ok(&asked[i]);
            if (i % 2)
                assert_int_equal(sql_rows_cell(asked[i].call.rows, 0, 0).text.len, 0);
            drop_rows(&asked[i]);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_ends_with_the_transaction_is_clean),
        cmocka_unit_test(what_stays_is_dirt),
        TEST(the_next_user_finds_nothing),
        TEST(a_connection_that_cannot_be_cleaned_is_closed),
        TEST(what_a_session_leaves_is_gone_also_when_it_committed),
        TEST(neighbours_of_one_turn_find_nothing_either),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
