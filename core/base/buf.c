/* buf.c - bytes that grow by doubling, up to a limit.
 *
 * HOLDS   len <= cap; after a failed append nothing more is added until buf_reset or buf_clear, so that what is
 *         there is never a text with a hole in it.
 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#define CAP_MIN 64u

static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                            "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                            "8081828384858687888990919293949596979899";

void buf_init(struct buf *buf, enum mem_tag tag, size_t bytes_max)
{
    *buf = (struct buf){ .tag = tag, .bytes_max = bytes_max };
}

void buf_clear(struct buf *buf)
{
    mem_free(buf->data);
    buf_init(buf, buf->tag, buf->bytes_max);
}

static bool fail(struct buf *buf)
{
    buf->failed = true;
    return false;
}

static __attribute__((noinline)) bool grow(struct buf *buf, size_t more)
{
    size_t need, max = buf->bytes_max ? buf->bytes_max : PTRDIFF_MAX;
    if (__builtin_add_overflow(buf->len, more, &need) || need > max)
        return fail(buf);
    size_t cap = buf->cap < CAP_MIN / 2 ? CAP_MIN : buf->cap * 2;
    if (cap < need)
        cap = need;
    if (cap > max)
        cap = max;
    char *data = mem_grow(buf->tag, buf->data, cap);
    if (!data)
        return fail(buf);
    buf->data = data;
    buf->cap = cap;
    return true;
}

bool buf_room(struct buf *buf, size_t more)
{
    if (buf->failed)
        return false;
    return more <= buf->cap - buf->len || grow(buf, more);
}

void buf_add(struct buf *buf, const void *data, size_t len)
{
    if (len == 0 || !buf_room(buf, len))
        return;
    memcpy(buf->data + buf->len, data, len);
    buf->len += len;
}

void buf_add_char(struct buf *buf, char c)
{
    if (buf_room(buf, 1))
        buf->data[buf->len++] = c;
}

static inline size_t digits_of(uint64_t value)
{
    size_t digits = 1;
    for (; value >= 10000; value /= 10000)
        digits += 4;
    return digits + (value >= 10) + (value >= 100) + (value >= 1000);
}

static inline void put_digits(char *end, uint64_t value)
{
    for (; value >= 100; value /= 100)
        memcpy(end -= 2, pairs + value % 100 * 2, 2);
    if (value >= 10)
        memcpy(end - 2, pairs + value * 2, 2);
    else
        end[-1] = (char)('0' + value);
}

void buf_add_uint(struct buf *buf, uint64_t value)
{
    size_t digits = digits_of(value);
    if (!buf_room(buf, digits))
        return;
    buf->len += digits;
    put_digits(buf->data + buf->len, value);
}

void buf_add_int(struct buf *buf, int64_t value)
{
    uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    size_t chars = digits_of(size) + (value < 0);
    if (!buf_room(buf, chars))
        return;
    buf->data[buf->len] = '-';
    buf->len += chars;
    put_digits(buf->data + buf->len, size);
}

void buf_addf(struct buf *buf, const char *format, ...)
{
    if (buf->failed)
        return;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    size_t left = buf->cap - buf->len;
    int len = vsnprintf(left ? buf->data + buf->len : NULL, left, format, args);
    if (len < 0) {
        buf->failed = true;
    } else if ((size_t)len < left) {
        buf->len += (size_t)len;
    } else if (buf_room(buf, (size_t)len + 1)) { /* vsnprintf wants a place for its NUL */
        vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
    va_end(args);
}

void buf_drop_front(struct buf *buf, size_t len)
{
    if (len >= buf->len) {
        buf->len = 0;
        return;
    }
    if (len == 0)
        return;
    buf->len -= len;
    memmove(buf->data, buf->data + len, buf->len);
}

char *buf_take(struct buf *buf, size_t *len)
{
    if (buf->failed)
        buf_clear(buf);
    char *data = buf->data;
    *len = buf->len;
    buf_init(buf, buf->tag, buf->bytes_max);
    return data;
}
