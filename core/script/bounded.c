/* bounded.c - functions of the standard library that could run for long in one C call, where no hook can end them.
 *
 * DESIGN  They do what they did, except where that has no end in sight: ("").rep("", 1e18), a date format of a megabyte. What is
 *         bounded by the memory of the VM and done in a few nanoseconds for each byte stays as it is. Those of table have a file of
 *         their own, and so have patterns.
 *         pcall refuses more than DEPTH_MAX calls around it: where each of thousands catches the error that ends the task, and
 *         each time Lua goes through the stack to shrink it, the end takes a minute. (Lua's own limit of 200 C calls does not hold in
 *         a coroutine that has caught an error.)
 * Path:   plugins > [script/bounded] > the standard library
 */
#include "script/bounded.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>
#include <string.h>

enum { DEPTH_MAX = 1000, CONVERSIONS_MAX = 1000, QUOTED_MAX = 1 << 20, PACK_MAX = 64 << 10, DATE_MAX = 1000 };

/* What it is put over; upvalue 1. */
static int original(lua_State *L) { return lua_tocfunction(L, lua_upvalueindex(1))(L); }

static int string_rep(lua_State *L)
{
    size_t len = 0, separator_len = 0, bytes = 0, left = 0;
    const char *text = luaL_checklstring(L, 1, &len);
    lua_Integer count = luaL_checkinteger(L, 2);
    const char *separator = luaL_optlstring(L, 3, "", &separator_len);
    if (count <= 0 || len + separator_len == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (__builtin_mul_overflow((size_t)count, len + separator_len, &bytes) || bytes > LUA_MAXINTEGER)
        return luaL_error(L, "resulting string too large");
    bytes -= separator_len;
    luaL_Buffer out;
    char *data = luaL_buffinitsize(L, &out, bytes);
    memcpy(data, text, len);
    size_t done = len;
    if (count > 1) {
        memcpy(data + len, separator, separator_len);
        done += separator_len;
    }
    for (; (left = bytes - done) > 0; done += left < done ? left : done) /* what is there, once more */
        memcpy(data + done, data, left < done ? left : done);
    luaL_pushresultsize(&out, bytes);
    return 1;
}

/* Does the format quote (%q)? Its conversions are counted. */
static bool has_quotes(const char *format, size_t len, size_t *conversions)
{
    bool quotes = false;
    const char *end = format + len;
    *conversions = 0;
    while (*conversions <= CONVERSIONS_MAX && (format = memchr(format, '%', (size_t)(end - format))) != NULL) {
        ++*conversions;
        quotes |= format[1] == 'q'; /* Lua's texts end with a NUL */
        format += format + 1 < end ? 2 : 1;
    }
    return quotes;
}

static int string_format(lua_State *L)
{
    size_t len = 0, conversions = 0, bytes = 0;
    const char *format = luaL_checklstring(L, 1, &len);
    bool quotes = has_quotes(format, len, &conversions);
    luaL_argcheck(L, conversions <= CONVERSIONS_MAX, 1, "more than 1000 conversions");
    for (int i = 2; quotes && i <= lua_gettop(L); i++)
        bytes += lua_type(L, i) == LUA_TSTRING ? lua_rawlen(L, i) : 0;
    luaL_argcheck(L, bytes <= QUOTED_MAX, 2, "texts of more than 1 MiB to quote");
    return original(L);
}

static int of_short_format(lua_State *L)
{
    luaL_checkstring(L, 1);
    luaL_argcheck(L, lua_rawlen(L, 1) <= PACK_MAX, 1, "a format of more than 64 KiB");
    return original(L);
}

static int os_date(lua_State *L)
{
    size_t len = 0;
    luaL_optlstring(L, 1, "", &len);
    luaL_argcheck(L, len <= DATE_MAX, 1, "a format of more than 1000 characters");
    return original(L);
}

static int protected_call(lua_State *L)
{
    lua_Debug frame;
    if (lua_getstack(L, DEPTH_MAX, &frame))
        return luaL_error(L, "stack overflow: a protected call within %d others", DEPTH_MAX);
    return original(L);
}

void bounded_put_over(lua_State *L, const char *library, const luaL_Reg *functions)
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
    static const luaL_Reg of_string[] = { { "rep", string_rep },           { "format", string_format },
                                          { "pack", of_short_format },     { "unpack", of_short_format },
                                          { "packsize", of_short_format }, { NULL, NULL } };
    static const luaL_Reg of_os[] = { { "date", os_date }, { NULL, NULL } };
    static const luaL_Reg of_base[] = { { "pcall", protected_call }, { NULL, NULL } };
    bounded_put_over(L, LUA_STRLIBNAME, of_string);
    bounded_put_over(L, LUA_OSLIBNAME, of_os);
    bounded_put_over(L, LUA_GNAME, of_base);
    bounded_table_open(L);
}
