/* policy.c - S3-FIFO: two queues and a memory of those who left.
 *
 * DESIGN  A node is in exactly one queue.
 *         new  -> SMALL [policy_insert]           new -> MAIN [policy_insert, known to the ghosts]
 *         SMALL -> MAIN [oldest of small, hit PROMOTE times or more]   SMALL -> gone, remembered [else]
 *         MAIN -> MAIN [oldest of main, hit since: one hit less]       MAIN -> gone [no hits]
 *         A ghost is 20 bits of fingerprint and 12 of age in a set of four that the hash picks; the oldest of a set
 *         makes room. It counts for as many evictions as there are nodes, or ghosts where those are fewer. A false ghost (1 look-up in
 *         131,072) lets a node into the main queue too early, nothing more.
 * HOLDS   small_bytes is the sum over the small queue. After STEPS_MAX nodes that were wanted or had to stay, policy_take lets
 *         the oldest one go that does not have to stay, whatever its hits; of those it looks at STEPS_MAX, too.
 * Path:   cache/store > [cache/policy]
 */
#include "cache/policy.h"

#include "base/mem.h"

#include <assert.h>

enum { QUEUE_NONE, QUEUE_SMALL, QUEUE_MAIN };
enum { AGE_BITS = 12, AGE_MASK = (1 << AGE_BITS) - 1 };
enum { SMALL_PERCENT = 10, PROMOTE = 2, STEPS_MAX = 64, GHOST_WAYS = 4, BYTES_PER_GHOST = 512 };

static size_t ghost_count(size_t bytes_max)
{
    size_t count = GHOST_WAYS;
    while (count * 2 <= bytes_max / BYTES_PER_GHOST)
        count *= 2;
    return count;
}

size_t policy_overhead(size_t bytes_max) { return ghost_count(bytes_max) * sizeof(uint32_t); }

enum fail policy_open(struct policy *policy, void *base, policy_weigh *weigh, size_t bytes_max)
{
    size_t count = ghost_count(bytes_max);
    *policy = (struct policy){ .base = base, .weigh = weigh, .small_bytes_max = bytes_max / 100 * SMALL_PERCENT };
    policy->ghosts = mem_zero(MEM_CACHE, count * sizeof *policy->ghosts);
    if (!policy->ghosts)
        return FAIL_NOMEM;
    policy->ghost_mask = count / GHOST_WAYS - 1;
    /* Ages tick so that the span of all ghosts is at most half of their circle. */
    while ((count >> policy->age_shift) > AGE_MASK / 2)
        policy->age_shift++;
    return FAIL_OK;
}

void policy_close(struct policy *policy)
{
    mem_free(policy->ghosts);
    policy->ghosts = NULL;
}

static uint32_t *ghost_set(const struct policy *policy, uint32_t hash)
{
    return policy->ghosts + (hash & policy->ghost_mask) * GHOST_WAYS;
}

/* Of all the bits of the hash, so that it differs within a set; never 0, which is an empty place. */
static uint32_t fingerprint_of(uint32_t hash) { return (hash * 0x9e3779b1u | 1u << AGE_BITS) & ~(uint32_t)AGE_MASK; }

static uint32_t ghost_clock(const struct policy *policy) { return policy->evicted >> policy->age_shift & AGE_MASK; }

static uint32_t ghost_age(const struct policy *policy, uint32_t ghost)
{
    return (ghost_clock(policy) - ghost) & AGE_MASK;
}

static void ghost_add(struct policy *policy, uint32_t hash)
{
    uint32_t *set = ghost_set(policy, hash), *oldest = set;
    for (unsigned i = 1; i < GHOST_WAYS && *oldest; i++)
        if (!set[i] || ghost_age(policy, set[i]) > ghost_age(policy, *oldest))
            oldest = &set[i];
    policy->evicted++;
    *oldest = fingerprint_of(hash) | ghost_clock(policy);
}

static bool ghost_take(struct policy *policy, uint32_t hash)
{
    uint32_t *set = ghost_set(policy, hash), fingerprint = fingerprint_of(hash);
    size_t all = (policy->ghost_mask + 1) * GHOST_WAYS;
    size_t span = (policy->nodes < all ? policy->nodes : all) >> policy->age_shift;
    for (unsigned i = 0; i < GHOST_WAYS; i++)
        if ((set[i] & ~(uint32_t)AGE_MASK) == fingerprint) {
            bool is_young = ghost_age(policy, set[i]) <= span;
            set[i] = 0;
            return is_young;
        }
    return false;
}

/* --- queues ------------------------------------------------------------------------------------------------------- */

static struct policy_node *node_at(const struct policy *policy, uint32_t handle)
{
    return (void *)(policy->base + (size_t)handle * sizeof(struct policy_node));
}

static uint32_t handle_of(const struct policy *policy, const struct policy_node *node)
{
    return (uint32_t)(((uintptr_t)node - (uintptr_t)policy->base) / sizeof *node);
}

static struct policy_queue *queue_of(struct policy *policy, uint8_t queue)
{
    return queue == QUEUE_SMALL ? &policy->small : &policy->main;
}

static uint8_t hits_of(const struct policy_node *node) { return __atomic_load_n(&node->hits, __ATOMIC_RELAXED); }

static void set_hits(struct policy_node *node, uint8_t hits) { __atomic_store_n(&node->hits, hits, __ATOMIC_RELAXED); }

/* Behind `older`; 0: as the oldest. */
static void link_behind(struct policy *policy, struct policy_node *node, uint32_t older)
{
    struct policy_queue *queue = queue_of(policy, node->queue);
    uint32_t handle = handle_of(policy, node), newer = older ? node_at(policy, older)->newer : queue->oldest;
    node->older = older;
    node->newer = newer;
    *(older ? &node_at(policy, older)->newer : &queue->oldest) = handle;
    *(newer ? &node_at(policy, newer)->older : &queue->newest) = handle;
    policy->nodes++;
    if (node->queue == QUEUE_SMALL)
        policy->small_bytes += policy->weigh(node);
}

static void enter(struct policy *policy, struct policy_node *node, uint8_t queue)
{
    node->queue = queue;
    set_hits(node, 0);
    link_behind(policy, node, queue_of(policy, queue)->newest);
}

static void leave(struct policy *policy, struct policy_node *node)
{
    assert(node->queue != QUEUE_NONE);
    struct policy_queue *queue = queue_of(policy, node->queue);
    if (node->queue == QUEUE_SMALL)
        policy->small_bytes -= policy->weigh(node);
    *(node->older ? &node_at(policy, node->older)->newer : &queue->oldest) = node->newer;
    *(node->newer ? &node_at(policy, node->newer)->older : &queue->newest) = node->older;
    policy->nodes--;
    node->queue = QUEUE_NONE;
}

/* --- what is asked of it ------------------------------------------------------------------------------------------ */

void policy_insert(struct policy *policy, struct policy_node *node)
{
    enter(policy, node, ghost_take(policy, node->hash) ? QUEUE_MAIN : QUEUE_SMALL);
}

void policy_replace(struct policy *policy, struct policy_node *old, struct policy_node *node)
{
    node->queue = old->queue;
    set_hits(node, hits_of(old));
    link_behind(policy, node, old->older);
    leave(policy, old);
}

void policy_remove(struct policy *policy, struct policy_node *node, bool is_remembered)
{
    if (is_remembered)
        ghost_add(policy, node->hash);
    leave(policy, node);
}

static struct policy_node *oldest_of(const struct policy *policy)
{
    bool from_small = policy->small_bytes > policy->small_bytes_max || !policy->main.oldest;
    uint32_t oldest = from_small ? policy->small.oldest : policy->main.oldest;
    return oldest ? node_at(policy, oldest) : NULL;
}

static void give_another_round(struct policy *policy, struct policy_node *node)
{
    uint8_t hits = node->queue == QUEUE_MAIN ? hits_of(node) : 0;
    leave(policy, node);
    enter(policy, node, QUEUE_MAIN);
    set_hits(node, hits > 0 ? (uint8_t)(hits - 1) : 0);
}

struct policy_node *policy_take(struct policy *policy, policy_judge *judge, void *arg)
{
    struct policy_node *node;
    for (unsigned steps = 0; steps < STEPS_MAX * 2 && (node = oldest_of(policy)); steps++) {
        enum policy_word word = judge(node, arg);
        bool is_wanted = hits_of(node) >= (node->queue == QUEUE_SMALL ? PROMOTE : 1);
        if (word == POLICY_STAYS || (word == POLICY_DECIDES && is_wanted && steps < STEPS_MAX)) {
            give_another_round(policy, node);
            continue;
        }
        policy_remove(policy, node, /* is_remembered= */ node->queue == QUEUE_SMALL || is_wanted);
        return node;
    }
    return NULL;
}
