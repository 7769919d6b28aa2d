/* batch.c - several calls in order on one connection.
 *
 * DESIGN  Atomic ones, and those that only read, wait and run as one piece. The others are single calls that go to the
 *         writer one behind the other: they share its commits, and their order is that of its queue.
 *         Of an atomic batch each call is answered after COMMIT. As in PostgreSQL's implicit transaction those before a
 *         failed one keep their answer though nothing of the batch stays; those behind it get 25P02.
 * HOLDS   A batch is freed when its last call leaves it. Its calls are on its list, QUEUED or STOPPED, until they run.
 * Path:   sqlite/engine > [sqlite/batch] > sqlite/connection
 */
#include "base/mem.h"
#include "sqlite/inner.h"

static void set_behind_failed(struct sql_call *call)
{
    call->fail = FAIL_SQL;
    sql_error_set(&call->error, "25P02", "an earlier statement of this batch failed");
}

static struct sql_call *pop(struct sqlite_batch *batch)
{
    struct list *node = list_pop_front(&batch->calls);
    return node ? LIST_ENTRY(node, struct sql_call, node) : NULL;
}

/* --- on the thread --- */

static void run(struct sqlite_worker *worker, struct sql_call *call)
{
    struct sqlite_connection *connection = &worker->connection;
    struct sqlite_statement *statement;
    call->fail = sqlite_statements_get(&connection->statements, call->text, &statement, &call->error);
    if (!call->fail && sql_verb_is_transaction(statement->verb)) {
        call->fail = FAIL_SQL;
        sql_error_set(&call->error, "25001", "a batch is a transaction, or none: it cannot hold this statement");
    }
    if (!call->fail)
        sqlite_connection_run(connection, statement, call);
    else if (call->fail == FAIL_NOMEM)
        sql_error_set(&call->error, "53200", "out of memory");
}

/* Under the lock; has it done already when it was stopped, or stands behind a failed one. */
static void serve_call(struct sqlite_worker *worker, struct sql_call *call, bool is_behind_failed)
{
    if (call->state == STATE_STOPPED)
        return;
    if (is_behind_failed) {
        set_behind_failed(call);
        return;
    }
    sqlite_call_start(worker, call);
    pthread_mutex_unlock(&worker->engine->lock);
    run(worker, call);
    pthread_mutex_lock(&worker->engine->lock);
    sqlite_call_leave(worker, call, STATE_GROUPED);
    sqlite_engine_note(worker->engine, call);
}

static void fail_all(struct list *calls, enum fail fail, const struct sql_error *error)
{
    LIST_EACH(calls, node)
    {
        struct sql_call *call = LIST_ENTRY(node, struct sql_call, node);
        sql_rows_free(call->rows);
        call->rows = NULL;
        call->fail = fail;
        call->error = *error;
    }
}

/* Under the lock at both ends. */
static void serve_atomic(struct sqlite_worker *worker, struct sqlite_batch *batch, struct list *done)
{
    struct sqlite_engine *engine = worker->engine;
    struct sqlite_connection *connection = &worker->connection;
    struct sql_error error = { 0 };
    sqlite_connection_begin_call(connection, 0);
    sqlite_connection_set_clock(connection);
    pthread_mutex_unlock(&engine->lock);
    enum fail fail = sqlite_connection_command(
        connection, worker->is_writer ? SQLITE_COMMAND_BEGIN_WRITE : SQLITE_COMMAND_BEGIN, &error);
    pthread_mutex_lock(&engine->lock);
    bool has_failed = false;
    for (struct sql_call *call; (call = pop(batch)); list_push_back(done, &call->node)) {
        if (!fail)
            serve_call(worker, call, has_failed);
        call->state = STATE_GROUPED;
        has_failed |= call->fail != FAIL_OK;
    }
    pthread_mutex_unlock(&engine->lock);
    sqlite_connection_begin_call(connection, 0);
    if (!fail && !has_failed)
        fail = sqlite_connection_command(connection, SQLITE_COMMAND_COMMIT, &error);
    sqlite_connection_rollback(connection);
    if (fail)
        fail_all(done, fail, &error);
    pthread_mutex_lock(&engine->lock);
    if (worker->is_writer && !fail && !has_failed)
        engine->stats.commits++;
}

static void serve_reads(struct sqlite_worker *worker, struct sqlite_batch *batch, struct list *done)
{
    for (struct sql_call *call; (call = pop(batch)); list_push_back(done, &call->node)) {
        sqlite_connection_set_clock(&worker->connection);
        serve_call(worker, call, /* is_behind_failed= */ false);
        call->state = STATE_GROUPED;
    }
}

void sqlite_batch_serve(struct sqlite_worker *worker, struct sqlite_batch *batch)
{
    struct sqlite_engine *engine = worker->engine;
    struct list done;
    unsigned count = 0;
    list_init(&done);
    list_remove(&batch->node);
    batch->has_begun = true;
    LIST_EACH(&batch->calls, node)
    count++;
    batch->lane->count -= count;
    if (batch->is_atomic)
        serve_atomic(worker, batch, &done);
    else
        serve_reads(worker, batch, &done);
    LIST_EACH(&done, node)
    LIST_ENTRY(node, struct sql_call, node)->state = STATE_DONE;
    *(worker->is_writer ? &engine->stats.writes : &engine->stats.reads) += count;
    pthread_mutex_unlock(&engine->lock);
    mem_free(batch);
    sqlite_calls_post(&done);
    pthread_mutex_lock(&engine->lock);
}

/* --- the caller's side --- */

void sqlite_batch_stop(struct sql_call *call, enum sqlite_stop why, struct list *taken)
{
    struct sqlite_batch *batch = call->engine_data[DATA_BATCH];
    call->fail = sqlite_stop_set(why, &call->error);
    if (batch->has_begun) {
        call->state = STATE_STOPPED;
        return;
    }
    if (!batch->is_atomic) {
        list_remove(&call->node);
        call->state = STATE_DONE;
        list_push_back(taken, &call->node);
        batch->lane->count--;
    }
    while (batch->is_atomic && !list_is_empty(&batch->calls)) {
        struct sql_call *each = pop(batch);
        if (each != call)
            set_behind_failed(each);
        each->state = STATE_DONE;
        list_push_back(taken, &each->node);
        batch->lane->count--;
    }
    if (list_is_empty(&batch->calls)) {
        list_remove(&batch->node);
        mem_free(batch);
    }
}

static bool all_read(struct sql_call **calls, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!calls[i]->read_only)
            return false;
    return true;
}

/* Under the lock. False: the lane is full, or the engine is closing. */
static bool push(struct sqlite_engine *engine, struct sqlite_batch *batch, struct sql_call **calls, unsigned count)
{
    if (engine->is_closing || batch->lane->count + count > engine->settings.queue_max)
        return false;
    batch->order = engine->next_order++;
    for (unsigned i = 0; i < count; i++) {
        calls[i]->state = STATE_QUEUED;
        calls[i]->engine_data[DATA_BATCH] = batch;
        list_push_back(&batch->calls, &calls[i]->node);
    }
    list_push_back(&batch->lane->batches, &batch->node);
    batch->lane->count += count;
    sqlite_lane_wake(batch->lane);
    return true;
}

static void run_as_piece(struct sqlite_engine *engine, struct sql_call **calls, unsigned count, bool is_atomic,
                         bool only_reads)
{
    struct sqlite_batch *batch = mem_zero(MEM_SQLITE, sizeof *batch);
    for (unsigned i = 0; i < count; i++)
        sqlite_call_prepare(engine, calls[i]);
    bool is_queued = false;
    if (batch) {
        list_init(&batch->calls);
        batch->is_atomic = is_atomic;
        batch->lane = only_reads ? &engine->reads : &engine->writes;
        pthread_mutex_lock(&engine->lock);
        is_queued = push(engine, batch, calls, count);
        pthread_mutex_unlock(&engine->lock);
    }
    for (unsigned i = 0; i < count; i++)
        if (is_queued)
            sqlite_call_watch(calls[i]);
        else
            sqlite_call_refuse(calls[i], FAIL_FULL, "53300", "too many statements wait for the file already");
    if (!is_queued)
        mem_free(batch);
}

void sqlite_batch_run(struct sql_engine *base, struct sql_call **calls, unsigned count, bool atomic)
{
    struct sqlite_engine *engine = (void *)base;
    bool only_reads = all_read(calls, count);
    if (count > 0 && (atomic || only_reads)) {
        run_as_piece(engine, calls, count, atomic, only_reads);
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        enum sql_verb verb = sql_statement_verb(calls[i]->text, SQL_SQLITE);
        bool is_alone = verb == SQL_VERB_PRAGMA || verb == SQL_VERB_VACUUM;
        sqlite_call_prepare(engine, calls[i]);
        sqlite_engine_submit(engine, calls[i], &engine->writes, is_alone ? CLASS_ALONE : CLASS_WRITE);
    }
}
