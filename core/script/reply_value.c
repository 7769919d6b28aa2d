/* reply_value.c - what cx.problem, cx.created, cx.reply and cx.no_content return, and how any value becomes an answer.
 *
 * DESIGN  A reply value only remembers; the bytes are written once, when the handler has returned it (or raised it), so
 *         middleware may still add to reply.headers. Slots of the userdata: the value (members, JSON or raw text), the
 *         headers table, the content type.
 * Path:   plugins > [script/reply_value] > script/handler > serve/response
 */
#include "script/reply_value.h"

#include "base/json.h"
#include "http/problem.h"
#include "script/cached.h"
#include "script/state.h"
#include "script/value.h"

#include <stdio.h>

enum shape { SHAPE_PROBLEM, SHAPE_JSON, SHAPE_RAW, SHAPE_EMPTY };
enum slot { SLOT_VALUE = 1, SLOT_HEADERS, SLOT_TYPE, SLOTS = SLOT_TYPE };
enum { TYPE_MAX = 255 };
struct reply_value {
    enum shape shape;
    int status;
    char slug[64];
};

static const struct str json_type = { "application/json", 16 };
static const struct str problem_type = { "application/problem+json", 24 };

void reply_out_init(struct reply_out *out)
{
    memset(out, 0, sizeof *out);
    buf_init(&out->fields, MEM_SCRIPT, 32 * 1024);
    buf_init(&out->body, MEM_SCRIPT, 256u << 20);
}

void reply_out_reset(struct reply_out *out)
{
    if (out->http.release)
        out->http.release(out->http.owner);
    out->http = (struct http_reply){ .status = 0 };
    out->label = STR_NONE;
    buf_reset(&out->fields);
    buf_reset(&out->body);
    enum { KEEP = 1 << 20 };
    if (out->body.cap > KEEP)
        buf_clear(&out->body);
}

void reply_out_clear(struct reply_out *out)
{
    reply_out_reset(out);
    buf_clear(&out->fields);
    buf_clear(&out->body);
}

/* --- making them -------------------------------------------------------------------------------------------------- */

static struct reply_value *push_reply(lua_State *L, enum shape shape, int status)
{
    struct reply_value *reply = udata_new(L, UD_REPLY, sizeof *reply, SLOTS);
    reply->shape = shape;
    reply->status = status;
    return reply;
}

static int check_status(lua_State *L, lua_Integer status, int least)
{
    if (status < least || status > 599)
        return luaL_error(L, "a status from %d to 599 is expected, not %d", least, (int)status);
    return (int)status;
}

static void check_slug(lua_State *L, const char *slug, size_t len)
{
    if (len == 0 || len >= sizeof((struct reply_value *)0)->slug ||
        strspn(slug, "abcdefghijklmnopqrstuvwxyz0123456789-_") != len)
        luaL_error(L, "the kind of a problem is a short slug such as \"service-not-found\", not \"%s\"", slug);
}

/* RFC 9457 3.1, and request_id: written from what is known, so a member of the same name would come twice. */
static const char *const taken[] = { "type", "status", "instance", "request_id" };

static void check_members(lua_State *L, int table)
{
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        if (lua_getfield(L, table, taken[i]) != LUA_TNIL)
            luaL_error(L, "a problem has its own '%s'; give this member another name", taken[i]);
        lua_pop(L, 1);
    }
}

/* cx.problem(status, slug [, { detail=, errors=, headers=, retry_after=, .. }]) */
int reply_problem(lua_State *L)
{
    int status = check_status(L, luaL_checkinteger(L, 1), 400);
    size_t len = 0;
    const char *slug = luaL_checklstring(L, 2, &len);
    check_slug(L, slug, len);
    if (!lua_isnoneornil(L, 3)) {
        luaL_checktype(L, 3, LUA_TTABLE);
        check_members(L, 3);
    }
    struct reply_value *reply = push_reply(L, SHAPE_PROBLEM, status);
    memcpy(reply->slug, slug, len);
    if (lua_istable(L, 3)) {
        lua_pushvalue(L, 3);
        lua_setiuservalue(L, -2, SLOT_VALUE);
        lua_getfield(L, 3, "headers");
        lua_setiuservalue(L, -2, SLOT_HEADERS);
    }
    return 1;
}

int reply_raise(lua_State *L, int status, const char *slug, const char *detail)
{
    struct reply_value *reply = push_reply(L, SHAPE_PROBLEM, status);
    snprintf(reply->slug, sizeof reply->slug, "%s", slug);
    lua_createtable(L, 0, 1);
    lua_pushstring(L, detail);
    lua_setfield(L, -2, "detail");
    lua_setiuservalue(L, -2, SLOT_VALUE);
    return lua_error(L);
}

/* cx.created(location, value): 201 */
int reply_created(lua_State *L)
{
    luaL_checkstring(L, 1);
    luaL_checkany(L, 2);
    push_reply(L, SHAPE_JSON, 201);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, SLOT_VALUE);
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "Location");
    lua_setiuservalue(L, -2, SLOT_HEADERS);
    return 1;
}

static void move_field(lua_State *L, const char *field, enum slot slot)
{
    lua_getfield(L, 1, field);
    lua_setiuservalue(L, -2, slot);
}

/* cx.reply{ status=200, headers={}, type=, body= }: a string body is sent as it is, any other value as JSON. */
int reply_any(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "status");
    int status = lua_isnil(L, -1) ? 200 : check_status(L, luaL_checkinteger(L, -1), 200);
    int body = lua_getfield(L, 1, "body");
    enum shape shape = body == LUA_TNIL ? SHAPE_EMPTY : body == LUA_TSTRING ? SHAPE_RAW : SHAPE_JSON;
    push_reply(L, shape, status);
    move_field(L, "body", SLOT_VALUE);
    move_field(L, "headers", SLOT_HEADERS);
    move_field(L, "type", SLOT_TYPE);
    return 1;
}

int reply_no_content(lua_State *L)
{
    push_reply(L, SHAPE_EMPTY, 204);
    return 1;
}

/* --- writing them ------------------------------------------------------------------------------------------------- */

static bool is_ours(struct str name)
{
    static const struct str ours[] = {
        { "content-length", 14 }, { "transfer-encoding", 17 }, { "connection", 10 }, { "date", 4 },
        { "content-type", 12 },   { "x-request-id", 12 },      { "age", 3 },         { "x-cache", 7 }
    };
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (str_is_nocase(name, ours[i]))
            return true;
    return false;
}

/* RFC 9110 8.8.3 */
static bool is_etag(struct str value)
{
    if (str_starts(value, STR("W/")))
        value = str_make(value.data + 2, value.len - 2);
    return value.len >= 2 && value.data[0] == '"' &&
           memchr(value.data + 1, '"', value.len - 1) == value.data + value.len - 1;
}

/* The value on top as a header line. */
static bool add_field(lua_State *L, struct reply_out *out, struct str name, char *why, size_t why_bytes)
{
    char number[32];
    struct str value;
    if (lua_isinteger(L, -1))
        value = str_make(number, (size_t)snprintf(number, sizeof number, "%lld", (long long)lua_tointeger(L, -1)));
    else if (lua_type(L, -1) == LUA_TSTRING)
        value = value_str(L, -1);
    else
        value = STR_NONE;
    if (!value.data || !http_field_is_safe(name, value)) {
        snprintf(why, why_bytes, "the header %.*s cannot be sent: its name or value is not allowed", (int)name.len,
                 name.data);
        return false;
    }
    if (is_ours(name)) {
        snprintf(why, why_bytes, "the header %.*s is the server's to set%s", (int)name.len, name.data,
                 str_is_nocase(name, STR("content-type")) ? " (use type = in cx.reply)" : "");
        return false;
    }
    if (str_is_nocase(name, STR("etag")) && !is_etag(value)) {
        snprintf(why, why_bytes, "the header %.*s is a text in double quotes, such as '\"v7\"'", (int)name.len,
                 name.data);
        return false;
    }
    buf_add_str(&out->fields, name);
    buf_add_str(&out->fields, STR(": "));
    buf_add_str(&out->fields, value);
    buf_add_str(&out->fields, STR("\r\n"));
    return true;
}

/* A value, or a list of them, a line each. */
static bool add_fields(lua_State *L, struct reply_out *out, struct str name, char *why, size_t why_bytes)
{
    if (!lua_istable(L, -1))
        return add_field(L, out, name, why, why_bytes);
    bool fine = true;
    lua_Integer count = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer i = 1; fine && i <= count; i++) {
        lua_rawgeti(L, -1, i);
        fine = add_field(L, out, name, why, why_bytes);
        lua_pop(L, 1);
    }
    return fine;
}

static bool write_headers(lua_State *L, int index, struct reply_out *out, char *why, size_t why_bytes)
{
    int type = lua_getiuservalue(L, index, SLOT_HEADERS);
    bool fine = true;
    if (type == LUA_TTABLE) {
        lua_pushnil(L);
        while (fine && lua_next(L, -2)) {
            if (lua_type(L, -2) != LUA_TSTRING) {
                snprintf(why, why_bytes, "the names of headers are strings");
                fine = false;
            } else {
                fine = add_fields(L, out, value_str(L, -2), why, why_bytes);
            }
            lua_pop(L, fine ? 1 : 2);
        }
    } else if (type != LUA_TNIL) {
        snprintf(why, why_bytes, "headers must be a table");
        fine = false;
    }
    lua_pop(L, 1);
    return fine;
}

static void use_body(struct reply_out *out, int status, struct str type)
{
    out->http.status = status;
    out->http.type = type;
    out->http.fields = str_make(out->fields.data, out->fields.len);
    out->http.body = str_make(out->body.data, out->body.len);
}

static bool write_json(lua_State *L, int index, struct reply_out *out, char *why, size_t why_bytes)
{
    struct value_why reason;
    if (value_add_json(L, index, &out->body, &reason))
        return true;
    snprintf(why, why_bytes, "the handler's value cannot be written as JSON: value%s", reason.text);
    return false;
}

/* Is it written as a member like others? A table may have changed since check_members saw it. */
static bool is_further(struct str name)
{
    static const char *const placed[] = { "detail", "title", "headers", "retry_after" };
    for (size_t i = 0; i < sizeof placed / sizeof *placed; i++)
        if (str_is(name, str_of(placed[i])) || str_is(name, str_of(taken[i])))
            return false;
    return true;
}

/* Members of the problem beside those RFC 9457 names. The table is at index. */
static bool add_members(lua_State *L, int index, struct buf *members, char *why, size_t why_bytes)
{
    lua_pushnil(L);
    while (lua_next(L, index)) {
        struct str name = lua_type(L, -2) == LUA_TSTRING ? value_str(L, -2) : STR_NONE;
        if (name.data && is_further(name)) {
            struct value_why reason;
            if (members->len)
                buf_add_char(members, ',');
            json_add_string(members, str_make(name.data, str_utf8_prefix(name)));
            buf_add_char(members, ':');
            if (!value_add_json(L, -1, members, &reason)) {
                snprintf(why, why_bytes, "a member of the problem cannot be written as JSON: %.*s%s", (int)name.len,
                         name.data, reason.text);
                lua_pop(L, 2);
                return false;
            }
        }
        lua_pop(L, 1);
    }
    return true;
}

/* Without metamethods: what Lua runs meanwhile could change the table, and the buffer that members are written to. [-0, +1] */
static void push_member(lua_State *L, int table, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, table);
}

/* The text of a member, which stays on the stack. [-0, +1] */
static struct str text_member(lua_State *L, int table, const char *name)
{
    push_member(L, table, name);
    return lua_type(L, -1) == LUA_TSTRING ? value_str(L, -1) : STR_NONE;
}

static bool write_problem(lua_State *L, int index, const struct reply_value *reply, const struct http_request *request,
                          struct reply_out *out, char *why, size_t why_bytes)
{
    struct http_problem problem = { .status = reply->status, .type = str_of(reply->slug) };
    struct buf *members = &vm_of(L)->out;
    bool fine = true;
    int top = lua_gettop(L);
    if (lua_getiuservalue(L, index, SLOT_VALUE) == LUA_TTABLE) {
        push_member(L, top + 1, "retry_after");
        if (lua_isinteger(L, -1) && lua_tointeger(L, -1) > 0)
            buf_addf(&out->fields, "Retry-After: %lld\r\n", (long long)lua_tointeger(L, -1));
        problem.detail = text_member(L, top + 1, "detail");
        problem.title = text_member(L, top + 1, "title");
        buf_reset(members); /* from here on nothing runs in Lua */
        fine = add_members(L, top + 1, members, why, why_bytes);
        problem.members = str_make(members->data, members->len);
    }
    if (fine)
        http_problem_write(&out->body, &problem, request);
    lua_settop(L, top);
    use_body(out, reply->status, problem_type);
    return fine;
}

static bool from_reply(lua_State *L, int index, const struct reply_value *reply, const struct http_request *request,
                       struct reply_out *out, char *why, size_t why_bytes)
{
    if (!write_headers(L, index, out, why, why_bytes))
        return false;
    if (reply->shape == SHAPE_PROBLEM)
        return write_problem(L, index, reply, request, out, why, why_bytes);
    struct str type = STR_NONE;
    if (lua_getiuservalue(L, index, SLOT_TYPE) == LUA_TSTRING) /* anchored by the reply */
        type = value_str(L, -1);
    if (type.data && (type.len > TYPE_MAX || !http_field_is_safe(STR("content-type"), type))) {
        snprintf(why, why_bytes, "the content type is longer than %d bytes or has characters that a header cannot hold",
                 TYPE_MAX);
        lua_pop(L, 1);
        return false;
    }
    lua_getiuservalue(L, index, SLOT_VALUE);
    bool fine = true;
    if (reply->shape == SHAPE_JSON)
        fine = write_json(L, -1, out, why, why_bytes);
    else if (reply->shape == SHAPE_RAW)
        buf_add_str(&out->body, value_str(L, -1));
    if (!type.data && reply->shape != SHAPE_EMPTY)
        type = reply->shape == SHAPE_JSON ? json_type : STR("text/plain; charset=utf-8");
    lua_pop(L, 2);
    use_body(out, reply->status, type);
    return fine;
}

static void release_entry(void *owner) { cache_entry_unref(owner); }

/* Written from the cache's own memory. */
static void use_entry(struct reply_out *out, const struct cached *cached)
{
    out->http = (struct http_reply){ .status = 200,
                                     .type = json_type,
                                     .body = cache_entry_value(cached->entry),
                                     .release = release_entry,
                                     .owner = cache_entry_ref(cached->entry) };
    out->label = cached_label(cached);
}

bool reply_from_value(lua_State *L, int index, const struct http_request *request, struct reply_out *out, char *why,
                      size_t why_bytes)
{
    index = lua_absindex(L, index);
    if (lua_isnil(L, index)) {
        use_body(out, 204, STR_NONE);
        return true;
    }
    if (lua_type(L, index) == LUA_TUSERDATA) {
        const struct cached *cached = cached_test(L, index);
        if (cached && cached->entry) {
            use_entry(out, cached);
            return true;
        }
        const struct reply_value *reply = udata_test(L, index, UD_REPLY);
        if (reply)
            return from_reply(L, index, reply, request, out, why, why_bytes);
        const struct failure *failure = failure_test(L, index);
        if (failure) {
            reply_from_failure(failure, request, out);
            return true;
        }
    }
    if (!write_json(L, index, out, why, why_bytes))
        return false;
    use_body(out, 200, json_type);
    return true;
}

void reply_from_status(int status, const char *slug, const char *detail, const struct http_request *request,
                       struct reply_out *out)
{
    struct http_problem problem = { .status = status, .type = str_of(slug), .detail = str_of(detail) };
    http_problem_write(&out->body, &problem, request);
    use_body(out, status, problem_type);
}

/* --- as userdata -------------------------------------------------------------------------------------------------- */

enum key { KEY_STATUS = 1, KEY_HEADERS, KEY_BODY, KEY_SLUG };
static const char *const keys[] = { "", "status", "headers", "body", "slug", NULL };

static int reply_index(lua_State *L)
{
    const struct reply_value *reply = udata_check(L, 1, UD_REPLY);
    switch (udata_key(L, 2)) {
    case KEY_STATUS: lua_pushinteger(L, reply->status); return 1;
    case KEY_HEADERS:
        if (lua_getiuservalue(L, 1, SLOT_HEADERS) == LUA_TNIL) {
            lua_newtable(L);
            lua_pushvalue(L, -1);
            lua_setiuservalue(L, 1, SLOT_HEADERS);
        }
        return 1;
    case KEY_BODY: lua_getiuservalue(L, 1, SLOT_VALUE); return 1;
    case KEY_SLUG: lua_pushstring(L, reply->slug); return 1;
    default: return luaL_error(L, "a reply has no field '%s'", luaL_tolstring(L, 2, NULL));
    }
}

static int reply_tostring(lua_State *L)
{
    const struct reply_value *reply = udata_check(L, 1, UD_REPLY);
    lua_pushfstring(L, "reply %d %s", reply->status, reply->slug);
    return 1;
}

void reply_value_open(lua_State *L)
{
    static const luaL_Reg metamethods[] = { { "__tostring", reply_tostring }, { NULL, NULL } };
    udata_family(L, UD_REPLY, "reply", metamethods, NULL);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->metatable[UD_REPLY]);
    udata_push_names(L, keys);
    lua_pushcclosure(L, reply_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
