/* policy.h - which entry has to go: the order of eviction of one shard, apart from what is evicted.
 *
 * S3-FIFO (Yang et al., SOSP 2023): new nodes pass a small queue, and only those hit again there reach the main one, so a
 * scan runs through without taking what is in use. Those that left are remembered by fingerprint; when they come back
 * they go to the main queue at once. Every call is O(1). Not thread-safe, but for
 * policy_hit: the shard's lock covers it.
 */
#ifndef CACHE_POLICY_H
#define CACHE_POLICY_H

#include "base/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A node is known by its distance from the base of all nodes, in its own 16 bytes; that is never 0. */
struct policy_node {
    uint32_t hash;                  /* set by the owner before policy_insert */
    uint32_t older, newer;          /* in its queue; 0: none */
    uint8_t hits;                   /* since the last decision about it, at most POLICY_HITS_MAX; atomic */
    uint8_t queue;
    uint16_t owners;                /* the owner's own */
};
#define POLICY_HITS_MAX 3
typedef size_t policy_weigh(const struct policy_node *node);

struct policy_queue { uint32_t oldest, newest; };

struct policy {
    char *base;
    policy_weigh *weigh;            /* bytes of a node: the same from insert to remove */
    struct policy_queue small, main;
    size_t nodes, small_bytes, small_bytes_max;
    uint32_t *ghosts;               /* sets of four: fingerprint and age */
    size_t ghost_mask;
    uint32_t evicted;               /* the clock of the ghosts */
    unsigned age_shift;
};

/* What the owner says of a node that might go: it is in use and stays; it is of no use any more; or the policy decides. */
enum policy_word { POLICY_DECIDES, POLICY_STAYS, POLICY_GOES };
typedef enum policy_word policy_judge(const struct policy_node *node, void *arg);

/* Memory of the policy for a budget of bytes_max, and the policy itself, for nodes behind base. */
size_t policy_overhead(size_t bytes_max);
MUST_USE enum fail policy_open(struct policy *policy, void *base, policy_weigh *weigh, size_t bytes_max);
void policy_close(struct policy *policy);          /* the nodes are the owner's; a zeroed policy is fine */

void policy_insert(struct policy *policy, struct policy_node *node);
static inline bool policy_has(const struct policy_node *node) { return node->queue != 0; }
/* Any thread, at any time: hits that come at once may count as one. */
static inline void policy_hit(struct policy_node *node)
{
    uint8_t hits = __atomic_load_n(&node->hits, __ATOMIC_RELAXED);
    if (hits < POLICY_HITS_MAX)                    /* a hot node is not written to any more */
        __atomic_store_n(&node->hits, (uint8_t)(hits + 1), __ATOMIC_RELAXED);
}
void policy_replace(struct policy *policy, struct policy_node *old, struct policy_node *node);   /* takes its place */
void policy_remove(struct policy *policy, struct policy_node *node, bool is_remembered);
/* The node that goes next, already out of its queue; NULL when all that were looked at stay. */
struct policy_node *policy_take(struct policy *policy, policy_judge *judge, void *arg);

#endif
