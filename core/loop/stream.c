/* stream.c - bytes in and out of a connected TCP or unix socket.
 *
 * DESIGN  A stream is one libuv handle and who to call; 10,000 idle ones are 3 MB. All streams of a loop read into the
 *         loop's one buffer: the bytes are handed on within the call, so two reads never overlap.
 *         Requests to write are recycled by the loop; most answers leave through stream_try_write and need none.
 *         Pausing is lazy: stream_read_stop makes no system call. Only if bytes come while paused is the socket taken
 *         out of the poll, unread. So a server may pause each connection for each request at no cost.
 *         OPEN -> CLOSING [stream_close, stream_reset]   CLOSING -> gone [on_uv_closed]
 * HOLDS   While CLOSING only on_written (FAIL_CLOSED) and then on_closed are called.
 * Path:   loop/listen, loop/connect > [loop/stream] > loop/loop
 */
#include "loop/stream.h"

#include "base/mem.h"
#include "loop/inner.h"

#include <assert.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

enum { PIECES_MAX = 16 };

struct stream {
    union {
        uv_handle_t handle;
        uv_stream_t any;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv; /* first: a handle's address is its stream's */
    stream_on_read *on_read;
    void *read_arg;
    stream_on_closed *on_closed;
    void *closed_arg;
    bool is_reading; /* what the owner wants; libuv may still poll */
};

struct write {
    uv_write_t req; /* first */
    struct list node;
    stream_on_written *on_written;
    void *arg;
};

struct shutdown {
    uv_shutdown_t req; /* first */
    stream_on_written *on_done;
    void *arg;
};

static struct stream *stream_of(void *handle) { return handle; }

/* --- birth and end -------------------------------------------------------------------------------------------- */

struct stream *stream_open(struct loop *loop, bool is_unix)
{
    struct stream *stream = mem_zero(MEM_LOOP, sizeof *stream);
    if (!stream)
        return NULL;
    int error = is_unix ? uv_pipe_init(&loop->uv, &stream->uv.pipe, 0) : uv_tcp_init(&loop->uv, &stream->uv.tcp);
    if (error) {
        mem_free(stream);
        return NULL;
    }
    return stream;
}

struct stream *stream_adopt(struct loop *loop, int fd, bool is_unix)
{
    struct stream *stream = stream_open(loop, is_unix);
    if (!stream)
        return NULL;
    int error = is_unix ? uv_pipe_open(&stream->uv.pipe, fd) : uv_tcp_open(&stream->uv.tcp, fd);
    if (error) {
        stream_close(stream, NULL, NULL);
        return NULL;
    }
    return stream;
}

uv_stream_t *stream_handle(struct stream *stream) { return &stream->uv.any; }

static void on_uv_closed(uv_handle_t *handle)
{
    struct stream *stream = stream_of(handle);
    loop_awake(loop_of(handle));
    stream_on_closed *on_closed = stream->on_closed;
    void *arg = stream->closed_arg;
    mem_free(stream);
    if (on_closed)
        on_closed(arg);
}

static void prepare_close(struct stream *stream, stream_on_closed *on_closed, void *arg)
{
    assert(!uv_is_closing(&stream->uv.handle));
    stream->is_reading = false;
    stream->on_closed = on_closed;
    stream->closed_arg = arg;
}

void stream_close(struct stream *stream, stream_on_closed *on_closed, void *arg)
{
    prepare_close(stream, on_closed, arg);
    uv_close(&stream->uv.handle, on_uv_closed);
}

void stream_reset(struct stream *stream, stream_on_closed *on_closed, void *arg)
{
    prepare_close(stream, on_closed, arg);
    /* libuv refuses the reset of a stream that is shutting down, and pipes know none. */
    bool is_tcp = stream->uv.handle.type == UV_TCP;
    if (!is_tcp || uv_tcp_close_reset(&stream->uv.tcp, on_uv_closed) != 0)
        uv_close(&stream->uv.handle, on_uv_closed);
}

/* --- reading -------------------------------------------------------------------------------------------------- */

/* The socket is readable. An empty buffer tells libuv to leave the bytes where they are. */
static void on_uv_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)suggested;
    struct loop *loop = loop_of(handle);
    loop_awake(loop);
    *out = uv_buf_init(loop->read_buffer, stream_of(handle)->is_reading ? LOOP_READ_BYTES : 0);
}

static void on_uv_read(uv_stream_t *handle, ssize_t len, const uv_buf_t *buffer)
{
    struct stream *stream = stream_of(handle);
    loop_awake(loop_of(handle));
    if (!stream->is_reading) {
        uv_read_stop(handle);
        return;
    }
    if (len == 0)
        return; /* nothing there after all */
    if (len < 0)
        stream->is_reading = false;
    stream->on_read(stream->read_arg, buffer->base, len == UV_EOF ? 0 : len);
}

void stream_read_start(struct stream *stream, stream_on_read *on_read, void *arg)
{
    assert(on_read && !uv_is_closing(&stream->uv.handle));
    stream->on_read = on_read;
    stream->read_arg = arg;
    stream->is_reading = true;
    int error = uv_read_start(&stream->uv.any, on_uv_alloc, on_uv_read);
    assert(error == 0 || error == UV_EALREADY || error == UV_ENOTCONN);
    (void)error;
}

void stream_read_stop(struct stream *stream) { stream->is_reading = false; }

/* --- writing -------------------------------------------------------------------------------------------------- */

static void fill(uv_buf_t *buffers, const struct str *pieces, unsigned count)
{
    assert(count > 0 && count <= PIECES_MAX);
    for (unsigned i = 0; i < count; i++)
        buffers[i] = (uv_buf_t){ .base = (char *)(uintptr_t)pieces[i].data, .len = pieces[i].len };
}

ptrdiff_t stream_try_write(struct stream *stream, const struct str *pieces, unsigned count)
{
    assert(!uv_is_closing(&stream->uv.handle));
    uv_buf_t buffers[PIECES_MAX];
    fill(buffers, pieces, count);
    int written = uv_try_write(&stream->uv.any, buffers, count);
    if (written >= 0)
        return written;
    return written == UV_EAGAIN ? 0 : -1;
}

static struct write *take_write(struct loop *loop)
{
    struct list *spare = list_pop_front(&loop->spare_writes);
    if (!spare)
        return mem_alloc(MEM_LOOP, sizeof(struct write));
    loop->spare_write_count--;
    return LIST_ENTRY(spare, struct write, node);
}

static void give_write(struct loop *loop, struct write *write)
{
    if (loop->spare_write_count == LOOP_SPARE_WRITES_MAX) {
        mem_free(write);
        return;
    }
    list_push_front(&loop->spare_writes, &write->node);
    loop->spare_write_count++;
}

void stream_drop_spares(struct loop *loop)
{
    for (struct list *node; (node = list_pop_front(&loop->spare_writes));)
        mem_free(LIST_ENTRY(node, struct write, node));
    loop->spare_write_count = 0;
}

static void on_uv_written(uv_write_t *req, int error)
{
    struct write *write = (struct write *)req;
    struct loop *loop = loop_of(req->handle);
    loop_awake(loop);
    stream_on_written *on_written = write->on_written;
    void *arg = write->arg;
    give_write(loop, write);
    on_written(arg, loop_fail(error));
}

enum fail stream_write(struct stream *stream, const struct str *pieces, unsigned count, stream_on_written *on_written,
                       void *arg)
{
    assert(on_written && !uv_is_closing(&stream->uv.handle));
    uv_buf_t buffers[PIECES_MAX];
    fill(buffers, pieces, count);
    struct loop *loop = stream_loop(stream);
    struct write *write = take_write(loop);
    if (!write)
        return FAIL_NOMEM;
    write->on_written = on_written;
    write->arg = arg;
    int error = uv_write(&write->req, &stream->uv.any, buffers, count, on_uv_written);
    if (error)
        give_write(loop, write);
    return loop_fail(error);
}

size_t stream_queued(const struct stream *stream) { return uv_stream_get_write_queue_size(&stream->uv.any); }

size_t stream_unacked(const struct stream *stream)
{
    int fd, bytes = 0;
    if (uv_fileno(&stream->uv.handle, &fd) != 0 || ioctl(fd, SIOCOUTQ, &bytes) != 0)
        return 0;
    return (size_t)bytes;
}

static void on_uv_shutdown(uv_shutdown_t *req, int error)
{
    struct shutdown *shutdown = (struct shutdown *)req;
    loop_awake(loop_of(req->handle));
    stream_on_written *on_done = shutdown->on_done;
    void *arg = shutdown->arg;
    mem_free(shutdown);
    on_done(arg, loop_fail(error));
}

enum fail stream_shutdown(struct stream *stream, stream_on_written *on_written, void *arg)
{
    assert(on_written && !uv_is_closing(&stream->uv.handle));
    struct shutdown *shutdown = mem_zero(MEM_LOOP, sizeof *shutdown);
    if (!shutdown)
        return FAIL_NOMEM;
    shutdown->on_done = on_written;
    shutdown->arg = arg;
    int error = uv_shutdown(&shutdown->req, &stream->uv.any, on_uv_shutdown);
    if (error)
        mem_free(shutdown);
    return loop_fail(error);
}

/* --- who is it ------------------------------------------------------------------------------------------------ */

void stream_peer(const struct stream *stream, char *out, size_t bytes)
{
    assert(bytes > 0);
    *out = '\0';
    if (stream->uv.handle.type != UV_TCP) {
        strncpy(out, "unix", bytes);
        out[bytes - 1] = '\0';
        return;
    }
    struct sockaddr_storage address;
    int len = sizeof address;
    if (uv_tcp_getpeername(&stream->uv.tcp, (struct sockaddr *)&address, &len) != 0)
        return;
    char text[INET6_ADDRSTRLEN];
    if (uv_ip_name((struct sockaddr *)&address, text, sizeof text) != 0)
        return;
    struct str name = str_of(text);
    if (str_starts(name, STR("::ffff:")) && strchr(text, '.'))
        name = str_make(name.data + 7, name.len - 7); /* IPv4 on a dual-stack listener */
    size_t len_max = name.len < bytes ? name.len : bytes - 1;
    memcpy(out, name.data, len_max);
    out[len_max] = '\0';
}

struct loop *stream_loop(const struct stream *stream) { return loop_of(stream); }
