/* rows.h - a PGresult as sql_rows. What its columns are is worked out once for each prepared statement. */
#ifndef POSTGRES_ROWS_H
#define POSTGRES_ROWS_H

#include "sql/rows.h"

#include <libpq-fe.h>

/* Names, JSON keys and kinds of the columns of a statement; shared by its results, also on other threads. */
struct postgres_shape;

/* NULL: out of memory. The caller has one reference. */
struct postgres_shape *postgres_shape_of(const PGresult *result);
/* Whether a result has the same columns, by number, type and name. Not so for FETCH and the like, whose text tells nothing. */
bool postgres_shape_fits(const struct postgres_shape *shape, const PGresult *result);
void postgres_shape_release(struct postgres_shape *shape);            /* NULL is fine */

/* Rows over a result, which is theirs from now on (also on failure, then NULL comes back). Takes a reference of its own. */
struct sql_rows *postgres_rows_open(PGresult *result, struct postgres_shape *shape);

#endif
