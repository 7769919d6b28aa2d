/* Statements on the server: prepared once, bound exactly, pipelined with exact outcomes. */
#include "world.h"

static int set_up(void **state)
{
    (void)state;
    if (!server_url())
        return 0;
    struct postgres_settings settings = settings_for(server_url());
    settings.max_size = 1; /* so that all of it happens on one connection */
    open_world_and_admin(settings);
    outside("drop table if exists query_spec; create table query_spec(id int primary key, name text not null, "
            "parent int references query_spec deferrable initially deferred, constraint name_is_short check "
            "(length(name) < 10))");
    return 0;
}

static int prepared_on_server(void)
{
    return atoi(run("select count(*) from pg_prepared_statements where name like 'wick%'"));
}

static void a_text_is_prepared_once_and_then_only_executed(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    skip_pooled("nothing is prepared there");
    run("select 1 + 1");
    int before = prepared_on_server();
    for (int i = 0; i < 20; i++)
        run("select 1 + 1");
    assert_int_equal(prepared_on_server(), before);
    assert_string_equal(
        run("select generic_plans + custom_plans from pg_prepared_statements where statement = 'select 1 + 1'"), "21");
}

static void mistakes_in_a_call_cost_no_connection(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    int pid = atoi(run("select pg_backend_pid()"));
    struct asked asked = { .is_done = false };
    ask(&asked, "select $1::int as too_few", true);
    expect_error(&asked, FAIL_SQL, "08P01");
    assert_int_equal(sql_error_status(&asked.call.error), 500);
    static const char *const copies[] = { "copy query_spec to stdout", "-- x\n copy query_spec from stdin" };
    for (size_t i = 0; i < COUNT_OF(copies); i++) {
        ask(&asked, copies[i], false);
        expect_error(&asked, FAIL_SQL, "0A000");
    }
    assert_int_equal(atoi(run("select pg_backend_pid()")), pid);
}

/* A trigger, or a server behind this one that is down: the SQLSTATE is of a lost connection, the severity is not. */
static void an_error_that_names_a_lost_connection_costs_none_and_is_not_run_again(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    outside("drop sequence if exists query_spec_runs; create sequence query_spec_runs;"
            "create or replace function query_spec_down(state text) returns int language plpgsql as $$ begin "
            "perform nextval('query_spec_runs'); raise exception 'the foreign server is down' using errcode = state; "
            "end $$");
    static const char *const texts[] = { "select query_spec_down('08001')", "select query_spec_down('08006')",
                                         "select query_spec_down('57P01')" };
    int pid = atoi(run("select pg_backend_pid()"));
    struct asked asked = { .is_done = false };
    for (size_t i = 0; i < 2 * COUNT_OF(texts); i++) {
        ask(&asked, texts[i / 2], /* read_only= */ i % 2);
        wait_for(&asked);
        assert_int_equal(asked.call.fail, FAIL_SQL);
        assert_string_equal(asked.call.error.text, "the foreign server is down");
    }
    assert_int_equal(outside_int("select last_value from query_spec_runs"), 2 * COUNT_OF(texts));
    assert_int_equal(atoi(run("select pg_backend_pid()")), pid);
    outside("drop function query_spec_down(text); drop sequence query_spec_runs");
}

static void at_most_200_statements_stay_prepared(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    for (int i = 0; i < 450; i++) {
        char text[64];
        snprintf(text, sizeof text, "select %d as n", i);
        assert_int_equal(atoi(run(text)), i);
    }
    assert_true(prepared_on_server() <= 201);
}

static void a_statement_is_prepared_anew_when_its_row_type_changes(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    run("insert into query_spec values (1, 'one')");
    for (int read_only = 0; read_only < 2; read_only++) {
        static const char *const changes[] = { "alter table query_spec add column extra int default 5",
                                               "alter table query_spec drop column extra",
                                               "alter table query_spec alter column name type varchar(80)" };
        for (size_t i = 0; i < COUNT_OF(changes); i++) {
            struct asked asked = { .is_done = false };
            ask(&asked, "select * from query_spec", read_only);
            expect_ok(&asked);
            drop_rows(&asked);
            outside(changes[i]);
            ask(&asked, "select * from query_spec", read_only);
            expect_ok(&asked);
            assert_int_equal(
                asked.call.rows->column_count,
                outside_int("select count(*) from pg_attribute where attrelid = 'query_spec'::regclass and "
                            "attnum > 0 and not attisdropped"));
            drop_rows(&asked);
        }
    }
    /* A write, too: its first attempt did nothing. */
    run("update query_spec set name = 'two' returning *");
    outside("alter table query_spec add column more text");
    struct asked asked = { .is_done = false };
    ask(&asked, "update query_spec set name = 'two' returning *", false);
    expect_ok(&asked);
    assert_int_equal(asked.call.rows->changed, 1);
    assert_int_equal(asked.call.rows->column_count, 4);
    drop_rows(&asked);
}

static void statements_survive_that_somebody_deallocates_them_all(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    skip_pooled("nothing is prepared there, and DEALLOCATE is refused");
    run("select 11");
    run("deallocate all");
    assert_string_equal(run("select 11"), "11");
    run("discard all");
    assert_string_equal(run("select 11"), "11");
    run("do $$ begin execute 'deallocate all'; end $$"); /* behind our back: its tag says DO */
    assert_string_equal(run("select 11"), "11");
}

static const char *bound(const char *text, struct sql_value value)
{
    static char cell[1 << 12];
    struct asked asked = { .is_done = false };
    prepare_call(&asked, text, 1);
    asked.params[0] = value;
    sql_run(world.engine, &asked.call);
    expect_ok(&asked);
    struct sql_cell first = sql_rows_cell(asked.call.rows, 0, 0);
    snprintf(cell, sizeof cell, "%.*s", first.kind == SQL_KIND_NULL ? 4 : (int)first.text.len,
             first.kind == SQL_KIND_NULL ? "NULL" : first.text.data);
    drop_rows(&asked);
    return cell;
}

static void values_arrive_exactly(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    assert_string_equal(bound("select $1::int8", (struct sql_value){ .type = SQL_INT, .integer = INT64_MIN }),
                        "-9223372036854775808");
    assert_string_equal(bound("select $1::numeric", (struct sql_value){ .type = SQL_INT, .integer = 9007199254740993 }),
                        "9007199254740993");
    assert_string_equal(bound("select $1::text", (struct sql_value){ .type = SQL_INT, .integer = 5 }), "5");
    assert_string_equal(bound("select $1::numeric", (struct sql_value){ .type = SQL_DOUBLE, .real = 0.1 }), "0.1");
    assert_string_equal(
        bound("select $1::float8 = 1e-7::float8", (struct sql_value){ .type = SQL_DOUBLE, .real = 1e-7 }), "t");
    assert_string_equal(bound("select $1::float8", (struct sql_value){ .type = SQL_DOUBLE, .real = -1.0 / 0.0 }),
                        "-Infinity");
    assert_string_equal(bound("select $1::int", (struct sql_value){ .type = SQL_DOUBLE, .real = 3.0 }), "3");
    assert_string_equal(bound("select $1::bool", (struct sql_value){ .type = SQL_BOOL, .truth = true }), "t");
    assert_string_equal(bound("select $1::jsonb", (struct sql_value){ .type = SQL_BOOL, .truth = false }), "false");
    assert_string_equal(bound("select $1::text", (struct sql_value){ .type = SQL_NULL }), "NULL");
    assert_string_equal(bound("select length($1::text)", (struct sql_value){ .type = SQL_TEXT, .text = STR_NONE }),
                        "0");
    assert_string_equal(bound("select $1::text", (struct sql_value){ .type = SQL_TEXT, .text = str_make("abcdef", 3) }),
                        "abc");
    assert_string_equal(bound("select $1::jsonb->>'a'",
                              (struct sql_value){ .type = SQL_JSON, .text = STR("{\"a\":9007199254740993}") }),
                        "9007199254740993");
    assert_string_equal(bound("select encode($1::bytea, 'hex')",
                              (struct sql_value){ .type = SQL_BLOB, .text = str_make("\0\xff\0", 3) }),
                        "00ff00");
    assert_string_equal(
        bound("select $1::uuid",
              (struct sql_value){ .type = SQL_TEXT, .text = STR("5A0B8A5E-3F2B-4D8C-9A54-1D2E3F4A5B6C") }),
        "5a0b8a5e-3f2b-4d8c-9a54-1d2e3f4a5b6c");
}

static void a_zero_byte_in_text_is_refused_before_it_is_sent(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked asked = { .is_done = false };
    prepare_call(&asked, "select $1::text", 1);
    asked.params[0] = (struct sql_value){ .type = SQL_TEXT, .text = str_make("a\0b", 3) };
    sql_run(world.engine, &asked.call);
    expect_error(&asked, FAIL_SQL, "22021");
    assert_string_equal(run("select 1"), "1");
}

static void forty_parameters_are_as_good_as_one(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    char text[512] = "select $1::int";
    struct sql_value params[40];
    for (int i = 0; i < 40; i++) {
        params[i] = (struct sql_value){ .type = SQL_INT, .integer = i + 1 };
        if (i)
            snprintf(text + strlen(text), sizeof text - strlen(text), " + $%d::int", i + 1);
    }
    struct asked asked = { .is_done = false };
    prepare_call(&asked, text, 40);
    asked.call.params = params;
    sql_run(world.engine, &asked.call);
    expect_ok(&asked);
    assert_int_equal(sql_rows_cell(asked.call.rows, 0, 0).integer, 820);
    drop_rows(&asked);
}

static void errors_name_sqlstate_and_constraint(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const struct {
        const char *text, *sqlstate, *name;
    } cases[] = {
        { "selec 1", "42601", "" },
        { "select * from nowhere", "42P01", "" },
        { "insert into query_spec values (1, 'one')", "23505", "query_spec_pkey" },
        { "insert into query_spec values (2, null)", "23502", "name" },
        { "insert into query_spec values (2, 'much too long')", "23514", "name_is_short" },
        { "insert into query_spec values (2, 'two', 99)", "23503", "query_spec_parent_fkey" }, /* fails at the Sync */
        { "select 1/0", "22012", "" },
        { "select 'x'::uuid", "22P02", "" },
    };
    run("insert into query_spec values (1, 'one')");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct asked asked = { .is_done = false };
        ask(&asked, cases[i].text, false);
        expect_error(&asked, FAIL_SQL, cases[i].sqlstate);
        assert_string_equal(asked.call.error.constraint, cases[i].name);
        assert_true(asked.call.error.text[0] != '\0');
    }
    assert_string_equal(run("select count(*) from query_spec"), "1");
}

/* --- pipelines --- */

static void run_many(struct asked *asked, unsigned count, bool atomic)
{
    struct sql_call *calls[16];
    assert_true(count <= 16);
    for (unsigned i = 0; i < count; i++)
        calls[i] = &asked[i].call;
    sql_run_many(world.engine, calls, count, atomic);
    for (unsigned i = 0; i < count; i++) {
        wait_for(&asked[i]);
        if (i)
            assert_true(asked[i].order > asked[i - 1].order);
    }
}

static void an_atomic_pipeline_happens_whole_or_not_at_all(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked asked[3] = { 0 };
    prepare_call(&asked[0], "insert into query_spec values (1, 'one') returning id", 0);
    prepare_call(&asked[1], "insert into query_spec values (2, 'two')", 0);
    prepare_call(&asked[2], "select count(*) from query_spec", 0);
    run_many(asked, 3, /* atomic= */ true);
    for (int i = 0; i < 3; i++)
        expect_ok(&asked[i]);
    assert_int_equal(sql_rows_cell(asked[2].call.rows, 0, 0).integer, 2);
    for (int i = 0; i < 3; i++)
        drop_rows(&asked[i]);

    prepare_call(&asked[0], "insert into query_spec values (3, 'three')", 0);
    prepare_call(&asked[1], "insert into query_spec values (1, 'again')", 0);
    prepare_call(&asked[2], "insert into query_spec values (4, 'four')", 0);
    run_many(asked, 3, /* atomic= */ true);
    expect_ok(&asked[0]);
    drop_rows(&asked[0]);
    expect_error(&asked[1], FAIL_SQL, "23505");
    expect_error(&asked[2], FAIL_SQL, "25P02");
    assert_string_equal(run("select count(*) from query_spec"), "2");
}

static void a_transaction_within_an_atomic_pipeline_takes_it_down(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char *const texts[] = { "begin", "commit", "rollback" };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct asked asked[3] = { 0 };
        prepare_call(&asked[0], "insert into query_spec values (1, 'one')", 0);
        prepare_call(&asked[1], texts[i], 0);
        prepare_call(&asked[2], "insert into query_spec values (2, 'two')", 0);
        struct sql_call *calls[] = { &asked[0].call, &asked[1].call, &asked[2].call };
        sql_run_many(world.engine, calls, 3, /* atomic= */ true);
        for (size_t j = 0; j < COUNT_OF(calls); j++)
            wait_for(&asked[j]);
        expect_ok(&asked[0]);
        drop_rows(&asked[0]);
        expect_error(&asked[1], FAIL_SQL, "25001");
        expect_error(&asked[2], FAIL_SQL, "25P02");
        assert_string_equal(run("select count(*) from query_spec"), "0");
    }
}

static void without_atomic_each_step_stands_for_itself(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked asked[4] = { 0 };
    prepare_call(&asked[0], "insert into query_spec values (1, 'one')", 0);
    prepare_call(&asked[1], "insert into query_spec values (1, 'again')", 0);
    prepare_call(&asked[2], "select nonsense", 0);
    prepare_call(&asked[3], "insert into query_spec values (4, 'four')", 0);
    run_many(asked, 4, /* atomic= */ false);
    expect_ok(&asked[0]);
    expect_error(&asked[1], FAIL_SQL, "23505");
    expect_error(&asked[2], FAIL_SQL, "42703");
    expect_ok(&asked[3]);
    drop_rows(&asked[0]);
    drop_rows(&asked[3]);
    assert_string_equal(run("select count(*) from query_spec"), "2");
}

static void a_value_that_cannot_be_sent_takes_its_atomic_pipeline_down(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked asked[3] = { 0 };
    prepare_call(&asked[0], "insert into query_spec values (1, 'one')", 0);
    prepare_call(&asked[1], "insert into query_spec values (2, $1)", 1);
    asked[1].params[0] = (struct sql_value){ .type = SQL_TEXT, .text = str_make("\0", 1) };
    prepare_call(&asked[2], "insert into query_spec values (3, 'three')", 0);
    struct sql_call *calls[] = { &asked[0].call, &asked[1].call, &asked[2].call };
    sql_run_many(world.engine, calls, 3, /* atomic= */ true);
    for (int i = 0; i < 3; i++)
        wait_for(&asked[i]);
    expect_error(&asked[1], FAIL_SQL, "22021");
    expect_error(&asked[2], FAIL_SQL, "25P02");
    drop_rows(&asked[0]);
    assert_string_equal(run("select count(*) from query_spec"), "0");
}

/* --- reads that share a pipeline --- */

static void an_error_in_a_shared_pipeline_is_its_own_calls_alone(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { N = 60 };
    static struct asked asked[N];
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < N; i++) {
            prepare_call(&asked[i], i % 7 == 3 ? "select 10 / $1::int as n" : "select $1::int + 1 as n", 1);
            asked[i].call.read_only = true;
            asked[i].params[0] = (struct sql_value){ .type = SQL_INT, .integer = i % 7 == 3 ? (i % 2 ? 0 : 5) : i };
            sql_run(world.engine, &asked[i].call);
        }
        for (int i = 0; i < N; i++) {
            wait_for(&asked[i]);
            if (i % 7 == 3 && i % 2) {
                expect_error(&asked[i], FAIL_SQL, "22012");
                continue;
            }
            expect_ok(&asked[i]);
            assert_int_equal(sql_rows_cell(asked[i].call.rows, 0, 0).integer, i % 7 == 3 ? 2 : i + 1);
            drop_rows(&asked[i]);
        }
    }
}

static void a_large_pipeline_both_ways_does_not_stall(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { N = 200 };
    static struct asked asked[N];
    static struct sql_call *calls[N];
    static char big[200000];
    memset(big, 'x', sizeof big);
    for (int i = 0; i < N; i++) {
        prepare_call(&asked[i], "select $1::text || 'y' as echo", 1);
        asked[i].params[0] = (struct sql_value){ .type = SQL_TEXT, .text = str_make(big, sizeof big) };
        calls[i] = &asked[i].call;
    }
    sql_run_many(world.engine, calls, N, /* atomic= */ true);
    for (int i = 0; i < N; i++) {
        expect_ok(&asked[i]);
        assert_int_equal(sql_rows_cell(asked[i].call.rows, 0, 0).text.len, sizeof big + 1);
        drop_rows(&asked[i]);
    }
}

static void more_parameters_than_a_statement_may_have_are_refused_also_of_a_known_text(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static struct sql_value values[65536];
    struct asked asked = { .is_done = false };
    struct leased leased;
    for (size_t i = 0; i < COUNT_OF(values); i++)
        values[i] = (struct sql_value){ .type = SQL_INT, .integer = 1 };
    struct sql_session *session = NULL;
    for (unsigned i = 0; i < 4; i++) { /* alone, and in a session */
        if (i == 2)
            session = begin(&leased);
        prepare_call(&asked, "select $1::int", i % 2 ? COUNT_OF(values) : 1);
        asked.call.params = values;
        if (i / 2)
            sql_session_run(session, &asked.call);
        else
            sql_run(world.engine, &asked.call);
        if (i % 2)
            expect_error(&asked, FAIL_SQL, "54000");
        else
            expect_ok(&asked);
        assert_false(asked.call.error.again);
        drop_rows(&asked);
    }
    run_in(session, "select 1");
    sql_session_end(session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_text_is_prepared_once_and_then_only_executed, set_up, close_world),
        cmocka_unit_test_setup_teardown(mistakes_in_a_call_cost_no_connection, set_up, close_world),
        cmocka_unit_test_setup_teardown(an_error_that_names_a_lost_connection_costs_none_and_is_not_run_again, set_up,
                                        close_world),
        cmocka_unit_test_setup_teardown(at_most_200_statements_stay_prepared, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_statement_is_prepared_anew_when_its_row_type_changes, set_up, close_world),
        cmocka_unit_test_setup_teardown(statements_survive_that_somebody_deallocates_them_all, set_up, close_world),
        cmocka_unit_test_setup_teardown(values_arrive_exactly, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_zero_byte_in_text_is_refused_before_it_is_sent, set_up, close_world),
        cmocka_unit_test_setup_teardown(forty_parameters_are_as_good_as_one, set_up, close_world),
        cmocka_unit_test_setup_teardown(more_parameters_than_a_statement_may_have_are_refused_also_of_a_known_text,
                                        set_up, close_world),
        cmocka_unit_test_setup_teardown(errors_name_sqlstate_and_constraint, set_up, close_world),
        cmocka_unit_test_setup_teardown(an_atomic_pipeline_happens_whole_or_not_at_all, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_transaction_within_an_atomic_pipeline_takes_it_down, set_up, close_world),
        cmocka_unit_test_setup_teardown(without_atomic_each_step_stands_for_itself, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_value_that_cannot_be_sent_takes_its_atomic_pipeline_down, set_up,
                                        close_world),
        cmocka_unit_test_setup_teardown(an_error_in_a_shared_pipeline_is_its_own_calls_alone, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_large_pipeline_both_ways_does_not_stall, set_up, close_world),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
