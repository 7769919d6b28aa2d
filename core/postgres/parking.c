/* parking.c - connections set aside, open but given to nobody, while autosize compares fewer with more.
 *
 * DESIGN  The two sizes take turns every tenth of a second. To close connections and to open them again would cost more than there is to be
 *         found out, so the ones beyond the smaller size wait in their lanes' `parked`. In all else they are idle.
 *         LEASED -> IDLE, parked [release, beyond the limit]    IDLE, parked -> IDLE [the limit has room]
 *         IDLE, parked -> gone [the trial is over, and the smaller size stays]
 * HOLDS   pool->parked is the length of all `parked` together.
 * Path:   postgres/pool, sizing > [postgres/parking]
 */
#include "postgres/parking.h"

#include "postgres/lane.h"
#include "postgres/queue.h"

#include <assert.h>

void postgres_parking_park(struct postgres_connection *connection)
{
    struct postgres_lane *lane = connection->lane;
    connection->place = POSTGRES_IDLE;
    connection->is_parked = true;
    list_push_front(&lane->parked, &connection->node);
    lane->pool->parked++;
}

void postgres_parking_remove(struct postgres_connection *connection)
{
    assert(connection->place == POSTGRES_IDLE);
    list_remove(&connection->node);
    if (!connection->is_parked)
        return;
    connection->is_parked = false;
    connection->lane->pool->parked--;
}

static bool has_room(const struct postgres_pool *pool)
{
    return atomic_load_explicit(&pool->is_closing, memory_order_relaxed) ||
           pool->total - pool->parked < postgres_sizing_limit(&pool->sizing);
}

void postgres_parking_end(struct postgres_pool *pool)
{
    bool was_any = false;
    for (unsigned i = 0; i < pool->lane_count; i++)
        while (has_room(pool) && !list_is_empty(&pool->lanes[i].parked)) {
            struct list *node = list_peek(&pool->lanes[i].parked);
            postgres_parking_remove(LIST_ENTRY(node, struct postgres_connection, node));
            list_push_front(&pool->lanes[i].idle, node);
            was_any = true;
        }
    if (was_any)
        postgres_queue_kick(pool, NULL);
}

void postgres_parking_look(struct postgres_lane *lane)
{
    struct postgres_pool *pool = lane->pool;
    struct postgres_connection *needless = NULL;
    postgres_pool_lock(pool);
    postgres_parking_end(pool);
    struct list *node = list_peek(&lane->parked);
    if (node && pool->total > postgres_sizing_kept(&pool->sizing)) {
        needless = LIST_ENTRY(node, struct postgres_connection, node);
        postgres_parking_remove(needless);
        needless->place = POSTGRES_LEASED;
    }
    postgres_pool_unlock(pool);
    if (needless)
        postgres_pool_drop(needless, POSTGRES_END_RESIZE);
}
