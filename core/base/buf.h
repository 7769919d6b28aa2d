/* buf.h - bytes that grow. Writers need not check each append: a failed one sets `failed`, and the end of the
 * road asks once (buf_ok). */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/mem.h"
#include "base/str.h"

struct buf {
    char *data;
    size_t len, cap, bytes_max;   /* bytes_max 0 means no limit */
    enum mem_tag tag;
    bool failed;
};

void buf_init(struct buf *buf, enum mem_tag tag, size_t bytes_max);
void buf_clear(struct buf *buf);                             /* gives the memory back */
static inline void buf_reset(struct buf *buf) { buf->len = 0; buf->failed = false; }
static inline bool buf_ok(const struct buf *buf) { return !buf->failed; }
bool buf_room(struct buf *buf, size_t more);                 /* makes room for `more` bytes after len */
void buf_add(struct buf *buf, const void *data, size_t len);
static inline void buf_add_str(struct buf *buf, struct str text) { buf_add(buf, text.data, text.len); }
void buf_add_char(struct buf *buf, char c);
void buf_add_int(struct buf *buf, int64_t value);
void buf_add_uint(struct buf *buf, uint64_t value);
void buf_addf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_drop_front(struct buf *buf, size_t len);            /* forgets the first len bytes */
/* The bytes (mem_free them), NULL when it failed or holds none; the buffer is empty after. */
char *buf_take(struct buf *buf, size_t *len);

#endif
