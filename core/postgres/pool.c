/* pool.c - hands database connections to those who wait for them.
 *
 * DESIGN  A connection's place says who may touch it:
 *         OPENING -> LEASED [on_open]       LEASED -> IDLE [release, nobody waits]      IDLE -> LEASED [take]
 *         IDLE, LEASED -> MOVING [release, wait: the waiter is on another loop]         MOVING -> LEASED [it is there]
 *         IDLE -> LEASED [upkeep: a ping]   any -> gone [drop]
 *         MOVING is moving.c's.
 * HOLDS   total = opening + idle + leased + moving <= max_size, but for as long as it takes to become fewer after a reload. Calls wait only when no lane has an idle connection, but for those that
 *         are parked (parking.c).
 *         Lists `idle` and `waiters`, `homes`, `place` and `bound` change under the mutex; everything else is the home loop's.
 * Path:   postgres/lane > [postgres/pool] > postgres/connection
 */
#include "postgres/pool.h"

#include "base/clock.h"
#include "base/log.h"
#include "postgres/lane.h"
#include "postgres/moving.h"
#include "postgres/opening.h"
#include "postgres/parking.h"
#include "postgres/ping.h"
#include "postgres/query.h"
#include "postgres/queue.h"
#include "postgres/renewal.h"

#include <assert.h>
#include <stdio.h>

enum fail postgres_pool_init(struct postgres_pool *pool, struct postgres_settings *settings)
{
    if (pthread_mutex_init(&pool->mutex, NULL) != 0)
        return FAIL_NOMEM;
    pool->settings = settings;
    postgres_opening_init(pool);
    postgres_sizing_init(pool);
    postgres_meter_open(&pool->meter, pool, settings->name);
    postgres_name_open();
    return FAIL_OK;
}

void postgres_pool_clear(struct postgres_pool *pool)
{
    assert(pool->total == 0);
    postgres_name_close();
    postgres_meter_close(&pool->meter);
    for (struct postgres_settings *at = pool->settings, *older; at; at = older) {
        older = at->older;
        postgres_settings_release(at);
    }
    pthread_mutex_destroy(&pool->mutex);
}

void postgres_pool_apply(struct postgres_pool *pool, struct postgres_settings *settings)
{
    postgres_pool_lock(pool);
    settings->older = pool->settings;
    postgres_settings_note_pooled(settings, postgres_pool_is_pooled(pool));
    pool->settings = settings;
    pool->hold_until_ms = 0; /* whoever asks for it may have put right what was wrong */
    postgres_pool_unlock(pool);
}

void postgres_pool_note_drop(const struct postgres_connection *connection, enum postgres_end_reason reason)
{
    struct postgres_pool *pool = connection->lane->pool;
    bool is_orderly = postgres_meter_closed(&pool->meter, reason);
    log_line(is_orderly ? LOG_DEBUG : LOG_WARN, "database connection closed", LOG_TEXT("pool", pool->settings->name),
             LOG_INT("pid", connection->pid), LOG_TEXT("reason", postgres_meter_reason(reason)),
             LOG_TEXT("text", connection->error.text));
}

/* --- taking and waiting --------------------------------------------------------------------------------------- */

struct postgres_connection *postgres_pool_take(struct postgres_lane *lane)
{
    struct postgres_pool *pool = lane->pool;
    uint64_t now_ms = loop_now_ms(lane->loop);
    for (;;) {
        postgres_pool_lock(pool);
        struct list *node = list_pop_front(&lane->idle);
        struct postgres_connection *connection = node ? LIST_ENTRY(node, struct postgres_connection, node) : NULL;
        if (connection)
            connection->place = POSTGRES_LEASED;
        bool is_over = connection && postgres_renewal_is_over(connection, now_ms);
        postgres_pool_unlock(pool);
        if (!connection)
            return NULL;
        if (is_over)
            postgres_pool_drop(connection, POSTGRES_END_AGE);
        else if (now_ms - connection->quiet_since_ms > POSTGRES_FRESH_MS && !postgres_connection_is_alive(connection))
            postgres_pool_drop(connection, POSTGRES_END_LOST);
        else
            return connection;
    }
}

static enum fail wait_locked(struct postgres_lane *lane, struct sql_call *call, bool at_front)
{
    struct postgres_pool *pool = lane->pool;
    if (postgres_opening_is_hopeless(pool, loop_now_ms(lane->loop))) {
        call->error = pool->error;
        return FAIL_REFUSED;
    }
    if (postgres_moving_fetch(lane, call))
        return FAIL_OK;
    unsigned waiting = atomic_load_explicit(&pool->waiting, memory_order_relaxed);
    if (waiting >= pool->settings->max_waiting && !at_front) {
        sql_error_set(&call->error, "53300",
                      "%u calls wait for a database connection already; raise pool.max_size, or ask for less at once",
                      waiting);
        return FAIL_FULL;
    }
    postgres_queue_push(lane, call, at_front);
    return FAIL_OK;
}

enum fail postgres_pool_wait(struct postgres_lane *lane, struct sql_call *call, bool at_front)
{
    if (atomic_load_explicit(&lane->pool->is_closing, memory_order_relaxed)) {
        sql_error_set(&call->error, "57P01", "the server is shutting down");
        return FAIL_CLOSED;
    }
    postgres_pool_lock(lane->pool);
    enum fail fail = wait_locked(lane, call, at_front);
    postgres_pool_unlock(lane->pool);
    if (!fail)
        postgres_opening_fill(lane);
    return fail;
}

void postgres_pool_leave(struct postgres_lane *lane, struct sql_call *call)
{
    postgres_pool_lock(lane->pool);
    if (postgres_call_state(call) == POSTGRES_CALL_WAITING) {
        postgres_queue_pop(lane, call, POSTGRES_CALL_RUNNING);
    } else if (postgres_call_state(call) == POSTGRES_CALL_BOUND) {
        struct postgres_connection *connection = call->engine_data[1];
        connection->bound = NULL;
    }
    postgres_pool_unlock(lane->pool);
}

struct sql_call *postgres_pool_next_if(struct postgres_lane *lane,
                                       bool (*wanted)(struct postgres_lane *lane, const struct sql_call *call))
{
    postgres_pool_lock(lane->pool);
    struct sql_call *call = postgres_queue_oldest(lane);
    if (call && !wanted(lane, call))
        call = NULL;
    if (call)
        postgres_queue_pop(lane, call, POSTGRES_CALL_RUNNING);
    postgres_pool_unlock(lane->pool);
    return call;
}

static bool any(struct postgres_lane *lane, const struct sql_call *call)
{
    (void)lane, (void)call;
    return true;
}

struct sql_call *postgres_pool_next(struct postgres_lane *lane) { return postgres_pool_next_if(lane, any); }

/* Our `options`, made of settings that a reload has changed since. */
static bool is_set_otherwise(const struct postgres_connection *connection, const struct postgres_settings *settings)
{
    const struct postgres_settings *opened_with = connection->target.settings;
    return !connection->is_bare && opened_with->idle_in_transaction_ms != settings->idle_in_transaction_ms;
}

enum postgres_end_reason postgres_pool_why_over(struct postgres_connection *connection, uint64_t now_ms)
{
    if (postgres_renewal_is_over(connection, now_ms))
        return POSTGRES_END_AGE;
    if (postgres_connection_has_moved(connection))
        return POSTGRES_END_ADDRESS;
    return is_set_otherwise(connection, connection->lane->pool->settings) ? POSTGRES_END_SETTINGS : POSTGRES_END_NONE;
}

/* Why a quiet connection is not used again, or NONE. Mutex held. */
static enum postgres_end_reason reason_to_end(struct postgres_connection *connection)
{
    struct postgres_pool *pool = connection->lane->pool;
    const struct postgres_settings *settings = pool->settings;
    if (atomic_load_explicit(&pool->is_closing, memory_order_relaxed))
        return POSTGRES_END_CLOSING;
    enum postgres_end_reason reason = postgres_pool_why_over(connection, connection->quiet_since_ms);
    if (reason)
        return reason;
    if (settings->max_uses && connection->uses >= settings->max_uses)
        return POSTGRES_END_USES;
    return pool->total - pool->parked > postgres_sizing_kept(&pool->sizing) ? POSTGRES_END_RESIZE : POSTGRES_END_NONE;
}

void postgres_pool_lease(struct postgres_connection *connection, const struct sql_call *call)
{
    connection->user = &postgres_lane_user;
    connection->uses++;
    connection->holder = NULL;
    connection->leased_ns = clock_mono_ns();
    postgres_sizing_lease(connection->lane->pool, connection->leased_ns - call->queued_ns);
}

static void end_lease(struct postgres_connection *connection)
{
    struct postgres_pool *pool = connection->lane->pool;
    if (!connection->leased_ns)
        return;
    uint64_t held_ns = clock_mono_ns() - connection->leased_ns;
    connection->leased_ns = 0;
    metric_observe(pool->meter.use, held_ns);
    postgres_sizing_release(pool, held_ns);
}

/* Never changed but between being leased and being released, each of which is done under the mutex: so who holds that never counts more
 * than are leased. */
void postgres_pool_note(struct postgres_connection *connection, enum postgres_care care)
{
    struct postgres_pool *pool = connection->lane->pool;
    if (connection->care == care)
        return;
    atomic_fetch_sub_explicit(&pool->cared_for[connection->care], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool->cared_for[care], 1, memory_order_relaxed);
    connection->care = care;
}

/* Where a connection goes that nobody has any more: it ends, is bound to a call of another loop, serves one of this, is parked,
 * or becomes idle. */
struct next {
    enum postgres_end_reason reason;
    bool moves;
    struct sql_call *call;
};

static struct next pass_on(struct postgres_connection *connection, bool was_pinged)
{
    struct postgres_lane *lane = connection->lane;
    postgres_pool_lock(lane->pool);
    struct next next = { .reason = reason_to_end(connection) };
    bool is_parked = !next.reason && postgres_parking_is_due(lane->pool);
    if (!next.reason && !is_parked)
        next.call = postgres_queue_next(lane);
    if (next.call)
        postgres_queue_pop(postgres_call_lane(next.call), next.call, POSTGRES_CALL_RUNNING);
    next.moves = next.call && postgres_call_lane(next.call) != lane;
    if (next.moves) {
        postgres_moving_bind(connection, next.call); /* which may give up as soon as the mutex is free */
    } else if (is_parked) {
        postgres_parking_park(connection);
    } else if (!next.call && !next.reason) {
        connection->place = POSTGRES_IDLE;
        if (was_pinged)
            list_push_back(&lane->idle, &connection->node);
        else
            list_push_front(&lane->idle, &connection->node);
    }
    postgres_pool_unlock(lane->pool);
    return next;
}

void postgres_pool_release(struct postgres_connection *connection)
{
    struct postgres_lane *lane = connection->lane;
    end_lease(connection);
    postgres_pool_note(connection, POSTGRES_CARE_NONE);
    bool was_pinged = connection->user == &postgres_ping_user; /* which is no use */
    connection->heard_ms = loop_now_ms(lane->loop);
    if (!was_pinged)
        connection->quiet_since_ms = connection->heard_ms;
    connection->user = &postgres_lane_user;
    connection->scope = 0; /* what was set outlives no user: reset.c */
    struct next next = pass_on(connection, was_pinged);
    if (next.reason)
        postgres_pool_drop(connection, next.reason);
    else if (next.moves)
        postgres_moving_start(connection);
    else if (next.call)
        postgres_lane_start(connection, next.call);
}

/* --- opening and closing -------------------------------------------------------------------------------------- */

void postgres_pool_drop(struct postgres_connection *connection, enum postgres_end_reason reason)
{
    struct postgres_lane *lane = connection->lane;
    struct postgres_pool *pool = lane->pool;
    end_lease(connection);
    postgres_pool_note(connection, POSTGRES_CARE_NONE);
    postgres_pool_note_drop(connection, reason);
    postgres_pool_lock(pool);
    if (connection->place == POSTGRES_IDLE)
        postgres_parking_remove(connection);
    connection->place = POSTGRES_OUTSIDE;
    pool->total--;
    lane->homes--;
    postgres_opening_note_end(pool);
    postgres_queue_kick(pool, lane);
    postgres_pool_unlock(pool);
    list_remove(&connection->all_node);
    postgres_connection_close(connection);
    postgres_opening_fill(lane);
}

/* --- upkeep --------------------------------------------------------------------------------------------------- */

/* Why an idle connection is taken out, or NONE; under the mutex. */
static enum postgres_end_reason reason_to_take(struct postgres_connection *connection, uint64_t now_ms)
{
    const struct postgres_pool *pool = connection->lane->pool;
    const struct postgres_settings *settings = pool->settings;
    enum postgres_end_reason reason = postgres_pool_why_over(connection, now_ms);
    if (reason)
        return reason;
    if (pool->total - pool->parked > postgres_sizing_kept(&pool->sizing))
        return POSTGRES_END_RESIZE;
    if (settings->idle_timeout_ms && pool->total > settings->min_size &&
        now_ms - connection->quiet_since_ms >= settings->idle_timeout_ms)
        return POSTGRES_END_IDLE;
    bool is_due = settings->keepalive_ms && now_ms - connection->heard_ms >= settings->keepalive_ms;
    return is_due ? POSTGRES_END_PING : POSTGRES_END_NONE;
}

/* The oldest idle connection that has had its time, or is due for a ping; one for each look. */
static struct postgres_connection *find_overdue(struct postgres_lane *lane, enum postgres_end_reason *reason)
{
    struct postgres_pool *pool = lane->pool;
    uint64_t now_ms = loop_now_ms(lane->loop);
    struct postgres_connection *overdue = NULL;
    postgres_pool_lock(pool);
    LIST_EACH(&lane->idle, node)
    {
        struct postgres_connection *connection = LIST_ENTRY(node, struct postgres_connection, node);
        enum postgres_end_reason why = reason_to_take(connection, now_ms);
        if (why) {
            overdue = connection;
            *reason = why;
        }
    }
    if (overdue) {
        list_remove(&overdue->node);
        overdue->place = POSTGRES_LEASED;
    }
    postgres_pool_unlock(pool);
    return overdue;
}

/* Those who wait get what has become idle since; after a kick that may be on another lane. */
static bool serve(struct postgres_lane *lane)
{
    postgres_pool_lock(lane->pool);
    struct sql_call *call = postgres_queue_oldest(lane);
    bool is_at_home = !list_is_empty(&lane->idle), is_fetched = false;
    if (call && !is_at_home) {
        postgres_queue_pop(lane, call, POSTGRES_CALL_RUNNING);
        is_fetched = postgres_moving_fetch(lane, call);
        if (!is_fetched)
            postgres_queue_push(lane, call, /* at_front= */ true);
    }
    postgres_pool_unlock(lane->pool);
    struct postgres_connection *connection = call && is_at_home ? postgres_pool_take(lane) : NULL;
    if (connection)
        postgres_pool_release(connection); /* which looks who is first */
    return connection || is_fetched;
}

void postgres_pool_upkeep(struct postgres_lane *lane)
{
    enum postgres_end_reason reason = POSTGRES_END_NONE;
    postgres_sizing_look(lane);
    postgres_name_refresh(lane->pool->settings->dns_ttl_ms);
    struct postgres_connection *overdue = find_overdue(lane, &reason);
    if (overdue && reason == POSTGRES_END_PING)
        postgres_ping(overdue);
    else if (overdue)
        postgres_pool_drop(overdue, reason);
    postgres_parking_look(lane);
    postgres_renewal_look(lane);
    postgres_opening_end_waits(lane);
    while (serve(lane))
        continue;
    postgres_opening_fill(lane);
}

bool postgres_pool_is_ready(struct postgres_pool *pool, char *why, size_t why_bytes)
{
    postgres_pool_lock(pool);
    bool is_asleep = pool->settings->min_size == 0 && postgres_opening_breaker(pool, clock_mono_ms()) == BREAKER_CLOSED;
    bool is_ready = pool->total > pool->opening || is_asleep; /* who asks for the first connection gets one */
    if (!is_ready)
        snprintf(why, why_bytes, "%s", pool->error.text[0] ? pool->error.text : "no database connection yet");
    postgres_pool_unlock(pool);
    return is_ready;
}

static uint64_t oldest_wait_ms(const struct postgres_pool *pool)
{
    uint64_t now_ns = clock_mono_ns(), oldest_ns = now_ns;
    for (unsigned i = 0; i < pool->lane_count; i++) {
        const struct sql_call *call = postgres_queue_oldest(&pool->lanes[i]);
        if (call && call->submitted_ns < oldest_ns)
            oldest_ns = call->submitted_ns;
    }
    return (now_ns - oldest_ns) / 1000000u;
}

void postgres_pool_count(struct postgres_pool *pool, struct postgres_counts *out)
{
    postgres_pool_lock(pool);
    unsigned idle = 0;
    for (unsigned i = 0; i < pool->lane_count; i++)
        LIST_EACH(&pool->lanes[i].idle, node)
    idle++;
    idle += pool->parked;
    unsigned resetting = atomic_load_explicit(&pool->cared_for[POSTGRES_CARE_RESET], memory_order_relaxed);
    unsigned cancelling = atomic_load_explicit(&pool->cared_for[POSTGRES_CARE_CANCEL], memory_order_relaxed);
    uint64_t now_ms = clock_mono_ms();
    *out = (struct postgres_counts){
        .total = pool->total,
        .idle = idle,
        .opening = pool->opening,
        .resetting = resetting,
        .cancelling = cancelling,
        .used = pool->total - pool->opening - idle - resetting - cancelling,
        .waiting = atomic_load_explicit(&pool->waiting, memory_order_relaxed),
        .oldest_wait_ms = oldest_wait_ms(pool),
        .breaker = postgres_opening_breaker(pool, now_ms),
        .retry_ms = postgres_opening_retry_ms(pool, now_ms),
        .error = pool->error,
    };
    postgres_pool_unlock(pool);
}
