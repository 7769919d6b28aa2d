/* lane.c - calls, leases and batches that wait for the same threads, served in order of arrival.
 *
 * DESIGN  Three lists, for the three are linked in by their own nodes; the numbers they got on arrival tell which of the
 *         three heads is first. A call that comes from the other lane goes to the place its number gives it.
 * HOLDS   Each list is sorted by number. count is what is on the lists.
 * Path:   sqlite/engine > [sqlite/lane] > sqlite/reader, sqlite/writer
 */
#include "sqlite/inner.h"

#include "base/mem.h"

void sqlite_lane_init(struct sqlite_lane *lane)
{
    *lane = (struct sqlite_lane){ 0 };
    list_init(&lane->calls);
    list_init(&lane->leases);
    list_init(&lane->batches);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&lane->cond, &attr);
    pthread_condattr_destroy(&attr);
}

void sqlite_lane_destroy(struct sqlite_lane *lane)
{
    assert(lane->count == 0);
    pthread_cond_destroy(&lane->cond);
}

void sqlite_lane_push(struct sqlite_lane *lane, struct sql_call *call)
{
    uint64_t order = sqlite_order(call->engine_data);
    struct list *after = &lane->calls;
    while (after->prev != &lane->calls &&
           sqlite_order(LIST_ENTRY(after->prev, struct sql_call, node)->engine_data) > order)
        after = after->prev;
    list_insert(after, &call->node);
    call->state = STATE_QUEUED;
    call->engine_data[DATA_WHERE] = lane;
    lane->count++;
}

void sqlite_lane_remove(struct sqlite_lane *lane, struct sql_call *call)
{
    assert(call->state == STATE_QUEUED && lane->count > 0);
    list_remove(&call->node);
    lane->count--;
}

struct sql_call *sqlite_lane_first(const struct sqlite_lane *lane)
{
    struct list *node = list_peek(&lane->calls);
    return node ? LIST_ENTRY(node, struct sql_call, node) : NULL;
}

struct sql_lease *sqlite_lane_first_lease(const struct sqlite_lane *lane)
{
    struct list *node = list_peek(&lane->leases);
    return node ? LIST_ENTRY(node, struct sql_lease, node) : NULL;
}

struct sqlite_batch *sqlite_lane_first_batch(const struct sqlite_lane *lane)
{
    struct list *node = list_peek(&lane->batches);
    return node ? LIST_ENTRY(node, struct sqlite_batch, node) : NULL;
}

enum sqlite_item sqlite_lane_next(const struct sqlite_lane *lane, bool may_lease)
{
    struct sql_call *call = sqlite_lane_first(lane);
    struct sql_lease *lease = may_lease ? sqlite_lane_first_lease(lane) : NULL;
    struct sqlite_batch *batch = sqlite_lane_first_batch(lane);
    enum sqlite_item item = call ? ITEM_CALL : ITEM_NONE;
    uint64_t first = call ? sqlite_order(call->engine_data) : UINT64_MAX;
    if (lease && sqlite_order(lease->engine_data) < first) {
        item = ITEM_LEASE;
        first = sqlite_order(lease->engine_data);
    }
    return batch && batch->order < first ? ITEM_BATCH : item;
}

void sqlite_lane_wake(struct sqlite_lane *lane)
{
    if (lane->idle)
        pthread_cond_signal(&lane->cond);
}

void sqlite_lane_wait(struct sqlite_lane *lane, pthread_mutex_t *lock)
{
    lane->idle++;
    pthread_cond_wait(&lane->cond, lock);
    lane->idle--;
}

static void drain_calls(struct list *from, const struct sql_error *error, struct list *calls)
{
    for (struct list *node; (node = list_pop_front(from));) {
        struct sql_call *call = LIST_ENTRY(node, struct sql_call, node);
        call->fail = FAIL_CLOSED;
        call->error = *error;
        call->state = STATE_DONE;
        list_push_back(calls, node);
    }
}

void sqlite_lane_drain(struct sqlite_lane *lane, const struct sql_error *error, struct list *calls, struct list *leases)
{
    drain_calls(&lane->calls, error, calls);
    for (struct list *node; (node = list_pop_front(&lane->batches));) {
        struct sqlite_batch *batch = LIST_ENTRY(node, struct sqlite_batch, node);
        drain_calls(&batch->calls, error, calls);
        mem_free(batch);
    }
    for (struct list *node; (node = list_pop_front(&lane->leases));) {
        struct sql_lease *lease = LIST_ENTRY(node, struct sql_lease, node);
        lease->fail = FAIL_CLOSED;
        lease->error = *error;
        lease->state = STATE_DONE;
        list_push_back(leases, node);
    }
    lane->count = 0;
}
