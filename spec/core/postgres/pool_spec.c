/* The pool: limits, order, eviction, and one maximum for all loops. */
#include "settled.h"

#include "postgres/batch.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

static int connections(void) { return front_connections(); }

/* --- one loop --- */

static void waiters_are_served_in_arrival_order(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { N = 40 };
    static struct asked asked[N];
    settings.max_size = 1;
    open_it();
    struct leased leased;
    struct asked first = { .is_done = false };
    ask(&first, "select pg_sleep(0.1)", false);
    turn(30);
    for (int i = 0; i < N; i++) { /* reads, writes and a session among them */
        if (i == N / 2)
            ask_session(&leased, false);
        ask(&asked[i], i % 3 ? "select 1" : "select 2", i % 2 == 0);
        turn(1);
    }
    turn_until(2000, leased.is_done);
    for (int i = 0; i < N; i++) {
        assert_int_equal(asked[i].is_done, i < N / 2);
        if (i && asked[i].is_done)
            assert_true(asked[i].order > asked[i - 1].order);
    }
    sql_session_end(leased.lease.session);
    for (int i = 0; i < N; i++) {
        expect_ok(&asked[i]);
        if (i)
            assert_true(asked[i].order > asked[i - 1].order);
        drop_rows(&asked[i]);
    }
    drop_rows(&first);
}

static void it_never_has_more_than_max_size(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { N = 120 };
    static struct asked asked[N];
    settings.max_size = 6;
    open_it();
    for (int i = 0; i < N; i++)
        ask(&asked[i], "select pg_sleep(0.05)", false); /* a second in all: time to open six */
    for (bool all_done = false; !all_done;) {
        turn(3);
        assert_true(connections() <= 6);
        all_done = true;
        for (int i = 0; i < N; i++)
            all_done &= asked[i].is_done;
    }
    assert_int_equal(connections(), 6);
    for (int i = 0; i < N; i++) {
        expect_ok(&asked[i]);
        drop_rows(&asked[i]);
    }
}

static void it_fills_to_min_size_by_itself_and_shrinks_to_it_again(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked asked[5];
    settings.min_size = 3;
    settings.max_size = 5;
    settings.idle_timeout_ms = 300;
    open_it();
    turn_until(2000, connections() == 3);
    for (int i = 0; i < 5; i++)
        ask(&asked[i], "select pg_sleep(0.3)", false);
    turn_until(2000, connections() == 5);
    for (int i = 0; i < 5; i++) {
        expect_ok(&asked[i]);
        drop_rows(&asked[i]);
    }
    turn_until(3000, connections() == 3);
    turn(500);
    assert_int_equal(connections(), 3);
}

static void a_light_load_does_not_make_it_grow(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    settings.max_size = 20;
    open_it();
    turn_until(2000, connections() == 1);
    for (int i = 0; i < 200; i++)
        run("select 1");
    assert_int_equal(connections(), 1);
}

static void connections_are_replaced_when_they_are_old(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    skip_pooled("back ends are the pooler's, and outlive our connections");
    settings.min_size = 2;
    settings.max_lifetime_ms = 300;
    open_it();
    turn_until(2000, connections() == 2);
    char before[64];
    snprintf(before, sizeof before, "%.60s",
             outside("select string_agg(pid::text, ',' order by pid) from pg_stat_activity where " OURS));
    for (int i = 0; i < 60; i++) {
        run("select 1");
        turn(10);
    }
    turn_until(2000, connections() == 2);
    assert_string_not_equal(
        before, outside("select string_agg(pid::text, ',' order by pid) from pg_stat_activity where " OURS));
}

static void a_call_over_max_waiting_is_refused_at_once(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked busy = { .is_done = false }, waiting[3], refused = { .is_done = false };
    settings.max_size = 1;
    settings.max_waiting = 3;
    open_it();
    run("select 1");
    ask(&busy, "select pg_sleep(0.3)", false);
    turn(20);
    for (int i = 0; i < 3; i++)
        ask(&waiting[i], "select 1", false);
    ask(&refused, "select 1", false);
    uint64_t begin_ms = clock_mono_ms();
    expect_error(&refused, FAIL_FULL, "53300");
    assert_true(clock_mono_ms() - begin_ms < slow_ms(50));
    expect_ok(&busy);
    drop_rows(&busy);
    for (int i = 0; i < 3; i++) {
        expect_ok(&waiting[i]);
        drop_rows(&waiting[i]);
    }
}

static void who_waits_longer_than_acquire_timeout_is_told_what_to_do(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked waiting = { .is_done = false };
    struct leased holder, second;
    settings.max_size = 1;
    settings.acquire_timeout_ms = 150;
    open_it();
    struct sql_session *session = begin(&holder);
    uint64_t begin_ms = clock_mono_ms();
    ask(&waiting, "select 1", false);
    ask_session(&second, false);
    expect_error(&waiting, FAIL_TIMEOUT, "53300");
    assert_in_range(clock_mono_ms() - begin_ms, 150, slow_ms(220));
    assert_non_null(strstr(waiting.call.error.text, "pool.max_size"));
    assert_int_equal(sql_error_status(&waiting.call.error), 503);
    turn_until(300, second.is_done);
    assert_int_equal(second.lease.fail, FAIL_TIMEOUT);
    assert_null(second.lease.session);
    prepare_call(&waiting, "select 1", 0);
    waiting.call.timeout_ms = 50; /* its own deadline is shorter */
    sql_run(world.engine, &waiting.call);
    expect_error(&waiting, FAIL_TIMEOUT, "57014");
    sql_session_end(session);
    assert_string_equal(run("select 1"), "1");
}

static void a_lease_that_is_cancelled_takes_no_connection(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased holder, second;
    settings.max_size = 1;
    open_it();
    struct sql_session *session = begin(&holder);
    ask_session(&second, false);
    turn(20);
    world.engine->ops->begin_cancel(&second.lease);
    assert_false(second.is_done);
    turn_until(100, second.is_done);
    assert_int_equal(second.lease.fail, FAIL_CANCELLED);
    sql_session_end(session);
    assert_string_equal(run("select 1"), "1");
}

/* --- connections that die --- */

static void killed_idle_back_ends_are_evicted_before_anyone_gets_them(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    skip_pooled("an idle connection has no back end that could be killed");
    settings.min_size = 4;
    settings.max_size = 8;
    open_it();
    turn_until(2000, connections() == 4);
    outside("drop table if exists pool_spec; create table pool_spec(i int)");
    for (int i = 0; i < 30; i++) {
        outside("select pg_terminate_backend(pid, 1000) from pg_stat_activity where " OURS);
        run("insert into pool_spec values (1)"); /* a write, so nothing is retried */
    }
    assert_int_equal(outside_int("select count(*) from pool_spec"), 30);
    turn_until(2000, connections() == 4);
}

static void a_killed_busy_read_is_run_again_and_a_write_is_not(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked read = { .is_done = false }, write = { .is_done = false };
    open_it();
    outside("drop table if exists pool_spec; create table pool_spec(i int); drop sequence if exists pool_spec_runs; "
            "create sequence pool_spec_runs");
    ask(&read,
        "select nextval('pool_spec_runs'), pg_sleep(case last_value when 1 then 5 else 0 end) from pool_spec_runs",
        true);
    ask(&write, "insert into pool_spec select 1 from pg_sleep(5)", false);
    turn_until(2000, outside_int("select count(*) from pg_stat_activity where wait_event = 'PgSleep' and " OURS) == 2);
    outside("select pg_terminate_backend(pid, 1000) from pg_stat_activity where state = 'active' and " OURS);
    expect_ok(&read);
    assert_int_equal(sql_rows_cell(read.call.rows, 0, 0).integer, 2);
    drop_rows(&read);
    expect_error(&write, FAIL_SQL, "57P01");
    assert_true(write.call.error.sent);
    turn(400);
    assert_int_equal(outside_int("select count(*) from pool_spec"), 0);
}

static void a_killed_shared_pipeline_loses_no_read(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { N = 64 };
    static struct asked asked[N];
    settings.max_size = 8;
    open_it();
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < N; i++) {
            prepare_call(&asked[i], "select $1::int as n", 1);
            asked[i].call.read_only = true;
            asked[i].params[0] = (struct sql_value){ .type = SQL_INT, .integer = i };
            sql_run(world.engine, &asked[i].call);
        }
        turn(0);
        outside("select pg_terminate_backend(pid, 1000) from (select pid from pg_stat_activity where " OURS
                " order by query_start desc limit 1) busiest");
        for (int i = 0; i < N; i++) {
            expect_ok(&asked[i]);
            assert_int_equal(sql_rows_cell(asked[i].call.rows, 0, 0).integer, i);
            drop_rows(&asked[i]);
        }
    }
}

static void a_connection_is_replaced_after_so_many_uses(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    skip_pooled("a back end does not tell which connection it served");
    settings.max_size = 1;
    settings.max_uses = 3;
    open_it();
    int pid = atoi(run("select pg_backend_pid()")), same = 1;
    while (atoi(run("select pg_backend_pid()")) == pid)
        same++;
    assert_int_equal(same, 3);
    turn_until(2000, connections() == 1);
}

static void who_vanished_without_a_word_is_found_by_asking(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    skip_pooled("the pooler answers the ping, whatever its back ends do");
    settings.min_size = settings.max_size = 1;
    settings.keepalive_ms = 100;
    settings.ping_timeout_ms = slow_ms(100);
    open_it();
    int pid = atoi(run("select pg_backend_pid()"));
    turn(600); /* asked several times, it answered */
    assert_int_equal(atoi(run("select pg_backend_pid()")), pid);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    turn_until(3000, outside_int("select count(*) from pg_stat_activity where " OURS) == 2);
    assert_int_not_equal(atoi(run("select pg_backend_pid()")), pid);
    kill(pid, SIGCONT);
    turn_until(3000, connections() == 1);
}

static void apply(void)
{
    char why[256] = "";
    assert_int_equal(postgres_engine_apply(world.engine, &settings, why, sizeof why), FAIL_OK);
}

static void its_size_can_change_while_it_is_used(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    settings.min_size = 2;
    settings.max_size = 4;
    open_it();
    struct leased leased[4];
    struct sql_session *sessions[4];
    for (int i = 0; i < 4; i++) {
        sessions[i] = begin(&leased[i]);
        run_in(sessions[i], "select 1");
    }
    settings.min_size = settings.max_size = 1;
    apply();
    turn(300);
    assert_int_equal(connections(), 4); /* in use */
    for (int i = 0; i < 4; i++) {
        run_in(sessions[i], "select 2");
        sql_session_end(sessions[i]);
    }
    turn_until(2000, connections() == 1);
    settings.min_size = settings.max_size = 6;
    apply();
    turn_until(2000, connections() == 6);
    settings.min_size = 7;
    char why[256] = "";
    assert_int_equal(postgres_engine_apply(world.engine, &settings, why, sizeof why), FAIL_INVALID);
    assert_string_equal(why, "min_size 7 is above max_size 6");
}

static void what_was_opened_with_another_guard_is_opened_anew(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    skip_pooled("it is not sent there");
    static const char guard[] = "select current_setting('idle_in_transaction_session_timeout')";
    settings.min_size = settings.max_size = 1;
    open_it();
    assert_string_equal(run(guard), "15s");
    struct leased leased;
    struct sql_session *session = begin(&leased); /* in use it is left alone */
    settings.idle_in_transaction_ms = 60 * 1000;
    apply();
    turn(300);
    run_in(session, "select 1");
    sql_session_end(session);
    turn_until(2000, strcmp(run(guard), "65s") == 0);
    settings.idle_in_transaction_ms = 20 * 1000;
    apply();
    turn(1000); /* nobody uses it */
    assert_string_equal(run(guard), "25s");
}

static void keep_sleeping(struct sql_call *call)
{
    assert_int_equal(call->fail, FAIL_OK);
    sql_rows_free(call->rows);
    struct asked *asked = call->arg;
    if (asked->is_done)
        asked->order = ++orders;
    else
        ask(asked, "select pg_sleep(0.02)", false), asked->call.on_done = keep_sleeping;
}

static void its_size_is_found_by_trying(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    settings.min_size = 2;
    settings.max_size = 24;
    settings.autosize = true;
    open_it();
    static struct asked sleepers[32];
    orders = 0;
    for (int i = 0; i < 32; i++) {
        ask(&sleepers[i], "select pg_sleep(0.02)", false);
        sleepers[i].call.on_done = keep_sleeping;
    }
    turn_until(15000, connections() >= 12); /* each one more gets more done: the server only sleeps */
    settings.max_size = 8;
    apply();
    turn_until(3000, connections() <= 8);
    for (int i = 0; i < 32; i++)
        sleepers[i].is_done = true;
    turn_until(3000, orders == 32);
}

enum { READS = 8 };

/* How many back ends answered the reads of one turn. */
static unsigned back_ends_of_a_turn(bool alone)
{
    struct asked asked[READS] = { { .is_done = false } };
    int64_t pids[READS];
    unsigned different = 0;
    for (int i = 0; i < READS; i++) {
        prepare_call(&asked[i], "select pg_backend_pid()", 0);
        asked[i].call.read_only = true;
        asked[i].call.alone = alone;
        sql_run(world.engine, &asked[i].call);
    }
    for (int i = 0; i < READS; i++) {
        expect_ok(&asked[i]);
        pids[i] = sql_rows_cell(asked[i].call.rows, 0, 0).integer;
        bool is_new = true;
        for (int j = 0; j < i; j++)
            is_new &= pids[j] != pids[i];
        different += is_new;
        drop_rows(&asked[i]);
    }
    return different;
}

static void quick_reads_share_a_connection_unless_they_go_alone(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    skip_pooled("a back end does not tell which connection it served");
    settings.min_size = settings.max_size = READS;
    open_it();
    turn_until(2000, connections() == READS);
    /* Once it is known to be quick, which takes longer on a busy machine. */
    turn_until(5000, back_ends_of_a_turn(false) <= POSTGRES_BATCH_CONNECTIONS);
    turn(20);
    assert_int_equal(back_ends_of_a_turn(true), READS);
    close_engine();
    settings.batches = false;
    char why[256] = "";
    assert_int_equal(postgres_engine_open(&settings, &world.loop, 1, &world.engine, why, sizeof why), FAIL_OK);
    turn_until(2000, connections() == READS);
    for (int i = 0; i < 8; i++)
        back_ends_of_a_turn(false);
    turn(20);
    assert_int_equal(back_ends_of_a_turn(false), READS);
}

/* --- no server --- */

static void without_a_server_it_opens_and_calls_fail_fast(void **state)
{
    (void)state;
    settings.conninfo = "postgres://wick:wick@127.0.0.1:1/wick";
    open_world_with(settings);
    struct asked asked = { .is_done = false };
    ask(&asked, "select 1", false); /* the breaker is still closed: it waits for the attempts */
    expect_error(&asked, FAIL_REFUSED, "08001");
    assert_non_null(strstr(asked.call.error.text, "refused"));
    assert_int_equal(sql_error_status(&asked.call.error), 503);
    for (int i = 0; i < 50; i++) {
        uint64_t begin_ms = clock_mono_ms();
        ask(&asked, "select 1", true);
        expect_error(&asked, FAIL_REFUSED, "08001");
        assert_true(clock_mono_ms() - begin_ms < slow_ms(100));
        turn(10);
    }
    char why[256] = "";
    assert_false(world.engine->ops->is_ready(world.engine, why, sizeof why));
    assert_non_null(strstr(why, "refused"));
}

static void a_pool_that_keeps_none_is_ready_until_none_can_be_had(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    char why[256] = "";
    settings.min_size = 0;
    open_world_with(settings);
    turn(50);
    assert_true(world.engine->ops->is_ready(world.engine, why, sizeof why));
    close_world(NULL);
    settings.conninfo = "postgres://wick:wick@127.0.0.1:1/wick";
    open_world_with(settings);
    struct asked asked;
    for (int i = 0; i < 5; i++) {
        ask(&asked, "select 1", true);
        expect_error(&asked, FAIL_REFUSED, "08001");
    }
    assert_false(world.engine->ops->is_ready(world.engine, why, sizeof why));
}

static void a_name_without_an_address_is_said_so(void **state)
{
    (void)state;
    settings.conninfo = "postgres://wick:wick@no-such-host.invalid/wick";
    open_world_with(settings);
    struct asked asked = { .is_done = false };
    ask(&asked, "select 1", false);
    expect_error(&asked, FAIL_REFUSED, "08001");
    assert_non_null(strstr(asked.call.error.text, "no-such-host.invalid"));
}

static void a_name_with_an_address_is_connected_to(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    char url[256];
    const char *at = strstr(front_url(), "127.0.0.1");
    if (!at)
        skip();
    snprintf(url, sizeof url, "%.*slocalhost%s", (int)(at - front_url()), front_url(), at + strlen("127.0.0.1"));
    settings.conninfo = url;
    open_it();
    assert_string_equal(run("select 5"), "5");
}

static void a_wrong_password_fails_clearly_and_does_not_storm(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    char url[256];
    const char *at = strstr(front_url(), "wick:wick@");
    if (!at)
        skip();
    snprintf(url, sizeof url, "%.*swick:wrong@%s", (int)(at - front_url()), front_url(), at + strlen("wick:wick@"));
    settings.conninfo = url;
    settings.min_size = 4;
    open_world_with(settings);
    struct asked asked = { .is_done = false };
    ask(&asked, "select 1", false);
    expect_error(&asked, FAIL_REFUSED, "28P01");
    assert_non_null(strstr(asked.call.error.text, "password"));
    struct metric_counter *attempts = metric_counter("wick_pg_pool_reconnects_total",
                                                     "Connections that had to be replaced, or could not be opened.",
                                                     "pool=\"primary\",reason=\"failed\"");
    turn(600); /* those that were under way */
    uint64_t before = metric_counter_value(attempts);
    for (int i = 0; i < 100; i++) {
        ask(&asked, "select 1", false);
        expect_error(&asked, FAIL_REFUSED, "28P01");
        turn(10);
    }
    assert_int_equal(metric_counter_value(attempts), before);
}

static void bad_settings_are_refused_in_words(void **state)
{
    (void)state;
    char why[256];
    struct sql_engine *engine;
    struct loop *loop;
    assert_int_equal(loop_open("spec", &loop), FAIL_OK);
    struct postgres_settings bad = settings;
    bad.min_size = 9;
    assert_int_equal(postgres_engine_open(&bad, &loop, 1, &engine, why, sizeof why), FAIL_INVALID);
    assert_non_null(strstr(why, "min_size 9"));
    bad = settings;
    bad.conninfo = "host=x secret_password";
    assert_int_equal(postgres_engine_open(&bad, &loop, 1, &engine, why, sizeof why), FAIL_INVALID);
    assert_null(strstr(why, "secret_password"));
    bad.conninfo = "service=elsewhere";
    assert_int_equal(postgres_engine_open(&bad, &loop, 1, &engine, why, sizeof why), FAIL_INVALID);
    assert_non_null(strstr(why, "service"));
    assert_int_equal(loop_close(loop, 100), 0);
}

static void without_memory_it_is_not_opened_and_nothing_is_lost(void **state)
{
    (void)state;
    struct sql_engine *engine;
    struct loop *loop;
    size_t before = mem_live_tag(MEM_POSTGRES);
    enum fail fail = FAIL_NOMEM;
    assert_int_equal(loop_open("spec", &loop), FAIL_OK);
    for (unsigned n = 1; fail == FAIL_NOMEM; n++) {
        char why[256] = "";
        mem_fail_after(n);
        fail = postgres_engine_open(&settings, &loop, 1, &engine, why, sizeof why);
        mem_fail_after(0);
        if (fail)
            assert_non_null(strstr(why, "memory"));
    }
    assert_int_equal(fail, FAIL_OK);
    bool is_closed = false;
    engine->ops->close(engine, loop, 0, on_world_closed, &is_closed);
    loop_turn(loop, slow_ms(5000), &is_closed);
    assert_true(is_closed);
    assert_int_equal(loop_close(loop, 1000), 0);
    assert_int_equal(mem_live_tag(MEM_POSTGRES), before);
}

/* --- several loops --- */

enum { LOOPS = 3, FLIGHTS = 20 };
static struct worker {
    struct loop *loop;
    pthread_t thread;
    struct loop_task task;
    struct asked asked[FLIGHTS];
    unsigned left, flying, bad;
} workers[LOOPS];
static atomic_uint workers_done;

static void next_flight(struct worker *worker, struct asked *asked);

static void on_flight_done(struct sql_call *call)
{
    struct asked *asked = call->arg;
    struct worker *worker = LIST_ENTRY(asked - asked->order, struct worker, asked[0]);
    worker->bad += call->fail != FAIL_OK;
    if (call->fail)
        fprintf(stderr, "%s: %s %s\n", fail_text(call->fail), call->error.sqlstate, call->error.text);
    worker->bad += call->loop != loop_here();
    drop_rows(asked);
    worker->flying--;
    if (worker->left)
        next_flight(worker, asked);
    else if (!worker->flying)
        atomic_fetch_add(&workers_done, 1);
}

static void next_flight(struct worker *worker, struct asked *asked)
{
    worker->left--;
    worker->flying++;
    prepare_call(asked, worker->left % 3 ? "select 1 as n" : "select 2 as n from pg_sleep(0.001)", 0);
    asked->call.on_done = on_flight_done;
    asked->call.read_only = worker->left % 2;
    sql_run(world.engine, &asked->call);
}

static void take_off(void *arg)
{
    struct worker *worker = arg;
    for (unsigned i = 0; i < FLIGHTS; i++) {
        worker->asked[i].order = i;
        next_flight(worker, &worker->asked[i]);
    }
}

static void *run_worker(void *arg)
{
    loop_run(((struct worker *)arg)->loop);
    return NULL;
}

static void several_loops_share_one_maximum(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct loop *loops[LOOPS];
    char why[256];
    settings.max_size = 5;
    settings.min_size = 4;
    world.admin = open_admin(server_url());
    atomic_store(&workers_done, 0);
    for (int i = 0; i < LOOPS; i++) {
        workers[i] = (struct worker){ .left = 1500 };
        assert_int_equal(loop_open("worker", &workers[i].loop), FAIL_OK);
        loops[i] = workers[i].loop;
    }
    assert_int_equal(postgres_engine_open(&settings, loops, LOOPS, &world.engine, why, sizeof why), FAIL_OK);
    for (int i = 0; i < LOOPS; i++) {
        workers[i].task = (struct loop_task){ .run = take_off, .arg = &workers[i] };
        loop_post(loops[i], &workers[i].task);
        pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]);
    }
    uint64_t end_ms = clock_mono_ms() + 30000;
    int most = 0;
    while (atomic_load(&workers_done) < LOOPS && clock_mono_ms() < end_ms) {
        int now = connections();
        most = now > most ? now : most;
    }
    assert_int_equal(atomic_load(&workers_done), LOOPS);
    assert_in_range(most, 4, 5);
    struct loop *mine;
    assert_int_equal(loop_open("main", &mine), FAIL_OK);
    bool is_closed = false;
    world.engine->ops->close(world.engine, mine, 500, on_world_closed, &is_closed);
    loop_turn(mine, 5000, &is_closed);
    assert_true(is_closed);
    for (int i = 0; i < LOOPS; i++) {
        loop_stop(workers[i].loop);
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(loop_close(workers[i].loop, 1000), 0);
        assert_int_equal(workers[i].bad, 0);
    }
    for (int i = 0; i < 200 && connections(); i++) /* back ends take their time to leave */
        loop_turn(mine, 10, NULL);
    assert_int_equal(connections(), 0);
    assert_int_equal(loop_close(mine, 100), 0);
    PQfinish(world.admin);
}

/* --- the end --- */

static void closing_lets_running_calls_end_and_refuses_new_ones(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked running = { .is_done = false }, waiting = { .is_done = false }, late = { .is_done = false };
    settings.max_size = 1;
    open_it();
    run("select 1");
    ask(&running, "select pg_sleep(0.2)", false);
    turn(20);
    ask(&waiting, "select 1", false);
    turn(5);
    world.engine->ops->close(world.engine, world.loop, 1000, on_world_closed, &world.is_closed);
    turn(5);
    ask(&late, "select 1", false);
    expect_error(&waiting, FAIL_CLOSED, "57P01");
    expect_error(&late, FAIL_CLOSED, "57P01");
    expect_ok(&running);
    drop_rows(&running);
    turn_until(2000, world.is_closed);
    world.engine = NULL;
    turn_until(1000, connections() == 0);
}

static void closing_cancels_what_does_not_end_in_time(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked running = { .is_done = false };
    open_it();
    ask(&running, "select pg_sleep(30)", false);
    turn(100);
    world.engine->ops->close(world.engine, world.loop, 100, on_world_closed, &world.is_closed);
    wait_for(&running);
    expect_error(&running, FAIL_CLOSED, "57P01");
    turn_until(3000, world.is_closed);
    world.engine = NULL;
    turn_until(1000, connections() == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(waiters_are_served_in_arrival_order, set_up, close_world),
        cmocka_unit_test_setup_teardown(it_never_has_more_than_max_size, set_up, close_world),
        cmocka_unit_test_setup_teardown(it_fills_to_min_size_by_itself_and_shrinks_to_it_again, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_light_load_does_not_make_it_grow, set_up, close_world),
        cmocka_unit_test_setup_teardown(connections_are_replaced_when_they_are_old, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_call_over_max_waiting_is_refused_at_once, set_up, close_world),
        cmocka_unit_test_setup_teardown(who_waits_longer_than_acquire_timeout_is_told_what_to_do, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_lease_that_is_cancelled_takes_no_connection, set_up, close_world),
        cmocka_unit_test_setup_teardown(killed_idle_back_ends_are_evicted_before_anyone_gets_them, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_killed_busy_read_is_run_again_and_a_write_is_not, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_killed_shared_pipeline_loses_no_read, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_connection_is_replaced_after_so_many_uses, set_up, close_world),
        cmocka_unit_test_setup_teardown(who_vanished_without_a_word_is_found_by_asking, set_up, close_world),
        cmocka_unit_test_setup_teardown(its_size_can_change_while_it_is_used, set_up, close_world),
        cmocka_unit_test_setup_teardown(what_was_opened_with_another_guard_is_opened_anew, set_up, close_world),
        cmocka_unit_test_setup_teardown(without_memory_it_is_not_opened_and_nothing_is_lost, set_up, close_world),
        cmocka_unit_test_setup_teardown(its_size_is_found_by_trying, set_up, close_world),
        cmocka_unit_test_setup_teardown(quick_reads_share_a_connection_unless_they_go_alone, set_up, close_world),
        cmocka_unit_test_setup_teardown(without_a_server_it_opens_and_calls_fail_fast, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_pool_that_keeps_none_is_ready_until_none_can_be_had, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_name_without_an_address_is_said_so, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_name_with_an_address_is_connected_to, set_up, close_world),
        cmocka_unit_test_setup_teardown(a_wrong_password_fails_clearly_and_does_not_storm, set_up, close_world),
        cmocka_unit_test_setup_teardown(bad_settings_are_refused_in_words, set_up, close_world),
        cmocka_unit_test_setup_teardown(several_loops_share_one_maximum, set_up, close_world),
        cmocka_unit_test_setup_teardown(closing_lets_running_calls_end_and_refuses_new_ones, set_up, close_world),
        cmocka_unit_test_setup_teardown(closing_cancels_what_does_not_end_in_time, set_up, close_world),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
