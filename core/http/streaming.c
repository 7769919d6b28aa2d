/* streaming.c - a reply in pieces, no faster than the client reads.
 *
 * DESIGN  Pieces gather in a buffer and leave at the end of the turn, when 16 KiB are together, or with the end: rows that
 *         are produced one by one do not cost a system call each. What the socket does not take is handed over as it
 *         is; with 64 KiB waiting, http_reply_piece says FAIL_FULL and on_room calls when there is room again.
 *         A reply that breaks off is cut with RST: neither side may take it for whole.
 * HOLDS   on_room with a failure comes at most once, and never from within a call on the same streaming.
 * Path:   script/handler > [http/streaming] > http/output > loop/stream
 */
#include "http/conn.h"
#include "http/reply.h"

#include <assert.h>
#include <stdio.h>

enum { PUSH_BYTES = 16 * 1024 };

static struct http_slot *slot_of(struct http_streaming *streaming)
{
    return (struct http_slot *)(void *)((char *)streaming - offsetof(struct http_slot, streaming));
}

static bool is_gone(const struct http_slot *slot) { return slot->request.conn->state == HTTP_CONN_CLOSED; }

static bool push(struct http_conn *conn)
{
    struct http_server *server = conn->server;
    struct buf *out = &conn->slot->streaming.out;
    if (server->collecting == conn && !http_out_flush(conn, &server->out))
        return false; /* replies to earlier requests go first */
    if (out->len == 0)
        return buf_ok(out);
    struct str bytes = str_make(out->data, out->len);
    ptrdiff_t written = !buf_ok(out) ? -1 : conn->writes ? 0 : stream_try_write(conn->stream, &bytes, 1);
    if (written < 0)
        return false;
    server->stats.bytes_out += bytes.len;
    if ((size_t)written == bytes.len) {
        buf_reset(out);
        return true;
    }
    size_t len = 0;
    char *owned = buf_take(out, &len);
    return http_out_write(conn, str_make(owned + written, len - (size_t)written), mem_free, owned);
}

MUST_USE enum fail http_reply_begin(struct http_request *request, const struct http_reply *head, http_on_room *on_room,
                                    void *arg, struct http_streaming **out)
{
    struct http_conn *conn = request->conn;
    struct http_slot *slot = (struct http_slot *)(void *)request;
    struct http_streaming *streaming = &slot->streaming;
    assert(!request->replied && conn->slot == slot);
    if (is_gone(slot))
        return FAIL_CLOSED;
    bool is_bodyless = http_reply_is_bodyless(request, head->status);
    bool is_chunked = request->head.minor >= 1 && http_reply_has_content(head->status);
    bool ends = conn->ends || http_reply_closes(conn, request, head) || request->head.minor == 0;
    buf_reset(&streaming->out);
    http_reply_head(
        conn->server, &streaming->out, request, head,
        (struct http_head_flags){ .is_closing = ends, .is_chunked = is_chunked, .has_length = head->status == 205 });
    if (!buf_ok(&streaming->out)) {
        buf_clear(&streaming->out);
        return FAIL_NOMEM;
    }
    streaming->on_room = on_room;
    streaming->arg = arg;
    streaming->status = head->status;
    streaming->is_chunked = is_chunked;
    streaming->is_bodyless = is_bodyless;
    streaming->is_full = false;
    streaming->bytes = 0;
    conn->ends = ends;
    conn->state = HTTP_CONN_STREAMING;
    conn->due_ms = 0;
    request->replied = true;
    http_conn_defer(conn);
    *out = streaming;
    return FAIL_OK;
}

/* The socket broke under a call of the one who writes: the call says so, on_room need not. */
static enum fail give_up(struct http_conn *conn)
{
    conn->slot->request.aborted = true;
    conn->server->stats.aborted++;
    http_conn_close(conn);
    return FAIL_CLOSED;
}

MUST_USE enum fail http_reply_piece(struct http_streaming *streaming, struct str piece)
{
    struct http_slot *slot = slot_of(streaming);
    struct http_conn *conn = slot->request.conn;
    if (is_gone(slot))
        return FAIL_CLOSED;
    if (piece.len == 0 || streaming->is_bodyless)
        return FAIL_OK;
    streaming->bytes += piece.len;
    if (streaming->is_chunked) {
        char size[20];
        buf_add(&streaming->out, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", piece.len));
    }
    buf_add_str(&streaming->out, piece);
    if (streaming->is_chunked)
        buf_add_str(&streaming->out, STR("\r\n"));
    if (streaming->out.len < PUSH_BYTES && buf_ok(&streaming->out))
        http_conn_defer(conn);
    else if (!push(conn))
        return give_up(conn);
    else
        http_conn_settle(conn);
    streaming->is_full = conn->writes && stream_queued(conn->stream) >= HTTP_ROOM_BYTES;
    return streaming->is_full ? FAIL_FULL : FAIL_OK;
}

void http_reply_end(struct http_streaming *streaming, bool complete)
{
    struct http_slot *slot = slot_of(streaming);
    struct http_conn *conn = slot->request.conn;
    int status = is_gone(slot) ? 0 : streaming->status;
    slot->request.aborted = slot->request.aborted || !complete; /* so that cutting tells nobody */
    if (!is_gone(slot) && !complete) {
        http_conn_cut(conn);
    } else if (!is_gone(slot)) {
        if (streaming->is_chunked && !streaming->is_bodyless)
            buf_add_str(&streaming->out, STR("0\r\n\r\n"));
        if (!push(conn))
            give_up(conn);
    }
    size_t bytes = streaming->bytes;
    buf_clear(&streaming->out);
    bool is_late = conn->server->collecting != conn && !is_gone(slot);
    http_conn_finish(conn, slot, status, bytes);
    if (is_late)
        http_conn_settle(conn);
}

void http_streaming_push(struct http_conn *conn)
{
    if (!push(conn))
        http_conn_lost(conn);
    else
        http_conn_settle(conn);
}

void http_streaming_drained(struct http_conn *conn)
{
    struct http_streaming *streaming = &conn->slot->streaming;
    if (!streaming->is_full || stream_queued(conn->stream) >= HTTP_ROOM_BYTES)
        return;
    streaming->is_full = false;
    if (streaming->on_room)
        streaming->on_room(streaming->arg, FAIL_OK);
}
