/* session.c - a thread that is one caller's alone, for the length of a transaction.
 *
 * DESIGN  The thread begins, gives the lease out and serves the session's own queue until the transaction ends, by
 *         COMMIT or ROLLBACK, by the caller's end, by idle_ms without a call, or by the engine's close; then it rolls back
 *         what is open and goes on to others. The object stays for its caller, answering "over", until the caller ends it.
 *         A write session begins with BEGIN IMMEDIATE: it has the file's lock before it is given out, so no statement of
 *         it ever finds the file busy.
 *         As in PostgreSQL a failed statement fails the transaction: then only ROLLBACK [TO] is heard.
 * HOLDS   Freed by whoever comes second: the caller's end, or the thread leaving.
 * Path:   sqlite/reader, sqlite/writer > [sqlite/session] > sqlite/connection
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "sqlite/inner.h"

#include <errno.h>

static struct sqlite_engine *engine_of(struct sqlite_session *session) { return (void *)session->base.engine; }

static void session_free(struct sqlite_session *session)
{
    sqlite_lane_destroy(&session->lane);
    mem_free(session);
}

static struct sqlite_session *session_make(struct sqlite_worker *worker)
{
    struct sqlite_session *session = mem_zero(MEM_SQLITE, sizeof *session);
    if (!session)
        return NULL;
    session->base.engine = &worker->engine->base;
    session->worker = worker;
    sqlite_lane_init(&session->lane);
    return session;
}

/* --- one call, on the thread, without the lock --- */

static void refuse(struct sql_call *call, const char *sqlstate, const char *text)
{
    call->fail = FAIL_SQL;
    sql_error_set(&call->error, sqlstate, "%s", text);
}

/* ROLLBACK of a transaction that SQLite has rolled back by itself: done. */
static void answer_rollback(struct sqlite_connection *connection, struct sql_call *call)
{
    struct sqlite_statement *statement;
    call->fail = sqlite_statements_get(&connection->statements, call->text, &statement, &call->error);
    if (!call->fail && !(call->rows = sqlite_gather_rows(&connection->gather, statement->shape, 0)))
        call->fail = FAIL_NOMEM;
}

/* True: the call is answered, for an earlier one failed. */
static bool answer_failed(struct sqlite_session *session, struct sql_call *call, enum sql_verb verb)
{
    struct sqlite_connection *connection = &session->worker->connection;
    if (sql_verb_commits(verb)) {
        sqlite_connection_rollback(connection);
        refuse(call, "25P02", "the transaction was rolled back: an earlier statement of it failed");
        return true;
    }
    if (verb != SQL_VERB_ROLLBACK) {
        refuse(call, "25P02", "an earlier statement of this transaction failed: only rollback is heard");
        return true;
    }
    if (sqlite_connection_in_transaction(connection))
        return false;
    answer_rollback(connection, call);
    return true;
}

static void run_statement(struct sqlite_connection *connection, struct sql_call *call)
{
    struct sqlite_statement *statement;
    call->fail = sqlite_statements_get(&connection->statements, call->text, &statement, &call->error);
    if (!call->fail)
        sqlite_connection_run(connection, statement, call);
    else if (call->fail == FAIL_NOMEM)
        sql_error_set(&call->error, "53200", "out of memory");
}

static void answer(struct sqlite_session *session, struct sql_call *call)
{
    struct sqlite_connection *connection = &session->worker->connection;
    enum sql_verb verb = sql_statement_verb(call->text, SQL_SQLITE);
    if (session->has_failed && answer_failed(session, call, verb))
        return;
    if (verb == SQL_VERB_BEGIN || verb == SQL_VERB_START)
        refuse(call, "25001", "the session is a transaction already: use savepoint");
    else
        run_statement(connection, call);
    session->has_failed = call->fail != FAIL_OK;
    if (call->fail && sql_verb_commits(verb))
        sqlite_connection_rollback(connection);
}

/* --- the session, on the thread, under the lock --- */

static bool is_done(const struct sqlite_session *session)
{
    return !session->has_failed && !sqlite_connection_in_transaction(&session->worker->connection);
}

static void serve_call(struct sqlite_session *session, struct sql_call *call)
{
    struct sqlite_engine *engine = engine_of(session);
    sqlite_lane_remove(&session->lane, call);
    sqlite_call_start(session->worker, call);
    pthread_mutex_unlock(&engine->lock);
    enum sql_verb verb = sql_statement_verb(call->text, SQL_SQLITE);
    answer(session, call);
    bool is_end = verb == SQL_VERB_COMMIT || verb == SQL_VERB_END || verb == SQL_VERB_ROLLBACK;
    bool is_over = is_end && !sqlite_connection_in_transaction(&session->worker->connection);
    pthread_mutex_lock(&engine->lock);
    sqlite_call_leave(session->worker, call, STATE_DONE);
    sqlite_engine_note(engine, call);
    if (is_over || is_done(session))
        sql_error_set(&session->over, "25P01", "the transaction of this session has ended: begin another");
    if (verb == SQL_VERB_COMMIT && !call->fail && session->worker->is_writer)
        engine->stats.commits++;
    pthread_mutex_unlock(&engine->lock);
    sqlite_call_post(call);
    pthread_mutex_lock(&engine->lock);
}

/* True: idle_ms went by and nobody asked for anything. */
static bool wait_for_call(struct sqlite_session *session)
{
    struct sqlite_engine *engine = engine_of(session);
    uint64_t until_ns = clock_mono_ns() + (uint64_t)engine->settings.idle_ms * 1000000u;
    struct timespec until = { .tv_sec = (time_t)(until_ns / 1000000000u), .tv_nsec = (long)(until_ns % 1000000000u) };
    int code = 0;
    while (session->lane.count == 0 && !session->is_ended && !engine->is_forced && code != ETIMEDOUT) {
        session->lane.idle++;
        code = pthread_cond_timedwait(&session->lane.cond, &engine->lock, &until);
        session->lane.idle--;
    }
    return code == ETIMEDOUT && session->lane.count == 0 && !session->is_ended;
}

/* Until session->over says why. */
static void serve_calls(struct sqlite_session *session)
{
    struct sqlite_engine *engine = engine_of(session);
    while (!session->over.sqlstate[0]) {
        struct sql_call *call = sqlite_lane_first(&session->lane);
        if (session->is_ended)
            sql_error_set(&session->over, "25P01", "the session has ended");
        else if (engine->is_forced)
            sqlite_stop_set(SQLITE_STOP_CLOSE, &session->over);
        else if (call)
            serve_call(session, call);
        else if (wait_for_call(session))
            sql_error_set(&session->over, "25P03", "the transaction asked nothing for %u ms and was rolled back",
                          engine->settings.idle_ms);
    }
}

static void fail_waiting(struct sqlite_session *session, struct list *done)
{
    struct list none;
    list_init(&none);
    sqlite_lane_drain(&session->lane, &session->over, done, &none);
    LIST_EACH(done, node)
    LIST_ENTRY(node, struct sql_call, node)->fail = FAIL_SQL;
}

static void leave(struct sqlite_session *session)
{
    struct sqlite_engine *engine = engine_of(session);
    struct list done;
    list_init(&done);
    pthread_mutex_unlock(&engine->lock);
    sqlite_connection_rollback(&session->worker->connection);
    if (sql_error_is(&session->over, "25P03"))
        log_line(LOG_WARN, "sqlite session rolled back", LOG_TEXT("why", session->over.text));
    pthread_mutex_lock(&engine->lock);
    session->is_over = true;
    fail_waiting(session, &done);
    bool is_ended = session->is_ended;
    pthread_mutex_unlock(&engine->lock);
    sqlite_calls_post(&done);
    if (is_ended) {
        session_free(session);
        sqlite_engine_release(engine);
    }
    pthread_mutex_lock(&engine->lock);
}

static struct sqlite_session *begin(struct sqlite_worker *worker, struct sql_lease *lease)
{
    struct sqlite_session *session = session_make(worker);
    if (!session) {
        lease->fail = FAIL_NOMEM;
        sql_error_set(&lease->error, "53200", "out of memory");
        return NULL;
    }
    sqlite_connection_set_clock(&worker->connection);
    lease->fail = sqlite_connection_command(
        &worker->connection, worker->is_writer ? SQLITE_COMMAND_BEGIN_WRITE : SQLITE_COMMAND_BEGIN, &lease->error);
    if (!lease->fail)
        return session;
    session_free(session);
    return NULL;
}

void sqlite_session_serve(struct sqlite_worker *worker, struct sql_lease *lease)
{
    struct sqlite_engine *engine = worker->engine;
    struct sqlite_lane *lane = lease->engine_data[DATA_WHERE];
    list_remove(&lease->node);
    lane->count--;
    lease->state = STATE_RUNNING;
    lease->engine_data[DATA_WHERE] = worker;
    sqlite_connection_begin_call(&worker->connection,
                                 sqlite_deadline_ns(engine, lease->submitted_ns, lease->timeout_ms));
    pthread_mutex_unlock(&engine->lock);
    struct sqlite_session *session = begin(worker, lease);
    pthread_mutex_lock(&engine->lock);
    lease->state = STATE_DONE;
    if (session) {
        lease->session = &session->base;
        engine->stats.sessions++;
        sqlite_engine_hold(engine);
    } else if (sql_error_is(&lease->error, "55P03")) {
        engine->stats.busy++;
    }
    pthread_mutex_unlock(&engine->lock);
    loop_post(lease->loop, &lease->task);
    pthread_mutex_lock(&engine->lock);
    if (!session)
        return;
    worker->session = session;
    serve_calls(session);
    worker->session = NULL;
    leave(session);
}

/* --- the caller's side, on its loop --- */

void sqlite_session_run(struct sql_session *base, struct sql_call *call)
{
    struct sqlite_session *session = (void *)base;
    struct sqlite_engine *engine = engine_of(session);
    sqlite_call_prepare(engine, call);
    pthread_mutex_lock(&engine->lock);
    assert(!session->is_ended);
    bool is_over = session->is_over || session->over.sqlstate[0],
         is_full = session->lane.count >= engine->settings.queue_max;
    struct sql_error over = session->over;
    if (!is_over && !is_full) {
        sqlite_order_set(call->engine_data, engine->next_order++, CLASS_WRITE);
        sqlite_lane_push(&session->lane, call);
        sqlite_lane_wake(&session->lane);
    }
    pthread_mutex_unlock(&engine->lock);
    if (is_over)
        sqlite_call_refuse(call, FAIL_SQL, over.sqlstate, over.text);
    else if (is_full)
        sqlite_call_refuse(call, FAIL_FULL, "53300", "too many statements wait in this session");
    else
        sqlite_call_watch(call);
}

void sqlite_session_end(struct sql_session *base)
{
    struct sqlite_session *session = (void *)base;
    struct sqlite_engine *engine = engine_of(session);
    struct sql_error error = { 0 };
    struct list done, none;
    list_init(&done);
    list_init(&none);
    enum fail fail = sqlite_stop_set(SQLITE_STOP_CANCEL, &error);
    pthread_mutex_lock(&engine->lock);
    assert(!session->is_ended);
    session->is_ended = true;
    bool is_over = session->is_over;
    sqlite_lane_drain(&session->lane, &error, &done, &none);
    if (!is_over && session->worker->running)
        sqlite_connection_stop(&session->worker->connection, SQLITE_STOP_CANCEL);
    sqlite_lane_wake(&session->lane);
    pthread_mutex_unlock(&engine->lock);
    for (struct list *node; (node = list_pop_front(&done));) {
        struct sql_call *call = LIST_ENTRY(node, struct sql_call, node);
        call->fail = fail;
        loop_defer(call->loop, &call->task);
    }
    if (is_over) {
        session_free(session);
        sqlite_engine_release(engine);
    }
}
