/* arena.h - the memory of one store: a range of addresses, of which runs of pages are in use.
 *
 * The range is four times as large as what may be in use, so a run is nearly always found; a page that is not in use costs the
 * system nothing. What is in use is counted by who takes it (slab.c). Addresses fit into 32 bits as handles of 16 bytes.
 */
#ifndef CACHE_ARENA_H
#define CACHE_ARENA_H

#include "base/fail.h"

#include <pthread.h>
#include <stdint.h>

enum { ARENA_PAGE = 4096, ARENA_UNIT = 16 };

struct arena {
    char *base;
    size_t pages;                       /* of the range */
    pthread_mutex_t lock;
    uint64_t *used;                     /* a bit for each page */
    size_t at;                          /* where the last run was found */
};

/* FAIL_NOMEM: the system does not give such a range. bytes_max: what will be in use at most. */
MUST_USE enum fail arena_open(struct arena *arena, size_t bytes_max);
void arena_close(struct arena *arena);  /* a zeroed one is fine */
size_t arena_overhead(size_t bytes_max);

/* A run of `pages` whose address is a multiple of `align` pages (a power of two up to 64); NULL: there is none. Any thread. */
void *arena_take(struct arena *arena, size_t pages, size_t align);
void arena_give(struct arena *arena, void *run, size_t pages);

static inline uint32_t arena_handle(const struct arena *arena, const void *at)
{
    return (uint32_t)(((uintptr_t)at - (uintptr_t)arena->base) / ARENA_UNIT);
}
static inline void *arena_at(const struct arena *arena, uint32_t handle) { return arena->base + (size_t)handle * ARENA_UNIT; }

#endif
