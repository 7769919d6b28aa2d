/* sqlite_world.h - an engine on a file in a folder of its own, and calls that wait for their answer. For the specs of core/sqlite. */
#ifndef SUPPORT_SQLITE_WORLD_H
#define SUPPORT_SQLITE_WORLD_H

#include "support/spec.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "loop/loop.h"
#include "sqlite/engine.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAIT_MS 20000

struct world {
    struct loop *loop;
    struct sql_engine *engine;
    struct sqlite_settings settings;
    char dir[64], path[96], json[8192], why[256];
};

struct answer {
    struct sql_call call;
    struct sql_value params[8];
    unsigned times;
    bool is_done;
    unsigned *order_next, order;      /* shared count, and which one this was */
};

static inline void world_fill(struct world *world)
{
    *world = (struct world){ .settings = { .create = true } };
    snprintf(world->dir, sizeof world->dir, "/tmp/wick-sqlite-XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    snprintf(world->path, sizeof world->path, "%s/a.db", world->dir);
    world->settings.path = world->path;
    assert_int_equal(loop_open("spec", &world->loop), FAIL_OK);
}

static inline void world_start(struct world *world)
{
    enum fail fail = sqlite_engine_open(&world->settings, &world->engine, world->why, sizeof world->why);
    if (fail)
        fail_msg("engine: %s", world->why);
}

static inline void world_open(struct world *world)
{
    world_fill(world);
    world_start(world);
}

static inline void world_on_closed(void *arg) { *(bool *)arg = true; }

static inline void world_stop(struct world *world, unsigned drain_ms)
{
    bool is_closed = false;
    world->engine->ops->close(world->engine, world->loop, drain_ms, world_on_closed, &is_closed);
    loop_turn(world->loop, WAIT_MS, &is_closed);
    assert_true(is_closed);
    world->engine = NULL;
}

static inline void world_close(struct world *world)
{
    if (world->engine)
        world_stop(world, 1000);
    assert_int_equal(loop_close(world->loop, 1000), 0);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", world->dir);
    assert_int_equal(system(command), 0);
}

static inline void on_answer(struct sql_call *call)
{
    struct answer *answer = call->arg;
    answer->times++;
    answer->is_done = true;
    if (answer->order_next)
        answer->order = (*answer->order_next)++;
}

/* Submitting is for the loop's own callbacks: these do it there. Nothing is answered from within the submitting call. */
struct submit {
    struct loop_task task;
    enum { SUBMIT_EACH, SUBMIT_MANY, SUBMIT_LEASE, SUBMIT_SESSION } kind;
    struct sql_engine *engine;
    struct sql_session *session;
    struct sql_lease *lease;
    struct answer *answers;
    unsigned count;
    bool atomic, is_done;
};

static inline void on_submit(void *arg)
{
    struct submit *submit = arg;
    struct sql_call *calls[16];
    for (unsigned i = 0; i < submit->count; i++) {
        struct sql_call *call = &submit->answers[i].call;
        if (submit->kind == SUBMIT_EACH)
            sql_run(submit->engine, call);
        else if (submit->kind == SUBMIT_SESSION)
            sql_session_run(submit->session, call);
        else
            calls[i] = call;
    }
    if (submit->kind == SUBMIT_MANY)
        sql_run_many(submit->engine, calls, submit->count, submit->atomic);
    if (submit->kind == SUBMIT_LEASE)
        sql_begin(submit->engine, submit->lease);
    for (unsigned i = 0; i < submit->count; i++)
        assert_int_equal(submit->answers[i].times, 0);
    submit->is_done = true;
}

static inline void world_submit(struct world *world, struct submit submit)
{
    submit.engine = world->engine;
    submit.task = (struct loop_task){ .run = on_submit, .arg = &submit };
    loop_post(world->loop, &submit.task);
    loop_turn(world->loop, WAIT_MS, &submit.is_done);
    assert_true(submit.is_done);
}

static inline void run_each(struct world *world, struct answer *answers, unsigned count)
{
    world_submit(world, (struct submit){ .kind = SUBMIT_EACH, .answers = answers, .count = count });
}

static inline void run(struct world *world, struct answer *answer) { run_each(world, answer, 1); }

static inline void run_many(struct world *world, struct answer *answers, unsigned count, bool atomic)
{
    world_submit(world, (struct submit){ .kind = SUBMIT_MANY, .answers = answers, .count = count, .atomic = atomic });
}

static inline void run_in(struct world *world, struct sql_session *session, struct answer *answer)
{
    world_submit(world, (struct submit){ .kind = SUBMIT_SESSION, .session = session, .answers = answer, .count = 1 });
}

/* Letters of `types` say what follows: i int64_t, d double, t text, j json, x blob text, b bool as int, n null. */
static inline void answer_fill(struct answer *answer, const char *text, const char *types, va_list args)
{
    *answer = (struct answer){ .call = { .text = str_of(text), .on_done = on_answer, .arg = answer } };
    for (unsigned i = 0; types[i]; i++) {
        struct sql_value *value = &answer->params[i];
        switch (types[i]) {
        case 'i': *value = (struct sql_value){ .type = SQL_INT, .integer = va_arg(args, int64_t) }; break;
        case 'd': *value = (struct sql_value){ .type = SQL_DOUBLE, .real = va_arg(args, double) }; break;
        case 't': *value = (struct sql_value){ .type = SQL_TEXT, .text = str_of(va_arg(args, const char *)) }; break;
        case 'j': *value = (struct sql_value){ .type = SQL_JSON, .text = str_of(va_arg(args, const char *)) }; break;
        case 'x': *value = (struct sql_value){ .type = SQL_BLOB, .text = str_of(va_arg(args, const char *)) }; break;
        case 'b': *value = (struct sql_value){ .type = SQL_BOOL, .truth = va_arg(args, int) }; break;
        default: *value = (struct sql_value){ .type = SQL_NULL }; break;
        }
        answer->call.param_count = i + 1;
    }
    answer->call.params = answer->params;
}

static inline void answer_set(struct answer *answer, const char *text, const char *types, ...)
{
    va_list args;
    va_start(args, types);
    answer_fill(answer, text, types, args);
    va_end(args);
}

static inline void answer_wait(struct world *world, struct answer *answer)
{
    if (!answer->is_done)
        loop_turn(world->loop, WAIT_MS, &answer->is_done);
    assert_int_equal(answer->times, 1);
}

static inline void answer_free(struct answer *answer)
{
    sql_rows_free(answer->call.rows);
    answer->call.rows = NULL;
}

/* The rows as JSON, or the SQLSTATE. */
static inline const char *answer_text(struct world *world, struct answer *answer)
{
    if (answer->call.fail) {
        assert_null(answer->call.rows);
        snprintf(world->json, sizeof world->json, "%s", answer->call.error.sqlstate);
    } else {
        struct buf out;
        buf_init(&out, MEM_SQL, 0);
        sql_rows_add_json(&out, answer->call.rows);
        assert_true(buf_ok(&out) && out.len < sizeof world->json);
        memcpy(world->json, out.data, out.len);
        world->json[out.len] = '\0';
        buf_clear(&out);
    }
    answer_free(answer);
    return world->json;
}

static inline const char *ask(struct world *world, const char *text, const char *types, ...)
{
    struct answer answer;
    va_list args;
    va_start(args, types);
    answer_fill(&answer, text, types, args);
    va_end(args);
    run(world, &answer);
    answer_wait(world, &answer);
    return answer_text(world, &answer);
}

static inline const char *ask_in(struct world *world, struct sql_session *session, const char *text)
{
    struct answer answer;
    answer_set(&answer, text, "");
    run_in(world, session, &answer);
    answer_wait(world, &answer);
    return answer_text(world, &answer);
}

struct wish {
    struct sql_lease lease;
    unsigned times;
    bool is_done;
    unsigned *order_next, order;
};

static inline void on_wish(struct sql_lease *lease)
{
    struct wish *wish = lease->arg;
    wish->times++;
    wish->is_done = true;
    if (wish->order_next)
        wish->order = (*wish->order_next)++;
}

static inline void wish_start(struct world *world, struct wish *wish, bool read_only)
{
    unsigned *order_next = wish->order_next, timeout_ms = wish->lease.timeout_ms;
    *wish = (struct wish){ .lease = { .read_only = read_only, .timeout_ms = timeout_ms, .on_lease = on_wish, .arg = wish },
                           .order_next = order_next };
    world_submit(world, (struct submit){ .kind = SUBMIT_LEASE, .lease = &wish->lease });
}

static inline void wish_wait(struct world *world, struct wish *wish)
{
    if (!wish->is_done)
        loop_turn(world->loop, WAIT_MS, &wish->is_done);
    assert_int_equal(wish->times, 1);
}

static inline struct sql_session *begin(struct world *world, bool read_only)
{
    struct wish wish = { .times = 0 };
    wish_start(world, &wish, read_only);
    wish_wait(world, &wish);
    assert_int_equal(wish.lease.fail, FAIL_OK);
    return wish.lease.session;
}

/* Another program's connection to the same file. */
static inline sqlite3 *outsider(struct world *world)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(world->path, &db), SQLITE_OK);
    return db;
}

#endif
