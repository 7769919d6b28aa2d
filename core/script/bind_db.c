/* bind_db.c - cx.db: statements that stand alone; and what is common to all that ask the database.
 *
 * DESIGN  db:one(sql, ..) takes an op, hands its call to the engine and waits; the arguments stay on the coroutine's stack,
 *         so nothing is copied. The engine's on_done wakes the task, and the continuation makes the result.
 * Path:   plugins > [script/bind_db] > sql/engine > postgres or sqlite > [script/bind_db] > script/task
 */
#include "script/db_op.h"
#include "script/failure.h"
#include "script/handler.h"
#include "script/rows_value.h"
#include "script/state.h"
#include "script/value.h"

#include <assert.h>
#include <stdio.h>

/* --- ops ---------------------------------------------------------------------------------------------------------- */

static void op_forgotten(struct task *task, struct task_held *held)
{
    (void)task;
    db_op_give(LIST_ENTRY(held, struct db_op, held));
}

struct db_op *db_op_take(lua_State *L, struct task *task)
{
    struct script_vm *vm = task->vm;
    struct list *node = list_pop_front(&vm->ops);
    struct db_op *op = node ? LIST_ENTRY(node, struct db_op, node) : mem_zero(MEM_SCRIPT, sizeof *op);
    if (!op)
        luaL_error(L, "no memory");
    if (!node) {
        list_init(&op->node);
        buf_init(&op->json, MEM_SCRIPT, 64 << 20);
        op->vm = vm;
        op->params = op->here;
    }
    op->tx = NULL;
    op->pipe = NULL;
    op->wait = (struct task_wait){ .task = task, .cancel = db_op_cancel };
    memset(&op->call, 0, sizeof op->call);
    op->call.on_done = db_op_on_done;
    op->call.arg = op;
    task_hold(task, &op->held, op_forgotten);
    return op;
}

void db_op_give(struct db_op *op)
{
    task_let_go(&op->held);
    list_remove(&op->node);
    sql_rows_free(op->call.rows);
    op->call.rows = NULL;
    if (op->params != op->here)
        mem_free(op->params);
    op->params = op->here;
    if (op->json.cap > 64 * 1024)
        buf_clear(&op->json);
    list_push_front(&op->vm->ops, &op->node);
}

void bind_db_free(struct script_vm *vm)
{
    for (struct list *node; (node = list_pop_front(&vm->ops)) != NULL;) {
        struct db_op *op = LIST_ENTRY(node, struct db_op, node);
        buf_clear(&op->json);
        mem_free(op);
    }
}

void db_op_check_options(lua_State *L, const char *const *known, const char *knows, const char *hint)
{
    lua_pushnil(L);
    while (lua_next(L, 2)) {
        lua_pop(L, 1);
        bool is_known = false;
        for (size_t i = 0; known[i]; i++)
            is_known = is_known || (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), known[i]) == 0);
        if (!is_known)
            luaL_error(L, "%s, and no option '%s'%s", knows, luaL_tolstring(L, -1, NULL), hint);
    }
}

/* --- statement and parameters ------------------------------------------------------------------------------------- */

static void read_verb(struct db_op *op)
{
    bool is_postgres = strcmp(op->vm->services.sql->ops->dialect, "postgres") == 0;
    enum sql_dialect dialect = is_postgres ? SQL_POSTGRES : SQL_SQLITE;
    op->verb = sql_statement_verb(op->call.text, dialect);
    op->only_reads = sql_statement_only_reads(op->call.text, dialect, op->verb);
}

static void read_text(lua_State *L, struct db_op *op, int index)
{
    if (lua_istable(L, index)) {
        const char *dialect = op->vm->services.sql->ops->dialect;
        if (lua_getfield(L, index, dialect) != LUA_TSTRING)
            luaL_error(L, "this statement has no text for %s", dialect);
        lua_replace(L, index);
    }
    if (lua_type(L, index) != LUA_TSTRING)
        luaL_argerror(L, index, "expected the text of a statement, or { postgres = .., sqlite = .. }");
    op->call.text = value_str(L, index);
    read_verb(op);
}

/* JSON text goes behind the others in op->json; data is an offset until all are in. */
static void read_json(lua_State *L, struct db_op *op, int index, struct sql_value *value)
{
    struct value_why why;
    size_t at = op->json.len;
    if (!value_add_json(L, index, &op->json, &why))
        luaL_error(L, "parameter $%d cannot be written as JSON: value%s", (int)(value - op->params) + 1, why.text);
    value->type = SQL_JSON;
    value->text = str_make((const char *)at, op->json.len - at);
}

static void read_param(lua_State *L, struct db_op *op, int index, struct sql_value *value)
{
    switch (lua_type(L, index)) {
    case LUA_TNIL: value->type = SQL_NULL; return;
    case LUA_TBOOLEAN:
        value->type = SQL_BOOL;
        value->truth = lua_toboolean(L, index);
        return;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) {
            value->type = SQL_INT;
            value->integer = lua_tointeger(L, index);
        } else {
            value->type = SQL_DOUBLE;
            value->real = lua_tonumber(L, index);
        }
        return;
    case LUA_TSTRING:
        value->type = SQL_TEXT;
        value->text = value_str(L, index);
        return;
    case LUA_TLIGHTUSERDATA:
        if (!lua_touserdata(L, index)) {
            value->type = SQL_NULL;
            return;
        }
        break;
    case LUA_TUSERDATA:
        if (udata_test(L, index, UD_BLOB)) {
            lua_getiuservalue(L, index, 1); /* anchored by the blob */
            value->type = SQL_BLOB;
            value->text = value_str(L, -1);
            lua_pop(L, 1);
            return;
        }
        read_json(L, op, index, value);
        return;
    case LUA_TTABLE: read_json(L, op, index, value); return;
    default: break;
    }
    luaL_error(L, "parameter $%d is a %s, which no database takes", (int)(value - op->params) + 1,
               luaL_typename(L, index));
}

void db_op_read(lua_State *L, struct db_op *op, int first)
{
    read_text(L, op, first);
    int count = lua_gettop(L) - first;
    if (count > DB_PARAMS_MAX)
        luaL_error(L, "at most %d parameters are possible", DB_PARAMS_MAX);
    if (count > DB_PARAMS_HERE) {
        op->params = mem_alloc(MEM_SCRIPT, (size_t)count * sizeof *op->params);
        if (!op->params) {
            op->params = op->here;
            luaL_error(L, "no memory");
        }
    }
    buf_reset(&op->json);
    for (int i = 0; i < count; i++)
        read_param(L, op, first + 1 + i, &op->params[i]);
    for (int i = 0; i < count && op->json.len; i++)
        if (op->params[i].type == SQL_JSON)
            op->params[i].text.data = op->json.data + (size_t)op->params[i].text.data;
    op->call.params = op->params;
    op->call.param_count = (unsigned)count;
}

/* --- the wait ----------------------------------------------------------------------------------------------------- */

/* Stores something by itself: cut off, nobody could tell whether it took effect. */
static bool is_final(const struct db_op *op) { return op->tx ? sql_verb_commits(op->verb) : !op->only_reads; }

/* What is final has the grace to come to its end. */
void db_op_cancel(struct task_wait *wait)
{
    struct db_op *op = (struct db_op *)wait;
    if (is_final(op) && !wait->task->lost) {
        wait->asked = false;
        return;
    }
    sql_cancel(op->vm->services.sql, &op->call);
}

/* On the loop: the outcome is in the call. */
void db_op_on_done(struct sql_call *call)
{
    struct db_op *op = call->arg;
    task_wake(&op->wait);
}

void db_push_failure(lua_State *L, enum fail fail, const struct sql_error *error)
{
    failure_push(L, fail, error)->overdue = fail == FAIL_TIMEOUT && task_left_ms(task_of(L), 0) <= 10;
}

int db_op_raise(lua_State *L, struct db_op *op, enum fail fail, const struct sql_error *error)
{
    db_push_failure(L, fail, error);
    db_op_give(op);
    return lua_error(L);
}

int db_op_result(lua_State *L, struct db_op *op)
{
    assert(op);
    if (op->call.fail)
        return db_op_raise(L, op, op->call.fail, &op->call.error);
    struct sql_rows *rows = op->call.rows;
    assert(rows); /* also of a statement without columns */
    size_t bytes = 0;
    if (op->want == DB_EXEC) {
        lua_pushinteger(L, rows->changed >= 0 ? rows->changed : (lua_Integer)rows->row_count);
    } else if (op->want == DB_ONE && rows->row_count == 0) {
        lua_pushnil(L);
    } else {
        struct rows_value *value = op->want == DB_ONE ? rows_value_push_row(L) : rows_value_push_rows(L);
        rows_value_take(value, rows);
        op->call.rows = NULL;
        bytes = rows->bytes;
    }
    db_op_give(op);
    vm_hold(L, bytes);
    return 1;
}

int db_op_done(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct db_op *op = (struct db_op *)context;
    bool is_stored = !op->call.fail &&
                     is_final(op); /* then its handler goes on to the next wait: caches shall hear of it */
    if (task_stops(task_of(L)) && !is_stored) {
        db_op_give(op);
        task_check(L);
    }
    return db_op_result(L, op);
}

/* --- cx.db -------------------------------------------------------------------------------------------------------- */

struct sql_engine *db_check(lua_State *L)
{
    udata_check(L, 1, UD_DB);
    struct sql_engine *engine = vm_of(L)->services.sql;
    if (!engine)
        luaL_error(L, "cx.db: there is no database in this VM");
    return engine;
}

bool db_op_is_read(const struct task *task, const struct db_op *op)
{
    return op->want != DB_EXEC && task->route && task->route->reads && op->only_reads;
}

/* An insert of a route that declares to add only may share its commit with others. */
static bool shares_commit(const struct task *task, const struct db_op *op)
{
    return task->route && task->route->shares_commit && op->verb == SQL_VERB_INSERT;
}

unsigned db_op_left_ms(const struct task *task, unsigned own_ms)
{
    return task_left_ms(task, own_ms || !task->route ? own_ms : task->vm->statement_ms);
}

static int run_alone(lua_State *L, const char *what, enum db_want want, lua_KFunction done)
{
    struct sql_engine *engine = db_check(L);
    const struct db_value *db = lua_touserdata(L, 1);
    struct task *task = task_may_wait(L, what);
    struct db_op *op = db_op_take(L, task);
    op->want = want;
    db_op_read(L, op, 2);
    op->call.timeout_ms = db_op_left_ms(task, 0);
    op->call.read_only = db_op_is_read(task, op);
    op->call.holder = task->route ? task->route->name : NULL;
    op->call.idempotent = db->is_idempotent;
    op->call.alone = task->route && task->route->is_alone;
    op->call.shares_commit = shares_commit(task, op);
    sql_run(engine, &op->call);
    return task_await(L, &op->wait, done);
}

/* cx.db:one(sql, ...) -> row | nil */
static int db_one(lua_State *L) { return run_alone(L, "cx.db:one", DB_ONE, db_op_done); }
/* cx.db:rows(sql, ...) -> rows */
static int db_rows(lua_State *L) { return run_alone(L, "cx.db:rows", DB_ROWS, db_op_done); }
/* cx.db:exec(sql, ...) -> rows changed */
static int db_exec(lua_State *L) { return run_alone(L, "cx.db:exec", DB_EXEC, db_op_done); }

static int notified(lua_State *L, int status, lua_KContext context)
{
    (void)db_op_done(L, status, context);
    return 0;
}

/* cx.db:notify(channel, payload): select pg_notify($1, $2); gives nothing */
static int db_notify(lua_State *L)
{
    struct sql_engine *engine = db_check(L);
    luaL_checkstring(L, 2);
    luaL_optstring(L, 3, "");
    lua_settop(L, 3);
    if (!engine->ops->listen) {
        struct sql_error error = { .sent = false };
        sql_error_set(&error, "0A000", "%s has no LISTEN and NOTIFY; serve from PostgreSQL, or do without",
                      engine->ops->dialect);
        return failure_raise(L, FAIL_SQL, &error);
    }
    if (lua_isnil(L, 3)) {
        lua_pushliteral(L, "");
        lua_replace(L, 3);
    }
    lua_pushliteral(L, "select pg_notify($1, $2)");
    lua_insert(L, 2);
    return run_alone(L, "cx.db:notify", DB_EXEC, notified);
}

/* cx.db.blob(bytes): a parameter that is bytes, not text */
static int db_blob(lua_State *L)
{
    luaL_checkstring(L, 1);
    udata_new(L, UD_BLOB, 1, 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    return 1;
}

/* cx.db:with{ idempotent = true } -> a cx.db whose one, rows and exec may take effect twice, and so are sent once more when their
 * connection is lost and nobody knows whether they did */
static int db_with(lua_State *L)
{
    udata_check(L, 1, UD_DB);
    luaL_checktype(L, 2, LUA_TTABLE);
    static const char *const known[] = { "idempotent", NULL };
    db_op_check_options(L, known, "cx.db:with knows idempotent", "");
    lua_getfield(L, 2, "idempotent");
    struct db_value *db = udata_new(L, UD_DB, sizeof *db, 0);
    db->is_idempotent = lua_toboolean(L, -2);
    return 1;
}

/* --- open --------------------------------------------------------------------------------------------------------- */

void bind_db_push(lua_State *L) { udata_new(L, UD_DB, sizeof(struct db_value), 0); }

void bind_db_open(lua_State *L)
{
    static const luaL_Reg none[] = { { NULL, NULL } };
    static const luaL_Reg methods[] = {
        { "one", db_one },       { "rows", db_rows }, { "exec", db_exec },
        { "begin", tx_begin },   { "blob", db_blob }, { "pipeline", pipe_run },
        { "notify", db_notify }, { "with", db_with }, { NULL, NULL },
    };
    udata_family(L, UD_DB, "cx.db", none, methods);
    udata_family(L, UD_BLOB, "blob", none, none);
    /* db:transaction(fn) is policy: lua/wick/transaction.lua */
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->metatable[UD_DB]);
    lua_getfield(L, -1, "__index");
    lua_getglobal(L, "require");
    lua_pushliteral(L, "wick.transaction");
    lua_call(L, 1, 1);
    lua_setfield(L, -2, "transaction");
    lua_pop(L, 2);
}
