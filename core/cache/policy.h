/* policy.h - which entry has to go: the order of eviction of one shard, apart from what is evicted.
 *
 * S3-FIFO (Yang et al., SOSP 2023): new nodes pass a small queue, and only those hit again there reach the main one, so a
 * scan runs through without taking what is in use. Those that left are remembered by fingerprint; when they come back
 * they go to the main queue at once. Every call is O(1). Not thread-safe: the shard's lock covers it.
 */
#ifndef CACHE_POLICY_H
#define CACHE_POLICY_H

#include "base/fail.h"
#include "base/list.h"

#include <stdint.h>

struct policy_node {
    struct list node;
    uint32_t hash, bytes;           /* set by the owner before policy_insert */
    uint8_t hits;                   /* since the last decision about it, at most POLICY_HITS_MAX */
    uint8_t queue;
};
#define POLICY_HITS_MAX 3

struct policy {
    struct list small, main;        /* oldest first */
    size_t small_bytes, small_bytes_max;
    uint32_t *ghosts;               /* sets of four: fingerprint and age */
    size_t ghost_mask;
    uint32_t evicted;               /* the clock of the ghosts */
    unsigned age_shift;
};

/* What the owner says of a node that might go: it is in use and stays; it is of no use any more; or the policy decides. */
enum policy_word { POLICY_DECIDES, POLICY_STAYS, POLICY_GOES };
typedef enum policy_word policy_judge(const struct policy_node *node, void *arg);

/* Memory of the policy for a budget of bytes_max, and the policy itself. */
size_t policy_overhead(size_t bytes_max);
MUST_USE enum fail policy_open(struct policy *policy, size_t bytes_max);
void policy_close(struct policy *policy);          /* the nodes are the owner's; a zeroed policy is fine */

void policy_insert(struct policy *policy, struct policy_node *node);
static inline void policy_hit(struct policy_node *node)
{
    if (node->hits < POLICY_HITS_MAX)              /* a hot node is not written to any more */
        node->hits++;
}
void policy_replace(struct policy *policy, struct policy_node *old, struct policy_node *node);   /* takes its place */
void policy_remove(struct policy *policy, struct policy_node *node, bool is_remembered);
/* The node that goes next, already out of its queue; NULL when all that were looked at stay. */
struct policy_node *policy_take(struct policy *policy, policy_judge *judge, void *arg);

#endif
