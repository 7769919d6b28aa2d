/* bind_log.c - cx.log: a line with the plugin, the request and what the caller adds. */
#include "base/log.h"
#include "http/request.h"
#include "script/state.h"
#include "script/value.h"

enum { FIELDS_MAX = 24 };

static struct log_field field_of(lua_State *L, const char *name, int index)
{
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN: return LOG_BOOL(name, lua_toboolean(L, index));
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            return LOG_INT(name, lua_tointeger(L, index));
        return LOG_DOUBLE(name, lua_tonumber(L, index));
    case LUA_TSTRING: return LOG_STR(name, value_str(L, index));
    default: break;
    }
    luaL_tolstring(L, index, NULL); /* stays on the stack until the line is written */
    struct log_field field = LOG_STR(name, value_str(L, -1));
    return field;
}

/* The fields of the table at 3. Keys, values and texts stay on the stack until the line is written. */
static size_t add_fields(lua_State *L, struct log_field *fields, size_t count)
{
    luaL_checkstack(L, FIELDS_MAX * 4 + 4, "too many fields");
    lua_pushnil(L);
    while (count < FIELDS_MAX && lua_next(L, 3)) {
        int key = lua_gettop(L) - 1;
        if (lua_type(L, key) != LUA_TSTRING) {
            lua_settop(L, key);
            continue;
        }
        fields[count] = field_of(L, lua_tostring(L, key), key + 1);
        count++;
        lua_pushvalue(L, key);
    }
    return count;
}

static int write_line(lua_State *L, enum log_level level)
{
    udata_check(L, 1, UD_LOG);
    const char *message = luaL_checkstring(L, 2);
    if (!log_wants(level))
        return 0;
    if (!lua_isnoneornil(L, 3))
        luaL_checktype(L, 3, LUA_TTABLE);
    struct log_field fields[FIELDS_MAX];
    size_t count = 0;
    lua_settop(L, 3);
    lua_getiuservalue(L, 1, 1);
    fields[count++] = LOG_STR("plugin", value_str(L, -1));
    const struct http_request *request = task_of(L)->request;
    if (request)
        fields[count++] = LOG_STR("request_id", str_make(request->id, request->id_len));
    if (lua_istable(L, 3))
        count = add_fields(L, fields, count);
    log_fields(level, message, fields, count);
    return 0;
}

static int log_debug(lua_State *L) { return write_line(L, LOG_DEBUG); }
static int log_info(lua_State *L) { return write_line(L, LOG_INFO); }
static int log_warn(lua_State *L) { return write_line(L, LOG_WARN); }
static int log_error(lua_State *L) { return write_line(L, LOG_ERROR); }

void bind_log_push(lua_State *L, const char *plugin)
{
    udata_new(L, UD_LOG, 1, 1); /* the plugin's name is in its slot */
    lua_pushstring(L, plugin);
    lua_setiuservalue(L, -2, 1);
}

void bind_log_open(lua_State *L)
{
    static const luaL_Reg none[] = { { NULL, NULL } };
    static const luaL_Reg methods[] = {
        { "debug", log_debug }, { "info", log_info }, { "warn", log_warn }, { "error", log_error }, { NULL, NULL },
    };
    udata_family(L, UD_LOG, "cx.log", none, methods);
}
