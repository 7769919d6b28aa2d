/* rows.c - cells are read out of the PGresult when asked for, text form all the way.
 *
 * DESIGN  A shape is made from the first result of a prepared statement and kept with it. PostgreSQL refuses to run a statement whose
 *         row type changed (0A000), but FETCH, EXECUTE and SHOW have the columns of what they name, which may be another each time:
 *         so each result is compared by types and names, and a new shape made where one differs. Counted references, because rows may
 *         outlive both the statement and the connection, and may end on another thread.
 *         Columns that have parts (types.h) are made into JSON when the rows are opened, and are JSON from then on: only there is it seen
 *         whether what is known of their types is still so, and it can be asked for anew.
 * Path:   postgres/query > [postgres/rows] > sql/rows
 */
#include "postgres/rows.h"

#include "base/json.h"
#include "base/mem.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

/* What only shapes have whose columns are more than kinds. */
struct formed {
    bool is_open;        /* a type is not known */
    unsigned count;      /* of columns with a form */
    uint64_t learned_ns; /* of types that have fields; 0: there are none */
    unsigned alterations;
    const struct postgres_type *types[]; /* of each column */
};

struct postgres_shape {
    atomic_uint references;
    unsigned count;
    struct formed *formed;       /* NULL: no column has a form */
    Oid *types;                  /* of the columns, behind them .. */
    struct sql_column columns[]; /* .. and the texts behind those */
};

struct postgres_rows {
    struct sql_rows base;
    PGresult *result;
    struct postgres_shape *shape;
};

/* Rows that have columns with a form. */
struct formed_rows {
    struct postgres_rows rows; /* first */
    struct buf json;           /* their cells, row by row .. */
    size_t ends[];             /* .. and where each ends; 0 is where the first begins */
};

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
        at = next;
    }
}

/* Only a shape that needs it has what is of forms. False: out of memory. */
static bool add_formed(struct postgres_shape *shape)
{
    if (!shape->formed)
        shape->formed = mem_zero(MEM_POSTGRES, sizeof *shape->formed + shape->count * sizeof *shape->formed->types);
    return shape->formed != NULL;
}

static bool add_form(struct postgres_shape *shape, const struct postgres_types *types, unsigned column,
                     const struct postgres_type *type)
{
    if (!add_formed(shape))
        return false;
    shape->formed->types[column] = postgres_type_hold(type);
    shape->formed->count++;
    if (type->has_fields) {
        shape->formed->learned_ns = types->learned_ns;
        shape->formed->alterations = types->alterations;
    }
    return true;
}

static bool fill_kinds(struct postgres_shape *shape, const struct postgres_types *types)
{
    for (unsigned i = 0; i < shape->count; i++) {
        const struct postgres_type *type = postgres_types_find(types, shape->types[i]);
        if (!type && !add_formed(shape))
            return false;
        if (!type) {
            shape->formed->is_open = true;
            continue;
        }
        shape->columns[i].kind = type->kind;
        shape->columns[i].element = type->element;
        if (type->form && !add_form(shape, types, i, type))
            return false;
    }
    return true;
}

struct postgres_shape *postgres_shape_of(const PGresult *result, const struct postgres_types *types)
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
    if (!shape || fill_kinds(shape, types))
        return shape;
    postgres_shape_release(shape);
    return NULL;
}

bool postgres_shape_is_plain(const struct postgres_shape *shape) { return !shape->formed; }

enum postgres_shape_state postgres_shape_state(const struct postgres_shape *shape, uint64_t now_ns,
                                               unsigned alterations)
{
    const struct formed *formed = shape->formed;
    if (!formed)
        return POSTGRES_SHAPE_PLAIN;
    if (formed->is_open)
        return POSTGRES_SHAPE_OPEN;
    bool is_old = formed->learned_ns && (now_ns - formed->learned_ns > POSTGRES_TYPE_KNOWN_MS * UINT64_C(1000000) ||
                                         formed->alterations != alterations);
    return is_old ? POSTGRES_SHAPE_OLD : POSTGRES_SHAPE_FORMED;
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
    if (!shape || atomic_fetch_sub_explicit(&shape->references, 1, memory_order_acq_rel) > 1)
        return;
    for (unsigned i = 0; shape->formed && i < shape->count; i++)
        postgres_type_release(shape->formed->types[i]);
    mem_free(shape->formed);
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

static void fill_rows(struct postgres_rows *rows, const struct sql_rows_ops *how, PGresult *result,
                      struct postgres_shape *shape)
{
    *rows = (struct postgres_rows){
        .base = { .ops = how,
                  .columns = shape->columns,
                  .column_count = shape->count,
                  .row_count = (size_t)PQntuples(result),
                  .changed = changed_by(result),
                  .bytes = PQresultMemorySize(result) + sizeof *rows },
        .result = result,
        .shape = hold_shape(shape),
    };
}

struct sql_rows *postgres_rows_open(PGresult *result, struct postgres_shape *shape)
{
    struct postgres_rows *rows = mem_alloc(MEM_POSTGRES, sizeof *rows);
    if (!rows) {
        PQclear(result);
        return NULL;
    }
    fill_rows(rows, &ops, result, shape);
    return &rows->base;
}

/* --- rows with columns that have forms ------------------------------------------------------------------------ */

static unsigned forms_before(const struct formed *formed, unsigned column)
{
    unsigned count = 0;
    for (unsigned i = 0; i < column; i++)
        count += formed->types[i] != NULL;
    return count;
}

static struct sql_cell formed_cell_of(const struct sql_rows *base, size_t row, unsigned column)
{
    const struct formed_rows *rows = (const struct formed_rows *)base;
    const struct formed *formed = rows->rows.shape->formed;
    if (!formed->types[column] || PQgetisnull(rows->rows.result, (int)row, (int)column))
        return cell_of(base, row, column);
    size_t at = row * formed->count + forms_before(formed, column);
    return (struct sql_cell){ .kind = SQL_KIND_JSON,
                              .text = str_make(rows->json.data + rows->ends[at], rows->ends[at + 1] - rows->ends[at]) };
}

static void free_formed(struct sql_rows *base)
{
    buf_clear(&((struct formed_rows *)base)->json);
    free_rows(base);
}

static const struct sql_rows_ops formed_ops = { .cell = formed_cell_of, .free = free_formed };

static bool form_row(struct formed_rows *rows, const struct formed *formed, int row, size_t *cell, bool is_sure)
{
    for (unsigned i = 0; i < rows->rows.base.column_count; i++) {
        const PGresult *result = rows->rows.result;
        if (!formed->types[i])
            continue;
        struct str text = str_make(PQgetvalue(result, row, (int)i), (size_t)PQgetlength(result, row, (int)i));
        if (!PQgetisnull(result, row, (int)i) &&
            !sql_form_add_json(&rows->json, text, formed->types[i]->form, /* trusts_json= */ is_sure))
            return false;
        rows->ends[++*cell] = rows->json.len;
    }
    return true;
}

enum fail postgres_rows_form(PGresult *result, struct postgres_shape *shape, size_t bytes_max, bool is_sure,
                             struct sql_rows **out)
{
    const struct formed *formed = shape->formed;
    size_t cells = (size_t)PQntuples(result) * formed->count;
    struct formed_rows *rows = mem_alloc(MEM_POSTGRES, sizeof *rows + (cells + 1) * sizeof *rows->ends);
    if (!rows)
        return FAIL_NOMEM;
    buf_init(&rows->json, MEM_POSTGRES, bytes_max);
    fill_rows(&rows->rows, &formed_ops, result, shape);
    rows->ends[0] = 0;
    size_t cell = 0;
    bool is_good = true;
    for (int row = 0; is_good && row < PQntuples(result); row++)
        is_good = form_row(rows, formed, row, &cell, is_sure);
    rows->rows.base.bytes += rows->json.cap + cells * sizeof *rows->ends;
    bool is_whole = buf_ok(&rows->json);
    if (is_good && is_whole) {
        *out = &rows->rows.base;
        return FAIL_OK;
    }
    rows->rows.result = NULL; /* it stays the caller's */
    free_formed(&rows->rows.base);
    return is_whole ? FAIL_INVALID : FAIL_FULL;
}
