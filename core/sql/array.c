/* array.c - from {1,NULL,"a,b",{..}} to [1,null,"a,b",[..]] in one pass, without recursion.
 *
 * DESIGN  Braces become brackets one for one, so depth is a counter. Between two of them stands either a value or
 *         nothing yet: has_value says which, and so where a comma or a closing brace is right.
 *         A leading [2:3][0:1]= gives other lower bounds than 1; to_json forgets them, and so do we.
 * HOLDS   Nothing is appended unless the whole text is one array.
 * Path:   sql/json > [sql/array] > sql/json
 */
#include "sql/array.h"

#define DEPTH_MAX 32 /* PostgreSQL's own limit is 6 */

struct reader {
    const char *at, *end;
    struct buf *out;
    enum sql_kind element;
};

static bool is_delimiter(char c) { return c == ',' || c == '}' || c == '{' || c == '"'; }

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

static bool is_json_number(struct str text)
{
    const char *at = text.data, *end = at + text.len;
    if (at < end && *at == '-')
        at++;
    const char *digits = at;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    if (at == digits || (*digits == '0' && at - digits > 1))
        return false;
    if (at < end && *at == '.') {
        const char *fraction = ++at;
        while (at < end && *at >= '0' && *at <= '9')
            at++;
        if (at == fraction)
            return false;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '-' || *at == '+'))
            at++;
        const char *power = at;
        while (at < end && *at >= '0' && *at <= '9')
            at++;
        if (at == power)
            return false;
    }
    return at == end;
}

static void add_element(struct reader *reader, struct str text)
{
    struct sql_cell cell = { .kind = reader->element, .text = text };
    switch (reader->element) {
    case SQL_KIND_BOOL: cell.integer = text.len && text.data[0] == 't'; break;
    case SQL_KIND_INT:
    case SQL_KIND_FLOAT:
    case SQL_KIND_NUMERIC: cell.kind = is_json_number(text) ? SQL_KIND_NUMERIC : SQL_KIND_TEXT; break;
    case SQL_KIND_NULL:
    case SQL_KIND_ARRAY: cell.kind = SQL_KIND_TEXT; break;
    default: break;
    }
    sql_cell_add_json(reader->out, cell);
}

/* An element without quotes: ends at a delimiter; NULL is null. */
static bool read_bare(struct reader *reader)
{
    const char *from = reader->at;
    while (reader->at < reader->end && !is_delimiter(*reader->at)) {
        if (*reader->at == '\\')
            return false; /* PostgreSQL quotes what holds a backslash */
        reader->at++;
    }
    struct str text = str_make(from, (size_t)(reader->at - from));
    if (text.len == 0)
        return false;
    if (str_is_nocase(text, STR("null")))
        buf_add(reader->out, "null", 4);
    else
        add_element(reader, text);
    return true;
}

static void add_unescaped(struct reader *reader, struct str raw)
{
    char small[256];
    char *plain = raw.len <= sizeof small ? small : mem_alloc(MEM_SQL, raw.len);
    if (!plain) {
        reader->out->failed = true;
        return;
    }
    size_t len = 0;
    for (size_t i = 0; i < raw.len; i++) {
        if (raw.data[i] == '\\')
            i++; /* read_quoted saw that a character follows */
        plain[len++] = raw.data[i];
    }
    add_element(reader, str_make(plain, len));
    if (plain != small)
        mem_free(plain);
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
    if (has_escape)
        add_unescaped(reader, raw);
    else
        add_element(reader, raw);
    return true;
}

static bool read_array(struct reader *reader)
{
    unsigned depth = 0;
    bool has_value = false, has_comma = false; /* a value, or a comma, was the last thing at this depth */
    while (reader->at < reader->end) {
        char c = *reader->at;
        if (c == ',') {
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

bool sql_array_add_json(struct buf *out, struct str text, enum sql_kind element)
{
    size_t before = out->len;
    struct str body = without_bounds(text);
    struct reader reader = { .at = body.data, .end = body.data + body.len, .out = out, .element = element };
    if (read_array(&reader))
        return true;
    if (buf_ok(out))
        out->len = before;
    return false;
}
