/* rows.c - from SQLite's columns to cells of 16 bytes and one run of text.
 *
 * DESIGN  Stepping appends to two buffers of the connection, cells and bytes; at the end both are copied into one block
 *         of the exact size: head, cells, bytes. A cell holds its number, or where its text begins.
 *         Text that is not UTF-8 cannot be JSON: each byte that is wrong becomes U+FFFD, here, once.
 * Path:   sqlite/connection > [sqlite/rows] > sql/json
 */
#include "sqlite/rows.h"

#include "base/json.h"
#include "sqlite/kind.h"

#include <sqlite3.h>
#include <stdatomic.h>

#define KEEP_BYTES (256 * 1024)

struct cell {
    uint8_t kind;
    uint32_t len;
    union {
        int64_t integer;
        double real;
        uint64_t from; /* in the bytes */
    };
};
_Static_assert(sizeof(struct cell) == 16, "four cells in a cache line");

struct rows {
    struct sql_rows base;
    struct sqlite_shape *shape;
    const char *bytes;
    struct cell cells[];
};

/* --- columns --- */

/* All names, and all keys, one behind the other; two rounds, for the buffer moves while it grows. */
static bool add_names(struct buf *names, struct sqlite3_stmt *stmt, struct sqlite_shape *shape)
{
    for (unsigned i = 0; i < shape->count; i++) {
        const char *text = sqlite3_column_name(stmt, (int)i);
        if (!text)
            return false;
        struct str name = str_of(str_utf8(str_of(text)) ? text : "?column?");
        size_t from = names->len;
        buf_add_str(names, name);
        shape->columns[i].name.len = name.len;
        json_add_string(names, name);
        buf_add_char(names, ':');
        shape->columns[i].json_key.len = names->len - from - name.len;
    }
    return buf_ok(names);
}

static void place_names(struct sqlite_shape *shape, const char *at)
{
    for (unsigned i = 0; i < shape->count; i++) {
        shape->columns[i].name.data = at;
        at += shape->columns[i].name.len;
        shape->columns[i].json_key.data = at;
        at += shape->columns[i].json_key.len;
    }
}

struct sqlite_shape *sqlite_shape_make(struct sqlite3_stmt *stmt)
{
    unsigned count = (unsigned)sqlite3_column_count(stmt);
    size_t bytes = sizeof(struct sqlite_shape) + count * sizeof(struct sql_column);
    struct sqlite_shape *shape = mem_zero(MEM_SQLITE, bytes), *whole = NULL;
    struct buf names;
    buf_init(&names, MEM_SQLITE, 0);
    if (!shape)
        goto out;
    shape->count = count;
    if (!add_names(&names, stmt, shape) || !(whole = mem_grow(MEM_SQLITE, shape, bytes + names.len)))
        goto out;
    shape = NULL;
    if (names.len)
        memcpy((char *)whole + bytes, names.data, names.len);
    place_names(whole, (char *)whole + bytes);
    for (unsigned i = 0; i < count; i++)
        whole->columns[i].kind = sqlite_kind_of_type(sqlite3_column_decltype(stmt, (int)i));
    atomic_init(&whole->refs, 1);
out:
    buf_clear(&names);
    mem_free(shape);
    return whole;
}

void sqlite_shape_release(struct sqlite_shape *shape)
{
    if (shape && atomic_fetch_sub_explicit(&shape->refs, 1, memory_order_acq_rel) == 1)
        mem_free(shape);
}

/* --- gathering --- */

void sqlite_gather_init(struct sqlite_gather *gather)
{
    buf_init(&gather->cells, MEM_SQLITE, 0);
    buf_init(&gather->bytes, MEM_SQLITE, 0);
    gather->row_count = 0;
}

void sqlite_gather_clear(struct sqlite_gather *gather)
{
    buf_clear(&gather->cells);
    buf_clear(&gather->bytes);
}

void sqlite_gather_reset(struct sqlite_gather *gather)
{
    if (gather->cells.cap + gather->bytes.cap > KEEP_BYTES)
        sqlite_gather_clear(gather);
    buf_reset(&gather->cells);
    buf_reset(&gather->bytes);
    gather->row_count = 0;
}

size_t sqlite_gather_bytes(const struct sqlite_gather *gather) { return gather->cells.len + gather->bytes.len; }

/* Length of the UTF-8 sequence at `at`, or 0 when it is none. */
static size_t sequence(struct str text, size_t at)
{
    for (size_t len = 1; len <= 4 && at + len <= text.len; len++)
        if (str_utf8(str_make(text.data + at, len)))
            return len;
    return 0;
}

static void add_mended(struct buf *bytes, struct str text)
{
    for (size_t at = 0; at < text.len;) {
        size_t len = sequence(text, at);
        if (len)
            buf_add(bytes, text.data + at, len);
        else
            buf_add(bytes, "\xef\xbf\xbd", 3);
        at += len ? len : 1;
    }
}

static enum sql_kind kind_of_text(struct str text, enum sql_kind declared)
{
    if (declared == SQL_KIND_JSON && sqlite_kind_is_json(text))
        return SQL_KIND_JSON;
    if (declared == SQL_KIND_TIMESTAMPTZ && sqlite_kind_is_timestamp(text))
        return SQL_KIND_TIMESTAMPTZ;
    return SQL_KIND_TEXT;
}

static struct cell take_text(struct buf *bytes, struct sqlite3_stmt *stmt, int i, enum sql_kind declared)
{
    struct str text = str_make((const char *)sqlite3_column_text(stmt, i), 0);
    text.len = (size_t)sqlite3_column_bytes(stmt, i);
    struct cell cell = { .kind = SQL_KIND_TEXT, .from = bytes->len };
    if (!text.data) {
        bytes->failed = true; /* SQLite ran out of memory while converting */
    } else if (str_utf8(text)) {
        buf_add_str(bytes, text);
        cell.kind = (uint8_t)kind_of_text(text, declared);
    } else {
        add_mended(bytes, text);
    }
    cell.len = (uint32_t)(bytes->len - cell.from);
    return cell;
}

static struct cell take_bytes(struct buf *bytes, struct sqlite3_stmt *stmt, int i)
{
    const void *data = sqlite3_column_blob(stmt, i);
    size_t len = (size_t)sqlite3_column_bytes(stmt, i);
    struct cell cell = { .kind = SQL_KIND_BYTES, .from = bytes->len };
    if (buf_room(bytes, 2 + 2 * len)) {
        memcpy(bytes->data + bytes->len, "\\x", 2);
        bytes->len += 2 + (len ? str_hex(data, len, bytes->data + bytes->len + 2) : 0);
    }
    cell.len = (uint32_t)(bytes->len - cell.from);
    return cell;
}

static struct cell take(struct buf *bytes, struct sqlite3_stmt *stmt, int i, enum sql_kind declared)
{
    switch (sqlite3_column_type(stmt, i)) {
    case SQLITE_INTEGER: {
        struct cell cell = { .kind = SQL_KIND_INT, .integer = sqlite3_column_int64(stmt, i) };
        if (declared == SQL_KIND_BOOL && (uint64_t)cell.integer <= 1)
            cell.kind = SQL_KIND_BOOL;
        return cell;
    }
    case SQLITE_FLOAT: return (struct cell){ .kind = SQL_KIND_FLOAT, .real = sqlite3_column_double(stmt, i) };
    case SQLITE_TEXT: return take_text(bytes, stmt, i, declared);
    case SQLITE_BLOB: return take_bytes(bytes, stmt, i);
    default: return (struct cell){ .kind = SQL_KIND_NULL };
    }
}

enum fail sqlite_gather_row(struct sqlite_gather *gather, struct sqlite3_stmt *stmt, const struct sqlite_shape *shape)
{
    if (!buf_room(&gather->cells, shape->count * sizeof(struct cell)))
        return FAIL_NOMEM;
    for (unsigned i = 0; i < shape->count; i++) {
        struct cell cell = take(&gather->bytes, stmt, (int)i, shape->columns[i].kind);
        memcpy(gather->cells.data + gather->cells.len, &cell, sizeof cell);
        gather->cells.len += sizeof cell;
    }
    gather->row_count++;
    return buf_ok(&gather->bytes) ? FAIL_OK : FAIL_NOMEM;
}

/* --- the result --- */

static struct sql_cell rows_cell(const struct sql_rows *base, size_t row, unsigned column)
{
    const struct rows *rows = (const void *)base;
    const struct cell *cell = &rows->cells[row * base->column_count + column];
    struct sql_cell out = { .kind = (enum sql_kind)cell->kind };
    switch (out.kind) {
    case SQL_KIND_NULL: break;
    case SQL_KIND_BOOL:
    case SQL_KIND_INT: out.integer = cell->integer; break;
    case SQL_KIND_FLOAT: out.real = cell->real; break;
    default: out.text = str_make(rows->bytes + cell->from, cell->len); break;
    }
    return out;
}

static void rows_free(struct sql_rows *base)
{
    struct rows *rows = (void *)base;
    sqlite_shape_release(rows->shape);
    mem_free(rows);
}

static const struct sql_rows_ops ops = { .cell = rows_cell, .free = rows_free };

struct sql_rows *sqlite_gather_rows(const struct sqlite_gather *gather, struct sqlite_shape *shape, int64_t changed)
{
    size_t bytes = sizeof(struct rows) + sqlite_gather_bytes(gather);
    struct rows *rows = mem_alloc(MEM_SQLITE, bytes);
    if (!rows)
        return NULL;
    rows->base = (struct sql_rows){ .ops = &ops,
                                    .columns = shape->columns,
                                    .column_count = shape->count,
                                    .row_count = gather->row_count,
                                    .changed = changed,
                                    .bytes = bytes };
    rows->shape = shape;
    atomic_fetch_add_explicit(&shape->refs, 1, memory_order_relaxed);
    char *text = (char *)rows->cells + gather->cells.len;
    rows->bytes = text;
    if (gather->cells.len)
        memcpy(rows->cells, gather->cells.data, gather->cells.len);
    if (gather->bytes.len)
        memcpy(text, gather->bytes.data, gather->bytes.len);
    return &rows->base;
}
