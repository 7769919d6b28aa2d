/* cache_options.c - what a plugin says of a cached value: its key, and how long and with which tags it is kept.
 *
 * DESIGN  An option nobody knows is refused: its author would believe that it means something.
 * Path:   script/bind_cache > [script/cache_options] > script/value
 */
#include "script/cache_options.h"

#include "script/state.h"
#include "script/value.h"

#include <string.h>

size_t cache_key_check(lua_State *L, const struct cache_ud *ud)
{
    size_t len = 0;
    luaL_checklstring(L, 2, &len);
    luaL_argcheck(L, len > 0 && len + ud->prefix_len <= CACHE_KEY_MAX, 2, "a key has 1 to 4000 bytes");
    return len + ud->prefix_len;
}

struct str cache_key_write(lua_State *L, const struct cache_ud *ud, char *out)
{
    struct str key = value_str(L, 2);
    memcpy(out, ud->prefix, ud->prefix_len);
    memcpy(out + ud->prefix_len, key.data, key.len);
    return str_make(out, ud->prefix_len + key.len);
}

static void read_duration(lua_State *L, const char *name, uint64_t *ms)
{
    if (!value_duration(L, -1, ms))
        luaL_error(L, "cx.cache: %s is milliseconds or a duration such as \"30s\"", name);
}

/* The tags are anchored by the list, which the table of options holds, until Lua runs again. */
static void read_tags(lua_State *L, struct cache_options *options)
{
    if (lua_type(L, -1) != LUA_TTABLE)
        luaL_error(L, "cx.cache: tags is a list of strings");
    lua_Integer count = (lua_Integer)lua_rawlen(L, -1);
    if (count > CACHE_TAGS_MAX)
        luaL_error(L, "cx.cache: at most %d tags are possible", CACHE_TAGS_MAX);
    for (lua_Integer i = 1; i <= count; i++) {
        if (lua_rawgeti(L, -1, i) != LUA_TSTRING)
            luaL_error(L, "cx.cache: tags are strings");
        options->tags[options->tag_count++] = value_str(L, -1);
        lua_pop(L, 1);
    }
}

/* Stack: .. name, value. */
static void read_option(lua_State *L, struct cache_options *options)
{
    struct str name = lua_type(L, -2) == LUA_TSTRING ? value_str(L, -2) : STR_NONE;
    if (str_is(name, STR("ttl")))
        read_duration(L, "ttl", &options->ttl_ms);
    else if (str_is(name, STR("memory_only")))
        options->memory_only = lua_toboolean(L, -1);
    else if (str_is(name, STR("memory_ttl")))
        read_duration(L, "memory_ttl", &options->memory_ms);
    else if (str_is(name, STR("stale")))
        read_duration(L, "stale", &options->stale_ms);
    else if (str_is(name, STR("tags")))
        read_tags(L, options);
    else
        luaL_error(L, "cx.cache: no option '%s'; there are ttl, stale, memory_ttl, memory_only and tags",
                   luaL_tolstring(L, -2, NULL));
}

void cache_options_read(lua_State *L, int index, struct cache_options *options)
{
    *options = (struct cache_options){ .ttl_ms = vm_of(L)->ttl_ms };
    if (lua_isnoneornil(L, index))
        return;
    luaL_checktype(L, index, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        read_option(L, options);
        lua_pop(L, 1);
    }
}
