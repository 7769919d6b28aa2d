/* store.h - L1: the memory cache of the whole process, shared by all threads, bounded in bytes.
 *
 * Sharded by the hash of the key. A look-up takes no lock. An entry is immutable once put; readers hold references, so a body is written
 * to a socket without a copy while the entry is already replaced. The byte bound covers everything: head, key, value, tables, and what
 * the blocks they stand in leave unused.
 * Times are loop_now_ms. fresh_until <= stale_until: between them an entry may be served as stale.
 */
#ifndef CACHE_STORE_H
#define CACHE_STORE_H

#include "base/fail.h"
#include "base/str.h"
#include "cache/policy.h"

struct cache_store;

#define CACHE_TAGS_MAX 8
struct cache_entry {                     /* read-only once it is put, but for refs and what links it */
    uint64_t fresh_until_ms, mark;       /* mark: the one it was put with, or of the put itself; all its tags were undropped then */
    uint32_t created_16ms, stale_ms;     /* created: the low bits of now_ms / 16, enough for a year of age */
    uint32_t refs;                       /* atomic: who holds it, the store aside; and ENTRY_LOOSE */
    uint32_t value_len;                  /* of meta and value */
    struct policy_node policy;           /* its `owners` is the length of the key */
    uint32_t next;                       /* in its bucket; atomic */
    uint16_t meta_len;
    uint8_t kind;                        /* the owner's word: e.g. 0 JSON, 1 a whole response */
    uint8_t tag_count;
    uint16_t tags[];                     /* 16 bits of the hash of each */
};
/* To within 16 ms; 0 where now_ms, of a loop whose turn began earlier, is before it was put. */
uint64_t cache_entry_age_ms(const struct cache_entry *entry, uint64_t now_ms);
struct str cache_entry_key(const struct cache_entry *entry);
struct str cache_entry_meta(const struct cache_entry *entry);
struct str cache_entry_value(const struct cache_entry *entry);     /* without the meta data */

struct cache_put {
    struct str key, meta, value;         /* copied */
    uint8_t kind;
    uint64_t ttl_ms, stale_ms;           /* stale_ms: at most 49 days */
    struct str tags[CACHE_TAGS_MAX];
    unsigned tag_count;
    uint64_t tag_mark;                   /* from cache_store_mark, taken before the value was read: an entry whose tags were
                                          * dropped since, or whose key was removed or put without a mark, is not put
                                          * (FAIL_CANCELLED). 0: not checked */
};
struct cache_stats { uint64_t hits, misses, stale, puts, evictions, expirations, drops; size_t entries, bytes, bytes_max; };

/* FAIL_INVALID below 2 MiB: the fixed tables would leave no room. */
MUST_USE enum fail cache_store_open(size_t bytes_max, struct cache_store **out);
void cache_store_close(struct cache_store *store);                 /* when nobody holds a reference any more, but to loose entries */

enum cache_found { CACHE_MISS, CACHE_FRESH, CACHE_STALE };
/* What was found, held for a moment: until cache_store_let_go, on the same thread, without waiting in between. */
struct cache_hold { struct cache_entry *entry; struct epoch_reader *reader; };
/* On FRESH and STALE out->entry is held; on MISS it is NULL and nothing is to be let go of. Any thread. */
enum cache_found cache_store_hold(struct cache_store *store, struct str key, uint64_t now_ms, struct cache_hold *out);
void cache_store_let_go(struct cache_hold *hold);
struct cache_entry *cache_store_keep(struct cache_hold *hold);     /* lets go of it, and gives a reference instead */
/* The same with a reference: cache_entry_unref it. */
enum cache_found cache_store_get(struct cache_store *store, struct str key, uint64_t now_ms, struct cache_entry **out);
/* Puts a copy. out (may be NULL) gets a reference to the new entry. FAIL_FULL: too large (over 1/8 of a shard) or no room. */
MUST_USE enum fail cache_store_put(struct cache_store *store, const struct cache_put *put, uint64_t now_ms, struct cache_entry **out);
/* An entry that is not in the store but looks like one (a value just loaded that cannot be cached). */
struct cache_entry *cache_entry_loose(const struct cache_put *put, uint64_t now_ms);
bool cache_entry_is_loose(const struct cache_entry *entry);       /* nobody's bound covers its bytes but its holders' */
bool cache_store_remove(struct cache_store *store, struct str key);
/* Every entry that carries the tag is a miss from now on; O(1). */
void cache_store_drop_tag(struct cache_store *store, struct str tag);
/* A point in the order of drops and removes: in microseconds since 1970 as well as that order allows, so that other processes'
 * marks can be told from before or after ours, as far as their clocks agree. */
uint64_t cache_store_mark(struct cache_store *store);
/* Whether neither its tags nor its key were dropped since its mark: false for who joined a flight after the drop. */
bool cache_store_is_current(struct cache_store *store, const struct cache_entry *entry);
void cache_store_purge(struct cache_store *store);                 /* all are misses from now on; O(1), sweeps free them */
void cache_store_stats(struct cache_store *store, struct cache_stats *out);
void cache_store_sweep(struct cache_store *store, uint64_t now_ms); /* frees some expired entries; call now and then */
struct cache_entry *cache_entry_ref(struct cache_entry *entry);
void cache_entry_unref(struct cache_entry *entry);                 /* NULL is fine */

#endif
