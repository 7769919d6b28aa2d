/* bind_cx.c - cx: what a handler may do. One for each plugin; its functions find the running task by the coroutine.
 *
 * Path:   plugins > [script/bind_cx] > script/task, script/reply_value
 */
#include "base/clock.h"
#include "script/reply_value.h"
#include "script/state.h"
#include "script/value.h"

/* --- time --------------------------------------------------------------------------------------------------------- */

/* cx.now() -> seconds since 1970 */
static int cx_now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)clock_wall_us() / 1e6);
    return 1;
}

/* cx.deadline_ms() -> what is left for this task */
static int cx_deadline_ms(lua_State *L)
{
    struct task *task = task_of(L);
    if (task == &task->vm->main.task)
        return luaL_error(L, "cx.deadline_ms: no task runs here");
    lua_pushinteger(L, task_left_ms(task, 0));
    return 1;
}

struct nap {
    struct task_wait wait;
    struct timer timer;
};

static void on_nap_over(void *arg)
{
    struct nap *nap = arg;
    task_wake(&nap->wait);
}

static void nap_cancel(struct task_wait *wait)
{
    struct nap *nap = (struct nap *)wait;
    timer_start(wait->task->vm->services.loop, &nap->timer, 0, on_nap_over, nap);
}

static int nap_done(lua_State *L, int status, lua_KContext context)
{
    (void)status, (void)context;
    task_check(L);
    return 0;
}

/* cx.sleep(ms or "1s"). The nap is userdata on the sleeping coroutine's stack. */
int cx_sleep(lua_State *L)
{
    uint64_t ms = 0;
    if (!value_duration(L, 1, &ms))
        return luaL_argerror(L, 1, "expected milliseconds or a duration such as \"1s\"");
    struct task *task = task_may_wait(L, "cx.sleep");
    struct nap *nap = lua_newuserdatauv(L, sizeof *nap, 0);
    *nap = (struct nap){ .wait.cancel = nap_cancel };
    timer_start(task->vm->services.loop, &nap->timer, ms, on_nap_over, nap);
    return task_await(L, &nap->wait, nap_done);
}

/* --- shield ------------------------------------------------------------------------------------------------------- */

/* Whose it is: a coroutine of the user's may be left within it, and resumed by another task, when the first is over. */
struct shield {
    struct task *task; /* NULL: it is down */
    uint64_t serial;
};

static bool is_running(const struct script_vm *vm, const struct task *task)
{
    if (task == &vm->main.task)
        return true;
    LIST_EACH(&vm->running, node)
    if (LIST_ENTRY(node, struct task, node) == task)
        return true;
    return false;
}

/* The first task may be freed by now, or do other work: looked at only when it is still there. */
static void shield_end(lua_State *L, struct shield *shield)
{
    if (!shield->task)
        return;
    bool is_there = shield->task == task_of(L) || is_running(vm_of(L), shield->task);
    if (is_there && shield->task->serial == shield->serial)
        shield->task->shields--;
    shield->task = NULL;
}

/* The coroutine that was left within it was closed, or collected. */
static int shield_close(lua_State *L)
{
    shield_end(L, udata_check(L, 1, UD_SHIELD));
    return 0;
}

/* Stack: shield, traceback, results or the error. */
static int shield_done(lua_State *L, int status, lua_KContext context)
{
    shield_end(L, (struct shield *)context);
    if (status != LUA_OK && status != LUA_YIELD)
        return lua_error(L);
    return lua_gettop(L) - 2;
}

/* cx.shield(fn, ...): waits inside fn are not interrupted by a cancel, for up to a second. For clean-up in __close. */
static int cx_shield(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    struct task *task = task_of(L);
    struct shield *shield = udata_new(L, UD_SHIELD, sizeof *shield, 0);
    *shield = (struct shield){ task, task->serial };
    lua_insert(L, 1);
    lua_toclose(L, 1);
    lua_pushcfunction(L, task_traceback);
    lua_insert(L, 2);
    task->shields++;
    lua_KContext context = (lua_KContext)shield;
    return shield_done(L, lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, 2, context, shield_done), context);
}

/* --- cx ----------------------------------------------------------------------------------------------------------- */

static int cx_newindex(lua_State *L)
{
    return luaL_error(L, "cx.%s cannot be set; what belongs to a request goes into req.state",
                      luaL_tolstring(L, 2, NULL));
}

static int cx_missing(lua_State *L) { return luaL_error(L, "cx has no field '%s'", luaL_tolstring(L, 2, NULL)); }

static void push_fields(lua_State *L, const char *plugin, int options)
{
    static const luaL_Reg functions[] = {
        { "now", cx_now },       { "deadline_ms", cx_deadline_ms },  { "sleep", cx_sleep },
        { "shield", cx_shield }, { "problem", reply_problem },       { "created", reply_created },
        { "reply", reply_any },  { "no_content", reply_no_content }, { NULL, NULL },
    };
    struct script_vm *vm = vm_of(L);
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_pushstring(L, plugin);
    lua_setfield(L, -2, "plugin");
    lua_pushvalue(L, options);
    lua_setfield(L, -2, "options");
    bind_db_push(L);
    lua_setfield(L, -2, "db");
    bind_cache_push(L, plugin);
    lua_setfield(L, -2, "cache");
    bind_log_push(L, plugin);
    lua_setfield(L, -2, "log");
    bind_crypto_push(L);
    lua_setfield(L, -2, "crypto");
    bind_json_push(L);
    lua_setfield(L, -2, "json");
    if (vm->services.sql) {
        lua_pushstring(L, vm->services.sql->ops->dialect);
        lua_setfield(L, -2, "dialect");
    }
}

void bind_cx_open(lua_State *L)
{
    static const luaL_Reg metamethods[] = { { "__close", shield_close }, { "__gc", shield_close }, { NULL, NULL } };
    udata_family(L, UD_SHIELD, "shield", metamethods, NULL);
}

void bind_cx_push(lua_State *L, const char *plugin, int options)
{
    options = lua_absindex(L, options);
    lua_newuserdatauv(L, 0, 0);
    lua_newtable(L); /* a metatable of its own: its fields are the plugin's */
    push_fields(L, plugin, options);
    lua_newtable(L);
    lua_pushcfunction(L, cx_missing);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, cx_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushliteral(L, "cx");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}
