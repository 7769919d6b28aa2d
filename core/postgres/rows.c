/* rows.c - cells are read out of the PGresult when asked for, text form all the way.
 *
 * DESIGN  A shape is made from the first result of a prepared statement and kept with it. PostgreSQL refuses to run a statement whose
 *         row type changed (0A000), but FETCH, EXECUTE and SHOW have the columns of what they name, which may be another each time:
 *         so each result is compared by types and names, and a new shape made where one differs. Counted references, because rows may
 *         outlive both the statement and the connection, and may end on another thread.
 *         Kinds follow json_categorize_type (PostgreSQL 15, json.c): only there is a number written without quotes.
 * Path:   postgres/query > [postgres/rows] > sql/rows
 */
#include "postgres/rows.h"

#include "base/json.h"
#include "base/mem.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

struct postgres_shape {
    atomic_uint references;
    unsigned count;
    Oid *types;                  /* of the columns, behind them .. */
    struct sql_column columns[]; /* .. and the texts behind those */
};

struct postgres_rows {
    struct sql_rows base;
    PGresult *result;
    struct postgres_shape *shape;
};

static const struct kind_of_type {
    Oid type, array;
    enum sql_kind kind;
} kinds[] = {
    { 16, 1000, SQL_KIND_BOOL },        /* bool */
    { 17, 1001, SQL_KIND_BYTES },       /* bytea */
    { 20, 1016, SQL_KIND_INT },         /* int8 */
    { 21, 1005, SQL_KIND_INT },         /* int2 */
    { 23, 1007, SQL_KIND_INT },         /* int4 */
    { 700, 1021, SQL_KIND_FLOAT },      /* float4 */
    { 701, 1022, SQL_KIND_FLOAT },      /* float8 */
    { 1700, 1231, SQL_KIND_NUMERIC },   /* numeric */
    { 114, 199, SQL_KIND_JSON },        /* json */
    { 3802, 3807, SQL_KIND_JSON },      /* jsonb */
    { 1114, 1115, SQL_KIND_TIMESTAMP }, /* timestamp */
    { 1184, 1185, SQL_KIND_TIMESTAMPTZ },
    /* What follows is text to to_json; listed for the arrays. */
    { 18, 1002, SQL_KIND_TEXT },   /* "char" */
    { 19, 1003, SQL_KIND_TEXT },   /* name */
    { 25, 1009, SQL_KIND_TEXT },   /* text */
    { 26, 1028, SQL_KIND_TEXT },   /* oid */
    { 1042, 1014, SQL_KIND_TEXT }, /* bpchar */
    { 1043, 1015, SQL_KIND_TEXT }, /* varchar */
    { 1082, 1182, SQL_KIND_TEXT }, /* date: ISO as it is */
    { 1083, 1183, SQL_KIND_TEXT }, /* time */
    { 1266, 1270, SQL_KIND_TEXT }, /* timetz */
    { 1186, 1187, SQL_KIND_TEXT }, /* interval */
    { 2950, 2951, SQL_KIND_TEXT }, /* uuid */
    { 869, 1041, SQL_KIND_TEXT },  /* inet */
    { 650, 651, SQL_KIND_TEXT },   /* cidr */
    { 829, 1040, SQL_KIND_TEXT },  /* macaddr */
    { 774, 775, SQL_KIND_TEXT },   /* macaddr8 */
    { 142, 143, SQL_KIND_TEXT },   /* xml */
    { 790, 791, SQL_KIND_TEXT },   /* money */
    { 1560, 1561, SQL_KIND_TEXT }, /* bit */
    { 1562, 1563, SQL_KIND_TEXT }, /* varbit */
    { 600, 1017, SQL_KIND_TEXT },  /* point */
    { 2205, 2210, SQL_KIND_TEXT }, /* regclass */
    { 3614, 3643, SQL_KIND_TEXT }, /* tsvector */
    { 3904, 3905, SQL_KIND_TEXT }, /* int4range */
    { 3926, 3927, SQL_KIND_TEXT }, /* int8range */
    { 3906, 3907, SQL_KIND_TEXT }, /* numrange */
    { 3908, 3909, SQL_KIND_TEXT }, /* tsrange */
    { 3910, 3911, SQL_KIND_TEXT }, /* tstzrange */
    { 3912, 3913, SQL_KIND_TEXT }, /* daterange */
};

/* Of a type's OID. Types made by CREATE TYPE read as text. */
static enum sql_kind kind_of(Oid type, enum sql_kind *element)
{
    *element = SQL_KIND_NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (kinds[i].type == type)
            return kinds[i].kind;
        if (kinds[i].array == type) {
            *element = kinds[i].kind;
            return SQL_KIND_ARRAY;
        }
    }
    return SQL_KIND_TEXT;
}

/* --- shapes --------------------------------------------------------------------------------------------------- */

/* Names one after the other, each followed by its JSON key. */
static void add_texts(struct buf *texts, const PGresult *result, unsigned count, size_t *key_at)
{
    for (unsigned i = 0; i < count; i++) {
        struct str name = str_of(PQfname(result, (int)i));
        buf_add_str(texts, name);
        key_at[i] = texts->len;
        json_add_string(texts, name);
        buf_add_char(texts, ':');
    }
}

static void fill_columns(struct postgres_shape *shape, const PGresult *result, const char *texts, const size_t *key_at,
                         size_t end)
{
    size_t at = 0;
    for (unsigned i = 0; i < shape->count; i++) {
        struct sql_column *column = &shape->columns[i];
        column->name = str_make(texts + at, key_at[i] - at);
        size_t next = i + 1 < shape->count ? key_at[i + 1] - strlen(PQfname(result, (int)i + 1)) : end;
        column->json_key = str_make(texts + key_at[i], next - key_at[i]);
        shape->types[i] = PQftype(result, (int)i);
        column->kind = kind_of(shape->types[i], &column->element);
        at = next;
    }
}

struct postgres_shape *postgres_shape_of(const PGresult *result)
{
    unsigned count = (unsigned)PQnfields(result);
    struct buf texts;
    buf_init(&texts, MEM_POSTGRES, 0);
    struct postgres_shape *shape = NULL;
    size_t *key_at = mem_alloc(MEM_POSTGRES, (count + 1) * sizeof *key_at);
    if (key_at)
        add_texts(&texts, result, count, key_at);
    if (key_at && buf_ok(&texts))
        shape = mem_zero(MEM_POSTGRES,
                         sizeof *shape + count * (sizeof *shape->columns + sizeof *shape->types) + texts.len + 1);
    if (shape) {
        shape->types = (Oid *)(shape->columns + count);
        char *copy = (char *)(shape->types + count);
        if (texts.len)
            memcpy(copy, texts.data, texts.len);
        atomic_init(&shape->references, 1);
        shape->count = count;
        fill_columns(shape, result, copy, key_at, texts.len);
    }
    buf_clear(&texts);
    mem_free(key_at);
    return shape;
}

static bool is_named(const struct sql_column *column, const char *name)
{
    return strncmp(column->name.data, name, column->name.len) == 0 && name[column->name.len] == '\0';
}

bool postgres_shape_fits(const struct postgres_shape *shape, const PGresult *result)
{
    if (shape->count != (unsigned)PQnfields(result))
        return false;
    for (unsigned i = 0; i < shape->count; i++)
        if (shape->types[i] != PQftype(result, (int)i) || !is_named(&shape->columns[i], PQfname(result, (int)i)))
            return false;
    return true;
}

static struct postgres_shape *hold_shape(struct postgres_shape *shape)
{
    atomic_fetch_add_explicit(&shape->references, 1, memory_order_relaxed);
    return shape;
}

void postgres_shape_release(struct postgres_shape *shape)
{
    if (shape && atomic_fetch_sub_explicit(&shape->references, 1, memory_order_acq_rel) == 1)
        mem_free(shape);
}

/* --- rows ----------------------------------------------------------------------------------------------------- */

static int64_t int_of(const char *text)
{
    bool is_negative = *text == '-';
    uint64_t value = 0;
    for (const char *at = text + is_negative; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return (int64_t)(is_negative ? 0 - value : value);
}

static struct sql_cell cell_of(const struct sql_rows *base, size_t row, unsigned column)
{
    const struct postgres_rows *rows = (const struct postgres_rows *)base;
    assert(row < base->row_count && column < base->column_count);
    int r = (int)row, c = (int)column;
    if (PQgetisnull(rows->result, r, c))
        return (struct sql_cell){ .kind = SQL_KIND_NULL };
    const struct sql_column *about = &base->columns[column];
    const char *text = PQgetvalue(rows->result, r, c);
    struct sql_cell cell = { .kind = about->kind,
                             .element = about->element,
                             .text = str_make(text, (size_t)PQgetlength(rows->result, r, c)) };
    switch (about->kind) {
    case SQL_KIND_BOOL: cell.integer = text[0] == 't'; break;
    case SQL_KIND_INT: cell.integer = int_of(text); break;
    case SQL_KIND_FLOAT: cell.real = strtod(text, NULL); break;
    default: break;
    }
    return cell;
}

static void free_rows(struct sql_rows *base)
{
    struct postgres_rows *rows = (struct postgres_rows *)base;
    PQclear(rows->result);
    postgres_shape_release(rows->shape);
    mem_free(rows);
}

static const struct sql_rows_ops ops = { .cell = cell_of, .free = free_rows };

/* The command tag tells writes, whose count it carries, from queries. */
static int64_t changed_by(PGresult *result)
{
    static const char *const writes[] = { "INSERT", "UPDATE", "DELETE", "MERGE", "COPY" };
    const char *tag = PQcmdStatus(result);
    for (size_t i = 0; i < sizeof writes / sizeof *writes; i++)
        if (strncmp(tag, writes[i], strlen(writes[i])) == 0)
            return int_of(PQcmdTuples(result));
    return PQresultStatus(result) == PGRES_TUPLES_OK ? -1 : 0;
}

struct sql_rows *postgres_rows_open(PGresult *result, struct postgres_shape *shape)
{
    struct postgres_rows *rows = mem_alloc(MEM_POSTGRES, sizeof *rows);
    if (!rows) {
        PQclear(result);
        return NULL;
    }
    *rows = (struct postgres_rows){
        .base = { .ops = &ops,
                  .columns = shape->columns,
                  .column_count = shape->count,
                  .row_count = (size_t)PQntuples(result),
                  .changed = changed_by(result),
                  .bytes = PQresultMemorySize(result) + sizeof *rows },
        .result = result,
        .shape = hold_shape(shape),
    };
    return &rows->base;
}
