/* query.c - key=value pairs of a query string or an urlencoded form (WHATWG URL, application/x-www-form-urlencoded).
 *
 * DESIGN  A piece without '%' and '+' is handed out as it lies; any other is decoded into the arena.
 * Path:   script/handler > [http/query] > base/str
 */
#include "http/query.h"

static int decode(struct str *text, struct arena *arena)
{
    if (text->len == 0)
        return 1;
    if (memchr(text->data, '%', text->len) || memchr(text->data, '+', text->len)) {
        char *out = arena_alloc(arena, text->len);
        if (!out)
            return -2;
        ptrdiff_t len = str_percent_decode(*text, /* plus_is_space= */ true, out);
        if (len < 0)
            return -1;
        *text = str_make(out, (size_t)len);
    }
    return str_utf8(*text) ? 1 : -1;
}

int http_query_next(struct str *query, struct arena *arena, struct str *key, struct str *value)
{
    struct str pair = STR_NONE;
    while (query->len && pair.len == 0)
        pair = str_split(query, '&');
    if (pair.len == 0)
        return 0;
    *value = pair;
    *key = str_split(value, '=');
    int decoded = decode(key, arena);
    return decoded == 1 ? decode(value, arena) : decoded;
}
