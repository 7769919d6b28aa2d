/* LISTEN: one connection for all, notes in order to every subscriber on its own loop, and a gap whenever some may have been missed. */
#include "world.h"

#include "postgres/engine.h"
#include "postgres/listen.h"
#include "sql/listen.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define LISTENING "application_name = 'wick listen' and datname = current_database()"

static int set_up_with(const char *url, unsigned ping_ms)
{
    if (!server_url())
        return 0;
    struct postgres_settings settings = settings_for(url);
    settings.listen_ping_ms = ping_ms;
    open_world_with(settings);
    world.admin = open_admin(server_url());
    return 0;
}
static int set_up(void **state)
{
    (void)state;
    return set_up_with(server_url(), 10000);
}
static int set_up_pinging(void **state)
{
    (void)state;
    return set_up_with(server_url(), 100);
}

/* --- a subscriber --- */

struct heard {
    struct sql_subscription *subscription;
    atomic_uint notes, gaps;
    bool is_busy;
    unsigned refused;
    char last[256], all[4096];
};

static bool on_note(void *arg, struct str payload, int pid)
{
    struct heard *heard = arg;
    assert_true(pid > 0);
    if (heard->is_busy) {
        heard->refused++;
        return false;
    }
    snprintf(heard->last, sizeof heard->last, "%.*s", (int)payload.len, payload.data);
    if (strlen(heard->all) + payload.len + 2 < sizeof heard->all)
        sprintf(heard->all + strlen(heard->all), "%s ", heard->last);
    heard->notes++;
    return true;
}

static bool on_gap(void *arg)
{
    struct heard *heard = arg;
    if (heard->is_busy)
        return false;
    heard->gaps++;
    return true;
}

static void subscribe(struct heard *heard, const char *channel)
{
    struct sql_listener listener = { on_note, on_gap, heard };
    struct sql_error error = { .sent = false };
    *heard = (struct heard){ .is_busy = false };
    enum fail fail = sql_listen(world.engine, str_of(channel), &listener, &heard->subscription, &error);
    assert_string_equal(error.text, "");
    assert_int_equal(fail, FAIL_OK);
    assert_int_equal(heard->gaps, 0);
}

static void subscribe_and_wait(struct heard *heard, const char *channel)
{
    subscribe(heard, channel);
    turn_until(3000, heard->gaps == 1);
}

static double gauge(const char *name) { return metric_gauge_value(metric_gauge(name, "", "pool=\"primary\"")); }
static uint64_t counter(const char *name) { return metric_counter_value(metric_counter(name, "", "pool=\"primary\"")); }
static int listening(void) { return outside_int("select count(*) from pg_stat_activity where " LISTENING); }

/* --- what is heard --- */

static void one_connection_serves_all_and_lives_as_long_as_somebody_listens(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static struct heard heard[20];
    assert_int_equal(listening(), 0);
    for (int i = 0; i < 20; i++)
        subscribe(&heard[i], i % 2 ? "odd" : "even");
    for (int i = 0; i < 20; i++)
        turn_until(3000, heard[i].gaps == 1);
    assert_int_equal(listening(), 1);
    assert_int_equal(gauge("wick_pg_listen_channels"), 2);
    assert_int_equal(gauge("wick_pg_listen_subscribers"), 20);
    outside("select pg_notify('odd', 'one'), pg_notify('even', 'two')");
    for (int i = 0; i < 20; i++)
        turn_until(2000, heard[i].notes == 1);
    assert_string_equal(heard[0].last, "two");
    assert_string_equal(heard[19].last, "one");
    for (int i = 1; i < 20; i++)
        sql_unlisten(heard[i].subscription);
    turn(50);
    outside("select pg_notify('even', 'three')");
    turn_until(2000, heard[0].notes == 2);
    assert_int_equal(heard[2].notes, 1);
    assert_int_equal(gauge("wick_pg_listen_channels"), 1);
    sql_unlisten(heard[0].subscription);
    turn_until(2000, listening() == 0);
    assert_int_equal(gauge("wick_pg_listen_subscribers"), 0);
    subscribe_and_wait(&heard[0], "even"); /* and again */
    sql_unlisten(heard[0].subscription);
}

static void notes_come_in_order_and_whole(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static struct heard heard;
    subscribe_and_wait(&heard, "we\"ird; Name");
    outside("select pg_notify('we\"ird; Name', g::text) from generate_series(1, 500) g");
    outside("select pg_notify('we\"ird; Name', '')");
    turn_until(3000, heard.notes == 501);
    assert_string_equal(heard.last, "");
    assert_int_equal(strncmp(heard.all, "1 2 3 4 5 6 7 8 9 10 11 ", 24), 0);
    outside("select pg_notify('we\"ird; Name', repeat('y', 7999))");
    turn_until(2000, heard.notes == 502);
    assert_string_equal(run("select pg_notify('we\"ird; Name', 'own')"), ""); /* wick's own, too */
    turn_until(2000, heard.notes == 503);
    assert_int_equal(heard.gaps, 1);
    sql_unlisten(heard.subscription);
}

/* More bytes than any result may have, while the question whether the connection lives is on its way. */
static void a_flood_of_notes_is_no_result_that_is_too_large(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { NOTES = 20000 };
    static struct heard heard;
    subscribe_and_wait(&heard, "flood");
    for (unsigned round = 1; round <= 3; round++) {
        outside(
            "do $$ begin for i in 1..20000 loop perform pg_notify('flood', i || repeat('q', 7000)); end loop; end $$");
        turn_until(20000, heard.notes == round * NOTES);
    }
    assert_int_equal(heard.gaps, 1);
    sql_unlisten(heard.subscription);
}

static void who_joins_a_channel_that_is_heard_is_told_at_once(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static struct heard first, second;
    subscribe_and_wait(&first, "c");
    subscribe_and_wait(&second, "c");
    sql_unlisten(first.subscription);
    outside("select pg_notify('c', 'x')");
    turn_until(2000, second.notes == 1);
    sql_unlisten(second.subscription);
    subscribe(&second, "c"); /* while UNLISTEN may be on its way */
    sql_unlisten(second.subscription);
    subscribe_and_wait(&second, "c");
    outside("select pg_notify('c', 'y')");
    turn_until(2000, second.notes == 1);
    sql_unlisten(second.subscription);
}

static void what_is_no_channel_is_refused(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct sql_listener listener = { on_note, on_gap, NULL };
    struct sql_subscription *subscription = NULL;
    char name[65];
    memset(name, 'x', sizeof name);
    struct str names[] = { STR(""), str_make(name, 64), STR("a\0b"), STR("\xff") };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct sql_error error = { .sent = false };
        assert_int_equal(sql_listen(world.engine, names[i], &listener, &subscription, &error), FAIL_INVALID);
        assert_string_equal(error.sqlstate, "22023");
    }
    struct heard heard;
    name[63] = '\0';
    subscribe_and_wait(&heard, name);
    sql_unlisten(heard.subscription);
}

/* --- gaps --- */

static void a_lost_connection_is_a_gap_for_everybody_once_it_holds_again(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static struct heard heard[3];
    for (int i = 0; i < 3; i++)
        subscribe_and_wait(&heard[i], i ? "b" : "a");
    uint64_t gaps = counter("wick_pg_listen_gaps_total");
    for (unsigned round = 1; round <= 5; round++) {
        outside("select pg_terminate_backend(pid) from pg_stat_activity where " LISTENING);
        for (int i = 0; i < 3; i++)
            turn_until(3000, heard[i].gaps == 1 + round);
        outside("select pg_notify('a', 'x'), pg_notify('b', 'x')"); /* after the gap nothing is missed */
        for (int i = 0; i < 3; i++)
            turn_until(2000, heard[i].notes == round);
    }
    assert_int_equal(counter("wick_pg_listen_gaps_total"), gaps + 15);
    assert_int_equal(listening(), 1);
    for (int i = 0; i < 3; i++)
        sql_unlisten(heard[i].subscription);
}

static void a_slow_subscriber_loses_its_queue_and_gets_a_gap_and_holds_nobody_up(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static struct heard slow, quick;
    subscribe_and_wait(&slow, "c");
    subscribe_and_wait(&quick, "c");
    slow.is_busy = true;
    size_t live = mem_live();
    for (int i = 0; i < 30; i++) /* 24 MB */
        outside("select pg_notify('c', repeat('z', 7900) || g) from generate_series(1, 100) g");
    turn_until(5000, quick.notes == 3000);
    assert_int_equal(slow.notes, 0);
    assert_true(mem_live() < live + (3 << 20));
    slow.is_busy = false;
    sql_listen_resume(slow.subscription);
    turn_until(2000, slow.gaps == 2);
    turn(20);
    assert_true(slow.notes < 1000);
    unsigned notes = slow.notes;
    outside("select pg_notify('c', 'after')");
    turn_until(2000, slow.notes == notes + 1);
    assert_string_equal(slow.last, "after");
    assert_int_equal(quick.gaps, 1);
    sql_unlisten(slow.subscription);
    sql_unlisten(quick.subscription);
}

static void a_note_that_is_refused_comes_again_first(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static struct heard heard;
    subscribe_and_wait(&heard, "c");
    heard.is_busy = true;
    outside("select pg_notify('c', 'one')");
    outside("select pg_notify('c', 'two')");
    turn_until(2000, heard.refused == 1);
    turn(50);
    assert_int_equal(heard.refused, 1);
    heard.is_busy = false;
    sql_listen_resume(heard.subscription);
    turn_until(2000, heard.notes == 2);
    assert_string_equal(heard.all, "one two ");
    sql_unlisten(heard.subscription);
}

/* --- a connection that is silent --- */

static char frozen_dir[128], frozen_url[256];

static void servers(const char *verb, const char *rest)
{
    char command[512], line[512];
    snprintf(command, sizeof command, "spec/support/servers.sh postgres %s %s %s", verb, frozen_dir, rest);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    while (fgets(line, sizeof line, pipe))
        if (sscanf(line, "url=%255s", frozen_url) == 1)
            continue;
    assert_int_equal(pclose(pipe), 0);
}

/* The answer to a ping stands behind all of them, and there is more to read than fits into the time it has. */
static void notes_that_arrive_are_a_sign_of_life(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static struct heard heard;
    subscribe_and_wait(&heard, "c");
    int pid = outside_int("select pid from pg_stat_activity where " LISTENING);
    kill(pid, SIGSTOP);
    turn(300); /* a ping is on its way */
    outside("do $$ begin for i in 1..20000 loop perform pg_notify('c', i || repeat('q', 7000)); end loop; end $$");
    kill(pid, SIGCONT);
    turn_until(5000, heard.notes > 0);
    clock_fake(clock_mono_ns() + (POSTGRES_LISTEN_ANSWER_MS + 1000) * UINT64_C(1000000), clock_wall_us());
    turn(20);
    clock_fake(0, 0);
    turn_until(20000, heard.notes == 20000);
    assert_int_equal(heard.gaps, 1);
    sql_unlisten(heard.subscription);
}

static void an_idle_connection_is_asked_and_one_without_answer_is_replaced(void **state)
{
    (void)state;
    if (!needs_server() || access("spec/support/servers.sh", X_OK) != 0)
        skip();
    snprintf(frozen_dir, sizeof frozen_dir, "%s/wick-listen-XXXXXX",
             getenv("WICK_TEST_TMP") ? getenv("WICK_TEST_TMP") : "/tmp");
    assert_non_null(mkdtemp(frozen_dir));
    servers("start", "");
    set_up_with(frozen_url, 100);
    static struct heard heard;
    subscribe_and_wait(&heard, "c");
    turn(500); /* pings are answered: nothing is lost */
    assert_int_equal(heard.gaps, 1);
    uint64_t channels = (uint64_t)gauge("wick_pg_listen_channels");
    servers("signal", "STOP");
    turn(6000); /* longer than it waits for an answer */
    servers("signal", "CONT");
    turn_until(10000, heard.gaps == 2);
    assert_int_equal(gauge("wick_pg_listen_channels"), channels);
    servers("stop", "");
    turn(500);
    static struct heard late; /* one may also subscribe while the server is away */
    subscribe(&late, "d");
    turn(1500);
    assert_int_equal(late.gaps, 0);
    servers("start", "");
    turn_until(10000, heard.gaps == 3 && late.gaps == 1);
    sql_unlisten(heard.subscription);
    sql_unlisten(late.subscription);
    servers("stop", "");
}

/* --- several loops --- */

enum { LOOPS = 4, ROUNDS = 30 };
struct thread {
    pthread_t id;
    struct loop *loop;
    struct loop_task task;
    struct heard heard[4];
    struct sql_engine *engine;
    atomic_uint rounds;
    atomic_bool is_over;
    struct timer timer;
};
static struct thread threads[LOOPS];

static void come_and_go(void *arg)
{
    struct thread *thread = arg;
    static const char *const names[] = { "a", "b", "c", "d" };
    for (int i = 0; i < 4; i++) {
        struct heard *heard = &thread->heard[i];
        if (heard->subscription && (thread->rounds + (unsigned)i) % 3 == 0) {
            sql_unlisten(heard->subscription);
            heard->subscription = NULL;
        } else if (!heard->subscription) {
            struct sql_listener listener = { on_note, on_gap, heard };
            struct sql_error error = { .sent = false };
            if (sql_listen(thread->engine, str_of(names[i]), &listener, &heard->subscription, &error))
                heard->subscription = NULL;
        }
    }
    if (++thread->rounds < ROUNDS) {
        timer_start(thread->loop, &thread->timer, 20, come_and_go, thread);
        return;
    }
    for (int i = 0; i < 4; i++)
        if (thread->heard[i].subscription)
            sql_unlisten(thread->heard[i].subscription);
    thread->is_over = true;
}

static void *turn_loop(void *arg)
{
    struct thread *thread = arg;
    loop_run(thread->loop);
    return NULL;
}

static void subscribers_come_and_go_on_many_loops(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    world = (struct world){ .settings = settings_for(server_url()) };
    char why[256] = "";
    struct loop *loops[LOOPS + 1];
    assert_int_equal(loop_open("spec", &world.loop), FAIL_OK);
    loops[0] = world.loop;
    for (int i = 0; i < LOOPS; i++) {
        threads[i] = (struct thread){ .rounds = 0 };
        assert_int_equal(loop_open("other", &threads[i].loop), FAIL_OK);
        loops[i + 1] = threads[i].loop;
    }
    assert_int_equal(postgres_engine_open(&world.settings, loops, LOOPS + 1, &world.engine, why, sizeof why), FAIL_OK);
    world.admin = open_admin(server_url());
    for (int i = 0; i < LOOPS; i++) {
        threads[i].engine = world.engine;
        threads[i].task = (struct loop_task){ .run = come_and_go, .arg = &threads[i] };
        assert_int_equal(pthread_create(&threads[i].id, NULL, turn_loop, &threads[i]), 0);
        loop_post(threads[i].loop, &threads[i].task);
    }
    bool are_over = false;
    for (unsigned turns = 0; !are_over; turns++) {
        outside("select pg_notify(c, 'x') from unnest(array['a', 'b', 'c', 'd']) c");
        if (turns % 40 == 20)
            outside("select pg_terminate_backend(pid) from pg_stat_activity where " LISTENING);
        turn(5);
        are_over = true;
        for (int i = 0; i < LOOPS; i++)
            are_over &= threads[i].is_over;
    }
    close_engine();
    unsigned notes = 0;
    for (int i = 0; i < LOOPS; i++) {
        loop_stop(threads[i].loop);
        pthread_join(threads[i].id, NULL);
        assert_int_equal(loop_close(threads[i].loop, 1000), 0);
        for (int k = 0; k < 4; k++)
            notes += threads[i].heard[k].notes;
    }
    assert_true(notes > 0);
}

int main(void)
{
#define SPEC(test, before) cmocka_unit_test_setup_teardown(test, before, close_world)
    const struct CMUnitTest tests[] = {
        SPEC(one_connection_serves_all_and_lives_as_long_as_somebody_listens, set_up),
        SPEC(notes_come_in_order_and_whole, set_up_pinging),
        SPEC(a_flood_of_notes_is_no_result_that_is_too_large, set_up_pinging),
        SPEC(who_joins_a_channel_that_is_heard_is_told_at_once, set_up),
        SPEC(what_is_no_channel_is_refused, set_up),
        SPEC(a_lost_connection_is_a_gap_for_everybody_once_it_holds_again, set_up_pinging),
        SPEC(a_slow_subscriber_loses_its_queue_and_gets_a_gap_and_holds_nobody_up, set_up),
        SPEC(a_note_that_is_refused_comes_again_first, set_up),
        SPEC(notes_that_arrive_are_a_sign_of_life, set_up_pinging),
        SPEC(an_idle_connection_is_asked_and_one_without_answer_is_replaced, NULL),
        SPEC(subscribers_come_and_go_on_many_loops, NULL),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
