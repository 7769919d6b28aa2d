/* failure.c - what the world refused, as a Lua value that is raised: fields kind, text, sqlstate, constraint, detail, retry, again, status. */
#include "script/failure.h"

#include "script/state.h"

#include <stdarg.h>
#include <stdio.h>

struct failure *failure_push(lua_State *L, enum fail fail, const struct sql_error *error)
{
    struct failure *failure = udata_new(L, UD_FAILURE, sizeof *failure, 0);
    failure->fail = fail;
    if (error)
        failure->error = *error;
    if (!failure->error.text[0])
        snprintf(failure->error.text, sizeof failure->error.text, "%s", fail_text(fail));
    return failure;
}

int failure_raise(lua_State *L, enum fail fail, const struct sql_error *error)
{
    failure_push(L, fail, error);
    return lua_error(L);
}

int failure_raisef(lua_State *L, enum fail fail, const char *format, ...)
{
    struct failure *failure = failure_push(L, fail, NULL);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure->error.text, sizeof failure->error.text, format, arguments);
    va_end(arguments);
    return lua_error(L);
}

int failure_raise_told(lua_State *L, enum fail fail, const char *text, const char *told)
{
    struct failure *failure = failure_push(L, fail, NULL);
    snprintf(failure->error.text, sizeof failure->error.text, "%s", text);
    failure->told = told;
    return lua_error(L);
}

struct failure *failure_test(lua_State *L, int index) { return udata_test(L, index, UD_FAILURE); }

const char *failure_kind(const struct failure *failure)
{
    switch (failure->fail) {
    case FAIL_SQL: return "sql";
    case FAIL_TIMEOUT: return "timeout";
    case FAIL_CANCELLED: return "cancelled";
    case FAIL_FULL: return "full";
    case FAIL_CLOSED: return "closed";
    case FAIL_REFUSED: return "refused";
    case FAIL_NOMEM: return "memory";
    case FAIL_INVALID: return "invalid";
    case FAIL_MISSING: return "missing";
    default: return "io";
    }
}

/* Text the database cannot hold at all (a zero byte, not UTF-8): the request is malformed, whatever the schema says. */
static bool is_unholdable(const struct sql_error *error)
{
    return sql_error_is(error, "22021") || sql_error_is(error, "22P05");
}

int failure_status(const struct failure *failure)
{
    if (is_unholdable(&failure->error))
        return 400;
    switch (failure->fail) {
    case FAIL_SQL: return sql_error_status(&failure->error);
    case FAIL_TIMEOUT: return failure->overdue || sql_error_is(&failure->error, "57014") ? 504 : 503;
    case FAIL_INVALID: return failure->error.sqlstate[0] ? sql_error_status(&failure->error) : 500;
    case FAIL_MISSING: return 500;
    default: return 503;
    }
}

unsigned failure_retry_s(const struct failure *failure) { return failure_status(failure) == 503 ? 1 : 0; }

bool failure_may_retry(const struct failure *failure)
{
    if (failure->fail == FAIL_SQL)
        return sql_error_is_transient(&failure->error);
    return failure->fail != FAIL_INVALID && failure->fail != FAIL_MISSING && failure->fail != FAIL_CANCELLED;
}

const char *failure_words(lua_State *L, int index)
{
    const struct failure *failure = failure_test(L, index);
    if (failure)
        return failure->error.text;
    if (lua_type(L, index) == LUA_TSTRING)
        return lua_tostring(L, index);
    static const char *const kinds[] = { "an error value without text", "an error value of type nil" };
    return kinds[lua_isnoneornil(L, index)];
}

enum { KEY_KIND = 1, KEY_TEXT, KEY_SQLSTATE, KEY_CONSTRAINT, KEY_DETAIL, KEY_RETRY, KEY_AGAIN, KEY_STATUS };
static const char *const keys[] = { "",       "kind",  "text",  "sqlstate", "constraint",
                                    "detail", "retry", "again", "status",   NULL };

static int push_or_nil(lua_State *L, const char *text)
{
    if (text[0])
        lua_pushstring(L, text);
    else
        lua_pushnil(L);
    return 1;
}

static int failure_index(lua_State *L)
{
    const struct failure *failure = udata_check(L, 1, UD_FAILURE);
    switch (udata_key(L, 2)) {
    case KEY_KIND: return push_or_nil(L, failure_kind(failure));
    case KEY_TEXT: return push_or_nil(L, failure->error.text);
    case KEY_SQLSTATE: return push_or_nil(L, failure->error.sqlstate);
    case KEY_CONSTRAINT: return push_or_nil(L, failure->error.constraint);
    case KEY_DETAIL: return push_or_nil(L, failure->error.detail);
    case KEY_RETRY: lua_pushboolean(L, failure_may_retry(failure)); return 1;
    case KEY_AGAIN: lua_pushboolean(L, failure->error.again); return 1;
    case KEY_STATUS: lua_pushinteger(L, failure_status(failure)); return 1;
    default: return luaL_error(L, "a failure has no field '%s'", luaL_tolstring(L, 2, NULL));
    }
}

static int failure_tostring(lua_State *L)
{
    const struct failure *failure = udata_check(L, 1, UD_FAILURE);
    if (failure->error.sqlstate[0])
        lua_pushfstring(L, "%s %s: %s", failure_kind(failure), failure->error.sqlstate, failure->error.text);
    else
        lua_pushfstring(L, "%s: %s", failure_kind(failure), failure->error.text);
    return 1;
}

void failure_open(lua_State *L)
{
    static const luaL_Reg metamethods[] = { { "__tostring", failure_tostring }, { NULL, NULL } };
    udata_family(L, UD_FAILURE, "failure", metamethods, NULL);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->metatable[UD_FAILURE]);
    udata_push_names(L, keys);
    lua_pushcclosure(L, failure_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
