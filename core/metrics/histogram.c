/* histogram.c - distributions kept in log-linear buckets: any quantile later, within 1 %, from a few adds now.
 *
 * DESIGN  Values below 64 have a bucket each; above, every doubling (octave) is cut into 64 equal steps, as
 *         HdrHistogram does (Gil Tene). A quantile is the middle of its bucket: off by 1/128 of the value at most.
 *         An octave costs 512 bytes, and only once a thread has seen a value in it; a histogram that nobody feeds
 *         costs nothing.
 * HOLDS   The count is the sum of the buckets, so a reader never sees the two differ.
 * Path:   everyone > [metrics/histogram] > metrics/shard
 */
#include "metrics/inner.h"

#include <assert.h>

struct metric_histogram *metric_histogram(const char *name, const char *help, const char *labels, enum metric_unit unit)
{
    return (struct metric_histogram *)metrics_series(name, help, labels, KIND_HISTOGRAM, unit);
}

/* Octave 0 holds 0..63, octave k holds 2^(k+5)..2^(k+6)-1. */
static inline unsigned octave_of(uint64_t value)
{
    return value < STEPS ? 0 : 63u - (unsigned)__builtin_clzll(value) - STEP_BITS + 1;
}

static inline unsigned step_of(uint64_t value, unsigned octave)
{
    return (unsigned)(octave ? value >> (octave - 1) : value) & (STEPS - 1);
}

static unsigned bucket_of(uint64_t value)
{
    unsigned octave = octave_of(value);
    return octave * STEPS + step_of(value, octave);
}

static uint64_t bucket_middle(unsigned bucket)
{
    unsigned octave = bucket / STEPS;
    uint64_t step = bucket % STEPS;
    if (octave == 0)
        return step;
    uint64_t width = UINT64_C(1) << (octave - 1);
    return (STEPS + step) * width + width / 2;
}

void metric_observe(struct metric_histogram *histogram, uint64_t value)
{
    if (histogram->series.id == SINK_ID)
        return;
    bool is_shared;
    struct histogram_cell *cell = shard_histogram(histogram->series.id, &is_shared);
    if (!cell)
        return;
    unsigned number = octave_of(value);
    struct octave *octave = shard_octave(cell, number);
    if (!octave)
        return;
    cell_add(&octave->counts[step_of(value, number)], 1, is_shared);
    cell_add(&cell->sum, value, is_shared);
}

static void add_cell(struct histogram_view *view, struct histogram_cell *cell)
{
    view->sum += atomic_load_explicit(&cell->sum, memory_order_relaxed);
    for (unsigned at = 0; at < OCTAVES; at++) {
        struct octave *octave = atomic_load_explicit(&cell->octaves[at], memory_order_acquire);
        if (!octave)
            continue;
        for (unsigned step = 0; step < STEPS; step++) {
            uint64_t count = atomic_load_explicit(&octave->counts[step], memory_order_relaxed);
            view->counts[at * STEPS + step] += count;
            view->count += count;
        }
    }
}

void histogram_view(const struct metric_histogram *histogram, struct histogram_view *out)
{
    memset(out, 0, sizeof *out);
    uint32_t id = histogram->series.id;
    for (unsigned i = 0; i < SHARDS && id != SINK_ID; i++) {
        struct histogram_chunk *chunk = atomic_load_explicit(&metrics_shards[i].histograms[id >> CHUNK_BITS],
                                                             memory_order_acquire);
        struct histogram_cell *cell = chunk
                                          ? atomic_load_explicit(&chunk->cells[id & (CHUNK - 1)], memory_order_acquire)
                                          : NULL;
        if (cell)
            add_cell(out, cell);
    }
}

uint64_t histogram_below(const struct histogram_view *view, uint64_t bound)
{
    uint64_t count = 0;
    unsigned last = bucket_of(bound);
    for (unsigned bucket = 0; bucket <= last; bucket++)
        count += view->counts[bucket];
    return count;
}

uint64_t metric_quantile(const struct metric_histogram *histogram, double q)
{
    assert(q >= 0 && q <= 1);
    struct histogram_view view;
    histogram_view(histogram, &view);
    if (!view.count)
        return 0;
    /* Nearest rank: the smallest value with at least q of all values at or below it. */
    double exact = q * (double)view.count;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact || rank == 0)
        rank++;
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        seen += view.counts[bucket];
        if (seen >= rank)
            return bucket_middle(bucket);
    }
    return bucket_middle(BUCKETS - 1);
}

uint64_t metric_count(const struct metric_histogram *histogram)
{
    struct histogram_view view;
    histogram_view(histogram, &view);
    return view.count;
}
