/* slab.c - blocks of sizes that grow by an eighth, in pages of 32 KiB; above a third of that, runs of pages of 4 KiB.
 *
 * DESIGN  A page begins with its head: its size, and a bit for each block that is taken. Pages with free blocks are on the list of
 *         their size; full ones are on none. A page whose last block is given back goes back to the arena.
 *           arena -> PARTIAL [slab_take]   PARTIAL -> FULL [its last block is taken]   FULL -> PARTIAL [slab_give]   PARTIAL -> arena
 * HOLDS   bytes is the sum of the pages and runs that are taken, and never above bytes_max.
 * Path:   cache/store > [cache/slab] > cache/arena
 */
#include "cache/slab.h"

#include <assert.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

enum { PAGES = 8, PAGE_BYTES = PAGES * ARENA_PAGE, SMALLEST = 64, BLOCKS_MAX = PAGE_BYTES / SMALLEST, WORD = 64 };

struct slab_page {
    struct slab_page *next, *prev; /* of those of its size with free blocks */
    struct slab *slab;
    uint16_t size, blocks, taken;
    uint8_t class, is_partial;
    uint64_t bits[BLOCKS_MAX / WORD];
};
enum { HEAD = (sizeof(struct slab_page) + ARENA_UNIT - 1) / ARENA_UNIT * ARENA_UNIT };

_Static_assert((PAGE_BYTES - HEAD) / SLAB_SMALL_MAX == 3, "three of the largest fill a page");

void slab_init(struct slab *slab, struct arena *arena, size_t bytes_max)
{
    *slab = (struct slab){ .arena = arena, .bytes_max = bytes_max };
}

/* Each an eighth larger than the one before, to 16 bytes; the last ones are what a page has room for ten to three of. */
static const uint16_t sizes[] = { 64,   80,   96,   112,  128,  144,  160,  176,  192,  208,  224,
                                  240,  256,  288,  320,  352,  384,  432,  480,  528,  592,  656,
                                  736,  816,  912,  1024, 1152, 1296, 1456, 1632, 1824, 2048, 2304,
                                  2592, 2912, 3264, 3616, 4080, 4656, 5440, 6528, 8160, 10880 };
enum { CLASSES = sizeof sizes / sizeof *sizes };

_Static_assert(sizeof sizes / sizeof *sizes <= SLAB_CLASSES_MAX, "a list for each size");

/* The first size that is large enough. */
static unsigned class_of(size_t bytes, size_t *size)
{
    unsigned low = 0, high = CLASSES - 1;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (sizes[middle] < bytes)
            low = middle + 1;
        else
            high = middle;
    }
    *size = sizes[low];
    return low;
}

static size_t run_pages(size_t bytes) { return (bytes + ARENA_PAGE - 1) / ARENA_PAGE; }

size_t slab_weight(size_t bytes)
{
    size_t size;
    if (bytes > SLAB_SMALL_MAX)
        return run_pages(bytes) * ARENA_PAGE;
    class_of(bytes, &size);
    return size;
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

static void list_page(struct slab *slab, struct slab_page *page)
{
    struct slab_page **head = &slab->partial[page->class];
    page->prev = NULL;
    page->next = *head;
    if (*head)
        (*head)->prev = page;
    *head = page;
    page->is_partial = true;
}

static void unlist_page(struct slab *slab, struct slab_page *page)
{
    if (page->prev)
        page->prev->next = page->next;
    else
        slab->partial[page->class] = page->next;
    if (page->next)
        page->next->prev = page->prev;
    page->is_partial = false;
}

static bool has_pages(const struct slab *slab, size_t pages)
{
    return slab->bytes + pages * ARENA_PAGE <= slab->bytes_max;
}

bool slab_has_room(const struct slab *slab, size_t bytes)
{
    return has_pages(slab, bytes > SLAB_SMALL_MAX ? run_pages(bytes) : PAGES);
}

static void *take_run(struct slab *slab, size_t pages, size_t align)
{
    if (!has_pages(slab, pages))
        return NULL;
    void *run = arena_take(slab->arena, pages, align);
    if (run)
        slab->bytes += pages * ARENA_PAGE;
    return run;
}

static void give_run(struct slab *slab, void *run, size_t pages)
{
    arena_give(slab->arena, run, pages);
    slab->bytes -= pages * ARENA_PAGE;
}

static struct slab_page *open_page(struct slab *slab, unsigned class, size_t size)
{
    struct slab_page *page = take_run(slab, PAGES, PAGES);
    if (!page)
        return NULL;
    *page = (struct slab_page){ .slab = slab,
                                .size = (uint16_t)size,
                                .blocks = (uint16_t)((PAGE_BYTES - HEAD) / size),
                                .class = (uint8_t) class };
    ASAN_POISON_MEMORY_REGION((char *)page + HEAD, PAGE_BYTES - HEAD);
    list_page(slab, page);
    return page;
}

static void close_page(struct slab *slab, struct slab_page *page)
{
    unlist_page(slab, page);
    ASAN_UNPOISON_MEMORY_REGION(page, PAGE_BYTES);
    give_run(slab, page, PAGES);
}

struct slab_page *slab_page_of(const void *block)
{
    return (struct slab_page *)((uintptr_t)block & ~(uintptr_t)(PAGE_BYTES - 1));
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

static unsigned first_free(const struct slab_page *page)
{
    unsigned word = 0;
    while (page->bits[word] == UINT64_MAX)
        word++;
    return word * WORD + (unsigned)__builtin_ctzll(~page->bits[word]);
}

static void *take_block(struct slab *slab, struct slab_page *page)
{
    unsigned i = first_free(page);
    assert(i < page->blocks);
    page->bits[i / WORD] |= (uint64_t)1 << i % WORD;
    if (++page->taken == page->blocks)
        unlist_page(slab, page);
    char *block = (char *)page + HEAD + (size_t)i * page->size;
    ASAN_UNPOISON_MEMORY_REGION(block, page->size);
    return block;
}

void *slab_take(struct slab *slab, size_t bytes)
{
    size_t size;
    if (bytes > SLAB_SMALL_MAX)
        return take_run(slab, run_pages(bytes), 1);
    unsigned class = class_of(bytes, &size);
    struct slab_page *page = slab->partial[class];
    if (!page)
        page = open_page(slab, class, size);
    return page ? take_block(slab, page) : NULL;
}

static void give_block(struct slab *slab, char *block)
{
    struct slab_page *page = slab_page_of(block);
    unsigned i = (unsigned)((size_t)(block - (char *)page - HEAD) / page->size);
    assert(page->bits[i / WORD] >> i % WORD & 1);
    page->bits[i / WORD] &= ~((uint64_t)1 << i % WORD);
    ASAN_POISON_MEMORY_REGION(block, page->size);
    page->taken--;
    if (!page->is_partial)
        list_page(slab, page);
    if (page->taken == 0)
        close_page(slab, page);
}

void slab_give(struct slab *slab, void *block, size_t bytes)
{
    if (bytes > SLAB_SMALL_MAX)
        give_run(slab, block, run_pages(bytes));
    else
        give_block(slab, block);
}

/* --- clearing ----------------------------------------------------------------------------------------------------- */

bool slab_helps(const void *block, size_t block_bytes, size_t bytes)
{
    size_t size;
    if (block_bytes > SLAB_SMALL_MAX)
        return true;
    return bytes <= SLAB_SMALL_MAX && slab_page_of(block)->class == class_of(bytes, &size);
}

struct slab_page *slab_page_to_clear(const struct slab *slab, size_t bytes)
{
    size_t size;
    unsigned except = bytes > SLAB_SMALL_MAX ? SLAB_CLASSES_MAX : class_of(bytes, &size);
    struct slab_page *best = NULL;
    for (unsigned class = 0; class < SLAB_CLASSES_MAX; class ++) {
        struct slab_page *page = class == except ? NULL : slab->partial[class];
        for (unsigned looked = 0; page && looked < 8; looked++, page = page->next)
            if (page->taken * 4 <= page->blocks && (!best || page->taken * page->size < best->taken * best->size))
                best = page;
    }
    return best;
}

void slab_each(struct slab_page *page, void (*fn)(void *block, void *arg), void *arg)
{
    uint64_t bits[BLOCKS_MAX / WORD];
    size_t size = page->size;
    memcpy(bits, page->bits, sizeof bits);
    for (unsigned i = 0, blocks = page->blocks; i < blocks; i++)
        if (bits[i / WORD] >> i % WORD & 1)
            fn((char *)page + HEAD + i * size, arg);
}
