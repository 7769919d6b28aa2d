/* bind_tx.c - transactions: cx.db:begin() and what one does with it.
 *
 *   EMPTY -> OPEN   [the lease came]
 *   OPEN  -> OVER   [commit, rollback, __close, __gc, the end of the task, or leak_reclaim]
 *
 * DESIGN  The userdata is made first and the session taken into it the moment the engine grants it, so there is no point
 *         where nobody owns it. Ending a session rolls back what is open, at once and without a wait: __close never waits.
 * HOLDS   An open transaction is on its task's list of held things.
 * Path:   plugins > [script/bind_tx] > sql/engine
 */
#include "script/db_op.h"
#include "script/failure.h"
#include "script/handler.h"
#include "script/state.h"
#include "script/value.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static void tx_end(struct db_tx *tx)
{
    task_let_go(&tx->held);
    leak_end(&tx->watch);
    if (tx->session)
        sql_session_end(tx->session);
    tx->session = NULL;
}

static void remember_lost(struct task *task, const struct db_tx *tx, bool leaked)
{
    if (!tx->wrote)
        return;
    leak_write(&tx->watch.stack, task->lost_tx_where);
    task->lost_tx = task->lost_tx_where;
    task->tx_leaked |= leaked;
}

/* The coroutine ended and left it open. */
static void tx_forgotten(struct task *task, struct task_held *held)
{
    struct db_tx *tx = LIST_ENTRY(held, struct db_tx, held);
    if (tx->session) {
        remember_lost(task, tx, /* leaked= */ true);
        leak_tell(task, &tx->watch, "request");
    }
    tx_end(tx);
}

static void set_reclaimed(const struct script_vm *vm, struct sql_error *error)
{
    sql_error_set(error, "25P03", "the transaction was rolled back: it was open for longer than leak_threshold, %u ms",
                  (unsigned)vm->leak_threshold_ms);
}

/* It was held for too long. A COMMIT that runs is let run: cut off, nobody could tell what became of it. */
static bool tx_reclaim(struct leak_watch *watch)
{
    struct db_tx *tx = LIST_ENTRY(watch, struct db_tx, watch);
    if (tx->is_committing)
        return false;
    tx->is_reclaimed = true;
    remember_lost(tx->task, tx, /* leaked= */ true);
    tx_end(tx);
    return true;
}

/* --- begin -------------------------------------------------------------------------------------------------------- */

static void begin_cancel(struct task_wait *wait)
{
    struct db_op *op = (struct db_op *)wait;
    op->vm->services.sql->ops->begin_cancel(&op->lease);
}

/* On the loop: the transaction owns the session from here. */
static void on_lease(struct sql_lease *lease)
{
    struct db_op *op = lease->arg;
    op->tx->session = lease->fail ? NULL : lease->session;
    if (op->tx->session)
        leak_begin(op->tx->task, &op->tx->watch);
    task_wake(&op->wait);
}

/* The transaction is on top. */
static int begin_done(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct db_op *op = (struct db_op *)context;
    struct db_tx *tx = op->tx;
    if (task_stops(task_of(L))) {
        tx_end(tx);
        db_op_give(op);
        task_check(L);
    }
    if (op->lease.fail) {
        tx_end(tx);
        return db_op_raise(L, op, op->lease.fail, &op->lease.error);
    }
    db_op_give(op);
    return 1;
}

static unsigned read_options(lua_State *L, bool *read_only)
{
    static const char *const known[] = { "read_only", "timeout", "idempotent", NULL };
    uint64_t ms = 0;
    *read_only = false;
    if (lua_isnoneornil(L, 2))
        return 0;
    luaL_checktype(L, 2, LUA_TTABLE);
    db_op_check_options(L, known, "a transaction knows read_only, timeout and idempotent",
                        "; an isolation level is set by tx:exec \"set transaction isolation level serializable\"");
    lua_getfield(L, 2, "read_only");
    *read_only = lua_toboolean(L, -1);
    if (lua_getfield(L, 2, "timeout") != LUA_TNIL && !value_duration(L, -1, &ms))
        luaL_error(L, "begin: timeout is milliseconds or a duration such as \"2s\"");
    lua_pop(L, 2);
    return ms < UINT_MAX ? (unsigned)ms : UINT_MAX;
}

int tx_begin(lua_State *L)
{
    const struct db_value *db = udata_check(L, 1, UD_DB);
    struct script_vm *vm = vm_of(L);
    if (db->is_idempotent)
        return luaL_error(
            L,
            "idempotent is for statements that stand alone; db:transaction(fn, { idempotent = true }) runs fn again");
    if (!vm->services.sql)
        return luaL_error(L, "cx.db: there is no database in this VM");
    bool read_only = false;
    unsigned timeout_ms = read_options(L, &read_only);
    struct task *task = task_may_wait(L, "cx.db:begin");
    struct db_tx *tx = udata_new(L, UD_TX, sizeof *tx, 1);
    leak_take(L, &tx->watch.stack);
    tx->watch.reclaim = tx_reclaim;
    tx->task = task;
    tx->timeout_ms = timeout_ms;
    tx->read_only = read_only;
    task_hold(task, &tx->held, tx_forgotten);
    struct db_op *op = db_op_take(L, task);
    op->tx = tx;
    op->wait.cancel = begin_cancel;
    op->lease = (struct sql_lease){ .timeout_ms = task_left_ms(task, timeout_ms),
                                    .read_only = read_only,
                                    .holder = task->route ? task->route->name : NULL,
                                    .on_lease = on_lease,
                                    .arg = op };
    sql_begin(vm->services.sql, &op->lease);
    return task_await(L, &op->wait, begin_done);
}

/* --- statements --------------------------------------------------------------------------------------------------- */

static struct db_tx *check_open(lua_State *L)
{
    struct db_tx *tx = udata_check(L, 1, UD_TX);
    if (tx->is_reclaimed) {
        struct sql_error error = { .sqlstate = "" };
        set_reclaimed(vm_of(L), &error);
        failure_raise(L, FAIL_SQL, &error);
    }
    if (!tx->session)
        luaL_error(L, "this transaction is over");
    if (tx->task != task_of(L))
        luaL_error(L, "this transaction belongs to another request");
    return tx;
}

struct db_tx *tx_check(lua_State *L)
{
    struct db_tx *tx = check_open(L);
    if (tx->copy)
        luaL_error(L, "a COPY runs in this transaction: it must come to its end first");
    return tx;
}

static int run_done(lua_State *L, int status, lua_KContext context)
{
    struct db_op *op = (struct db_op *)context;
    op->tx->failed |= op->call.fail != FAIL_OK;
    if (op->call.fail && op->tx->is_reclaimed) {
        op->call.fail = FAIL_SQL;
        set_reclaimed(op->vm, &op->call.error);
    }
    return db_op_done(L, status, context);
}

static void start(struct db_tx *tx, struct task *task, struct db_op *op)
{
    op->tx = tx;
    op->call.timeout_ms = db_op_left_ms(task, tx->timeout_ms);
    sql_session_run(tx->session, &op->call);
}

static int run_inside(lua_State *L, const char *what, enum db_want want)
{
    struct db_tx *tx = tx_check(L);
    struct task *task = task_may_wait(L, what);
    struct db_op *op = db_op_take(L, task);
    op->want = want;
    db_op_read(L, op, 2);
    tx->wrote |= !op->only_reads && !tx->read_only;
    if (op->verb == SQL_VERB_ROLLBACK) /* to a savepoint */
        tx->failed = false;
    start(tx, task, op);
    return task_await(L, &op->wait, run_done);
}

static int tx_one(lua_State *L) { return run_inside(L, "tx:one", DB_ONE); }
static int tx_rows(lua_State *L) { return run_inside(L, "tx:rows", DB_ROWS); }
static int tx_exec(lua_State *L) { return run_inside(L, "tx:exec", DB_EXEC); }

/* --- the end ------------------------------------------------------------------------------------------------------ */

/* Runs the functions of after_commit that are left, from number `context` on. Stack: tx, list. */
static int after_next(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    for (lua_Integer i = context; lua_rawgeti(L, 2, i) != LUA_TNIL; i++)
        lua_callk(L, 0, 0, i + 1, after_next);
    return 0;
}

static int commit_done(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct db_op *op = (struct db_op *)context;
    struct db_tx *tx = op->tx;
    tx_end(tx);
    if (op->call.fail)
        return db_op_raise(L, op, op->call.fail, &op->call.error);
    db_op_give(op);
    lua_settop(L, 1);
    if (lua_getiuservalue(L, 1, 1) != LUA_TTABLE)
        return 0;
    return after_next(L, LUA_OK, 1);
}

/* tx:commit(). Its outcome counts even when the client has left meanwhile: what is stored is stored. */
static int tx_commit(lua_State *L)
{
    struct db_tx *tx = tx_check(L);
    struct task *task = task_may_wait(L, "tx:commit");
    if (tx->failed) {
        tx_end(tx);
        struct sql_error error = { .sqlstate = "" };
        sql_error_set(&error, "25P02", "a statement of this transaction failed, so nothing is left to commit");
        return failure_raise(L, FAIL_SQL, &error);
    }
    struct db_op *op = db_op_take(L, task);
    op->want = DB_EXEC;
    op->call.text = STR("commit");
    op->verb = SQL_VERB_COMMIT;
    tx->is_committing = true;
    start(tx, task, op);
    return task_await(L, &op->wait, commit_done);
}

/* tx:rollback(): at once; nothing to wait for */
static int tx_rollback(lua_State *L)
{
    tx_end(check_open(L));
    return 0;
}

/* tx:after_commit(fn): runs once the commit is certain, in the order given */
static int tx_after_commit(lua_State *L)
{
    check_open(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (lua_getiuservalue(L, 1, 1) != LUA_TTABLE) {
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, 1);
    }
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    return 0;
}

/* Left its scope: rolled back, unless it is over. The error, if any, is at 2. */
static int tx_close(lua_State *L)
{
    struct db_tx *tx = udata_check(L, 1, UD_TX);
    if (tx->session && lua_isnoneornil(L, 2))
        remember_lost(tx->task, tx, /* leaked= */ false);
    if (tx->session)
        tx_end(tx);
    return 0;
}

/* Collected: the task that holds it goes on, or it would be over. One that never got its session may be held as well. */
static int tx_gc(lua_State *L)
{
    struct db_tx *tx = lua_touserdata(L, 1);
    if (tx->session) {
        remember_lost(tx->task, tx, /* leaked= */ true);
        leak_tell(tx->task, &tx->watch, "collected");
    }
    if (tx->task)
        tx_end(tx);
    return 0;
}

void bind_tx_open(lua_State *L)
{
    static const luaL_Reg metamethods[] = { { "__close", tx_close }, { "__gc", tx_gc }, { NULL, NULL } };
    static const luaL_Reg methods[] = {
        { "one", tx_one },         { "rows", tx_rows },         { "exec", tx_exec },
        { "commit", tx_commit },   { "rollback", tx_rollback }, { "after_commit", tx_after_commit },
        { "copy_in", tx_copy_in }, { "copy_out", tx_copy_out }, { NULL, NULL },
    };
    udata_family(L, UD_TX, "transaction", metamethods, methods);
}
