/* call.c - a call between its loop and the threads: deadline, cancel, and the way back.
 *
 * DESIGN  On its loop a call has a timer; on a thread it has the worker's `running`. Whoever ends it makes it DONE under
 *         the lock, so it is ended once. A call that still waits is taken out of its queue at once, on the loop; one that
 *         runs is told to stop and comes back by itself, soon. Leases live the same way.
 * HOLDS   From prepare to deliver a call holds one reference to the engine, so timers find it alive.
 * Path:   sqlite/engine > [sqlite/call] > sqlite/lane; sqlite/reader, sqlite/writer > [sqlite/call] > loop
 */
#include "base/clock.h"
#include "sqlite/inner.h"

#include <stdio.h>

static unsigned timeout_of(const struct sqlite_engine *engine, unsigned timeout_ms)
{
    return timeout_ms ? timeout_ms : engine->settings.timeout_ms;
}

uint64_t sqlite_deadline_ns(const struct sqlite_engine *engine, uint64_t submitted_ns, unsigned timeout_ms)
{
    return submitted_ns + (uint64_t)timeout_of(engine, timeout_ms) * 1000000u;
}

/* What one gets whose turn never came. */
static enum fail set_waited(enum sqlite_stop why, unsigned ms, bool for_writer, struct sql_error *error)
{
    if (why != SQLITE_STOP_TIMEOUT)
        return sqlite_stop_set(why, error);
    sql_error_set(error, "53300", "waited %u ms for %s: too much is asked of the file at once", ms,
                  for_writer ? "the writer" : "a reader");
    return FAIL_TIMEOUT;
}

/* --- back on the loop --- */

/* The call is DONE and on no list. */
static void deliver(void *arg)
{
    struct sql_call *call = arg;
    struct sqlite_engine *engine = call->engine_data[DATA_ENGINE];
    timer_stop(&call->timer);
    call->on_done(call);
    sqlite_engine_release(engine);
}

static void deliver_all(struct list *calls)
{
    for (struct list *node; (node = list_pop_front(calls));)
        deliver(LIST_ENTRY(node, struct sql_call, node));
}

void sqlite_call_post(struct sql_call *call)
{
    assert(call->state == STATE_DONE);
    loop_post(call->loop, &call->task);
}

void sqlite_calls_post(struct list *calls)
{
    for (struct list *node; (node = list_pop_front(calls));)
        sqlite_call_post(LIST_ENTRY(node, struct sql_call, node));
}

/* --- there --- */

void sqlite_call_prepare(struct sqlite_engine *engine, struct sql_call *call)
{
    assert(loop_here() && call->on_done && (call->params || call->param_count == 0));
    call->fail = FAIL_OK;
    sql_error_clear(&call->error);
    call->rows = NULL;
    call->loop = loop_here();
    list_init(&call->node);
    call->task = (struct loop_task){ .run = deliver, .arg = call };
    call->timer = (struct timer){ 0 };
    call->engine_data[DATA_ENGINE] = engine;
    call->engine_data[DATA_WHERE] = call->engine_data[DATA_BATCH] = call->engine_data[DATA_ORDER] = NULL;
    call->submitted_ns = clock_mono_ns();
    call->started_ns = 0;
    call->state = STATE_NEW;
    sqlite_engine_hold(engine);
}

void sqlite_call_refuse(struct sql_call *call, enum fail fail, const char *sqlstate, const char *text)
{
    call->fail = fail;
    sql_error_set(&call->error, sqlstate, "%s", text);
    call->state = STATE_DONE;
    loop_defer(call->loop, &call->task);
}

/* Under the lock. Those that are DONE by it, and so the caller's to deliver, are on `taken`. */
static void stop(struct sqlite_engine *engine, struct sql_call *call, enum sqlite_stop why, struct list *taken)
{
    if (call->state == STATE_RUNNING) {
        struct sqlite_worker *worker = call->engine_data[DATA_WHERE];
        assert(worker->running == call);
        sqlite_connection_stop(&worker->connection, why);
        return;
    }
    if (call->state != STATE_QUEUED)
        return;
    if (call->engine_data[DATA_BATCH]) {
        sqlite_batch_stop(call, why, taken);
        return;
    }
    struct sqlite_lane *lane = call->engine_data[DATA_WHERE];
    sqlite_lane_remove(lane, call);
    call->state = STATE_DONE;
    call->fail = set_waited(why, timeout_of(engine, call->timeout_ms), lane == &engine->writes, &call->error);
    list_push_back(taken, &call->node);
}

static void on_deadline(void *arg)
{
    struct sql_call *call = arg;
    struct sqlite_engine *engine = call->engine_data[DATA_ENGINE];
    struct list taken;
    list_init(&taken);
    pthread_mutex_lock(&engine->lock);
    stop(engine, call, SQLITE_STOP_TIMEOUT, &taken);
    pthread_mutex_unlock(&engine->lock);
    deliver_all(&taken);
}

void sqlite_call_watch(struct sql_call *call)
{
    timer_start(call->loop, &call->timer, timeout_of(call->engine_data[DATA_ENGINE], call->timeout_ms), on_deadline,
                call);
}

void sqlite_call_cancel(struct sql_call *call)
{
    struct sqlite_engine *engine = call->engine_data[DATA_ENGINE];
    struct list taken;
    list_init(&taken);
    pthread_mutex_lock(&engine->lock);
    stop(engine, call, SQLITE_STOP_CANCEL, &taken);
    pthread_mutex_unlock(&engine->lock);
    for (struct list *node; (node = list_pop_front(&taken));) {
        struct sql_call *done = LIST_ENTRY(node, struct sql_call, node);
        loop_defer(done->loop, &done->task);
    }
}

/* --- on a thread --- */

void sqlite_call_start(struct sqlite_worker *worker, struct sql_call *call)
{
    assert(!worker->running && call->state == STATE_QUEUED);
    call->state = STATE_RUNNING;
    call->engine_data[DATA_WHERE] = worker;
    call->started_ns = clock_mono_ns();
    worker->running = call;
    sqlite_connection_begin_call(&worker->connection,
                                 sqlite_deadline_ns(worker->engine, call->submitted_ns, call->timeout_ms));
}

void sqlite_call_leave(struct sqlite_worker *worker, struct sql_call *call, enum sqlite_state state)
{
    assert(worker->running == call && call->state == STATE_RUNNING);
    worker->running = NULL;
    call->state = (int)state;
}

/* --- leases --- */

static void deliver_lease(void *arg)
{
    struct sql_lease *lease = arg;
    struct sqlite_engine *engine = lease->engine_data[DATA_ENGINE];
    timer_stop(&lease->timer);
    lease->on_lease(lease);
    sqlite_engine_release(engine);
}

/* Under the lock. True: it waited, and is the caller's to deliver. */
static bool stop_lease(struct sqlite_engine *engine, struct sql_lease *lease, enum sqlite_stop why)
{
    if (lease->state == STATE_RUNNING) {
        struct sqlite_worker *worker = lease->engine_data[DATA_WHERE];
        sqlite_connection_stop(&worker->connection, why);
    }
    if (lease->state != STATE_QUEUED)
        return false;
    struct sqlite_lane *lane = lease->engine_data[DATA_WHERE];
    list_remove(&lease->node);
    lane->count--;
    lease->state = STATE_DONE;
    lease->fail = set_waited(why, timeout_of(engine, lease->timeout_ms), lane == &engine->writes, &lease->error);
    return true;
}

static void on_lease_deadline(void *arg)
{
    struct sql_lease *lease = arg;
    struct sqlite_engine *engine = lease->engine_data[DATA_ENGINE];
    pthread_mutex_lock(&engine->lock);
    bool is_mine = stop_lease(engine, lease, SQLITE_STOP_TIMEOUT);
    pthread_mutex_unlock(&engine->lock);
    if (is_mine)
        deliver_lease(lease);
}

void sqlite_lease_cancel(struct sql_lease *lease)
{
    struct sqlite_engine *engine = lease->engine_data[DATA_ENGINE];
    pthread_mutex_lock(&engine->lock);
    bool is_mine = stop_lease(engine, lease, SQLITE_STOP_CANCEL);
    pthread_mutex_unlock(&engine->lock);
    if (is_mine)
        loop_defer(lease->loop, &lease->task);
}

static void lease_prepare(struct sqlite_engine *engine, struct sql_lease *lease)
{
    assert(loop_here() && lease->on_lease);
    lease->fail = FAIL_OK;
    sql_error_clear(&lease->error);
    lease->session = NULL;
    lease->loop = loop_here();
    list_init(&lease->node);
    lease->task = (struct loop_task){ .run = deliver_lease, .arg = lease };
    lease->timer = (struct timer){ 0 };
    lease->engine_data[DATA_ENGINE] = engine;
    lease->engine_data[DATA_WHERE] = NULL;
    lease->submitted_ns = clock_mono_ns();
    sqlite_engine_hold(engine);
}

void sqlite_lease_begin(struct sql_engine *base, struct sql_lease *lease)
{
    struct sqlite_engine *engine = (void *)base;
    struct sqlite_lane *lane = lease->read_only ? &engine->reads : &engine->writes;
    lease_prepare(engine, lease);
    pthread_mutex_lock(&engine->lock);
    bool is_full = lane->count >= engine->settings.queue_max, is_closing = engine->is_closing;
    lease->state = is_full || is_closing ? STATE_DONE : STATE_QUEUED;
    if (lease->state == STATE_QUEUED) {
        sqlite_order_set(lease->engine_data, engine->next_order++, CLASS_WRITE);
        lease->engine_data[DATA_WHERE] = lane;
        list_push_back(&lane->leases, &lease->node);
        lane->count++;
        sqlite_lane_wake(lane);
    }
    pthread_mutex_unlock(&engine->lock);
    if (is_closing) {
        lease->fail = sqlite_stop_set(SQLITE_STOP_CLOSE, &lease->error);
    } else if (is_full) {
        lease->fail = FAIL_FULL;
        sql_error_set(&lease->error, "53300", "%u statements wait for the file already", engine->settings.queue_max);
    } else {
        timer_start(lease->loop, &lease->timer, timeout_of(engine, lease->timeout_ms), on_lease_deadline, lease);
        return;
    }
    loop_defer(lease->loop, &lease->task);
}
