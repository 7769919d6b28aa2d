/* bind_native.c - the module wick.native: what the Lua library asks of C. Plugins never see it.
 *
 * Path:   lua/wick > [script/bind_native] > script/route, script/bind_cx, script/settings
 */
#include "base/log.h"
#include "script/failure.h"
#include "script/handler.h"
#include "script/listen.h"
#include "script/retry.h"
#include "script/state.h"
#include "script/value.h"
#include "sql/statement.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* nil, why */
static int no(lua_State *L, const char *why)
{
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

/* --- tasks, cx, settings ------------------------------------------------------------------------------------------ */

/* native.cx(plugin, options) -> cx */
static int native_cx(lua_State *L)
{
    const char *plugin = luaL_checkstring(L, 1);
    lua_settop(L, 2);
    bind_cx_push(L, plugin, 2);
    return 1;
}

static void on_spawned(void *arg, struct task *task, bool ok)
{
    (void)arg;
    if (!ok)
        log_line(LOG_ERROR, "a task failed", LOG_TEXT("error", failure_words(task->L, -1)),
                 LOG_STR("traceback", task_trace(task, task->L, -1)));
}

/* native.spawn(fn, timeout_ms): starts at the end of this turn */
static int native_spawn(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_Integer ms = luaL_checkinteger(L, 2);
    struct script_vm *vm = vm_of(L);
    if (!vm->services.loop)
        return luaL_error(L, "native.spawn: this VM has no loop");
    struct task *task = task_take(vm);
    if (!task)
        return luaL_error(L, "native.spawn: too many tasks run");
    lua_settop(L, 1);
    lua_xmove(L, task->L, 1);
    task->timeout_ms = ms > 0 ? (unsigned)ms : vm->timeout_ms;
    task->on_done = on_spawned;
    task_start_later(task, 0);
    return 0;
}

/* native.settings(table): what the script_setting_* functions read from now on */
static int native_settings(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    settings_keep(L);
    return 0;
}

/* native.serve(settings) -> exit code; returns when the server has ended */
static int native_serve(lua_State *L)
{
    struct script_vm *vm = vm_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!vm->hooks.serve)
        return luaL_error(L, "native.serve: not in this VM");
    struct value_why why;
    struct buf json;
    buf_init(&json, MEM_SCRIPT, 16 << 20);
    if (!value_add_json(L, 1, &json, &why)) {
        buf_clear(&json);
        return luaL_error(L, "settings cannot be written as JSON: settings%s", why.text);
    }
    lua_settop(L, 1);
    settings_keep(L);
    lua_sethook(L, NULL, 0, 0); /* all is loaded */
    int code = vm->hooks.serve(vm->hooks.arg, vm, str_make(json.data, json.len));
    buf_clear(&json);
    lua_pushinteger(L, code);
    return 1;
}

/* --- files -------------------------------------------------------------------------------------------------------- */

/* native.env(name) -> text | nil */
static int native_env(lua_State *L)
{
    lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
    return 1;
}

/* A regular file: a pipe would be waited for, and /dev/zero has no end. */
static FILE *open_regular(const char *path, const char **why)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    bool is_open = fd >= 0 && fstat(fd, &info) == 0;
    bool is_regular = is_open && S_ISREG(info.st_mode);
    *why = !is_open ? strerror(errno) : S_ISDIR(info.st_mode) ? "this is a folder" : "this is no regular file";
    FILE *file = is_regular ? fdopen(fd, "rb") : NULL;
    if (is_regular && !file)
        *why = strerror(errno);
    if (!file && fd >= 0)
        close(fd);
    return file;
}

/* native.read_file(path, bytes_max) -> text | nil, why */
static int native_read_file(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1), *why = NULL;
    lua_Integer max = luaL_optinteger(L, 2, 16 << 20);
    FILE *file = open_regular(path, &why);
    if (!file)
        return no(L, why);
    struct buf text;
    buf_init(&text, MEM_SCRIPT, (size_t)max);
    char piece[16384];
    size_t got;
    while (buf_ok(&text) && (got = fread(piece, 1, sizeof piece, file)) > 0)
        buf_add(&text, piece, got);
    bool broken = ferror(file) != 0, long_one = !buf_ok(&text);
    int error = errno;
    fclose(file);
    if (broken || long_one) {
        buf_clear(&text);
        if (broken)
            return no(L, strerror(error));
        lua_pushnil(L);
        lua_pushfstring(L, "the file is larger than it may be (%I bytes)", (LUAI_UACINT)max);
        return 2;
    }
    vm_of(L)->memory.unlimited = true;
    lua_pushlstring(L, text.data ? text.data : "", text.len);
    vm_of(L)->memory.unlimited = false;
    buf_clear(&text);
    return 1;
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* native.list(dir) -> names, sorted | nil, why */
static int native_list(lua_State *L)
{
    struct dirent **entries = NULL;
    int count = scandir(luaL_checkstring(L, 1), &entries, NULL, by_name);
    if (count < 0)
        return no(L, strerror(errno));
    vm_of(L)->memory.unlimited = true;
    lua_newtable(L);
    lua_Integer n = 0;
    for (int i = 0; i < count; i++) {
        if (strcmp(entries[i]->d_name, ".") != 0 && strcmp(entries[i]->d_name, "..") != 0) {
            lua_pushstring(L, entries[i]->d_name);
            lua_rawseti(L, -2, ++n);
        }
        free(entries[i]);
    }
    vm_of(L)->memory.unlimited = false;
    free(entries);
    return 1;
}

/* native.stat(path) -> "file" | "dir" | nil */
static int native_stat(lua_State *L)
{
    struct stat info;
    if (stat(luaL_checkstring(L, 1), &info) != 0)
        lua_pushnil(L);
    else
        lua_pushstring(L, S_ISDIR(info.st_mode) ? "dir" : "file");
    return 1;
}

/* native.is_tty(fd) */
static int native_is_tty(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* native.write(fd, text) -> true | nil, why. For commands: it blocks. */
static int native_write(lua_State *L)
{
    int fd = (int)luaL_checkinteger(L, 1);
    size_t len = 0;
    const char *text = luaL_checklstring(L, 2, &len);
    while (len > 0) {
        ssize_t wrote = write(fd, text, len);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return no(L, strerror(errno));
        text += wrote;
        len -= (size_t)wrote;
    }
    lua_pushboolean(L, true);
    return 1;
}

/* --- checks ------------------------------------------------------------------------------------------------------- */

/* native.match_check(pattern) -> true | nil, why: is it a path pattern the router takes? */
static int native_match_check(lua_State *L)
{
    struct str pattern = { NULL, 0 };
    pattern.data = luaL_checklstring(L, 1, &pattern.len);
    struct http_router *router = NULL;
    if (http_router_open(&router))
        return luaL_error(L, "no memory");
    char why[256];
    enum fail fail = http_router_add(router, HTTP_GET, pattern, router, why, sizeof why);
    http_router_close(router);
    if (fail)
        return no(L, fail == FAIL_INVALID ? why : fail_text(fail));
    lua_pushboolean(L, true);
    return 1;
}

/* native.is_text(value) -> whether it is a string without U+0000; asked of each text of each body */
static int native_is_text(lua_State *L)
{
    bool is_text = false;
    if (lua_type(L, 1) == LUA_TSTRING) {
        struct str text = value_str(L, 1);
        is_text = !memchr(text.data, '\0', text.len);
    }
    lua_pushboolean(L, is_text);
    return 1;
}

/* native.statement(sql [, dialect]) -> { params =, keyword = } | nil, why */
static int native_statement(lua_State *L)
{
    struct str text = { NULL, 0 };
    text.data = luaL_checklstring(L, 1, &text.len);
    static const char *const dialects[] = { "postgres", "sqlite", NULL };
    int dialect = luaL_checkoption(L, 2, "postgres", dialects);
    struct sql_statement statement;
    if (sql_statement_scan(text, dialect == 0 ? SQL_POSTGRES : SQL_SQLITE, &statement)) {
        lua_pushnil(L);
        lua_pushfstring(L, "%s (at byte %d)", statement.why, (int)statement.at);
        return 2;
    }
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, statement.param_count);
    lua_setfield(L, -2, "params");
    luaL_Buffer word;
    luaL_buffinit(L, &word);
    for (size_t i = 0; i < statement.keyword.len; i++) {
        char c = statement.keyword.data[i];
        luaL_addchar(&word, (char)(c >= 'A' && c <= 'Z' ? c + 32 : c));
    }
    luaL_pushresult(&word);
    lua_setfield(L, -2, "keyword");
    return 1;
}

/* --- module ------------------------------------------------------------------------------------------------------- */

static void push_plugins_dir(lua_State *L)
{
    const char *given = vm_of(L)->services.plugins_dir;
    if (!given)
        given = getenv("WICK_PLUGINS");
    lua_pushstring(L, given && *given ? given : WICK_PLUGINS);
}

static void push_libraries(lua_State *L)
{
    lua_createtable(L, 0, 4);
    lua_pushliteral(L, LUA_RELEASE);
    lua_setfield(L, -2, "lua");
    lua_pushstring(L, crypto_version());
    lua_setfield(L, -2, "openssl");
}

static int open_native(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "route_add", route_add },
        { "cx", native_cx },
        { "listen", listen_add },
        { "spawn", native_spawn },
        { "settings", native_settings },
        { "serve", native_serve },
        { "env", native_env },
        { "ask", script_ask },
        { "read_file", native_read_file },
        { "list", native_list },
        { "stat", native_stat },
        { "is_tty", native_is_tty },
        { "write", native_write },
        { "match_check", native_match_check },
        { "is_text", native_is_text },
        { "check_url", check_url },
        { "statement", native_statement },
        { "load_plugin_chunk", sandbox_load },
        { "cjson_guard_encode", cjson_guard_encode },
        { "cjson_guard_decode", cjson_guard_decode },
        { "traceback", task_traceback },
        { "sleep", cx_sleep },
        { "rerun", retry_rerun },
        { "rerun_ended", retry_ended },
        { NULL, NULL },
    };
    luaL_newlib(L, functions);
    bind_json_push(L);
    lua_setfield(L, -2, "json");
    lua_pushliteral(L, WICK_VERSION);
    lua_setfield(L, -2, "version");
    push_plugins_dir(L);
    lua_setfield(L, -2, "plugins_dir");
    push_libraries(L);
    lua_setfield(L, -2, "libraries");
    return 1;
}

void bind_native_open(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, open_native);
    lua_setfield(L, -2, "wick.native");
    lua_pop(L, 1);
}
