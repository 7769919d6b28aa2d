/* array.c - from {1,NULL,"a,b",{..}} to [1,null,"a,b",[..]] in one pass, without recursion.
 *
 * DESIGN  Braces become brackets one for one, so depth is a counter. Between two of them stands either a value or
 *         nothing yet: has_value says which, and so where a comma or a closing brace is right.
 *         A leading [2:3][0:1]= gives other lower bounds than 1; to_json forgets them, and so do we.
 * HOLDS   Nothing is appended unless the whole text is one array.
 * Path:   sql/json > [sql/array] > sql/json
 */
#include "sql/array.h"

#include "sql/form.h"

#define DEPTH_MAX 32 /* PostgreSQL's own limit is 6 */

static const struct sql_form text_form = { .shape = SQL_FORM_VALUE, .kind = SQL_KIND_TEXT };

struct reader {
    const char *at, *end;
    struct buf *out;
    enum sql_kind element;
    char delimiter;
    const struct sql_form *form; /* of the elements, where element is SQL_KIND_ARRAY */
    bool trusts_json;
};

static bool is_end(const struct reader *reader, char c)
{
    return c == reader->delimiter || c == '}' || c == '{' || c == '"';
}

/* {..} after [1:2]=, or the text itself. */
static struct str without_bounds(struct str text)
{
    if (text.len == 0 || text.data[0] != '[')
        return text;
    const char *equals = memchr(text.data, '=', text.len);
    if (!equals)
        return text;
    for (const char *c = text.data; c < equals; c++)
        if (!strchr("[]:-+0123456789", *c))
            return text;
    return str_make(equals + 1, text.len - (size_t)(equals + 1 - text.data));
}

static bool add_element(struct reader *reader, struct str text)
{
    struct sql_cell cell = { .kind = reader->element, .text = text };
    switch (reader->element) {
    case SQL_KIND_BOOL: cell.integer = text.len && text.data[0] == 't'; break;
    case SQL_KIND_INT:
    case SQL_KIND_FLOAT:
    case SQL_KIND_NUMERIC: cell.kind = sql_is_json_number(text) ? SQL_KIND_NUMERIC : SQL_KIND_TEXT; break;
    case SQL_KIND_ARRAY: return sql_form_add_json(reader->out, text, reader->form, reader->trusts_json);
    case SQL_KIND_NULL: cell.kind = SQL_KIND_TEXT; break;
    default: break;
    }
    sql_cell_add_json(reader->out, cell);
    return true;
}

/* An element without quotes: ends at a delimiter; NULL is null. */
static bool read_bare(struct reader *reader)
{
    const char *from = reader->at;
    while (reader->at < reader->end && !is_end(reader, *reader->at)) {
        if (*reader->at == '\\')
            return false; /* PostgreSQL quotes what holds a backslash */
        reader->at++;
    }
    struct str text = str_make(from, (size_t)(reader->at - from));
    if (text.len == 0)
        return false;
    if (!str_is_nocase(text, STR("null")))
        return add_element(reader, text);
    buf_add(reader->out, "null", 4);
    return true;
}

static bool add_unescaped(struct reader *reader, struct str raw)
{
    char small[256];
    char *plain = raw.len <= sizeof small ? small : mem_alloc(MEM_SQL, raw.len);
    if (!plain) {
        reader->out->failed = true;
        return false;
    }
    size_t len = 0;
    for (size_t i = 0; i < raw.len; i++) {
        if (raw.data[i] == '\\')
            i++; /* read_quoted saw that a character follows */
        plain[len++] = raw.data[i];
    }
    bool is_good = add_element(reader, str_make(plain, len));
    if (plain != small)
        mem_free(plain);
    return is_good;
}

/* "..", in which a backslash makes the next character plain. */
static bool read_quoted(struct reader *reader)
{
    const char *from = ++reader->at;
    bool has_escape = false;
    while (reader->at < reader->end && *reader->at != '"') {
        if (*reader->at == '\\') {
            has_escape = true;
            reader->at++;
        }
        reader->at++;
    }
    if (reader->at >= reader->end)
        return false;
    struct str raw = str_make(from, (size_t)(reader->at - from));
    reader->at++;
    return has_escape ? add_unescaped(reader, raw) : add_element(reader, raw);
}

static bool read_array(struct reader *reader)
{
    unsigned depth = 0;
    bool has_value = false, has_comma = false; /* a value, or a comma, was the last thing at this depth */
    while (reader->at < reader->end) {
        char c = *reader->at;
        if (c == reader->delimiter) {
            if (!has_value || depth == 0)
                return false;
            has_value = false;
            has_comma = true;
            buf_add_char(reader->out, ',');
            reader->at++;
        } else if (c == '}') {
            if (depth == 0 || has_comma)
                return false;
            depth--;
            has_value = true;
            buf_add_char(reader->out, ']');
            reader->at++;
            if (depth == 0)
                return reader->at == reader->end;
        } else if (has_value) {
            return false;
        } else if (c == '{') {
            if (++depth > DEPTH_MAX)
                return false;
            has_comma = false;
            buf_add_char(reader->out, '[');
            reader->at++;
        } else {
            if (depth == 0 || !(c == '"' ? read_quoted(reader) : read_bare(reader)))
                return false;
            has_value = true;
            has_comma = false;
        }
    }
    return false;
}

static bool add_array(struct reader *reader, struct str text)
{
    struct buf *out = reader->out;
    size_t before = out->len;
    struct str body = without_bounds(text);
    reader->at = body.data;
    reader->end = body.data + body.len;
    if (read_array(reader))
        return true;
    if (buf_ok(out))
        out->len = before;
    return false;
}

bool sql_array_add_json(struct buf *out, struct str text, enum sql_kind element)
{
    struct reader reader = { .out = out, .element = element, .delimiter = ',', .form = &text_form };
    return add_array(&reader, text);
}

bool sql_array_add_json_of(struct buf *out, struct str text, const struct sql_form *array, bool trusts_json)
{
    struct reader reader = { .out = out,
                             .element = SQL_KIND_ARRAY,
                             .delimiter = array->delimiter,
                             .form = array->element,
                             .trusts_json = trusts_json };
    return add_array(&reader, text);
}
