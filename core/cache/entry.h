/* entry.h - private to core/cache: what an entry is made of, and how look-ups are kept apart from what they might free.
 *
 * One block: [struct cache_entry][tags][key][meta][value].
 */
#ifndef CACHE_ENTRY_H
#define CACHE_ENTRY_H

#include "cache/store.h"

#include <stddef.h>

#define ENTRY_LOOSE 0x80000000u     /* in refs: in no store, ever; who lets go of it last frees it */

_Static_assert(sizeof(struct policy_node) == 16 && offsetof(struct cache_entry, policy) % 16 == 0, "the policy's handles reach each node");

static inline struct cache_entry *entry_of(const struct policy_node *node)
{
    return (struct cache_entry *)(void *)((uintptr_t)node - offsetof(struct cache_entry, policy));
}

static inline uint64_t entry_stale_until_ms(const struct cache_entry *entry)
{
    uint64_t until_ms = entry->fresh_until_ms + entry->stale_ms;
    return until_ms < entry->fresh_until_ms ? UINT64_MAX : until_ms;
}

/* The bytes of such an entry; 0: larger than an entry can be. */
size_t entry_bytes(const struct cache_put *put);
size_t entry_size(const struct cache_entry *entry);        /* the same, of one that is made */
/* Fills a block that is in no queue, with no references. mark 0: never stale by tag. */
void entry_fill(struct cache_entry *entry, const struct cache_put *put, uint32_t hash, uint64_t mark, uint64_t now_ms);
uint16_t entry_tag_hash(struct str tag);

#endif
