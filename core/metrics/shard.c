/* shard.c - every thread counts in cells of its own, so feeding a metric waits for nobody.
 *
 * DESIGN  A shard holds the cells of all series, by id, in chunks that are made when the thread first needs them.
 *         A thread takes a free shard when it first feeds a metric and gives it back when it ends; the next thread
 *         goes on from the same numbers, so nothing is lost. Beyond 64 threads the rest share one.
 *         FREE -> TAKEN [join]   TAKEN -> FREE [leave, at the thread's end]
 * HOLDS   A cell of a shard that is not shared has one writer. Cells only go away in shards_close.
 * Path:   metrics/metrics, metrics/histogram > [metrics/shard]
 */
#include "base/mem.h"
#include "metrics/inner.h"

#include <pthread.h>

struct shard metrics_shards[SHARDS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t at_end;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_bool is_open;
static _Thread_local struct shard *mine;

static void leave(void *arg)
{
    struct shard *shard = arg;
    pthread_mutex_lock(&lock);
    shard->is_taken = false;
    pthread_mutex_unlock(&lock);
    mine = NULL;
}

static void make_key(void)
{
    metrics_shards[SHARDS - 1].is_shared = true;
    /* Without a key shards are not given back, and later threads share the last one. */
    (void)!pthread_key_create(&at_end, leave);
}

void shards_open(void)
{
    pthread_once(&once, make_key);
    atomic_store(&is_open, true);
}

static struct shard *take_free(void)
{
    for (unsigned i = 0; i < SHARDS - 1; i++) {
        if (metrics_shards[i].is_taken)
            continue;
        metrics_shards[i].is_taken = true;
        return &metrics_shards[i];
    }
    return NULL;
}

static struct shard *join(void)
{
    if (!atomic_load(&is_open))
        return NULL;
    pthread_mutex_lock(&lock);
    struct shard *shard = take_free();
    pthread_mutex_unlock(&lock);
    if (shard)
        pthread_setspecific(at_end, shard);
    else
        shard = &metrics_shards[SHARDS - 1];
    mine = shard;
    return shard;
}

/* Puts a new zeroed block into *slot, unless another thread of a shared shard was faster. */
static void *fill_slot(_Atomic(void *) *slot, size_t bytes)
{
    void *block = atomic_load(&is_open) ? mem_zero(MEM_METRICS, bytes) : NULL;
    void *there = NULL;
    if (!block || atomic_compare_exchange_strong(slot, &there, block))
        return block;
    mem_free(block);
    return there;
}
#define FILL(slot, type) ((type *)fill_slot((_Atomic(void *) *)(slot), sizeof(type)))
#define LOOK(slot) atomic_load_explicit(slot, memory_order_acquire)

_Atomic uint64_t *shard_number(uint32_t id, bool *is_shared)
{
    struct shard *shard = mine;
    if (__builtin_expect(!shard, 0) && !(shard = join()))
        return NULL;
    *is_shared = shard->is_shared;
    struct number_chunk *chunk = LOOK(&shard->numbers[id >> CHUNK_BITS]);
    if (__builtin_expect(!chunk, 0) && !(chunk = FILL(&shard->numbers[id >> CHUNK_BITS], struct number_chunk)))
        return NULL;
    return &chunk->cells[id & (CHUNK - 1)];
}

struct histogram_cell *shard_histogram(uint32_t id, bool *is_shared)
{
    struct shard *shard = mine;
    if (__builtin_expect(!shard, 0) && !(shard = join()))
        return NULL;
    *is_shared = shard->is_shared;
    struct histogram_chunk *chunk = LOOK(&shard->histograms[id >> CHUNK_BITS]);
    if (__builtin_expect(!chunk, 0) && !(chunk = FILL(&shard->histograms[id >> CHUNK_BITS], struct histogram_chunk)))
        return NULL;
    struct histogram_cell *cell = LOOK(&chunk->cells[id & (CHUNK - 1)]);
    return cell ? cell : FILL(&chunk->cells[id & (CHUNK - 1)], struct histogram_cell);
}

struct octave *shard_octave(struct histogram_cell *cell, unsigned octave)
{
    struct octave *there = LOOK(&cell->octaves[octave]);
    return there ? there : FILL(&cell->octaves[octave], struct octave);
}

uint64_t shard_sum(uint32_t id)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        struct number_chunk *chunk = LOOK(&metrics_shards[i].numbers[id >> CHUNK_BITS]);
        if (chunk)
            sum += atomic_load_explicit(&chunk->cells[id & (CHUNK - 1)], memory_order_relaxed);
    }
    return sum;
}

static void free_histograms(struct histogram_chunk *chunk)
{
    for (unsigned i = 0; i < CHUNK; i++) {
        struct histogram_cell *cell = LOOK(&chunk->cells[i]);
        if (!cell)
            continue;
        for (unsigned octave = 0; octave < OCTAVES; octave++)
            mem_free(LOOK(&cell->octaves[octave]));
        mem_free(cell);
    }
    mem_free(chunk);
}

/* Nobody feeds a metric any more. Threads keep their shards, empty. */
void shards_close(void)
{
    atomic_store(&is_open, false);
    for (unsigned i = 0; i < SHARDS; i++) {
        for (unsigned at = 0; at < CHUNKS; at++) {
            mem_free(atomic_exchange(&metrics_shards[i].numbers[at], NULL));
            struct histogram_chunk *chunk = atomic_exchange(&metrics_shards[i].histograms[at], NULL);
            if (chunk)
                free_histograms(chunk);
        }
    }
}
