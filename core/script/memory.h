/* memory.h - the heap of one Lua state: every byte counted, a limit, and small blocks from free lists. */
#ifndef SCRIPT_MEMORY_H
#define SCRIPT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#define MEMORY_STEP 16
#define MEMORY_CLASSES 17                  /* of 0, 16, 32 .. 256 bytes */

struct memory_chunk;
struct script_memory {
    size_t bytes, bytes_max;               /* as Lua counts them */
    bool unlimited;                        /* the limit does not hold now */
    void *idle[MEMORY_CLASSES];
    char *at, *end;                        /* what is left of the newest chunk */
    struct memory_chunk *chunks;
};

/* A lua_Alloc; arg is the struct. */
void *memory_allocate(void *arg, void *ptr, size_t old, size_t bytes);
void memory_clear(struct script_memory *memory);   /* after lua_close */

#endif
