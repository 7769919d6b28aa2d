/* How many connections the process has: never more than max_size, and one for cancels, whatever is cancelled, killed or opened anew. */
#include "loop/timer.h"
#include "postgres/lane.h"
#include "world.h"

#include <pthread.h>

enum { LOOPS = 3, FLIGHTS = 12, SIZE = 6, STORM_MS = 1000, LEAVE_MS = 100 };
static struct storm {
    struct loop *loop;
    pthread_t thread;
    struct loop_task task;
    struct timer timer;
    struct asked asked[FLIGHTS];
    unsigned flying, answered, cancelled;
    uint32_t random;
} storms[LOOPS];
static atomic_bool is_over;
static atomic_uint loops_done;
static struct postgres_pool *_Atomic pool;

/* --- a loop that asks and cancels ----------------------------------------------------------------------------- */

static uint32_t random_of(struct storm *storm) { return (storm->random = storm->random * 1664525u + 1013904223u) >> 8; }

static void fly(struct storm *storm, struct asked *asked);

static void on_flown(struct sql_call *call)
{
    struct asked *asked = call->arg;
    struct storm *storm = LIST_ENTRY(asked - asked->order, struct storm, asked[0]);
    storm->answered++;
    storm->cancelled += call->fail == FAIL_CANCELLED || call->fail == FAIL_TIMEOUT;
    asked->is_done = true;
    drop_rows(asked);
    storm->flying--;
    if (!atomic_load(&is_over))
        fly(storm, asked);
    else if (!storm->flying)
        atomic_fetch_add(&loops_done, 1);
}

static void fly(struct storm *storm, struct asked *asked)
{
    static const char *const texts[] = { "select 1", "select pg_sleep(0.005)", "select pg_sleep(0.1)" };
    uint32_t random = random_of(storm);
    storm->flying++;
    prepare_call(asked, texts[random % 3], 0);
    asked->call.on_done = on_flown;
    asked->call.read_only = random % 5 < 3;
    asked->call.timeout_ms = random % 7 ? 5000 : 20;
    sql_run(world.engine, &asked->call);
    atomic_store(&pool, ((struct postgres_lane *)asked->call.engine_data[0])->pool);
}

static void cancel_some(void *arg)
{
    struct storm *storm = arg;
    if (atomic_load(&is_over))
        return;
    struct asked *asked = &storm->asked[random_of(storm) % FLIGHTS];
    if (!asked->is_done)
        sql_cancel(world.engine, &asked->call);
    timer_start(storm->loop, &storm->timer, 3, cancel_some, storm);
}

static void take_off(void *arg)
{
    struct storm *storm = arg;
    for (unsigned i = 0; i < FLIGHTS; i++) {
        storm->asked[i].order = i;
        fly(storm, &storm->asked[i]);
    }
    cancel_some(storm);
}

static void *run_storm(void *arg)
{
    loop_run(((struct storm *)arg)->loop);
    return NULL;
}

/* --- from outside --------------------------------------------------------------------------------------------- */

#define THERE "datname = 'limit_spec'"

static void kill_one(void)
{
    static unsigned killed;
    static uint64_t next_ms;
    if (clock_mono_ms() < next_ms)
        return;
    next_ms = clock_mono_ms() + slow_ms(10);
    outside(++killed % 4 ? "select pg_terminate_backend(pid) from pg_stat_activity where " THERE
                           " and application_name = 'wick spec' order by random() limit 1"
                         : "select pg_terminate_backend(pid) from pg_stat_activity where " THERE
                           " and application_name = 'wick control'");
}

/* A back end that was closed or killed is seen until it has left, while another is opened in its place; so what is too many must be
 * gone a moment later. */
static void expect_at_most(const char *name, int limit, int *most)
{
    char text[160];
    snprintf(text, sizeof text, "select count(*) from pg_stat_activity where " THERE " and application_name = '%s'",
             name);
    uint64_t end_ms = clock_mono_ms() + slow_ms(LEAVE_MS);
    int now = outside_int(text);
    while (now > limit && clock_mono_ms() < end_ms)
        now = outside_int(text);
    if (now > limit)
        fail_msg("%d of %s, and %d are allowed", now, name, limit);
    *most = now > *most ? now : *most;
}

static void watch_storm(void)
{
    int most = 0, most_control = 0;
    for (uint64_t end_ms = clock_mono_ms() + slow_ms(STORM_MS); clock_mono_ms() < end_ms;) {
        struct postgres_counts counts;
        kill_one();
        expect_at_most("wick spec", SIZE, &most);
        expect_at_most("wick control", 1, &most_control);
        if (atomic_load(&pool)) {
            postgres_pool_count(atomic_load(&pool), &counts);
            assert_true(counts.total <= SIZE);
        }
        usleep(3000);
    }
    assert_in_range(most, 2, SIZE);
    assert_int_equal(most_control, 1);
    assert_int_equal(outside_int("select count(*) from pg_stat_activity where " THERE
                                 " and application_name not in ('wick spec', 'wick control')"),
                     0);
}

static void the_process_keeps_to_max_size_and_one_for_cancels(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct loop *loops[LOOPS], *mine;
    char why[256], url[300];
    world = (struct world){ .admin = open_admin(server_url()) };
    outside("drop database if exists limit_spec with (force)");
    outside("create database limit_spec");
    snprintf(url, sizeof url, "%.*s/limit_spec", (int)(strrchr(server_url(), '/') - server_url()), server_url());
    struct postgres_settings settings = settings_for(url);
    settings.max_size = SIZE;
    for (unsigned i = 0; i < LOOPS; i++) {
        storms[i] = (struct storm){ .random = i + 1 };
        assert_int_equal(loop_open("storm", &storms[i].loop), FAIL_OK);
        loops[i] = storms[i].loop;
    }
    assert_int_equal(postgres_engine_open(&settings, loops, LOOPS, &world.engine, why, sizeof why), FAIL_OK);
    for (unsigned i = 0; i < LOOPS; i++) {
        storms[i].task = (struct loop_task){ .run = take_off, .arg = &storms[i] };
        loop_post(loops[i], &storms[i].task);
        pthread_create(&storms[i].thread, NULL, run_storm, &storms[i]);
    }
    watch_storm();
    atomic_store(&is_over, true);
    for (uint64_t end_ms = clock_mono_ms() + slow_ms(8000); atomic_load(&loops_done) < LOOPS;) {
        assert_true(clock_mono_ms() < end_ms);
        usleep(5000);
    }
    assert_int_equal(loop_open("main", &mine), FAIL_OK);
    bool is_closed = false;
    world.engine->ops->close(world.engine, mine, 500, on_world_closed, &is_closed);
    loop_turn(mine, slow_ms(5000), &is_closed);
    assert_true(is_closed);
    for (unsigned i = 0; i < LOOPS; i++) {
        loop_stop(storms[i].loop);
        pthread_join(storms[i].thread, NULL);
        assert_int_equal(loop_close(storms[i].loop, 1000), 0);
        assert_true(storms[i].cancelled > 20 && storms[i].answered > storms[i].cancelled);
    }
    assert_int_equal(loop_close(mine, 100), 0);
    outside("drop database limit_spec with (force)");
    PQfinish(world.admin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_process_keeps_to_max_size_and_one_for_cancels),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
