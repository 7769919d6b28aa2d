/* cached.c - a value out of the cache: a reference to its entry, decoded when somebody looks inside.
 *
 * cached.field and cached[1] look into the decoded value; #cached, pairs(cached) and cached() (the whole) as well. A field
 * of the data named "value" hides the method :value(); cached() is always the whole.
 */
#include "script/cached.h"

#include "script/state.h"
#include "script/value.h"

/* Bytes the collector is told of: small entries live in the cache anyway, large ones may outlive their eviction. */
static size_t weight_of(const struct cached *cached)
{
    size_t bytes = cached->entry->value_len;
    return cached->is_counted || bytes > 4096 ? bytes : 0;
}

struct cached *cached_push(lua_State *L) { return udata_new(L, UD_CACHED, sizeof(struct cached), 1); }

void cached_hold(lua_State *L, struct cached *cached)
{
    /* Who only waited for another's loader has what that one is charged for. */
    cached->is_counted = cached->source == CACHE_FROM_LOADER && cache_entry_is_loose(cached->entry);
    if (cached->is_counted)
        vm_hold(L, weight_of(cached));
    else
        vm_of(L)->external += weight_of(cached);
}

struct cached *cached_test(lua_State *L, int index) { return udata_test(L, index, UD_CACHED); }

bool cached_add_json(lua_State *L, int index, struct buf *out)
{
    const struct cached *cached = cached_test(L, index);
    if (!cached || !cached->entry)
        return false;
    buf_add_str(out, cache_entry_value(cached->entry));
    return true;
}

struct str cached_label(const struct cached *cached)
{
    if (cached->stale)
        return STR("X-Cache: STALE; layer=l1\r\n");
    switch (cached->source) {
    case CACHE_FROM_L1: return STR("X-Cache: HIT; layer=l1\r\n");
    case CACHE_FROM_L2: return STR("X-Cache: HIT; layer=l2\r\n");
    case CACHE_FROM_FLIGHT: return STR("X-Cache: HIT; layer=flight\r\n");
    case CACHE_FROM_LOADER: break;
    }
    return STR("X-Cache: MISS\r\n");
}

/* The decoded value. [-0, +1] */
static void push_decoded(lua_State *L)
{
    const struct cached *cached = udata_check(L, 1, UD_CACHED);
    luaL_argcheck(L, cached->entry, 1, "empty cached value");
    if (lua_getiuservalue(L, 1, 1) != LUA_TNIL)
        return;
    lua_pop(L, 1);
    struct json_where where = { 0 };
    if (value_push_json(L, cache_entry_value(cached->entry), 0, &where))
        luaL_error(L, "this cached value cannot be decoded: %s", where.why ? where.why : "no memory");
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, 1);
}

/* cached:value() and cached() */
static int cached_value(lua_State *L)
{
    push_decoded(L);
    return 1;
}

static int cached_index(lua_State *L)
{
    push_decoded(L);
    if (lua_istable(L, -1)) {
        lua_pushvalue(L, 2);
        if (lua_rawget(L, -2) != LUA_TNIL)
            return 1;
    }
    if (lua_type(L, 2) == LUA_TSTRING && str_is(value_str(L, 2), STR("value")))
        lua_pushcfunction(L, cached_value);
    else
        lua_pushnil(L);
    return 1;
}

static int cached_len(lua_State *L)
{
    push_decoded(L);
    lua_pushinteger(L, lua_istable(L, -1) ? (lua_Integer)lua_rawlen(L, -1) : 0);
    return 1;
}

static int cached_pairs(lua_State *L)
{
    push_decoded(L);
    luaL_checktype(L, -1, LUA_TTABLE);
    lua_getglobal(L, "next");
    lua_insert(L, -2);
    return 2;
}

static int cached_newindex(lua_State *L)
{
    return luaL_error(L, "a cached value belongs to all who read it and cannot be changed");
}

static int cached_gc(lua_State *L)
{
    struct cached *cached = lua_touserdata(L, 1);
    if (!cached->entry)
        return 0;
    if (cached->is_counted)
        vm_let_go(vm_of(L), weight_of(cached));
    else
        vm_of(L)->external -= weight_of(cached);
    cache_entry_unref(cached->entry);
    cached->entry = NULL;
    return 0;
}

void cached_open(lua_State *L)
{
    static const luaL_Reg metamethods[] = {
        { "__index", cached_index },
        { "__len", cached_len },
        { "__pairs", cached_pairs },
        { "__call", cached_value },
        { "__newindex", cached_newindex },
        { "__gc", cached_gc },
        { NULL, NULL },
    };
    udata_family(L, UD_CACHED, "cached value", metamethods, NULL);
}
