/* bounded.c - functions of the standard library that could run for ever in one C call, where no hook can end them.
 *
 * DESIGN  They do what they did, except where that has no end in sight: ("").rep("", 1e18), a table.move of 1e18 places,
 *         table.insert into a table whose __len says 1e18. Patterns have a file of their own.
 * Path:   plugins > [script/bounded] > the standard library
 */
#include "script/bounded.h"

#include "script/budget.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

enum { MOVE_MAX = 10 * 1000 * 1000, LONG = 1 << 20 };

/* What it is put over; upvalue 1. */
static int original(lua_State *L) { return lua_tocfunction(L, lua_upvalueindex(1))(L); }

static int string_rep(lua_State *L)
{
    size_t len = 0, separator_len = 0;
    luaL_checklstring(L, 1, &len);
    lua_Integer count = luaL_checkinteger(L, 2);
    luaL_optlstring(L, 3, "", &separator_len);
    if (len + separator_len == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (count > LONG)
        budget_check(L);
    return original(L);
}

static int table_move(lua_State *L)
{
    lua_Integer from = luaL_checkinteger(L, 2), to = luaL_checkinteger(L, 3);
    if (to >= from) {
        lua_Unsigned steps = (lua_Unsigned)to - (lua_Unsigned)from;
        luaL_argcheck(L, steps < MOVE_MAX, 3, "too many elements to move");
        if (steps > LONG)
            budget_check(L);
    }
    return original(L);
}

/* insert, remove, sort: the length has to be that of the table itself. */
static int of_own_length(lua_State *L)
{
    if (luaL_getmetafield(L, 1, "__len") != LUA_TNIL)
        return luaL_argerror(L, 1, "a table without __len expected");
    return original(L);
}

static void put_over(lua_State *L, const char *library, const luaL_Reg *functions)
{
    lua_getglobal(L, library);
    for (; functions->name; functions++) {
        lua_getfield(L, -1, functions->name);
        lua_pushcclosure(L, functions->func, 1);
        lua_setfield(L, -2, functions->name);
    }
    lua_pop(L, 1);
}

void bounded_open(lua_State *L)
{
    static const luaL_Reg of_string[] = { { "rep", string_rep }, { NULL, NULL } };
    static const luaL_Reg of_table[] = { { "move", table_move },
                                         { "insert", of_own_length },
                                         { "remove", of_own_length },
                                         { "sort", of_own_length },
                                         { NULL, NULL } };
    put_over(L, LUA_STRLIBNAME, of_string);
    put_over(L, LUA_TABLIBNAME, of_table);
}
