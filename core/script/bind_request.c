/* bind_request.c - req: the request as a handler sees it.
 *
 * DESIGN  One userdata for each request, with a slot for each thing that is made on first use (params, query, body) or
 *         set by others (user, state). It is emptied when the request ends; later use is an error, not a crash.
 *         On a route with `cache` it notes what is read of who asks and is not part of the key: such an answer is for
 *         one caller, and not kept. A hit enters no Lua, so it pays nothing for this.
 * Path:   script/handler > [script/bind_request] > plugins
 */
#include "script/request_value.h"

#include "http/query.h"
#include "script/handler.h"
#include "script/reply_value.h"
#include "script/state.h"
#include "script/value.h"

enum slot { SLOT_PARAMS = 1, SLOT_QUERY, SLOT_BODY, SLOT_USER, SLOT_STATE, SLOTS = SLOT_STATE };
enum key {
    KEY_PARAMS = 1,
    KEY_BODY,
    KEY_QUERY,
    KEY_USER,
    KEY_HEADERS,
    KEY_METHOD,
    KEY_PATH,
    KEY_TARGET,
    KEY_ID,
    KEY_PEER,
    KEY_RAW_BODY,
    KEY_ROUTE,
    KEY_STATE,
    KEY_HAS_QUERY
};
static const char *const keys[] = { "",       "params", "body", "query",    "user",  "headers", "method",    "path",
                                    "target", "id",     "peer", "raw_body", "route", "state",   "has_query", NULL };

struct request_ud *request_push(lua_State *L, struct http_request *request)
{
    struct request_ud *ud = udata_new(L, UD_REQUEST, sizeof *ud, SLOTS);
    ud->request = request;
    return ud;
}

static struct http_request *check(lua_State *L, int index)
{
    struct request_ud *ud = udata_check(L, index, UD_REQUEST);
    if (!ud->request)
        luaL_error(L, "this request is over");
    return ud->request;
}

/* --- what is not in the key of a cached answer -------------------------------------------------------------------- */

/* They say which request this is, not who asks, and an answer may be logged under them. */
static bool names_the_request(struct str field)
{
    return str_is_nocase(field, STR("x-request-id")) || str_is_nocase(field, STR("traceparent")) ||
           str_is_nocase(field, STR("tracestate"));
}

static bool is_in_key(const struct serve_policy *policy, struct str field)
{
    for (unsigned i = 0; i < policy->vary_count; i++)
        if (str_is_nocase(policy->vary[i], field))
            return true;
    return names_the_request(field);
}

static void note_unkeyed(struct request_ud *ud, struct str what)
{
    const struct script_route *route = ud->request->route;
    if (!route->policy || ud->unkeyed.data)
        return;
    const char *kept = arena_dup(&ud->request->arena, what.data, what.len);
    ud->unkeyed = kept ? str_make(kept, what.len) : STR("a field");
}

static void note_field(struct request_ud *ud, struct str name)
{
    const struct serve_policy *policy = ((const struct script_route *)ud->request->route)->policy;
    if (policy && !is_in_key(policy, name))
        note_unkeyed(ud, name);
}

static int push_str(lua_State *L, struct str text)
{
    lua_pushlstring(L, text.data ? text.data : "", text.len);
    return 1;
}

/* A slot that is nil until somebody fills it. */
static bool push_slot(lua_State *L, enum slot slot)
{
    if (lua_getiuservalue(L, 1, slot) != LUA_TNIL)
        return true;
    lua_pop(L, 1);
    return false;
}

static int keep_slot(lua_State *L, enum slot slot)
{
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, slot);
    return 1;
}

/* --- path and query ----------------------------------------------------------------------------------------------- */

static void push_param(lua_State *L, struct http_request *request, unsigned i)
{
    struct str raw = request->params[i].value;
    const struct script_route *route = request->route;
    int64_t number = 0;
    if (route->int_params & 1u << i && str_int64(raw, &number)) {
        lua_pushinteger(L, number);
        return;
    }
    if (!memchr(raw.data, '%', raw.len)) {
        push_str(L, raw);
        return;
    }
    luaL_Buffer buffer;
    char *decoded = luaL_buffinitsize(L, &buffer, raw.len);
    ptrdiff_t len = str_percent_decode(raw, false, decoded);
    if (len < 0 || !str_utf8(str_make(decoded, (size_t)len)))
        reply_raise(L, 400, "invalid-parameter", "a path parameter has a broken escape or is not UTF-8");
    luaL_pushresultsize(&buffer, (size_t)len);
}

static int push_params(lua_State *L, struct http_request *request)
{
    if (push_slot(L, SLOT_PARAMS))
        return 1;
    lua_createtable(L, 0, (int)request->param_count);
    for (unsigned i = 0; i < request->param_count; i++) {
        push_str(L, request->params[i].name);
        push_param(L, request, i);
        lua_rawset(L, -3);
    }
    return keep_slot(L, SLOT_PARAMS);
}

/* The second value of a name makes a list of it, so that a schema can refuse or take it. The table is at -1. [-0, +0] */
static void add_query(lua_State *L, struct str key, struct str value)
{
    push_str(L, key);
    lua_pushvalue(L, -1);
    int before = lua_rawget(L, -3);
    if (before == LUA_TNIL) {
        lua_pop(L, 1);
        push_str(L, value);
    } else {
        if (before == LUA_TSTRING) {
            lua_createtable(L, 2, 0);
            lua_insert(L, -2);
            lua_rawseti(L, -2, 1);
        }
        push_str(L, value);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    }
    lua_rawset(L, -3);
}

static int push_query(lua_State *L, struct http_request *request)
{
    if (push_slot(L, SLOT_QUERY))
        return 1;
    lua_newtable(L);
    struct str rest = request->head.query, key, value;
    int got = 0;
    while ((got = http_query_next(&rest, &request->arena, &key, &value)) == 1)
        add_query(L, key, value);
    if (got == -1)
        return reply_raise(L, 400, "invalid-query", "the query has a broken escape or is not UTF-8");
    if (got < 0)
        return luaL_error(L, "no memory for the query");
    return keep_slot(L, SLOT_QUERY);
}

/* --- body --------------------------------------------------------------------------------------------------------- */

/* application/json, or anything +json, with parameters or without. */
static bool is_json(struct str type)
{
    type = str_trim(str_split(&type, ';'));
    if (str_is_nocase(type, STR("application/json")))
        return true;
    return type.len > 5 && str_is_nocase(str_make(type.data + type.len - 5, 5), STR("+json"));
}

static int push_body(lua_State *L, struct http_request *request)
{
    if (push_slot(L, SLOT_BODY))
        return 1;
    note_unkeyed(lua_touserdata(L, 1), STR("req.body"));
    if (request->body.len == 0)
        return reply_raise(L, 400, "missing-body", "this request needs a JSON body");
    if (!is_json(request->head.known[HTTP_CONTENT_TYPE]))
        return reply_raise(L, 415, "not-json", "the body must be JSON: send Content-Type: application/json");
    struct json_where where = { 0 };
    enum fail fail = value_push_json(L, request->body, VALUE_DEPTH_OUTSIDE_MAX, &where);
    if (fail) {
        lua_pushfstring(L, "%s at byte %d of the body", where.why ? where.why : fail_text(fail), (int)where.offset);
        return reply_raise(L, 400, "invalid-json", lua_tostring(L, -1));
    }
    return keep_slot(L, SLOT_BODY);
}

static int push_state(lua_State *L)
{
    if (push_slot(L, SLOT_STATE))
        return 1;
    lua_newtable(L);
    return keep_slot(L, SLOT_STATE);
}

/* --- headers ------------------------------------------------------------------------------------------------------ */

struct headers {
    struct request_ud *ud;
};

static int push_headers(lua_State *L)
{
    struct headers *headers = udata_new(L, UD_HEADERS, sizeof *headers, 1);
    headers->ud = lua_touserdata(L, 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    return 1;
}

static struct http_request *check_headers(lua_State *L)
{
    struct headers *headers = udata_check(L, 1, UD_HEADERS);
    if (!headers->ud->request)
        luaL_error(L, "this request is over");
    return headers->ud->request;
}

static struct request_ud *owner_of_headers(lua_State *L) { return ((struct headers *)lua_touserdata(L, 1))->ud; }

static int headers_index(lua_State *L)
{
    struct http_request *request = check_headers(L);
    struct str name = { NULL, 0 };
    name.data = luaL_checklstring(L, 2, &name.len);
    note_field(owner_of_headers(L), name); /* that it is missing is an answer, too */
    struct str value = http_head_field(&request->head, name);
    if (value.data)
        return push_str(L, value);
    lua_pushnil(L);
    return 1;
}

static int headers_next(lua_State *L)
{
    struct http_request *request = check_headers(L);
    lua_Integer at = udata_step(L);
    if (at >= (lua_Integer)request->head.field_count)
        return 0;
    push_str(L, request->head.fields[at].name);
    push_str(L, request->head.fields[at].value);
    return 2;
}

/* for name, value in pairs(req.headers): as they came, repeated ones again. */
static int headers_pairs(lua_State *L)
{
    check_headers(L);
    note_unkeyed(owner_of_headers(L), STR("pairs(req.headers)"));
    return udata_iterate(L, headers_next);
}

/* --- req ---------------------------------------------------------------------------------------------------------- */

static int push_peer(lua_State *L, struct http_request *request)
{
    note_unkeyed(lua_touserdata(L, 1), STR("req.peer"));
    char peer[64];
    http_request_peer(request, peer, sizeof peer);
    lua_pushstring(L, peer);
    return 1;
}

static int request_index(lua_State *L)
{
    struct http_request *request = check(L, 1);
    switch (udata_key(L, 2)) {
    case KEY_PARAMS: return push_params(L, request);
    case KEY_BODY: return push_body(L, request);
    case KEY_QUERY: return push_query(L, request);
    case KEY_USER: lua_getiuservalue(L, 1, SLOT_USER); return 1;
    case KEY_HEADERS: return push_headers(L);
    case KEY_METHOD: /* HEAD and GET share a key */
        note_unkeyed(lua_touserdata(L, 1), STR("req.method"));
        return push_str(L, request->head.method_text);
    case KEY_PATH: return push_str(L, request->head.path);
    case KEY_TARGET: return push_str(L, request->head.target);
    case KEY_ID: return push_str(L, str_make(request->id, request->id_len));
    case KEY_PEER: return push_peer(L, request);
    case KEY_RAW_BODY: note_unkeyed(lua_touserdata(L, 1), STR("req.raw_body")); return push_str(L, request->body);
    case KEY_ROUTE: return push_str(L, str_of(((const struct script_route *)request->route)->name));
    case KEY_STATE: return push_state(L);
    case KEY_HAS_QUERY: lua_pushboolean(L, request->head.query.len > 0); return 1;
    default:
        return luaL_error(L, "req has no field '%s' (what is your own goes into req.state)",
                          luaL_tolstring(L, 2, NULL));
    }
}

static int request_newindex(lua_State *L)
{
    check(L, 1);
    enum slot slot = SLOTS;
    switch (udata_key(L, 2)) {
    case KEY_QUERY: slot = SLOT_QUERY; break;
    case KEY_BODY: slot = SLOT_BODY; break;
    case KEY_USER: slot = SLOT_USER; break;
    case KEY_PARAMS: slot = SLOT_PARAMS; break;
    default:
        return luaL_error(
            L, "req.%s cannot be set; params, query, body and user can, what is your own goes into req.state",
            luaL_tolstring(L, 2, NULL));
    }
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, 1, slot);
    return 0;
}

static void set_keyed(lua_State *L, const char *metamethod, lua_CFunction function)
{
    udata_push_names(L, keys);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, metamethod);
}

void bind_request_open(lua_State *L)
{
    static const luaL_Reg none[] = { { NULL, NULL } };
    static const luaL_Reg headers[] = { { "__index", headers_index }, { "__pairs", headers_pairs }, { NULL, NULL } };
    udata_family(L, UD_HEADERS, "headers", headers, NULL);
    udata_family(L, UD_REQUEST, "request", none, NULL);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->metatable[UD_REQUEST]);
    set_keyed(L, "__index", request_index);
    set_keyed(L, "__newindex", request_newindex);
    lua_pop(L, 1);
}
