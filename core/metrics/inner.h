/* inner.h - what the files of core/metrics know of each other. */
#ifndef METRICS_INNER_H
#define METRICS_INNER_H

#include "base/list.h"
#include "base/map.h"
#include "metrics/metrics.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum metric_kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM };

struct family {
    struct list node;
    char *name, *help;
    enum metric_kind kind;
    enum metric_unit unit;      /* of histograms and counters */
    struct map by_labels;       /* labels -> struct series */
    struct list series;         /* in order of registration */
};
struct series {
    struct list node;
    struct family *family;
    char *labels;
    uint32_t id;                /* of its cell in every shard; SINK_ID: nobody reads it */
    _Atomic uint64_t set_bits;  /* gauges: the double of metric_set */
};
struct metric_counter { struct series series; };
struct metric_gauge { struct series series; };
struct metric_histogram { struct series series; };

enum { SINK_ID = 0, SERIES_MAX = 1 << 16 };

/* --- shard.c: each thread's own cells ------------------------------------------------------------------------- */

/* 64 steps to the doubling: the middle of a bucket is within 1/128 of every value in it. */
enum { STEP_BITS = 6, STEPS = 1 << STEP_BITS, OCTAVES = 64 - STEP_BITS + 1, BUCKETS = OCTAVES * STEPS };

struct octave { _Atomic uint64_t counts[STEPS]; };
struct histogram_cell {
    _Atomic uint64_t sum;
    _Atomic(struct octave *) octaves[OCTAVES];   /* NULL until a value falls into it */
};

enum { CHUNK_BITS = 9, CHUNK = 1 << CHUNK_BITS, CHUNKS = (SERIES_MAX >> CHUNK_BITS) };
struct number_chunk { _Atomic uint64_t cells[CHUNK]; };
struct histogram_chunk { _Atomic(struct histogram_cell *) cells[CHUNK]; };

struct shard {
    bool is_shared;             /* many threads feed it: adding takes an atomic instruction */
    bool is_taken;              /* under the lock of shard.c */
    _Atomic(struct number_chunk *) numbers[CHUNKS];
    _Atomic(struct histogram_chunk *) histograms[CHUNKS];
};

enum { SHARDS = 65 };           /* the last one is for the threads beyond 64 */
extern struct shard metrics_shards[SHARDS];

/* The cell of this thread, made where missing; NULL when metrics are closed or memory is used up. */
_Atomic uint64_t *shard_number(uint32_t id, bool *is_shared);
struct histogram_cell *shard_histogram(uint32_t id, bool *is_shared);
struct octave *shard_octave(struct histogram_cell *cell, unsigned octave);
uint64_t shard_sum(uint32_t id);                 /* of the cell over all threads */
void shards_open(void);
void shards_close(void);

static inline void cell_add(_Atomic uint64_t *cell, uint64_t n, bool is_shared)
{
    if (is_shared)
        atomic_fetch_add_explicit(cell, n, memory_order_relaxed);
    else
        atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n, memory_order_relaxed);
}

/* --- metrics.c: the register ---------------------------------------------------------------------------------- */

struct series *metrics_series(const char *name, const char *help, const char *labels, enum metric_kind kind,
                              enum metric_unit unit);
void metrics_lock(void);
void metrics_unlock(void);
struct list *metrics_families(void);             /* hold the lock */
void metrics_collect(void);                      /* runs the collectors; without the lock */

/* --- histogram.c ---------------------------------------------------------------------------------------------- */

struct histogram_view { uint64_t counts[BUCKETS]; uint64_t count, sum; };
void histogram_view(const struct metric_histogram *histogram, struct histogram_view *out);   /* all threads together */
uint64_t histogram_below(const struct histogram_view *view, uint64_t bound);  /* how many <= bound (+ up to 1.6 %) */

/* --- process.c ------------------------------------------------------------------------------------------------ */

void process_write(struct buf *out);

#endif
