/* json.c - cells, rows and results as JSON, byte for byte as PostgreSQL's to_json and row_to_json write them.
 *
 * DESIGN  Numbers and json go out as the engine's text; text is escaped by base/json; a timestamp gets a T, and a
 *         zone always its minutes (XSD style: json.c of PostgreSQL calls EncodeDateTime with USE_XSD_DATES).
 *         A number JSON cannot hold (NaN, Infinity) is a string, as there.
 *         The common cells are written with one check for room, straight into the buffer.
 * Path:   serve/response, script > [sql/json] > base/json
 */
#include "base/json.h"

#include "sql/array.h"
#include "sql/rows.h"

#include <assert.h>

static inline bool has_room(struct buf *out, size_t more) { return out->cap - out->len >= more || buf_room(out, more); }

static inline void add_raw(struct buf *out, struct str text)
{
    if (!has_room(out, text.len))
        return;
    memcpy(out->data + out->len, text.data, text.len);
    out->len += text.len;
}

static inline void add_char(struct buf *out, char c)
{
    if (has_room(out, 1))
        out->data[out->len++] = c;
}

/* A plain ASCII text without anything to escape inside quotes; for what we formed or checked ourselves. */
static void add_quoted(struct buf *out, struct str text)
{
    if (!has_room(out, text.len + 2))
        return;
    out->data[out->len++] = '"';
    memcpy(out->data + out->len, text.data, text.len);
    out->len += text.len;
    out->data[out->len++] = '"';
}

/* Digits, or a minus and digits: what PostgreSQL prints for every number that is one. NaN and Infinity are not. */
static bool is_number(struct str text)
{
    size_t at = text.len && text.data[0] == '-';
    return at < text.len && text.data[at] >= '0' && text.data[at] <= '9';
}

static void add_number(struct buf *out, struct str text)
{
    if (is_number(text))
        add_raw(out, text);
    else
        add_quoted(out, text);
}

/* "\\x.." of the \x.. form. */
static void add_bytes(struct buf *out, struct str text)
{
    if (text.len < 2 || text.data[0] != '\\') {
        json_add_string(out, text);
        return;
    }
    if (!has_room(out, text.len + 3))
        return;
    out->data[out->len++] = '"';
    out->data[out->len++] = '\\';
    memcpy(out->data + out->len, text.data, text.len);
    out->len += text.len;
    out->data[out->len++] = '"';
}

/* Where the zone's hours end without minutes behind them ("+00", perhaps with " BC" after it), else 0. */
static size_t bare_zone_end(struct str text)
{
    for (size_t at = text.len; at-- > 11;)
        if (text.data[at] == '+' || text.data[at] == '-') {
            size_t end = at + 1;
            while (end < text.len && text.data[end] >= '0' && text.data[end] <= '9')
                end++;
            return end - at == 3 && (end == text.len || text.data[end] == ' ') ? end : 0;
        }
    return 0;
}

/* 2024-02-29 12:00:00+00 as "2024-02-29T12:00:00+00:00"; infinity stays what it is. */
static void add_timestamp(struct buf *out, struct str text, bool has_zone)
{
    char *space = memchr(text.data, ' ', text.len);
    if (!space) {
        json_add_string(out, text);
        return;
    }
    size_t date = (size_t)(space - text.data), zone = has_zone ? bare_zone_end(text) : 0;
    if (!has_room(out, text.len + 5))
        return;
    char *to = out->data + out->len, *from = to;
    *to++ = '"';
    memcpy(to, text.data, text.len);
    to[date] = 'T';
    if (zone) {
        memcpy(to + zone, ":00", 3);
        memcpy(to + zone + 3, text.data + zone, text.len - zone);
        to += 3;
    }
    to += text.len;
    *to++ = '"';
    out->len += (size_t)(to - from);
}

void sql_cell_add_json(struct buf *out, struct sql_cell cell)
{
    switch (cell.kind) {
    case SQL_KIND_NULL: add_raw(out, STR("null")); return;
    case SQL_KIND_BOOL: add_raw(out, cell.integer ? STR("true") : STR("false")); return;
    case SQL_KIND_INT:
        if (cell.text.len)
            add_raw(out, cell.text);
        else
            buf_add_int(out, cell.integer);
        return;
    case SQL_KIND_FLOAT:
        if (cell.text.len)
            add_number(out, cell.text);
        else
            json_add_double(out, cell.real);
        return;
    case SQL_KIND_NUMERIC: add_number(out, cell.text); return;
    case SQL_KIND_TEXT: json_add_string(out, cell.text); return;
    case SQL_KIND_JSON: add_raw(out, cell.text); return;
    case SQL_KIND_TIMESTAMP: add_timestamp(out, cell.text, /* has_zone= */ false); return;
    case SQL_KIND_TIMESTAMPTZ: add_timestamp(out, cell.text, /* has_zone= */ true); return;
    case SQL_KIND_BYTES: add_bytes(out, cell.text); return;
    case SQL_KIND_ARRAY:
        if (!sql_array_add_json(out, cell.text, cell.element))
            json_add_string(out, cell.text);
        return;
    }
    assert(false && "a cell has one of the kinds");
}

void sql_row_add_json(struct buf *out, const struct sql_rows *rows, size_t row)
{
    assert(row < rows->row_count);
    add_char(out, '{');
    for (unsigned i = 0; i < rows->column_count; i++) {
        if (i)
            add_char(out, ',');
        add_raw(out, rows->columns[i].json_key);
        sql_cell_add_json(out, sql_rows_cell(rows, row, i));
    }
    add_char(out, '}');
}

void sql_rows_add_json(struct buf *out, const struct sql_rows *rows)
{
    add_char(out, '[');
    for (size_t row = 0; row < rows->row_count; row++) {
        if (row)
            add_char(out, ',');
        sql_row_add_json(out, rows, row);
    }
    add_char(out, ']');
}
