/* octet.c - which bytes may stand where.
 *
 * DESIGN  One table for all of HTTP's alphabets, so that parser, chunk decoder and replies cannot disagree about one.
 *         Field values are the long runs of a head; they alone are looked at 16 bytes at a time (SSE2, which every
 *         x86-64 has, so there is nothing to choose at run time).
 * Path:   http/parse, http/chunk, http/reply > [http/octet]
 */
#include "http/octet.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define T HTTP_OCTET_TOKEN
#define V HTTP_OCTET_VALUE
#define P HTTP_OCTET_PATH
#define Q HTTP_OCTET_QUERY
#define H HTTP_OCTET_HOST
#define X HTTP_OCTET_HEX

const uint8_t http_octets[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = T | V | P | Q | H,
    ['"'] = V,
    ['#'] = T | V,
    ['$'] = T | V | P | Q | H,
    ['%'] = T | V | P | Q | H,
    ['&'] = T | V | P | Q | H,
    ['\''] = T | V | P | Q | H,
    ['('] = V | P | Q | H,
    [')'] = V | P | Q | H,
    ['*'] = T | V | P | Q | H,
    ['+'] = T | V | P | Q | H,
    [','] = V | P | Q | H,
    ['-'] = T | V | P | Q | H,
    ['.'] = T | V | P | Q | H,
    ['/'] = V | P | Q,
    ['0' ... '9'] = T | V | P | Q | H | X,
    [':'] = V | P | Q,
    [';'] = V | P | Q | H,
    ['<'] = V,
    ['='] = V | P | Q | H,
    ['>'] = V,
    ['?'] = V | Q,
    ['@'] = V | P | Q,
    ['A' ... 'F'] = T | V | P | Q | H | X,
    ['G' ... 'Z'] = T | V | P | Q | H,
    ['['] = V | Q,
    ['\\'] = V | Q,
    [']'] = V | Q,
    ['^'] = T | V | Q,
    ['_'] = T | V | P | Q | H,
    ['`'] = T | V | Q,
    ['a' ... 'f'] = T | V | P | Q | H | X,
    ['g' ... 'z'] = T | V | P | Q | H,
    ['{'] = V | Q,
    ['|'] = T | V | Q,
    ['}'] = V | Q,
    ['~'] = T | V | P | Q | H,
    [0x80 ... 0xff] = V,
};

size_t http_octet_span(const char *data, size_t len, enum http_octet kind)
{
    size_t at = 0;
    while (at < len && http_octet_is(data[at], kind))
        at++;
    return at;
}

size_t http_octet_span_value(const char *data, size_t len)
{
    size_t at = 0;
#ifdef __SSE2__
    const __m128i last_control = _mm_set1_epi8(0x1f), tab = _mm_set1_epi8('\t'), del = _mm_set1_epi8(0x7f);
    for (; at + 16 <= len; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(data + at));
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, last_control), bytes);
        __m128i bad = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(bytes, tab), control), _mm_cmpeq_epi8(bytes, del));
        int mask = _mm_movemask_epi8(bad);
        if (mask)
            return at + (size_t)__builtin_ctz((unsigned)mask);
    }
#endif
    return at + http_octet_span(data + at, len - at, HTTP_OCTET_VALUE);
}
