/* failure.h - SQLite's result codes as SQLSTATE. */
#ifndef SQLITE_FAILURE_H
#define SQLITE_FAILURE_H

#include "sql/error.h"

struct sqlite3;

/* Fills error from the extended result code and the connection's message (text is sqlite3_errmsg's, or the code's own). */
void sqlite_failure_set(struct sql_error *error, struct sqlite3 *db, int code);

#endif
