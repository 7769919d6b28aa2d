/* value.h - Lua values to JSON and back, exactly; cells of the database to Lua values.
 *
 * A table is an array when it is marked (json.array), or has exactly the keys 1..n with n > 0; else an object, its keys in the order
 * of their bytes so that the same value always gives the same text. Keys of objects are strings or integers.
 * Row, rows and cached values stand for their JSON wherever they are.
 */
#ifndef SCRIPT_VALUE_H
#define SCRIPT_VALUE_H

#include "base/buf.h"
#include "base/json.h"
#include "sql/rows.h"

#include <lua.h>

#define VALUE_DEPTH_MAX 128          /* of what is written, and read again: a body in an answer, in a cache, in a batch */
#define VALUE_DEPTH_OUTSIDE_MAX 64   /* of what comes from outside */

struct value_why { char text[160]; };      /* why it cannot be written, with the path: ".items[3].name: not UTF-8" */

/* Appends the value at index. Never raises. False: *why is filled, out is as long as before. [-0, +0] */
bool value_add_json(lua_State *L, int index, struct buf *out, struct value_why *why);
/* The same with line breaks and two spaces for each level. */
bool value_add_json_pretty(lua_State *L, int index, struct buf *out, struct value_why *why);
/* Pushes the value of a JSON document; depth_max 0 is VALUE_DEPTH_MAX. Integers beyond int64 are refused. Never raises.
 * [-0, +1 on FAIL_OK] */
MUST_USE enum fail value_push_json(lua_State *L, struct str text, unsigned depth_max, struct json_where *where);
/* int -> integer, float -> number, numeric -> string, json -> decoded, NULL -> nil, the rest as text. [-0, +1] */
void value_push_cell(lua_State *L, struct sql_cell cell);
static inline void value_push_null(lua_State *L) { lua_pushlightuserdata(L, NULL); }
/* A number of ms, or text with a unit as lua/wick/units.lua reads it ("250ms", "30s", "1.5h", "5 min", "1w"). False: it is neither.
 * [-0, +0] */
bool value_duration(lua_State *L, int index, uint64_t *ms);
static inline struct str value_str(lua_State *L, int index)   /* of a string; borrowed while it is on the stack */
{
    struct str text;
    text.data = lua_tolstring(L, index, &text.len);
    return text;
}

#endif
