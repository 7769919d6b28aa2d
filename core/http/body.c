/* body.c - reads the body of a request, as long as it is told to be and no longer.
 *
 * DESIGN  A body that came along whole with its head stays in the read buffer. Any other is gathered in the slot, which
 *         then owns head and body; a length that is merely announced reserves at most 64 KiB.
 *         A body over body_max is refused before it is read: 413, and the connection ends.
 * Path:   http/conn > [http/body] > http/chunk
 */
#include "http/conn.h"

enum { RESERVED_MAX = 64 * 1024 };

static void refuse_size(struct http_conn *conn) { http_conn_refuse(conn, 413, "the body of the request is too long"); }

static void refuse_memory(struct http_conn *conn)
{
    http_conn_refuse(conn, 503, "the server has no memory for the body of the request");
}

/* The client waits for a word before it sends the body (RFC 9110 10.1.1). */
static void ask_to_continue(struct http_conn *conn)
{
    struct http_outbox *out = &conn->server->out;
    size_t offset = out->bytes.len;
    buf_add_str(&out->bytes, STR("HTTP/1.1 100 Continue\r\n\r\n"));
    http_out_added(out, offset);
}

static void gather(struct http_conn *conn, bool is_waiting)
{
    const struct http_settings *settings = &conn->server->settings;
    struct http_slot *slot = conn->slot;
    const struct http_head *head = &slot->request.head;
    uint64_t now = loop_now_ms(conn->server->loop);
    buf_reset(&slot->body);
    slot->chunk = (struct http_chunk){ 0 };
    slot->rate_bytes = 0;
    slot->rate_due_ms = settings->body_rate_min ? now + HTTP_RATE_WINDOW_MS : 0;
    conn->due_ms = now + settings->body_ms;
    size_t reserved = head->content_length < RESERVED_MAX ? (size_t)head->content_length : RESERVED_MAX;
    if (!http_request_pin(slot) || !buf_room(&slot->body, reserved))
        refuse_memory(conn);
    else if (is_waiting)
        ask_to_continue(conn);
}

void http_body_start(struct http_conn *conn, struct str *bytes)
{
    struct http_request *request = &conn->slot->request;
    const struct http_head *head = &request->head;
    if (head->content_length > request->body_max) {
        refuse_size(conn);
    } else if (!conn->is_body_here) {
        gather(conn, head->expects_continue && bytes->len == 0);
    } else {
        size_t len = (size_t)head->content_length;
        request->body = str_make(bytes->data, len);
        bytes->data += len;
        bytes->len -= len;
        http_conn_dispatch(conn);
    }
}

static void dispatch(struct http_conn *conn)
{
    struct http_slot *slot = conn->slot;
    slot->request.body = str_make(slot->body.data, slot->body.len);
    http_conn_dispatch(conn);
}

/* False when the connection went on to something else. */
static bool add(struct http_conn *conn, struct str data)
{
    struct http_slot *slot = conn->slot;
    if (data.len > slot->request.body_max - slot->body.len) {
        refuse_size(conn);
        return false;
    }
    buf_add_str(&slot->body, data);
    if (buf_ok(&slot->body))
        return true;
    refuse_memory(conn);
    return false;
}

/* The size of a chunk says enough to refuse it: its data need not come first. Its line must have come (line_bytes is 0
 * within data), so that a malformed size is 400 however it was split. */
static bool announces_too_much(const struct http_slot *slot)
{
    return slot->chunk.line_bytes == 0 && slot->chunk.left > slot->request.body_max - slot->body.len;
}

static void read_chunked(struct http_conn *conn, struct str *bytes)
{
    struct http_slot *slot = conn->slot;
    struct str data;
    for (;;) {
        switch (http_chunk_next(&slot->chunk, bytes, &data)) {
        case HTTP_CHUNK_DATA:
            if (!add(conn, data))
                return;
            break;
        case HTTP_CHUNK_MORE:
            if (announces_too_much(slot))
                refuse_size(conn);
            return;
        case HTTP_CHUNK_END: dispatch(conn); return;
        case HTTP_CHUNK_BAD: http_conn_refuse(conn, 400, "the body of the request is not well chunked"); return;
        }
    }
}

static void read_counted(struct http_conn *conn, struct str *bytes)
{
    struct http_slot *slot = conn->slot;
    size_t left = (size_t)slot->request.head.content_length - slot->body.len;
    struct str data = str_make(bytes->data, left < bytes->len ? left : bytes->len);
    bytes->data += data.len;
    bytes->len -= data.len;
    if (add(conn, data) && data.len == left)
        dispatch(conn);
}

void http_body_read(struct http_conn *conn, struct str *bytes)
{
    conn->slot->rate_bytes += bytes->len;
    if (conn->slot->request.head.chunked)
        read_chunked(conn, bytes);
    else
        read_counted(conn, bytes);
}
