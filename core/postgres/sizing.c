/* sizing.c - measures what autosize wants to know, and puts what it says in force.
 *
 * DESIGN  Leases add to three counters; a timer of lane 0's takes them every POSTGRES_AUTOSIZE_MS and steps. The ceiling is max_size, and no more
 *         than the operator's share of the server's max_connections, which is asked for once a minute.
 *         Without autosize the limit is max_size, and nothing is measured.
 * HOLDS   Only lane 0 writes limit and kept. A connection beyond limit is set aside when it is given back (parking.c), one beyond kept is
 *         closed (pool.c).
 * Path:   postgres/pool > [postgres/sizing] > postgres/autosize
 */
#include "postgres/sizing.h"

#include "base/clock.h"
#include "base/log.h"
#include "postgres/lane.h"
#include "postgres/parking.h"

static const char question[] = "select current_setting('max_connections')::int - "
                               "current_setting('superuser_reserved_connections')::int";

void postgres_sizing_init(struct postgres_pool *pool)
{
    const struct postgres_settings *settings = pool->settings;
    struct postgres_sizing *sizing = &pool->sizing;
    unsigned first = settings->min_size ? settings->min_size : 1;
    postgres_autosize_init(&sizing->autosize, first);
    atomic_store(&sizing->limit, settings->autosize ? first : settings->max_size);
    atomic_store(&sizing->kept, postgres_sizing_limit(sizing));
}

void postgres_sizing_lease(struct postgres_pool *pool, uint64_t waited_ns)
{
    if (pool->settings->autosize)
        atomic_fetch_add_explicit(&pool->sizing.waited_ns, waited_ns, memory_order_relaxed);
}

void postgres_sizing_release(struct postgres_pool *pool, uint64_t held_ns)
{
    if (!pool->settings->autosize)
        return;
    atomic_fetch_add_explicit(&pool->sizing.held_ns, held_ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool->sizing.leases, 1, memory_order_relaxed);
}

/* --- the server's limit --------------------------------------------------------------------------------------- */

static void on_asked(struct sql_call *call)
{
    struct postgres_pool *pool = call->arg;
    struct postgres_sizing *sizing = &pool->sizing;
    sizing->is_asking = false;
    if (call->fail == FAIL_OK && call->rows->row_count == 1) {
        int64_t connections = sql_rows_cell(call->rows, 0, 0).integer;
        int64_t share = connections * pool->settings->share_percent / 100;
        sizing->share = share > 1 ? (unsigned)share : 1; /* 0 says that it is not known */
    }
    sql_rows_free(call->rows);
    call->rows = NULL;
}

static void ask(struct postgres_lane *lane, uint64_t now_ns)
{
    struct postgres_sizing *sizing = &lane->pool->sizing;
    if (sizing->is_asking ||
        (sizing->asked_ns && now_ns - sizing->asked_ns < POSTGRES_SIZING_ASK_MS * UINT64_C(1000000)))
        return;
    sizing->asked_ns = now_ns;
    sizing->is_asking = true;
    sizing->ask = (struct sql_call){ .text = str_make(question, sizeof question - 1),
                                     .timeout_ms = 5000,
                                     .read_only = true,
                                     .holder = "autosize",
                                     .on_done = on_asked,
                                     .arg = lane->pool };
    postgres_lane_adopt(lane, &sizing->ask);
    postgres_lane_submit(lane, &sizing->ask, 0);
}

/* --- a step --------------------------------------------------------------------------------------------------- */

static struct postgres_autosize_sample take_sample(struct postgres_pool *pool, uint64_t now_ns)
{
    struct postgres_sizing *sizing = &pool->sizing;
    double seconds = (double)(now_ns - sizing->stepped_ns) / 1e9;
    double held_s = (double)atomic_exchange(&sizing->held_ns, 0) / 1e9;
    sizing->stepped_ns = now_ns;
    return (struct postgres_autosize_sample){
        .seconds = seconds,
        .leases = (double)atomic_exchange(&sizing->leases, 0),
        .hold_s = held_s,
        .wait_s = (double)atomic_exchange(&sizing->waited_ns, 0) / 1e9,
        .in_use = held_s / seconds,
        .waiting = atomic_load_explicit(&pool->waiting, memory_order_relaxed),
    };
}

static void put_in_force(struct postgres_pool *pool, unsigned limit, unsigned kept)
{
    struct postgres_sizing *sizing = &pool->sizing;
    atomic_store_explicit(&sizing->limit, limit, memory_order_relaxed);
    atomic_store_explicit(&sizing->kept, kept, memory_order_relaxed);
    postgres_pool_lock(pool);
    postgres_parking_end(pool);
    postgres_pool_unlock(pool);
}

static void tell(const struct postgres_pool *pool, enum postgres_autosize_reason reason, unsigned before,
                 const struct postgres_autosize_sample *sample)
{
    if (reason == POSTGRES_SIZE_KEEP || reason == POSTGRES_SIZE_COMPARE)
        return;
    log_line(LOG_DEBUG, "the pool has another size", LOG_TEXT("pool", pool->settings->name),
             LOG_TEXT("reason", postgres_autosize_word(reason)), LOG_INT("before", before),
             LOG_INT("size", pool->sizing.autosize.size),
             LOG_INT("leases_per_s", (int64_t)(sample->leases / sample->seconds)));
}

static void step(struct postgres_pool *pool, uint64_t now_ns)
{
    struct postgres_sizing *sizing = &pool->sizing;
    const struct postgres_settings *settings = pool->settings;
    struct postgres_autosize_sample sample = take_sample(pool, now_ns);
    unsigned ceiling = settings->max_size, before = sizing->autosize.size;
    unsigned floor = settings->min_size ? settings->min_size : 1;
    if (sizing->share && sizing->share < ceiling)
        ceiling = sizing->share > floor ? sizing->share : floor;
    enum postgres_autosize_reason reason = postgres_autosize_step(&sizing->autosize, &sample, floor, ceiling);
    metric_add(pool->meter.sizings[reason], 1);
    put_in_force(pool, sizing->autosize.size, sizing->autosize.kept);
    tell(pool, reason, before, &sample);
}

static void on_interval(void *arg)
{
    struct postgres_lane *lane = arg;
    struct postgres_pool *pool = lane->pool;
    if (atomic_load_explicit(&pool->is_closing, memory_order_relaxed) || !pool->settings->autosize)
        return;
    uint64_t now_ns = clock_mono_ns();
    if (now_ns > pool->sizing.stepped_ns)
        step(pool, now_ns);
    timer_start(lane->loop, &pool->sizing.timer, POSTGRES_AUTOSIZE_MS, on_interval, lane);
}

static void start(struct postgres_lane *lane, uint64_t now_ns)
{
    struct postgres_sizing *sizing = &lane->pool->sizing;
    sizing->is_on = true;
    sizing->stepped_ns = now_ns;
    postgres_autosize_init(&sizing->autosize, postgres_sizing_limit(sizing));
    timer_start(lane->loop, &sizing->timer, POSTGRES_AUTOSIZE_MS, on_interval, lane);
}

void postgres_sizing_stop(struct postgres_lane *lane)
{
    if (lane == &lane->pool->lanes[0])
        timer_stop(&lane->pool->sizing.timer);
}

void postgres_sizing_look(struct postgres_lane *lane)
{
    struct postgres_pool *pool = lane->pool;
    struct postgres_sizing *sizing = &pool->sizing;
    if (lane != &pool->lanes[0] || atomic_load_explicit(&pool->is_closing, memory_order_relaxed))
        return;
    uint64_t now_ns = clock_mono_ns();
    if (!pool->settings->autosize) {
        put_in_force(pool, pool->settings->max_size, pool->settings->max_size);
        postgres_sizing_stop(lane);
        sizing->is_on = false;
        return;
    }
    if (!sizing->is_on) /* it was switched on */
        start(lane, now_ns);
    ask(lane, now_ns);
}
