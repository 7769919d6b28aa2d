/* kind.c - declared types of SQLite, which promise nothing, as kinds of cells.
 *
 * DESIGN  A value is written as it is stored, so that it equals what the sqlite3 command line shows; a type of ours only
 *         refines it where the value fits: BOOLEAN 0 and 1, valid JSON, timestamps with a zone. A value that does not
 *         fit its declared type stays what it is.
 *         The JSON check is a pushdown automaton over bytes: one bit of a stack for each level.
 * Path:   sqlite/statement, sqlite/rows > [sqlite/kind]
 */
#include "sqlite/kind.h"

#include <strings.h>

#define JSON_DEPTH_MAX 1000

static bool has_word(const char *declared, const char *word) { return strcasestr(declared, word) != NULL; }

/* The part before a parenthesis, as in TIMESTAMPTZ(3). */
static bool is_type(const char *declared, const char *name)
{
    size_t len = strlen(name);
    return strncasecmp(declared, name, len) == 0 &&
           (declared[len] == '\0' || declared[len] == '(' || declared[len] == ' ');
}

/* Our own types first, then https://www.sqlite.org/datatype3.html section 3.1. */
enum sql_kind sqlite_kind_of_type(const char *declared)
{
    if (!declared)
        return SQL_KIND_TEXT;
    if (is_type(declared, "BOOLEAN") || is_type(declared, "BOOL"))
        return SQL_KIND_BOOL;
    if (is_type(declared, "JSON") || is_type(declared, "JSONB"))
        return SQL_KIND_JSON;
    if (is_type(declared, "TIMESTAMPTZ") || strcasecmp(declared, "TIMESTAMP WITH TIME ZONE") == 0)
        return SQL_KIND_TIMESTAMPTZ;
    if (has_word(declared, "INT"))
        return SQL_KIND_INT;
    if (has_word(declared, "CHAR") || has_word(declared, "CLOB") || has_word(declared, "TEXT"))
        return SQL_KIND_TEXT;
    if (has_word(declared, "BLOB") || has_word(declared, "BYTEA"))
        return SQL_KIND_BYTES;
    if (has_word(declared, "REAL") || has_word(declared, "FLOA") || has_word(declared, "DOUB"))
        return SQL_KIND_FLOAT;
    if (has_word(declared, "NUMERIC") || has_word(declared, "DECIMAL"))
        return SQL_KIND_NUMERIC;
    return SQL_KIND_TEXT;
}

bool sqlite_kind_is_timestamp(struct str text)
{
    static const char shape[] = "dddd-dd-dd dd:dd";
    if (text.len < sizeof shape - 1)
        return false;
    for (size_t i = 0; i < sizeof shape - 1; i++) {
        bool is_digit = text.data[i] >= '0' && text.data[i] <= '9';
        if (shape[i] == 'd' ? !is_digit : text.data[i] != shape[i])
            return false;
    }
    for (size_t i = sizeof shape - 1; i < text.len; i++)
        if (!strchr("0123456789:.+-Z BC", text.data[i]) || text.data[i] == '\0')
            return false;
    return true;
}

/* --- JSON --- */

struct check {
    const unsigned char *at, *end;
    unsigned depth;
    unsigned char is_object[JSON_DEPTH_MAX / 8 + 1]; /* one bit a level: {} or [] */
};

static void skip_blank(struct check *check)
{
    while (check->at < check->end &&
           (*check->at == ' ' || *check->at == '\t' || *check->at == '\n' || *check->at == '\r'))
        check->at++;
}

static bool skip_word(struct check *check, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(check->end - check->at) < len || memcmp(check->at, word, len) != 0)
        return false;
    check->at += len;
    return true;
}

static bool is_hex(unsigned char c) { return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); }

/* Behind the backslash. */
static bool skip_escape(struct check *check)
{
    if (check->at >= check->end)
        return false;
    unsigned char c = *check->at++;
    if (c != 'u')
        return c != '\0' && strchr("\"\\/bfnrt", c) != NULL;
    for (int i = 0; i < 4; i++)
        if (check->at >= check->end || !is_hex(*check->at++))
            return false;
    return true;
}

static bool skip_string(struct check *check)
{
    if (check->at >= check->end || *check->at++ != '"')
        return false;
    while (check->at < check->end) {
        unsigned char c = *check->at++;
        if (c == '"')
            return true;
        if (c < 0x20 || (c == '\\' && !skip_escape(check)))
            return false;
    }
    return false;
}

static bool skip_digits(struct check *check)
{
    const unsigned char *from = check->at;
    while (check->at < check->end && *check->at >= '0' && *check->at <= '9')
        check->at++;
    return check->at > from;
}

static bool skip_number(struct check *check)
{
    if (*check->at == '-')
        check->at++;
    if (check->at < check->end && *check->at == '0')
        check->at++;
    else if (!skip_digits(check))
        return false;
    if (check->at < check->end && *check->at == '.') {
        check->at++;
        if (!skip_digits(check))
            return false;
    }
    if (check->at < check->end && (*check->at | 0x20) == 'e') {
        check->at++;
        if (check->at < check->end && (*check->at == '+' || *check->at == '-'))
            check->at++;
        if (!skip_digits(check))
            return false;
    }
    return true;
}

static bool in_object(const struct check *check)
{
    return check->is_object[check->depth / 8] >> (check->depth % 8) & 1;
}

static bool skip_key(struct check *check)
{
    skip_blank(check);
    if (!skip_string(check))
        return false;
    skip_blank(check);
    return check->at < check->end && *check->at++ == ':';
}

/* Enters [ or {; *is_empty when it was left at once. */
static bool enter(struct check *check, bool *is_empty)
{
    bool is_object = *check->at++ == '{';
    if (++check->depth > JSON_DEPTH_MAX)
        return false;
    unsigned char bit = (unsigned char)(1u << (check->depth % 8));
    unsigned char *byte = &check->is_object[check->depth / 8];
    *byte = (unsigned char)(is_object ? *byte | bit : *byte & ~bit);
    skip_blank(check);
    *is_empty = check->at < check->end && *check->at == (is_object ? '}' : ']');
    if (*is_empty) {
        check->at++;
        check->depth--;
        return true;
    }
    return !is_object || skip_key(check);
}

static bool skip_scalar(struct check *check)
{
    switch (*check->at) {
    case '"': return skip_string(check);
    case 't': return skip_word(check, "true");
    case 'f': return skip_word(check, "false");
    case 'n': return skip_word(check, "null");
    default: return skip_number(check);
    }
}

/* After a value: closes what ends here, or goes on to the next value. *is_done when the outermost has ended. */
static bool leave(struct check *check, bool *is_done)
{
    while (check->depth > 0) {
        skip_blank(check);
        if (check->at >= check->end)
            return false;
        unsigned char c = *check->at++;
        if (c == ',')
            return !in_object(check) || skip_key(check);
        if (c != (in_object(check) ? '}' : ']'))
            return false;
        check->depth--;
    }
    *is_done = true;
    return true;
}

bool sqlite_kind_is_json(struct str text)
{
    struct check check = { .at = (const unsigned char *)text.data, .end = (const unsigned char *)text.data + text.len };
    for (bool is_done = false; !is_done;) {
        skip_blank(&check);
        if (check.at >= check.end)
            return false;
        bool is_value = true;
        if (*check.at == '{' || *check.at == '[') {
            if (!enter(&check, &is_value))
                return false;
        } else if (!skip_scalar(&check)) {
            return false;
        }
        if (is_value && !leave(&check, &is_done))
            return false;
    }
    skip_blank(&check);
    return check.at == check.end;
}
