/* http_chunk_fuzz.c - a chunked body is decoded alike however it is split, and as a plain reading of RFC 9112 section 7.1
 * on the whole text says. */
#include "http/chunk.h"

#include <stdlib.h>

#define BODY_MAX 70000

struct outcome {
    enum http_chunk_result result;
    size_t len, used;
    char body[BODY_MAX];
};

static void decode(struct str bytes, size_t step, struct outcome *out)
{
    struct http_chunk chunk = { 0 };
    size_t at = 0;
    out->result = HTTP_CHUNK_MORE;
    out->len = out->used = 0;
    while (at < bytes.len && out->result == HTTP_CHUNK_MORE) {
        size_t len = bytes.len - at < step ? bytes.len - at : step;
        char *block = malloc(len);
        memcpy(block, bytes.data + at, len);
        struct str in = str_make(block, len), data;
        while ((out->result = http_chunk_next(&chunk, &in, &data)) == HTTP_CHUNK_DATA) {
            if (data.len == 0 || data.data < block || data.data + data.len > block + len)
                abort();
            memcpy(out->body + out->len, data.data, data.len);
            out->len += data.len;
        }
        at += len;
        out->used = at - in.len;
        free(block);
    }
}

/* --- the plain reading: 1 whole and right, 0 otherwise --- */

static struct str rest;

static bool take_line(struct str *line)
{
    const char *end = rest.len ? memmem(rest.data, rest.len, "\r\n", 2) : NULL;
    if (!end)
        return false;
    *line = str_make(rest.data, (size_t)(end - rest.data));
    rest = str_make(end + 2, rest.len - line->len - 2);
    for (size_t i = 0; i < line->len; i++) {
        unsigned char c = (unsigned char)line->data[i];
        if ((c < 32 && c != '\t') || c == 127)
            return false;
    }
    return true;
}

static bool read_size(struct str line, uint64_t *size)
{
    size_t digits = 0;
    *size = 0;
    while (digits < line.len && strchr("0123456789abcdefABCDEF", line.data[digits]) && line.data[digits]) {
        char digit[2] = { line.data[digits++], '\0' };
        *size = *size << 4 | strtoul(digit, NULL, 16);
    }
    struct str after = str_make(line.data + digits, line.len - digits);
    struct str trimmed = str_trim(after);
    return digits >= 1 && digits <= 16 && line.len < 255 && (after.len == 0 || (trimmed.len && trimmed.data[0] == ';'));
}

static bool is_trailer(struct str line)
{
    size_t i = 0;
    static const char tokens[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    while (i < line.len && line.data[i] && strchr(tokens, line.data[i]))
        i++;
    return i > 0 && i < line.len && line.data[i] == ':';
}

static bool read_plainly(struct str bytes, struct outcome *out)
{
    struct str line;
    uint64_t size;
    size_t trailers = 0;
    rest = bytes;
    out->len = 0;
    for (;;) {
        if (!take_line(&line) || !read_size(line, &size))
            return false;
        if (size == 0)
            break;
        if (rest.len < 2 || size > rest.len - 2 || memcmp(rest.data + size, "\r\n", 2) != 0)
            return false;
        memcpy(out->body + out->len, rest.data, size);
        out->len += size;
        rest = str_make(rest.data + size + 2, rest.len - size - 2);
    }
    while (take_line(&line)) {
        trailers += line.len + 2;
        if (line.len == 0) {
            out->used = bytes.len - rest.len;
            return trailers <= 8192;
        }
        if (!is_trailer(line))
            return false;
    }
    return false;
}

/* The first byte says how the rest is split. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct outcome whole, split, plain;
    if (len < 2 || len > 60000) /* below what framing may cost in all */
        return 0;
    struct str bytes = str_make((const char *)data + 1, len - 1);
    decode(bytes, bytes.len, &whole);
    decode(bytes, 1u + data[0] % 16u, &split);
    if (whole.result != split.result || whole.len != split.len || memcmp(whole.body, split.body, whole.len) != 0)
        abort();
    bool is_right = read_plainly(bytes, &plain);
    if (is_right != (whole.result == HTTP_CHUNK_END))
        abort();
    if (is_right &&
        (plain.len != whole.len || plain.used != whole.used || memcmp(plain.body, whole.body, plain.len) != 0))
        abort();
    return 0;
}
