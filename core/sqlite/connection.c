/* connection.c - a statement from bind to rows, under a deadline.
 *
 * DESIGN  Three things end a statement early: sqlite3_interrupt, which is instant but lost when it comes between two
 *         statements; the progress handler, which looks at `stop` and the deadline every few thousand steps; and the busy
 *         handler, which does so while another process holds the lock. What ends it is told by `stop`.
 * HOLDS   A statement is reset before run returns; bindings, which borrow the call's parameters, are gone then.
 * Path:   sqlite/reader, sqlite/writer, sqlite/session > [sqlite/connection] > sqlite/statement, sqlite/rows
 */
#include "sqlite/connection.h"

#include "base/clock.h"
#include "base/log.h"
#include "sqlite/failure.h"
#include "sqlite/file.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#define PROGRESS_STEPS 4000
#define BUSY_SLEEP_US_MAX 10000
#define BYTES_MAX ((size_t)64 * 1024 * 1024)

/* --- ends --- */

static bool has_to_stop(struct sqlite_connection *connection)
{
    if (atomic_load_explicit(&connection->stop, memory_order_relaxed) != SQLITE_GO)
        return true;
    if (!connection->deadline_ns || clock_mono_ns() < connection->deadline_ns)
        return false;
    int go = SQLITE_GO;
    atomic_compare_exchange_strong(&connection->stop, &go, SQLITE_STOP_TIMEOUT);
    return true;
}

static int on_progress(void *arg) { return has_to_stop(arg); }

/* 0.1 ms, then longer up to 10 ms, until busy_ms are over. */
static int on_busy(void *arg, int count)
{
    struct sqlite_connection *connection = arg;
    uint64_t now_ns = clock_mono_ns();
    if (count == 0)
        connection->busy_until_ns = now_ns + (uint64_t)connection->busy_ms * 1000000u;
    if (has_to_stop(connection) || now_ns >= connection->busy_until_ns)
        return 0;
    long us = count < 7 ? 100L << count : BUSY_SLEEP_US_MAX;
    struct timespec pause = { .tv_nsec = (us < BUSY_SLEEP_US_MAX ? us : BUSY_SLEEP_US_MAX) * 1000 };
    nanosleep(&pause, NULL);
    return 1;
}

enum fail sqlite_stop_set(enum sqlite_stop why, struct sql_error *error)
{
    switch (why) {
    case SQLITE_STOP_TIMEOUT:
        sql_error_set(error, "57014", "the statement was ended by its deadline");
        return FAIL_TIMEOUT;
    case SQLITE_STOP_CLOSE: sql_error_set(error, "57P01", "the database is being closed"); return FAIL_CLOSED;
    default: sql_error_set(error, "57014", "the statement was cancelled"); return FAIL_CANCELLED;
    }
}

/* What a result code means here: a stop we asked for, or SQLite's own word. */
static enum fail explain(struct sqlite_connection *connection, int code, struct sql_error *error)
{
    int stop = atomic_load(&connection->stop), primary = code & 0xff;
    if (stop != SQLITE_GO && (primary == SQLITE_INTERRUPT || primary == SQLITE_BUSY || primary == SQLITE_ABORT))
        return sqlite_stop_set((enum sqlite_stop)stop, error);
    sqlite_failure_set(error, connection->db, code);
    if (primary == SQLITE_BUSY)
        snprintf(error->text, sizeof error->text, "the file is locked by another process: waited %u ms",
                 connection->busy_ms);
    return FAIL_SQL;
}

void sqlite_connection_begin_call(struct sqlite_connection *connection, uint64_t deadline_ns)
{
    connection->deadline_ns = deadline_ns;
    atomic_store(&connection->stop, SQLITE_GO);
}

void sqlite_connection_set_clock(struct sqlite_connection *connection)
{
    sqlite_clock_set(&connection->clock, clock_wall_us());
}

void sqlite_connection_stop(struct sqlite_connection *connection, enum sqlite_stop why)
{
    int go = SQLITE_GO;
    atomic_compare_exchange_strong(&connection->stop, &go, why);
    sqlite3_interrupt(connection->db);
}

/* --- opening --- */

static bool prepare_commands(struct sqlite_connection *connection)
{
    static const char *const texts[SQLITE_COMMANDS] = {
        [SQLITE_COMMAND_BEGIN] = "begin",
        [SQLITE_COMMAND_BEGIN_WRITE] = "begin immediate",
        [SQLITE_COMMAND_COMMIT] = "commit",
        [SQLITE_COMMAND_ROLLBACK] = "rollback",
        [SQLITE_COMMAND_SAVEPOINT] = "savepoint wick",
        [SQLITE_COMMAND_ROLLBACK_TO] = "rollback to wick",
        [SQLITE_COMMAND_RELEASE] = "release wick",
    };
    for (int i = 0; i < SQLITE_COMMANDS; i++)
        if (sqlite3_prepare_v3(connection->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &connection->commands[i], NULL))
            return false;
    return true;
}

enum fail sqlite_connection_open(struct sqlite_connection *connection, const struct sqlite_settings *settings,
                                 bool is_reader, char *why, size_t why_bytes)
{
    *connection = (struct sqlite_connection){ .busy_ms = settings->busy_ms };
    sqlite_gather_init(&connection->gather);
    sqlite_connection_set_clock(connection);
    enum fail fail = sqlite_file_open(settings, is_reader, &connection->clock, &connection->db, why, why_bytes);
    if (fail)
        return fail;
    fail = sqlite_statements_init(&connection->statements, connection->db, settings->statement_cache);
    if (!fail && !prepare_commands(connection))
        fail = FAIL_NOMEM;
    if (fail) {
        snprintf(why, why_bytes, "out of memory");
        sqlite_connection_close(connection);
        return fail;
    }
    sqlite3_busy_handler(connection->db, on_busy, connection);
    sqlite3_progress_handler(connection->db, PROGRESS_STEPS, on_progress, connection);
    return FAIL_OK;
}

void sqlite_connection_close(struct sqlite_connection *connection)
{
    sqlite_statements_clear(&connection->statements);
    sqlite_gather_clear(&connection->gather);
    for (int i = 0; i < SQLITE_COMMANDS; i++)
        sqlite3_finalize(connection->commands[i]);
    sqlite3_close(connection->db);
    connection->db = NULL;
}

/* --- running --- */

static int64_t changed_by(struct sqlite_connection *connection, const struct sqlite_statement *statement)
{
    switch (statement->verb) {
    case SQL_VERB_INSERT:
    case SQL_VERB_UPDATE:
    case SQL_VERB_DELETE:
    case SQL_VERB_REPLACE: return sqlite3_changes64(connection->db);
    case SQL_VERB_WITH: return statement->is_readonly ? -1 : sqlite3_changes64(connection->db);
    default: return statement->is_readonly ? -1 : 0;
    }
}

/* Steps to the end, gathering rows. */
static enum fail step_all(struct sqlite_connection *connection, struct sqlite_statement *statement, size_t bytes_max,
                          struct sql_error *error)
{
    int code = sqlite3_step(statement->stmt);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return explain(connection, code, error);
    enum fail fail = sqlite_statement_refresh(statement);
    for (; !fail && code == SQLITE_ROW; code = sqlite3_step(statement->stmt)) {
        fail = sqlite_gather_row(&connection->gather, statement->stmt, statement->shape);
        if (sqlite_gather_bytes(&connection->gather) > bytes_max) {
            sql_error_set(error, "54000", "the result is larger than %zu bytes: ask for fewer rows", bytes_max);
            return FAIL_SQL;
        }
        if (fail)
            return fail;
    }
    return fail ? fail : code == SQLITE_DONE ? FAIL_OK : explain(connection, code, error);
}

static enum fail run(struct sqlite_connection *connection, struct sqlite_statement *statement, struct sql_call *call)
{
    if (has_to_stop(connection))
        return sqlite_stop_set((enum sqlite_stop)atomic_load(&connection->stop), &call->error);
    enum fail fail = sqlite_statement_bind(statement, call->params, call->param_count, &call->error);
    if (!fail)
        fail = step_all(connection, statement, call->bytes_max ? call->bytes_max : BYTES_MAX, &call->error);
    if (fail)
        return fail;
    call->rows = sqlite_gather_rows(&connection->gather, statement->shape, changed_by(connection, statement));
    return call->rows ? FAIL_OK : FAIL_NOMEM;
}

/* A file that was removed or replaced would still take writes, and lose them when we close it. */
static enum fail refuse_moved(struct sqlite_connection *connection, struct sql_error *error)
{
    int has_moved = 0;
    if (sqlite3_file_control(connection->db, "main", SQLITE_FCNTL_HAS_MOVED, &has_moved) != SQLITE_OK || !has_moved)
        return FAIL_OK;
    sql_error_set(error, "58030",
                  "the SQLite file was moved, removed or replaced while it was open: writes are refused; "
                  "put it back, or restart wick");
    return FAIL_SQL;
}

void sqlite_connection_run(struct sqlite_connection *connection, struct sqlite_statement *statement,
                           struct sql_call *call)
{
    call->fail = statement->is_readonly ? FAIL_OK : refuse_moved(connection, &call->error);
    if (!call->fail)
        call->fail = run(connection, statement, call);
    if (call->fail == FAIL_NOMEM)
        sql_error_set(&call->error, "53200", "out of memory");
    sqlite_statement_reset(statement);
    sqlite_gather_reset(&connection->gather);
}

enum fail sqlite_connection_command(struct sqlite_connection *connection, enum sqlite_command command,
                                    struct sql_error *error)
{
    struct sqlite3_stmt *stmt = connection->commands[command];
    if (command == SQLITE_COMMAND_BEGIN_WRITE && sqlite3_db_readonly(connection->db, "main") == 1) {
        sqlite_failure_set(error, NULL, SQLITE_READONLY); /* SQLite would begin to read, and refuse later */
        return FAIL_SQL;
    }
    if (command == SQLITE_COMMAND_COMMIT && refuse_moved(connection, error))
        return FAIL_SQL;
    int code = sqlite3_step(stmt);
    enum fail fail = code == SQLITE_DONE ? FAIL_OK : explain(connection, code, error);
    sqlite3_reset(stmt);
    return fail;
}

bool sqlite_connection_in_transaction(const struct sqlite_connection *connection)
{
    return !sqlite3_get_autocommit(connection->db);
}

/* A rollback needs no memory, no disk and no lock; nothing may stop it. */
void sqlite_connection_rollback(struct sqlite_connection *connection)
{
    if (!sqlite_connection_in_transaction(connection))
        return;
    struct sql_error ignored = { 0 };
    sqlite_connection_begin_call(connection, 0);
    if (sqlite_connection_command(connection, SQLITE_COMMAND_ROLLBACK, &ignored))
        log_line(LOG_ERROR, "sqlite rollback failed", LOG_TEXT("why", ignored.text));
}
