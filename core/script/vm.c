/* vm.c - a Lua 5.4 state on one loop, with everything that plugins and commands may touch.
 *
 * DESIGN  Opening runs inside one protected call, since everything in it may raise; what it made is freed by
 *         script_vm_close, which accepts a half-built VM. Its memory is counted and limited by script/memory: beyond
 *         memory_max there is a Lua error, "not enough memory".
 *         Collection is incremental; bytes that rows and cache entries hold outside of Lua's heap are reported to it at
 *         the end of a turn, because Lua sees only their small handles; results count against memory_max, too.
 *         Cached values are shared, and the cache bounds them.
 * HOLDS   Every entry from C into Lua is lua_pcall or lua_resume: no error jumps over a frame of the loop.
 * Path:   app > [script/vm] > lua/wick/worker.lua, lua/wick/command.lua
 */
#include "script/vm.h"
#include "script/leak.h"

#include "base/clock.h"
#include "script/handler.h"
#include "script/listen.h"
#include "script/reply_value.h"
#include "script/state.h"
#include "script/value.h"

#include <lualib.h>
#include <stdio.h>

enum { MEMORY_MAX = 256 << 20, TASKS_MAX = 10000, CPU_MS = 1000, TIMEOUT_MS = 30000, TTL_MS = 60000 };
enum { CLOSE_ROUNDS = 150, CLOSE_ROUND_MS = 20 };
enum { START_MS = 10 * 60 * 1000, STOP_MS = 10000 }; /* for all plugins of a VM together */
enum { EXTERNAL_STEP = 1 << 20, LOAD_CPU_MS = 5000, LOAD_SAYING_MS = 2000, LOAD_DEEP = 1000 };

/* --- memory ------------------------------------------------------------------------------------------------------- */

static void on_turn(void *arg)
{
    struct script_vm *vm = arg;
    if (vm->external < vm->external_seen)
        vm->external_seen = vm->external;
    if (vm->external - vm->external_seen < EXTERNAL_STEP)
        return;
    size_t grown = vm->external - vm->external_seen;
    vm->external_seen = vm->external;
    lua_gc(vm->L, LUA_GCSTEP, (int)(grown >> 10 > 16384 ? 16384 : grown >> 10));
}

static bool has_room(const struct script_vm *vm) { return vm->memory.bytes + vm->results <= vm->memory.bytes_max; }

void vm_hold(lua_State *L, size_t bytes)
{
    struct script_vm *vm = vm_of(L);
    vm->external += bytes;
    vm->results += bytes;
    if (bytes == 0 || has_room(vm))
        return;
    lua_gc(L, LUA_GCCOLLECT);
    vm->external_seen = vm->external;
    if (!has_room(vm))
        luaL_error(L,
                   "not enough memory: the results of statements and loaders that Lua holds have %d MiB of the %d MiB "
                   "of lua.memory; keep less of them, or set it higher",
                   (int)(vm->results >> 20), (int)(vm->memory.bytes_max >> 20));
}

void vm_let_go(struct script_vm *vm, size_t bytes)
{
    vm->external -= bytes;
    vm->results -= bytes;
}

/* --- open and close ----------------------------------------------------------------------------------------------- */

static int on_panic(lua_State *L)
{
    fprintf(stderr, "wick: an error left Lua unprotected: %s\n", lua_tostring(L, -1));
    return 0; /* Lua aborts */
}

static int push_mark(lua_State *L, const char *name, const void **mark)
{
    lua_newtable(L);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    *mark = lua_topointer(L, -1);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* Everything that may raise. [-0, +0] */
static int open_all(lua_State *L)
{
    struct script_vm *vm = vm_of(L);
    luaL_openlibs(L);
    vm->array_meta = push_mark(L, "json.array", &vm->array_mark);
    vm->object_meta = push_mark(L, "json.object", &vm->object_mark);
    coroutine_open(L);
    bind_native_open(L);
    library_open(L);
    failure_open(L);
    reply_value_open(L);
    bind_request_open(L);
    bind_rows_open(L);
    bind_cx_open(L);
    bind_db_open(L);
    bind_pipe_open(L);
    bind_tx_open(L);
    bind_copy_open(L);
    bind_cache_open(L);
    bind_crypto_open(L);
    bind_log_open(L);
    sandbox_open(L);
    return 0;
}

static void main_task_init(struct script_vm *vm)
{
    struct task *task = &vm->main.task;
    task->vm = vm;
    task->L = vm->L;
    list_init(&task->node);
    list_init(&task->held);
    buf_init(&task->trace, MEM_SCRIPT, 16 * 1024);
    *(struct task **)lua_getextraspace(vm->L) = task;
}

static enum fail vm_init(struct script_vm *vm, char *why, size_t why_bytes)
{
    vm->reply = mem_zero(MEM_SCRIPT, sizeof *vm->reply);
    if (!vm->reply)
        return FAIL_NOMEM;
    reply_out_init(vm->reply);
    enum fail fail = http_router_open(&vm->router);
    if (fail)
        return fail;
    vm->L = lua_newstate(memory_allocate, &vm->memory);
    if (!vm->L)
        return FAIL_NOMEM;
    lua_atpanic(vm->L, on_panic);
    main_task_init(vm);
    lua_pushcfunction(vm->L, open_all);
    if (lua_pcall(vm->L, 0, 0, 0) != LUA_OK) {
        snprintf(why, why_bytes, "%s", lua_tostring(vm->L, -1));
        return FAIL_INVALID;
    }
    handler_open(vm);
    return FAIL_OK;
}

enum fail script_vm_open(const struct script_services *services, struct script_vm **out, char *why, size_t why_bytes)
{
    struct script_vm *vm = mem_zero(MEM_SCRIPT, sizeof *vm);
    if (!vm) {
        snprintf(why, why_bytes, "%s", fail_text(FAIL_NOMEM));
        return FAIL_NOMEM;
    }
    vm->services = *services;
    vm->memory.bytes_max = services->memory_max ? services->memory_max : MEMORY_MAX;
    vm->tasks_max = TASKS_MAX;
    vm->cpu_ms = CPU_MS;
    budget_open(vm);
    vm->timeout_ms = TIMEOUT_MS;
    vm->ttl_ms = TTL_MS;
    vm->settings = LUA_NOREF;
    list_init(&vm->idle);
    list_init(&vm->running);
    list_init(&vm->held);
    list_init(&vm->ops);
    list_init(&vm->reads);
    list_init(&vm->lost_reads);
    list_init(&vm->routes);
    list_init(&vm->listeners);
    buf_init(&vm->out, MEM_SCRIPT, 64 << 20);
    if (services->loop) {
        vm->turn = (struct loop_hook){ .run = on_turn, .arg = vm };
        loop_hook_add(services->loop, &vm->turn);
    }
    enum fail fail = vm_init(vm, why, why_bytes);
    if (fail) {
        if (fail != FAIL_INVALID)
            snprintf(why, why_bytes, "%s", fail_text(fail));
        script_vm_close(vm);
        return fail;
    }
    *out = vm;
    return FAIL_OK;
}

void script_vm_hurry(struct script_vm *vm, unsigned after_ms)
{
    vm->hurry_ns = clock_mono_ns() + after_ms * UINT64_C(1000000);
}

/* The wait is counted in rounds: one in which Lua computes is one, however long it takes, so that those who wait get their turns after
 * it. What a task may compute is bounded by its budget. */
static bool no_task_runs(struct script_vm *vm)
{
    LIST_EACH_SAFE(&vm->running, node, after)
    task_cancel(LIST_ENTRY(node, struct task, node), TASK_CLOSED);
    for (unsigned round = 0; vm->running_count && vm->services.loop && round < CLOSE_ROUNDS; round++)
        loop_turn(vm->services.loop, CLOSE_ROUND_MS, NULL);
    return vm->running_count == 0;
}

void script_vm_close(struct script_vm *vm)
{
    if (!vm)
        return;
    script_vm_unlisten(vm);
    vm->closing = true;
    /* An operation that does not end keeps its coroutine: better a leak at exit than memory freed under it. */
    if (!no_task_runs(vm))
        return;
    if (vm->L) {
        task_free_all(vm);
        lua_close(vm->L);
    }
    memory_clear(&vm->memory);
    if (vm->services.loop)
        loop_hook_remove(&vm->turn);
    leak_close(vm);
    bind_db_free(vm);
    bind_cache_free(vm);
    listen_free(vm);
    routes_free(vm);
    http_router_close(vm->router);
    if (vm->reply)
        reply_out_clear(vm->reply);
    mem_free(vm->reply);
    buf_clear(&vm->main.task.trace);
    buf_clear(&vm->out);
    mem_free(vm);
}

const struct http_handler *script_vm_handler(struct script_vm *vm) { return &vm->handler; }
size_t script_vm_memory(const struct script_vm *vm) { return vm->memory.bytes; }
unsigned script_vm_tasks(const struct script_vm *vm) { return vm->running_count; }

/* --- calls into the library --------------------------------------------------------------------------------------- */

/* Message handler of calls outside of tasks: the text with its traceback. [-1, +1] */
static int with_traceback(lua_State *L)
{
    const char *text = luaL_tolstring(L, 1, NULL);
    script_traceback(L, L, text, 1);
    return 1;
}

struct entry {
    const char *module, *function;
};

/* The function of a module of the library. Upvalues none; argument: struct entry. [-1, +1] */
static int find_function(lua_State *L)
{
    const struct entry *entry = lua_touserdata(L, 1);
    lua_getglobal(L, "require");
    lua_pushstring(L, entry->module);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, entry->function);
    if (!lua_isfunction(L, -1))
        return luaL_error(L, "%s has no function %s", entry->module, entry->function);
    return 1;
}

/* [-0, +1]: the function, or the text of the error */
static bool push_function(lua_State *L, const char *module, const char *function)
{
    struct entry entry = { module, function };
    lua_pushcfunction(L, with_traceback);
    lua_pushcfunction(L, find_function);
    lua_pushlightuserdata(L, &entry);
    int status = lua_pcall(L, 1, 1, -3);
    lua_remove(L, -2);
    return status == LUA_OK;
}

struct command {
    struct script_vm *vm;
    int argc;
    char **argv;
};

static int run_command(lua_State *L)
{
    const struct command *command = lua_touserdata(L, 1);
    struct entry entry = { "wick.command", "main" };
    lua_pushcfunction(L, find_function);
    lua_pushlightuserdata(L, &entry);
    lua_call(L, 1, 1);
    lua_createtable(L, command->argc, 0);
    for (int i = 0; i < command->argc; i++) {
        lua_pushstring(L, command->argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_call(L, 1, 1);
    lua_pushinteger(L, lua_isinteger(L, -1) ? lua_tointeger(L, -1) : lua_isnil(L, -1) || lua_toboolean(L, -1) ? 0 : 1);
    return 1;
}

/* A configuration or a plugin that loops for ever while it is loaded is a mistake like others: it has a place. */
static void load_hook(lua_State *L, lua_Debug *ar)
{
    struct script_vm *vm = vm_of(L);
    uint64_t now_ns = clock_thread_cpu_ns();
    if (now_ns - vm->load_began_ns < LOAD_CPU_MS * UINT64_C(1000000)) {
        if (!lua_getstack(L, LOAD_DEEP, ar)) /* lua_sethook walks the whole stack, which may be about to overflow */
            lua_sethook(L, load_hook, LUA_MASKCOUNT, budget_pace_next(&vm->budget.pace, now_ns));
        return;
    }
    if (!vm->load_is_over) /* what says so to people needs time, too */
        vm->load_began_ns += LOAD_SAYING_MS * UINT64_C(1000000);
    vm->load_is_over = true;
    luaL_where(L, 0); /* in a hook, level 0 is the function it interrupts */
    lua_pushfstring(L, "used %d s of CPU time while it was loaded: does it loop for ever?", LOAD_CPU_MS / 1000);
    lua_concat(L, 2);
    lua_error(L);
}

int script_vm_command(struct script_vm *vm, int argc, char **argv, const struct script_hooks *hooks)
{
    lua_State *L = vm->L;
    struct command command = { vm, argc, argv };
    if (hooks)
        vm->hooks = *hooks;
    vm->load_began_ns = clock_thread_cpu_ns();
    vm->load_is_over = false;
    lua_sethook(L, load_hook, LUA_MASKCOUNT, budget_pace_begin(&vm->budget.pace));
    lua_pushcfunction(L, with_traceback);
    lua_pushcfunction(L, run_command);
    lua_pushlightuserdata(L, &command);
    int status = lua_pcall(L, 1, 1, -3);
    int code = 1;
    if (status == LUA_OK)
        code = (int)lua_tointeger(L, -1);
    else
        fprintf(stderr, "wick: %s\n", lua_tostring(L, -1));
    lua_settop(L, 0);
    return code;
}

/* A list of texts on top becomes one text, a line each. [-1, +1] */
static void join_texts(lua_State *L)
{
    struct buf *out = &vm_of(L)->out;
    buf_reset(out);
    for (lua_Integer i = 1; lua_istable(L, -1) && i <= (lua_Integer)lua_rawlen(L, -1); i++) {
        lua_rawgeti(L, -1, i);
        buf_add_str(out, i > 1 ? STR("\n") : STR(""));
        buf_add_str(out, str_of(failure_words(L, -1)));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    lua_pushlstring(L, out->data ? out->data : "", out->len);
}

static void read_limits(struct script_vm *vm)
{
    int64_t value = 0;
    if (script_setting_int(vm, "lua.cpu", &value) && value > 0)
        vm->cpu_ms = (unsigned)value;
    vm->log_requests = script_setting_bool(vm, "log.requests");
    if (script_setting_int(vm, "http.request_timeout", &value) && value > 0)
        vm->timeout_ms = (unsigned)value;
    if (script_setting_int(vm, "cache.ttl", &value) && value > 0)
        vm->ttl_ms = (uint64_t)value;
    struct sql_engine *engine = vm->services.sql;
    bool is_postgres = engine && strcmp(engine->ops->dialect, "postgres") == 0;
    if (is_postgres && script_setting_int(vm, "database.postgres.pool.statement_timeout", &value) && value > 0)
        vm->statement_ms = (unsigned)value;
    leak_set_up(vm);
}

enum fail script_vm_boot(struct script_vm *vm, struct str settings_json, char *why, size_t why_bytes)
{
    lua_State *L = vm->L;
    struct json_where where = { 0 };
    enum fail fail = value_push_json(L, settings_json, 0, &where);
    if (fail) {
        snprintf(why, why_bytes, "settings: %s at byte %zu", where.why ? where.why : fail_text(fail), where.offset);
        return fail;
    }
    lua_pushvalue(L, -1);
    settings_keep(L);
    read_limits(vm);
    lua_pushcfunction(L, with_traceback);
    bool booted = false;
    if (push_function(L, "wick.worker", "boot")) {
        lua_pushvalue(L, -3);
        int status = lua_pcall(L, 1, 2, -3);
        booted = status == LUA_OK && lua_toboolean(L, -2);
        if (status == LUA_OK && !booted)
            join_texts(L);
    }
    if (booted)
        lua_gc(L, LUA_GCCOLLECT);
    else
        snprintf(why, why_bytes, "%s", failure_words(L, -1));
    lua_settop(L, 0);
    return booted ? FAIL_OK : FAIL_INVALID;
}

/* --- functions of the library as tasks ---------------------------------------------------------------------------- */

struct errand {
    struct script_vm *vm;
    void (*on_done)(void *arg, enum fail fail, const char *why);
    void *arg;
    struct loop_task failed;
    char why[512];
};

/* The function raised, or it is done; what it returned is not looked at. */
static void on_errand(void *arg, struct task *task, bool ok)
{
    struct errand *errand = arg;
    lua_State *L = task->L;
    enum fail fail = FAIL_OK;
    if (!ok) {
        struct failure *failure = failure_test(L, -1);
        fail = failure ? failure->fail : FAIL_INVALID;
        struct str trace = task_trace(task, L, -1);
        const char *text = failure_words(L, -1);
        snprintf(errand->why, sizeof errand->why, "%s%s%.*s", text, trace.len ? "\n" : "", (int)trace.len,
                 trace.data ? trace.data : "");
    }
    errand->on_done(errand->arg, fail, errand->why);
    mem_free(errand);
}

static void on_errand_failed(void *arg)
{
    struct errand *errand = arg;
    errand->on_done(errand->arg, FAIL_INVALID, errand->why);
    mem_free(errand);
}

static void run_errand(struct script_vm *vm, const char *function, unsigned timeout_ms,
                       void (*on_done)(void *, enum fail, const char *), void *arg)
{
    struct errand *errand = mem_zero(MEM_SCRIPT, sizeof *errand);
    if (!errand) {
        on_done(arg, FAIL_NOMEM, fail_text(FAIL_NOMEM));
        return;
    }
    *errand = (struct errand){ .vm = vm, .on_done = on_done, .arg = arg };
    bool found = push_function(vm->L, "wick.worker", function);
    struct task *task = found ? task_take(vm) : NULL;
    if (!task) {
        snprintf(errand->why, sizeof errand->why, "%s", found ? "too many tasks" : lua_tostring(vm->L, -1));
        lua_settop(vm->L, 0);
        errand->failed = (struct loop_task){ .run = on_errand_failed, .arg = errand };
        loop_defer(vm->services.loop, &errand->failed);
        return;
    }
    lua_xmove(vm->L, task->L, 1);
    task->timeout_ms = timeout_ms;
    task->on_done = on_errand;
    task->arg = errand;
    task_start_later(task, 0);
}

void script_vm_prepare(struct script_vm *vm, void (*on_done)(void *arg, enum fail fail, const char *why), void *arg)
{
    run_errand(vm, "prepare", START_MS, on_done, arg);
}

void script_vm_start_plugins(struct script_vm *vm, void (*on_done)(void *arg, enum fail fail, const char *why),
                             void *arg)
{
    run_errand(vm, "start", START_MS, on_done, arg);
}

void script_vm_stop_plugins(struct script_vm *vm, void (*on_done)(void *arg, enum fail fail, const char *why),
                            void *arg)
{
    run_errand(vm, "stop", STOP_MS, on_done, arg);
}
