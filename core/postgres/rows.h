/* rows.h - a PGresult as sql_rows. What its columns are is worked out once for each prepared statement. */
#ifndef POSTGRES_ROWS_H
#define POSTGRES_ROWS_H

#include "postgres/types.h"

#include <libpq-fe.h>

/* Names, JSON keys and kinds of the columns of a statement; shared by its results, also on other threads. */
struct postgres_shape;

enum postgres_shape_state {
    POSTGRES_SHAPE_PLAIN,                /* each column is of a kind */
    POSTGRES_SHAPE_FORMED,               /* some have parts; rows come from postgres_rows_form */
    POSTGRES_SHAPE_OPEN,                 /* the type of one is not known */
    POSTGRES_SHAPE_OLD                   /* .. or may be another by now */
};

/* NULL: out of memory. The caller has one reference. types may be NULL where there are no columns. */
struct postgres_shape *postgres_shape_of(const PGresult *result, const struct postgres_types *types);
/* Almost always. */
bool postgres_shape_is_plain(const struct postgres_shape *shape);
enum postgres_shape_state postgres_shape_state(const struct postgres_shape *shape, uint64_t now_ns, unsigned alterations);
/* Whether a result has the same columns, by number, type and name. Not so for FETCH and the like, whose text tells nothing. */
bool postgres_shape_fits(const struct postgres_shape *shape, const PGresult *result);
void postgres_shape_release(struct postgres_shape *shape);            /* NULL is fine */

/* Rows over a result, which is theirs from now on (also on failure, then NULL comes back). Takes a reference of its own. */
struct sql_rows *postgres_rows_open(PGresult *result, struct postgres_shape *shape);

/* The same where the shape is FORMED. FAIL_INVALID: a value is not what the shape says, and where is_sure is not set the shape may be
 * wrong. FAIL_FULL: as JSON it is larger than bytes_max, or there is no memory. FAIL_NOMEM. On failure the result stays the caller's. */
MUST_USE enum fail postgres_rows_form(PGresult *result, struct postgres_shape *shape, size_t bytes_max, bool is_sure,
                                      struct sql_rows **out);

#endif
