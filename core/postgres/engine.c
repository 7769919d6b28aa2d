/* engine.c - the ops of sql/engine.h, and the opening and closing of it all.
 *
 * DESIGN  OPEN -> CLOSING [close: nothing new; waiting calls end, idle connections close, running calls go on]
 *         CLOSING -> CUT [drain_ms: running calls are cancelled]  CUT -> BROKEN [cut_ms: connections are closed as they are]
 *         A lane is closed when it has no connection, no call under way, and every session was ended by its holder. Each lane
 *         looks at itself every look_ms meanwhile. The first lane, which listens and cancels for all, closes last, and ends the engine
 *         on the loop that asked.
 * Path:   app, script > [postgres/engine] > postgres/lane, session, group, pool
 */
#include "postgres/engine.h"

#include "base/mem.h"
#include "postgres/copy.h"
#include "postgres/group.h"
#include "postgres/lane.h"
#include "postgres/listen.h"
#include "postgres/opening.h"
#include "postgres/parking.h"
#include "postgres/pooler.h"
#include "postgres/query.h"
#include "postgres/report.h"
#include "postgres/session.h"
#include "postgres/subscription.h"

#include <assert.h>
#include <stdio.h>

enum { LOOK_MS = 8, CUT_MS = 1000 };

struct postgres_engine {
    struct sql_engine base;
    struct postgres_pool pool;
    struct postgres_listen listen;
    /* closing */
    struct loop *loop;
    unsigned drain_ms;
    atomic_uint lanes_left;
    struct loop_task task;
    void (*on_closed)(void *arg);
    void *arg;
    struct postgres_lane lanes[];
};

static struct postgres_lane *lane_here(struct sql_engine *base)
{
    struct postgres_engine *engine = (struct postgres_engine *)base;
    struct loop *loop = loop_here();
    if (engine->pool.lane_count == 1)
        return &engine->lanes[0]; /* whose thread may also call while its loop does not turn */
    for (unsigned i = 0; i < engine->pool.lane_count; i++)
        if (engine->lanes[i].loop == loop)
            return &engine->lanes[i];
    assert(!"a call from a loop the engine was not opened for");
    return NULL;
}

/* --- ops ------------------------------------------------------------------------------------------------------ */

static void run(struct sql_engine *engine, struct sql_call *call)
{
    struct postgres_lane *lane = lane_here(engine);
    postgres_lane_adopt(lane, call);
    postgres_lane_submit(lane, call, 0);
}

static void run_many(struct sql_engine *engine, struct sql_call **calls, unsigned count, bool atomic)
{
    if (count)
        postgres_group_run(lane_here(engine), calls, count, atomic);
}

static void cancel(struct sql_call *call) { postgres_lane_abandon(call, FAIL_CANCELLED); }

static void begin(struct sql_engine *engine, struct sql_lease *lease)
{
    postgres_session_begin(lane_here(engine), engine, lease);
}

static enum fail listen_to(struct sql_engine *base, struct str channel, const struct sql_listener *listener,
                           struct sql_subscription **out, struct sql_error *error)
{
    struct postgres_engine *engine = (struct postgres_engine *)base;
    return postgres_listen_subscribe(&engine->listen, base, lane_here(base)->loop, channel, listener, out, error);
}

static void note_retry(struct sql_engine *base, const char *sqlstate, const char *outcome)
{
    postgres_meter_retry(&((struct postgres_engine *)base)->pool.meter, sqlstate, outcome);
}

static void note_leak(struct sql_engine *base, const char *reason)
{
    postgres_meter_leak(&((struct postgres_engine *)base)->pool.meter, reason);
}

static bool is_ready(struct sql_engine *base, char *why, size_t why_bytes)
{
    return postgres_pool_is_ready(&((struct postgres_engine *)base)->pool, why, why_bytes);
}

static void report(struct sql_engine *base, struct sql_report *report)
{
    postgres_report_pool(&((struct postgres_engine *)base)->pool, report);
}

/* --- opening -------------------------------------------------------------------------------------------------- */

static void on_upkeep(void *arg)
{
    struct postgres_lane *lane = arg;
    postgres_pool_upkeep(lane);
    timer_start(lane->loop, &lane->upkeep, POSTGRES_UPKEEP_MS, on_upkeep, lane);
}

/* The first thing on the lane's own loop. */
static void on_start(void *arg)
{
    struct postgres_lane *lane = arg;
    if (!atomic_load(&lane->pool->is_closing))
        on_upkeep(lane);
}

static void close_engine(struct sql_engine *base, struct loop *loop, unsigned drain_ms, void (*on_closed)(void *arg),
                         void *arg);

static const struct sql_copy_ops copy_ops = { postgres_session_copy, postgres_copy_put, postgres_copy_end,
                                              postgres_copy_read };

static const struct sql_listen_ops listen_ops = { listen_to, postgres_listen_unsubscribe,
                                                  postgres_subscription_resume };

static const struct sql_engine_ops ops = {
    .dialect = "postgres",
    .run = run,
    .run_many = run_many,
    .cancel = cancel,
    .begin = begin,
    .begin_cancel = postgres_session_cancel,
    .session_run = postgres_session_run,
    .session_end = postgres_session_end,
    .copy = &copy_ops,
    .listen = &listen_ops,
    .note_retry = note_retry,
    .note_leak = note_leak,
    .is_ready = is_ready,
    .report = report,
    .close = close_engine,
};

static void start_lanes(struct postgres_engine *engine, struct loop *const *loops)
{
    postgres_canceller_init(&engine->pool.canceller, loops[0], &engine->pool.settings);
    for (unsigned i = 0; i < engine->pool.lane_count; i++)
        postgres_lane_init(&engine->lanes[i], &engine->pool, loops[i]);
    for (unsigned i = 0; i < engine->pool.lane_count; i++) {
        struct postgres_lane *lane = &engine->lanes[i];
        lane->task = (struct loop_task){ .run = on_start, .arg = lane };
        loop_post(lane->loop, &lane->task);
    }
}

enum fail postgres_engine_open(const struct postgres_settings *settings, struct loop *const *loops, unsigned loop_count,
                               struct sql_engine **out, char *why, size_t why_bytes)
{
    assert(loop_count > 0);
    postgres_pooler_set_environment();
    struct postgres_settings *copy = NULL;
    enum fail fail = postgres_settings_copy(settings, &copy, why, why_bytes);
    if (fail)
        return fail;
    struct postgres_engine *engine = mem_zero(MEM_POSTGRES, sizeof *engine + loop_count * sizeof *engine->lanes);
    bool has_pool = engine && postgres_pool_init(&engine->pool, copy) == FAIL_OK;
    if (has_pool && postgres_listen_init(&engine->listen, &engine->pool, loops[0]) == FAIL_OK) {
        engine->base.ops = &ops;
        engine->pool.lanes = engine->lanes;
        engine->pool.lane_count = loop_count;
        start_lanes(engine, loops);
        *out = &engine->base;
        return FAIL_OK;
    }
    if (has_pool)
        postgres_pool_clear(&engine->pool); /* and the copy with it */
    else
        postgres_settings_release(copy);
    mem_free(engine);
    snprintf(why, why_bytes, "no memory for the connection pool");
    return FAIL_NOMEM;
}

enum fail postgres_engine_apply(struct sql_engine *base, const struct postgres_settings *settings, char *why,
                                size_t why_bytes)
{
    struct postgres_engine *engine = (struct postgres_engine *)base;
    struct postgres_settings *copy = NULL;
    struct postgres_settings changed = *settings;
    if (!postgres_settings_lead_to_one(settings->conninfo, engine->pool.settings->conninfo)) {
        snprintf(why, why_bytes,
                 "database.postgres.primary differs in more than its password: another server, database or user is "
                 "taken at the start only; restart");
        return FAIL_INVALID;
    }
    changed.name = engine->pool.settings->name;
    changed.application_name = engine->pool.settings->application_name;
    enum fail fail = postgres_settings_copy(&changed, &copy, why, why_bytes);
    if (!fail)
        postgres_pool_apply(&engine->pool, copy);
    return fail;
}

/* --- closing -------------------------------------------------------------------------------------------------- */

/* On the loop that asked; no lane is left. */
static void on_all_closed(void *arg)
{
    struct postgres_engine *engine = arg;
    void (*on_closed)(void *arg) = engine->on_closed;
    void *closed_arg = engine->arg;
    postgres_listen_clear(&engine->listen);
    postgres_pool_clear(&engine->pool);
    mem_free(engine);
    on_closed(closed_arg);
}

static bool has_work(struct postgres_lane *lane)
{
    postgres_pool_lock(lane->pool);
    bool has_shared = lane->homes || lane->is_kicked || !list_is_empty(&lane->waiters);
    postgres_pool_unlock(lane->pool);
    return has_shared || !list_is_empty(&lane->all) || !list_is_empty(&lane->turn) || !list_is_empty(&lane->again) ||
           !list_is_empty(&lane->finished) || !list_is_empty(&lane->gather.parked) || lane->is_turn_due ||
           lane->is_deliver_due || lane->sessions || lane->groups;
}

static void end_waits(struct postgres_lane *lane)
{
    struct sql_call *call;
    while ((call = postgres_pool_next(lane))) {
        sql_error_set(&call->error, "57P01", "the server is shutting down");
        postgres_lane_finish(lane, call, FAIL_CLOSED);
    }
}

static void drop_idle(struct postgres_lane *lane)
{
    struct postgres_connection *connection;
    postgres_parking_look(lane);
    while ((connection = postgres_pool_take(lane)))
        postgres_pool_drop(connection, POSTGRES_END_CLOSING);
}

/* Every connection that has not come back in time. */
static void cut(struct postgres_lane *lane, bool for_good)
{
    LIST_EACH_SAFE(&lane->all, node, after)
    {
        struct postgres_connection *connection = LIST_ENTRY(node, struct postgres_connection, all_node);
        if (connection->state != POSTGRES_OPEN)
            continue;
        if (for_good) {
            sql_error_set(&connection->error, "57P01", "the server is shutting down");
            postgres_connection_turn_lost(connection);
        } else {
            postgres_cancel(connection, POSTGRES_CANCEL_CLOSING);
        }
    }
}

/* It is the last, for it listens and cancels for all. */
static bool may_first_close(struct postgres_engine *engine)
{
    return atomic_load(&engine->lanes_left) == 1 && postgres_listen_is_over(&engine->listen);
}

static void look(void *arg)
{
    struct postgres_lane *lane = arg;
    struct postgres_engine *engine = lane->closing;
    uint64_t gone_ms = loop_now_ms(lane->loop) - lane->closing_since_ms;
    end_waits(lane);
    drop_idle(lane);
    if (gone_ms >= engine->drain_ms + CUT_MS)
        cut(lane, /* for_good= */ true);
    else if (gone_ms >= engine->drain_ms)
        cut(lane, /* for_good= */ false);
    bool is_first = lane == engine->lanes;
    if (is_first && gone_ms >= engine->drain_ms + CUT_MS)
        postgres_canceller_end(&engine->pool.canceller);
    if (has_work(lane) || (is_first && !may_first_close(engine))) {
        timer_start(lane->loop, &lane->upkeep, LOOK_MS, look, lane);
        return;
    }
    if (is_first)
        postgres_canceller_end(&engine->pool.canceller);
    if (atomic_fetch_sub(&engine->lanes_left, 1) == 1) {
        engine->task = (struct loop_task){ .run = on_all_closed, .arg = engine };
        loop_post(engine->loop, &engine->task);
    }
}

static void start_closing(void *arg)
{
    struct postgres_lane *lane = arg;
    timer_stop(&lane->upkeep); /* it is look's from here on */
    postgres_sizing_stop(lane);
    lane->closing_since_ms = loop_now_ms(lane->loop);
    postgres_opening_end(lane);
    struct postgres_engine *engine = lane->closing;
    if (lane == engine->lanes)
        postgres_listen_close(&engine->listen);
    look(lane);
}

static void close_engine(struct sql_engine *base, struct loop *loop, unsigned drain_ms, void (*on_closed)(void *arg),
                         void *arg)
{
    struct postgres_engine *engine = (struct postgres_engine *)base;
    engine->loop = loop;
    engine->drain_ms = drain_ms;
    engine->on_closed = on_closed;
    engine->arg = arg;
    atomic_store(&engine->lanes_left, engine->pool.lane_count);
    atomic_store(&engine->pool.is_closing, true);
    for (unsigned i = 0; i < engine->pool.lane_count; i++) {
        struct postgres_lane *lane = &engine->lanes[i];
        lane->closing = engine;
        lane->closing_task = (struct loop_task){ .run = start_closing, .arg = lane };
        loop_post(lane->loop, &lane->closing_task);
    }
}
