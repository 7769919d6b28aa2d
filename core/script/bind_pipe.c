/* bind_pipe.c - cx.db:pipeline: several statements in one go.
 *
 * DESIGN  The function given to it adds statements, each an op of the task's; when it returned they are sent together. Text and
 *         parameters are anchored by the pipeline, for they leave the stack before they are sent.
 * HOLDS   ops[] are looked at only by the task that took them, while it does the same work: it gives them back at its end.
 * Path:   plugins > [script/bind_pipe] > sql/engine > [script/bind_pipe] > script/task
 */
#include "script/db_op.h"
#include "script/failure.h"
#include "script/state.h"

enum { PIPE_MAX = 100 };
struct db_pipe {
    struct task_wait wait; /* first: the context of the continuation */
    struct script_vm *vm;
    struct task *task; /* that fills it, and holds the ops .. */
    uint64_t serial;   /* .. while it does this work */
    unsigned count, left;
    bool writes, sent;
    struct db_op *ops[PIPE_MAX];
    struct sql_call *calls[PIPE_MAX];
};

/* A coroutine of the user's may be left in the function, and resumed by another task: the ops are given back with the first. */
static void check_owner(lua_State *L, const struct db_pipe *pipe)
{
    if (pipe->task != task_of(L) || pipe->serial != pipe->task->serial)
        luaL_error(L, "this pipeline belongs to another request");
}

static int add_to_pipe(lua_State *L, enum db_want want)
{
    struct db_pipe *pipe = udata_check(L, 1, UD_PIPE);
    if (pipe->sent)
        return luaL_error(L, "this pipeline was sent already");
    check_owner(L, pipe);
    if (pipe->count == PIPE_MAX)
        return luaL_error(L, "at most %d statements go into one pipeline", PIPE_MAX);
    struct db_op *op = db_op_take(L, task_of(L));
    op->want = want;
    db_op_read(L, op, 2);
    pipe->writes |= !op->only_reads;
    lua_getiuservalue(L, 1, 1); /* text and parameters must live until it is done */
    int anchors = lua_gettop(L);
    for (int i = 2; i < anchors; i++) {
        lua_pushvalue(L, i);
        lua_rawseti(L, anchors, (lua_Integer)lua_rawlen(L, anchors) + 1);
    }
    pipe->ops[pipe->count++] = op;
    return 0;
}

static int pipe_one(lua_State *L) { return add_to_pipe(L, DB_ONE); }
static int pipe_rows(lua_State *L) { return add_to_pipe(L, DB_ROWS); }
static int pipe_exec(lua_State *L) { return add_to_pipe(L, DB_EXEC); }

static void on_piped(struct sql_call *call)
{
    struct db_op *op = call->arg;
    struct db_pipe *pipe = op->pipe;
    if (--pipe->left == 0)
        task_wake(&pipe->wait);
}

static void pipe_cancel(struct task_wait *wait)
{
    struct db_pipe *pipe = (struct db_pipe *)wait;
    if (pipe->writes && !pipe->task->lost) {
        wait->asked = false;
        return;
    }
    for (unsigned i = 0; i < pipe->count; i++)
        sql_cancel(pipe->vm->services.sql, pipe->calls[i]);
}

static const struct db_op *first_failed(const struct db_pipe *pipe)
{
    for (unsigned i = 0; i < pipe->count; i++)
        if (pipe->calls[i]->fail)
            return pipe->ops[i];
    return NULL;
}

static int pipe_done(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct db_pipe *pipe = (struct db_pipe *)context;
    const struct db_op *failed = first_failed(pipe);
    if (failed || !pipe->writes)
        task_check(L); /* the ops are the task's to release */
    if (failed) {
        db_push_failure(L, failed->call.fail, &failed->call.error);
        return lua_error(L);
    }
    lua_createtable(L, (int)pipe->count, 0);
    for (unsigned i = 0; i < pipe->count; i++) {
        db_op_result(L, pipe->ops[i]);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            lua_pushboolean(L, false);
        }
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int pipe_filled(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct db_pipe *pipe = (struct db_pipe *)context;
    struct script_vm *vm = pipe->vm;
    check_owner(L, pipe);
    struct task *task = task_may_wait(L, "cx.db:pipeline");
    pipe->sent = true;
    if (pipe->count == 0) {
        lua_newtable(L);
        return 1;
    }
    pipe->left = pipe->count;
    for (unsigned i = 0; i < pipe->count; i++) {
        struct db_op *op = pipe->ops[i];
        op->call.timeout_ms = db_op_left_ms(task, 0);
        op->call.read_only = db_op_is_read(task, op);
        op->call.on_done = on_piped;
        op->pipe = pipe;
        pipe->calls[i] = &op->call;
    }
    sql_run_many(vm->services.sql, pipe->calls, pipe->count, /* atomic= */ pipe->writes);
    return task_await(L, &pipe->wait, pipe_done);
}

/* cx.db:pipeline(function(p) p:one(..) p:rows(..) p:exec(..) end) -> results in order; false for "no row".
 * One round trip; when one of them writes, all or none take effect. */
int pipe_run(lua_State *L)
{
    db_check(L);
    if (((const struct db_value *)lua_touserdata(L, 1))->is_idempotent)
        return luaL_error(L, "idempotent is for statements that stand alone, not for a pipeline");
    luaL_checktype(L, 2, LUA_TFUNCTION);
    struct db_pipe *pipe = udata_new(L, UD_PIPE, sizeof *pipe, 1);
    pipe->vm = vm_of(L);
    pipe->task = task_of(L);
    pipe->serial = pipe->task->serial;
    pipe->wait.cancel = pipe_cancel;
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_callk(L, 1, 0, (lua_KContext)pipe, pipe_filled);
    return pipe_filled(L, LUA_OK, (lua_KContext)pipe);
}

void bind_pipe_open(lua_State *L)
{
    static const luaL_Reg none[] = { { NULL, NULL } };
    static const luaL_Reg methods[] = {
        { "one", pipe_one }, { "rows", pipe_rows }, { "exec", pipe_exec }, { NULL, NULL }
    };
    udata_family(L, UD_PIPE, "pipeline", none, methods);
}
