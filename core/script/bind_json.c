/* bind_json.c - native.json: encode, decode, null, array, object. Integers stay exact, [] stays []. */
#include "script/state.h"
#include "script/value.h"

/* json.encode(value [, pretty]) -> text */
static int json_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    struct buf *out = &vm_of(L)->out;
    struct value_why why;
    buf_reset(out);
    if (!(lua_toboolean(L, 2) ? value_add_json_pretty : value_add_json)(L, 1, out, &why))
        return luaL_error(L, "cannot write this as JSON: value%s", why.text);
    lua_pushlstring(L, out->data, out->len);
    return 1;
}

/* json.decode(text [, { depth_max = }]) -> value | nil, why; depth_max: 64, at most 128 */
static int json_decode(lua_State *L)
{
    struct str text = { NULL, 0 };
    text.data = luaL_checklstring(L, 1, &text.len);
    lua_Integer depth = VALUE_DEPTH_OUTSIDE_MAX;
    if (lua_istable(L, 2)) {
        lua_getfield(L, 2, "depth_max");
        depth = luaL_optinteger(L, -1, depth);
    }
    struct json_where where = { 0 };
    enum fail fail = value_push_json(L, text, depth > 0 && depth < VALUE_DEPTH_MAX ? (unsigned)depth : VALUE_DEPTH_MAX,
                                     &where);
    if (fail == FAIL_OK)
        return 1;
    lua_pushnil(L);
    lua_pushfstring(L, "%s at byte %d", where.why ? where.why : fail_text(fail), (int)where.offset);
    return 2;
}

static int mark(lua_State *L, int reference)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, reference);
    lua_setmetatable(L, 1);
    return 1;
}

/* json.array(t) -> t, marked as an array also when it is empty; json.object(t) likewise */
static int json_array(lua_State *L) { return mark(L, vm_of(L)->array_meta); }
static int json_object(lua_State *L) { return mark(L, vm_of(L)->object_meta); }

/* json.is_array(t): marked as one, or of the shape of one */
static int json_is_array(lua_State *L)
{
    bool is = false;
    if (lua_istable(L, 1)) {
        is = lua_rawlen(L, 1) > 0;
        if (lua_getmetatable(L, 1))
            is = lua_topointer(L, -1) == vm_of(L)->array_mark;
    }
    lua_pushboolean(L, is);
    return 1;
}

void bind_json_push(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "encode", json_encode }, { "decode", json_decode },     { "array", json_array },
        { "object", json_object }, { "is_array", json_is_array }, { NULL, NULL },
    };
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    value_push_null(L);
    lua_setfield(L, -2, "null");
}
