/* bind_copy.c - tx:copy_in and tx:copy_out: COPY of a transaction as a function that gives chunks, and as a loop that takes them.
 *
 *   tx:copy_in("copy t(a, b) from stdin", function() return chunk or nil end or { chunk, .. }) -> rows
 *   for chunk in tx:copy_out("copy (select ..) to stdout (format csv)") do .. end
 *
 * DESIGN  A chunk is any piece of the data, cut wherever it likes. The coroutine sleeps while the server has no room, or no rows, so
 *         neither side is ever more than a chunk ahead. A producer may wait for other things itself, but not use the transaction.
 *         The struct is on the heap, not in Lua: when its coroutine ends, or leaves its loop by break, the COPY is cancelled and the
 *         struct stays until on_done, which the engine owes it. What was cancelled or failed has failed the transaction, too.
 * HOLDS   ud->copy is the struct as long as anybody may look at it; a continuation behind the producer finds it through ud only.
 *         tx->copy is the struct exactly while nobody has taken its outcome; it is on its task's list of held things as long.
 * Path:   script/bind_tx > [script/bind_copy] > sql/copy
 */
#include "script/db_op.h"
#include "script/failure.h"
#include "script/state.h"
#include "script/value.h"
#include "sql/copy.h"

struct copy_ud {
    struct script_copy *copy; /* NULL: over */
};

struct script_copy {
    struct task_wait wait; /* first: the context of the continuations */
    struct task_held held;
    struct sql_copy copy;
    struct db_tx *tx;
    struct copy_ud *ud; /* on the stack of the coroutine */
    struct task *task;
    struct script_vm *vm;
    struct str chunk; /* that just came */
    lua_Integer at;   /* in a list of chunks */
    bool is_waiting, is_done, is_orphan;
};

/* --- the struct --------------------------------------------------------------------------------------------------- */

static void forget(struct script_copy *copy)
{
    task_let_go(&copy->held);
    copy->tx->copy = NULL;
    copy->ud->copy = NULL;
}

static void free_copy(struct script_copy *copy)
{
    sql_rows_free(copy->copy.call.rows);
    mem_free(copy);
}

/* Nobody will take the outcome. */
static void abandon(struct script_copy *copy)
{
    forget(copy);
    copy->tx->failed |= !copy->is_done || copy->copy.call.fail;
    copy->is_orphan = true;
    if (copy->is_done)
        free_copy(copy);
    else
        sql_cancel(copy->vm->services.sql, &copy->copy.call);
}

static void copy_forgotten(struct task *task, struct task_held *held)
{
    (void)task;
    abandon(LIST_ENTRY(held, struct script_copy, held));
}

static void wake(struct script_copy *copy)
{
    if (!copy->is_waiting)
        return;
    copy->is_waiting = false;
    task_wake(&copy->wait);
}

/* On the loop, each of the three. */
static void on_room(struct sql_copy *copy) { wake(copy->call.arg); }

static void on_chunk(struct sql_copy *sql, struct str chunk)
{
    struct script_copy *copy = sql->call.arg;
    if (copy->is_orphan)
        return;
    copy->chunk = chunk;
    wake(copy);
}

static void on_done(struct sql_call *call)
{
    struct script_copy *copy = call->arg;
    copy->is_done = true;
    if (copy->is_orphan)
        free_copy(copy);
    else
        wake(copy);
}

static void cancel(struct task_wait *wait)
{
    struct script_copy *copy = (struct script_copy *)wait;
    sql_cancel(copy->vm->services.sql, &copy->copy.call);
}

static int sleep_until(lua_State *L, struct script_copy *copy, lua_KFunction next)
{
    copy->is_waiting = true;
    return task_await(L, &copy->wait, next);
}

/* Raises when the text at 2 is not a COPY of that way. */
static void check_text(lua_State *L, const char *what, enum sql_copy_way wanted)
{
    enum sql_copy_way way = SQL_COPY_IN;
    const char *why = "";
    if (lua_type(L, 2) != LUA_TSTRING)
        luaL_argerror(L, 2, "expected the text of a COPY");
    if (sql_copy_check(value_str(L, 2), &way, &why))
        luaL_error(L, "%s: %s", what, why);
    if (way != wanted)
        luaL_error(L, "%s: this COPY goes the other way; use tx:%s", what, way == SQL_COPY_IN ? "copy_in" : "copy_out");
}

/* Empty yet; the transaction and the text live as long. [-0, +1] */
static struct copy_ud *push_ud(lua_State *L)
{
    struct copy_ud *ud = udata_new(L, UD_COPY, sizeof *ud, 2);
    for (int i = 1; i <= 2; i++) {
        lua_pushvalue(L, i);
        lua_setiuservalue(L, -2, i);
    }
    return ud;
}

/* Raises what the engine refuses. */
static struct script_copy *start(lua_State *L, struct db_tx *tx, struct copy_ud *ud)
{
    struct task *task = task_of(L);
    struct script_copy *copy = mem_zero(MEM_SCRIPT, sizeof *copy);
    if (!copy)
        luaL_error(L, "no memory");
    *copy = (struct script_copy){ .wait.cancel = cancel, .tx = tx, .task = task, .vm = task->vm };
    copy->copy = (struct sql_copy){ .call = { .text = value_str(L, 2),
                                              .timeout_ms = task_left_ms(task, tx->timeout_ms),
                                              .on_done = on_done,
                                              .arg = copy },
                                    .on_room = on_room,
                                    .on_chunk = on_chunk };
    if (sql_copy_start(tx->session, &copy->copy)) {
        struct sql_error error = copy->copy.call.error;
        mem_free(copy);
        failure_raise(L, FAIL_SQL, &error);
    }
    copy->ud = ud;
    ud->copy = copy;
    tx->copy = copy;
    task_hold(task, &copy->held, copy_forgotten);
    return copy;
}

/* Takes the outcome: the number of rows, or raises. */
static lua_Integer finish(lua_State *L, struct script_copy *copy)
{
    enum fail fail = copy->copy.call.fail;
    struct sql_error error = copy->copy.call.error;
    lua_Integer rows = fail ? 0 : copy->copy.call.rows->changed;
    copy->tx->failed |= fail != FAIL_OK;
    forget(copy);
    free_copy(copy);
    task_check(L);
    if (!fail)
        return rows;
    db_push_failure(L, fail, &error);
    return lua_error(L);
}

/* --- in ----------------------------------------------------------------------------------------------------------- */

enum { IN_SOURCE = 3, IN_HANDLER, IN_UD, IN_CHUNK };

static int in_chunk(lua_State *L, int status, lua_KContext context);

/* There is room for a chunk, or all is over. */
static int in_room(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct script_copy *copy = (struct script_copy *)context;
    if (copy->is_done) {
        lua_pushinteger(L, finish(L, copy));
        return 1;
    }
    if (task_stops(task_of(L))) {
        abandon(copy);
        task_check(L);
    }
    lua_settop(L, IN_UD);
    if (lua_isfunction(L, IN_SOURCE)) {
        lua_pushvalue(L, IN_SOURCE);
        return in_chunk(L, lua_pcallk(L, 0, 1, IN_HANDLER, 0, in_chunk), 0);
    }
    lua_rawgeti(L, IN_SOURCE, ++copy->at);
    return in_chunk(L, LUA_OK, 0);
}

/* The next chunk is on top, or nil, or what the producer raised. The producer may have lain in a coroutine of the user's that another
 * request went on with, when the one of the COPY was over. */
static int in_chunk(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    struct script_copy *copy = ((const struct copy_ud *)lua_touserdata(L, IN_UD))->copy;
    if (!copy || copy->task != task_of(L))
        return luaL_error(L, "this COPY belongs to another request");
    if (status != LUA_OK && status != LUA_YIELD) {
        abandon(copy);
        return lua_error(L);
    }
    if (copy->is_done) /* the server, or the deadline, while the producer waited */
        return in_room(L, LUA_OK, (lua_KContext)copy);
    int type = lua_type(L, IN_CHUNK);
    if (type != LUA_TNIL && type != LUA_TSTRING) {
        abandon(copy);
        return luaL_error(L, "tx:copy_in: a chunk is a string, and nil ends them; got a %s",
                          luaL_typename(L, IN_CHUNK));
    }
    if (type == LUA_TNIL)
        sql_copy_end(&copy->copy, NULL);
    else
        sql_copy_put(&copy->copy, value_str(L, IN_CHUNK)); /* on the stack until there is room again */
    return sleep_until(L, copy, in_room);
}

int tx_copy_in(lua_State *L)
{
    struct db_tx *tx = tx_check(L);
    check_text(L, "tx:copy_in", SQL_COPY_IN);
    if (!lua_isfunction(L, IN_SOURCE) && !lua_istable(L, IN_SOURCE))
        return luaL_argerror(L, IN_SOURCE, "expected a function that returns chunks, or a list of them");
    (void)task_may_wait(L, "tx:copy_in");
    lua_settop(L, IN_SOURCE);
    lua_pushcfunction(L, task_traceback);
    struct copy_ud *ud = push_ud(L);
    tx->wrote = true;
    return sleep_until(L, start(L, tx, ud), in_room);
}

/* --- out ---------------------------------------------------------------------------------------------------------- */

static int out_chunk(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct script_copy *copy = (struct script_copy *)context;
    if (copy->is_done) {
        (void)finish(L, copy);
        return 0;
    }
    if (task_stops(task_of(L))) {
        abandon(copy);
        task_check(L);
    }
    struct str chunk = copy->chunk;
    copy->chunk = STR_NONE;
    lua_pushlstring(L, chunk.data, chunk.len);
    return 1;
}

static int out_next(lua_State *L)
{
    struct copy_ud *ud = lua_touserdata(L, lua_upvalueindex(1));
    struct script_copy *copy = ud->copy;
    if (!copy)
        return 0;
    if (copy->task != task_of(L))
        return luaL_error(L, "this COPY belongs to another request");
    (void)task_may_wait(L, "tx:copy_out");
    if (copy->is_done)
        return out_chunk(L, LUA_OK, (lua_KContext)copy);
    sql_copy_read(&copy->copy);
    return sleep_until(L, copy, out_chunk);
}

int tx_copy_out(lua_State *L)
{
    struct db_tx *tx = tx_check(L);
    check_text(L, "tx:copy_out", SQL_COPY_OUT);
    (void)task_may_wait(L, "tx:copy_out");
    struct copy_ud *ud = push_ud(L);
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, out_next, 1);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, -4);
    (void)start(L, tx, ud);
    return 4;
}

/* The loop was left, or the iterator, or the coroutine that fills, is collected. */
static int out_close(lua_State *L)
{
    struct copy_ud *ud = udata_check(L, 1, UD_COPY);
    if (ud->copy)
        abandon(ud->copy);
    return 0;
}

void bind_copy_open(lua_State *L)
{
    static const luaL_Reg metamethods[] = { { "__close", out_close }, { "__gc", out_close }, { NULL, NULL } };
    udata_family(L, UD_COPY, "copy", metamethods, NULL);
}
