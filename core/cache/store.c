/* store.c - L1: a hash table in shards, each with its own lock, its own order of eviction and its share of the budget.
 *
 * DESIGN  A look-up takes the shard's lock, compares, counts a reference and leaves; it never moves anything. What is
 *         expired or dropped stays in its place, a miss, until a put replaces it, the sweep comes by or room is needed: so
 *         a key in use keeps its standing with the policy across its refreshes.
 *         A put reserves its bytes first (evicting), copies without the lock, and then links the entry.
 *         Drops: one clock for the store. drop_tag and remove take the next tick and write it beside the hash of the tag
 *         (or the key); an entry carries the tick before its value was read (its mark), and is a miss once a tag of it
 *         has a later one. The test is made at each look-up, so no order of puts and drops on any thread can bring back
 *         what was dropped. Two tags on one place share their drops: that costs misses, never staleness.
 *         The clock counts microseconds since 1970 where it can, and one more than before where it must, so a mark that another
 *         process wrote beside a value in the layer below is compared with our removals like one of our own (cache/read).
 * HOLDS   for each shard: live_bytes + reserved_bytes + limbo_bytes <= bytes_max, at every step, and what the heap holds
 *         for it is never more than that: who takes an entry out frees it before the lock is given back. The fixed tables
 *         are taken off the budget first.
 *         An entry of the table has refs >= 1 (the table's). The store goes when it is closed and its limbo is empty.
 * Path:   cache/read, serve/response > [cache/store] > cache/entry, cache/policy
 */
#include "cache/store.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "cache/entry.h"

#include <pthread.h>

enum { SHARDS_MAX = 16, SHARD_BYTES_MIN = 1 << 20, TAG_SLOTS = 65536, KEY_SLOTS = 4096, BYTES_PER_BUCKET = 256 };
enum { ENTRY_SHARE = 8, EVICTED_AT_ONCE = 32, SWEEP_MAX = 4096, SWEEP_LAP = 64, SWEEP_STEP = 64 };

struct cache_shard {
    pthread_mutex_t lock;
    struct entry_links **buckets;
    size_t bucket_mask, bytes_max;
    size_t live_bytes, reserved_bytes, entries;
    size_t limbo_bytes; /* atomic: readers give them back without the lock */
    struct policy policy;
    uint64_t *key_ticks; /* atomic each: the last removal, or put of unknown age, of a key with this hash */
    uint64_t hits, misses, stale, puts, evictions, expirations;
    struct cache_store *store;
    char apart[64]; /* no two shards on one cache line */
};

struct cache_store {
    uint64_t clock; /* atomic: moves on at every drop, remove and purge, and is never behind the wall clock at a mark */
    uint64_t purge_tick; /* atomic */
    uint64_t drops;      /* atomic */
    size_t sweep_at;     /* atomic: the next bucket, counted through all shards */
    size_t holders;      /* atomic: one while open, and one for each entry in limbo */
    size_t bytes_max, fixed_bytes;
    uint64_t *tag_ticks; /* atomic each: the last drop of a tag with this hash */
    unsigned shard_count;
    struct cache_shard shards[];
};

static unsigned shards_for(size_t bytes_max)
{
    unsigned count = 1;
    while (count < SHARDS_MAX && bytes_max / (count * 2) >= SHARD_BYTES_MIN)
        count *= 2;
    return count;
}

static size_t buckets_for(size_t bytes_max)
{
    size_t count = 64;
    while (count * 2 <= bytes_max / BYTES_PER_BUCKET)
        count *= 2;
    return count;
}

static enum fail shard_open(struct cache_shard *shard, struct cache_store *store, size_t bytes_max)
{
    size_t buckets = buckets_for(bytes_max);
    size_t fixed = buckets * sizeof *shard->buckets + KEY_SLOTS * sizeof *shard->key_ticks + policy_overhead(bytes_max);
    if (fixed >= bytes_max)
        return FAIL_INVALID;
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP); /* spins a little before it sleeps */
    pthread_mutex_init(&shard->lock, &kind);
    pthread_mutexattr_destroy(&kind);
    shard->store = store;
    shard->bytes_max = bytes_max - fixed;
    shard->bucket_mask = buckets - 1;
    shard->buckets = mem_zero(MEM_CACHE, buckets * sizeof *shard->buckets);
    shard->key_ticks = mem_zero(MEM_CACHE, KEY_SLOTS * sizeof *shard->key_ticks);
    store->fixed_bytes += fixed;
    if (!shard->buckets || !shard->key_ticks)
        return FAIL_NOMEM;
    return policy_open(&shard->policy, shard->bytes_max);
}

static void store_free(struct cache_store *store)
{
    for (unsigned i = 0; i < store->shard_count; i++) {
        struct cache_shard *shard = &store->shards[i];
        if (shard->store)
            pthread_mutex_destroy(&shard->lock);
        policy_close(&shard->policy);
        mem_free(shard->key_ticks);
        mem_free(shard->buckets);
    }
    mem_free(store->tag_ticks);
    mem_free(store);
}

static void store_leave(struct cache_store *store)
{
    if (__atomic_fetch_sub(&store->holders, 1, __ATOMIC_ACQ_REL) == 1)
        store_free(store);
}

enum fail cache_store_open(size_t bytes_max, struct cache_store **out)
{
    *out = NULL;
    if (bytes_max < 2 * SHARD_BYTES_MIN)
        return FAIL_INVALID;
    unsigned shards = shards_for(bytes_max);
    size_t own_bytes = sizeof(struct cache_store) + shards * sizeof(struct cache_shard);
    struct cache_store *store = mem_zero(MEM_CACHE, own_bytes);
    if (!store)
        return FAIL_NOMEM;
    store->clock = (uint64_t)clock_wall_us();
    store->holders = 1;
    store->bytes_max = bytes_max;
    store->shard_count = shards;
    store->fixed_bytes = own_bytes + TAG_SLOTS * sizeof *store->tag_ticks;
    enum fail fail = FAIL_NOMEM;
    store->tag_ticks = mem_zero(MEM_CACHE, TAG_SLOTS * sizeof *store->tag_ticks);
    if (!store->tag_ticks)
        goto fail;
    size_t share = (bytes_max - store->fixed_bytes) / shards;
    for (unsigned i = 0; i < shards; i++) {
        fail = shard_open(&store->shards[i], store, share);
        if (fail)
            goto fail;
    }
    *out = store;
    return FAIL_OK;
fail:
    store_free(store);
    return fail;
}

void cache_shard_forget(struct cache_shard *shard, size_t bytes)
{
    __atomic_fetch_sub(&shard->limbo_bytes, bytes, __ATOMIC_RELEASE);
    store_leave(shard->store);
}

static struct cache_shard *shard_of(struct cache_store *store, uint64_t hash)
{
    return &store->shards[hash >> 60 & (store->shard_count - 1)];
}

/* The place that points to the key's entry, or to NULL at the end of its bucket. */
static struct entry_links **find(const struct cache_shard *shard, uint32_t hash, struct str key)
{
    struct entry_links **at = &shard->buckets[hash & shard->bucket_mask];
    for (; *at; at = &(*at)->next)
        if ((*at)->policy.hash == hash && str_is(cache_entry_key(entry_of(*at)), key))
            break;
    return at;
}

static bool is_dropped(const struct cache_store *store, const struct entry_links *links)
{
    if (links->mark < __atomic_load_n(&store->purge_tick, __ATOMIC_ACQUIRE))
        return true;
    for (unsigned i = 0; i < links->tag_count; i++)
        if (__atomic_load_n(&store->tag_ticks[links->tags[i]], __ATOMIC_ACQUIRE) > links->mark)
            return true;
    return false;
}

enum cache_found cache_store_get(struct cache_store *store, struct str key, uint64_t now_ms, struct cache_entry **out)
{
    uint64_t hash = siphash(key.data, key.len);
    struct cache_shard *shard = shard_of(store, hash);
    enum cache_found found = CACHE_MISS;
    *out = NULL;
    pthread_mutex_lock(&shard->lock);
    struct entry_links *links = *find(shard, (uint32_t)hash, key);
    struct cache_entry *entry = links ? entry_of(links) : NULL;
    if (entry)
        policy_hit(&links->policy); /* wanted, even where it is out of date */
    if (entry && now_ms < entry->stale_until_ms && !is_dropped(store, links)) {
        found = now_ms < entry->fresh_until_ms ? CACHE_FRESH : CACHE_STALE;
        *out = cache_entry_ref(entry);
    }
    shard->hits += found == CACHE_FRESH;
    shard->stale += found == CACHE_STALE;
    shard->misses += found == CACHE_MISS;
    pthread_mutex_unlock(&shard->lock);
    return found;
}

/* The entry has left table and queue: it is freed, or in limbo while readers hold it. */
static void let_go(struct cache_shard *shard, struct entry_links *links)
{
    struct cache_entry *entry = entry_of(links);
    shard->live_bytes -= links->policy.bytes;
    shard->entries--;
    /* New references come only under this lock or from who holds one: a count of 1 is ours alone, and stays so. */
    if (__atomic_load_n(&entry->refs, __ATOMIC_ACQUIRE) > 1) {
        links->limbo = shard;
        links->place = ENTRY_LIMBO;
        __atomic_fetch_add(&shard->limbo_bytes, links->policy.bytes, __ATOMIC_RELAXED);
        __atomic_fetch_add(&shard->store->holders, 1, __ATOMIC_RELAXED);
    }
    cache_entry_unref(entry);
}

static void take_out(struct cache_shard *shard, struct entry_links **at, bool is_remembered)
{
    struct entry_links *links = *at;
    *at = links->next;
    policy_remove(&shard->policy, &links->policy, is_remembered);
    let_go(shard, links);
}

struct judging {
    const struct cache_store *store;
    uint64_t now_ms;
};

static enum policy_word judge(const struct policy_node *node, void *arg)
{
    const struct judging *judging = arg;
    const struct entry_links *links = LIST_ENTRY(node, struct entry_links, policy);
    const struct cache_entry *entry = entry_of(links);
    if (__atomic_load_n(&entry->refs, __ATOMIC_RELAXED) > 1)
        return POLICY_STAYS; /* its memory would not come free now */
    bool is_useless = judging->now_ms >= entry->stale_until_ms || is_dropped(judging->store, links);
    return is_useless ? POLICY_GOES : POLICY_DECIDES;
}

/* False when the policy has nothing to give. */
static bool evict(struct cache_shard *shard, uint64_t now_ms)
{
    struct judging judging = { shard->store, now_ms };
    struct policy_node *node = policy_take(&shard->policy, judge, &judging);
    if (!node)
        return false;
    struct entry_links *links = LIST_ENTRY(node, struct entry_links, policy);
    struct entry_links **at = &shard->buckets[node->hash & shard->bucket_mask];
    while (*at != links)
        at = &(*at)->next;
    *at = links->next;
    shard->evictions++;
    let_go(shard, links);
    return true;
}

static size_t room_in(const struct cache_shard *shard)
{
    return shard->bytes_max - shard->live_bytes - shard->reserved_bytes -
           __atomic_load_n(&shard->limbo_bytes, __ATOMIC_ACQUIRE);
}

/* Makes room and sets it aside; a large value takes the lock several times rather than for long. */
static bool reserve(struct cache_shard *shard, size_t bytes, uint64_t now_ms)
{
    bool has_room, gives_more = true;
    do {
        pthread_mutex_lock(&shard->lock);
        for (unsigned i = 0; i < EVICTED_AT_ONCE && gives_more && room_in(shard) < bytes; i++)
            gives_more = evict(shard, now_ms);
        has_room = room_in(shard) >= bytes;
        if (has_room)
            shard->reserved_bytes += bytes;
        pthread_mutex_unlock(&shard->lock);
    } while (!has_room && gives_more);
    return has_room;
}

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
    return &shard->key_ticks[hash >> 32 & (KEY_SLOTS - 1)];
}

static void link_entry(struct cache_shard *shard, struct cache_entry *entry, uint64_t now_ms)
{
    struct entry_links *links = entry_links(entry);
    struct entry_links **at = find(shard, links->policy.hash, cache_entry_key(entry)), *old = *at;
    links->next = old ? old->next : NULL;
    *at = links;
    shard->live_bytes += links->policy.bytes;
    shard->entries++;
    shard->puts++;
    if (!old) {
        policy_insert(&shard->policy, &links->policy);
        return;
    }
    shard->expirations += now_ms >= entry_of(old)->stale_until_ms;
    policy_replace(&shard->policy, &old->policy, &links->policy);
    let_go(shard, old);
}

enum fail cache_store_put(struct cache_store *store, const struct cache_put *put, uint64_t now_ms,
                          struct cache_entry **out)
{
    if (out)
        *out = NULL;
    uint64_t hash = siphash(put->key.data, put->key.len);
    struct cache_shard *shard = shard_of(store, hash);
    size_t bytes = entry_bytes(put);
    if (bytes == 0 || bytes > shard->bytes_max / ENTRY_SHARE || !reserve(shard, bytes, now_ms))
        return FAIL_FULL;
    bool is_marked = put->tag_mark != 0;
    uint64_t mark = is_marked ? put->tag_mark : tick(store);
    struct cache_entry *entry = entry_make(put, (uint32_t)hash, mark, now_ms);
    enum fail fail = entry ? FAIL_OK : FAIL_NOMEM;
    pthread_mutex_lock(&shard->lock);
    shard->reserved_bytes -= bytes;
    if (entry && is_marked && (*key_tick(shard, hash) > mark || is_dropped(store, entry_links(entry)))) {
        mem_free(entry);
        fail = FAIL_CANCELLED;
    }
    if (!fail) {
        if (!is_marked) /* a loader that began before this put must not put after it */
            tick_write(key_tick(shard, hash), mark);
        link_entry(shard, entry, now_ms);
        if (out)
            *out = cache_entry_ref(entry);
    }
    pthread_mutex_unlock(&shard->lock);
    return fail;
}

bool cache_store_remove(struct cache_store *store, struct str key)
{
    uint64_t hash = siphash(key.data, key.len);
    struct cache_shard *shard = shard_of(store, hash);
    __atomic_fetch_add(&store->drops, 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&shard->lock);
    tick_write(key_tick(shard, hash), tick(store));
    struct entry_links **at = find(shard, (uint32_t)hash, key);
    bool was_there = *at != NULL;
    if (was_there)
        take_out(shard, at, /* is_remembered= */ true);
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
    const struct entry_links *links = entry_links(entry);
    return __atomic_load_n(key_tick(shard_of(store, hash), hash), __ATOMIC_ACQUIRE) <= links->mark &&
           !is_dropped(store, links);
}

void cache_store_purge(struct cache_store *store)
{
    __atomic_fetch_add(&store->drops, 1, __ATOMIC_RELAXED);
    tick_write(&store->purge_tick, tick(store));
}

static void sweep_bucket(struct cache_shard *shard, size_t bucket, uint64_t now_ms)
{
    struct entry_links **at = &shard->buckets[bucket];
    while (*at) {
        bool is_expired = now_ms >= entry_of(*at)->stale_until_ms;
        if (!is_expired && !is_dropped(shard->store, *at)) {
            at = &(*at)->next;
            continue;
        }
        shard->expirations += is_expired;
        take_out(shard, at, /* is_remembered= */ true);
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
}

void cache_store_stats(struct cache_store *store, struct cache_stats *out)
{
    *out = (struct cache_stats){ .bytes_max = store->bytes_max,
                                 .bytes = store->fixed_bytes,
                                 .drops = __atomic_load_n(&store->drops, __ATOMIC_RELAXED) };
    for (unsigned i = 0; i < store->shard_count; i++) {
        struct cache_shard *shard = &store->shards[i];
        pthread_mutex_lock(&shard->lock);
        out->hits += shard->hits;
        out->misses += shard->misses;
        out->stale += shard->stale;
        out->puts += shard->puts;
        out->evictions += shard->evictions;
        out->expirations += shard->expirations;
        out->entries += shard->entries;
        out->bytes += shard->bytes_max - room_in(shard);
        pthread_mutex_unlock(&shard->lock);
    }
}

void cache_store_close(struct cache_store *store)
{
    if (!store)
        return;
    for (unsigned i = 0; i < store->shard_count; i++) {
        struct cache_shard *shard = &store->shards[i];
        pthread_mutex_lock(&shard->lock);
        for (size_t bucket = 0; bucket <= shard->bucket_mask; bucket++)
            while (shard->buckets[bucket])
                take_out(shard, &shard->buckets[bucket], /* is_remembered= */ false);
        pthread_mutex_unlock(&shard->lock);
    }
    store_leave(store);
}
