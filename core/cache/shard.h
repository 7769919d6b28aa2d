/* shard.h - private to core/cache: one part of the store, with its own lock, table, blocks and order of eviction.
 *
 * Everything here with the shard's lock held, but for shard_look. A place is where the handle of an entry stands: its bucket, or the
 * `next` of another entry.
 */
#ifndef CACHE_SHARD_H
#define CACHE_SHARD_H

#include "cache/entry.h"
#include "cache/epoch.h"
#include "cache/slab.h"

struct shard_queue { uint32_t first, last; };

struct cache_shard {
    pthread_mutex_t lock;
    struct cache_store *store;
    uint32_t *buckets;                   /* atomic each: a handle */
    size_t bucket_mask;
    struct slab slab;
    struct policy policy;
    uint64_t *key_ticks;                 /* atomic each: the last removal, or put of unknown age, of a key with this hash */
    /* Taken out of the table: in this epoch; in one that is to be over; held by references beyond it. */
    struct shard_queue fresh, waiting, held;
    uint64_t epoch;
    size_t limbo_bytes;                  /* of all three */
    size_t entries;
    uint64_t puts, evictions, expirations;
    char apart[64];                      /* no two shards on one cache line */
};

enum { CACHE_KEY_SLOTS = 4096, CACHE_TAG_SLOTS = 65536 };

struct cache_store {
    uint64_t clock;                      /* atomic: moves on with every drop, and is never behind the wall clock at a mark */
    uint64_t purge_tick;                 /* atomic */
    uint64_t drops;                      /* atomic */
    size_t sweep_at;                     /* atomic: the next bucket, counted through all shards */
    size_t bytes_max, fixed_bytes;
    uint64_t *tag_ticks;                 /* atomic each: the last drop of a tag with this hash */
    struct arena arena;
    struct epochs epochs;
    unsigned shard_count;
    struct cache_shard shards[];
};

/* fixed: bytes of its tables, taken off bytes_max. FAIL_INVALID: they leave no room. */
MUST_USE enum fail shard_open(struct cache_shard *shard, struct cache_store *store, size_t bytes_max, size_t *fixed);
void shard_close(struct cache_shard *shard);          /* takes everything out; fine for one that was not opened */

static inline struct cache_entry *shard_entry(const struct cache_store *store, uint32_t handle)
{
    return arena_at(&store->arena, handle);
}
/* The entry of the key, without the lock, until epoch_leave; NULL: none. */
struct cache_entry *shard_look(struct cache_shard *shard, uint32_t hash, struct str key);
/* Its place, or the one at the end of its bucket, which holds 0. */
uint32_t *shard_find(struct cache_shard *shard, uint32_t hash, struct str key);
bool shard_is_dropped(const struct cache_store *store, const struct cache_entry *entry);

/* A block for an entry of so many bytes; makes room for it, in at most a few steps at a time: *goes_on says whether to come again.
 * NULL: no room now. */
struct cache_entry *shard_take(struct cache_shard *shard, size_t bytes, uint64_t now_ms, bool *goes_on);
void shard_give(struct cache_shard *shard, struct cache_entry *entry, size_t bytes);     /* one that was never linked */
/* The filled entry goes into the table, in the place of what has its key. */
void shard_link(struct cache_shard *shard, struct cache_entry *entry, uint64_t now_ms);
void shard_take_out(struct cache_shard *shard, uint32_t *place, bool is_remembered);
/* Gives back the blocks of what was taken out and is looked at by nobody any more. */
void shard_reclaim(struct cache_shard *shard);

#endif
