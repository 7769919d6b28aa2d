/* str.c - questions to borrowed bytes.
 *
 * DESIGN  Where most input is ASCII, eight bytes are looked at together: a byte is not ASCII when its top bit is set.
 */
#include "base/str.h"

#define TOP_BITS 0x8080808080808080u

static inline unsigned char lower(unsigned char c) { return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c; }

bool str_is_nocase(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower((unsigned char)a.data[i]) != lower((unsigned char)b.data[i]))
            return false;
    return true;
}

bool str_starts(struct str text, struct str prefix)
{
    return text.len >= prefix.len && (prefix.len == 0 || memcmp(text.data, prefix.data, prefix.len) == 0);
}

static inline bool is_blank(char c) { return c == ' ' || c == '\t'; }

struct str str_trim(struct str text)
{
    while (text.len && is_blank(text.data[0])) {
        text.data++;
        text.len--;
    }
    while (text.len && is_blank(text.data[text.len - 1]))
        text.len--;
    return text;
}

struct str str_split(struct str *text, char at)
{
    struct str before = *text;
    const char *found = text->len ? memchr(text->data, at, text->len) : NULL;
    if (!found) {
        *text = str_make(text->data ? text->data + text->len : NULL, 0);
        return before;
    }
    before.len = (size_t)(found - text->data);
    *text = str_make(found + 1, text->len - before.len - 1);
    return before;
}

bool str_uint64(struct str text, uint64_t *out)
{
    if (text.len == 0)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned char)text.data[i] - (unsigned)'0';
        if (digit > 9)
            return false;
        if (__builtin_mul_overflow(value, 10u, &value) || __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *out = value;
    return true;
}

bool str_int64(struct str text, int64_t *out)
{
    bool is_negative = text.len && text.data[0] == '-';
    if (is_negative) {
        text.data++;
        text.len--;
    }
    uint64_t size;
    if (!str_uint64(text, &size) || size > (uint64_t)INT64_MAX + is_negative)
        return false;
    *out = (int64_t)(is_negative ? 0 - size : size);
    return true;
}

static inline bool is_tail(unsigned char c) { return (c & 0xC0) == 0x80; }

/* The length of the well-formed sequence at p that does not start with ASCII (RFC 3629 section 4), or 0. */
static inline size_t sequence_len(const unsigned char *p, size_t left)
{
    if (p[0] < 0xC2 || left < 2 || !is_tail(p[1]))
        return 0;
    if (p[0] < 0xE0)
        return 2;
    if (left < 3 || !is_tail(p[2]))
        return 0;
    if (p[0] < 0xF0) {
        bool is_overlong = p[0] == 0xE0 && p[1] < 0xA0;
        bool is_surrogate = p[0] == 0xED && p[1] > 0x9F;
        return is_overlong || is_surrogate ? 0 : 3;
    }
    if (left < 4 || !is_tail(p[3]) || p[0] > 0xF4)
        return 0;
    bool is_overlong = p[0] == 0xF0 && p[1] < 0x90;
    bool is_beyond = p[0] == 0xF4 && p[1] > 0x8F;
    return is_overlong || is_beyond ? 0 : 4;
}

static inline size_t skip_ascii(const unsigned char *p, size_t at, size_t len)
{
    for (; len - at >= 16; at += 16) {
        uint64_t a, b;
        memcpy(&a, p + at, 8);
        memcpy(&b, p + at + 8, 8);
        if ((a | b) & TOP_BITS)
            break;
    }
    while (at < len && p[at] < 0x80)
        at++;
    return at;
}

size_t str_utf8_prefix(struct str text)
{
    const unsigned char *p = (const unsigned char *)text.data;
    size_t at = skip_ascii(p, 0, text.len);
    while (at < text.len) {
        if (p[at] < 0x80) {
            at = skip_ascii(p, at, text.len);
            continue;
        }
        size_t len = sequence_len(p + at, text.len - at);
        if (len == 0)
            return at;
        at += len;
    }
    return at;
}

bool str_utf8(struct str text) { return str_utf8_prefix(text) == text.len; }

static inline int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

ptrdiff_t str_percent_decode(struct str text, bool plus_is_space, char *out)
{
    char *at = out;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '%') {
            int high = i + 1 < text.len ? hex_value(text.data[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_value(text.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -1;
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        *at++ = c;
    }
    return at - out;
}

bool str_same_secret(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    volatile unsigned char differs = 0;
    for (size_t i = 0; i < a.len; i++)
        differs = (unsigned char)(differs | (a.data[i] ^ b.data[i]));
    return differs == 0;
}

size_t str_hex(const void *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    return 2 * len;
}
