/* loops_spec.c - several loops on threads of their own share one engine: reads, writes, sessions and cancels at once, each
 * answered on its own loop, and the sum is right. */
#include "support/sqlite_world.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

enum { LOOPS = 3, FLIGHT = 16, STEPS = 150 };

static struct world world;
static atomic_int written;

/* One line of work on a loop: its steps follow each other. */
struct line {
    struct answer answer;
    struct sql_lease lease;
    struct sql_session *session;
    struct loop *loop;
    unsigned steps, seed, *alive;
    bool *is_done;
};

static void next(struct line *line);

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void on_own_loop(const struct line *line) { must(loop_here() == line->loop, "answered on the loop that asked"); }

static void on_plain(struct sql_call *call)
{
    struct line *line = call->arg;
    on_own_loop(line);
    bool is_write = call->text.data[0] == 'i';
    must(call->fail == FAIL_OK || call->fail == FAIL_CANCELLED || call->fail == FAIL_TIMEOUT, call->error.text);
    if (is_write && call->fail == FAIL_OK)
        atomic_fetch_add(&written, 1);
    sql_rows_free(call->rows);
    next(line);
}

static void start(struct line *line, const char *text, void (*on_done)(struct sql_call *call))
{
    answer_set(&line->answer, text, "i", (int64_t)line->seed);
    line->answer.call.on_done = on_done;
    line->answer.call.arg = line;
}

static void on_committed(struct sql_call *call)
{
    struct line *line = call->arg;
    on_own_loop(line);
    must(call->fail == FAIL_OK, call->error.text);
    sql_rows_free(call->rows);
    atomic_fetch_add(&written, 1);
    sql_session_end(line->session);
    next(line);
}

static void on_inserted(struct sql_call *call)
{
    struct line *line = call->arg;
    must(call->fail == FAIL_OK, call->error.text);
    sql_rows_free(call->rows);
    if (line->seed % 2) { /* rolls back */
        sql_session_end(line->session);
        next(line);
        return;
    }
    start(line, "commit", on_committed);
    line->answer.call.param_count = 0;
    sql_session_run(line->session, &line->answer.call);
}

static void on_lease(struct sql_lease *lease)
{
    struct line *line = lease->arg;
    on_own_loop(line);
    must(lease->fail == FAIL_OK, lease->error.text);
    line->session = lease->session;
    start(line, "insert into t values ($1)", on_inserted);
    sql_session_run(line->session, &line->answer.call);
}

static void next(struct line *line)
{
    if (line->steps-- == 0) {
        if (--*line->alive == 0)
            *line->is_done = true;
        return;
    }
    line->seed = line->seed * 1103515245u + 12345u;
    unsigned kind = line->seed >> 16 & 15;
    if (kind == 0) {
        line->lease = (struct sql_lease){ .on_lease = on_lease, .arg = line };
        sql_begin(world.engine, &line->lease);
        return;
    }
    start(line, kind < 8 ? "insert into t values ($1)" : "select count(*) from t where a = $1", on_plain);
    line->answer.call.timeout_ms = kind == 9 ? 1 : 0;
    sql_run(world.engine, &line->answer.call);
    if (kind == 7 || kind == 8)
        sql_cancel(world.engine, &line->answer.call);
}

static void begin_all(void *arg)
{
    struct line *lines = arg;
    for (int i = 0; i < FLIGHT; i++)
        next(&lines[i]);
}

static void *thread_main(void *arg)
{
    struct line *lines = mem_zero(MEM_APP, FLIGHT * sizeof *lines);
    struct loop *loop;
    unsigned alive = FLIGHT;
    bool is_done = false;
    must(loop_open("worker", &loop) == FAIL_OK, "a loop opens");
    for (int i = 0; i < FLIGHT; i++)
        lines[i] = (struct line){ .loop = loop,
                                  .steps = STEPS,
                                  .seed = (unsigned)(i + 1) * (unsigned)(uintptr_t)arg,
                                  .alive = &alive,
                                  .is_done = &is_done };
    struct loop_task task = { .run = begin_all, .arg = lines };
    loop_post(loop, &task);
    loop_turn(loop, 60000, &is_done);
    must(is_done, "all lines end");
    must(loop_close(loop, 1000) == 0, "nothing stays open");
    mem_free(lines);
    return NULL;
}

static void many_loops_share_one_engine(void **state)
{
    (void)state;
    pthread_t threads[LOOPS];
    world_open(&world);
    ask(&world, "create table t(a)", "");
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, thread_main, (void *)(uintptr_t)(i + 7)), 0);
    for (int i = 0; i < LOOPS; i++)
        pthread_join(threads[i], NULL);
    char expected[64];
    snprintf(expected, sizeof expected, "[{\"n\":%d}]", atomic_load(&written));
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), expected);
    assert_true(atomic_load(&written) > LOOPS * FLIGHT * STEPS / 4);
    world_close(&world);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_loops_share_one_engine),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
