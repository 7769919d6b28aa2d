/* form.c - rows and what they are made of as JSON, strictly as record_out, array_out and int2vectorout write them.
 *
 * DESIGN  A part stands in its whole in quotes and escapes of its own, so each level takes those of its parts off and hands on. What
 *         record_out would not write is refused, never guessed at: it says that the form is not, or no longer, the type's.
 *         Recursion goes as deep as the form does.
 * HOLDS   Nothing is appended unless all of the text is of the form.
 * Path:   postgres/rows > [sql/form] > sql/array, sql/json
 */
#include "sql/form.h"

#include "base/json.h"
#include "sql/array.h"

enum { PLAIN_HERE = 256, JSON_DEPTH_MAX = 128 };

static bool skip_digits(const char **at, const char *end)
{
    const char *from = *at;
    while (*at < end && **at >= '0' && **at <= '9')
        ++*at;
    return *at > from;
}

bool sql_is_json_number(struct str text)
{
    const char *at = text.data, *end = at + text.len;
    if (at < end && *at == '-')
        at++;
    const char *digits = at;
    if (!skip_digits(&at, end) || (*digits == '0' && at - digits > 1))
        return false;
    if (at < end && *at == '.') {
        at++;
        if (!skip_digits(&at, end))
            return false;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '-' || *at == '+'))
            at++;
        if (!skip_digits(&at, end))
            return false;
    }
    return at == end;
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static bool is_json(struct str text)
{
    static const struct json_sink none;
    static const struct json_limits limits = { .depth_max = JSON_DEPTH_MAX };
    struct json_where where;
    return json_read(text, &limits, &none, NULL, &where) == FAIL_OK;
}

static bool is_number(struct str text)
{
    return sql_is_json_number(text) || str_is(text, STR("NaN")) || str_is(text, STR("Infinity")) ||
           str_is(text, STR("-Infinity"));
}

/* \x and digits; with bytea_output = escape it is a text like others. */
static bool is_hex(struct str text)
{
    bool is_good = text.len >= 2 && text.data[0] == '\\' && text.data[1] == 'x';
    for (size_t i = 2; is_good && i < text.len; i++)
        is_good = (text.data[i] >= '0' && text.data[i] <= '9') || (text.data[i] >= 'a' && text.data[i] <= 'f');
    return is_good;
}

/* As far as it matters: such texts are written without a look at what would need an escape. */
static bool is_instant(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool is_letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!is_letter && (c == '\0' || !strchr("0123456789 :.+-", c)))
            return false;
    }
    return text.len > 0;
}

static bool add_value(struct buf *out, struct str text, enum sql_kind kind, bool trusts_json)
{
    struct sql_cell cell = { .kind = kind, .text = text };
    switch (kind) {
    case SQL_KIND_BOOL:
        cell.integer = str_is(text, STR("t"));
        if (!cell.integer && !str_is(text, STR("f")))
            return false;
        break;
    case SQL_KIND_INT:
        if (!sql_is_json_number(text))
            return false;
        break;
    case SQL_KIND_FLOAT:
    case SQL_KIND_NUMERIC:
        if (!is_number(text))
            return false;
        break;
    case SQL_KIND_JSON:
        if (!trusts_json && !is_json(text))
            return false;
        break;
    case SQL_KIND_TIMESTAMP:
    case SQL_KIND_TIMESTAMPTZ:
        if (!is_instant(text))
            return false;
        break;
    case SQL_KIND_BYTES: cell.kind = is_hex(text) ? SQL_KIND_BYTES : SQL_KIND_TEXT; break;
    case SQL_KIND_NULL:
    case SQL_KIND_ARRAY: return false; /* no form has these for a kind */
    default: break;
    }
    sql_cell_add_json(out, cell);
    return true;
}

/* --- vectors ------------------------------------------------------------------------------------------------------ */

static bool add_vector(struct buf *out, struct str text, const struct sql_form *form, bool trusts_json)
{
    const char *at = text.data, *end = at + text.len;
    buf_add_char(out, '[');
    while (at < end) {
        const char *space = memchr(at, ' ', (size_t)(end - at));
        struct str part = str_make(at, (size_t)((space ? space : end) - at));
        if (!sql_is_json_number(part) || !sql_form_add_json(out, part, form->element, trusts_json))
            return false;
        at += part.len;
        if (space) {
            at++;
            buf_add_char(out, ',');
            if (at == end)
                return false;
        }
    }
    buf_add_char(out, ']');
    return true;
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

struct reader {
    const char *at, *end; /* of what is between the parentheses */
    struct buf *out;
    bool trusts_json;
};

/* A field without quotes: what record_out would have put into quotes is not in it. */
static bool read_bare(struct reader *reader, const struct sql_form *form)
{
    const char *from = reader->at;
    for (; reader->at < reader->end && *reader->at != ','; reader->at++)
        if (strchr("\"\\()", *reader->at))
            return false;
    return sql_form_add_json(reader->out, str_make(from, (size_t)(reader->at - from)), form, reader->trusts_json);
}

/* Past the closing quote; how much shorter it is without its escapes. */
static bool skip_quoted(struct reader *reader, size_t *escapes)
{
    for (*escapes = 0; reader->at < reader->end; reader->at++) {
        char c = *reader->at;
        bool has_next = reader->at + 1 < reader->end;
        if (c == '"' && !(has_next && reader->at[1] == '"')) {
            reader->at++;
            return true;
        }
        if (c == '\\' && !has_next)
            return false;
        if (c == '"' || c == '\\') {
            reader->at++;
            ++*escapes;
        }
    }
    return false;
}

/* raw, in which "" and \x stand for " and x. skip_quoted saw that each escape has its character. */
static bool add_unescaped(struct reader *reader, struct str raw, size_t len, const struct sql_form *form)
{
    char here[PLAIN_HERE];
    char *plain = len <= sizeof here ? here : mem_alloc(MEM_SQL, len);
    if (!plain) {
        reader->out->failed = true;
        return false;
    }
    size_t at = 0;
    for (size_t i = 0; i < raw.len; i++) {
        i += raw.data[i] == '"' || raw.data[i] == '\\';
        plain[at++] = raw.data[i];
    }
    bool is_good = sql_form_add_json(reader->out, str_make(plain, len), form, reader->trusts_json);
    if (plain != here)
        mem_free(plain);
    return is_good;
}

static bool read_quoted(struct reader *reader, const struct sql_form *form)
{
    const char *from = ++reader->at;
    size_t escapes = 0;
    if (!skip_quoted(reader, &escapes) || (reader->at < reader->end && *reader->at != ','))
        return false;
    struct str raw = str_make(from, (size_t)(reader->at - 1 - from));
    if (escapes)
        return add_unescaped(reader, raw, raw.len - escapes, form);
    return sql_form_add_json(reader->out, raw, form, reader->trusts_json);
}

static bool read_field(struct reader *reader, const struct sql_form *form)
{
    if (reader->at < reader->end && *reader->at == '"')
        return read_quoted(reader, form);
    if (reader->at < reader->end && *reader->at != ',')
        return read_bare(reader, form);
    buf_add_str(reader->out, STR("null")); /* nothing at all; an empty text has quotes */
    return true;
}

static bool add_row(struct buf *out, struct str text, const struct sql_form *form, bool trusts_json)
{
    if (text.len < 2 || text.data[0] != '(' || text.data[text.len - 1] != ')')
        return false;
    struct reader reader = { text.data + 1, text.data + text.len - 1, out, trusts_json };
    buf_add_char(out, '{');
    for (unsigned i = 0; i < form->field_count; i++) {
        if (i && (reader.at == reader.end || *reader.at++ != ','))
            return false;
        if (i)
            buf_add_char(out, ',');
        buf_add_str(out, form->fields[i].json_key);
        if (!read_field(&reader, form->fields[i].form))
            return false;
    }
    buf_add_char(out, '}');
    return reader.at == reader.end;
}

/* --- any ---------------------------------------------------------------------------------------------------------- */

static bool add(struct buf *out, struct str text, const struct sql_form *form, bool trusts_json)
{
    switch (form->shape) {
    case SQL_FORM_VALUE: return add_value(out, text, form->kind, trusts_json);
    case SQL_FORM_ARRAY: return sql_array_add_json_of(out, text, form, trusts_json);
    case SQL_FORM_VECTOR: return add_vector(out, text, form, trusts_json);
    case SQL_FORM_ROW: return add_row(out, text, form, trusts_json);
    }
    return false;
}

bool sql_form_add_json(struct buf *out, struct str text, const struct sql_form *form, bool trusts_json)
{
    size_t before = out->len;
    if (add(out, text, form, trusts_json))
        return true;
    if (buf_ok(out))
        out->len = before;
    return false;
}
