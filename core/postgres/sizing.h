/* sizing.h - the size that is in force: max_size, or what autosize has found. For pool.c and those it works with. */
#ifndef POSTGRES_SIZING_H
#define POSTGRES_SIZING_H

#include "loop/timer.h"
#include "postgres/autosize.h"
#include "sql/engine.h"

#include <stdatomic.h>

struct postgres_pool;
struct postgres_lane;

enum { POSTGRES_SIZING_ASK_MS = 60 * 1000 };   /* between two looks at the server's max_connections */

struct postgres_sizing {
    atomic_uint limit;                   /* connections that may be in use, right now */
    atomic_uint kept;                    /* connections at most: the limit, and while autosize compares two, the larger one */
    atomic_ullong leases, held_ns, waited_ns;   /* since the last step; of autosize alone */
    /* lane 0's own */
    struct postgres_autosize autosize;
    bool is_on;
    struct timer timer;                  /* on lane 0's loop, while autosize is on */
    uint64_t stepped_ns, asked_ns;
    unsigned share;                      /* what the server's max_connections leave us; 0: not known */
    bool is_asking;
    struct sql_call ask;
};

static inline unsigned postgres_sizing_limit(const struct postgres_sizing *sizing)
{
    return atomic_load_explicit(&sizing->limit, memory_order_relaxed);
}

static inline unsigned postgres_sizing_kept(const struct postgres_sizing *sizing)
{
    return atomic_load_explicit(&sizing->kept, memory_order_relaxed);
}

void postgres_sizing_init(struct postgres_pool *pool);
/* A connection is leased, for a call that has waited so long for it, and given back. */
void postgres_sizing_lease(struct postgres_pool *pool, uint64_t waited_ns);
void postgres_sizing_release(struct postgres_pool *pool, uint64_t held_ns);
/* From upkeep of each lane. */
void postgres_sizing_look(struct postgres_lane *lane);
/* The pool closes. */
void postgres_sizing_stop(struct postgres_lane *lane);

#endif
