/* kind.h - what a declared column type makes of the values SQLite stores. */
#ifndef SQLITE_KIND_H
#define SQLITE_KIND_H

#include "sql/rows.h"

/* The kind of a declared type (NULL for an expression: SQL_KIND_TEXT). Only BOOLEAN, JSON(B) and TIMESTAMPTZ change how a value
 * is written; the others say what SQLite's affinity rules would store. */
enum sql_kind sqlite_kind_of_type(const char *declared);
bool sqlite_kind_is_json(struct str text);          /* one JSON value (RFC 8259), at most 1,000 levels deep */
bool sqlite_kind_is_timestamp(struct str text);     /* begins like 2024-02-29 12:00 */

#endif
