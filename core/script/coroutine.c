/* coroutine.c - coroutines of the user's own that may wait: create, wrap, resume, yield.
 *
 * DESIGN  A coroutine that waits yields with task->wait set. Whoever resumed it sees that and yields in turn, up to the
 *         task's first coroutine, which the loop resumes; the way back down is the continuation of each resume. A yield
 *         the user made has task->wait NULL and is an ordinary one.
 *         A coroutine works for the task that resumes it: it takes over the task pointer and the budget each time.
 * HOLDS   A coroutine that neither runs nor waits belongs to the main task: its last task may be long over, and freed.
 *         The first coroutine of a task belongs to it always, so no other can resume or close it.
 * Path:   script/task > plugins > [script/coroutine] > script/task
 */
#include "script/state.h"

#include <lualib.h>

enum step { STEP_DIED, STEP_PAUSED, STEP_WAITS };

static lua_State *check_thread(lua_State *L, int index)
{
    lua_State *co = lua_tothread(L, index);
    luaL_argexpected(L, co, index, "coroutine");
    return co;
}

static void give_to(lua_State *co, struct task *task) { *(struct task **)lua_getextraspace(co) = task; }

/* It runs, or it resumed the one that runs: to resume or close it is refused, and it stays whose it is. */
static bool is_active(lua_State *L, lua_State *co)
{
    lua_Debug frame;
    return co == L || (lua_status(co) == LUA_OK && lua_getstack(co, 0, &frame));
}

static void let_go(lua_State *L, lua_State *co)
{
    if (!is_active(L, co))
        give_to(co, &vm_of(L)->main.task);
}

/* The stack of one that waits belongs to an operation under way, and the first one to its task: nobody else may touch it. */
static void adopt(lua_State *L, lua_State *co)
{
    struct task *theirs = task_of(co);
    if (theirs != task_of(L) && theirs != &vm_of(L)->main.task)
        luaL_error(L, "this coroutine %s another request", theirs->wait ? "waits in" : "is the first of");
    if (co == vm_of(L)->L)
        luaL_error(L, "the main coroutine cannot be resumed or closed");
    give_to(co, task_of(L));
}

/* Runs co until it yields, ends or waits. On top of co: `results` values, or the error. */
static enum step step(lua_State *L, lua_State *co, int arguments, int *results)
{
    struct task *task = task_of(L);
    bool may_wait = task->may_wait;
    task->may_wait = may_wait && lua_isyieldable(L);
    int status = budget_resume(task, co, L, arguments, results);
    task->may_wait = may_wait;
    if (status == LUA_YIELD && task->wait)
        return STEP_WAITS;
    let_go(L, co);
    return status == LUA_OK || status == LUA_YIELD ? STEP_PAUSED : STEP_DIED;
}

static void give_arguments(lua_State *L, lua_State *co, int arguments)
{
    if (!lua_checkstack(co, arguments))
        luaL_error(L, "too many arguments to resume");
    lua_xmove(L, co, arguments);
}

static void take_results(lua_State *L, lua_State *co, int results)
{
    if (!lua_checkstack(L, results + 1)) {
        lua_pop(co, results);
        luaL_error(L, "too many results to resume");
    }
    lua_xmove(co, L, results);
}

static int resume_next(lua_State *L, int status, lua_KContext context);

static int resume_on(lua_State *L, lua_State *co, int arguments)
{
    int results = 0;
    switch (step(L, co, arguments, &results)) {
    case STEP_WAITS: return lua_yieldk(L, 0, 0, resume_next);
    case STEP_PAUSED:
        lua_pushboolean(L, true);
        take_results(L, co, results);
        return results + 1;
    case STEP_DIED: break;
    }
    lua_xmove(co, L, 1);
    lua_pushboolean(L, false);
    lua_insert(L, -2);
    return 2;
}

static int resume_next(lua_State *L, int status, lua_KContext context)
{
    (void)status, (void)context;
    return resume_on(L, lua_tothread(L, 1), 0);
}

/* coroutine.resume(co, ...) */
static int co_resume(lua_State *L)
{
    lua_State *co = check_thread(L, 1);
    adopt(L, co);
    int arguments = lua_gettop(L) - 1;
    give_arguments(L, co, arguments);
    return resume_on(L, co, arguments);
}

/* The error goes on in the one that resumed it, with the traceback of the one that died. */
static int raise_from(lua_State *L, lua_State *co)
{
    struct task *task = task_of(L);
    task_keep_trace(task, L, co);
    if (lua_status(co) != LUA_OK && !budget_has_ended(co)) { /* it died: close what it left open */
        bool may_wait = task->may_wait;
        task->may_wait = false;
        give_to(co, task);
        lua_State *before = budget_enter(task->vm, co);
        lua_resetthread(co);
        budget_leave(task->vm, before);
        give_to(co, &task->vm->main.task);
        task->may_wait = may_wait;
    }
    lua_xmove(co, L, 1);
    task->trace_of = lua_topointer(L, -1);
    return lua_error(L);
}

static int wrap_next(lua_State *L, int status, lua_KContext context);

static int wrap_on(lua_State *L, lua_State *co, int arguments)
{
    int results = 0;
    switch (step(L, co, arguments, &results)) {
    case STEP_WAITS: return lua_yieldk(L, 0, 0, wrap_next);
    case STEP_PAUSED: take_results(L, co, results); return results;
    case STEP_DIED: break;
    }
    return raise_from(L, co);
}

static int wrap_next(lua_State *L, int status, lua_KContext context)
{
    (void)status, (void)context;
    return wrap_on(L, lua_tothread(L, lua_upvalueindex(1)), 0);
}

static int wrap_call(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    adopt(L, co);
    int arguments = lua_gettop(L);
    give_arguments(L, co, arguments);
    return wrap_on(L, co, arguments);
}

/* coroutine.create(f) */
static int co_create(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    give_to(co, &vm_of(L)->main.task);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    return 1;
}

/* coroutine.wrap(f) */
static int co_wrap(lua_State *L)
{
    co_create(L);
    lua_pushcclosure(L, wrap_call, 1);
    return 1;
}

/* coroutine.yield(...) */
static int co_yield (lua_State *L)
{
    if (L == task_of(L)->L)
        return luaL_error(L, "attempt to yield from outside a coroutine");
    return lua_yield(L, lua_gettop(L));
}

/* coroutine.close(co): the standard one, which runs __close without letting it wait. */
static int co_close(lua_State *L)
{
    lua_State *co = check_thread(L, 1);
    if (budget_has_ended(co))
        return luaL_error(L, "this coroutine used up a CPU budget: what it left open cannot be closed any more");
    lua_settop(L, 1);
    adopt(L, co);
    struct task *task = task_of(L);
    bool may_wait = task->may_wait;
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    task->may_wait = false;
    lua_State *before = budget_enter(task->vm, co);
    int status = lua_pcall(L, 1, LUA_MULTRET, 0);
    budget_leave(task->vm, before);
    task->may_wait = may_wait;
    let_go(L, co);
    return status == LUA_OK ? lua_gettop(L) - 1 : lua_error(L);
}

void coroutine_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "create", co_create }, { "wrap", co_wrap }, { "resume", co_resume }, { "yield", co_yield }, { NULL, NULL },
    };
    lua_getglobal(L, LUA_COLIBNAME);
    luaL_setfuncs(L, functions, 0);
    lua_getfield(L, -1, "close");
    lua_pushcclosure(L, co_close, 1);
    lua_setfield(L, -2, "close");
    lua_pop(L, 1);
}
