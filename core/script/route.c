/* route.c - a route as Lua declares it: checked, given its metrics and its cache policy, put into the router.
 *
 * Path:   lua/wick/route.lua > [script/route] > http/route
 */
#include "script/handler.h"
#include "script/state.h"
#include "script/value.h"

#include <stdio.h>

static void route_free(struct script_route *route)
{
    mem_free(route->name);
    mem_free(route->plugin);
    mem_free(route->pattern);
    mem_free(route->policy);
    buf_clear(&route->policy_text);
    buf_clear(&route->headers);
    list_remove(&route->node);
    mem_free(route);
}

static void open_metrics(struct script_route *route)
{
    struct buf labels;
    buf_init(&labels, MEM_SCRIPT, 1024);
    metrics_label(&labels, "route", str_of(route->name));
    buf_add_char(&labels, '\0');
    const char *text = buf_ok(&labels) ? labels.data : "";
    route->took = metric_histogram("wick_http_request_duration_seconds",
                                   "From the first byte of a request to its reply.", text, METRIC_SECONDS);
    route->bytes_in = metric_counter("wick_http_request_body_bytes_total", "Bytes of request bodies.", text);
    route->bytes_out = metric_counter("wick_http_response_body_bytes_total", "Bytes of response bodies.", text);
    buf_clear(&labels);
}

struct script_route *route_new(struct script_vm *vm, const char *name)
{
    struct script_route *route = mem_zero(MEM_SCRIPT, sizeof *route);
    if (!route)
        return NULL;
    list_init(&route->node);
    route->name = mem_dup(MEM_SCRIPT, name, strlen(name));
    route->handler = route->cx = LUA_NOREF;
    buf_init(&route->policy_text, MEM_SCRIPT, 64 * 1024);
    buf_init(&route->headers, MEM_SCRIPT, 16 * 1024);
    if (!route->name) {
        route_free(route);
        return NULL;
    }
    open_metrics(route);
    list_push_back(&vm->routes, &route->node);
    return route;
}

void routes_free(struct script_vm *vm)
{
    LIST_EACH_SAFE(&vm->routes, node, after)
    route_free(LIST_ENTRY(node, struct script_route, node));
}

static bool find_method(const char *name, enum http_method *out)
{
    for (int i = 0; i < HTTP_METHODS; i++)
        if (strcmp(name, http_method_name((enum http_method)i)) == 0) {
            *out = (enum http_method)i;
            return true;
        }
    return false;
}

/* Which parameters, in the order of the pattern, are {name:int64}. */
static unsigned find_ints(const char *pattern)
{
    unsigned bits = 0, at = 0;
    for (const char *open = strchr(pattern, '{'); open; open = strchr(open + 1, '{'), at++) {
        const char *close = strchr(open, '}');
        if (at < HTTP_PARAMS_MAX && close && close - open > 6 && memcmp(close - 6, ":int64", 6) == 0)
            bits |= 1u << at;
    }
    return bits;
}

static uint64_t whole_field(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    lua_Integer number = lua_isnil(L, -1) ? 0 : luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    return number > 0 ? (uint64_t)number : 0;
}

/* The strings of a list field, copied one after the other; slices are set when all are in, since the buffer moves. */
static unsigned copy_list(lua_State *L, int table, const char *name, struct buf *text, size_t ends[], unsigned max)
{
    unsigned count = 0;
    if (lua_getfield(L, table, name) == LUA_TTABLE) {
        lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
        if (n > (lua_Integer)max)
            luaL_error(L, "cache.%s: at most %d are possible", name, (int)max);
        for (lua_Integer i = 1; i <= n; i++) {
            lua_rawgeti(L, -1, i);
            struct str one = { NULL, 0 };
            one.data = luaL_checklstring(L, -1, &one.len);
            buf_add_str(text, one);
            ends[count++] = text->len;
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
    return count;
}

/* Caches on the way need to know what the answer depends on (RFC 9110 12.5.5). */
static void add_vary_line(struct script_route *route, size_t at, const size_t ends[])
{
    struct buf *text = &route->policy_text;
    for (unsigned i = 0; i < route->policy->vary_count; at = ends[i++]) {
        buf_add_str(text, i ? STR(", ") : STR("Vary: "));
        for (size_t j = at; j < ends[i] && buf_ok(text); j++)
            buf_add_char(text, text->data[j]);
    }
    if (route->policy->vary_count)
        buf_add_str(text, STR("\r\n"));
}

static void read_policy(lua_State *L, int table, struct script_route *route)
{
    size_t tags[CACHE_TAGS_MAX] = { 0 }, vary[4] = { 0 }, at = 0;
    struct serve_policy *policy = route->policy = mem_zero(MEM_SCRIPT, sizeof *policy);
    if (!policy)
        luaL_error(L, "no memory");
    policy->ttl_ms = whole_field(L, table, "ttl_ms");
    policy->stale_ms = whole_field(L, table, "stale_ms");
    policy->tag_count = copy_list(L, table, "tags", &route->policy_text, tags, CACHE_TAGS_MAX);
    size_t names = route->policy_text.len;
    policy->vary_count = copy_list(L, table, "vary", &route->policy_text, vary, 4);
    size_t line = route->policy_text.len;
    add_vary_line(route, names, vary);
    if (!buf_ok(&route->policy_text))
        luaL_error(L, "no memory");
    policy->vary_line = str_make(route->policy_text.data + line, route->policy_text.len - line);
    for (unsigned i = 0; i < policy->tag_count; at = tags[i++])
        policy->tags[i] = str_make(route->policy_text.data + at, tags[i] - at);
    for (unsigned i = 0; i < policy->vary_count; at = vary[i++])
        policy->vary[i] = str_make(route->policy_text.data + at, vary[i] - at);
}

static char *text_field(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    size_t len = 0;
    const char *text = lua_tolstring(L, -1, &len);
    if (!text)
        luaL_error(L, "native.route_add: %s must be a string", name);
    char *copy = mem_dup(MEM_SCRIPT, text, len);
    lua_pop(L, 1);
    if (!copy)
        luaL_error(L, "no memory");
    return copy;
}

static int keep_field(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static void read_headers(lua_State *L, int table, struct script_route *route)
{
    if (lua_getfield(L, table, "headers") == LUA_TSTRING)
        buf_add_str(&route->headers, value_str(L, -1));
    lua_pop(L, 1);
    if (!buf_ok(&route->headers))
        luaL_error(L, "the headers of middleware are longer than 16 KiB together");
}

/* native.route_add{ method, pattern, name, plugin, handler, cx, timeout_ms, body_max, reads, batch, group, cache, headers } -> true | nil, why
 * The route is on the VM's list before anything can raise, so it is freed with the VM whatever happens. */
int route_add(lua_State *L)
{
    struct script_vm *vm = vm_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "name");
    struct script_route *route = route_new(vm, luaL_checkstring(L, -1));
    if (!route)
        return luaL_error(L, "no memory");
    route->plugin = text_field(L, 1, "plugin");
    route->pattern = text_field(L, 1, "pattern");
    lua_getfield(L, 1, "method");
    if (!find_method(luaL_checkstring(L, -1), &route->method))
        return luaL_error(L, "native.route_add: no such method: %s", lua_tostring(L, -1));
    route->timeout_ms = (unsigned)whole_field(L, 1, "timeout_ms");
    route->body_max = (size_t)whole_field(L, 1, "body_max");
    lua_getfield(L, 1, "reads");
    route->reads = lua_isnil(L, -1) ? route->method == HTTP_GET || route->method == HTTP_HEAD : lua_toboolean(L, -1);
    lua_getfield(L, 1, "batch");
    route->is_alone = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
    lua_getfield(L, 1, "group");
    route->shares_commit = lua_toboolean(L, -1);
    route->int_params = find_ints(route->pattern);
    if (lua_getfield(L, 1, "cache") == LUA_TTABLE)
        read_policy(L, lua_gettop(L), route);
    read_headers(L, 1, route);
    route->handler = keep_field(L, 1, "handler");
    route->cx = keep_field(L, 1, "cx");
    char why[256];
    if (http_router_add(vm->router, route->method, str_of(route->pattern), route, why, sizeof why)) {
        lua_pushnil(L);
        lua_pushstring(L, why);
        return 2;
    }
    lua_pushboolean(L, true);
    return 1;
}
