/* bounded_table.c - the functions of table, which end when the CPU budget of the task is spent.
 *
 * DESIGN  After ltablib.c of Lua 5.4: same arguments, same results, same errors. A table without metatable holds what they go
 *         through, so the memory of the VM bounds them. One with metatable may say that it goes on for ever (__len: refused), or
 *         give values for all places by a C function, or by two thousand tables one behind the other (__index: 20 us for each
 *         place), so places are counted. Comparing may take long in any table, when the texts are.
 * Path:   plugins > [script/bounded_table] > the standard library
 */
#include "script/bounded.h"
#include "script/budget.h"

#include <limits.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>

enum { MOVE_MAX = 10 * 1000 * 1000, STEPS = 4096, META_STEPS = 64, SMALL = 4096, SHORT = 256 };

struct work {
    lua_State *L;
    unsigned cost, steps;
};

static int original(lua_State *L) { return lua_tocfunction(L, lua_upvalueindex(1))(L); }

static bool has_metatable(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index))
        return false;
    lua_pop(L, 1);
    return true;
}

static struct work begin(lua_State *L, bool has_metatable)
{
    return (struct work){ .L = L, .cost = has_metatable ? STEPS / META_STEPS : 1 };
}

static void step(struct work *work)
{
    if ((work->steps += work->cost) < STEPS)
        return;
    work->steps = 0;
    budget_check(work->L);
}

/* The length has to be that of the table itself. */
static void refuse_length(lua_State *L)
{
    if (luaL_getmetafield(L, 1, "__len") != LUA_TNIL)
        luaL_argerror(L, 1, "a table without __len expected");
}

static bool is_plain(lua_State *L)
{
    refuse_length(L);
    return lua_type(L, 1) != LUA_TTABLE || !has_metatable(L, 1);
}

/* table.concat(t [, separator [, first [, last]]]) */
static int table_concat(lua_State *L)
{
    size_t separator_len = 0;
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *separator = luaL_optlstring(L, 2, "", &separator_len);
    lua_Integer first = luaL_optinteger(L, 3, 1);
    lua_Integer last = luaL_opt(L, luaL_checkinteger, 4, luaL_len(L, 1));
    struct work work = begin(L, has_metatable(L, 1));
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    for (lua_Integer i = first; i <= last; i++) {
        step(&work);
        if (i > first)
            luaL_addlstring(&out, separator, separator_len);
        lua_geti(L, 1, i);
        if (!lua_isstring(L, -1))
            return luaL_error(L, "invalid value (at index %I) in table for 'concat'", (LUAI_UACINT)i);
        luaL_addvalue(&out);
        if (i == LUA_MAXINTEGER)
            break;
    }
    luaL_pushresult(&out);
    return 1;
}

static void copy(struct work *work, lua_Integer from, int to_table, lua_Integer to)
{
    step(work);
    lua_geti(work->L, 1, from);
    lua_seti(work->L, to_table, to);
}

/* table.move(from, first, last, place [, to]) */
static int table_move(lua_State *L)
{
    lua_Integer first = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3), place = luaL_checkinteger(L, 4);
    int to = lua_isnoneornil(L, 5) ? 1 : 5;
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, to, LUA_TTABLE);
    lua_settop(L, 5);
    if (last >= first) {
        luaL_argcheck(L, (lua_Unsigned)last - (lua_Unsigned)first < MOVE_MAX, 3, "too many elements to move");
        lua_Integer count = last - first + 1;
        luaL_argcheck(L, place <= LUA_MAXINTEGER - count + 1, 4, "destination wrap around");
        struct work work = begin(L, has_metatable(L, 1) || has_metatable(L, to));
        bool upwards = place > last || place <= first || (to != 1 && !lua_rawequal(L, 1, to));
        for (lua_Integer i = 0; i < count; i++) {
            lua_Integer at = upwards ? i : count - 1 - i;
            copy(&work, first + at, to, place + at);
        }
    }
    lua_pushvalue(L, to);
    return 1;
}

/* table.unpack(t [, first [, last]]) */
static int table_unpack(lua_State *L)
{
    if (lua_type(L, 1) != LUA_TTABLE || !has_metatable(L, 1))
        return original(L);
    lua_Integer first = luaL_optinteger(L, 2, 1), last = luaL_opt(L, luaL_checkinteger, 3, luaL_len(L, 1));
    if (first > last)
        return 0;
    lua_Unsigned more = (lua_Unsigned)last - (lua_Unsigned)first;
    if (more >= INT_MAX || !lua_checkstack(L, (int)more + 1))
        return luaL_error(L, "too many results to unpack");
    struct work work = begin(L, true);
    for (lua_Unsigned i = 0; i <= more; i++) {
        step(&work);
        lua_geti(L, 1, first + (lua_Integer)i);
    }
    return (int)more + 1;
}

/* table.insert(t [, place], value): most come at the end, where nothing moves */
static int table_insert(lua_State *L)
{
    if (is_plain(L) || lua_gettop(L) != 3)
        return original(L);
    lua_Integer end = luaL_len(L, 1) + 1, place = luaL_checkinteger(L, 2);
    luaL_argcheck(L, (lua_Unsigned)place - 1u < (lua_Unsigned)end, 2, "position out of bounds");
    struct work work = begin(L, true);
    for (lua_Integer i = end; i > place; i--)
        copy(&work, i - 1, 1, i);
    lua_seti(L, 1, place);
    return 0;
}

/* table.remove(t [, place]) */
static int table_remove(lua_State *L)
{
    if (is_plain(L))
        return original(L);
    lua_Integer size = luaL_len(L, 1), place = luaL_optinteger(L, 2, size);
    if (lua_gettop(L) > 1)
        luaL_argcheck(L, (lua_Unsigned)place - 1u <= (lua_Unsigned)size, 2, "position out of bounds");
    lua_geti(L, 1, place);
    struct work work = begin(L, true);
    for (; place < size; place++)
        copy(&work, place + 1, 1, place);
    lua_pushnil(L);
    lua_seti(L, 1, place);
    return 1;
}

/* --- sort --------------------------------------------------------------------------------------------------------- */

static size_t compare_cost(lua_State *L, int index)
{
    return lua_type(L, index) == LUA_TSTRING ? lua_rawlen(L, index) / (2 * SHORT) : 0;
}

/* Compares as upvalue 1 does, or by <, and counts: upvalue 2 is what it costs, upvalue 3 what it cost since the last look. */
static int compare_counted(lua_State *L)
{
    lua_Integer cost = lua_tointeger(L, lua_upvalueindex(2)) + lua_tointeger(L, lua_upvalueindex(3));
    cost += (lua_Integer)(compare_cost(L, 1) + compare_cost(L, 2));
    if (cost >= STEPS) {
        cost = 0;
        budget_check(L);
    }
    lua_pushinteger(L, cost);
    lua_replace(L, lua_upvalueindex(3));
    if (lua_isnil(L, lua_upvalueindex(1))) {
        lua_pushboolean(L, lua_compare(L, 1, 2, LUA_OPLT));
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 2, 1);
    return 1;
}

/* Few elements, all of them numbers or short texts: over before anybody would look. */
static bool is_soon_sorted(lua_State *L)
{
    lua_Unsigned count = lua_rawlen(L, 1);
    bool soon = count <= SMALL && lua_isnoneornil(L, 2) && !has_metatable(L, 1);
    for (lua_Integer i = 1; soon && i <= (lua_Integer)count; i++) {
        int type = lua_rawgeti(L, 1, i);
        soon = type == LUA_TNUMBER || (type == LUA_TSTRING && lua_rawlen(L, -1) <= SHORT);
        lua_pop(L, 1);
    }
    return soon;
}

/* table.sort(t [, compare]): a function of Lua is seen by hooks, what is done in C is counted */
static int table_sort(lua_State *L)
{
    refuse_length(L);
    bool is_lua = lua_isfunction(L, 2) && !lua_iscfunction(L, 2);
    if (lua_type(L, 1) != LUA_TTABLE || is_lua || (!lua_isnoneornil(L, 2) && !lua_isfunction(L, 2)) ||
        is_soon_sorted(L))
        return original(L);
    lua_settop(L, 2);
    lua_pushinteger(L, has_metatable(L, 1) ? STEPS / META_STEPS : 1);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, compare_counted, 3);
    return original(L);
}

void bounded_table_open(lua_State *L)
{
    static const luaL_Reg functions[] = { { "concat", table_concat },
                                          { "move", table_move },
                                          { "unpack", table_unpack },
                                          { "insert", table_insert },
                                          { "remove", table_remove },
                                          { "sort", table_sort },
                                          { NULL, NULL } };
    bounded_put_over(L, LUA_TABLIBNAME, functions);
}
