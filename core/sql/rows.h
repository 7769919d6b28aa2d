/* rows.h - the result of a statement, typed and lazy: cells are looked at only when asked for.
 *
 * Rows belong to whoever got them and end with sql_rows_free. Cells are borrowed from the rows. Engines provide the ops.
 */
#ifndef SQL_ROWS_H
#define SQL_ROWS_H

#include "base/buf.h"
#include "sql/value.h"

/* What a cell is, and so how it is written as JSON: always exactly as PostgreSQL's to_json would write it. */
enum sql_kind {
    SQL_KIND_NULL, SQL_KIND_BOOL, SQL_KIND_INT,  /* .integer is set */
    SQL_KIND_FLOAT,                              /* .real is set; .text where the engine has it */
    SQL_KIND_NUMERIC,                            /* exact decimal as .text: written unquoted (NaN, Infinity quoted) */
    SQL_KIND_TEXT, SQL_KIND_JSON,                /* JSON: raw text, valid JSON by the engine's word */
    SQL_KIND_TIMESTAMP, SQL_KIND_TIMESTAMPTZ,    /* .text in ISO DateStyle; to_json puts T between date and time */
    SQL_KIND_BYTES,                              /* .text is the hex form, \x68.., from both engines; in JSON "\\x68.." */
    SQL_KIND_ARRAY                               /* .text in array syntax, elements of kind .element */
};

struct sql_cell {
    enum sql_kind kind, element;
    struct str text;
    int64_t integer;
    double real;
};
struct sql_column {
    struct str name;
    struct str json_key;     /* "name": with quotes and colon, ready to write */
    enum sql_kind kind;      /* SQLite: the kind of the declared type; a cell may differ */
    enum sql_kind element;
};
struct sql_rows;
struct sql_rows_ops {
    struct sql_cell (*cell)(const struct sql_rows *rows, size_t row, unsigned column);
    void (*free)(struct sql_rows *rows);
};
struct sql_rows {                        /* first member of the engine's own struct */
    const struct sql_rows_ops *ops;
    const struct sql_column *columns;    /* lives as long as the rows */
    unsigned column_count;
    size_t row_count;
    int64_t changed;                     /* rows inserted, updated or deleted; -1 for queries */
    size_t bytes;                        /* memory it holds */
};

static inline struct sql_cell sql_rows_cell(const struct sql_rows *rows, size_t row, unsigned column)
{
    return rows->ops->cell(rows, row, column);
}
int sql_rows_find(const struct sql_rows *rows, struct str name);   /* column number, or -1 */
void sql_rows_free(struct sql_rows *rows);                         /* NULL is fine */
/* json.c */
void sql_cell_add_json(struct buf *out, struct sql_cell cell);
void sql_row_add_json(struct buf *out, const struct sql_rows *rows, size_t row);   /* {"a":1,"b":"x"} */
void sql_rows_add_json(struct buf *out, const struct sql_rows *rows);              /* [{...},{...}] */

#endif
