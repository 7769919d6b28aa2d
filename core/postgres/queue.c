/* queue.c - the waiting calls of all lanes as one queue.
 *
 * HOLDS   pool->waiting is the length of all `waiters` together; it may be read without the mutex, as a hint.
 * Path:   postgres/pool, opening > [postgres/queue]
 */
#include "postgres/queue.h"

struct sql_call *postgres_queue_oldest(const struct postgres_lane *lane)
{
    struct list *node = list_peek(&lane->waiters);
    return node ? LIST_ENTRY(node, struct sql_call, node) : NULL;
}

void postgres_queue_push(struct postgres_lane *lane, struct sql_call *call, bool at_front)
{
    postgres_call_set(call, POSTGRES_CALL_WAITING);
    if (at_front)
        list_push_front(&lane->waiters, &call->node);
    else
        list_push_back(&lane->waiters, &call->node);
    atomic_fetch_add_explicit(&lane->pool->waiting, 1, memory_order_relaxed);
}

void postgres_queue_pop(struct postgres_lane *lane, struct sql_call *call, enum postgres_call_state state)
{
    list_remove(&call->node);
    postgres_call_set(call, state);
    atomic_fetch_sub_explicit(&lane->pool->waiting, 1, memory_order_relaxed);
}

/* The one that came first of all, but a connection stays at home for one that came hardly later. */
struct sql_call *postgres_queue_next(struct postgres_lane *home)
{
    struct postgres_pool *pool = home->pool;
    if (atomic_load_explicit(&pool->waiting, memory_order_relaxed) == 0)
        return NULL;
    struct sql_call *first = postgres_queue_oldest(home);
    uint64_t slack_ns = first ? POSTGRES_ORDER_SLACK_MS * UINT64_C(1000000) : 0;
    for (unsigned i = 0; i < pool->lane_count; i++) {
        struct sql_call *call = postgres_queue_oldest(&pool->lanes[i]);
        if (call && (!first || call->submitted_ns + slack_ns < first->submitted_ns)) {
            first = call;
            slack_ns = 0;
        }
    }
    return first;
}

void postgres_queue_kick_lane(struct postgres_lane *lane)
{
    if (lane->is_kicked)
        return;
    lane->is_kicked = true;
    loop_post(lane->loop, &lane->kick);
}

/* Room has been made, or all hope is gone: those who wait on other lanes should know. */
void postgres_queue_kick(struct postgres_pool *pool, const struct postgres_lane *but)
{
    for (unsigned i = 0; i < pool->lane_count; i++)
        if (&pool->lanes[i] != but && !list_is_empty(&pool->lanes[i].waiters))
            postgres_queue_kick_lane(&pool->lanes[i]);
}
