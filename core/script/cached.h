/* cached.h - a value out of the cache: a reference to its entry, decoded when somebody looks inside. */
#ifndef SCRIPT_CACHED_H
#define SCRIPT_CACHED_H

#include "base/buf.h"
#include "cache/read.h"

#include <lua.h>

struct cached { struct cache_entry *entry; enum cache_source source; bool stale; };
/* Empty: the caller puts a reference to an entry into it. [-0, +1] */
struct cached *cached_push(lua_State *L);
struct cached *cached_test(lua_State *L, int index);       /* NULL: something else */
/* Bytes the collector is told of: small entries live in the cache anyway, large ones may outlive their eviction. */
static inline size_t cached_weight(const struct cache_entry *entry) { return entry->value_len > 4096 ? entry->value_len : 0; }
bool cached_add_json(lua_State *L, int index, struct buf *out);
struct str cached_label(const struct cached *cached);      /* the header line X-Cache, CRLF included */
void cached_open(lua_State *L);

#endif
