/* cache_options.h - what a plugin says of a cached value: its key, and how long and with which tags it is kept. */
#ifndef SCRIPT_CACHE_OPTIONS_H
#define SCRIPT_CACHE_OPTIONS_H

#include "cache/read.h"

#include <lua.h>

enum { CACHE_KEY_MAX = 4096, CACHE_PREFIX_MAX = 64 };

/* cx.cache of a plugin. */
struct cache_ud {
    size_t prefix_len;
    char prefix[CACHE_PREFIX_MAX];        /* "registry:" */
};

struct cache_options {
    uint64_t ttl_ms, stale_ms, memory_ms; /* memory_ms 0: as long as ttl_ms */
    bool memory_only;
    struct str tags[CACHE_TAGS_MAX];
    unsigned tag_count;
};

/* Checks the key at 2; returns its length with the prefix. Raises before anything is taken. */
size_t cache_key_check(lua_State *L, const struct cache_ud *ud);
/* Writes prefix and key, cache_key_check's length, to out. */
struct str cache_key_write(lua_State *L, const struct cache_ud *ud, char *out);
/* The table of options at index, or the VM's defaults where there is none. The tags are anchored by it until Lua runs again. */
void cache_options_read(lua_State *L, int index, struct cache_options *options);

#endif
