/* chunk.c - takes the chunked coding off a body.
 *
 * DESIGN  A byte-wise machine for what frames the data; the data itself passes in slices.
 *         SIZE -> [EXT ->] SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE, until a size of 0; then
 *         LINE -> [NAME -> VALUE -> VALUE_LF -> LINE ...] -> END_LF -> OVER. From any state: BROKEN, for good.
 *         Extensions and trailers are checked and thrown away.
 * HOLDS   A size has at most 16 digits, its line at most 256 bytes, trailers 8 KiB together. Framing is at most 64 KiB
 *         more than eight times the data, so that a body of one-byte chunks costs the sender as well.
 * Path:   http/body > [http/chunk] > http/octet
 */
#include "http/chunk.h"

#include "http/octet.h"

#define SIZE_DIGITS_MAX 16
#define LINE_BYTES_MAX 256
#define TRAILER_BYTES_MAX 8192
#define OVERHEAD_FREE 65536
#define OVERHEAD_RATIO 8

enum { SIZE, EXT_SPACE, EXT, SIZE_LF, DATA, DATA_CR, DATA_LF, LINE, NAME, VALUE, VALUE_LF, END_LF, OVER, BROKEN };

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int after_size(struct http_chunk *chunk, char c)
{
    int digit = hex(c);
    if (digit >= 0) {
        chunk->left = chunk->left << 4 | (unsigned)digit;
        return chunk->line_bytes <= SIZE_DIGITS_MAX ? SIZE : BROKEN;
    }
    if (chunk->line_bytes == 1)
        return BROKEN; /* no digit at all */
    switch (c) {
    case ';': return EXT;
    case '\r': return SIZE_LF;
    case ' ':
    case '\t': return EXT_SPACE; /* only before a ';' (RFC 9112 7.1.1) */
    default: return BROKEN;
    }
}

static int after_size_line(struct http_chunk *chunk, char c)
{
    chunk->line_bytes = 0;
    if (c != '\n')
        return BROKEN;
    return chunk->left ? DATA : LINE;
}

/* The state after one byte of framing. */
static int step(struct http_chunk *chunk, char c)
{
    switch (chunk->state) {
    case SIZE: return after_size(chunk, c);
    case EXT_SPACE: return c == ';' ? EXT : c == ' ' || c == '\t' ? EXT_SPACE : BROKEN;
    case EXT: return c == '\r' ? SIZE_LF : http_octet_is(c, HTTP_OCTET_VALUE) ? EXT : BROKEN;
    case SIZE_LF: return after_size_line(chunk, c);
    case DATA_CR: return c == '\r' ? DATA_LF : BROKEN;
    case DATA_LF: chunk->line_bytes = 0; return c == '\n' ? SIZE : BROKEN;
    case LINE: return c == '\r' ? END_LF : http_octet_is(c, HTTP_OCTET_TOKEN) ? NAME : BROKEN;
    case NAME: return c == ':' ? VALUE : http_octet_is(c, HTTP_OCTET_TOKEN) ? NAME : BROKEN;
    case VALUE: return c == '\r' ? VALUE_LF : http_octet_is(c, HTTP_OCTET_VALUE) ? VALUE : BROKEN;
    case VALUE_LF: return c == '\n' ? LINE : BROKEN;
    case END_LF: return c == '\n' ? OVER : BROKEN;
    default: return BROKEN;
    }
}

static bool is_within_bounds(struct http_chunk *chunk)
{
    chunk->overhead++;
    if (chunk->state >= LINE && chunk->state <= END_LF)
        return ++chunk->trailer_bytes <= TRAILER_BYTES_MAX;
    return ++chunk->line_bytes <= LINE_BYTES_MAX &&
           chunk->overhead <= OVERHEAD_FREE + OVERHEAD_RATIO * chunk->data_bytes;
}

static enum http_chunk_result take_data(struct http_chunk *chunk, struct str *in, struct str *data)
{
    size_t len = chunk->left < in->len ? (size_t)chunk->left : in->len;
    *data = str_make(in->data, len);
    in->data += len;
    in->len -= len;
    chunk->left -= len;
    chunk->data_bytes += len;
    if (chunk->left == 0)
        chunk->state = DATA_CR;
    return HTTP_CHUNK_DATA;
}

enum http_chunk_result http_chunk_next(struct http_chunk *chunk, struct str *in, struct str *data)
{
    while (in->len && chunk->state != OVER && chunk->state != BROKEN) {
        if (chunk->state == DATA)
            return take_data(chunk, in, data);
        chunk->state = is_within_bounds(chunk) ? step(chunk, *in->data) : BROKEN;
        in->data++;
        in->len--;
    }
    if (chunk->state == OVER)
        return HTTP_CHUNK_END;
    return chunk->state == BROKEN ? HTTP_CHUNK_BAD : HTTP_CHUNK_MORE;
}
