/* sandbox.c - what no Lua file of ours or of a plugin can do by accident: read or write a global that nobody declared,
 * change the methods of all strings, run bytecode, stay in a C function for ever.
 *
 * The environment of a plugin is made by lua/wick/sandbox.lua; here is what it cannot do itself.
 */
#include "script/bounded.h"
#include "script/pattern.h"
#include "script/state.h"

#include <lualib.h>

static int undeclared_read(lua_State *L)
{
    return luaL_error(L, "undeclared global '%s' is read", luaL_tolstring(L, 2, NULL));
}

static int undeclared_write(lua_State *L)
{
    return luaL_error(L, "undeclared global '%s' is written; make it local", luaL_tolstring(L, 2, NULL));
}

void sandbox_open(lua_State *L)
{
    static const luaL_Reg strict[] = { { "__index", undeclared_read },
                                       { "__newindex", undeclared_write },
                                       { NULL, NULL } };
    lua_pushglobaltable(L);
    lua_newtable(L);
    luaL_setfuncs(L, strict, 0);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);

    pattern_open(L);
    bounded_open(L);
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

int sandbox_load(lua_State *L)
{
    struct str text = { NULL, 0 };
    text.data = luaL_checklstring(L, 1, &text.len);
    const char *name = luaL_checkstring(L, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    if (luaL_loadbufferx(L, text.data, text.len, name, "t") != LUA_OK) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    lua_pushvalue(L, 3);
    if (!lua_setupvalue(L, -2, 1))
        lua_pop(L, 1);
    return 1;
}
