/* rows.h - results copied out of SQLite into one block, so that they outlive the statement and cross to the loop's thread. */
#ifndef SQLITE_ROWS_H
#define SQLITE_ROWS_H

#include "base/fail.h"
#include "sql/rows.h"

struct sqlite3_stmt;

/* The columns of a prepared statement; shared by the statement and the results it made, and freed by the last of them. */
struct sqlite_shape {
    _Atomic unsigned refs;
    unsigned count;
    struct sql_column columns[];
};
struct sqlite_shape *sqlite_shape_make(struct sqlite3_stmt *stmt);   /* NULL when out of memory */
void sqlite_shape_release(struct sqlite_shape *shape);               /* NULL is fine */

/* Where rows are gathered; one for each connection, reused. */
struct sqlite_gather { struct buf cells, bytes; size_t row_count; };
void sqlite_gather_init(struct sqlite_gather *gather);
void sqlite_gather_clear(struct sqlite_gather *gather);
void sqlite_gather_reset(struct sqlite_gather *gather);              /* forgets the rows, gives back what is over 256 KiB */
/* Takes the row the statement stands on. FAIL_NOMEM. */
MUST_USE enum fail sqlite_gather_row(struct sqlite_gather *gather, struct sqlite3_stmt *stmt, const struct sqlite_shape *shape);
size_t sqlite_gather_bytes(const struct sqlite_gather *gather);
/* One block of what was gathered; it holds on to the shape. NULL when out of memory. */
struct sql_rows *sqlite_gather_rows(const struct sqlite_gather *gather, struct sqlite_shape *shape, int64_t changed);

#endif
