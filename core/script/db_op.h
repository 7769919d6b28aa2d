/* db_op.h - one statement on its way: what a coroutine waits for when it asks the database.
 *
 * Taken from the VM's free list and held by the task until given back, so an error that jumps over a frame loses nothing.
 * Text and parameters are borrowed from the Lua stack of the coroutine that waits.
 */
#ifndef SCRIPT_DB_OP_H
#define SCRIPT_DB_OP_H

#include "script/task.h"
#include "sql/engine.h"
#include "sql/statement.h"

#include <lua.h>

#define DB_PARAMS_HERE 16
#define DB_PARAMS_MAX 1000

/* cx.db */
struct db_value {
    bool is_idempotent;                   /* of with{ idempotent = true } */
};
enum db_want { DB_ONE, DB_ROWS, DB_EXEC };
struct db_pipe;
struct script_copy;

/* A transaction, as bind_tx.c and bind_copy.c see it. */
struct db_tx {
    struct task_held held;
    struct sql_session *session;          /* NULL: empty or over */
    struct task *task;
    struct script_copy *copy;             /* that runs in it; NULL: none */
    unsigned timeout_ms;
    bool failed;                          /* a statement failed: only rollback is left */
    bool read_only;
    bool wrote;                           /* never where it is read_only: then nothing can be lost */
    bool is_committing;
    bool is_reclaimed;                    /* it was open for too long */
    struct leak_watch watch;              /* knows where it was begun */
};

struct db_op {
    struct task_wait wait;                /* first: the continuation's context is the op */
    struct task_held held;
    struct list node;                     /* of vm->ops, while it is idle */
    struct script_vm *vm;
    struct sql_call call;
    struct sql_lease lease;
    enum db_want want;
    enum sql_verb verb;                   /* of the call's text .. */
    bool only_reads;                      /* .. and whether it stores nothing */
    struct db_tx *tx;                     /* it runs in this transaction, or begins it .. */
    struct db_pipe *pipe;                 /* .. or goes with this pipeline; NULL, both: alone */
    struct sql_value here[DB_PARAMS_HERE], *params;
    struct buf json;                      /* parameters that are tables, as text */
};

struct db_op *db_op_take(lua_State *L, struct task *task);   /* raises when there is no memory */
void db_op_give(struct db_op *op);
/* Statement at stack `first` (a string, or a table by dialect), parameters behind it up to the top. Raises on misuse. */
void db_op_read(lua_State *L, struct db_op *op, int first);
/* Pushes what the caller wanted, or raises the failure; gives the op back either way. [-0, +1] */
int db_op_result(lua_State *L, struct db_op *op);
/* Pushes the failure of a call or a lease; a time that ended with the request's own deadline is the request's. [-0, +1] */
void db_push_failure(lua_State *L, enum fail fail, const struct sql_error *error);
/* Raises the failure of a call or a lease, after giving the op back. */
int db_op_raise(lua_State *L, struct db_op *op, enum fail fail, const struct sql_error *error);

/* Raises "<knows>, and no option '..'<hint>" where the table at 2 has one that is not among `known`, which ends with NULL: a word that
 * means nothing here would let its author believe that it does. [-0, +0] */
void db_op_check_options(lua_State *L, const char *const *known, const char *knows, const char *hint);

/* db and tx share these: cancel, wake, and the end of the wait. */
void db_op_cancel(struct task_wait *wait);
void db_op_on_done(struct sql_call *call);
int db_op_done(lua_State *L, int status, lua_KContext context);

/* The engine behind the cx.db at 1. Raises when there is none. */
struct sql_engine *db_check(lua_State *L);
/* A plain read of a route that declares to read may be retried, batched, or sent to a replica. */
bool db_op_is_read(const struct task *task, const struct db_op *op);
/* What a statement may take: own_ms, else statement_timeout where a route asks; never more than is left of its request. */
unsigned db_op_left_ms(const struct task *task, unsigned own_ms);

/* bind_pipe.c: cx.db:pipeline(fn) -> results */
int pipe_run(lua_State *L);
/* bind_tx.c: cx.db:begin{ read_only=, timeout= } -> tx */
int tx_begin(lua_State *L);
/* The transaction at 1. Raises when it is over, belongs to another request, or a COPY runs in it. */
struct db_tx *tx_check(lua_State *L);
/* bind_copy.c: tx:copy_in(text, source) -> rows; tx:copy_out(text) -> iterator */
int tx_copy_in(lua_State *L);
int tx_copy_out(lua_State *L);

#endif
