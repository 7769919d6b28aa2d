/* functions.h - functions that SQL written for PostgreSQL expects, for SQLite.
 *
 *   now()                         text, YYYY-MM-DD HH:MM:SS.ffffff+00; the same all through a statement, and a session's transaction
 *   gen_random_uuid()             text, a version 4 UUID
 *   date_trunc(field, timestamp)  text in, text out; field: microseconds milliseconds second minute hour day week month quarter year
 *                                 decade century millennium. The zone stays as it was written
 *   md5(value)                    text, 32 hex digits
 *   greatest(a, ..) least(a, ..)  ignore NULL; numbers by value, text byte by byte; numbers before text before bytes
 *   starts_with(text, prefix)     1 or 0
 *   split_part(text, by, n)       the n-th part, counted from 1, or from the end when negative
 *   concat(a, ..) concat_ws(by, a, ..)   NULLs are left out
 *   percentile(value, fraction)   aggregate: percentile_cont(fraction) within group (order by value); NULLs are left out
 */
#ifndef SQLITE_FUNCTIONS_H
#define SQLITE_FUNCTIONS_H

#include "base/fail.h"

#include <stdint.h>

struct sqlite3;

/* What now() says; the connection sets it before each statement, or once a transaction. */
struct sqlite_clock { int64_t wall_us; char text[40]; int len; };
static inline void sqlite_clock_set(struct sqlite_clock *clock, int64_t wall_us) { clock->wall_us = wall_us; clock->len = 0; }

/* clock is borrowed for the life of the connection. FAIL_NOMEM. */
MUST_USE enum fail sqlite_functions_add(struct sqlite3 *db, struct sqlite_clock *clock);

#endif
