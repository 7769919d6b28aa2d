/* memory.c - the heap of one Lua state: every byte counted, a limit, and small blocks from free lists.
 *
 * DESIGN  A request makes some ten blocks of 16 to 200 bytes, and the collector frees them by the thousand; that pattern
 *         overflows the caches of a general heap. Blocks up to 256 bytes come from a list for each size class, carved
 *         from chunks of 32 KiB that are kept until the state closes. Larger ones go to the heap.
 *         Lua tells the old size of every block, so blocks need no header. A block that shrinks stays where it is and is
 *         later freed to the class of its new size, which it fits.
 *         Under AddressSanitizer every block is the heap's, so that it is watched.
 */
#include "script/memory.h"

#include "base/mem.h"

#include <string.h>

enum { SMALL_MAX = MEMORY_STEP * (MEMORY_CLASSES - 1), CHUNK_BYTES = 32 * 1024 };

struct memory_chunk {
    struct memory_chunk *next;
    void *align;
    char blocks[CHUNK_BYTES];
};

static bool is_small(size_t bytes)
{
#if defined(__SANITIZE_ADDRESS__)
    return bytes == 0;
#else
    return bytes <= SMALL_MAX;
#endif
}

static size_t class_of(size_t bytes) { return (bytes + MEMORY_STEP - 1) / MEMORY_STEP; }

static void put_idle(struct script_memory *memory, void *block, size_t class)
{
    *(void **)block = memory->idle[class];
    memory->idle[class] = block;
}

/* A new chunk; what was left of the last one becomes idle blocks. */
static bool more(struct script_memory *memory)
{
    struct memory_chunk *chunk = mem_alloc(MEM_LUA, sizeof *chunk);
    if (!chunk)
        return false;
    size_t left = (size_t)(memory->end - memory->at) / MEMORY_STEP;
    if (left > 0)
        put_idle(memory, memory->at, left < MEMORY_CLASSES ? left : MEMORY_CLASSES - 1);
    chunk->next = memory->chunks;
    memory->chunks = chunk;
    memory->at = chunk->blocks;
    memory->end = chunk->blocks + CHUNK_BYTES;
    return true;
}

static void *take_small(struct script_memory *memory, size_t bytes)
{
    size_t class = class_of(bytes), size = class * MEMORY_STEP;
    void *block = memory->idle[class];
    if (block) {
        memory->idle[class] = *(void **)block;
        return block;
    }
    if ((size_t)(memory->end - memory->at) < size && !more(memory))
        return NULL;
    block = memory->at;
    memory->at += size;
    return block;
}

static void *take(struct script_memory *memory, size_t bytes)
{
    return is_small(bytes) ? take_small(memory, bytes) : mem_alloc(MEM_LUA, bytes);
}

static void give(struct script_memory *memory, void *ptr, size_t bytes)
{
    if (!is_small(bytes))
        mem_free(ptr);
    else if (bytes > 0)
        put_idle(memory, ptr, class_of(bytes));
}

static void *resize(struct script_memory *memory, void *ptr, size_t old, size_t bytes)
{
    if (!is_small(old) && !is_small(bytes)) {
        void *fresh = mem_grow(MEM_LUA, ptr, bytes);
        return fresh || bytes > old ? fresh : ptr; /* where the heap cannot shrink it, it still fits */
    }
    if (is_small(old) && class_of(bytes) <= class_of(old))
        return ptr;
    void *fresh = take(memory, bytes);
    if (!fresh)
        return NULL;
    memcpy(fresh, ptr, old < bytes ? old : bytes);
    give(memory, ptr, old);
    return fresh;
}

void *memory_allocate(void *arg, void *ptr, size_t old, size_t bytes)
{
    struct script_memory *memory = arg;
    if (!ptr)
        old = 0; /* then it is the type of the object */
    if (bytes == 0) {
        if (ptr)
            give(memory, ptr, old);
        memory->bytes -= old;
        return NULL;
    }
    if (bytes > old && memory->bytes + (bytes - old) > memory->bytes_max && !memory->unlimited)
        return NULL;
    void *block = ptr && old ? resize(memory, ptr, old, bytes) : take(memory, bytes);
    if (block)
        memory->bytes += bytes - old;
    return block;
}

void memory_clear(struct script_memory *memory)
{
    while (memory->chunks) {
        struct memory_chunk *next = memory->chunks->next;
        mem_free(memory->chunks);
        memory->chunks = next;
    }
}
