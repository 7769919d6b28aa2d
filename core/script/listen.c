/* listen.c - runs what plugins declare under `listen`: function(payload, cx) for each note, gap(cx) when some may have been missed.
 *
 * DESIGN  One subscription for each plugin and channel. While its handler runs the next note is refused, so it waits in the engine's
 *         bounded queue, and comes when the task has ended: in order, one at a time, and a handler that is too slow gets a gap.
 *         Each run is a task with the deadline of a request; what it raises goes to the log, and the next note comes all the same.
 *         Notes run in one VM of the process (worker.c says which): caches are shared by all, and an effect wanted once is had once.
 * HOLDS   is_running exactly from task_start_later to on_ran. Without a subscription nothing is started.
 * Path:   sql/listen > [script/listen] > script/task > plugins
 */
#include "script/listen.h"

#include "base/log.h"
#include "script/failure.h"
#include "script/state.h"
#include "script/value.h"
#include "sql/listen.h"

enum { RETRY_MS = 50 };

struct script_listener {
    struct list node; /* of vm->listeners */
    struct script_vm *vm;
    char *plugin, *channel;
    int note, gap, cx; /* references; gap may be LUA_NOREF */
    struct sql_subscription *subscription;
    bool is_running;
    struct timer retry;
};

static void resume(void *arg)
{
    struct script_listener *listener = arg;
    if (listener->subscription)
        sql_listen_resume(listener->subscription);
}

/* The handler has returned, or raised. */
static void on_ran(void *arg, struct task *task, bool ok)
{
    struct script_listener *listener = arg;
    if (!ok)
        log_line(LOG_ERROR, "a handler of notifications failed", LOG_TEXT("plugin", listener->plugin),
                 LOG_TEXT("channel", listener->channel), LOG_TEXT("error", failure_words(task->L, -1)),
                 LOG_STR("traceback", task_trace(task, task->L, -1)));
    listener->is_running = false;
    resume(listener);
}

/* False: not now. payload NULL: a gap. */
static bool run(struct script_listener *listener, const struct str *payload)
{
    struct script_vm *vm = listener->vm;
    if (listener->is_running)
        return false;
    struct task *task = task_take(vm);
    if (!task) { /* too many run */
        timer_start(vm->services.loop, &listener->retry, RETRY_MS, resume, listener);
        return false;
    }
    vm->memory.unlimited = true; /* a payload has less than 8000 bytes */
    lua_rawgeti(task->L, LUA_REGISTRYINDEX, payload ? listener->note : listener->gap);
    if (payload)
        lua_pushlstring(task->L, payload->data, payload->len);
    lua_rawgeti(task->L, LUA_REGISTRYINDEX, listener->cx);
    vm->memory.unlimited = false;
    task->on_done = on_ran;
    task->arg = listener;
    listener->is_running = true;
    task_start_later(task, payload ? 2 : 1);
    return true;
}

static bool on_note(void *arg, struct str payload, int pid)
{
    (void)pid;
    return run(arg, &payload);
}

static bool on_gap(void *arg)
{
    struct script_listener *listener = arg;
    return listener->gap == LUA_NOREF || run(listener, NULL);
}

/* --- subscribing -------------------------------------------------------------------------------------------------- */

static void subscribe(struct script_listener *listener)
{
    struct sql_listener hooks = { .on_note = on_note, .on_gap = on_gap, .arg = listener };
    struct sql_error error = { .sent = false };
    enum fail fail = sql_listen(listener->vm->services.sql, str_of(listener->channel), &hooks, &listener->subscription,
                                &error);
    if (!fail)
        return;
    listener->subscription = NULL;
    log_line(LOG_ERROR, "a plugin hears no notifications", LOG_TEXT("plugin", listener->plugin),
             LOG_TEXT("channel", listener->channel), LOG_TEXT("why", error.text[0] ? error.text : fail_text(fail)));
}

void script_vm_listen(struct script_vm *vm)
{
    LIST_EACH(&vm->listeners, node)
    {
        struct script_listener *listener = LIST_ENTRY(node, struct script_listener, node);
        if (!listener->subscription && vm->services.sql)
            subscribe(listener);
    }
}

void script_vm_unlisten(struct script_vm *vm)
{
    LIST_EACH(&vm->listeners, node)
    {
        struct script_listener *listener = LIST_ENTRY(node, struct script_listener, node);
        timer_stop(&listener->retry);
        if (listener->subscription)
            sql_unlisten(listener->subscription);
        listener->subscription = NULL;
    }
}

/* --- declaring ---------------------------------------------------------------------------------------------------- */

static void free_listener(struct script_listener *listener)
{
    list_remove(&listener->node);
    mem_free(listener->plugin);
    mem_free(listener->channel);
    mem_free(listener);
}

int listen_add(lua_State *L)
{
    struct script_vm *vm = vm_of(L);
    luaL_checkstring(L, 1);
    luaL_checkstring(L, 2);
    luaL_checktype(L, 4, LUA_TFUNCTION);
    lua_settop(L, 5);
    struct str plugin = value_str(L, 1), channel = value_str(L, 2);
    struct script_listener *listener = mem_zero(MEM_SCRIPT, sizeof *listener);
    if (!listener)
        return luaL_error(L, "no memory");
    list_push_back(&vm->listeners, &listener->node); /* from here on the VM frees it */
    listener->vm = vm;
    listener->plugin = mem_dup(MEM_SCRIPT, plugin.data, plugin.len);
    listener->channel = mem_dup(MEM_SCRIPT, channel.data, channel.len);
    if (!listener->plugin || !listener->channel) {
        free_listener(listener);
        return luaL_error(L, "no memory");
    }
    listener->gap = lua_isfunction(L, 5) ? luaL_ref(L, LUA_REGISTRYINDEX) : LUA_NOREF;
    lua_settop(L, 4);
    listener->note = luaL_ref(L, LUA_REGISTRYINDEX);
    listener->cx = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

void listen_free(struct script_vm *vm)
{
    LIST_EACH_SAFE(&vm->listeners, node, after)
    free_listener(LIST_ENTRY(node, struct script_listener, node));
}
