/* conn.c - one client: what has been read, which request is in hand, how long it may take.
 *
 * DESIGN  The state is a word; see enum http_conn_state.
 *         HEAD -> BODY [a head is whole]                HEAD, BODY -> HANDLING [http_conn_dispatch]
 *         HANDLING -> STREAMING [http_reply_begin]      BODY, HANDLING, STREAMING -> HEAD [http_conn_finish]
 *         HEAD -> LINGER [the last reply is written]    any -> CLOSED [http_conn_close]   CLOSED -> freed [free_if_done]
 *         Bytes are parsed where the loop read them; what is left at the end of the callback (half a head, pipelined
 *         requests behind one that is being handled) is kept in `in`, which owns no memory while there is nothing left.
 *         After the last reply our side is shut down and what the client still sends is thrown away for a while: closing
 *         a socket with unread bytes sends RST, and the client would lose the very answer that explains the end.
 *         An end of the client's side counts as leaving: who half-closes and waits gets replies that are given at once,
 *         not later ones. Who closes sends the same FIN, and no RST before we write: waiting for more than FIN would mean
 *         to work on for everybody who left (DECISIONS.md, 2026-11-28).
 * HOLDS   At most one request in hand; no head is taken while output waits for the socket, so a client that does not
 *         read cannot make us buffer. A connection is freed when its stream is gone, its request is replied to and no
 *         deferred call is on its way.
 * Path:   http/server > [http/conn] > http/parse, http/body > http/reply
 */
#include "http/conn.h"

#include <assert.h>

static uint64_t now_ms(const struct http_conn *conn) { return loop_now_ms(conn->server->loop); }
static void on_task(void *arg);
static void on_timer(void *arg);

/* --- the end of a connection --- */

static void free_if_done(struct http_conn *conn)
{
    if (conn->state == HTTP_CONN_CLOSED && conn->is_stream_gone && !conn->slot && !conn->is_task_set)
        http_server_conn_gone(conn->server, conn);
}

static void on_stream_closed(void *arg)
{
    struct http_conn *conn = arg;
    conn->is_stream_gone = true;
    free_if_done(conn);
}

/* Nobody outside knows of a request whose body is still coming: it goes with the connection. */
static void end(struct http_conn *conn, void (*close_stream)(struct stream *, stream_on_closed *, void *))
{
    struct http_slot *slot = conn->slot;
    if (conn->state == HTTP_CONN_CLOSED)
        return;
    if (slot && conn->state == HTTP_CONN_BODY) {
        conn->slot = NULL;
        http_slot_give(conn->server, slot);
    }
    conn->state = HTTP_CONN_CLOSED;
    timer_stop(&conn->timer);
    buf_clear(&conn->in);
    close_stream(conn->stream, on_stream_closed, conn);
}

static void tell(struct http_conn *conn, uint8_t state_before)
{
    struct http_server *server = conn->server;
    struct http_slot *slot = conn->slot;
    if (!slot || slot->request.aborted)
        return;
    slot->request.aborted = true;
    server->stats.aborted++;
    if (state_before == HTTP_CONN_STREAMING && slot->streaming.on_room)
        slot->streaming.on_room(slot->streaming.arg, FAIL_CLOSED);
    else if (state_before == HTTP_CONN_HANDLING && server->handler.on_abort)
        server->handler.on_abort(server->handler.arg, &slot->request);
}

void http_conn_close(struct http_conn *conn) { end(conn, stream_close); }

void http_conn_lost(struct http_conn *conn)
{
    uint8_t state = conn->state;
    end(conn, stream_close);
    if (state != HTTP_CONN_CLOSED)
        tell(conn, state);
}

void http_conn_cut(struct http_conn *conn)
{
    uint8_t state = conn->state;
    end(conn, stream_reset);
    if (state != HTTP_CONN_CLOSED)
        tell(conn, state);
}

static void on_shut(void *arg, enum fail fail)
{
    (void)arg; /* a shutdown that fails ends like one that works: by the client's EOF or the timer */
    (void)fail;
}

static void on_read(void *arg, char *data, ptrdiff_t len);

static void linger(struct http_conn *conn)
{
    if (conn->at_eof || stream_shutdown(conn->stream, on_shut, conn)) {
        http_conn_close(conn);
        return;
    }
    conn->state = HTTP_CONN_LINGER;
    conn->due_ms = now_ms(conn) + (conn->server->is_closing ? HTTP_LINGER_CLOSING_MS : HTTP_LINGER_MS);
    buf_clear(&conn->in);
    if (conn->is_paused)
        stream_read_start(conn->stream, on_read, conn);
}

/* --- time --- */

/* The timer of a state that has no time limit is left to come and find nothing to do: stopping and starting it again
 * would cost each request more. */
static void arm(struct http_conn *conn)
{
    uint64_t due = conn->due_ms, now = now_ms(conn);
    if (conn->state == HTTP_CONN_HEAD && conn->writes)
        due = 0; /* its time begins when the last reply is written */
    if (conn->state == HTTP_CONN_BODY && conn->slot->rate_due_ms && conn->slot->rate_due_ms < due)
        due = conn->slot->rate_due_ms;
    if (conn->writes && (due == 0 || conn->write_due_ms < due))
        due = conn->write_due_ms;
    if (due)
        timer_start(conn->server->loop, &conn->timer, due > now ? due - now : 0, on_timer, conn);
}

void http_conn_hurry(struct http_conn *conn)
{
    uint64_t due = now_ms(conn) + HTTP_LINGER_CLOSING_MS;
    if (conn->state != HTTP_CONN_LINGER || conn->due_ms <= due)
        return;
    conn->due_ms = due;
    arm(conn);
}

/* True when the client received nothing for write_ms. What the kernel buffers (megabytes) counts as not received, or a
 * slow client would look like one that stands still. */
static bool is_stalled(struct http_conn *conn, uint64_t now)
{
    if (!conn->writes || now < conn->write_due_ms)
        return false;
    uint64_t progress = http_out_progress(conn);
    bool moved = progress != conn->write_progress;
    conn->write_progress = progress;
    conn->write_due_ms = now + conn->server->settings.write_ms;
    return !moved;
}

static bool is_too_slow(struct http_conn *conn, uint64_t now)
{
    struct http_slot *slot = conn->slot;
    if (conn->state != HTTP_CONN_BODY || !slot->rate_due_ms || now < slot->rate_due_ms)
        return false;
    uint64_t least = (uint64_t)conn->server->settings.body_rate_min * HTTP_RATE_WINDOW_MS / 1000;
    bool is_slow = slot->rate_bytes < least;
    slot->rate_bytes = 0;
    slot->rate_due_ms = now + HTTP_RATE_WINDOW_MS;
    return is_slow;
}

static void refuse_without_head(struct http_conn *conn, int status, const char *why);

static void on_due(struct http_conn *conn)
{
    switch (conn->state) {
    case HTTP_CONN_HEAD:
        if (conn->is_head_begun)
            refuse_without_head(conn, 408, "the head of the request did not come in time");
        else
            http_conn_close(conn);
        break;
    case HTTP_CONN_BODY: http_conn_refuse(conn, 408, "the body of the request did not come in time"); break;
    case HTTP_CONN_LINGER: http_conn_close(conn); break;
    default: break;
    }
}

static void on_timer(void *arg)
{
    struct http_conn *conn = arg;
    uint64_t now = now_ms(conn);
    if (is_stalled(conn, now)) {
        http_conn_cut(conn);
        return;
    }
    if (conn->due_ms && now >= conn->due_ms && !(conn->state == HTTP_CONN_HEAD && conn->writes))
        on_due(conn);
    else if (is_too_slow(conn, now))
        http_conn_refuse(conn, 408, "the body of the request comes too slowly");
    if (conn->state != HTTP_CONN_CLOSED)
        arm(conn);
}

/* --- after output, and between requests --- */

void http_conn_settle(struct http_conn *conn)
{
    if (conn->state == HTTP_CONN_CLOSED)
        return;
    if (conn->state == HTTP_CONN_HEAD && !conn->writes) {
        bool has_more = conn->in.len && !conn->is_head_begun;
        bool is_over = conn->ends || (conn->at_eof && !has_more) || (conn->server->is_closing && !conn->in.len);
        if (is_over) {
            linger(conn);
            if (conn->state == HTTP_CONN_CLOSED)
                return;
        } else if (has_more) {
            http_conn_defer(conn);
        } else if (!conn->is_head_begun) {
            const struct http_settings *settings = &conn->server->settings;
            conn->due_ms = now_ms(conn) + (conn->requests ? settings->idle_ms : settings->header_ms);
        }
    }
    arm(conn);
}

void http_conn_defer(struct http_conn *conn)
{
    if (conn->is_task_set)
        return;
    conn->is_task_set = true;
    conn->task.run = on_task;
    conn->task.arg = conn;
    loop_defer(conn->server->loop, &conn->task);
}

void http_conn_finish(struct http_conn *conn, struct http_slot *slot, int status, size_t bytes)
{
    struct http_server *server = conn->server;
    const struct http_request *request = &slot->request;
    if (status && server->handler.on_done)
        server->handler.on_done(server->handler.arg, request, status, bytes, clock_mono_ns() - request->started_ns);
    if (slot->is_dispatched)
        server->stats.in_flight--;
    http_slot_give(server, slot);
    conn->slot = NULL;
    if (conn->state == HTTP_CONN_CLOSED)
        free_if_done(conn);
    else
        conn->state = HTTP_CONN_HEAD;
}

bool http_conn_is_idle(const struct http_conn *conn)
{
    return conn->state == HTTP_CONN_HEAD && !conn->in.len && !conn->writes;
}

/* --- requests --- */

void http_conn_refuse(struct http_conn *conn, int status, const char *why)
{
    conn->server->stats.bad++;
    http_server_problem(&conn->slot->request, status, why);
}

static void refuse_without_head(struct http_conn *conn, int status, const char *why)
{
    struct http_slot *slot = http_slot_take(conn->server);
    if (!slot) {
        http_conn_close(conn);
        return;
    }
    memset(&slot->request.head, 0, offsetof(struct http_head, fields));
    slot->request.head.method = HTTP_METHOD_OTHER;
    slot->request.head.minor = 1;
    slot->base = NULL;
    slot->is_dispatched = false;
    conn->slot = slot;
    http_request_start(slot, conn);
    http_conn_refuse(conn, status, why);
}

void http_conn_dispatch(struct http_conn *conn)
{
    struct http_server *server = conn->server;
    struct http_slot *slot = conn->slot;
    conn->state = HTTP_CONN_HANDLING;
    conn->due_ms = 0;
    slot->is_dispatched = true;
    server->stats.in_flight++;
    server->handler.on_request(server->handler.arg, &slot->request);
    if (conn->slot != slot)
        return; /* replied */
    if (!http_request_pin(slot) || conn->at_eof)
        http_conn_lost(conn);
}

static void skip(struct str *bytes, size_t len)
{
    bytes->data += len;
    bytes->len -= len;
}

static void start_request(struct http_conn *conn, struct http_slot *slot, struct str *bytes)
{
    struct http_server *server = conn->server;
    const struct http_head *head = &slot->request.head;
    size_t head_bytes = head->bytes;
    uint64_t body_bytes = head->content_length;
    conn->slot = slot;
    conn->state = HTTP_CONN_BODY;
    conn->scanned = 0;
    conn->is_head_begun = false;
    conn->is_body_here = !head->chunked && body_bytes <= bytes->len - head_bytes;
    conn->requests++;
    server->stats.requests++;
    slot->base = bytes->data;
    slot->is_dispatched = false;
    http_request_start(slot, conn);
    skip(bytes, head_bytes);
    if (server->handler.on_head) {
        server->handler.on_head(server->handler.arg, &slot->request);
        if (conn->slot != slot) { /* replied */
            skip(bytes, conn->is_body_here ? (size_t)body_bytes : 0);
            return;
        }
    }
    http_body_start(conn, bytes);
}

/* False when there is no whole head, or none is taken any more. */
static bool read_head(struct http_conn *conn, struct str *bytes)
{
    struct http_server *server = conn->server;
    struct http_slot *slot = http_slot_take(server);
    struct http_parse_error error = { 0, NULL };
    if (!slot) {
        http_conn_close(conn);
        return false;
    }
    enum http_parse parsed = http_parse_head(*bytes, &server->settings.limits, &conn->scanned, &slot->request.head,
                                             &error);
    if (parsed == HTTP_PARSE_DONE) {
        start_request(conn, slot, bytes);
        return true;
    }
    http_slot_give(server, slot);
    if (parsed == HTTP_PARSE_BAD)
        refuse_without_head(conn, error.status, error.why);
    else if (!conn->is_head_begun) {
        conn->is_head_begun = true;
        conn->due_ms = now_ms(conn) + server->settings.header_ms;
    }
    return false;
}

static void consume(struct http_conn *conn, struct str *bytes)
{
    while (bytes->len) {
        bool takes_head = conn->state == HTTP_CONN_HEAD && !conn->ends && !conn->writes;
        if (conn->state == HTTP_CONN_BODY)
            http_body_read(conn, bytes);
        else if (!takes_head || !read_head(conn, bytes))
            return;
    }
}

/* Keeps what is left: it lies in `in` already, or in the loop's buffer. */
static bool keep(struct http_conn *conn, struct str bytes)
{
    if (bytes.len == 0 || conn->ends || conn->state == HTTP_CONN_CLOSED) {
        buf_clear(&conn->in);
    } else if (conn->in.len) {
        buf_drop_front(&conn->in, conn->in.len - bytes.len);
    } else {
        buf_add_str(&conn->in, bytes);
    }
    return buf_ok(&conn->in);
}

/* Reading goes on while a request is handled, to notice that the client left, but not without end. */
static void pause_or_go_on(struct http_conn *conn)
{
    bool is_full = conn->in.len > HTTP_WAITING_MAX;
    if (is_full && !conn->is_paused)
        stream_read_stop(conn->stream);
    else if (!is_full && conn->is_paused)
        stream_read_start(conn->stream, on_read, conn);
    conn->is_paused = is_full;
}

static void work(struct http_conn *conn, struct str bytes)
{
    struct http_server *server = conn->server;
    assert(!server->collecting);
    server->collecting = conn;
    consume(conn, &bytes);
    server->collecting = NULL;
    bool is_kept = keep(conn, bytes);
    if (!http_out_flush(conn, &server->out) || !is_kept)
        http_conn_lost(conn);
    if (conn->state == HTTP_CONN_CLOSED)
        return;
    pause_or_go_on(conn);
    http_conn_settle(conn);
}

/* The turn in which http_conn_defer was called ends. */
static void on_task(void *arg)
{
    struct http_conn *conn = arg;
    conn->is_task_set = false;
    if (conn->state == HTTP_CONN_CLOSED)
        free_if_done(conn);
    else if (conn->state == HTTP_CONN_STREAMING)
        http_streaming_push(conn);
    else if (conn->in.len)
        work(conn, str_make(conn->in.data, conn->in.len));
}

/* --- reading --- */

/* The client closed its side, or the stream broke. */
static void on_end(struct http_conn *conn, bool is_broken)
{
    conn->at_eof = true;
    if (is_broken || conn->state != HTTP_CONN_HEAD)
        http_conn_lost(conn);
    else
        http_conn_settle(conn);
}

static void on_read(void *arg, char *data, ptrdiff_t len)
{
    struct http_conn *conn = arg;
    if (len <= 0) {
        on_end(conn, len < 0);
        return;
    }
    conn->server->stats.bytes_in += (uint64_t)len;
    if (conn->state == HTTP_CONN_LINGER)
        return;
    if (!conn->in.len) {
        conn->read_ns = loop_busy_since_ns(
            conn->server->loop); /* when the bytes were ready, not when we came to them */
        work(conn, str_make(data, (size_t)len));
        return;
    }
    buf_add(&conn->in, data, (size_t)len);
    if (buf_ok(&conn->in))
        work(conn, str_make(conn->in.data, conn->in.len));
    else
        http_conn_lost(conn);
}

/* --- the beginning --- */

void http_conn_open(struct http_server *server, struct stream *stream, bool is_over_limit)
{
    struct http_conn *conn = mem_zero(MEM_HTTP, sizeof *conn);
    if (!conn) {
        stream_reset(stream, NULL, NULL);
        return;
    }
    conn->server = server;
    conn->stream = stream;
    conn->state = HTTP_CONN_HEAD;
    buf_init(&conn->in, MEM_HTTP, 0);
    list_init(&conn->task.node);
    list_push_back(&server->conns, &conn->node);
    server->stats.open++;
    stream_read_start(stream, on_read, conn);
    if (is_over_limit) {
        conn->read_ns = loop_busy_since_ns(server->loop);
        refuse_without_head(conn, 503, "the server has too many connections");
    } else {
        http_conn_settle(conn);
    }
}
