/* connection.h - one connection of one thread: runs statements, and can be stopped by other threads. */
#ifndef SQLITE_CONNECTION_H
#define SQLITE_CONNECTION_H

#include "sql/engine.h"
#include "sqlite/engine.h"
#include "sqlite/functions.h"
#include "sqlite/statement.h"

/* Why a running statement was told to end. */
enum sqlite_stop { SQLITE_GO, SQLITE_STOP_CANCEL, SQLITE_STOP_TIMEOUT, SQLITE_STOP_CLOSE };

/* Statements of the engine's own, prepared once and never thrown out. */
enum sqlite_command {
    SQLITE_COMMAND_BEGIN, SQLITE_COMMAND_BEGIN_WRITE, SQLITE_COMMAND_COMMIT, SQLITE_COMMAND_ROLLBACK, SQLITE_COMMAND_SAVEPOINT,
    SQLITE_COMMAND_ROLLBACK_TO, SQLITE_COMMAND_RELEASE, SQLITE_COMMANDS
};

struct sqlite_connection {
    struct sqlite3 *db;
    struct sqlite3_stmt *commands[SQLITE_COMMANDS];
    struct sqlite_statements statements;
    struct sqlite_gather gather;
    struct sqlite_clock clock;
    unsigned busy_ms;
    uint64_t busy_until_ns;        /* this thread's; 0: not waiting */
    uint64_t deadline_ns;          /* of the statement; 0: none */
    _Atomic int stop;              /* enum sqlite_stop, set by others */
};

/* FAIL_* with `why` as sqlite_engine_open. The connection stays where it is until closed (SQLite holds its address). */
MUST_USE enum fail sqlite_connection_open(struct sqlite_connection *connection, const struct sqlite_settings *settings, bool is_reader,
                                          char *why, size_t why_bytes);
void sqlite_connection_close(struct sqlite_connection *connection);

/* Before a call: no stop is set any more, and from now on waits and runs end at deadline_ns (0: never). */
void sqlite_connection_begin_call(struct sqlite_connection *connection, uint64_t deadline_ns);
/* now() moves on. */
void sqlite_connection_set_clock(struct sqlite_connection *connection);
/* From any thread, while the connection is open: what runs now ends soon. The caller makes sure it is the right call. */
void sqlite_connection_stop(struct sqlite_connection *connection, enum sqlite_stop why);

/* Runs the statement with the call's parameters and fills fail, error and rows. */
void sqlite_connection_run(struct sqlite_connection *connection, struct sqlite_statement *statement, struct sql_call *call);
MUST_USE enum fail sqlite_connection_command(struct sqlite_connection *connection, enum sqlite_command command, struct sql_error *error);
bool sqlite_connection_in_transaction(const struct sqlite_connection *connection);
void sqlite_connection_rollback(struct sqlite_connection *connection);   /* if there is something to roll back */

/* The fields for FAIL_TIMEOUT, FAIL_CANCELLED .. by the reason; returns the fail. */
enum fail sqlite_stop_set(enum sqlite_stop why, struct sql_error *error);

#endif
