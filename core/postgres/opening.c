/* opening.c - opens connections in the background: how many, how fast, and what when it fails.
 *
 * DESIGN  Up to min_size, spread over the lanes; beyond that for waiting calls, one at a time as long as the queue moves faster than a
 *         connection opens: a short spike is over before a second one would be of use. Once a call has waited for longer than opening
 *         takes (open_ns), or nothing is open, one for each waiting call, at most opening_max at a time (1 after a failure, doubling
 *         with each success, up to connecting_limit). A call that gives up never ends an attempt: the connection serves the next one,
 *         or becomes idle. After failures_max failures in a row the breaker lets one attempt through every open_ms .. open_ms_max; a
 *         wrong user, password or database stops attempts for POSTGRES_CONFIG_HOLD_MS, or until the settings are applied again. Only
 *         failed attempts count, never lost connections, nor a log-in that a 57P01 ended.
 * HOLDS   Each attempt is counted in total, opening and homes from may_open on.
 * Path:   postgres/pool > [postgres/opening] > postgres/connection
 */
#include "postgres/opening.h"

#include "base/clock.h"
#include "base/log.h"
#include "postgres/lane.h"
#include "postgres/queue.h"
#include "postgres/renewal.h"

static const struct breaker_limits breaker_limits = { .failures_max = 3, .open_ms = 250, .open_ms_max = 1000 };

void postgres_opening_init(struct postgres_pool *pool)
{
    pool->opening_max = pool->settings->connecting_limit;
    breaker_init(&pool->breaker, breaker_limits);
}

/* --- no hope -------------------------------------------------------------------------------------------------- */

bool postgres_opening_is_hopeless(struct postgres_pool *pool, uint64_t now_ms)
{
    return pool->total == pool->opening && (breaker_is_open(&pool->breaker, now_ms) || now_ms < pool->hold_until_ms);
}

enum breaker_state postgres_opening_breaker(const struct postgres_pool *pool, uint64_t now_ms)
{
    if (now_ms < pool->hold_until_ms)
        return BREAKER_OPEN;
    bool is_time_over = pool->breaker.state == BREAKER_OPEN && !breaker_is_open(&pool->breaker, now_ms);
    return is_time_over ? BREAKER_HALF : pool->breaker.state;
}

uint64_t postgres_opening_retry_ms(const struct postgres_pool *pool, uint64_t now_ms)
{
    uint64_t hold_ms = now_ms < pool->hold_until_ms ? pool->hold_until_ms - now_ms : 0;
    uint64_t open_ms = breaker_is_open(&pool->breaker, now_ms) ? breaker_retry_ms(&pool->breaker, now_ms) : 0;
    return hold_ms > open_ms ? hold_ms : open_ms;
}

void postgres_opening_end_waits(struct postgres_lane *lane)
{
    struct postgres_pool *pool = lane->pool;
    for (;;) {
        postgres_pool_lock(pool);
        struct sql_call *call = postgres_opening_is_hopeless(pool, loop_now_ms(lane->loop))
                                    ? postgres_queue_oldest(lane)
                                    : NULL;
        if (call) {
            postgres_queue_pop(lane, call, POSTGRES_CALL_RUNNING);
            call->error = pool->error;
        }
        postgres_pool_unlock(pool);
        if (!call)
            return;
        metric_add(pool->meter.refused, 1);
        postgres_lane_finish(lane, call, FAIL_REFUSED);
    }
}

/* --- opening -------------------------------------------------------------------------------------------------- */

static void learn_pace(struct postgres_pool *pool, uint64_t took_ns)
{
    pool->open_ns = pool->open_ns ? pool->open_ns - pool->open_ns / 4 + took_ns / 4 : took_ns;
}

static void on_opened(struct postgres_lane *lane, struct postgres_connection *connection)
{
    struct postgres_pool *pool = lane->pool;
    uint64_t now_ms = loop_now_ms(lane->loop), took_ns = clock_mono_ns() - connection->started_ns;
    metric_observe(pool->meter.create, took_ns);
    postgres_renewal_start(connection, now_ms);
    postgres_pool_lock(pool);
    bool is_return = pool->error.sqlstate[0] != '\0';
    connection->place = POSTGRES_LEASED;
    pool->opening--;
    learn_pace(pool, took_ns);
    unsigned limit = pool->settings->connecting_limit;
    pool->opening_max = pool->opening_max * 2 > limit ? limit : pool->opening_max * 2;
    breaker_worked(&pool->breaker, now_ms);
    pool->hold_until_ms = 0;
    sql_error_clear(&pool->error);
    postgres_pool_unlock(pool);
    if (is_return)
        log_line(LOG_INFO, "database answers again", LOG_TEXT("pool", pool->settings->name));
    if (postgres_connection_is_alive(connection))
        postgres_pool_release(connection);
    else
        postgres_pool_drop(connection, POSTGRES_END_LOST);
    postgres_opening_fill(lane);
}

static void uncount(struct postgres_lane *lane)
{
    postgres_pool_lock(lane->pool);
    lane->pool->total--;
    lane->pool->opening--;
    lane->homes--;
    postgres_pool_unlock(lane->pool);
}

static bool is_configuration(const struct sql_error *error)
{
    return sql_error_is(error, "28") || sql_error_is(error, "3D");
}

void postgres_opening_note_end(struct postgres_pool *pool)
{
    if (!sql_error_is(&pool->error, "53300"))
        return;
    breaker_init(&pool->breaker, pool->breaker.limits);
    sql_error_clear(&pool->error);
}

/* A back end that was told to end while it was being greeted: that is no refusal, but the next attempt is left to upkeep, for it may
 * well end the same way. */
static void on_ended(struct postgres_lane *lane, struct postgres_connection *connection)
{
    uncount(lane);
    postgres_pool_lock(lane->pool);
    lane->pool->opening_max = 1;
    postgres_pool_unlock(lane->pool);
    (void)postgres_meter_closed(&lane->pool->meter, POSTGRES_END_LOST);
    list_remove(&connection->all_node);
    postgres_connection_close(connection);
}

static void on_refused(struct postgres_lane *lane, struct postgres_connection *connection)
{
    struct postgres_pool *pool = lane->pool;
    uint64_t now_ms = loop_now_ms(lane->loop);
    postgres_pool_lock(pool);
    bool is_news = strcmp(pool->error.sqlstate, connection->error.sqlstate) != 0;
    pool->total--;
    pool->opening--;
    lane->homes--;
    pool->opening_max = 1;
    pool->error = connection->error;
    breaker_failed(&pool->breaker, now_ms);
    if (is_configuration(&pool->error))
        pool->hold_until_ms = now_ms + POSTGRES_CONFIG_HOLD_MS;
    postgres_queue_kick(pool, lane);
    postgres_pool_unlock(pool);
    metric_add(pool->meter.failed_to_open, 1);
    log_line(is_news ? LOG_WARN : LOG_DEBUG, "no database connection", LOG_TEXT("pool", pool->settings->name),
             LOG_TEXT("sqlstate", connection->error.sqlstate), LOG_TEXT("why", connection->error.text));
    list_remove(&connection->all_node);
    postgres_connection_close(connection);
}

static void on_open(struct postgres_connection *connection, bool is_open)
{
    struct postgres_lane *lane = connection->on_open_arg;
    if (is_open) {
        on_opened(lane, connection);
        return;
    }
    if (sql_error_is(&connection->error, "57P01")) {
        on_ended(lane, connection);
        return;
    }
    on_refused(lane, connection);
    postgres_opening_end_waits(lane);
    postgres_opening_fill(lane);
}

/* Would one more still help those who wait on this lane? */
static bool is_wanted(const struct postgres_lane *lane)
{
    const struct postgres_pool *pool = lane->pool;
    const struct sql_call *oldest = postgres_queue_oldest(lane);
    if (!oldest || pool->opening >= atomic_load_explicit(&pool->waiting, memory_order_relaxed))
        return false;
    return pool->opening == 0 || pool->opening == pool->total || clock_mono_ns() - oldest->queued_ns >= pool->open_ns;
}

static bool has_room(const struct postgres_pool *pool, uint64_t now_ms)
{
    return pool->total - pool->parked < postgres_sizing_limit(&pool->sizing) &&
           pool->total < postgres_sizing_kept(&pool->sizing) && pool->opening < pool->opening_max &&
           now_ms >= pool->hold_until_ms && !atomic_load_explicit(&pool->is_closing, memory_order_relaxed);
}

static bool is_below_min(const struct postgres_lane *lane)
{
    const struct postgres_pool *pool = lane->pool;
    return pool->total < pool->settings->min_size && lane->homes * pool->lane_count <= pool->total;
}

/* One more for this lane? If so it is counted already. */
static bool may_open(struct postgres_lane *lane, bool for_renewal)
{
    struct postgres_pool *pool = lane->pool;
    uint64_t now_ms = loop_now_ms(lane->loop);
    bool is_needed = for_renewal ? pool->opening == 0 : is_wanted(lane) || is_below_min(lane);
    if (!is_needed || !has_room(pool, now_ms) || !breaker_allows(&pool->breaker, now_ms))
        return false;
    pool->total++;
    pool->opening++;
    lane->homes++;
    return true;
}

/* False: none is opened, for now. */
static bool open_one(struct postgres_lane *lane, bool for_renewal)
{
    struct postgres_pool *pool = lane->pool;
    postgres_pool_lock(pool);
    bool opens = may_open(lane, for_renewal);
    postgres_pool_unlock(pool);
    if (!opens)
        return false;
    struct postgres_connection *connection;
    enum fail fail = postgres_connection_open(lane->loop, pool->settings, pool->settings->application_name, on_open,
                                              lane, &connection);
    if (fail) { /* no memory, or no work thread for its name: upkeep tries again */
        uncount(lane);
        return false;
    }
    connection->lane = lane;
    connection->started_ns = clock_mono_ns();
    connection->prepared.plans = &pool->plans;
    connection->place = POSTGRES_OPENING;
    connection->user = &postgres_lane_user;
    list_push_back(&lane->all, &connection->all_node);
    return true;
}

void postgres_opening_fill(struct postgres_lane *lane)
{
    while (open_one(lane, /* for_renewal= */ false))
        continue;
}

bool postgres_opening_one(struct postgres_lane *lane) { return open_one(lane, /* for_renewal= */ true); }

static bool is_opening(struct postgres_connection *connection)
{
    postgres_pool_lock(connection->lane->pool);
    bool is = connection->place == POSTGRES_OPENING;
    postgres_pool_unlock(connection->lane->pool);
    return is;
}

/* One that is lost may still have a walk to another loop before it, which closes it. */
void postgres_opening_end(struct postgres_lane *lane)
{
    LIST_EACH_SAFE(&lane->all, node, after)
    {
        struct postgres_connection *connection = LIST_ENTRY(node, struct postgres_connection, all_node);
        if (!is_opening(connection))
            continue;
        uncount(lane);
        list_remove(&connection->all_node);
        postgres_connection_close(connection);
    }
}
