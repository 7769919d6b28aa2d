/* mem.h - the heap, with every byte on somebody's account.
 *
 * Each block remembers its size and its tag. Live bytes by tag are exact and reach zero at exit, or the
 * run fails (mem_report). Counters are kept per thread without atomics on the way and added up on demand.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <stdio.h>

enum mem_tag {
    MEM_BASE, MEM_LOOP, MEM_HTTP, MEM_METRICS, MEM_CACHE, MEM_REDIS, MEM_SQL, MEM_POSTGRES, MEM_SQLITE, MEM_SERVE, MEM_SCRIPT,
    MEM_LUA, MEM_APP, MEM_TAGS
};

/* Uninitialised / zeroed block, or NULL. Aligned for any type. The caller owns it until mem_free. */
void *mem_alloc(enum mem_tag tag, size_t bytes);
void *mem_zero(enum mem_tag tag, size_t bytes);
/* Like realloc; on NULL the old block is untouched. ptr may be NULL. The tag stays that of the old block. */
void *mem_grow(enum mem_tag tag, void *ptr, size_t bytes);
char *mem_dup(enum mem_tag tag, const char *data, size_t len); /* adds a NUL */
void mem_free(void *ptr);                                      /* NULL is fine */

size_t mem_live(void);                  /* live bytes in all, over all threads */
size_t mem_live_tag(enum mem_tag tag);
const char *mem_tag_name(enum mem_tag tag);
/* Writes a line for each tag with live bytes to `out`; returns how many bytes are live. */
size_t mem_report(FILE *out);
/* For specs: the n-th allocation from now (1 = the next) fails, once; 0 switches off. This thread only. */
void mem_fail_after(unsigned n);

#endif
