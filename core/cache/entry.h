/* entry.h - private to core/cache: what an entry is made of. store.h shows its public face.
 *
 * One allocation: [struct cache_entry][struct entry_links, tags][key][meta][value].
 */
#ifndef CACHE_ENTRY_H
#define CACHE_ENTRY_H

#include "cache/policy.h"
#include "cache/store.h"

struct cache_shard;

enum entry_place { ENTRY_KEPT, ENTRY_LIMBO, ENTRY_LOOSE }; /* in a store; out of it, but on its account; in none, ever */

struct entry_links {
    union {
        struct entry_links *next;       /* in its bucket */
        struct cache_shard *limbo;      /* out of the table while readers hold it: who accounts for it */
    };
    struct policy_node policy;
    uint64_t mark;                      /* all its tags were undropped at this point */
    uint8_t tag_count;
    uint8_t place;                      /* enum entry_place */
    uint16_t tags[];                    /* 16 bits of the hash of each */
};

static inline struct entry_links *entry_links(const struct cache_entry *entry)
{
    return (struct entry_links *)(void *)(uintptr_t)(entry + 1);
}
static inline struct cache_entry *entry_of(const struct entry_links *links)
{
    return (struct cache_entry *)(void *)(uintptr_t)links - 1;
}

/* What it takes from the heap, with the heap's own overhead; 0 when it is too large for any store. */
size_t entry_bytes(const struct cache_put *put);
/* A filled entry with one reference, in no store; NULL when out of memory. mark 0 becomes "never stale by tag". */
struct cache_entry *entry_make(const struct cache_put *put, uint32_t hash, uint64_t mark, uint64_t now_ms);
uint16_t entry_tag_hash(struct str tag);
/* Gives the bytes of a limbo entry back to its shard; store.c. */
void cache_shard_forget(struct cache_shard *shard, size_t bytes);

#endif
