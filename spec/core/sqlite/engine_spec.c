/* engine_spec.c - statements without a session: values, kinds, errors, order, deadlines, cancel, group commit. */
#include "support/sqlite_world.h"

#include <inttypes.h>
#include <math.h>

/* Counts to a number, slowly: about 30 million steps a second. */
#define COUNT_TO \
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < $1) select count(*) as n from n"
#define SPIN "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"

static void values_go_in_and_come_back(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    assert_string_equal(ask(&world, "create table t(id integer primary key, a, b)", ""), "[]");
    assert_string_equal(ask(&world, "insert into t(a, b) values ($1, $2)", "it", INT64_C(9007199254740993), "h\"i"),
                        "[]");
    assert_string_equal(ask(&world, "select a, b from t where id = $1", "i", INT64_C(1)),
                        "[{\"a\":9007199254740993,\"b\":\"h\\\"i\"}]");
    assert_string_equal(ask(&world, "insert into t(a, b) values ($2, $1) returning id, a, b", "dn", 1e-7),
                        "[{\"id\":2,\"a\":null,\"b\":1e-07}]");
    assert_string_equal(ask(&world, "select $1 as x, $1 as y, $3 as z, typeof($2) as t", "txb", "r", "raw", 1),
                        "[{\"x\":\"r\",\"y\":\"r\",\"z\":1,\"t\":\"blob\"}]");
    assert_string_equal(ask(&world, "select x'00ff' as b, '' as e, x'' as n", ""),
                        "[{\"b\":\"\\\\x00ff\",\"e\":\"\",\"n\":\"\\\\x\"}]");
    assert_string_equal(ask(&world, "select $1::text as a, $2::int + 1 as b", "ti", "cast", INT64_C(2)),
                        "[{\"a\":\"cast\",\"b\":3}]");
    assert_string_equal(ask(&world, "select 1 where 0", ""), "[]");
    world_close(&world);
}

static void what_sqlite_cannot_hold_is_refused_and_not_stored_as_something_else(void **state)
{
    (void)state;
    struct world world;
    struct answer answer;
    world_open(&world);
    ask(&world, "create table t(a)", "");
    assert_string_equal(ask(&world, "insert into t values ($1)", "d", NAN), "22003");
    assert_string_equal(ask(&world, "insert into t values ($1)", "t", "\xff"), "22021");
    assert_string_equal(ask(&world, "insert into t values ($1)", "t", "\xed\xa0\x80"), "22021");
    assert_string_equal(ask(&world, "insert into t values ($1)", "j", "{\"a\":\"\xc3\"}"), "22021");
    assert_string_equal(ask(&world, "select $1 as a", "t", "\xff"), "22021");
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "[{\"n\":0}]");
    answer_set(&answer, "insert into t select $1 where $2 = $2", "dt", 1.5, "a\xff");
    run(&world, &answer);
    answer_wait(&world, &answer);
    assert_memory_equal(answer.call.error.text, "parameter $2 is not UTF-8", 25);
    answer_free(&answer);
    assert_string_equal(ask(&world, "insert into t values ($1)", "d", INFINITY), "[]");
    assert_string_equal(ask(&world, "insert into t values ($1)", "x", "\xff"), "[]");
    assert_string_equal(ask(&world, "insert into t values ($1)", "t", "gr\xc3\xbc\xc3\x9f"), "[]");
    world_close(&world);
}

static void declared_types_of_ours_refine_and_others_leave_values_alone(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    ask(&world, "create table k(ok boolean, doc json, at timestamptz, was datetime, price decimal(10,2), big int8)",
        "");
    ask(&world, "insert into k values ($1, $2, $3, $4, 1.50, 9223372036854775807)", "bjtt", 1, "{\"a\":[1,2]}",
        "2024-02-29 12:00:00.5+00", "2024-02-29 12:00:00");
    assert_string_equal(ask(&world, "select * from k", ""),
                        "[{\"ok\":true,\"doc\":{\"a\":[1,2]},\"at\":\"2024-02-29T12:00:00.5+00:00\","
                        "\"was\":\"2024-02-29 12:00:00\",\"price\":1.5,\"big\":9223372036854775807}]");
    ask(&world, "update k set ok = 7, doc = '{broken', at = 'to morrow', price = 'x'", "");
    assert_string_equal(ask(&world, "select ok, doc, at, price from k", ""),
                        "[{\"ok\":7,\"doc\":\"{broken\",\"at\":\"to morrow\",\"price\":\"x\"}]");
    assert_string_equal(ask(&world, "select cast(x'61ff62' as text) as t", ""), "[{\"t\":\"a\xef\xbf\xbd"
                                                                                "b\"}]");
    world_close(&world);
}

static void a_changed_schema_changes_the_columns(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    ask(&world, "create table t(a)", "");
    ask(&world, "insert into t values (1)", "");
    assert_string_equal(ask(&world, "select * from t", ""), "[{\"a\":1}]");
    ask(&world, "alter table t add column b boolean default 1", "");
    assert_string_equal(ask(&world, "select * from t", ""), "[{\"a\":1,\"b\":true}]");
    ask(&world, "drop table t", "");
    assert_string_equal(ask(&world, "select * from t", ""), "42P01");
    world_close(&world);
}

static void changed_rows_are_counted(void **state)
{
    (void)state;
    struct world world;
    struct answer answer;
    world_open(&world);
    ask(&world, "create table t(a)", "");
    static const struct {
        const char *text;
        int64_t changed;
    } cases[] = { { "insert into t values (1), (2), (3)", 3 },
                  { "update t set a = a + 1 where a > 1", 2 },
                  { "select * from t", -1 },
                  { "with x as (select 3 as v) delete from t where a in (select v from x)", 1 },
                  { "create index i on t(a)", 0 } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        answer_set(&answer, cases[i].text, "");
        run(&world, &answer);
        answer_wait(&world, &answer);
        assert_int_equal(answer.call.fail, FAIL_OK);
        assert_int_equal(answer.call.rows->changed, cases[i].changed);
        answer_free(&answer);
    }
    world_close(&world);
}

static void errors_speak_sqlstate(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    ask(&world,
        "create table p(id integer primary key, email text unique, n int not null default 1 check (n > 0), s int)", "");
    ask(&world, "create table c(p int references p(id)) strict", "");
    ask(&world, "insert into p(email) values ('a')", "");
    static const char *const cases[][2] = {
        { "insert into p(email) values ('a')", "23505" },
        { "insert into p(id) values (1)", "23505" },
        { "insert into p(n) values (null)", "23502" },
        { "insert into p(n) values (0)", "23514" },
        { "insert into c values (99)", "23503" },
        { "insert into c values ('x')", "22P02" },
        { "selec 1", "42601" },
        { "select 'open", "42601" },
        { "select * from nowhere", "42P01" },
        { "select absent from p", "42703" },
        { "select nofunc(1)", "42883" },
        { "select 1; select 2", "42601" },
        { "", "42601" },
        { "select ?", "42P02" },
        { "select :a", "42P02" },
        { "select $1", "42P02" },
        { "select abs(-9223372036854775808)", "22003" },
        { "begin", "25001" },
        { "commit", "25001" },
        { "attach 'x.db' as x", "42501" },
        { "attach '' as x", "42501" },
        { "vacuum into 'x.db'", "42501" },
        { "pragma foreign_keys = off", "42501" },
        { "create table p(x)", "42P07" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        if (strcmp(ask(&world, cases[i][0], ""), cases[i][1]) != 0)
            fail_msg("%s: %s, not %s", cases[i][0], world.json, cases[i][1]);
    struct answer answer;
    answer_set(&answer, "insert into p(email) values ('a')", "");
    run(&world, &answer);
    answer_wait(&world, &answer);
    assert_string_equal(answer.call.error.constraint, "p.email");
    assert_string_equal(ask(&world, "pragma foreign_keys", ""), "[{\"foreign_keys\":1}]");
    assert_string_equal(ask(&world, "pragma synchronous", ""), "[{\"synchronous\":2}]");
    assert_string_equal(ask(&world, "pragma journal_mode", ""), "[{\"journal_mode\":\"wal\"}]");
    world_close(&world);
}

static void a_write_that_says_it_reads_is_refused(void **state)
{
    (void)state;
    struct world world;
    struct answer answer;
    world_open(&world);
    ask(&world, "create table t(a)", "");
    answer_set(&answer, "insert into t values (1)", "");
    answer.call.read_only = true;
    run(&world, &answer);
    answer_wait(&world, &answer);
    assert_string_equal(answer_text(&world, &answer), "25006");
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "[{\"n\":0}]");
    world_close(&world);
}

static void a_write_that_begins_with_with_finds_its_way_to_the_writer(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    ask(&world, "create table t(a)", "");
    for (int i = 0; i < 3; i++)
        assert_string_equal(ask(&world, "with v(x) as (values (1), (2)) insert into t select x from v", ""), "[]");
    assert_string_equal(ask(&world, "with c as (select count(*) as n from t) select n from c", ""), "[{\"n\":6}]");
    struct sqlite_stats stats = sqlite_engine_stats(world.engine);
    assert_int_equal(stats.writes, 4);
    assert_int_equal(stats.reads, 1);
    world_close(&world);
}

static void vacuum_and_pragma_run_by_themselves(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    assert_string_equal(ask(&world, "vacuum", ""), "[]");
    assert_string_equal(ask(&world, "pragma user_version = 7", ""), "[]");
    assert_string_equal(ask(&world, "pragma user_version", ""), "[{\"user_version\":7}]");
    assert_string_equal(ask(&world, "pragma wal_checkpoint(truncate)", ""),
                        "[{\"busy\":0,\"log\":0,\"checkpointed\":0}]");
    world_close(&world);
}

/* --- group commit --- */

static void submit_inserts(struct world *world, struct answer *answers, unsigned count, const char *text)
{
    for (unsigned i = 0; i < count; i++)
        answer_set(&answers[i], text, "i", (int64_t)i);
    run_each(world, answers, count);
}

static void wait_all(struct world *world, struct answer *answers, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        answer_wait(world, &answers[i]);
}

static void writes_that_wait_share_a_commit(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    struct world world;
    static struct answer answers[COUNT];
    world_open(&world);
    ask(&world, "create table t(id integer primary key)", "");
    struct sqlite_stats before = sqlite_engine_stats(world.engine);
    submit_inserts(&world, answers, COUNT, "insert into t values ($1)");
    wait_all(&world, answers, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(answers[i].call.fail, FAIL_OK);
        answer_free(&answers[i]);
    }
    struct sqlite_stats after = sqlite_engine_stats(world.engine);
    assert_int_equal(after.writes - before.writes, COUNT);
    assert_true(after.commits - before.commits <= COUNT / 4);
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "[{\"n\":200}]");
    world_close(&world);
}

static void one_that_fails_does_not_touch_the_others_of_its_group(void **state)
{
    (void)state;
    enum { COUNT = 60 };
    struct world world;
    static struct answer answers[COUNT];
    world_open(&world);
    ask(&world, "create table t(id integer primary key, k int check (k <> 7))", "");
    submit_inserts(&world, answers, COUNT,
                   "insert into t(k) values ($1 % 10) returning id, hex(zeroblob($1 * 100)) as z");
    wait_all(&world, answers, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(answers[i].call.fail, i % 10 == 7 ? FAIL_SQL : FAIL_OK);
        answer_free(&answers[i]);
    }
    assert_string_equal(ask(&world, "select count(*) as n, max(k) as m from t", ""), "[{\"n\":54,\"m\":9}]");
    world_close(&world);
}

/* RETURNING has changed the row before the result is known to be too large. */
static void a_result_too_large_undoes_its_write(void **state)
{
    (void)state;
    struct world world;
    struct answer answers[3];
    world_open(&world);
    ask(&world, "create table t(a)", "");
    for (unsigned i = 0; i < 3; i++) {
        answer_set(&answers[i], "insert into t values ($1) returning hex(zeroblob(5000)) as z", "i", (int64_t)i);
        answers[i].call.bytes_max = i == 1 ? 1000 : 0;
        run(&world, &answers[i]);
    }
    wait_all(&world, answers, 3);
    assert_int_equal(answers[0].call.fail, FAIL_OK);
    assert_string_equal(answers[1].call.error.sqlstate, "54000");
    assert_int_equal(answers[2].call.fail, FAIL_OK);
    for (unsigned i = 0; i < 3; i++)
        answer_free(&answers[i]);
    assert_string_equal(ask(&world, "select a from t", ""), "[{\"a\":0},{\"a\":2}]");
    world_close(&world);
}

static void a_deferred_constraint_fails_its_own_call_only(void **state)
{
    (void)state;
    enum { COUNT = 20 };
    struct world world;
    static struct answer answers[COUNT];
    world_open(&world);
    ask(&world, "create table p(id integer primary key)", "");
    ask(&world, "create table c(p int references p(id) deferrable initially deferred)", "");
    ask(&world,
        "insert into p select value from (with recursive n(value) as (select 0 union all select value + 1 from n "
        "where value < 30) select value from n where value <> 11)",
        "");
    submit_inserts(&world, answers, COUNT, "insert into c values ($1)");
    wait_all(&world, answers, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_string_equal(answers[i].call.error.sqlstate, i == 11 ? "23503" : "");
        answer_free(&answers[i]);
    }
    assert_string_equal(ask(&world, "select count(*) as n from c", ""), "[{\"n\":19}]");
    world_close(&world);
}

static void a_rollback_clause_costs_the_others_nothing(void **state)
{
    (void)state;
    enum { COUNT = 40 };
    struct world world;
    static struct answer answers[COUNT];
    world_open(&world);
    ask(&world, "create table t(id integer primary key)", "");
    ask(&world, "insert into t values (20)", "");
    submit_inserts(&world, answers, COUNT, "insert or rollback into t values ($1)");
    wait_all(&world, answers, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_string_equal(answers[i].call.error.sqlstate, i == 20 ? "23505" : "");
        answer_free(&answers[i]);
    }
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "[{\"n\":40}]");
    world_close(&world);
}

static void cancelling_one_of_a_group_costs_the_others_nothing(void **state)
{
    (void)state;
    enum { COUNT = 20 };
    struct world world;
    static struct answer answers[COUNT];
    struct answer slow;
    world_open(&world);
    ask(&world, "create table t(id)", "");
    submit_inserts(&world, answers, COUNT / 2, "insert into t values ($1)");
    answer_set(&slow, "insert into t " SPIN, "");
    slow.call.timeout_ms = 150;
    run(&world, &slow);
    submit_inserts(&world, answers + COUNT / 2, COUNT / 2, "insert into t values ($1)");
    answer_wait(&world, &slow);
    wait_all(&world, answers, COUNT);
    assert_int_equal(slow.call.fail, FAIL_TIMEOUT);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(answers[i].call.fail, FAIL_OK);
        answer_free(&answers[i]);
    }
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "[{\"n\":20}]");
    world_close(&world);
}

/* --- batches --- */

static void a_batch_runs_in_order(void **state)
{
    (void)state;
    struct world world;
    struct answer answers[3];
    unsigned next = 0;
    world_open(&world);
    ask(&world, "create table t(a)", "");
    for (int atomic = 0; atomic < 2; atomic++) {
        answer_set(&answers[0], "insert into t values ($1)", "i", (int64_t)atomic);
        answer_set(&answers[1], "select count(*) as n from t", "");
        answer_set(&answers[2], "insert into t values ($1)", "i", (int64_t)atomic);
        next = 0;
        for (int i = 0; i < 3; i++)
            answers[i].order_next = &next;
        run_many(&world, answers, 3, atomic);
        for (unsigned i = 0; i < 3; i++) {
            answer_wait(&world, &answers[i]);
            assert_int_equal(answers[i].order, i);
        }
        assert_string_equal(answer_text(&world, &answers[1]), atomic ? "[{\"n\":3}]" : "[{\"n\":1}]");
        answer_free(&answers[0]);
        answer_free(&answers[2]);
    }
    world_close(&world);
}

static void an_atomic_batch_stays_whole_or_not_at_all(void **state)
{
    (void)state;
    struct world world;
    struct answer answers[3];
    world_open(&world);
    ask(&world, "create table t(a unique)", "");
    answer_set(&answers[0], "insert into t values (1)", "");
    answer_set(&answers[1], "insert into t values (1)", "");
    answer_set(&answers[2], "insert into t values (2)", "");
    run_many(&world, answers, 3, true);
    wait_all(&world, answers, 3);
    answer_free(&answers[0]);
    assert_string_equal(answers[1].call.error.sqlstate, "23505");
    assert_string_equal(answers[2].call.error.sqlstate, "25P02");
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "[{\"n\":0}]");
    world_close(&world);
}

static void a_batch_of_reads_sees_one_state(void **state)
{
    (void)state;
    struct world world;
    struct answer answers[2];
    world_open(&world);
    for (int atomic = 0; atomic < 2; atomic++) {
        for (int i = 0; i < 2; i++) {
            answer_set(&answers[i], "select $1 as x", "i", (int64_t)i);
            answers[i].call.read_only = true;
        }
        run_many(&world, answers, 2, atomic);
        wait_all(&world, answers, 2);
        assert_string_equal(answer_text(&world, &answers[0]), "[{\"x\":0}]");
        assert_string_equal(answer_text(&world, &answers[1]), "[{\"x\":1}]");
    }
    assert_int_equal(sqlite_engine_stats(world.engine).reads, 4);
    world_close(&world);
}

/* --- ends --- */

static void a_deadline_ends_what_runs(void **state)
{
    (void)state;
    struct world world;
    struct answer answer;
    world_open(&world);
    answer_set(&answer, SPIN, "");
    answer.call.timeout_ms = 100;
    uint64_t from_ms = clock_mono_ms();
    run(&world, &answer);
    answer_wait(&world, &answer);
    assert_int_equal(answer.call.fail, FAIL_TIMEOUT);
    assert_string_equal(answer.call.error.sqlstate, "57014");
    assert_in_range(clock_mono_ms() - from_ms, 99, 2000);
    assert_string_equal(ask(&world, "select 1 as x", ""), "[{\"x\":1}]");
    world_close(&world);
}

static void a_cancel_ends_what_runs_and_what_waits(void **state)
{
    (void)state;
    enum { COUNT = 6 };
    struct world world;
    static struct answer answers[COUNT];
    world_open(&world);
    for (unsigned i = 0; i < COUNT; i++) {
        answer_set(&answers[i], SPIN, "");
        run(&world, &answers[i]);
    }
    loop_turn(world.loop, 30, NULL);
    for (unsigned i = COUNT; i-- > 0;) { /* those behind first: they never ran */
        sql_cancel(world.engine, &answers[i].call);
        assert_int_equal(answers[i].times, 0);
    }
    wait_all(&world, answers, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(answers[i].call.fail, FAIL_CANCELLED);
        assert_int_equal(answers[i].call.started_ns != 0, i < 2);
    }
    assert_string_equal(ask(&world, COUNT_TO, "i", INT64_C(1000)), "[{\"n\":1000}]");
    world_close(&world);
}

static void cancels_at_every_moment_end_in_one_answer(void **state)
{
    (void)state;
    enum { COUNT = 64, ROUNDS = 60 };
    struct world world;
    static struct answer answers[COUNT];
    world_open(&world);
    ask(&world, "create table t(a)", "");
    int64_t kept = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            answer_set(&answers[i], i % 3 ? "insert into t values ($1)" : "select count(*) from t where a <> $1", "i",
                       (int64_t)i);
            answers[i].call.timeout_ms = i % 5 == 4 ? 1 : 0;
            run(&world, &answers[i]);
        }
        for (unsigned i = 0; i < COUNT; i += 2) {
            if (i % 8 == 0)
                loop_turn(world.loop, 0, NULL);
            if (!answers[i].is_done)
                sql_cancel(world.engine, &answers[i].call);
        }
        wait_all(&world, answers, COUNT);
        for (unsigned i = 0; i < COUNT; i++) {
            kept += i % 3 && answers[i].call.fail == FAIL_OK;
            answer_free(&answers[i]);
        }
    }
    char expected[64];
    snprintf(expected, sizeof expected, "[{\"n\":%" PRId64 "}]", kept);
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), expected);
    world_close(&world);
}

static void a_full_queue_refuses(void **state)
{
    (void)state;
    struct world world;
    struct answer answers[5];
    world_fill(&world);
    world.settings.readers = 1;
    world.settings.queue_max = 3;
    world_start(&world);
    answer_set(&answers[0], SPIN, "");
    run(&world, &answers[0]);
    loop_turn(world.loop, 100, NULL); /* it runs by now */
    for (unsigned i = 1; i < 5; i++) {
        answer_set(&answers[i], "select 1 as x", "");
        answers[i].call.timeout_ms = 50;
        run(&world, &answers[i]);
    }
    answer_wait(&world, &answers[4]);
    assert_int_equal(answers[4].call.fail, FAIL_FULL);
    assert_string_equal(answers[4].call.error.sqlstate, "53300");
    for (unsigned i = 1; i < 4; i++) {
        answer_wait(&world, &answers[i]);
        assert_int_equal(answers[i].call.fail, FAIL_TIMEOUT);
        assert_string_equal(answers[i].call.error.sqlstate, "53300");
    }
    sql_cancel(world.engine, &answers[0].call);
    answer_wait(&world, &answers[0]);
    world_close(&world);
}

static void closing_serves_what_waits_and_stops_what_does_not_end(void **state)
{
    (void)state;
    struct world world;
    struct answer quick, endless, late;
    world_open(&world);
    ask(&world, "create table t(a)", "");
    answer_set(&endless, SPIN, "");
    answer_set(&quick, "insert into t values (1)", "");
    run(&world, &endless);
    run(&world, &quick);
    bool is_closed = false;
    world.engine->ops->close(world.engine, world.loop, 100, world_on_closed, &is_closed);
    answer_set(&late, "select 1", "");
    run(&world, &late);
    loop_turn(world.loop, WAIT_MS, &is_closed);
    assert_true(is_closed);
    assert_int_equal(quick.call.fail, FAIL_OK);
    answer_free(&quick);
    assert_int_equal(endless.call.fail, FAIL_CLOSED);
    assert_int_equal(late.call.fail, FAIL_CLOSED);
    assert_string_equal(late.call.error.sqlstate, "57P01");
    assert_true(quick.times == 1 && endless.times == 1 && late.times == 1);
    world.engine = NULL;
    world_close(&world);
}

static void few_statements_may_be_kept_prepared(void **state)
{
    (void)state;
    struct world world;
    world_fill(&world);
    world.settings.statement_cache = 3;
    world_start(&world);
    for (int i = 0; i < 40; i++) {
        char text[64], expected[64];
        snprintf(text, sizeof text, "select %d as x", i % 7);
        snprintf(expected, sizeof expected, "[{\"x\":%d}]", i % 7);
        assert_string_equal(ask(&world, text, ""), expected);
    }
    world_close(&world);
}

static void out_of_memory_on_a_loop_is_an_answer(void **state)
{
    (void)state;
    struct world world;
    struct answer answers[2];
    world_open(&world);
    for (int i = 0; i < 2; i++)
        answer_set(&answers[i], "select 1", "");
    mem_fail_after(1);
    run_many(&world, answers, 2, true);
    mem_fail_after(0);
    wait_all(&world, answers, 2);
    assert_int_equal(answers[0].call.fail, FAIL_FULL);
    for (int i = 0; i < 2; i++)
        answer_free(&answers[i]);
    world_close(&world);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_go_in_and_come_back),
        cmocka_unit_test(what_sqlite_cannot_hold_is_refused_and_not_stored_as_something_else),
        cmocka_unit_test(declared_types_of_ours_refine_and_others_leave_values_alone),
        cmocka_unit_test(a_changed_schema_changes_the_columns),
        cmocka_unit_test(changed_rows_are_counted),
        cmocka_unit_test(errors_speak_sqlstate),
        cmocka_unit_test(a_write_that_says_it_reads_is_refused),
        cmocka_unit_test(a_write_that_begins_with_with_finds_its_way_to_the_writer),
        cmocka_unit_test(vacuum_and_pragma_run_by_themselves),
        cmocka_unit_test(writes_that_wait_share_a_commit),
        cmocka_unit_test(one_that_fails_does_not_touch_the_others_of_its_group),
        cmocka_unit_test(a_result_too_large_undoes_its_write),
        cmocka_unit_test(a_deferred_constraint_fails_its_own_call_only),
        cmocka_unit_test(a_rollback_clause_costs_the_others_nothing),
        cmocka_unit_test(cancelling_one_of_a_group_costs_the_others_nothing),
        cmocka_unit_test(a_batch_runs_in_order),
        cmocka_unit_test(an_atomic_batch_stays_whole_or_not_at_all),
        cmocka_unit_test(a_batch_of_reads_sees_one_state),
        cmocka_unit_test(a_deadline_ends_what_runs),
        cmocka_unit_test(a_cancel_ends_what_runs_and_what_waits),
        cmocka_unit_test(cancels_at_every_moment_end_in_one_answer),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(closing_serves_what_waits_and_stops_what_does_not_end),
        cmocka_unit_test(few_statements_may_be_kept_prepared),
        cmocka_unit_test(out_of_memory_on_a_loop_is_an_answer),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
