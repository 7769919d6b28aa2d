/* moving.c - a connection goes from the loop that has it to the loop of the call that gets it.
 *
 * DESIGN  A walk: `out` on the old loop, where it stops being watched, then `in` on the new one. Its call is `bound` to it meanwhile, and
 *         may give up. What must not be used any more, which the call's loop could not see, is closed instead of going: the call is the
 *         first of its queue again.
 * HOLDS   place is MOVING from being bound to being in. homes counts it for the new lane from being bound.
 * Path:   postgres/pool > [postgres/moving] > postgres/connection
 */
#include "postgres/moving.h"

#include "postgres/lane.h"
#include "postgres/opening.h"
#include "postgres/queue.h"

/* On the loop it is on; `home` is the lane of that. */
static void close_moved(struct postgres_connection *connection, struct postgres_lane *home,
                        enum postgres_end_reason reason)
{
    struct postgres_pool *pool = home->pool;
    postgres_pool_note_drop(connection, reason);
    postgres_pool_lock(pool);
    struct sql_call *call = connection->bound;
    if (call) {
        struct postgres_lane *lane = postgres_call_lane(call);
        postgres_queue_push(lane, call, /* at_front= */ true);
        postgres_queue_kick_lane(lane);
    }
    pool->total--;
    connection->destination->homes--;
    postgres_opening_note_end(pool);
    postgres_queue_kick(pool, NULL);
    postgres_pool_unlock(pool);
    list_remove(&connection->all_node);
    postgres_connection_close(connection);
}

/* On the new home's loop. */
static void move_in(void *arg)
{
    struct postgres_connection *connection = arg;
    struct postgres_lane *lane = connection->destination;
    connection->lane = lane;
    if (postgres_connection_enter(connection, lane->loop) != FAIL_OK) {
        close_moved(connection, lane, POSTGRES_END_LOST);
        return;
    }
    list_push_back(&lane->all, &connection->all_node);
    postgres_pool_lock(lane->pool);
    struct sql_call *call = connection->bound;
    connection->bound = NULL;
    connection->place = POSTGRES_LEASED;
    if (call)
        postgres_call_set(call, POSTGRES_CALL_RUNNING);
    postgres_pool_unlock(lane->pool);
    if (call)
        postgres_lane_start(connection, call);
    else
        postgres_pool_release(connection);
}

/* Why it stays behind, or NONE. */
static enum postgres_end_reason reason_to_stay(struct postgres_connection *connection)
{
    struct postgres_pool *pool = connection->lane->pool;
    if (connection->state != POSTGRES_OPEN)
        return POSTGRES_END_LOST; /* since it was promised */
    postgres_pool_lock(pool);
    enum postgres_end_reason reason = postgres_pool_why_over(connection, loop_now_ms(connection->lane->loop));
    postgres_pool_unlock(pool);
    return reason;
}

void postgres_moving_start(struct postgres_connection *connection)
{
    enum postgres_end_reason reason = reason_to_stay(connection);
    if (reason) {
        close_moved(connection, connection->lane, reason);
        return;
    }
    list_remove(&connection->all_node);
    postgres_connection_leave(connection);
    connection->task = (struct loop_task){ .run = move_in, .arg = connection };
    loop_post(connection->destination->loop, &connection->task);
}

void postgres_moving_bind(struct postgres_connection *connection, struct sql_call *call)
{
    struct postgres_lane *lane = postgres_call_lane(call);
    connection->place = POSTGRES_MOVING;
    connection->bound = call;
    connection->destination = lane;
    connection->lane->homes--;
    lane->homes++;
    postgres_call_set(call, POSTGRES_CALL_BOUND);
    call->engine_data[1] = connection;
}

/* On the old home's loop. */
static void on_fetched(void *arg) { postgres_moving_start(arg); }

bool postgres_moving_fetch(struct postgres_lane *lane, struct sql_call *call)
{
    struct postgres_pool *pool = lane->pool;
    for (unsigned i = 0; i < pool->lane_count; i++) {
        struct list *node = list_pop_front(&pool->lanes[i].idle);
        if (!node)
            continue;
        struct postgres_connection *connection = LIST_ENTRY(node, struct postgres_connection, node);
        postgres_moving_bind(connection, call);
        connection->task = (struct loop_task){ .run = on_fetched, .arg = connection };
        loop_post(pool->lanes[i].loop, &connection->task);
        return true;
    }
    return false;
}
