/* l1.c - the memory cache of the process: opened, kept clear of what is over, and its work as metrics.
 *
 * HOLDS   One store for the process, so what is counted of it stands here once. It is counted until metrics_close; whoever
 *         closes it serves no metrics any more.
 * Path:   app > [l1] > cache/store
 */
#include "l1.h"

#include "loop/timer.h"
#include "metrics/metrics.h"

enum { SWEEP_MS = 100 };

static struct {
    struct cache_store *store;
    struct loop *loop; /* NULL: not swept */
    struct timer timer;
    struct metric_gauge *entries, *bytes, *limit;
    struct metric_counter *hits, *misses, *evictions;
    struct cache_stats before;
} l1;

static void collect(void *arg)
{
    (void)arg;
    struct cache_stats now;
    cache_store_stats(l1.store, &now);
    metric_set(l1.entries, (double)now.entries);
    metric_set(l1.bytes, (double)now.bytes);
    metric_set(l1.limit, (double)now.bytes_max);
    metric_add(l1.hits, now.hits + now.stale - l1.before.hits - l1.before.stale);
    metric_add(l1.misses, now.misses - l1.before.misses);
    metric_add(l1.evictions, now.evictions - l1.before.evictions);
    l1.before = now;
}

static void register_metrics(void)
{
    const char *layer = "layer=\"l1\"", *requests = "wick_cache_requests_total";
    const char *help = "Look-ups in a cache layer, by what it had.";
    l1.before = (struct cache_stats){ 0 };
    l1.entries = metric_gauge("wick_cache_entries", "Entries in a cache layer.", layer);
    l1.bytes = metric_gauge("wick_cache_size_bytes", "Bytes a cache layer uses, overhead included.", layer);
    l1.limit = metric_gauge("wick_cache_limit_bytes", "Bytes a cache layer may use.", layer);
    l1.hits = metric_counter(requests, help, "layer=\"l1\",result=\"hit\"");
    l1.misses = metric_counter(requests, help, "layer=\"l1\",result=\"miss\"");
    l1.evictions = metric_counter("wick_cache_evictions_total", "Entries removed to make room.", layer);
    metrics_on_collect(collect, NULL);
}

enum fail l1_open(size_t bytes_max, struct cache_store **out)
{
    enum fail fail = cache_store_open(bytes_max, &l1.store);
    if (fail)
        return fail;
    register_metrics();
    *out = l1.store;
    return FAIL_OK;
}

static void sweep(void *arg)
{
    (void)arg;
    cache_store_sweep(l1.store, loop_now_ms(l1.loop));
    timer_start(l1.loop, &l1.timer, SWEEP_MS, sweep, NULL);
}

void l1_keep(struct loop *loop)
{
    l1.loop = loop;
    sweep(NULL);
}

void l1_close(void)
{
    if (l1.loop)
        timer_stop(&l1.timer);
    l1.loop = NULL;
    if (l1.store)
        cache_store_close(l1.store);
    l1.store = NULL;
}
