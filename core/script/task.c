/* task.c - a coroutine that works for one request (or for nobody), and the one way it waits.
 *
 * DESIGN  A task's first coroutine runs `body`, a C function that calls the Lua function through lua_pcallk: an error
 *         therefore unwinds inside the coroutine, where __close may wait (lua_resetthread would run it unyieldable, and
 *         a dropped coroutine not at all). Finished coroutines are used again; after success their stack is just cut.
 *         A coroutine the user made waits by yielding to the one that resumed it, which yields in turn (coroutine.c).
 * HOLDS   A task on `running` has not ended. wait != NULL exactly while L is suspended by task_await. Between turns every
 *         running task waits, or its start is put off.
 * Path:   script/handler > [script/task] > plugins > script/bind_db, bind_cache > [script/task]
 */
#include "script/task.h"

#include "script/failure.h"
#include "script/handler.h"
#include "script/reply_value.h"
#include "script/state.h"
#include "script/value.h"

#include <assert.h>

static int body(lua_State *L);
static int body_done(lua_State *L, int status, lua_KContext context);
static void resume(struct task *task, int arguments);
static void ended(struct task *task, int status);
static void on_deadline(void *arg);
static void on_grace_over(void *arg);

/* --- life --------------------------------------------------------------------------------------------------------- */

static struct task *task_make(struct script_vm *vm)
{
    struct task *task = mem_zero(MEM_SCRIPT, sizeof *task);
    if (!task)
        return NULL;
    /* A thread and its reference are made without raising: the limit is lifted, and luaL_ref needs only a table slot. */
    vm->memory.unlimited = true;
    task->vm = vm;
    task->L = lua_newthread(vm->L);
    task->anchor = luaL_ref(vm->L, LUA_REGISTRYINDEX);
    vm->memory.unlimited = false;
    *(struct task **)lua_getextraspace(task->L) = task;
    list_init(&task->node);
    list_init(&task->held);
    buf_init(&task->trace, MEM_SCRIPT, 16 * 1024);
    return task;
}

static void task_free(struct task *task)
{
    *(struct task **)lua_getextraspace(task->L) = &task->vm->main.task; /* a plugin may have kept it */
    luaL_unref(task->vm->L, LUA_REGISTRYINDEX, task->anchor);
    buf_clear(&task->trace);
    mem_free(task);
}

struct task *task_take(struct script_vm *vm)
{
    if (vm->running_count >= vm->tasks_max || vm->closing)
        return NULL;
    struct list *node = list_pop_front(&vm->idle);
    struct task *task = node ? LIST_ENTRY(node, struct task, node) : task_make(vm);
    if (!task)
        return NULL;
    vm->idle_count -= node != NULL;
    vm->running_count++;
    list_push_back(&vm->running, &task->node);
    task->serial = ++vm->task_serial;
    if (vm->services.loop)
        sql_retry_note(&vm->retries, loop_now_ms(vm->services.loop));
    task->timeout_ms = vm->timeout_ms;
    task->may_wait = true;
    return task;
}

static void settle(struct task *task)
{
    task->stop = TASK_GOES_ON;
    task->lost = task->ok = task->serves = task->tx_leaked = false;
    task->shields = 0;
    task->request = NULL;
    task->route = NULL;
    task->fill = NULL;
    task->ud = NULL;
    task->on_done = NULL;
    task->lost_tx = NULL;
    task->trace_of = NULL;
    task->trace_more = false;
    buf_reset(&task->trace);
    budget_settle(task);
}

void task_give(struct task *task)
{
    struct script_vm *vm = task->vm;
    assert(!task->wait);
    timer_stop(&task->timer);
    lua_settop(task->L, 0);
    settle(task);
    list_remove(&task->node);
    vm->running_count--;
    if (vm->idle_count >= TASKS_IDLE_MAX) {
        task_free(task);
        return;
    }
    list_push_front(&vm->idle, &task->node);
    vm->idle_count++;
}

void task_free_all(struct script_vm *vm)
{
    for (struct list *node; (node = list_pop_front(&vm->idle)) != NULL; vm->idle_count--)
        task_free(LIST_ENTRY(node, struct task, node));
}

/* --- a run -------------------------------------------------------------------------------------------------------- */

void task_start(struct task *task, int arguments)
{
    lua_State *L = task->L;
    task->arguments = arguments;
    task->deadline_ms = loop_now_ms(task->vm->services.loop) + task->timeout_ms;
    lua_pushcfunction(L, body);
    lua_insert(L, 1);
    lua_pushcfunction(L, task_traceback);
    lua_insert(L, 2);
    resume(task, lua_gettop(L) - 1);
}

static void on_later(void *arg)
{
    struct task *task = arg;
    task_start(task, task->arguments);
}

void task_start_later(struct task *task, int arguments)
{
    task->arguments = arguments;
    task->later = (struct loop_task){ .run = on_later, .arg = task };
    loop_defer(task->vm->services.loop, &task->later);
}

/* Stack: traceback handler, kept values, function, arguments. */
static int body(lua_State *L)
{
    struct task *task = task_of(L);
    int arguments = task->serves ? handler_call(task, L) : task->arguments;
    return body_done(L, lua_pcallk(L, arguments, 1, 1, 0, body_done), 0);
}

/* Stack: traceback handler, kept values, the result or the error. */
static int body_done(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    struct task *task = task_of(L);
    task->ok = status == LUA_OK || status == LUA_YIELD;
    if (task->request)
        handler_answer(task, L);
    return 1;
}

static void resume(struct task *task, int arguments)
{
    int results = 0;
    int status = budget_resume(task, task->L, NULL, arguments, &results);
    if (status == LUA_YIELD) {
        assert(task->wait);
        return;
    }
    ended(task, status);
}

/* The coroutine is over: what it still holds is released, then its owner hears of it. */
static void ended(struct task *task, int status)
{
    if (status != LUA_OK) { /* out of memory outside of the protected call, or while answering */
        task->ok = false;
        lua_State *L = task->L;
        lua_resetthread(L); /* leaves the error on the stack */
    }
    timer_stop(&task->timer);
    for (struct list *node; (node = list_pop_front(&task->held)) != NULL;) {
        struct task_held *held = LIST_ENTRY(node, struct task_held, node);
        held->release(task, held);
    }
    if (task->serves) {
        handler_ended(task, status == LUA_OK);
        return;
    }
    void (*on_done)(void *, struct task *, bool) = task->on_done;
    if (on_done)
        on_done(task->arg, task, task->ok);
    task_give(task);
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

bool task_stops(const struct task *task) { return task->stop != TASK_GOES_ON && (task->shields == 0 || task->lost); }

void task_check(lua_State *L)
{
    struct task *task = task_of(L);
    if (!task_stops(task))
        return;
    switch (task->stop) {
    case TASK_GOES_ON: break;
    case TASK_ABORTED: failure_raisef(L, FAIL_CANCELLED, "the client left"); break;
    case TASK_CLOSED: failure_raisef(L, FAIL_CANCELLED, "the server is closing"); break;
    case TASK_OVERDUE:
        failure_push(L, FAIL_TIMEOUT, NULL)->overdue = true;
        sql_error_set(&failure_test(L, -1)->error, "57014", "the deadline of %u ms passed", task->timeout_ms);
        lua_error(L);
    }
}

struct task *task_may_wait(lua_State *L, const char *what)
{
    struct task *task = task_of(L);
    if (!task->may_wait || !lua_isyieldable(L)) {
        bool outside = task == &task->vm->main.task;
        luaL_error(
            L,
            outside ? "%s cannot wait here: nothing waits while files are loaded; do it in a handler, start or a task"
                    : "%s cannot wait here: a C function that cannot be left stands in between "
                      "(table.sort, string.gsub, require, a metamethod such as __tostring or __gc)",
            what);
    }
    task_check(L);
    return task;
}

unsigned task_left_ms(const struct task *task, unsigned own_ms)
{
    uint64_t now = loop_now_ms(task->vm->services.loop);
    uint64_t left = task->deadline_ms > now ? task->deadline_ms - now : 1;
    if (task->stop != TASK_GOES_ON)
        left = TASK_GRACE_MS; /* what runs now is behind a shield */
    return own_ms && own_ms < left ? own_ms : (unsigned)left;
}

int task_await(lua_State *L, struct task_wait *wait, lua_KFunction next)
{
    struct task *task = task_of(L);
    assert(!task->wait && task->may_wait);
    wait->task = task;
    wait->asked = false;
    task->wait = wait;
    if (!timer_is_set(&task->timer))
        timer_start(task->vm->services.loop, &task->timer, task_left_ms(task, 0), on_deadline, task);
    return lua_yieldk(L, 0, (lua_KContext)wait, next);
}

void task_wake(struct task_wait *wait)
{
    struct task *task = wait->task;
    assert(task->wait == wait);
    task->wait = NULL;
    resume(task, 0);
}

static void on_deadline(void *arg) { task_cancel(arg, TASK_OVERDUE); }

static void cancel_wait(struct task *task)
{
    if (!task->wait || task->wait->asked)
        return;
    task->wait->asked = true;
    task->wait->cancel(task->wait);
}

void task_cancel(struct task *task, enum task_stop stop)
{
    if (task->stop != TASK_GOES_ON)
        return;
    task->stop = stop;
    timer_start(task->vm->services.loop, &task->timer, TASK_GRACE_MS, on_grace_over, task);
    if (task->shields == 0)
        cancel_wait(task);
}

static void on_grace_over(void *arg)
{
    struct task *task = arg;
    task->lost = true;
    cancel_wait(task);
    if (task->request)
        handler_give_up(task);
}

void task_hold(struct task *task, struct task_held *held, void (*release)(struct task *, struct task_held *))
{
    held->release = release;
    list_push_front(&task->held, &held->node);
}

/* --- tracebacks --------------------------------------------------------------------------------------------------- */

enum { TRACE_DEEP = 200, TRACE_LEVELS = 20 };

/* One line of a traceback, as luaL_traceback writes them. */
static void add_level(luaL_Buffer *out, lua_State *L, lua_State *of, lua_Debug *at)
{
    lua_getinfo(of, "Sln", at);
    lua_pushfstring(L, "\n\t%s:", at->short_src);
    if (at->currentline > 0)
        lua_pushfstring(L, "%d:", at->currentline);
    else
        lua_pushliteral(L, "");
    lua_pushfstring(L, " in %s %s", *at->namewhat ? at->namewhat : "function", at->name ? at->name : "?");
    lua_concat(L, 3);
    luaL_addvalue(out);
}

/* Looking a level up walks all that are above it, so of a stack that has overflowed only the innermost are told. */
void script_traceback(lua_State *L, lua_State *of, const char *message, int level)
{
    lua_Debug at;
    if (!lua_getstack(of, level + TRACE_DEEP, &at)) {
        luaL_traceback(L, of, message, level);
        return;
    }
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    luaL_addstring(&out, message ? message : "");
    luaL_addstring(&out, message ? "\nstack traceback:" : "stack traceback:");
    for (int i = 0; i < TRACE_LEVELS && lua_getstack(of, level + i, &at); i++)
        add_level(&out, L, of, &at);
    lua_pushfstring(L, "\n\t...\t(and more than %d levels)", TRACE_DEEP - TRACE_LEVELS);
    luaL_addvalue(&out);
    luaL_pushresult(&out);
}

static void add_trace(struct task *task, lua_State *L, lua_State *of, int level)
{
    if (task->trace.len)
        buf_add_str(&task->trace, STR("\nresumed by\n"));
    script_traceback(L, of, NULL, level);
    buf_add_str(&task->trace, value_str(L, -1));
    lua_pop(L, 1);
}

void task_keep_trace(struct task *task, lua_State *L, lua_State *dead)
{
    if (!task->trace_more || task->trace_of != lua_topointer(dead, -1))
        buf_reset(&task->trace);
    add_trace(task, L, dead, 0);
    task->trace_more = true;
}

static bool deserves_trace(lua_State *L)
{
    if (udata_test(L, 1, UD_REPLY))
        return false;
    struct failure *failure = failure_test(L, 1);
    return !failure || failure_status(failure) == 500;
}

int task_traceback(lua_State *L)
{
    struct task *task = task_of(L);
    const void *identity = lua_topointer(L, 1);
    bool known = identity && task->trace_of == identity;
    if ((known && !task->trace_more) || !deserves_trace(L))
        return 1;
    if (!known)
        buf_reset(&task->trace);
    add_trace(task, L, L, 1);
    task->trace_of = identity;
    task->trace_more = false;
    return 1;
}

struct str task_trace(struct task *task, lua_State *L, int index)
{
    const void *identity = lua_topointer(L, index);
    if (!identity || identity != task->trace_of || !buf_ok(&task->trace))
        return STR_NONE;
    return str_make(task->trace.data, task->trace.len);
}
