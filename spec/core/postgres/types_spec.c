/* Types that somebody made read as row_to_json writes them: enums, domains, rows of tables, and whatever they are made of. */
#include "postgres/types.h"
#include "world.h"

static const char made[] =
    "drop schema if exists types_spec cascade; create schema types_spec; set search_path = types_spec;"
    "create type mood as enum ('glad', 'not \"so\" glad', '');"
    "create domain age as int check (value >= 0); create domain name as text; create domain ages as age[];"
    "create domain grade as mood; create domain numbers as int[]; create domain sums as numeric;"
    "create type point2 as (x int, \"Y \"\"quoted\"\" \303\244\" text);"
    "create type nothing as (); create type single as (a int);"
    "create type all_kinds as (b bool, i2 int2, i8 int8, f float8, n numeric, t text, c char(4), j json, jb jsonb, "
    "ts timestamp, tz timestamptz, d date, u uuid, by bytea, m mood, a age, r int4range, mr int4multirange);"
    "create type nest as (p point2, ps point2[], ms mood[], ns numbers, gs grade[], a age[], names name[][], e "
    "nothing, "
    "deep json[], v int2vector);"
    "create type deeper as (n nest, ns nest[], s single); create domain spot as point2; create domain spots as spot[];"
    "create type span as range (subtype = float8);"
    "create table things (id int, m mood, at spot, gone text, tags text[]); alter table things drop column gone;"
    "insert into things values (1, 'glad', row(1, 'a'), array['x', 'y \"z\"']), (2, null, null, null),"
    " (null, '', row(null, ''), '{}');"
    "create view seen as select id, m from things";

static int set_up(void **state)
{
    (void)state;
    if (!server_url())
        return 0;
    open_world_and_admin(settings_for(server_url()));
    outside(made);
    return 0;
}

/* --- as row_to_json ------------------------------------------------------------------------------------------- */

static struct buf json_of(struct asked *asked)
{
    struct buf json;
    buf_init(&json, MEM_SQL, 0);
    expect_ok(asked);
    sql_rows_add_json(&json, asked->call.rows);
    buf_add_char(&json, '\0');
    drop_rows(asked);
    return json;
}

static const char *oracle_of(const char *query)
{
    char text[8192];
    snprintf(text, sizeof text,
             "select coalesce('[' || string_agg(row_to_json(q)::text, ',') || ']', '[]') from (%s) q", query);
    return outside(text);
}

static void expect_json(struct asked *asked, const char *expected)
{
    struct buf json = json_of(asked);
    assert_string_equal(json.data, expected);
    buf_clear(&json);
}

static void expect_as_row_to_json(const char *query)
{
    char oracle[1 << 16];
    snprintf(oracle, sizeof oracle, "%s", oracle_of(query));
    for (int times = 0; times < 2; times++) { /* when it is asked what the types are, and when that is known */
        struct asked asked = { .is_done = false };
        ask(&asked, query, true);
        expect_json(&asked, oracle);
    }
}

static const char *const queries[] = {
    "select 'glad'::types_spec.mood as a, ''::types_spec.mood as b, null::types_spec.mood as c",
    "select array['glad', null, '', 'not \"so\" glad']::types_spec.mood[] as a, '{}'::types_spec.mood[] as b, "
    "null::types_spec.mood[] as c, array[['glad'], ['']]::types_spec.mood[] as d",
    "select 5::types_spec.age as a, 'x'::types_spec.name as b, array[1, null]::types_spec.ages as c, "
    "'glad'::types_spec.grade as d, '{1,2}'::types_spec.numbers as e, 1.50::types_spec.sums as f",
    "select array[5, null]::types_spec.age[] as a, array['x y', '']::types_spec.name[] as b, "
    "array['glad']::types_spec.grade[] as c, array['{1,2}', '{}', null]::types_spec.numbers[] as d, "
    "array[1.50, 'NaN']::types_spec.sums[] as e, array['{1}', '{2,3}']::types_spec.ages[] as f",
    "select row(1, 'a')::types_spec.point2 as a, row(null, null)::types_spec.point2 as b, null::types_spec.point2 as "
    "c, "
    "row(-1, '')::types_spec.point2 as d, row()::types_spec.nothing as e, row(1)::types_spec.single as f, "
    "row(null)::types_spec.single as g",
    "select row(1, t)::types_spec.point2 as a, array[row(2, t), null, row(3, t || t)]::types_spec.point2[] as b, "
    "array[[row(2, t)], [row(null, null)]]::types_spec.point2[] as c from unnest(array['a,b', '(', ')', '()', '\"', "
    "'\"\"', E'\\\\', E'\\\\\"', '{}', 'NULL', 'null', ' ', ' x ', E'\\n\\t\\x01', 'h\303\251 \360\235\204\236', "
    "E'\\u2028', ',', '''']) t",
    "select row(true, -5, 9007199254740993, 1e-7, 1.500, E'q\"\\\\', 'x', '{\"a\": [1, 2.50]}', '{\"b\":1e2}', "
    "'2026-11-23 14:02:22.123456', '2026-11-23 14:02:22.5+02', '0044-03-15 BC', "
    "'5a0b8a5e-3f2b-4d8c-9a54-1d2e3f4a5b6c', '\\xdeadbeef', 'glad', 7, '[1,5)', '{[1,3),[5,7)}')::types_spec.all_kinds "
    "as a, array[row(false, null, null, 'NaN', '-Infinity', '', null, 'null', '[]', 'infinity', '-infinity', "
    "'infinity', null, '', '', null, 'empty', '{}')]::types_spec.all_kinds[] as b",
    "select row(row(1, 'a \"b\"'), array[row(2, 'c, d'), null]::types_spec.point2[], '{glad,\"\",NULL}', '{1,2}', "
    "array['glad']"
    "::types_spec.grade[], array[1]::types_spec.age[], array[['a', 'b \"c\"'], ['', null]]::types_spec.name[], row(), "
    "array['{\"x\": \"y\\\"z\"}'::json], "
    "'1 2 3')::types_spec.nest as a, row(null, null, null, null, null, null, null, null, null, null)::types_spec.nest "
    "as b",
    "select row(n, array[n, null, n], row(5))::types_spec.deeper as a, array[row(n, '{}', null)]::types_spec.deeper[] "
    "as b"
    " from (select row(row(1, E'\\\\\"a'), array[row(2, E'\\\\ \"')]::types_spec.point2[], '{glad}', '{1}', null, "
    "'{1}', '{\"a b\"}', null, "
    "null, '')::types_spec.nest as n) q",
    "select row(1, 'x')::types_spec.spot as a, array[row(1, 'x y'), null]::types_spec.spot[] as b, "
    "array[row(1, 'x y'), null]::types_spec.spots as c",
    "select '[1.5,2)'::types_spec.span as a, array['[1.5,2)', 'empty']::types_spec.span[] as b, "
    "'{[1,2)}'::int4multirange as c, array['{[1,2),[4,5)}']::int4multirange[] as d, '[2026-01-01,)'::daterange as e, "
    "array['[1,2)'::int4range] as f",
    "select s from types_spec.things s order by id",
    "select s, s.*, v from types_spec.things s left join types_spec.seen v on v.id = s.id order by s.id",
    "select array_agg(s order by id) as all, array_agg(s.at) as spots from types_spec.things s",
    "select s from types_spec.things s where false",
    "select '1 2 3'::int2vector as a, '5 6'::oidvector as b, ''::int2vector as c, array['1 2', '3']::int2vector[] as "
    "d, "
    "'{(1,1),(0,0);(2,2),(1,1)}'::box[] as e, '(1,1),(0,0)'::box as f, array['1'::xid] as g, '16/B374D848'::pg_lsn as "
    "h",
    "select n from pg_catalog.pg_namespace n where nspname = 'types_spec'",
};

static void they_read_as_row_to_json_writes_them(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    for (size_t i = 0; i < COUNT_OF(queries); i++)
        expect_as_row_to_json(queries[i]);
}

/* All that is built in and is an array or a row is known to be, and nothing else is taken for one. */
static void what_is_built_in_is_what_the_server_has(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    PGresult *types = PQexec(world.admin, "select oid, typarray, typname, typtype, typlen = -1 and typelem <> 0 from "
                                          "pg_type where oid < 10000 and typtype not in ('c', 'p')");
    assert_true(PQntuples(types) > 150);
    unsigned known = 0;
    for (int i = 0; i < PQntuples(types); i++) {
        Oid oid = (Oid)atol(PQgetvalue(types, i, 0)), array = (Oid)atol(PQgetvalue(types, i, 1));
        bool has_elements = PQgetvalue(types, i, 4)[0] == 't';
        const struct postgres_type *type = postgres_built_in(oid), *of_array = postgres_built_in(array);
        known += type != NULL;
        bool is_list = type && (type->kind == SQL_KIND_ARRAY || type->form);
        if (type && is_list != has_elements)
            fail_msg("%s is taken for what it is not", PQgetvalue(types, i, 2));
        if (type && !is_list && of_array && of_array->kind == SQL_KIND_ARRAY && of_array->element != type->kind)
            fail_msg("%s[] has other elements", PQgetvalue(types, i, 2));
    }
    assert_true(known > 120);
    PQclear(types);
}

/* --- what is altered ------------------------------------------------------------------------------------------ */

static void expect_things(const char *expected)
{
    struct asked asked = { .is_done = false };
    ask(&asked, "select s from types_spec.small s", true);
    expect_json(&asked, expected);
}

static void what_others_add_to_a_row_is_seen_with_the_first_value_of_it(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    outside("create table types_spec.small (a int); insert into types_spec.small values (1)");
    expect_things("[{\"s\":{\"a\":1}}]");
    outside("alter table types_spec.small add column b text default 'x y'");
    expect_things("[{\"s\":{\"a\":1,\"b\":\"x y\"}}]");
    outside("alter table types_spec.small drop column a");
    expect_things("[{\"s\":{\"b\":\"x y\"}}]");
    outside("alter table types_spec.small alter column b drop default, alter column b type json using '[1]'");
    expect_things("[{\"s\":{\"b\":\"[1]\"}}]"); /* for half a minute: what is json is a text, too */
    outside("alter table types_spec.small alter column b type int using 7, add column c bool");
    expect_things("[{\"s\":{\"b\":7,\"c\":null}}]");
    outside("alter table types_spec.small alter column b type text using 'no number'");
    expect_things("[{\"s\":{\"b\":\"no number\",\"c\":null}}]");
}

static void what_we_alter_is_seen_at_once_on_each_connection(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    outside("create table types_spec.small (a int); insert into types_spec.small values (1)");
    struct leased leased[2];
    struct sql_session *sessions[2];
    for (int i = 0; i < 2; i++) {
        sessions[i] = begin(&leased[i]);
        struct asked asked = { .is_done = false };
        ask_in(sessions[i], &asked, "select s from types_spec.small s");
        expect_json(&asked, "[{\"s\":{\"a\":1}}]");
    }
    for (int i = 0; i < 2; i++)
        sql_session_end(sessions[i]);
    run("alter table types_spec.small rename a to b");
    for (int i = 0; i < 8; i++)
        expect_things("[{\"s\":{\"b\":1}}]");
    struct sql_session *session = begin(&leased[0]);
    run_in(session, "alter table types_spec.small rename b to c");
    struct asked asked = { .is_done = false };
    ask_in(session, &asked, "select s from types_spec.small s");
    expect_json(&asked, "[{\"s\":{\"c\":1}}]");
    run_in(session, "commit");
    sql_session_end(session);
    for (int i = 0; i < 8; i++)
        expect_things("[{\"s\":{\"c\":1}}]");
}

static void a_type_of_a_transaction_that_is_open_is_known_in_it(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct sql_session *session = begin(&leased);
    struct asked asked = { .is_done = false };
    run_in(session, "create type types_spec.young as (a int, b types_spec.mood[])");
    ask_in(session, &asked, "select row(1, '{glad}')::types_spec.young as y");
    expect_json(&asked, "[{\"y\":{\"a\":1,\"b\":[\"glad\"]}}]");
    ask_in(session, &asked, "select 2 as n");
    expect_json(&asked, "[{\"n\":2}]");
    sql_session_end(session);
    assert_string_equal(run("select 7"), "7");
}

/* --- many at once --------------------------------------------------------------------------------------------- */

static void a_pipeline_is_answered_in_order_also_where_it_has_to_ask(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { CALLS = 6 };
    static const char *const texts[CALLS] = { "select 1 as n",
                                              "select row(1, 'a')::types_spec.point2 as p",
                                              "select 2 as n",
                                              "select row(5)::types_spec.single as s, 'glad'::types_spec.mood as m",
                                              "insert into types_spec.things values (9, 'glad') returning things",
                                              "select 3 as n" };
    static const char *const answers[CALLS] = {
        "[{\"n\":1}]",
        "[{\"p\":{\"x\":1,\"Y \\\"quoted\\\" \303\244\":\"a\"}}]",
        "[{\"n\":2}]",
        "[{\"s\":{\"a\":5},\"m\":\"glad\"}]",
        "[{\"things\":{\"id\":9,\"m\":\"glad\",\"at\":null,\"tags\":null}}]",
        "[{\"n\":3}]",
    };
    for (int times = 0; times < 4; times++) {
        struct asked asked[CALLS];
        struct sql_call *calls[CALLS];
        for (int i = 0; i < CALLS; i++) {
            prepare_call(&asked[i], texts[i], 0);
            calls[i] = &asked[i].call;
        }
        sql_run_many(world.engine, calls, CALLS, /* atomic= */ times % 2);
        for (int i = 0; i < CALLS; i++)
            expect_json(&asked[i], answers[i]);
        for (int i = 1; i < CALLS; i++)
            assert_true(asked[i].order > asked[i - 1].order);
    }
    assert_int_equal(outside_int("select count(*) from types_spec.things where id = 9"), 4);
}

static void reads_that_share_round_trips_do_so_with_types_nobody_knows(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { CALLS = 40 };
    static struct asked asked[CALLS];
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < CALLS; i++) {
            prepare_call(&asked[i],
                         i % 3 ? "select row($1::int, 'a')::types_spec.point2 as p"
                               : "select array[$1::int]::types_spec.age[] as a, row($1::int)::types_spec.single as s",
                         1);
            asked[i].params[0] = (struct sql_value){ .type = SQL_INT, .integer = i };
            asked[i].call.read_only = true;
            sql_run(world.engine, &asked[i].call);
        }
        for (int i = 0; i < CALLS; i++) {
            char expected[96];
            snprintf(expected, sizeof expected,
                     i % 3 ? "[{\"p\":{\"x\":%d,\"Y \\\"quoted\\\" \303\244\":\"a\"}}]"
                           : "[{\"a\":[%d],\"s\":{\"a\":%d}}]",
                     i, i);
            expect_json(&asked[i], expected);
        }
        if (round % 3 == 2)
            run("alter type types_spec.point2 owner to current_user"); /* for all to ask again */
    }
}

/* --- what goes wrong ------------------------------------------------------------------------------------------ */

static int set_up_one(void **state)
{
    (void)state;
    if (!server_url())
        return 0;
    struct postgres_settings settings = settings_for(server_url());
    settings.max_size = 1;
    open_world_and_admin(settings);
    outside(made);
    return 0;
}

/* From now on the server answers what it has plans for, and not what is asked of its catalogue. */
static void make_it_ask_and_wait(void)
{
    run("alter type types_spec.point2 owner to current_user");
    outside("begin; lock table pg_catalog.pg_attribute in access exclusive mode");
}

static void run_read(const char *text)
{
    struct asked asked = { .is_done = false };
    ask(&asked, text, true);
    expect_ok(&asked);
    drop_rows(&asked);
}

static const char adding[] = "insert into types_spec.things values (7, 'glad', row(1, 'x')) returning things.at";

static void the_time_to_ask_is_that_of_the_call(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char text[] = "select row(1, 'a')::types_spec.point2 as p";
    struct asked asked = { .is_done = false };
    run(text);
    make_it_ask_and_wait();
    prepare_call(&asked, text, 0);
    asked.call.timeout_ms = 200;
    sql_run(world.engine, &asked.call);
    expect_error(&asked, FAIL_TIMEOUT, "57014");
    ask(&asked, text, true);
    turn(100);
    sql_cancel(world.engine, &asked.call);
    expect_error(&asked, FAIL_CANCELLED, "57014");
    outside("commit");
    ask(&asked, text, true);
    expect_json(&asked, "[{\"p\":{\"x\":1,\"Y \\\"quoted\\\" \303\244\":\"a\"}}]");
}

/* Both in one round trip: what cancels the one hits the question for the other, which is asked again. */
static void a_cancel_meant_for_another_read_does_not_end_the_question(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char asking[] = "select row(1, 'a')::types_spec.point2 as p", other[] = "select 2 as n";
    struct asked first = { .is_done = false }, second = { .is_done = false };
    for (int times = 0; times < 60; times++) { /* so that they are known to be quick */
        run_read(asking);
        run_read(other);
    }
    ask(&second, "select pg_sleep(10)", true); /* so that what cancels is connected before the catalogue is locked */
    turn(100);
    sql_cancel(world.engine, &second.call);
    expect_error(&second, FAIL_CANCELLED, "57014");
    run_read(other);
    make_it_ask_and_wait();
    ask(&first, asking, true);
    ask(&second, other, true);
    turn(100);
    sql_cancel(world.engine, &second.call);
    expect_error(&second, FAIL_CANCELLED, "57014");
    turn(slow_ms(300));
    assert_false(first.is_done);
    outside("commit");
    expect_json(&first, "[{\"p\":{\"x\":1,\"Y \\\"quoted\\\" \303\244\":\"a\"}}]");
}

static void end_back_ends(void) { outside("select pg_terminate_backend(pid) from pg_stat_activity where " OURS); }

static void a_read_that_is_lost_while_it_asks_is_read_again(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char text[] = "select row(1, 'a')::types_spec.point2 as p";
    struct asked asked = { .is_done = false };
    run(text);
    make_it_ask_and_wait();
    ask(&asked, text, true);
    turn(200);
    assert_false(asked.is_done);
    end_back_ends();
    turn(20);
    outside("commit");
    expect_json(&asked, "[{\"p\":{\"x\":1,\"Y \\\"quoted\\\" \303\244\":\"a\"}}]");
}

static void a_write_that_is_lost_while_it_asks_is_not_sent_twice(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked asked = { .is_done = false };
    run(adding);
    make_it_ask_and_wait();
    ask(&asked, adding, false);
    turn(200);
    assert_false(asked.is_done);
    end_back_ends();
    wait_for(&asked);
    outside("commit");
    assert_int_equal(asked.call.fail, FAIL_SQL);
    assert_false(asked.call.error.again);
    assert_non_null(strstr(asked.call.error.text, "has run"));
    assert_null(asked.call.rows);
    assert_int_equal(outside_int("select count(*) from types_spec.things where id = 7"), 2);
}

static void what_is_made_of_too_much_is_refused(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    outside(
        "do $$ begin execute 'create type types_spec.wide as (' || (select string_agg('c' || i || ' int', ',') from "
        "generate_series(1, 1500) i) || ')'; end $$; "
        "create type types_spec.huge as (a types_spec.wide, b types_spec.wide, c types_spec.wide)");
    struct asked asked = { .is_done = false };
    ask(&asked, "select null::types_spec.huge as h", true);
    expect_error(&asked, FAIL_SQL, "54001");
    expect_as_row_to_json("select null::types_spec.wide as w");
    outside("do $$ begin for i in 0..40 loop execute format('create type types_spec.deep%s as (a %s)', i, "
            "case when i = 0 then 'int' else 'types_spec.deep' || i - 1 end); end loop; end $$");
    ask(&asked, "select null::types_spec.deep40 as h", true);
    expect_error(&asked, FAIL_SQL, "54001");
    expect_as_row_to_json("select null::types_spec.deep30 as d");
    assert_string_equal(run("select 7"), "7");
}

static void a_result_that_is_larger_as_json_than_it_may_be_is_refused(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked asked = { .is_done = false };
    prepare_call(&asked,
                 "select row(i > 5, null, null, null, null, null, null, null, null, null, null, null, null, null, "
                 "null, null, null, null)::types_spec.all_kinds as a from generate_series(1, 3000) i",
                 0);
    asked.call.bytes_max = 400000;
    sql_run(world.engine, &asked.call);
    expect_error(&asked, FAIL_SQL, "54000");
    assert_string_equal(run("select 7"), "7");
}

/* To PostgreSQL a lone surrogate is json, in a column as well as in a row. */
static void json_in_a_row_is_taken_as_the_server_takes_it(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    outside("create type types_spec.holder as (j json)");
    for (int times = 0; times < 3; times++)
        expect_as_row_to_json("select row('\"\\ud800\"')::types_spec.holder as a, '\"\\ud800\"'::json as b");
}

static void rows_of_made_types_outlive_their_connection_and_engine(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked asked = { .is_done = false };
    ask(&asked, "select 1 as n, row(5)::types_spec.single as s, null::types_spec.single as t", true);
    expect_ok(&asked);
    close_engine();
    assert_int_equal(sql_rows_cell(asked.call.rows, 0, 0).integer, 1);
    assert_text(sql_rows_cell(asked.call.rows, 0, 1).text, "{\"a\":5}");
    assert_int_equal(sql_rows_cell(asked.call.rows, 0, 1).kind, SQL_KIND_JSON);
    assert_int_equal(sql_rows_cell(asked.call.rows, 0, 2).kind, SQL_KIND_NULL);
    drop_rows(&asked);
}

#ifndef SPEC_POOLED /* the pooler knows one role */
/* --- no leave to read the catalogue --------------------------------------------------------------------------- */

static void end_outsider(void)
{
    outside("drop database if exists types_spec_shut with (force)");
    outside("drop role if exists types_spec_outsider");
}

/* A database of its own: what may be read of the catalogue is granted there. */
static int set_up_outsider(void **state)
{
    (void)state;
    static char url[512], address[256];
    if (!server_url())
        return 0;
    world.admin = open_admin(server_url());
    end_outsider();
    outside("create database types_spec_shut");
    outside("create role types_spec_outsider login password 'outsider'");
    snprintf(address, sizeof address, "%s", strrchr(front_url(), '@') ? strrchr(front_url(), '@') + 1 : "");
    *strchrnul(address, '/') = '\0';
    snprintf(url, sizeof url, "postgres://types_spec_outsider:outsider@%s/types_spec_shut", address);
    char inside[512];
    snprintf(inside, sizeof inside, "%.*s/types_spec_shut", (int)(strrchr(server_url(), '/') - server_url()),
             server_url());
    PQfinish(world.admin);
    PGconn *admin = open_admin(inside);
    struct postgres_settings settings = settings_for(server_url());
    settings.conninfo = url;
    open_world_with(settings);
    world.admin = admin;
    outside(made);
    outside("grant usage on schema types_spec to public; grant select on all tables in schema types_spec to public; "
            "revoke select on pg_catalog.pg_type from public");
    return 0;
}

static int tear_down_outsider(void **state)
{
    int code = close_world(state);
    if (!server_url())
        return code;
    world.admin = open_admin(server_url());
    end_outsider();
    PQfinish(world.admin);
    world.admin = NULL;
    return code;
}

static void who_may_not_read_the_catalogue_has_text_and_an_open_transaction(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct sql_session *session = begin(&leased);
    struct asked asked = { .is_done = false };
    ask_in(session, &asked,
           "select at, array['glad']::types_spec.mood[] as m, array[1] as n from types_spec.things "
           "where id = 1");
    expect_json(&asked, "[{\"at\":\"(1,a)\",\"m\":\"{glad}\",\"n\":[1]}]");
    ask_in(session, &asked, "select 2 as n");
    expect_json(&asked, "[{\"n\":2}]");
    run_in(session, "commit");
    sql_session_end(session);
}
#endif

int main(void)
{
#define SPEC(name) cmocka_unit_test_setup_teardown(name, set_up, close_world)
#define ALONE(name) cmocka_unit_test_setup_teardown(name, set_up_one, close_world)
    const struct CMUnitTest tests[] = {
        SPEC(they_read_as_row_to_json_writes_them),
        SPEC(what_is_built_in_is_what_the_server_has),
        ALONE(what_others_add_to_a_row_is_seen_with_the_first_value_of_it),
        SPEC(what_we_alter_is_seen_at_once_on_each_connection),
        SPEC(a_type_of_a_transaction_that_is_open_is_known_in_it),
        SPEC(a_pipeline_is_answered_in_order_also_where_it_has_to_ask),
        SPEC(reads_that_share_round_trips_do_so_with_types_nobody_knows),
        ALONE(the_time_to_ask_is_that_of_the_call),
        ALONE(a_cancel_meant_for_another_read_does_not_end_the_question),
        ALONE(a_read_that_is_lost_while_it_asks_is_read_again),
        ALONE(a_write_that_is_lost_while_it_asks_is_not_sent_twice),
        SPEC(what_is_made_of_too_much_is_refused),
        SPEC(a_result_that_is_larger_as_json_than_it_may_be_is_refused),
        SPEC(json_in_a_row_is_taken_as_the_server_takes_it),
        SPEC(rows_of_made_types_outlive_their_connection_and_engine),
#ifndef SPEC_POOLED
        cmocka_unit_test_setup_teardown(who_may_not_read_the_catalogue_has_text_and_an_open_transaction,
                                        set_up_outsider, tear_down_outsider),
#endif
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
