/* sink.h - where lines go, without ever waiting for those who read them. */
#ifndef BASE_SINK_H
#define BASE_SINK_H

#include <stdbool.h>
#include <stddef.h>

struct sink { int fd; bool is_own; enum { SINK_POLLED, SINK_STRAIGHT, SINK_SOCKET } kind; };

#define SINK_OF(n) ((struct sink){ .fd = (n), .kind = SINK_POLLED })

/* Writes to fd, which stays the caller's and open. */
struct sink sink_open(int fd);
void sink_close(struct sink *sink);
/* How many bytes there was room for at once; fewer than len when the reader is behind, or gone. */
size_t sink_write(const struct sink *sink, const char *data, size_t len);

#endif
