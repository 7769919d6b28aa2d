/* slab.h - the blocks of one shard: small ones from pages of one size each, large ones as runs of pages. Not thread-safe.
 *
 * bytes is what is in use of the shard's budget: whole pages, whatever stands in them. Where a size finds no room although blocks
 * of other sizes are free, the owner clears a page: slab_page_to_clear.
 */
#ifndef CACHE_SLAB_H
#define CACHE_SLAB_H

#include "cache/arena.h"

#include <stdbool.h>

enum { SLAB_SMALL_MAX = 10880, SLAB_CLASSES_MAX = 48 };

struct slab_page;
struct slab {
    struct arena *arena;
    size_t bytes, bytes_max;
    struct slab_page *partial[SLAB_CLASSES_MAX];        /* pages with free blocks, by size */
};

void slab_init(struct slab *slab, struct arena *arena, size_t bytes_max);
/* What a block of so many bytes really takes. */
size_t slab_weight(size_t bytes);
/* A block, aligned to 16; NULL: no room within bytes_max, or none in the arena. */
void *slab_take(struct slab *slab, size_t bytes);
/* Whether one more page, or the run, is within the budget. Where slab_take fails all the same, making room is no help. */
bool slab_has_room(const struct slab *slab, size_t bytes);
void slab_give(struct slab *slab, void *block, size_t bytes);

/* Whether giving `block` back makes room for a block of `bytes`: a large one always gives pages, a small one its own size. */
bool slab_helps(const void *block, size_t block_bytes, size_t bytes);
/* The page with the fewest blocks, of those at most a quarter full that are not of the size for `bytes`; NULL: none. */
struct slab_page *slab_page_to_clear(const struct slab *slab, size_t bytes);
struct slab_page *slab_page_of(const void *block);      /* of a small one */
/* Calls fn for each block of the page that is taken; it may give this one back. */
void slab_each(struct slab_page *page, void (*fn)(void *block, void *arg), void *arg);

#endif
