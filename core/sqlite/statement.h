/* statement.h - prepared statements of one connection, found by their text, the least recently used thrown out. */
#ifndef SQLITE_STATEMENT_H
#define SQLITE_STATEMENT_H

#include "base/list.h"
#include "base/map.h"
#include "sql/error.h"
#include "sql/statement.h"
#include "sql/value.h"
#include "sqlite/rows.h"

struct sqlite3;

struct sqlite_statement {
    struct list node;
    struct sqlite3_stmt *stmt;
    struct sqlite_shape *shape;
    char *text;
    size_t text_len;
    enum sql_verb verb;
    bool is_readonly;              /* by SQLite's word (sqlite3_stmt_readonly) */
    unsigned param_count;          /* the highest $n */
    unsigned slot_count;           /* SQLite's parameters: one for each distinct spelling .. */
    uint16_t *slots;               /* .. slot i+1 takes parameter slots[i] */
    int reprepares;                /* SQLite prepares anew when the schema changed: then the shape is made anew */
};

struct sqlite_statements {
    struct sqlite3 *db;
    struct map by_text;
    struct list by_use;            /* the front was used last */
    unsigned count, count_max;
};

MUST_USE enum fail sqlite_statements_init(struct sqlite_statements *statements, struct sqlite3 *db, unsigned count_max);
void sqlite_statements_clear(struct sqlite_statements *statements);
/* Finds or prepares. FAIL_SQL with error filled, FAIL_NOMEM. Borrowed until the next get or drop. */
MUST_USE enum fail sqlite_statements_get(struct sqlite_statements *statements, struct str text, struct sqlite_statement **out,
                                         struct sql_error *error);
void sqlite_statements_drop(struct sqlite_statements *statements, struct sqlite_statement *statement);
/* Values are borrowed until sqlite_statement_reset. FAIL_SQL when their number is not that of the parameters, or one is too big. */
MUST_USE enum fail sqlite_statement_bind(struct sqlite_statement *statement, const struct sql_value *params, unsigned count,
                                         struct sql_error *error);
/* After the first step: follows a change of schema. FAIL_NOMEM. */
MUST_USE enum fail sqlite_statement_refresh(struct sqlite_statement *statement);
void sqlite_statement_reset(struct sqlite_statement *statement);

#endif
