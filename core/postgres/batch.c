/* batch.c - which connection a quick read goes to, and how quick statements are.
 *
 * DESIGN  Each call goes to the shared connection with the least on its way; when that is more than postgres_spread_ns, one more
 *         connection is taken from the idle ones. So a light load keeps to one or two connections, and a heavy one spreads.
 *         A shared connection may have several units outstanding; the server answers them one after the other without waiting for us.
 *         While anybody waits in the queue nothing is added: a read that could squeeze in here would overtake, and the connection would
 *         never get free. Instead a connection that is released takes its part of the reads at the head of the queue.
 *         Now and then a statement that used to be quick is not (a lock). What was sent with it has to wait with it; but a connection from
 *         which nothing has come for longer than it should take is shared no more, so nothing is put behind it, and it takes no place.
 *         The paces are a direct-mapped table: two statements of one slot forget each other's time, and go alone once more.
 * HOLDS   A connection is in shared[] exactly while is_shared, and is not quiet then, outside of one turn's collecting.
 * Path:   postgres/lane > [postgres/batch] > postgres/query
 */
#include "postgres/batch.h"

#include "base/clock.h"
#include "postgres/lane.h"
#include "postgres/query.h"

#include <assert.h>

/* --- paces ---------------------------------------------------------------------------------------------------- */

static uint64_t pace_of(const struct postgres_batch *batch, uint64_t hash)
{
    const struct postgres_pace *pace = &batch->paces[hash % POSTGRES_PACES];
    return pace->hash == hash ? pace->ewma_ns : UINT64_MAX;
}

void postgres_batch_learn(struct postgres_lane *lane, uint64_t hash, uint64_t took_ns)
{
    struct postgres_pace *pace = &lane->batch.paces[hash % POSTGRES_PACES];
    if (pace->hash != hash)
        *pace = (struct postgres_pace){ hash, took_ns };
    else
        pace->ewma_ns = pace->ewma_ns - pace->ewma_ns / 8 + took_ns / 8;
}

bool postgres_batch_wants(struct postgres_lane *lane, const struct sql_call *call)
{
    static const int apart = POSTGRES_CALL_ALONE | POSTGRES_CALL_LEASE | POSTGRES_CALL_GROUP;
    return call->read_only && !call->alone && !(call->state & apart) && lane->pool->settings->batches &&
           pace_of(&lane->batch, postgres_call_hash(call)) < postgres_quick_ns;
}

/* --- connections ---------------------------------------------------------------------------------------------- */

void postgres_batch_end(struct postgres_connection *connection)
{
    struct postgres_batch *batch = &connection->lane->batch;
    if (!connection->is_shared)
        return;
    connection->is_shared = connection->is_unsynced = false;
    connection->unsynced_calls = 0;
    for (unsigned i = 0; i < batch->count; i++)
        if (batch->shared[i] == connection) {
            batch->shared[i] = batch->shared[--batch->count];
            return;
        }
}

/* No answer for longer than what is on its way should take, and a statement that is only just quick on top of it. */
static bool is_stuck(const struct postgres_connection *connection, uint64_t now_ns)
{
    uint64_t since_ns = connection->leased_ns > connection->answered_ns ? connection->leased_ns
                                                                        : connection->answered_ns;
    return !connection->is_unsynced && now_ns > since_ns + postgres_quick_ns + connection->pending_ns;
}

static struct postgres_connection *least_loaded(struct postgres_batch *batch, uint64_t now_ns)
{
    struct postgres_connection *best = NULL;
    for (unsigned i = batch->count; i-- > 0;) { /* from the end: ending one moves the last into its place */
        struct postgres_connection *connection = batch->shared[i];
        if (is_stuck(connection, now_ns)) {
            metric_add(connection->lane->pool->meter.stuck, 1);
            postgres_batch_end(connection);
            continue;
        }
        bool is_open = !connection->is_hit && connection->calls_in_flight < POSTGRES_BATCH_CALLS &&
                       connection->state == POSTGRES_OPEN;
        if (is_open && (!best || connection->pending_ns < best->pending_ns))
            best = connection;
    }
    return best;
}

static void share(struct postgres_batch *batch, struct postgres_connection *connection)
{
    assert(batch->count < POSTGRES_BATCH_CONNECTIONS && !connection->is_shared);
    batch->shared[batch->count++] = connection;
    connection->is_shared = true;
    connection->pending_ns = 0;
}

static struct postgres_connection *choose(struct postgres_lane *lane, const struct sql_call *call, uint64_t now_ns)
{
    struct postgres_batch *batch = &lane->batch;
    struct postgres_connection *best = least_loaded(batch, now_ns);
    if ((!best || best->pending_ns > postgres_spread_ns) && batch->count < POSTGRES_BATCH_CONNECTIONS) {
        struct postgres_connection *fresh = postgres_pool_take(lane);
        if (fresh) {
            postgres_pool_lease(fresh, call);
            share(batch, fresh);
            return fresh;
        }
    }
    return best && best->pending_ns < postgres_backlog_ns ? best : NULL;
}

/* The call runs now, or has ended already; false: the connection is no good. */
static bool put(struct postgres_connection *connection, struct sql_call *call, uint64_t now_ns)
{
    struct postgres_lane *lane = connection->lane;
    connection->is_unsynced = true; /* also when only a Parse gets out */
    enum fail fail = postgres_query_add(connection, call, postgres_call_hash(call));
    if (fail == FAIL_CLOSED)
        return false;
    if (fail) {
        postgres_lane_finish(lane, call, fail);
        return true;
    }
    postgres_lane_run(connection, call, now_ns);
    connection->unsynced_calls++;
    connection->pending_ns += pace_of(&lane->batch, postgres_call_hash(call));
    return true;
}

bool postgres_batch_add(struct postgres_lane *lane, struct sql_call *call)
{
    if (atomic_load_explicit(&lane->pool->waiting, memory_order_relaxed))
        return false;
    uint64_t now_ns = clock_mono_ns();
    struct postgres_connection *connection = choose(lane, call, now_ns);
    return connection && put(connection, call, now_ns);
}

static bool put_or_resubmit(struct postgres_connection *connection, struct sql_call *call)
{
    bool is_good = put(connection, call, clock_mono_ns());
    if (!is_good)
        postgres_lane_resubmit(connection->lane, call, POSTGRES_CALL_RETRIED);
    return is_good;
}

void postgres_batch_begin(struct postgres_connection *connection, struct sql_call *call)
{
    struct postgres_lane *lane = connection->lane;
    unsigned waiting = atomic_load_explicit(&lane->pool->waiting, memory_order_relaxed);
    unsigned part = waiting / (POSTGRES_BATCH_CONNECTIONS - lane->batch.count);
    share(&lane->batch, connection);
    bool is_good = put_or_resubmit(connection, call);
    while (is_good && part-- && connection->calls_in_flight < POSTGRES_BATCH_CALLS &&
           connection->pending_ns < postgres_backlog_ns && (call = postgres_pool_next_if(lane, postgres_batch_wants)))
        is_good = put_or_resubmit(connection, call);
    postgres_lane_schedule(lane); /* which sends */
}

void postgres_batch_send(struct postgres_lane *lane)
{
    struct postgres_batch *batch = &lane->batch;
    for (unsigned i = batch->count; i-- > 0;) { /* from the end: giving one back moves the last into its place */
        struct postgres_connection *connection = batch->shared[i];
        if (postgres_query_is_quiet(connection)) { /* taken for a call that could not be sent */
            postgres_batch_end(connection);
            postgres_lane_give_back(connection);
        } else if (connection->is_unsynced) {
            connection->is_unsynced = false;
            postgres_meter_unit(&lane->pool->meter, POSTGRES_UNIT_READS, connection->unsynced_calls);
            connection->unsynced_calls = 0;
            postgres_query_end_unit(connection);
        }
    }
}
