/* retry.c - what lua/wick/transaction.lua asks: may a closure be run again, and when.
 *
 * DESIGN  The table is sql/retry.h's. Here come the deadline of the task, the budget of the VM (all tasks of a worker together) and the
 *         metric, which the engine keeps.
 * Path:   lua/wick/transaction > [script/retry] > sql/retry
 */
#include "script/retry.h"
#include "base/random.h"
#include "script/value.h"
#include "sql/retry.h"

#include <string.h>

static void count(struct script_vm *vm, const char *sqlstate, const char *outcome)
{
    struct sql_engine *engine = vm->services.sql;
    if (engine && engine->ops->note_retry)
        engine->ops->note_retry(engine, sql_retry_label(sqlstate), outcome);
}

static struct sql_error read_error(lua_State *L)
{
    struct sql_error error = { .again = lua_toboolean(L, 2) };
    const char *sqlstate = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : "";
    strncpy(error.sqlstate, sqlstate, sizeof error.sqlstate - 1);
    return error;
}

int retry_rerun(lua_State *L)
{
    struct task *task = task_of(L);
    struct script_vm *vm = task->vm;
    struct sql_error error = read_error(L);
    lua_Integer reruns = luaL_checkinteger(L, 3);
    if (!sql_retry_transaction(&error, lua_toboolean(L, 4), (unsigned)reruns))
        return 0;
    unsigned wait_ms = sql_retry_wait_ms((unsigned)reruns, random_u64());
    if (task_stops(task))
        return 0;
    if (wait_ms >= task_left_ms(task, 0)) {
        count(vm, error.sqlstate, "late");
        return 0;
    }
    if (!sql_retry_spend(&vm->retries, loop_now_ms(vm->services.loop))) {
        count(vm, error.sqlstate, "refused");
        return 0;
    }
    lua_pushinteger(L, wait_ms);
    return 1;
}

int retry_ended(lua_State *L)
{
    struct sql_error error = read_error(L);
    count(vm_of(L), error.sqlstate, lua_toboolean(L, 2) ? "ok" : "failed");
    return 0;
}
