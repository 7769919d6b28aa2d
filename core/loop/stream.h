/* stream.h - TCP and unix-socket byte streams: listen, accept, connect, read, write.
 *
 * Promises: callbacks come on the loop's thread, never from within the call that asked; after stream_close only
 * on_closed comes, once. Reading uses one buffer per loop: bytes are the reader's for the call only.
 */
#ifndef LOOP_STREAM_H
#define LOOP_STREAM_H

#include "base/str.h"
#include "loop/loop.h"

struct stream;
struct stream_listener;

/* data: len bytes, borrowed and writable for the call. len 0: the peer closed its side; len < 0: the stream is broken. */
typedef void stream_on_read(void *arg, char *data, ptrdiff_t len);
typedef void stream_on_written(void *arg, enum fail fail);
typedef void stream_on_closed(void *arg);
/* fail is FAIL_OK or why there is no stream (then stream is NULL, why says it in words, borrowed). */
typedef void stream_on_connected(void *arg, enum fail fail, struct stream *stream, const char *why);
typedef void stream_on_accept(void *arg, struct stream *stream);   /* the callee owns the stream */

struct stream_listen_options { int backlog; bool reuse_port; };
/* host: an IPv4/IPv6 literal; port 0 picks one. `why` (if given, why_bytes) says in words what is wrong. */
MUST_USE enum fail stream_listen(struct loop *loop, const char *host, int port, struct stream_listen_options options,
                                 stream_on_accept *on_accept, void *arg, struct stream_listener **out, char *why,
                                 size_t why_bytes);
MUST_USE enum fail stream_listen_fd(struct loop *loop, int fd, stream_on_accept *on_accept, void *arg, struct stream_listener **out);
int stream_listener_port(const struct stream_listener *listener);
void stream_listener_close(struct stream_listener *listener, stream_on_closed *on_closed, void *arg); /* NULL listener is fine; frees */

/* Resolves (without blocking the loop), connects; the deadline covers both. A host that starts with '/' is a unix socket. */
struct stream_connecting;
MUST_USE enum fail stream_connect(struct loop *loop, const char *host, int port, unsigned ms_max, stream_on_connected *on_connected,
                                  void *arg, struct stream_connecting **out);
void stream_connect_cancel(struct stream_connecting *connecting);  /* on_connected will not come any more */

void stream_read_start(struct stream *stream, stream_on_read *on_read, void *arg);
void stream_read_stop(struct stream *stream);
/* Writes what the socket takes at once (one writev), returns how many bytes; 0 when it takes none or earlier writes
 * are still queued; -1 when the stream is broken. count <= 16. */
ptrdiff_t stream_try_write(struct stream *stream, const struct str *pieces, unsigned count);
/* Queues the pieces; their memory is borrowed until on_written. */
MUST_USE enum fail stream_write(struct stream *stream, const struct str *pieces, unsigned count, stream_on_written *on_written, void *arg);
size_t stream_queued(const struct stream *stream);                 /* bytes waiting to be written */
size_t stream_unacked(const struct stream *stream);                /* bytes the kernel took that the peer has not received yet */
/* Half-closes after all queued writes; on_written as for a write. */
MUST_USE enum fail stream_shutdown(struct stream *stream, stream_on_written *on_written, void *arg);
/* Queued writes end with FAIL_CLOSED first; on_closed may be NULL; the stream is freed after. */
void stream_close(struct stream *stream, stream_on_closed *on_closed, void *arg);
void stream_reset(struct stream *stream, stream_on_closed *on_closed, void *arg); /* the same with RST */
/* Numeric address of the peer, "unix" for unix sockets. */
void stream_peer(const struct stream *stream, char *out, size_t bytes);
struct loop *stream_loop(const struct stream *stream);

#endif
