/* store.c - L1: a table in shards, each with its own blocks, its own order of eviction and its share of the budget.
 *
 * DESIGN  A look-up takes no lock and moves nothing: it enters an epoch (epoch.h), walks one bucket, compares, holds what it found and leaves.
 *         What is expired or dropped stays in its place, a miss, until a put replaces it, the sweep comes by or room is needed: so
 *         a key in use keeps its standing with the policy across its refreshes.
 *         A put takes its block first (evicting), fills it without the lock, and then links it.
 *         Drops: one clock for the store. drop_tag and remove take the next tick and write it beside the hash of the tag
 *         (or the key); an entry carries the tick before its value was read (its mark), and is a miss once a tag of it
 *         has a later one. The test is made at each look-up, so no order of puts and drops on any thread can bring back
 *         what was dropped. Two tags on one place share their drops: that costs misses, never staleness.
 *         The clock counts microseconds since 1970 where it can, and one more than before where it must, so a mark that another
 *         process wrote beside a value in the layer below is compared with our removals like one of our own (cache/read).
 * HOLDS   The fixed tables and all blocks of all shards are within bytes_max at every step (shard.c).
 * Path:   cache/read, serve/response > [cache/store] > cache/shard
 */
#include "cache/store.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "cache/shard.h"

enum { SHARDS_MAX = 16, SHARD_BYTES_MIN = 4 << 20, STORE_BYTES_MIN = 2 << 20 };
enum { ENTRY_SHARE = 8, SWEEP_MAX = 4096, SWEEP_LAP = 64, SWEEP_STEP = 64 };

static unsigned shards_for(size_t bytes_max)
{
    unsigned count = 1;
    while (count < SHARDS_MAX && bytes_max / (count * 2) >= SHARD_BYTES_MIN)
        count *= 2;
    return count;
}

static void store_free(struct cache_store *store)
{
    for (unsigned i = 0; i < store->shard_count; i++)
        shard_close(&store->shards[i]);
    arena_close(&store->arena);
    mem_free(store->tag_ticks);
    mem_free(store);
}

static enum fail open_shards(struct cache_store *store)
{
    size_t share = (store->bytes_max - store->fixed_bytes) / store->shard_count;
    for (unsigned i = 0; i < store->shard_count; i++) {
        size_t fixed = 0;
        enum fail fail = shard_open(&store->shards[i], store, share, &fixed);
        store->fixed_bytes += fixed;
        if (fail)
            return fail;
    }
    return FAIL_OK;
}

enum fail cache_store_open(size_t bytes_max, struct cache_store **out)
{
    *out = NULL;
    if (bytes_max < STORE_BYTES_MIN)
        return FAIL_INVALID;
    unsigned shards = shards_for(bytes_max);
    size_t own_bytes = sizeof(struct cache_store) + shards * sizeof(struct cache_shard);
    struct cache_store *store = mem_zero(MEM_CACHE, own_bytes);
    if (!store)
        return FAIL_NOMEM;
    store->clock = (uint64_t)clock_wall_us();
    store->bytes_max = bytes_max;
    store->shard_count = shards;
    store->fixed_bytes = own_bytes + CACHE_TAG_SLOTS * sizeof *store->tag_ticks + arena_overhead(bytes_max);
    epoch_init(&store->epochs);
    store->tag_ticks = mem_zero(MEM_CACHE, CACHE_TAG_SLOTS * sizeof *store->tag_ticks);
    enum fail fail = store->tag_ticks ? arena_open(&store->arena, bytes_max) : FAIL_NOMEM;
    if (!fail)
        fail = open_shards(store);
    if (fail)
        store_free(store);
    else
        *out = store;
    return fail;
}

void cache_store_close(struct cache_store *store)
{
    if (store)
        store_free(store);
}

static struct cache_shard *shard_of(struct cache_store *store, uint64_t hash)
{
    return &store->shards[hash >> 60 & (store->shard_count - 1)];
}

/* --- looking up --------------------------------------------------------------------------------------------------- */

/* Written by one thread at a time, the one in the slot. */
static void count(uint64_t *counter)
{
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
}

static enum cache_found judge(const struct cache_store *store, const struct cache_entry *entry, uint64_t now_ms)
{
    if (!entry || now_ms >= entry_stale_until_ms(entry) || shard_is_dropped(store, entry))
        return CACHE_MISS;
    return now_ms < entry->fresh_until_ms ? CACHE_FRESH : CACHE_STALE;
}

/* In the epoch. The slot of a thread that holds something already takes nothing more: a reference does as well. */
static void hold(struct epoch_reader *reader, struct cache_entry *entry, struct cache_hold *out)
{
    *out = (struct cache_hold){ entry, epoch_hold(reader, entry) ? reader : NULL };
    if (!out->reader)
        __atomic_fetch_add(&entry->refs, 1, __ATOMIC_RELAXED);
}

enum cache_found cache_store_hold(struct cache_store *store, struct str key, uint64_t now_ms, struct cache_hold *out)
{
    uint64_t hash = siphash(key.data, key.len);
    struct epoch_reader *reader = epoch_enter(&store->epochs);
    struct cache_entry *entry = shard_look(shard_of(store, hash), (uint32_t)hash, key);
    enum cache_found found = judge(store, entry, now_ms);
    *out = (struct cache_hold){ NULL, NULL };
    if (entry)
        policy_hit(&entry->policy); /* wanted, even where it is out of date */
    if (found != CACHE_MISS)
        hold(reader, entry, out);
    count(found == CACHE_FRESH ? &reader->hits : found == CACHE_STALE ? &reader->stale : &reader->misses);
    epoch_leave(reader);
    return found;
}

void cache_store_let_go(struct cache_hold *hold)
{
    if (hold->reader)
        epoch_let_go(hold->reader);
    else
        cache_entry_unref(hold->entry);
    *hold = (struct cache_hold){ NULL, NULL };
}

struct cache_entry *cache_store_keep(struct cache_hold *hold)
{
    struct cache_entry *entry = hold->entry;
    if (hold->reader) {
        __atomic_fetch_add(&entry->refs, 1, __ATOMIC_RELAXED);
        epoch_let_go(hold->reader);
    }
    *hold = (struct cache_hold){ NULL, NULL };
    return entry;
}

enum cache_found cache_store_get(struct cache_store *store, struct str key, uint64_t now_ms, struct cache_entry **out)
{
    struct cache_hold hold;
    enum cache_found found = cache_store_hold(store, key, now_ms, &hold);
    *out = hold.entry ? cache_store_keep(&hold) : NULL;
    return found;
}

/* --- marks and drops ---------------------------------------------------------------------------------------------- */

/* The wall clock, but at least `step` more than before: time that is set back does not undo the order of drops. */
static uint64_t advance(struct cache_store *store, uint64_t step)
{
    uint64_t wall_us = (uint64_t)clock_wall_us(), next;
    uint64_t before = __atomic_load_n(&store->clock, __ATOMIC_ACQUIRE);
    do
        next = before + step > wall_us ? before + step : wall_us;
    while (next != before && !__atomic_compare_exchange_n(&store->clock, &before, next, /* weak= */ true,
                                                          __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    return next;
}

/* Later than every mark so far. */
static uint64_t tick(struct cache_store *store) { return advance(store, 1); }

/* Ticks may be written in another order than they were taken: the latest stays. */
static void tick_write(uint64_t *slot, uint64_t now)
{
    uint64_t before = __atomic_load_n(slot, __ATOMIC_RELAXED);
    while (before < now &&
           !__atomic_compare_exchange_n(slot, &before, now, /* weak= */ true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
}

static uint64_t *key_tick(const struct cache_shard *shard, uint64_t hash)
{
    return &shard->key_ticks[hash >> 32 & (CACHE_KEY_SLOTS - 1)];
}

/* --- putting ------------------------------------------------------------------------------------------------------ */

static struct cache_entry *take_block(struct cache_shard *shard, size_t bytes, uint64_t now_ms)
{
    struct cache_entry *entry;
    bool goes_on = true;
    do { /* a large value takes the lock several times rather than for long */
        pthread_mutex_lock(&shard->lock);
        entry = shard_take(shard, bytes, now_ms, &goes_on);
        pthread_mutex_unlock(&shard->lock);
    } while (!entry && goes_on);
    return entry;
}

enum fail cache_store_put(struct cache_store *store, const struct cache_put *put, uint64_t now_ms,
                          struct cache_entry **out)
{
    if (out)
        *out = NULL;
    uint64_t hash = siphash(put->key.data, put->key.len);
    struct cache_shard *shard = shard_of(store, hash);
    size_t bytes = entry_bytes(put);
    bool is_too_large = bytes == 0 || bytes > shard->slab.bytes_max / ENTRY_SHARE;
    struct cache_entry *entry = is_too_large ? NULL : take_block(shard, bytes, now_ms);
    if (!entry)
        return FAIL_FULL;
    bool is_marked = put->tag_mark != 0;
    uint64_t mark = is_marked ? put->tag_mark : tick(store);
    entry_fill(entry, put, (uint32_t)hash, mark, now_ms);
    pthread_mutex_lock(&shard->lock);
    enum fail fail = is_marked && (*key_tick(shard, hash) > mark || shard_is_dropped(store, entry)) ? FAIL_CANCELLED
                                                                                                    : FAIL_OK;
    if (fail) {
        shard_give(shard, entry, bytes);
    } else {
        if (!is_marked) /* a loader that began before this put must not put after it */
            tick_write(key_tick(shard, hash), mark);
        if (out)
            __atomic_store_n(&entry->refs, 1, __ATOMIC_RELAXED);
        shard_link(shard, entry, now_ms);
    }
    pthread_mutex_unlock(&shard->lock);
    if (out && !fail)
        *out = entry;
    return fail;
}

/* --- removing ----------------------------------------------------------------------------------------------------- */

bool cache_store_remove(struct cache_store *store, struct str key)
{
    uint64_t hash = siphash(key.data, key.len);
    struct cache_shard *shard = shard_of(store, hash);
    __atomic_fetch_add(&store->drops, 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&shard->lock);
    tick_write(key_tick(shard, hash), tick(store));
    uint32_t *place = shard_find(shard, (uint32_t)hash, key);
    bool was_there = *place != 0;
    if (was_there)
        shard_take_out(shard, place, /* is_remembered= */ true);
    shard_reclaim(shard);
    pthread_mutex_unlock(&shard->lock);
    return was_there;
}

void cache_store_drop_tag(struct cache_store *store, struct str tag)
{
    __atomic_fetch_add(&store->drops, 1, __ATOMIC_RELAXED);
    tick_write(&store->tag_ticks[entry_tag_hash(tag)], tick(store));
}

uint64_t cache_store_mark(struct cache_store *store) { return advance(store, 0); }

bool cache_store_is_current(struct cache_store *store, const struct cache_entry *entry)
{
    struct str key = cache_entry_key(entry);
    uint64_t hash = siphash(key.data, key.len);
    return __atomic_load_n(key_tick(shard_of(store, hash), hash), __ATOMIC_ACQUIRE) <= entry->mark &&
           !shard_is_dropped(store, entry);
}

void cache_store_purge(struct cache_store *store)
{
    __atomic_fetch_add(&store->drops, 1, __ATOMIC_RELAXED);
    tick_write(&store->purge_tick, tick(store));
}

static void sweep_bucket(struct cache_shard *shard, size_t bucket, uint64_t now_ms)
{
    for (uint32_t *place = &shard->buckets[bucket]; *place;) {
        struct cache_entry *entry = shard_entry(shard->store, *place);
        bool is_expired = now_ms >= entry_stale_until_ms(entry);
        if (!is_expired && !shard_is_dropped(shard->store, entry)) {
            place = &entry->next;
            continue;
        }
        shard->expirations += is_expired;
        shard_take_out(shard, place, /* is_remembered= */ true);
    }
}

/* What was held when it was taken out, and is not any more. */
static void reclaim_all(struct cache_store *store)
{
    for (unsigned i = 0; i < store->shard_count; i++) {
        pthread_mutex_lock(&store->shards[i].lock);
        shard_reclaim(&store->shards[i]);
        pthread_mutex_unlock(&store->shards[i].lock);
    }
}

void cache_store_sweep(struct cache_store *store, uint64_t now_ms)
{
    size_t buckets = store->shards[0].bucket_mask + 1, all = buckets * store->shard_count;
    size_t count = all / SWEEP_LAP < SWEEP_MAX ? all / SWEEP_LAP : SWEEP_MAX;
    for (size_t done = 0; done < count || done == 0; done += SWEEP_STEP) {
        size_t first = __atomic_fetch_add(&store->sweep_at, SWEEP_STEP, __ATOMIC_RELAXED) & (all - 1);
        struct cache_shard *shard = &store->shards[first / buckets];
        pthread_mutex_lock(&shard->lock);
        for (size_t i = 0; i < SWEEP_STEP; i++)
            sweep_bucket(shard, (first + i) & (buckets - 1), now_ms);
        pthread_mutex_unlock(&shard->lock);
    }
    reclaim_all(store);
}

void cache_store_stats(struct cache_store *store, struct cache_stats *out)
{
    *out = (struct cache_stats){ .bytes_max = store->bytes_max,
                                 .bytes = store->fixed_bytes,
                                 .drops = __atomic_load_n(&store->drops, __ATOMIC_RELAXED) };
    for (unsigned i = 0; i < EPOCH_READERS_MAX; i++) {
        const struct epoch_reader *reader = &store->epochs.readers[i];
        out->hits += __atomic_load_n(&reader->hits, __ATOMIC_RELAXED);
        out->stale += __atomic_load_n(&reader->stale, __ATOMIC_RELAXED);
        out->misses += __atomic_load_n(&reader->misses, __ATOMIC_RELAXED);
    }
    for (unsigned i = 0; i < store->shard_count; i++) {
        struct cache_shard *shard = &store->shards[i];
        pthread_mutex_lock(&shard->lock);
        shard_reclaim(shard);
        out->puts += shard->puts;
        out->evictions += shard->evictions;
        out->expirations += shard->expirations;
        out->entries += shard->entries;
        out->bytes += shard->slab.bytes;
        pthread_mutex_unlock(&shard->lock);
    }
}
