/* reader.c - a thread that answers reads; what turns out to be a write goes over to the writer.
 *
 * DESIGN  The first word of a text says what it is, but for WITH: those a reader prepares, and sqlite3_stmt_readonly
 *         decides. A text that writes is remembered, so it comes here once. Read-only sessions hold a reader each;
 *         one is always left for the others.
 * Path:   sqlite/lane > [sqlite/reader] > sqlite/connection
 */
#include "sqlite/inner.h"

/* False: the statement writes, and the writer shall have it. */
static bool answer(struct sqlite_worker *worker, struct sql_call *call)
{
    struct sqlite_connection *connection = &worker->connection;
    struct sqlite_statement *statement;
    call->fail = sqlite_statements_get(&connection->statements, call->text, &statement, &call->error);
    if (call->fail == FAIL_NOMEM)
        sql_error_set(&call->error, "53200", "out of memory");
    if (call->fail)
        return true;
    if (!statement->is_readonly) {
        sqlite_statements_drop(&connection->statements, statement);
        if (!call->read_only)
            return false;
        call->fail = FAIL_SQL;
        sql_error_set(&call->error, "25006", "the call was declared read-only, but its statement writes");
        return true;
    }
    sqlite_connection_set_clock(connection);
    sqlite_connection_run(connection, statement, call);
    return true;
}

/* Under the lock, with a call that a reader may not answer. False: it was told to stop meanwhile, and is to end. */
static bool hand_over(struct sqlite_worker *worker, struct sql_call *call)
{
    struct sqlite_engine *engine = worker->engine;
    sqlite_engine_learn(engine, call->text);
    int stop = engine->is_forced ? SQLITE_STOP_CLOSE : worker->connection.stop;
    if (stop != SQLITE_GO) {
        call->fail = sqlite_stop_set((enum sqlite_stop)stop, &call->error);
        return false;
    }
    sqlite_order_set(call->engine_data, sqlite_order(call->engine_data), CLASS_WRITE);
    sqlite_lane_push(&engine->writes, call);
    sqlite_lane_wake(&engine->writes);
    return true;
}

static void serve(struct sqlite_worker *worker, struct sql_call *call)
{
    struct sqlite_engine *engine = worker->engine;
    sqlite_lane_remove(&engine->reads, call);
    sqlite_call_start(worker, call);
    pthread_mutex_unlock(&engine->lock);
    bool is_answered = answer(worker, call);
    pthread_mutex_lock(&engine->lock);
    sqlite_call_leave(worker, call, STATE_DONE);
    if (!is_answered && hand_over(worker, call))
        return;
    engine->stats.reads++;
    sqlite_engine_note(engine, call);
    pthread_mutex_unlock(&engine->lock);
    sqlite_call_post(call);
    pthread_mutex_lock(&engine->lock);
}

static void serve_session(struct sqlite_worker *worker, struct sql_lease *lease)
{
    struct sqlite_engine *engine = worker->engine;
    engine->read_sessions++;
    sqlite_session_serve(worker, lease);
    engine->read_sessions--;
    sqlite_lane_wake(&engine->reads);
}

void sqlite_reader_run(struct sqlite_worker *worker)
{
    struct sqlite_engine *engine = worker->engine;
    struct sqlite_lane *lane = &engine->reads;
    unsigned sessions_max = engine->settings.readers > 1 ? engine->settings.readers - 1 : 1;
    for (;;) {
        switch (sqlite_lane_next(lane, engine->read_sessions < sessions_max)) {
        case ITEM_CALL: serve(worker, sqlite_lane_first(lane)); break;
        case ITEM_LEASE: serve_session(worker, sqlite_lane_first_lease(lane)); break;
        case ITEM_BATCH: sqlite_batch_serve(worker, sqlite_lane_first_batch(lane)); break;
        case ITEM_NONE:
            if (engine->is_closing && lane->count == 0)
                return;
            sqlite_lane_wait(lane, &engine->lock);
            break;
        }
    }
}
