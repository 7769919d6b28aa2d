/* json_write.c - strings and numbers as JSON, as PostgreSQL's to_json writes them.
 *
 * DESIGN  Strings: eight bytes at a time are copied and asked together whether one of them needs an escape (a word
 *         trick: a zero byte in x ^ pattern shows as a borrow; Warren, Hacker's Delight, 6-1).
 *         Doubles: the shortest digits that read back equal. Most values that people store have few decimals, and for
 *         these n / 10^k with n < 10^15 is exact enough to be compared: such digits are the only ones of their length.
 *         The rest asks printf for 15, 16, then 17 digits. Layout as PostgreSQL's float8out: plain from 1e-4 to below
 *         1e15, else d.ddde+XX.
 */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ONES 0x0101010101010101u
#define TOPS 0x8080808080808080u

/* Top bit of each byte that is a control character, " or \; the lowest one set is right, those above may be false. */
static inline uint64_t needs_escape(uint64_t x)
{
    uint64_t quote = x ^ (ONES * '"'), slash = x ^ (ONES * '\\');
    return ((x - ONES * 0x20) | (quote - ONES) | (slash - ONES)) & ~x & TOPS;
}

static inline bool byte_needs_escape(unsigned char c) { return c < 0x20 || c == '"' || c == '\\'; }

static char *put_escape(char *at, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[0x20] = { ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't' };
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
        if (!buf_room(out, (size_t)(end - from) + 7))
            return;
        at = put_escape(out->data + out->len, (unsigned char)*from++);
    }
    *at++ = '"';
    out->len = (size_t)(at - out->data);
}

/* value = 0.d1d2d3... times 10^point, no zero at either end of the digits. */
struct decimal {
    char digits[24];
    int count, point;
};

static void drop_zeros(struct decimal *d)
{
    while (d->count > 1 && d->digits[d->count - 1] == '0')
        d->count--;
}

/* For |value| = n / 10^k, n < 10^15: two such fractions never read as the same double, so these digits are it. */
static bool decimal_few(double value, struct decimal *d)
{
    static const double powers[] = { 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9 };
    if (value >= 1e15 || value < 1e-4)
        return false;
    for (int k = 0; k < 10; k++) {
        double scaled = value * powers[k];
        if (scaled >= 1e15)
            return false;
        double n = (double)(int64_t)(scaled + 0.5);
        if (n / powers[k] != value)
            continue;
        char text[24];
        int at = sizeof text;
        for (int64_t rest = (int64_t)n; rest; rest /= 10)
            text[--at] = (char)('0' + rest % 10);
        d->count = (int)sizeof text - at;
        d->point = d->count - k;
        memcpy(d->digits, text + at, (size_t)d->count);
        drop_zeros(d);
        return true;
    }
    return false;
}

/* Reads the digits and the exponent of what %e wrote. The decimal point may be any bytes: it is the locale's. */
static void decimal_parse(const char *text, struct decimal *d)
{
    d->count = 0;
    for (; *text != 'e'; text++)
        if (*text >= '0' && *text <= '9')
            d->digits[d->count++] = *text;
    d->point = atoi(text + 1) + 1;
    drop_zeros(d);
}

static void decimal_printf(double value, struct decimal *d)
{
    char text[48];
    int first = value < 2.2250738585072014e-308 ? 1 : 15; /* below, doubles have fewer than 15 digits */
    for (int digits = first; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, value);
        if (digits == 17 || strtod(text, NULL) == value)
            break;
    }
    decimal_parse(text, d);
}

static char *put_zeros(char *at, int count)
{
    memset(at, '0', (size_t)count);
    return at + count;
}

static char *put_some(char *at, const char *digits, int count)
{
    memcpy(at, digits, (size_t)count);
    return at + count;
}

static char *put_plain(char *at, const struct decimal *d)
{
    if (d->point <= 0) {
        at = put_some(at, "0.", 2);
        at = put_zeros(at, -d->point);
        return put_some(at, d->digits, d->count);
    }
    if (d->point >= d->count) {
        at = put_some(at, d->digits, d->count);
        return put_zeros(at, d->point - d->count);
    }
    at = put_some(at, d->digits, d->point);
    *at++ = '.';
    return put_some(at, d->digits + d->point, d->count - d->point);
}

static char *put_scientific(char *at, const struct decimal *d)
{
    int exponent = d->point - 1;
    *at++ = d->digits[0];
    if (d->count > 1) {
        *at++ = '.';
        at = put_some(at, d->digits + 1, d->count - 1);
    }
    return at + snprintf(at, 8, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
}

void json_add_double(struct buf *out, double value)
{
    if (isnan(value)) {
        buf_add_str(out, STR("\"NaN\""));
        return;
    }
    if (isinf(value)) {
        buf_add_str(out, value < 0 ? STR("\"-Infinity\"") : STR("\"Infinity\""));
        return;
    }
    char text[48], *at = text;
    if (signbit(value))
        *at++ = '-';
    value = fabs(value);
    struct decimal d = { .digits = "0", .count = 1, .point = 1 };
    if (value != 0 && !decimal_few(value, &d))
        decimal_printf(value, &d);
    at = d.point >= -3 && d.point <= 15 ? put_plain(at, &d) : put_scientific(at, &d);
    buf_add(out, text, (size_t)(at - text));
}
