/* arena.c - a range of addresses, reserved once, and a bit for each of its pages.
 *
 * DESIGN  A run is looked for from behind the last one that was found, around the range. Given back, its pages go to the system at once
 *         (MADV_DONTNEED), so what is resident is what is in use.
 * HOLDS   The first page is never given out: handle 0 is nobody's.
 * Path:   cache/slab > [cache/arena]
 */
#include "cache/arena.h"

#include "base/mem.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

enum { SPREAD = 4, WORD = 64 };
#define RANGE_MAX ((size_t)UINT32_MAX * ARENA_UNIT)

static size_t pages_for(size_t bytes_max, size_t spread)
{
    size_t bytes = bytes_max > RANGE_MAX / spread ? RANGE_MAX : bytes_max * spread;
    return (bytes / ARENA_PAGE + WORD) / WORD * WORD;
}

size_t arena_overhead(size_t bytes_max) { return pages_for(bytes_max, SPREAD) / 8; }

static char *reserve(size_t bytes)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *base = mmap(NULL, bytes + WORD * ARENA_PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    /* Aligned to 64 pages; what is in front and behind goes back. */
    size_t skip = (WORD * ARENA_PAGE - (uintptr_t)base % (WORD * ARENA_PAGE)) % (WORD * ARENA_PAGE);
    if (skip)
        munmap(base, skip);
    if (skip < WORD * ARENA_PAGE)
        munmap(base + skip + bytes, WORD * ARENA_PAGE - skip);
    return base + skip;
}

enum fail arena_open(struct arena *arena, size_t bytes_max)
{
    *arena = (struct arena){ .base = NULL };
    for (size_t spread = SPREAD; spread >= 1 && !arena->base; spread /= 2) {
        arena->pages = pages_for(bytes_max, spread);
        arena->base = reserve(arena->pages * ARENA_PAGE);
    }
    arena->used = arena->base ? mem_zero(MEM_CACHE, arena->pages / 8) : NULL;
    if (!arena->used || pthread_mutex_init(&arena->lock, NULL) != 0) {
        if (arena->base)
            munmap(arena->base, arena->pages * ARENA_PAGE);
        mem_free(arena->used);
        *arena = (struct arena){ .base = NULL };
        return FAIL_NOMEM;
    }
    arena->used[0] = 1;
    return FAIL_OK;
}

void arena_close(struct arena *arena)
{
    if (!arena->base)
        return;
    munmap(arena->base, arena->pages * ARENA_PAGE);
    mem_free(arena->used);
    pthread_mutex_destroy(&arena->lock);
    arena->base = NULL;
}

static bool is_used(const struct arena *arena, size_t page) { return arena->used[page / WORD] >> page % WORD & 1; }

static void mark(struct arena *arena, size_t first, size_t pages, bool is_taken)
{
    for (size_t page = first; page < first + pages; page++) {
        uint64_t bit = (uint64_t)1 << page % WORD;
        if (is_taken)
            arena->used[page / WORD] |= bit;
        else
            arena->used[page / WORD] &= ~bit;
    }
}

/* The first free run in [from, to), or `to`. */
static size_t find(const struct arena *arena, size_t from, size_t to, size_t pages, size_t align)
{
    size_t first = (from + align - 1) & ~(align - 1), page = first;
    while (first + pages <= to && page < first + pages) {
        if (page % WORD == 0 && arena->used[page / WORD] == UINT64_MAX)
            first = page += WORD;
        else if (is_used(arena, page))
            first = page = (page + align) & ~(align - 1);
        else
            page++;
    }
    return first + pages <= to ? first : to;
}

void *arena_take(struct arena *arena, size_t pages, size_t align)
{
    pthread_mutex_lock(&arena->lock);
    size_t first = find(arena, arena->at, arena->pages, pages, align);
    if (first == arena->pages)
        first = find(arena, 0, arena->pages, pages, align);
    bool is_found = first < arena->pages;
    if (is_found) {
        mark(arena, first, pages, true);
        arena->at = first + pages;
    }
    pthread_mutex_unlock(&arena->lock);
    return is_found ? arena->base + first * ARENA_PAGE : NULL;
}

void arena_give(struct arena *arena, void *run, size_t pages)
{
    size_t first = ((uintptr_t)run - (uintptr_t)arena->base) / ARENA_PAGE;
    assert(first > 0 && first + pages <= arena->pages);
    madvise(run, pages * ARENA_PAGE, MADV_DONTNEED);
    pthread_mutex_lock(&arena->lock);
    mark(arena, first, pages, false);
    pthread_mutex_unlock(&arena->lock);
}
