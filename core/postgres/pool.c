/* pool.c - hands database connections to those who wait for them.
 *
 * DESIGN  A connection's place says who may touch it:
 *         OPENING -> LEASED [on_open]       LEASED -> IDLE [release, nobody waits]      IDLE -> LEASED [take]
 *         IDLE, LEASED -> MOVING [release, wait: the waiter is on another loop]         MOVING -> LEASED [move_in]
 *         any -> gone [drop]
 *         MOVING is a walk: move_out on the old loop, where it stops being watched, then move_in on the new one. Its call is `bound`
 *         to it meanwhile, and may give up.
 *         Opening: up to min_size in the background, spread over the lanes; beyond that one for each waiting call, at most opening_max
 *         at a time. A call that gives up never ends an attempt: the connection serves the next one, or becomes idle.
 *         Without any connection and with the breaker open (or with a wrong password: hold_until_ms), waiting is in vain, and
 *         everybody is told the last error at once.
 * HOLDS   total = opening + idle + leased + moving <= max_size. Calls wait only when no lane has an idle connection.
 *         Lists `idle` and `waiters`, `homes`, `place` and `bound` change under the mutex; everything else is the home loop's.
 * Path:   postgres/lane > [postgres/pool] > postgres/connection
 */
#include "postgres/pool.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "postgres/lane.h"
#include "postgres/query.h"

#include <assert.h>
#include <stdio.h>

static const struct breaker_limits breaker_limits = { .failures_max = 3, .open_ms = 250, .open_ms_max = 1000 };

static void lock(struct postgres_pool *pool) { pthread_mutex_lock(&pool->mutex); }
static void unlock(struct postgres_pool *pool) { pthread_mutex_unlock(&pool->mutex); }

enum fail postgres_pool_init(struct postgres_pool *pool, struct postgres_settings *settings)
{
    if (pthread_mutex_init(&pool->mutex, NULL) != 0)
        return FAIL_NOMEM;
    pool->settings = settings;
    pool->opening_max = POSTGRES_OPENING_MAX;
    breaker_init(&pool->breaker, breaker_limits);
    postgres_meter_open(&pool->meter, pool, settings->name);
    return FAIL_OK;
}

void postgres_pool_clear(struct postgres_pool *pool)
{
    assert(pool->total == 0);
    postgres_meter_close(&pool->meter);
    pthread_mutex_destroy(&pool->mutex);
}

/* --- who waits ------------------------------------------------------------------------------------------------ */

static struct sql_call *oldest(const struct postgres_lane *lane)
{
    struct list *node = list_peek(&lane->waiters);
    return node ? LIST_ENTRY(node, struct sql_call, node) : NULL;
}

static void push_waiter(struct postgres_lane *lane, struct sql_call *call, bool at_front)
{
    postgres_call_set(call, POSTGRES_CALL_WAITING);
    if (at_front)
        list_push_front(&lane->waiters, &call->node);
    else
        list_push_back(&lane->waiters, &call->node);
    atomic_fetch_add_explicit(&lane->pool->waiting, 1, memory_order_relaxed);
}

static void pop_waiter(struct postgres_lane *lane, struct sql_call *call, enum postgres_call_state state)
{
    list_remove(&call->node);
    postgres_call_set(call, state);
    atomic_fetch_sub_explicit(&lane->pool->waiting, 1, memory_order_relaxed);
}

/* The one that came first of all, but a connection stays at home for one that came hardly later. */
static struct sql_call *next_waiter(struct postgres_lane *home)
{
    struct postgres_pool *pool = home->pool;
    if (atomic_load_explicit(&pool->waiting, memory_order_relaxed) == 0)
        return NULL;
    struct sql_call *first = oldest(home);
    uint64_t slack_ns = first ? POSTGRES_ORDER_SLACK_MS * UINT64_C(1000000) : 0;
    for (unsigned i = 0; i < pool->lane_count; i++) {
        struct sql_call *call = oldest(&pool->lanes[i]);
        if (call && (!first || call->submitted_ns + slack_ns < first->submitted_ns)) {
            first = call;
            slack_ns = 0;
        }
    }
    return first;
}

void postgres_lane_kick_locked(struct postgres_lane *lane)
{
    if (lane->is_kicked)
        return;
    lane->is_kicked = true;
    loop_post(lane->loop, &lane->kick);
}

/* Room has been made, or all hope is gone: those who wait on other lanes should know. */
static void kick_waiting_lanes(struct postgres_pool *pool, const struct postgres_lane *but)
{
    for (unsigned i = 0; i < pool->lane_count; i++)
        if (&pool->lanes[i] != but && !list_is_empty(&pool->lanes[i].waiters))
            postgres_lane_kick_locked(&pool->lanes[i]);
}

/* --- moving between loops ------------------------------------------------------------------------------------- */

static void close_moved(struct postgres_connection *connection, struct postgres_lane *home)
{
    struct postgres_pool *pool = home->pool;
    lock(pool);
    struct sql_call *call = connection->bound;
    if (call) {
        struct postgres_lane *lane = postgres_call_lane(call);
        push_waiter(lane, call, /* at_front= */ true);
        postgres_lane_kick_locked(lane);
    }
    pool->total--;
    connection->destination->homes--;
    kick_waiting_lanes(pool, NULL);
    unlock(pool);
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
        close_moved(connection, lane);
        return;
    }
    list_push_back(&lane->all, &connection->all_node);
    lock(lane->pool);
    struct sql_call *call = connection->bound;
    connection->bound = NULL;
    connection->place = POSTGRES_LEASED;
    if (call)
        postgres_call_set(call, POSTGRES_CALL_RUNNING);
    unlock(lane->pool);
    if (call)
        postgres_lane_start(connection, call);
    else
        postgres_pool_release(connection);
}

/* On the old home's loop. It may have been lost since it was promised. */
static void move_out(void *arg)
{
    struct postgres_connection *connection = arg;
    if (connection->state != POSTGRES_OPEN) {
        close_moved(connection, connection->lane);
        return;
    }
    list_remove(&connection->all_node);
    postgres_connection_leave(connection);
    connection->task = (struct loop_task){ .run = move_in, .arg = connection };
    loop_post(connection->destination->loop, &connection->task);
}

static void bind_to(struct postgres_connection *connection, struct sql_call *call)
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

/* An idle connection of another lane goes to the call. */
static bool fetch_from_others(struct postgres_lane *lane, struct sql_call *call)
{
    struct postgres_pool *pool = lane->pool;
    for (unsigned i = 0; i < pool->lane_count; i++) {
        struct list *node = list_pop_front(&pool->lanes[i].idle);
        if (!node)
            continue;
        struct postgres_connection *connection = LIST_ENTRY(node, struct postgres_connection, node);
        bind_to(connection, call);
        connection->task = (struct loop_task){ .run = move_out, .arg = connection };
        loop_post(pool->lanes[i].loop, &connection->task);
        return true;
    }
    return false;
}

/* --- taking and waiting --------------------------------------------------------------------------------------- */

struct postgres_connection *postgres_pool_take(struct postgres_lane *lane)
{
    struct postgres_pool *pool = lane->pool;
    for (;;) {
        lock(pool);
        struct list *node = list_pop_front(&lane->idle);
        struct postgres_connection *connection = node ? LIST_ENTRY(node, struct postgres_connection, node) : NULL;
        if (connection)
            connection->place = POSTGRES_LEASED;
        unlock(pool);
        if (!connection)
            return NULL;
        uint64_t now_ms = loop_now_ms(lane->loop);
        if (connection->expires_ms && now_ms >= connection->expires_ms)
            postgres_pool_drop(connection, "age");
        else if (now_ms - connection->quiet_since_ms > POSTGRES_FRESH_MS && !postgres_connection_is_alive(connection))
            postgres_pool_drop(connection, "lost");
        else
            return connection;
    }
}

static bool is_down(struct postgres_pool *pool, uint64_t now_ms)
{
    return pool->total == pool->opening && (breaker_is_open(&pool->breaker, now_ms) || now_ms < pool->hold_until_ms);
}

static enum fail wait_locked(struct postgres_lane *lane, struct sql_call *call, bool at_front)
{
    struct postgres_pool *pool = lane->pool;
    if (is_down(pool, loop_now_ms(lane->loop))) {
        call->error = pool->error;
        return FAIL_REFUSED;
    }
    if (fetch_from_others(lane, call))
        return FAIL_OK;
    unsigned waiting = atomic_load_explicit(&pool->waiting, memory_order_relaxed);
    if (waiting >= pool->settings->max_waiting && !at_front) {
        sql_error_set(&call->error, "53300",
                      "%u calls wait for a database connection already; raise pool.max_size, or ask for less at once",
                      waiting);
        return FAIL_FULL;
    }
    push_waiter(lane, call, at_front);
    return FAIL_OK;
}

enum fail postgres_pool_wait(struct postgres_lane *lane, struct sql_call *call, bool at_front)
{
    if (atomic_load_explicit(&lane->pool->is_closing, memory_order_relaxed)) {
        sql_error_set(&call->error, "57P01", "the server is shutting down");
        return FAIL_CLOSED;
    }
    lock(lane->pool);
    enum fail fail = wait_locked(lane, call, at_front);
    unlock(lane->pool);
    if (!fail)
        postgres_pool_fill(lane);
    return fail;
}

void postgres_pool_leave(struct postgres_lane *lane, struct sql_call *call)
{
    lock(lane->pool);
    if (postgres_call_state(call) == POSTGRES_CALL_WAITING) {
        pop_waiter(lane, call, POSTGRES_CALL_RUNNING);
    } else if (postgres_call_state(call) == POSTGRES_CALL_BOUND) {
        struct postgres_connection *connection = call->engine_data[1];
        connection->bound = NULL;
    }
    unlock(lane->pool);
}

struct sql_call *postgres_pool_next_if(struct postgres_lane *lane,
                                       bool (*wanted)(struct postgres_lane *lane, const struct sql_call *call))
{
    lock(lane->pool);
    struct sql_call *call = oldest(lane);
    if (call && !wanted(lane, call))
        call = NULL;
    if (call)
        pop_waiter(lane, call, POSTGRES_CALL_RUNNING);
    unlock(lane->pool);
    return call;
}

static bool any(struct postgres_lane *lane, const struct sql_call *call)
{
    (void)lane, (void)call;
    return true;
}

struct sql_call *postgres_pool_next(struct postgres_lane *lane) { return postgres_pool_next_if(lane, any); }

void postgres_pool_release(struct postgres_connection *connection)
{
    struct postgres_lane *lane = connection->lane;
    struct postgres_pool *pool = lane->pool;
    connection->quiet_since_ms = loop_now_ms(lane->loop);
    bool is_old = connection->expires_ms && connection->quiet_since_ms >= connection->expires_ms;
    if (is_old || atomic_load_explicit(&pool->is_closing, memory_order_relaxed)) {
        postgres_pool_drop(connection, is_old ? "age" : "closing");
        return;
    }
    connection->user = &postgres_lane_user;
    lock(pool);
    struct sql_call *call = next_waiter(lane);
    struct postgres_lane *destination = call ? postgres_call_lane(call) : NULL;
    if (call)
        pop_waiter(destination, call, POSTGRES_CALL_RUNNING);
    if (call && destination != lane) {
        bind_to(connection, call);
    } else if (!call) {
        connection->place = POSTGRES_IDLE;
        list_push_front(&lane->idle, &connection->node);
    }
    unlock(pool);
    if (!call)
        return;
    if (destination == lane)
        postgres_lane_start(connection, call);
    else
        move_out(connection);
}

/* --- opening and closing -------------------------------------------------------------------------------------- */

static void note_drop(struct postgres_pool *pool, const struct postgres_connection *connection, const char *reason)
{
    bool is_orderly = strcmp(reason, "age") == 0 || strcmp(reason, "idle") == 0 || strcmp(reason, "closing") == 0;
    metric_add(is_orderly ? pool->meter.closed : pool->meter.lost, 1);
    log_line(is_orderly ? LOG_DEBUG : LOG_WARN, "database connection closed", LOG_TEXT("pool", pool->settings->name),
             LOG_INT("pid", connection->pid), LOG_TEXT("reason", reason), LOG_TEXT("text", connection->error.text));
}

void postgres_pool_drop(struct postgres_connection *connection, const char *reason)
{
    struct postgres_lane *lane = connection->lane;
    struct postgres_pool *pool = lane->pool;
    note_drop(pool, connection, reason);
    lock(pool);
    if (connection->place == POSTGRES_IDLE)
        list_remove(&connection->node);
    connection->place = POSTGRES_OUTSIDE;
    pool->total--;
    lane->homes--;
    kick_waiting_lanes(pool, lane);
    unlock(pool);
    list_remove(&connection->all_node);
    postgres_connection_close(connection);
    postgres_pool_fill(lane);
}

static uint64_t expiry_of(const struct postgres_settings *settings, uint64_t now_ms)
{
    if (!settings->max_lifetime_ms)
        return 0;
    uint64_t jitter_ms = random_u64() % (settings->max_lifetime_ms / 10 + 1);
    return now_ms + settings->max_lifetime_ms - jitter_ms;
}

static void on_opened(struct postgres_lane *lane, struct postgres_connection *connection)
{
    struct postgres_pool *pool = lane->pool;
    uint64_t now_ms = loop_now_ms(lane->loop);
    connection->expires_ms = expiry_of(pool->settings, now_ms);
    lock(pool);
    bool is_return = pool->error.sqlstate[0] != '\0';
    connection->place = POSTGRES_LEASED;
    pool->opening--;
    pool->opening_max = pool->opening_max * 2 > POSTGRES_OPENING_MAX ? POSTGRES_OPENING_MAX : pool->opening_max * 2;
    breaker_worked(&pool->breaker, now_ms);
    pool->hold_until_ms = 0;
    pool->error = (struct sql_error){ .sent = false };
    unlock(pool);
    if (is_return)
        log_line(LOG_INFO, "database answers again", LOG_TEXT("pool", pool->settings->name));
    if (postgres_connection_is_alive(connection))
        postgres_pool_release(connection);
    else
        postgres_pool_drop(connection, "lost");
    postgres_pool_fill(lane);
}

static bool is_configuration(const struct sql_error *error)
{
    return sql_error_is(error, "28") || sql_error_is(error, "3D");
}

static void on_refused(struct postgres_lane *lane, struct postgres_connection *connection)
{
    struct postgres_pool *pool = lane->pool;
    uint64_t now_ms = loop_now_ms(lane->loop);
    lock(pool);
    bool is_news = strcmp(pool->error.sqlstate, connection->error.sqlstate) != 0;
    pool->total--;
    pool->opening--;
    lane->homes--;
    pool->opening_max = 1;
    pool->error = connection->error;
    breaker_failed(&pool->breaker, now_ms);
    if (is_configuration(&pool->error))
        pool->hold_until_ms = now_ms + POSTGRES_CONFIG_HOLD_MS;
    kick_waiting_lanes(pool, lane);
    unlock(pool);
    metric_add(pool->meter.failed_to_open, 1);
    log_line(is_news ? LOG_WARN : LOG_DEBUG, "no database connection", LOG_TEXT("pool", pool->settings->name),
             LOG_TEXT("sqlstate", connection->error.sqlstate), LOG_TEXT("why", connection->error.text));
    list_remove(&connection->all_node);
    postgres_connection_close(connection);
}

static void end_vain_waits(struct postgres_lane *lane);

static void on_open(struct postgres_connection *connection, bool is_open)
{
    struct postgres_lane *lane = connection->on_open_arg;
    if (is_open) {
        on_opened(lane, connection);
        return;
    }
    on_refused(lane, connection);
    end_vain_waits(lane);
    postgres_pool_fill(lane);
}

/* One more for this lane? If so it is counted already. */
static bool may_open(struct postgres_lane *lane)
{
    struct postgres_pool *pool = lane->pool;
    const struct postgres_settings *settings = pool->settings;
    uint64_t now_ms = loop_now_ms(lane->loop);
    if (pool->total >= settings->max_size || pool->opening >= pool->opening_max || now_ms < pool->hold_until_ms ||
        atomic_load_explicit(&pool->is_closing, memory_order_relaxed))
        return false;
    bool is_wanted = !list_is_empty(&lane->waiters) &&
                     pool->opening < atomic_load_explicit(&pool->waiting, memory_order_relaxed);
    bool is_below_min = pool->total < settings->min_size && lane->homes * pool->lane_count <= pool->total;
    if (!(is_wanted || is_below_min) || !breaker_allows(&pool->breaker, now_ms))
        return false;
    pool->total++;
    pool->opening++;
    lane->homes++;
    return true;
}

static void uncount(struct postgres_lane *lane)
{
    lock(lane->pool);
    lane->pool->total--;
    lane->pool->opening--;
    lane->homes--;
    unlock(lane->pool);
}

void postgres_pool_fill(struct postgres_lane *lane)
{
    struct postgres_pool *pool = lane->pool;
    for (;;) {
        lock(pool);
        bool opens = may_open(lane);
        unlock(pool);
        if (!opens)
            return;
        struct postgres_connection *connection;
        enum fail fail = postgres_connection_open(lane->loop, pool->settings, pool->settings->application_name, on_open,
                                                  lane, &connection);
        if (fail) { /* no memory, or no work thread for its name: upkeep tries again */
            uncount(lane);
            return;
        }
        connection->lane = lane;
        connection->place = POSTGRES_OPENING;
        connection->user = &postgres_lane_user;
        list_push_back(&lane->all, &connection->all_node);
    }
}

/* --- upkeep --------------------------------------------------------------------------------------------------- */

static void end_vain_waits(struct postgres_lane *lane)
{
    struct postgres_pool *pool = lane->pool;
    for (;;) {
        lock(pool);
        struct sql_call *call = is_down(pool, loop_now_ms(lane->loop)) ? oldest(lane) : NULL;
        if (call) {
            pop_waiter(lane, call, POSTGRES_CALL_RUNNING);
            call->error = pool->error;
        }
        unlock(pool);
        if (!call)
            return;
        metric_add(pool->meter.refused, 1);
        postgres_lane_finish(lane, call, FAIL_REFUSED);
    }
}

/* An idle connection that has had its time: one for each look at most when idle too long, any when too old. */
static struct postgres_connection *find_overdue(struct postgres_lane *lane, const char **reason)
{
    struct postgres_pool *pool = lane->pool;
    uint64_t now_ms = loop_now_ms(lane->loop), idle_ms = pool->settings->idle_timeout_ms;
    struct postgres_connection *overdue = NULL;
    lock(pool);
    LIST_EACH(&lane->idle, node)
    {
        struct postgres_connection *connection = LIST_ENTRY(node, struct postgres_connection, node);
        bool is_old = connection->expires_ms && now_ms >= connection->expires_ms;
        bool is_spare = idle_ms && pool->total > pool->settings->min_size &&
                        now_ms - connection->quiet_since_ms >= idle_ms;
        if (is_old || is_spare) {
            overdue = connection;
            *reason = is_old ? "age" : "idle";
        }
    }
    if (overdue) {
        list_remove(&overdue->node);
        overdue->place = POSTGRES_LEASED;
    }
    unlock(pool);
    return overdue;
}

/* Those who wait get what has become idle since; after a kick that may be on another lane. */
static void serve(struct postgres_lane *lane)
{
    lock(lane->pool);
    struct sql_call *call = oldest(lane);
    bool is_at_home = !list_is_empty(&lane->idle);
    if (call && !is_at_home) {
        pop_waiter(lane, call, POSTGRES_CALL_RUNNING);
        if (!fetch_from_others(lane, call))
            push_waiter(lane, call, /* at_front= */ true);
    }
    unlock(lane->pool);
    struct postgres_connection *connection = call && is_at_home ? postgres_pool_take(lane) : NULL;
    if (connection)
        postgres_pool_release(connection); /* which looks who is first */
}

void postgres_pool_upkeep(struct postgres_lane *lane)
{
    const char *reason = "";
    struct postgres_connection *overdue = find_overdue(lane, &reason);
    if (overdue)
        postgres_pool_drop(overdue, reason);
    end_vain_waits(lane);
    serve(lane);
    postgres_pool_fill(lane);
}

void postgres_pool_end_opening(struct postgres_lane *lane)
{
    LIST_EACH_SAFE(&lane->all, node, after)
    {
        struct postgres_connection *connection = LIST_ENTRY(node, struct postgres_connection, all_node);
        if (connection->state == POSTGRES_OPEN)
            continue;
        uncount(lane);
        list_remove(&connection->all_node);
        postgres_connection_close(connection);
    }
}

bool postgres_pool_is_ready(struct postgres_pool *pool, char *why, size_t why_bytes)
{
    lock(pool);
    bool is_ready = pool->total > pool->opening;
    if (!is_ready)
        snprintf(why, why_bytes, "%s", pool->error.text[0] ? pool->error.text : "no database connection yet");
    unlock(pool);
    return is_ready;
}

void postgres_pool_count(struct postgres_pool *pool, struct postgres_counts *out)
{
    lock(pool);
    unsigned idle = 0;
    for (unsigned i = 0; i < pool->lane_count; i++)
        LIST_EACH(&pool->lanes[i].idle, node)
    idle++;
    *out = (struct postgres_counts){
        .idle = idle,
        .opening = pool->opening,
        .used = pool->total - pool->opening - idle,
        .waiting = atomic_load_explicit(&pool->waiting, memory_order_relaxed),
    };
    unlock(pool);
}
