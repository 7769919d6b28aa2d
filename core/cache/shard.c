/* shard.c - a hash table whose readers take no lock, over blocks that are used again when no reader can see them.
 *
 * DESIGN  An entry's block goes
 *           free -> making [shard_take]     making -> kept [shard_link]     making -> free [shard_give]
 *           kept -> fresh [taken out of the table: evicted, replaced, removed, expired]
 *           fresh -> waiting [all of them, when none waits: an epoch is ended]
 *           waiting -> free [the epoch is over, nobody holds it]                       waiting -> held -> free [when its last holder let go]
 *         Links change with one atomic store each; an entry that is out keeps its `next`, so who stands on it finds the way on.
 *         Room for a block is made by the policy's victims. Where a victim's block is of another size and so helps nobody yet, the
 *         emptiest page is cleared if it is no more than a quarter full. So no size starves another, and nearly all that goes the
 *         policy has chosen: who clears fuller pages takes what is in use with what is not.
 * HOLDS   What all blocks take is within slab.bytes_max at every step, limbo included. Where readers keep what was taken out, a put
 *         fails rather than that more goes: none evicts while limbo_bytes is above a sixteenth of the budget and the block it wants.
 * Path:   cache/store > [cache/shard] > cache/slab, cache/policy, cache/epoch
 */
#include "cache/shard.h"

#include "base/mem.h"

#include <assert.h>

enum { BYTES_PER_BUCKET = 256, EVICTED_AT_ONCE = 32, HELD_LOOKED_AT = 16, LIMBO_SHARE = 16 };

static size_t buckets_for(size_t bytes_max)
{
    size_t count = 64;
    while (count * 2 <= bytes_max / BYTES_PER_BUCKET)
        count *= 2;
    return count;
}

static size_t weigh(const struct policy_node *node) { return slab_weight(entry_size(entry_of(node))); }

enum fail shard_open(struct cache_shard *shard, struct cache_store *store, size_t bytes_max, size_t *fixed)
{
    size_t buckets = buckets_for(bytes_max);
    *fixed = buckets * sizeof *shard->buckets + CACHE_KEY_SLOTS * sizeof *shard->key_ticks + policy_overhead(bytes_max);
    if (*fixed >= bytes_max)
        return FAIL_INVALID;
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP); /* spins a little before it sleeps */
    pthread_mutex_init(&shard->lock, &kind);
    pthread_mutexattr_destroy(&kind);
    shard->store = store;
    shard->bucket_mask = buckets - 1;
    slab_init(&shard->slab, &store->arena, bytes_max - *fixed);
    shard->buckets = mem_zero(MEM_CACHE, buckets * sizeof *shard->buckets);
    shard->key_ticks = mem_zero(MEM_CACHE, CACHE_KEY_SLOTS * sizeof *shard->key_ticks);
    if (!shard->buckets || !shard->key_ticks)
        return FAIL_NOMEM;
    return policy_open(&shard->policy, store->arena.base, weigh, shard->slab.bytes_max);
}

void shard_close(struct cache_shard *shard)
{
    if (!shard->store)
        return;
    pthread_mutex_lock(&shard->lock);
    for (size_t bucket = 0; shard->buckets && bucket <= shard->bucket_mask; bucket++)
        while (shard->buckets[bucket])
            shard_take_out(shard, &shard->buckets[bucket], /* is_remembered= */ false);
    for (size_t before = 0; shard->limbo_bytes > 0 && shard->limbo_bytes != before;) {
        before = shard->limbo_bytes;
        shard_reclaim(shard);
    }
    assert(shard->limbo_bytes == 0 && shard->slab.bytes == 0); /* else somebody holds a reference */
    pthread_mutex_unlock(&shard->lock);
    pthread_mutex_destroy(&shard->lock);
    policy_close(&shard->policy);
    mem_free(shard->key_ticks);
    mem_free(shard->buckets);
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

/* In one order with the coming and going of readers (epoch.c). */
static uint32_t load(const uint32_t *place) { return __atomic_load_n(place, __ATOMIC_SEQ_CST); }
static void store(uint32_t *place, uint32_t handle) { __atomic_store_n(place, handle, __ATOMIC_SEQ_CST); }

static bool is_it(const struct cache_entry *entry, uint32_t hash, struct str key)
{
    return entry->policy.hash == hash && str_is(cache_entry_key(entry), key);
}

struct cache_entry *shard_look(struct cache_shard *shard, uint32_t hash, struct str key)
{
    for (uint32_t at = load(&shard->buckets[hash & shard->bucket_mask]); at;) {
        struct cache_entry *entry = shard_entry(shard->store, at);
        if (is_it(entry, hash, key))
            return entry;
        at = load(&entry->next);
    }
    return NULL;
}

uint32_t *shard_find(struct cache_shard *shard, uint32_t hash, struct str key)
{
    uint32_t *place = &shard->buckets[hash & shard->bucket_mask];
    while (*place && !is_it(shard_entry(shard->store, *place), hash, key))
        place = &shard_entry(shard->store, *place)->next;
    return place;
}

static uint32_t *place_of(struct cache_shard *shard, const struct cache_entry *entry)
{
    uint32_t *place = &shard->buckets[entry->policy.hash & shard->bucket_mask];
    while (shard_entry(shard->store, *place) != entry)
        place = &shard_entry(shard->store, *place)->next;
    return place;
}

bool shard_is_dropped(const struct cache_store *store, const struct cache_entry *entry)
{
    if (entry->mark < __atomic_load_n(&store->purge_tick, __ATOMIC_ACQUIRE))
        return true;
    for (unsigned i = 0; i < entry->tag_count; i++)
        if (__atomic_load_n(&store->tag_ticks[entry->tags[i]], __ATOMIC_ACQUIRE) > entry->mark)
            return true;
    return false;
}

/* --- limbo -------------------------------------------------------------------------------------------------------- */

/* Of what is in no queue of the policy; their links serve. */
static void push(struct cache_shard *shard, struct shard_queue *queue, struct cache_entry *entry)
{
    uint32_t handle = arena_handle(&shard->store->arena, entry);
    entry->policy.newer = 0;
    if (queue->first)
        shard_entry(shard->store, queue->last)->policy.newer = handle;
    else
        queue->first = handle;
    queue->last = handle;
}

static struct cache_entry *pop(struct cache_shard *shard, struct shard_queue *queue)
{
    if (!queue->first)
        return NULL;
    struct cache_entry *entry = shard_entry(shard->store, queue->first);
    queue->first = entry->policy.newer;
    return entry;
}

/* It has left the table, and the policy before that: their links are its own now. */
static void retire(struct cache_shard *shard, struct cache_entry *entry)
{
    shard->entries--;
    shard->limbo_bytes += weigh(&entry->policy);
    push(shard, &shard->fresh, entry);
}

/* Hazards first: who makes a reference of one counts that before it lets go of it. */
static bool is_held(const struct cache_shard *shard, const struct cache_entry *entry)
{
    return epoch_is_held(&shard->store->epochs, entry) || __atomic_load_n(&entry->refs, __ATOMIC_ACQUIRE) > 0;
}

/* Nobody finds it any more: free, or held. */
static void settle(struct cache_shard *shard, struct cache_entry *entry)
{
    if (is_held(shard, entry)) {
        push(shard, &shard->held, entry);
        return;
    }
    shard->limbo_bytes -= weigh(&entry->policy);
    slab_give(&shard->slab, entry, entry_size(entry));
}

static void settle_waiting(struct cache_shard *shard)
{
    struct cache_entry *entry;
    if (!shard->waiting.first || !epoch_is_over(&shard->store->epochs, shard->epoch))
        return;
    while ((entry = pop(shard, &shard->waiting)))
        settle(shard, entry);
}

void shard_reclaim(struct cache_shard *shard)
{
    uint32_t last_held = shard->held.first ? shard->held.last : 0;
    for (unsigned i = 0; i < HELD_LOOKED_AT && last_held; i++) {
        struct cache_entry *entry = pop(shard, &shard->held);
        if (entry == shard_entry(shard->store, last_held))
            last_held = 0;
        settle(shard, entry);
    }
    settle_waiting(shard);
    if (shard->waiting.first || !shard->fresh.first)
        return;
    shard->waiting = shard->fresh;
    shard->fresh = (struct shard_queue){ 0 };
    shard->epoch = epoch_advance(&shard->store->epochs);
    settle_waiting(shard);
}

/* --- in and out --------------------------------------------------------------------------------------------------- */

/* What the policy has let go of. */
static void cut(struct cache_shard *shard, uint32_t *place)
{
    struct cache_entry *entry = shard_entry(shard->store, *place);
    store(place, entry->next);
    retire(shard, entry);
}

void shard_take_out(struct cache_shard *shard, uint32_t *place, bool is_remembered)
{
    policy_remove(&shard->policy, &shard_entry(shard->store, *place)->policy, is_remembered);
    cut(shard, place);
}

void shard_link(struct cache_shard *shard, struct cache_entry *entry, uint64_t now_ms)
{
    uint32_t *place = shard_find(shard, entry->policy.hash, cache_entry_key(entry));
    struct cache_entry *old = *place ? shard_entry(shard->store, *place) : NULL;
    entry->next = old ? old->next : 0;
    store(place, arena_handle(&shard->store->arena, entry));
    shard->entries++;
    shard->puts++;
    if (!old) {
        policy_insert(&shard->policy, &entry->policy);
        return;
    }
    shard->expirations += now_ms >= entry_stale_until_ms(old);
    policy_replace(&shard->policy, &old->policy, &entry->policy);
    retire(shard, old);
}

/* --- making room -------------------------------------------------------------------------------------------------- */

struct judging {
    const struct cache_store *store;
    uint64_t now_ms;
};

static enum policy_word judge(const struct policy_node *node, void *arg)
{
    const struct judging *judging = arg;
    const struct cache_entry *entry = entry_of(node);
    if (__atomic_load_n(&entry->refs, __ATOMIC_RELAXED) > 0)
        return POLICY_STAYS; /* its memory would not come free now */
    bool is_useless = judging->now_ms >= entry_stale_until_ms(entry) || shard_is_dropped(judging->store, entry);
    return is_useless ? POLICY_GOES : POLICY_DECIDES;
}

static void clear_block(void *block, void *arg)
{
    struct cache_shard *shard = arg;
    struct cache_entry *entry = block;
    if (!policy_has(&entry->policy))
        return; /* it is being made, or in limbo */
    shard->evictions++;
    shard_take_out(shard, place_of(shard, entry), /* is_remembered= */ true);
}

/* False: nothing can go. */
static bool evict(struct cache_shard *shard, size_t bytes, uint64_t now_ms)
{
    struct judging judging = { shard->store, now_ms };
    struct policy_node *node = policy_take(&shard->policy, judge, &judging);
    if (!node)
        return false;
    struct cache_entry *entry = entry_of(node);
    bool helps = slab_helps(entry, entry_size(entry), bytes);
    struct slab_page *page = helps ? NULL : slab_page_to_clear(&shard->slab, bytes);
    shard->evictions++;
    cut(shard, place_of(shard, entry));
    if (page)
        slab_each(page, clear_block, shard);
    return true;
}

struct cache_entry *shard_take(struct cache_shard *shard, size_t bytes, uint64_t now_ms, bool *goes_on)
{
    size_t limbo_max = shard->slab.bytes_max / LIMBO_SHARE + slab_weight(bytes);
    struct cache_entry *entry = slab_take(&shard->slab, bytes);
    for (unsigned i = 0; i < EVICTED_AT_ONCE && !entry; i++) {
        shard_reclaim(shard);
        entry = slab_take(&shard->slab, bytes);
        bool may_evict = shard->limbo_bytes <= limbo_max && !slab_has_room(&shard->slab, bytes);
        *goes_on = entry || (may_evict && evict(shard, bytes, now_ms));
        if (!*goes_on)
            return NULL;
    }
    if (entry)
        entry->policy = (struct policy_node){ .hash = 0 }; /* in no queue */
    return entry;
}

void shard_give(struct cache_shard *shard, struct cache_entry *entry, size_t bytes)
{
    slab_give(&shard->slab, entry, bytes);
}
