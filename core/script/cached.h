/* cached.h - a value out of the cache: a reference to its entry, decoded when somebody looks inside. */
#ifndef SCRIPT_CACHED_H
#define SCRIPT_CACHED_H

#include "base/buf.h"
#include "cache/read.h"

#include <lua.h>

struct cached { struct cache_entry *entry; enum cache_source source; bool stale, is_counted; };
/* Empty: the caller puts a reference to an entry into it, and then calls cached_hold. [-0, +1] */
struct cached *cached_push(lua_State *L);
/* The bytes it holds are counted. May raise: what a loader made and the cache has no room for is a result that Lua holds, and
 * lua.memory bounds those. */
void cached_hold(lua_State *L, struct cached *cached);
struct cached *cached_test(lua_State *L, int index);       /* NULL: something else */
bool cached_add_json(lua_State *L, int index, struct buf *out);
struct str cached_label(const struct cached *cached);      /* the header line X-Cache, CRLF included */
void cached_open(lua_State *L);

#endif
