/* bind.c - values to libpq's arrays.
 *
 * DESIGN  Text format for all but bytes, and no types: the server infers them from where the parameter stands, so the number 5 fits an
 *         int4, an int8, a numeric and a text column alike, and a text fits a uuid. Numbers are written so that they read back equal.
 *         Text is copied because libpq wants a NUL behind it, which a struct str need not have.
 * Path:   postgres/query > [postgres/bind]
 */
#include "postgres/bind.h"

#include "base/json.h"
#include "base/mem.h"

#include <limits.h>
#include <math.h>

struct arrays {
    const char **values;
    int *lengths, *formats;
};

static struct arrays make_room(struct postgres_bind *bind, unsigned count)
{
    bind->block = NULL;
    if (count <= POSTGRES_BIND_INLINE)
        return (struct arrays){ bind->value_room, bind->length_room, bind->format_room };
    const char **values = bind->block = mem_alloc(MEM_POSTGRES, count * (sizeof *values + 2 * sizeof(int)));
    int *lengths = (int *)(void *)(values + count);
    return (struct arrays){ values, lengths, lengths + count };
}

static void add_text(struct buf *texts, const struct sql_value *value)
{
    switch (value->type) {
    case SQL_NULL: return;
    case SQL_BOOL: buf_add_str(texts, value->truth ? STR("true") : STR("false")); break;
    case SQL_INT: buf_add_int(texts, value->integer); break;
    case SQL_DOUBLE:
        if (isfinite(value->real))
            json_add_double(texts, value->real); /* the shortest text that reads back equal */
        else
            buf_add_str(texts, isnan(value->real) ? STR("NaN") : value->real > 0 ? STR("Infinity") : STR("-Infinity"));
        break;
    case SQL_TEXT:
    case SQL_BLOB:
    case SQL_JSON: buf_add_str(texts, value->text); break;
    }
    buf_add_char(texts, '\0');
}

static bool is_sendable(const struct sql_value *value, unsigned number, struct sql_error *error)
{
    if (value->type != SQL_TEXT && value->type != SQL_JSON && value->type != SQL_BLOB)
        return true;
    if (value->text.len >= INT_MAX) {
        sql_error_set(error, "54000", "parameter $%u is too long", number);
        return false;
    }
    if (value->type == SQL_BLOB || value->text.len == 0 || !memchr(value->text.data, '\0', value->text.len))
        return true;
    sql_error_set(error, "22021", "parameter $%u contains a zero byte, which PostgreSQL's text cannot hold", number);
    return false;
}

enum fail postgres_bind(struct postgres_bind *bind, struct buf *texts, const struct sql_value *params, unsigned count,
                        struct sql_error *error)
{
    struct arrays room = make_room(bind, count);
    if (!room.values)
        return FAIL_NOMEM;
    buf_reset(texts);
    bool has_bytes = false;
    for (unsigned i = 0; i < count; i++) {
        if (!is_sendable(&params[i], i + 1, error)) {
            postgres_bind_clear(bind);
            return FAIL_SQL;
        }
        size_t start = texts->len;
        add_text(texts, &params[i]);
        room.values[i] = (const char *)start; /* an offset as yet: the buffer may still move */
        room.lengths[i] = texts->len > start ? (int)(texts->len - start - 1) : 0;
        room.formats[i] = params[i].type == SQL_BLOB;
        has_bytes |= params[i].type == SQL_BLOB;
    }
    if (!buf_ok(texts)) {
        postgres_bind_clear(bind);
        return FAIL_NOMEM;
    }
    for (unsigned i = 0; i < count; i++)
        room.values[i] = params[i].type == SQL_NULL ? NULL : texts->data + (size_t)room.values[i];
    bind->values = room.values;
    bind->lengths = room.lengths;
    bind->formats = has_bytes ? room.formats : NULL;
    return FAIL_OK;
}

void postgres_bind_clear(struct postgres_bind *bind)
{
    mem_free(bind->block);
    bind->block = NULL;
}
