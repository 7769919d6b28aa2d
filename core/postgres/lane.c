/* lane.c - the calls of one loop, from submit to on_done.
 *
 * DESIGN  A call's state is where it is:
 *           TURN -> RUNNING [a connection is free]        TURN -> WAITING [none is]
 *           WAITING -> RUNNING [released here]            WAITING -> BOUND -> RUNNING [released on another loop]
 *           RUNNING -> TURN [to be run again: lost read, aborted batch, stale statement]
 *           TURN -> PARKED -> RUNNING, WAITING [gather.c]    SESSION -> RUNNING [session.c]    RUNNING -> RESOLVING [outcome.c]
 *           any -> FINISHED [answer, deadline, cancel] -> on_done
 *         A call that gives up while RUNNING is taken off its connection at once and answered; the connection itself is cancelled
 *         and goes to nobody until that is over (cancel.h).
 *         on_done always comes from deliver(), a deferred task, so whatever happens inside of libpq's results is over by then.
 * HOLDS   A call is on at most one list; its timer runs from when it waits for a connection, or runs, to finish. Only WAITING and
 *         BOUND are seen by other threads.
 * Path:   postgres/engine > [postgres/lane] > postgres/batch, pool, query
 */
#include "postgres/lane.h"

#include "base/clock.h"
#include "base/siphash.h"
#include "postgres/group.h"
#include "postgres/outcome.h"
#include "postgres/parking.h"
#include "postgres/query.h"
#include "postgres/reset.h"
#include "postgres/retry.h"
#include "postgres/session.h"

#include <assert.h>

/* --- the end of a call ---------------------------------------------------------------------------------------- */

static void deliver(void *arg)
{
    struct postgres_lane *lane = arg;
    lane->is_deliver_due = false;
    for (struct list *node; (node = list_pop_front(&lane->finished));) {
        struct sql_call *call = LIST_ENTRY(node, struct sql_call, node);
        call->on_done(call); /* its memory is the caller's again */
    }
}

void postgres_lane_finish(struct postgres_lane *lane, struct sql_call *call, enum fail fail)
{
    assert(postgres_call_state(call) != POSTGRES_CALL_FINISHED);
    timer_stop(&call->timer);
    call->fail = fail;
    postgres_call_set(call, POSTGRES_CALL_FINISHED);
    if (!(call->state & (POSTGRES_CALL_LEASE | POSTGRES_CALL_GROUP)))
        postgres_meter_call(&lane->pool->meter, call, clock_mono_ns());
    if (call->state & (POSTGRES_CALL_RETRIED | POSTGRES_CALL_RENEWED))
        postgres_meter_retry(&lane->pool->meter, sql_retry_label_at((unsigned)call->state / POSTGRES_CALL_REASON),
                             fail ? "failed" : "ok");
    list_push_back(&lane->finished, &call->node);
    postgres_gather_note_end(lane, call);
    if (lane->is_deliver_due)
        return;
    lane->is_deliver_due = true;
    loop_defer(lane->loop, &lane->deliver_task);
}

static bool is_past_deadline(const struct sql_call *call)
{
    return clock_mono_ns() - call->submitted_ns >= call->timeout_ms * UINT64_C(1000000);
}

static void say_how_full(struct postgres_pool *pool, struct sql_call *call)
{
    unsigned acquire_ms = pool->settings->acquire_timeout_ms;
    struct postgres_counts counts;
    postgres_pool_count(pool, &counts);
    sql_error_set(
        &call->error, "53300",
        "no database connection within %u ms: %u of %u in use, %u calls waiting; raise pool.max_size, or hold "
        "connections for less long",
        call->timeout_ms < acquire_ms ? call->timeout_ms : acquire_ms, counts.used, pool->settings->max_size,
        counts.waiting);
}

void postgres_lane_finish_early(struct postgres_lane *lane, struct sql_call *call, enum fail fail)
{
    bool has_run = call->started_ns != 0, is_behind = postgres_call_state(call) == POSTGRES_CALL_SESSION;
    if (fail == FAIL_CANCELLED) {
        sql_error_set(&call->error, "57014", "cancelled by the one who asked");
    } else if (has_run) {
        sql_error_set(&call->error, "57014", "no answer within %u ms; the statement has been cancelled",
                      call->timeout_ms);
    } else if (is_behind) {
        sql_error_set(&call->error, "57014",
                      "not sent within its deadline of %u ms: what was asked for before it in the "
                      "same transaction has not ended",
                      call->timeout_ms);
    } else if (is_past_deadline(call) && !(call->state & POSTGRES_CALL_LEASE)) {
        sql_error_set(&call->error, "57014", "no database connection within the deadline of %u ms", call->timeout_ms);
    } else {
        say_how_full(lane->pool, call);
    }
    if (!has_run && !is_behind && fail == FAIL_TIMEOUT)
        metric_add(lane->pool->meter.timeouts, 1);
    call->error.sent = has_run;
    postgres_lane_finish(lane, call, fail);
}

/* --- deadlines and cancels ------------------------------------------------------------------------------------ */

static enum postgres_call_state state_now(struct postgres_lane *lane, const struct sql_call *call)
{
    postgres_pool_lock(lane->pool);
    int state = postgres_call_state(call);
    postgres_pool_unlock(lane->pool);
    return (enum postgres_call_state)state;
}

static void abandon_running(struct postgres_lane *lane, struct sql_call *call, enum fail fail)
{
    struct postgres_connection *connection = call->engine_data[1];
    postgres_query_detach(connection, call);
    uint64_t took_ns = clock_mono_ns() - call->started_ns;
    if (fail == FAIL_TIMEOUT || took_ns > postgres_quick_ns) /* a client that went away says nothing of the statement */
        postgres_batch_learn(lane, postgres_call_hash(call), took_ns);
    if (call->engine_data[3])
        postgres_session_lost_call(call->engine_data[3], call);
    postgres_lane_finish_early(lane, call, fail);
    if (call->engine_data[3] && postgres_session_is_commit(call))
        sql_error_set(&call->error, "57014", "no answer to COMMIT in time: it is not known whether it took place");
    if (connection->is_unsynced) /* it was to leave at the end of this turn: it must, for the cancel to have an end */
        postgres_batch_send(lane);
    if (fail == FAIL_CANCELLED)
        postgres_cancel_soon(connection);
    else
        postgres_cancel(connection, POSTGRES_CANCEL_DEADLINE);
}

void postgres_lane_abandon(struct sql_call *call, enum fail fail)
{
    struct postgres_lane *lane = postgres_call_lane(call);
    switch (state_now(lane, call)) {
    case POSTGRES_CALL_TURN:
    case POSTGRES_CALL_SESSION:
        list_remove(&call->node);
        postgres_lane_finish_early(lane, call, fail);
        return;
    case POSTGRES_CALL_PARKED:
        postgres_gather_leave(lane, call);
        postgres_lane_finish_early(lane, call, fail);
        return;
    case POSTGRES_CALL_WAITING:
    case POSTGRES_CALL_BOUND:
        postgres_pool_leave(lane, call);
        postgres_lane_finish_early(lane, call, fail);
        return;
    case POSTGRES_CALL_RUNNING: abandon_running(lane, call, fail); return;
    case POSTGRES_CALL_RESOLVING: postgres_outcome_abandon(call->engine_data[3]); return;
    case POSTGRES_CALL_GROUPED: postgres_group_abandon(call->engine_data[3], fail); return;
    default: return; /* FINISHED */
    }
}

static void on_due(void *arg)
{
    struct sql_call *call = arg;
    postgres_lane_abandon(call, FAIL_TIMEOUT);
}

static uint64_t left_ms(uint64_t since_ns, uint64_t ms)
{
    uint64_t gone_ms = (clock_mono_ns() - since_ns) / 1000000u;
    return gone_ms < ms ? ms - gone_ms : 0;
}

void postgres_lane_watch(struct sql_call *call)
{
    timer_start(call->loop, &call->timer, left_ms(call->submitted_ns, call->timeout_ms), on_due, call);
}

void postgres_lane_watch_wait(struct sql_call *call)
{
    uint64_t call_ms = left_ms(call->submitted_ns, call->timeout_ms);
    uint64_t wait_ms = left_ms(call->queued_ns, postgres_call_lane(call)->pool->settings->acquire_timeout_ms);
    timer_start(call->loop, &call->timer, call_ms < wait_ms ? call_ms : wait_ms, on_due, call);
}

/* --- starting ------------------------------------------------------------------------------------------------- */

void postgres_lane_adopt(struct postgres_lane *lane, struct sql_call *call)
{
    call->fail = FAIL_OK;
    call->rows = NULL;
    sql_error_clear(&call->error);
    call->loop = lane->loop;
    call->timer = (struct timer){ .loop = NULL };
    call->engine_data[0] = lane;
    call->engine_data[1] = call->engine_data[3] = NULL;
    call->engine_data[2] = (void *)(uintptr_t)siphash(call->text.data, call->text.len);
    call->submitted_ns = call->queued_ns = clock_mono_ns();
    call->started_ns = 0;
    call->state = 0;
    sql_retry_note(&lane->retries, loop_now_ms(lane->loop));
    if (call->timeout_ms == 0)
        call->timeout_ms = lane->pool->settings->statement_timeout_ms;
}

void postgres_lane_schedule(struct postgres_lane *lane)
{
    if (lane->is_turn_due)
        return;
    lane->is_turn_due = true;
    loop_defer(lane->loop, &lane->turn_task);
}

void postgres_lane_submit(struct postgres_lane *lane, struct sql_call *call, int flags)
{
    call->state = POSTGRES_CALL_TURN | flags;
    list_push_back(&lane->turn, &call->node);
    postgres_lane_schedule(lane);
}

void postgres_lane_resubmit(struct postgres_lane *lane, struct sql_call *call, int flags)
{
    int kept = call->state & ~POSTGRES_CALL_STATES;
    if (flags & (POSTGRES_CALL_RETRIED | POSTGRES_CALL_RENEWED))
        kept = kept % POSTGRES_CALL_REASON + (int)sql_retry_label_number(call->error.sqlstate) * POSTGRES_CALL_REASON;
    call->state = POSTGRES_CALL_TURN | POSTGRES_CALL_ALONE | kept | flags;
    call->fail = FAIL_OK;
    sql_error_clear(&call->error);
    call->engine_data[1] = call->engine_data[3] = NULL;
    call->started_ns = 0;
    call->queued_ns = clock_mono_ns();
    list_push_back(&lane->again, &call->node);
    postgres_lane_schedule(lane);
}

void postgres_lane_run(struct postgres_connection *connection, struct sql_call *call, uint64_t now_ns)
{
    struct postgres_lane *lane = connection->lane;
    call->started_ns = now_ns;
    call->engine_data[1] = connection;
    postgres_call_set(call, POSTGRES_CALL_RUNNING);
    metric_observe(lane->pool->meter.acquire, call->started_ns - call->queued_ns);
    postgres_lane_watch(call);
}

static void run_alone(struct postgres_connection *connection, struct sql_call *call)
{
    struct postgres_lane *lane = connection->lane;
    enum fail fail = postgres_query_add(connection, call, postgres_call_hash(call));
    if (!fail)
        postgres_lane_run(connection, call, connection->leased_ns);
    else if (fail == FAIL_CLOSED &&
             !(call->state & POSTGRES_CALL_RETRIED)) /* nothing of it was sent, so even a write may try again */
        postgres_lane_resubmit(lane, call, POSTGRES_CALL_RETRIED);
    else
        postgres_lane_finish(lane, call, fail == FAIL_CLOSED ? FAIL_SQL : fail);
    if (postgres_query_is_quiet(connection))
        postgres_lane_give_back(connection);
    else
        postgres_query_end_unit(connection);
}

void postgres_lane_start(struct postgres_connection *connection, struct sql_call *call)
{
    struct postgres_lane *lane = connection->lane;
    postgres_pool_lease(connection, call);
    if (call->state & POSTGRES_CALL_LEASE)
        postgres_session_lease(connection, call);
    else if (call->state & POSTGRES_CALL_GROUP)
        postgres_group_start(connection, call);
    else if (postgres_gather_wants(lane, call))
        postgres_gather_begin(connection, call);
    else if (lane->batch.count < POSTGRES_BATCH_CONNECTIONS && postgres_batch_wants(lane, call))
        postgres_batch_begin(connection, call);
    else
        run_alone(connection, call);
}

void postgres_lane_start_or_wait(struct postgres_lane *lane, struct sql_call *call, bool at_front)
{
    struct postgres_connection *connection = postgres_pool_take(lane);
    if (connection) {
        postgres_lane_start(connection, call);
        return;
    }
    enum fail fail = postgres_pool_wait(lane, call, at_front);
    if (fail) {
        metric_add(lane->pool->meter.refused, 1);
        postgres_lane_finish(lane, call, fail);
    } else {
        postgres_lane_watch_wait(call);
    }
}

/* All sockets of this turn have been looked at. */
static void end_turn(void *arg)
{
    struct postgres_lane *lane = arg;
    lane->is_turn_due = false;
    for (struct list *node; (node = list_pop_front(&lane->again));)
        postgres_lane_start_or_wait(lane, LIST_ENTRY(node, struct sql_call, node), /* at_front= */ true);
    for (struct list *node; (node = list_pop_front(&lane->turn));) {
        struct sql_call *call = LIST_ENTRY(node, struct sql_call, node);
        if (postgres_gather_wants(lane, call))
            postgres_gather_add(lane, call);
        else if (!postgres_batch_wants(lane, call) || !postgres_batch_add(lane, call))
            postgres_lane_start_or_wait(lane, call, /* at_front= */ false);
    }
    postgres_gather_start(lane);
    postgres_batch_send(lane);
}

/* --- answers -------------------------------------------------------------------------------------------------- */

static void learn(struct postgres_connection *connection, const struct sql_call *call)
{
    uint64_t since_ns = call->started_ns > connection->answered_ns ? call->started_ns : connection->answered_ns;
    uint64_t took_ns = (connection->unit_ended_ns - since_ns) / connection->unit_calls;
    if (connection->dirt) /* those behind it in a shared pipeline would see what it leaves: it goes alone for ever */
        took_ns = UINT64_MAX;
    postgres_batch_learn(connection->lane, postgres_call_hash(call), took_ns);
    unsigned left = connection->calls_in_flight;
    connection->pending_ns = connection->pending_ns / (left + 1) * left;
}

static void on_call(struct postgres_connection *connection, struct sql_call *call, int outcome)
{
    struct postgres_lane *lane = connection->lane;
    int again = outcome == POSTGRES_BEHIND ? POSTGRES_CALL_ALONE
                                           : postgres_retry_flags(connection, call, (enum postgres_outcome)outcome);
    if (again) {
        postgres_lane_resubmit(lane, call, again);
        return;
    }
    if (outcome == POSTGRES_DONE && connection->unit_calls)
        learn(connection, call);
    postgres_lane_finish(lane, call, call->fail);
}

void postgres_lane_give_back(struct postgres_connection *connection)
{
    connection->user = &postgres_lane_user;
    bool is_ending = connection->error.sqlstate[0] != '\0'; /* the server has said so, its EOF is on the way */
    if (is_ending || PQstatus(connection->pg) != CONNECTION_OK)
        postgres_connection_turn_lost(connection);
    else if (postgres_reset_is_needed(connection))
        postgres_reset(connection);
    else
        postgres_pool_release(connection);
}

static void on_quiet(struct postgres_connection *connection)
{
    postgres_batch_end(connection);
    postgres_gather_end(connection);
    if (!connection->is_cancelling)
        postgres_lane_give_back(connection);
}

static void on_lost(struct postgres_connection *connection)
{
    struct postgres_pool *pool = connection->lane->pool;
    postgres_batch_end(connection);
    postgres_gather_end(connection);
    postgres_pool_lock(pool);
    bool is_promised = connection->place == POSTGRES_MOVING; /* its move finds out */
    if (connection->place == POSTGRES_IDLE) {
        postgres_parking_remove(connection);
        connection->place = POSTGRES_LEASED;
    }
    postgres_pool_unlock(pool);
    if (!is_promised)
        postgres_pool_drop(connection, POSTGRES_END_LOST);
}

const struct postgres_user postgres_lane_user = { on_call, on_quiet, on_lost };

/* --- the lane itself ------------------------------------------------------------------------------------------ */

static void on_kick(void *arg)
{
    struct postgres_lane *lane = arg;
    postgres_pool_lock(lane->pool);
    lane->is_kicked = false;
    postgres_pool_unlock(lane->pool);
    postgres_pool_upkeep(lane);
}

void postgres_lane_init(struct postgres_lane *lane, struct postgres_pool *pool, struct loop *loop)
{
    lane->pool = pool;
    lane->loop = loop;
    list_init(&lane->idle);
    list_init(&lane->parked);
    list_init(&lane->waiters);
    list_init(&lane->all);
    list_init(&lane->turn);
    list_init(&lane->again);
    list_init(&lane->finished);
    lane->kick = (struct loop_task){ .run = on_kick, .arg = lane };
    lane->turn_task = (struct loop_task){ .run = end_turn, .arg = lane };
    lane->deliver_task = (struct loop_task){ .run = deliver, .arg = lane };
    postgres_gather_init(&lane->gather);
}
