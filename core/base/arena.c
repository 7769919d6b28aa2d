/* arena.c - memory that ends with a request.
 *
 * DESIGN  A chain of blocks, filled from the front; `current` is the one being filled. A new block is twice as large
 *         as the one before, from BLOCK_BYTES up to BLOCK_BYTES_MAX, or as large as one big allocation needs. Reset
 *         keeps the largest block that is no larger than KEEP_BYTES, so that the next request of the same kind needs
 *         no new one and an idle connection holds little. Under AddressSanitizer what is not handed out is poisoned.
 * HOLDS   total = sum of the blocks' bytes <= bytes_max.
 */
#include "base/arena.h"

#include <assert.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

#define ALIGN 16u
#define BYTES_MAX (16u << 20)
#define BLOCK_BYTES 4064u /* with the two heads around it one page */
#define BLOCK_BYTES_MAX (64u << 10)
#define KEEP_BYTES (16u << 10)

struct arena_block {
    struct arena_block *next;
    size_t bytes; /* of data */
    char data[];
};
_Static_assert(sizeof(struct arena_block) % ALIGN == 0, "data is aligned");

void arena_init(struct arena *arena, enum mem_tag tag, size_t bytes_max)
{
    *arena = (struct arena){ .tag = tag, .bytes_max = bytes_max ? bytes_max : BYTES_MAX };
}

static void start_at(struct arena *arena, struct arena_block *block)
{
    arena->current = block;
    arena->at = block->data;
    arena->end = block->data + block->bytes;
    ASAN_POISON_MEMORY_REGION(block->data, block->bytes);
}

/* How large the next block should be; 0 when `need` does not fit within the limit. */
static size_t next_bytes(const struct arena *arena, size_t need)
{
    size_t left = arena->bytes_max - arena->total;
    if (need > left)
        return 0;
    size_t bytes = arena->current ? arena->current->bytes * 2 : BLOCK_BYTES;
    if (bytes > BLOCK_BYTES_MAX)
        bytes = BLOCK_BYTES_MAX;
    if (bytes > left)
        bytes = left & ~(size_t)(ALIGN - 1);
    return bytes < need ? need : bytes;
}

static void *alloc_slow(struct arena *arena, size_t bytes)
{
    size_t block_bytes = next_bytes(arena, bytes);
    if (block_bytes == 0)
        return NULL;
    struct arena_block *block = mem_alloc(arena->tag, sizeof *block + block_bytes);
    if (!block)
        return NULL;
    block->next = NULL;
    block->bytes = block_bytes;
    if (arena->current)
        arena->current->next = block;
    else
        arena->first = block;
    arena->total += block_bytes;
    start_at(arena, block);
    arena->at += bytes;
    ASAN_UNPOISON_MEMORY_REGION(block->data, bytes);
    return block->data;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    if (bytes > arena->bytes_max)
        return NULL;
    size_t rounded = bytes ? (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1) : ALIGN;
    if (rounded > (size_t)(arena->end - arena->at))
        return alloc_slow(arena, rounded);
    char *ptr = arena->at;
    arena->at += rounded;
    ASAN_UNPOISON_MEMORY_REGION(ptr, bytes);
    return ptr;
}

char *arena_dup(struct arena *arena, const char *data, size_t len)
{
    if (len >= arena->bytes_max)
        return NULL;
    char *copy = arena_alloc(arena, len + 1);
    if (!copy)
        return NULL;
    if (len)
        memcpy(copy, data, len);
    copy[len] = '\0';
    return copy;
}

struct str arena_str(struct arena *arena, struct str text)
{
    char *copy = arena_dup(arena, text.data, text.len);
    return copy ? str_make(copy, text.len) : STR_NONE;
}

static struct arena_block *best_to_keep(const struct arena *arena)
{
    struct arena_block *best = NULL;
    for (struct arena_block *block = arena->first; block; block = block->next)
        if (block->bytes <= KEEP_BYTES && (!best || block->bytes > best->bytes))
            best = block;
    return best;
}

/* Gives all blocks back but `kept`, which may be NULL. */
static void drop_blocks(struct arena *arena, const struct arena_block *kept)
{
    struct arena_block *block = arena->first;
    while (block) {
        struct arena_block *next = block->next;
        if (block != kept)
            mem_free(block);
        block = next;
    }
    arena_init(arena, arena->tag, arena->bytes_max);
}

void arena_reset(struct arena *arena)
{
    struct arena_block *kept = arena->first;
    if (!kept)
        return;
    if (kept->next || kept->bytes > KEEP_BYTES) {
        kept = best_to_keep(arena);
        drop_blocks(arena, kept);
        if (!kept)
            return;
        kept->next = NULL;
        arena->first = kept;
        arena->total = kept->bytes;
    }
    assert(arena->total == kept->bytes);
    start_at(arena, kept);
}

void arena_clear(struct arena *arena) { drop_blocks(arena, NULL); }
