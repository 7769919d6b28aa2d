/* json_write.c - strings as JSON, as PostgreSQL's to_json writes them.
 *
 * DESIGN  Eight bytes at a time are copied and asked together whether one of them needs an escape (a word trick: a
 *         zero byte in x ^ pattern shows as a borrow; Warren, Hacker's Delight, 6-1).
 */
#include "base/json.h"

#define ONES 0x0101010101010101u
#define TOPS 0x8080808080808080u

/* Top bit of each byte that is a control character, " or \; the lowest one set is right, those above may be false. */
static inline uint64_t needs_escape(uint64_t x)
{
    uint64_t quote = x ^ (ONES * '"'), slash = x ^ (ONES * '\\');
    return ((x - ONES * 0x20) | (quote - ONES) | (slash - ONES)) & ~x & TOPS;
}

static inline bool byte_needs_escape(unsigned char c) { return c < 0x20 || c == '"' || c == '\\'; }

static const char letters[0x20] = { ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't' };

static inline size_t escape_len(unsigned char c) { return c >= 0x20 || letters[c] ? 2 : 6; }

static char *put_escape(char *at, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    *at++ = '\\';
    if (c >= 0x20) {
        *at++ = (char)c;
    } else if (letters[c]) {
        *at++ = letters[c];
    } else {
        memcpy(at, "u00", 3);
        at[3] = hex[c >> 4];
        at[4] = hex[c & 15];
        at += 5;
    }
    return at;
}

void json_add_string(struct buf *out, struct str text)
{
    const char *from = text.data, *end = from + text.len;
    if (!buf_room(out, text.len + 2))
        return;
    char *at = out->data + out->len;
    *at++ = '"';
    for (;;) {
        /* Here at has room for all that is left, unescaped, and the quote. */
        while (end - from >= 8) {
            uint64_t word;
            memcpy(&word, from, 8);
            memcpy(at, from, 8);
            uint64_t hits = needs_escape(word);
            if (hits) {
                unsigned clean = (unsigned)__builtin_ctzll(hits) / 8;
                from += clean;
                at += clean;
                break;
            }
            from += 8;
            at += 8;
        }
        while (from < end && !byte_needs_escape((unsigned char)*from))
            *at++ = *from++;
        if (from == end)
            break;
        out->len = (size_t)(at - out->data);
        unsigned char odd = (unsigned char)*from++;
        if (!buf_room(out, escape_len(odd) + (size_t)(end - from) + 1))
            return;
        at = put_escape(out->data + out->len, odd);
    }
    *at++ = '"';
    out->len = (size_t)(at - out->data);
}
