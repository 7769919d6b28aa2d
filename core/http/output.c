/* output.c - gathers what goes out and gives it to the socket in one call.
 *
 * DESIGN  An outbox is a scratch of the server, used again and again: heads and small bodies are rendered into one run of
 *         bytes, larger bodies stand between as borrowed pieces. Flushing is one writev. What the socket does not take
 *         moves into a block of its own (rendered bytes copied, borrowed bodies still borrowed) until it is written.
 *         FILLING -> EMPTY [http_out_flush]
 * HOLDS   Every release is called exactly once, after the outbox has been emptied, so it may reply to something else.
 *         An outbox has at most HTTP_PIECES_MAX pieces; the one who fills it flushes before that.
 * Path:   http/reply > [http/output] > loop/stream
 */
#include "http/conn.h"

#include <assert.h>

#define SCRATCH_KEPT ((size_t)256 * 1024)

/* What the socket did not take at once. */
struct unwritten {
    struct http_conn *conn;
    unsigned count;
    struct {
        void (*release)(void *owner);
        void *owner;
    } held[HTTP_PIECES_MAX];
    char bytes[];
};

void http_out_init(struct http_outbox *out)
{
    *out = (struct http_outbox){ 0 };
    buf_init(&out->bytes, MEM_HTTP, 0);
}

void http_out_clear(struct http_outbox *out)
{
    assert(out->count == 0);
    buf_clear(&out->bytes);
}

/* --- filling --- */

void http_out_added(struct http_outbox *out, size_t offset)
{
    size_t len = out->bytes.len - offset;
    struct http_piece *last = out->count ? &out->pieces[out->count - 1] : NULL;
    out->total += len;
    if (last && !last->outside.data) {
        last->outside.len += len;
        return;
    }
    assert(out->count < HTTP_PIECES_MAX);
    out->pieces[out->count++] = (struct http_piece){ .offset = offset, .outside = { NULL, len } };
}

void http_out_body(struct http_outbox *out, const struct http_reply *reply)
{
    if (reply->body.len <= HTTP_BODY_COPIED_MAX) {
        size_t offset = out->bytes.len;
        buf_add_str(&out->bytes, reply->body);
        http_out_added(out, offset);
        if (reply->release)
            reply->release(reply->owner);
        return;
    }
    assert(out->count < HTTP_PIECES_MAX);
    out->total += reply->body.len;
    out->pieces[out->count++] = (struct http_piece){ .outside = reply->body,
                                                     .release = reply->release,
                                                     .owner = reply->owner };
}

/* A body that is lent for the call only must leave with the call. */
bool http_out_has_unowned(const struct http_outbox *out)
{
    const struct http_piece *last = out->count ? &out->pieces[out->count - 1] : NULL;
    return last && last->outside.data && !last->release;
}

/* --- flushing --- */

static void empty(struct http_outbox *out)
{
    out->count = 0;
    out->total = 0;
    if (out->bytes.cap > SCRATCH_KEPT)
        buf_clear(&out->bytes);
    else
        buf_reset(&out->bytes);
}

static void release_all(const struct http_piece *pieces, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (pieces[i].release)
            pieces[i].release(pieces[i].owner);
}

static void resolve(const struct http_outbox *out, struct str *texts)
{
    for (unsigned i = 0; i < out->count; i++) {
        const struct http_piece *piece = &out->pieces[i];
        const char *data = piece->outside.data ? piece->outside.data : out->bytes.data + piece->offset;
        texts[i] = str_make(data, piece->outside.len);
    }
}

static void on_written(void *arg, enum fail fail);

/* Copies of what is ours or lent for the call, and what is borrowed until its release: the part after `written` bytes. */
static struct unwritten *take_rest(const struct http_outbox *out, struct str *texts, size_t written)
{
    size_t copied = 0;
    for (unsigned i = 0; i < out->count; i++)
        if (!out->pieces[i].release)
            copied += texts[i].len;
    struct unwritten *rest = mem_alloc(MEM_HTTP, sizeof *rest + copied);
    if (!rest)
        return NULL;
    rest->count = 0;
    char *at = rest->bytes;
    for (unsigned i = 0; i < out->count; i++) {
        size_t skip = written < texts[i].len ? written : texts[i].len;
        written -= skip;
        texts[i] = str_make(texts[i].data + skip, texts[i].len - skip);
        if (!out->pieces[i].release) {
            memcpy(at, texts[i].data, texts[i].len);
            texts[i].data = at;
            at += texts[i].len;
            continue;
        }
        rest->held[rest->count].release = out->pieces[i].release;
        rest->held[rest->count++].owner = out->pieces[i].owner;
    }
    return rest;
}

static void free_unwritten(struct unwritten *rest)
{
    for (unsigned i = 0; i < rest->count; i++)
        rest->held[i].release(rest->held[i].owner);
    mem_free(rest);
}

uint64_t http_out_progress(const struct http_conn *conn)
{
    return conn->write_total - stream_queued(conn->stream) - stream_unacked(conn->stream);
}

static void note_queued(struct http_conn *conn, size_t bytes)
{
    conn->write_total += bytes;
    if (conn->writes++ > 0)
        return;
    conn->write_due_ms = loop_now_ms(conn->server->loop) + conn->server->settings.write_ms;
    conn->write_progress = http_out_progress(conn);
}

static bool queue_rest(struct http_conn *conn, struct http_outbox *out, struct str *texts, size_t written)
{
    struct http_piece pieces[HTTP_PIECES_MAX];
    unsigned count = out->count;
    size_t left = out->total - written;
    memcpy(pieces, out->pieces, count * sizeof *pieces);
    struct unwritten *rest = take_rest(out, texts, written);
    empty(out);
    if (!rest) {
        release_all(pieces, count);
        return false;
    }
    rest->conn = conn;
    if (stream_write(conn->stream, texts, count, on_written, rest)) {
        free_unwritten(rest);
        return false;
    }
    note_queued(conn, left);
    return true;
}

bool http_out_flush(struct http_conn *conn, struct http_outbox *out)
{
    struct str texts[HTTP_PIECES_MAX];
    struct http_piece pieces[HTTP_PIECES_MAX];
    unsigned count = out->count;
    if (count == 0)
        return true;
    ptrdiff_t written = -1;
    if (buf_ok(&out->bytes) && conn->state != HTTP_CONN_CLOSED) {
        resolve(out, texts);
        written = conn->writes ? 0 : stream_try_write(conn->stream, texts, count);
    }
    if (written >= 0) {
        conn->server->stats.bytes_out += out->total;
        if ((size_t)written < out->total)
            return queue_rest(conn, out, texts, (size_t)written);
    }
    memcpy(pieces, out->pieces, count * sizeof *pieces);
    empty(out);
    release_all(pieces, count);
    return written >= 0;
}

bool http_out_write(struct http_conn *conn, struct str bytes, void (*release)(void *owner), void *owner)
{
    struct unwritten *rest = mem_alloc(MEM_HTTP, sizeof *rest);
    if (!rest) {
        release(owner);
        return false;
    }
    rest->conn = conn;
    rest->count = 1;
    rest->held[0].release = release;
    rest->held[0].owner = owner;
    if (stream_write(conn->stream, &bytes, 1, on_written, rest)) {
        free_unwritten(rest);
        return false;
    }
    note_queued(conn, bytes.len);
    return true;
}

/* A block is written, or the stream broke or was closed (then the connection is told by who closed it). */
static void on_written(void *arg, enum fail fail)
{
    struct unwritten *rest = arg;
    struct http_conn *conn = rest->conn;
    conn->writes--;
    free_unwritten(rest);
    if (conn->state == HTTP_CONN_CLOSED)
        return;
    if (fail)
        http_conn_lost(conn);
    else if (conn->state == HTTP_CONN_STREAMING)
        http_streaming_drained(conn);
    else if (conn->writes == 0)
        http_conn_settle(conn);
}
