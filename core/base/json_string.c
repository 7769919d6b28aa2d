/* json_string.c - scans and decodes the strings of a JSON text.
 *
 * DESIGN  Eight bytes at a time are asked whether one of them is a quote, a backslash, a control character or not ASCII
 *         (the word trick of json_write.c). Only strings with bytes beyond ASCII are checked for UTF-8, as a whole.
 */
#include "base/json_string.h"

#define ONES 0x0101010101010101u
#define TOPS 0x8080808080808080u

/* Top bits of the bytes that are control characters, " or \ (the lowest is right) or not ASCII. */
static inline uint64_t special_bytes(uint64_t x)
{
    uint64_t quote = x ^ (ONES * '"'), slash = x ^ (ONES * '\\');
    return ((((x - ONES * 0x20) | (quote - ONES) | (slash - ONES)) & ~x) | x) & TOPS;
}

static inline bool is_special(unsigned char c) { return c < 0x20 || c == '"' || c == '\\' || c >= 0x80; }

static inline const char *skip_common(const char *at, const char *end)
{
    for (; end - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        uint64_t hits = special_bytes(word);
        if (hits)
            return at + __builtin_ctzll(hits) / 8;
    }
    while (at < end && !is_special((unsigned char)*at))
        at++;
    return at;
}

const char *json_string_scan(const char **at, const char *end, struct str *raw, bool *has_escape)
{
    const char *from = *at, *p = from;
    bool has_wide = false;
    *has_escape = false;
    for (;;) {
        *at = p = skip_common(p, end);
        if (p == end)
            return "unexpected end";
        unsigned char c = (unsigned char)*p;
        if (c == '"')
            break;
        if (c < 0x20)
            return "control character in a string";
        if (c >= 0x80) {
            has_wide = true;
            while (p < end && (unsigned char)*p >= 0x80)
                p++;
            continue;
        }
        *has_escape = true;
        *at = ++p;
        if (p == end)
            return "unexpected end";
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x80)
            return "unknown escape";
        p++;
    }
    *raw = str_make(from, (size_t)(p - from));
    *at = p + 1;
    if (!has_wide)
        return NULL;
    size_t good = str_utf8_prefix(*raw);
    if (good == raw->len)
        return NULL;
    *at = from + good;
    return "invalid UTF-8";
}

/* Four hex digits at `at`, or -1. */
static int32_t read_hex4(const char *at, const char *end)
{
    if (end - at < 4)
        return -1;
    int32_t value = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)at[i];
        unsigned digit = c - (unsigned)'0';
        if (digit > 9) {
            digit = (c | 0x20u) - (unsigned)'a';
            if (digit > 5)
                return -1;
            digit += 10;
        }
        value = value * 16 + (int32_t)digit;
    }
    return value;
}

static char *put_utf8(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xC0 | code >> 6);
        *to++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *to++ = (char)(0xE0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    } else {
        *to++ = (char)(0xF0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 63));
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    }
    return to;
}

/* *at stands after "\\u". */
static const char *decode_unicode(const char **at, const char *end, char **to)
{
    int32_t code = read_hex4(*at, end);
    if (code < 0)
        return "\\u wants four hex digits";
    const char *after = *at + 4;
    if (code >= 0xD800 && code <= 0xDBFF) {
        int32_t low = end - after >= 6 && memcmp(after, "\\u", 2) == 0 ? read_hex4(after + 2, end) : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return "lone surrogate";
        after += 6;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code <= 0xDFFF) {
        return "lone surrogate";
    }
    *at = after;
    *to = put_utf8(*to, (uint32_t)code);
    return NULL;
}

static const char escapes[128] = {
    ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t'
};

const char *json_string_decode(struct str raw, char *to, size_t *len, const char **at)
{
    const char *end = raw.data + raw.len, *start = to;
    for (*at = raw.data; *at < end;) {
        const char *slash = memchr(*at, '\\', (size_t)(end - *at));
        size_t run = (size_t)((slash ? slash : end) - *at);
        memcpy(to, *at, run);
        to += run;
        if (!slash)
            break;
        unsigned char c = (unsigned char)slash[1];
        *at = slash + 1;
        if (c == 'u') {
            ++*at;
            const char *why = decode_unicode(at, end, &to);
            if (why)
                return why;
        } else if (escapes[c]) {
            *to++ = escapes[c];
            ++*at;
        } else {
            return "unknown escape";
        }
    }
    *len = (size_t)(to - start);
    return NULL;
}
