/* gather.c - which writes go out together, and when.
 *
 * DESIGN  A commit costs the server a flush of its log, and both sides a wake-up, whether it is of one row or of sixty. So at most
 *         POSTGRES_GATHER_CONNECTIONS units are on their way: one commits while the next fills. What comes meanwhile is parked, and leaves
 *         as soon as one has ended, so nobody waits for a unit to become full.
 *           TURN -> PARKED [add]   PARKED -> RUNNING [start, begin: with a connection of the lane's]
 *           PARKED -> WAITING [start: no connection is idle; one call goes into the pool's queue, as the scout of all: it is served in turn
 *           with everybody else, makes the pool grow, and takes the others along]
 *         The calls of a unit are judged together (answer.c): all done, or all run again alone, or, when the connection was lost
 *         before the answer to Sync, all of unknown outcome.
 * HOLDS   running counts the connections that have a unit of ours; scout is in the pool's queue or on its way out of it.
 * Path:   postgres/lane > [postgres/gather] > postgres/query
 */
#include "postgres/gather.h"

#include "base/clock.h"
#include "postgres/lane.h"
#include "postgres/query.h"

#include <assert.h>

void postgres_gather_init(struct postgres_gather *gather)
{
    *gather = (struct postgres_gather){ .running = 0 };
    list_init(&gather->parked);
}

bool postgres_gather_wants(struct postgres_lane *lane, const struct sql_call *call)
{
    static const int apart = POSTGRES_CALL_ALONE | POSTGRES_CALL_LEASE | POSTGRES_CALL_GROUP;
    return call->shares_commit && !(call->state & apart) && lane->pool->settings->batches;
}

void postgres_gather_add(struct postgres_lane *lane, struct sql_call *call)
{
    unsigned parked = atomic_fetch_add_explicit(&lane->pool->gathered, 1, memory_order_relaxed);
    if (parked >= lane->pool->settings->max_waiting) {
        atomic_fetch_sub_explicit(&lane->pool->gathered, 1, memory_order_relaxed);
        sql_error_set(&call->error, "53300",
                      "%u writes wait to be committed already; raise pool.max_waiting, or ask for less at once",
                      parked);
        metric_add(lane->pool->meter.refused, 1);
        postgres_lane_finish(lane, call, FAIL_FULL);
        return;
    }
    postgres_call_set(call, POSTGRES_CALL_PARKED);
    list_push_back(&lane->gather.parked, &call->node);
}

void postgres_gather_leave(struct postgres_lane *lane, struct sql_call *call)
{
    list_remove(&call->node);
    atomic_fetch_sub_explicit(&lane->pool->gathered, 1, memory_order_relaxed);
}

static struct sql_call *next_parked(struct postgres_lane *lane)
{
    struct list *node = list_peek(&lane->gather.parked);
    struct sql_call *call = node ? LIST_ENTRY(node, struct sql_call, node) : NULL;
    if (call)
        postgres_gather_leave(lane, call);
    return call;
}

/* --- a unit --------------------------------------------------------------------------------------------------- */

static size_t bytes_of(const struct sql_call *call)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < call->param_count; i++)
        if (call->params[i].type == SQL_TEXT || call->params[i].type == SQL_BLOB || call->params[i].type == SQL_JSON)
            bytes += call->params[i].text.len;
    return bytes;
}

struct unit {
    struct postgres_connection *connection;
    unsigned calls;
    size_t bytes;
    bool is_good; /* the connection takes more */
};

static bool has_room(const struct unit *unit)
{
    return unit->is_good && unit->calls < POSTGRES_GATHER_CALLS && unit->bytes < POSTGRES_GATHER_BYTES;
}

static void put(struct unit *unit, struct sql_call *call)
{
    struct postgres_lane *lane = unit->connection->lane;
    enum fail fail = postgres_query_add(unit->connection, call, postgres_call_hash(call));
    if (fail == FAIL_CLOSED) { /* nothing of it was sent */
        unit->is_good = false;
        postgres_lane_resubmit(lane, call, POSTGRES_CALL_RETRIED);
        return;
    }
    if (fail) {
        postgres_lane_finish(lane, call, fail);
        return;
    }
    postgres_lane_run(unit->connection, call, clock_mono_ns());
    unit->calls++;
    unit->bytes += bytes_of(call);
}

static void send(struct unit *unit)
{
    struct postgres_connection *connection = unit->connection;
    struct postgres_lane *lane = connection->lane;
    if (postgres_query_is_quiet(connection)) { /* not one could be sent */
        postgres_lane_give_back(connection);
        return;
    }
    connection->is_gathered = true;
    lane->gather.running++;
    postgres_meter_unit(&lane->pool->meter, POSTGRES_UNIT_WRITES, unit->calls);
    postgres_query_end_unit(connection);
}

static void put_parked(struct unit *unit)
{
    struct sql_call *call;
    while (has_room(unit) && (call = next_parked(unit->connection->lane)))
        put(unit, call);
}

void postgres_gather_begin(struct postgres_connection *connection, struct sql_call *call)
{
    struct unit unit = { .connection = connection, .is_good = true };
    connection->lane->gather.scout = NULL;
    put(&unit, call);
    put_parked(&unit);
    send(&unit);
}

void postgres_gather_end(struct postgres_connection *connection)
{
    struct postgres_lane *lane = connection->lane;
    if (!connection->is_gathered)
        return;
    connection->is_gathered = false;
    assert(lane->gather.running > 0);
    lane->gather.running--;
    if (!list_is_empty(&lane->gather.parked))
        postgres_lane_schedule(lane);
}

/* --- when ----------------------------------------------------------------------------------------------------- */

/* What ends may be the scout, given up or refused; another one goes then. */
void postgres_gather_note_end(struct postgres_lane *lane, const struct sql_call *call)
{
    if (lane->gather.scout != call)
        return;
    lane->gather.scout = NULL;
    if (!list_is_empty(&lane->gather.parked))
        postgres_lane_schedule(lane);
}

static void send_scout(struct postgres_lane *lane)
{
    struct sql_call *call = next_parked(lane);
    if (!call)
        return;
    lane->gather.scout = call;
    postgres_lane_start_or_wait(lane, call, /* at_front= */ false);
}

static void watch_parked(struct postgres_lane *lane)
{
    LIST_EACH(&lane->gather.parked, node)
    {
        struct sql_call *call = LIST_ENTRY(node, struct sql_call, node);
        if (!timer_is_set(&call->timer))
            postgres_lane_watch_wait(call);
    }
}

void postgres_gather_start(struct postgres_lane *lane)
{
    struct postgres_gather *gather = &lane->gather;
    while (!list_is_empty(&gather->parked) && gather->running < POSTGRES_GATHER_CONNECTIONS && !gather->scout) {
        struct postgres_connection *connection = postgres_pool_take(lane);
        if (!connection) {
            send_scout(lane);
            break;
        }
        struct unit unit = { .connection = connection, .is_good = true };
        postgres_pool_lease(connection, LIST_ENTRY(list_peek(&gather->parked), struct sql_call, node));
        put_parked(&unit);
        send(&unit);
    }
    watch_parked(lane);
}
