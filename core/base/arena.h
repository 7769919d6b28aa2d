/* arena.h - memory that ends with a request: many small allocations, one release.
 *
 * Blocks are chained; reset keeps the largest of up to 16 KiB, so a recycled request allocates nothing.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/mem.h"
#include "base/str.h"

struct arena_block;
struct arena {
    struct arena_block *first, *current;
    char *at, *end;
    size_t total, bytes_max;   /* bytes of all blocks; the arena refuses to pass bytes_max (0: 16 MiB) */
    enum mem_tag tag;
};

void arena_init(struct arena *arena, enum mem_tag tag, size_t bytes_max);
void *arena_alloc(struct arena *arena, size_t bytes);              /* 16-byte aligned; NULL when out of memory or over bytes_max */
char *arena_dup(struct arena *arena, const char *data, size_t len); /* NUL-terminated copy, or NULL */
struct str arena_str(struct arena *arena, struct str text);         /* copy; .data is NULL when out of memory */
void arena_reset(struct arena *arena);                              /* everything handed out is gone; one block of up to 16 KiB is kept */
void arena_clear(struct arena *arena);                              /* gives all memory back */

#endif
