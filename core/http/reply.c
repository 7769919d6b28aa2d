/* reply.c - renders the head of an answer and hands it on.
 *
 * DESIGN  Heads are rendered into a scratch of the server. A reply given within on_request stays there until the read
 *         callback ends, together with those of pipelined requests; a later one is written at once.
 *         The connection ends after a reply when either side says so, when the server drains, and when a part of the
 *         request's body has not been read: what follows could not be told from the body.
 * Path:   serve/response, script/handler > [http/reply] > http/output > loop/stream
 */
#include "http/reply.h"

#include "http/conn.h"
#include "http/octet.h"

#include <assert.h>
#include <stdio.h>

/* clang-format off */
#define STATUSES(S)                           \
    S(200, "OK")                              \
    S(201, "Created")                         \
    S(202, "Accepted")                        \
    S(203, "Non-Authoritative Information")   \
    S(204, "No Content")                      \
    S(205, "Reset Content")                   \
    S(206, "Partial Content")                 \
    S(207, "Multi-Status")                    \
    S(300, "Multiple Choices")                \
    S(301, "Moved Permanently")               \
    S(302, "Found")                           \
    S(303, "See Other")                       \
    S(304, "Not Modified")                    \
    S(307, "Temporary Redirect")              \
    S(308, "Permanent Redirect")              \
    S(400, "Bad Request")                     \
    S(401, "Unauthorized")                    \
    S(402, "Payment Required")                \
    S(403, "Forbidden")                       \
    S(404, "Not Found")                       \
    S(405, "Method Not Allowed")              \
    S(406, "Not Acceptable")                  \
    S(407, "Proxy Authentication Required")   \
    S(408, "Request Timeout")                 \
    S(409, "Conflict")                        \
    S(410, "Gone")                            \
    S(411, "Length Required")                 \
    S(412, "Precondition Failed")             \
    S(413, "Content Too Large")               \
    S(414, "URI Too Long")                    \
    S(415, "Unsupported Media Type")          \
    S(416, "Range Not Satisfiable")           \
    S(417, "Expectation Failed")              \
    S(421, "Misdirected Request")             \
    S(422, "Unprocessable Content")           \
    S(423, "Locked")                          \
    S(424, "Failed Dependency")               \
    S(425, "Too Early")                       \
    S(426, "Upgrade Required")                \
    S(428, "Precondition Required")           \
    S(429, "Too Many Requests")               \
    S(431, "Request Header Fields Too Large") \
    S(451, "Unavailable For Legal Reasons")   \
    S(500, "Internal Server Error")           \
    S(501, "Not Implemented")                 \
    S(502, "Bad Gateway")                     \
    S(503, "Service Unavailable")             \
    S(504, "Gateway Timeout")                 \
    S(505, "HTTP Version Not Supported")      \
    S(507, "Insufficient Storage")            \
    S(508, "Loop Detected")                   \
    S(511, "Network Authentication Required")
/* clang-format on */

const char *http_status_text(int status)
{
    switch (status) {
#define TEXT(code, text) \
    case code: return text;
        STATUSES(TEXT)
#undef TEXT
    default: return "Unknown";
    }
}

static struct str status_line(int status, char spare[32])
{
    switch (status) {
#define LINE(code, text) \
    case code: return STR("HTTP/1.1 " #code " " text "\r\n");
        STATUSES(LINE)
#undef LINE
    default: return str_make(spare, (size_t)snprintf(spare, 32, "HTTP/1.1 %03d Unknown\r\n", status % 1000));
    }
}

bool http_field_is_safe(struct str name, struct str value)
{
    return name.len && http_octet_span(name.data, name.len, HTTP_OCTET_TOKEN) == name.len &&
           http_octet_span_value(value.data, value.len) == value.len;
}

/* --- the head --- */

static char *put(char *at, struct str text)
{
    if (text.len)
        memcpy(at, text.data, text.len);
    return at + text.len;
}

static char *put_number(char *at, size_t value)
{
    char digits[20];
    size_t first = sizeof digits;
    do
        digits[--first] = (char)('0' + value % 10);
    while (value /= 10);
    return put(at, str_make(digits + first, sizeof digits - first));
}

/* The line is rendered once a second (RFC 9110 6.6.1). */
static struct str date_line(struct http_server *server)
{
    int64_t now = loop_wall_s(server->loop);
    if (server->date_s != now) {
        char date[CLOCK_HTTP_LEN + 1];
        clock_http_date(now, date);
        snprintf(server->date, sizeof server->date, "Date: %s\r\n", date);
        server->date_s = now;
    }
    return str_make(server->date, sizeof server->date - 1);
}

void http_reply_head(struct http_server *server, struct buf *out, const struct http_request *request,
                     const struct http_reply *reply, struct http_head_flags flags)
{
    enum { FIXED = 320 }; /* status line, Date, length, coding, Connection, names of the others */
    char spare[32];
    if (!buf_room(out, FIXED + request->id_len + reply->type.len + reply->fields.len))
        return;
    char *at = out->data + out->len;
    at = put(at, status_line(reply->status, spare));
    at = put(at, date_line(server));
    at = put(at, STR("X-Request-Id: "));
    at = put(at, str_make(request->id, request->id_len));
    at = put(at, STR("\r\n"));
    if (reply->type.len) {
        at = put(at, STR("Content-Type: "));
        at = put(at, reply->type);
        at = put(at, STR("\r\n"));
    }
    if (flags.has_length) {
        at = put(at, STR("Content-Length: "));
        at = put_number(at, flags.length);
        at = put(at, STR("\r\n"));
    }
    if (flags.is_chunked)
        at = put(at, STR("Transfer-Encoding: chunked\r\n"));
    if (flags.is_closing)
        at = put(at, STR("Connection: close\r\n"));
    else if (request->head.minor == 0)
        at = put(at, STR("Connection: keep-alive\r\n"));
    at = put(at, reply->fields);
    at = put(at, STR("\r\n"));
    out->len = (size_t)(at - out->data);
}

bool http_reply_closes(struct http_conn *conn, const struct http_request *request, const struct http_reply *reply)
{
    const struct http_server *server = conn->server;
    unsigned most = server->settings.requests_per_conn;
    bool has_body = request->head.chunked || request->head.content_length > 0;
    bool has_unread_body = conn->state == HTTP_CONN_BODY && has_body && !conn->is_body_here;
    return reply->close || !request->head.keep_alive || server->is_closing || has_unread_body ||
           (most && conn->requests >= most);
}

bool http_reply_has_content(int status) { return status != 204 && status != 205 && status != 304; }

bool http_reply_is_bodyless(const struct http_request *request, int status)
{
    return request->head.method == HTTP_HEAD || !http_reply_has_content(status);
}

/* --- a whole reply --- */

static void throw_away(struct http_conn *conn, struct http_slot *slot, const struct http_reply *reply)
{
    if (reply->release)
        reply->release(reply->owner);
    http_conn_finish(conn, slot, /* status= */ 0, 0);
}

/* Returns how many bytes of body go out. */
static size_t render(struct http_conn *conn, struct http_outbox *out, const struct http_request *request,
                     const struct http_reply *reply)
{
    bool is_bodyless = http_reply_is_bodyless(request, reply->status);
    bool has_length = reply->status != 204 && (reply->status != 304 || reply->body.len);
    size_t length = reply->status == 205 ? 0 : reply->body.len;
    size_t offset = out->bytes.len;
    http_reply_head(conn->server, &out->bytes, request, reply,
                    (struct http_head_flags){ .is_closing = conn->ends, .has_length = has_length, .length = length });
    http_out_added(out, offset);
    if (!is_bodyless) {
        http_out_body(out, reply);
        return reply->body.len;
    }
    if (reply->release)
        reply->release(reply->owner);
    return 0;
}

void http_reply_send(struct http_request *request, const struct http_reply *reply)
{
    struct http_conn *conn = request->conn;
    struct http_slot *slot = (struct http_slot *)(void *)request;
    struct http_server *server = conn->server;
    assert(!request->replied && conn->slot == slot);
    assert(reply->status >= 200 && reply->status <= 599);
    request->replied = true;
    if (conn->state == HTTP_CONN_CLOSED) {
        throw_away(conn, slot, reply);
        return;
    }
    bool is_late = server->collecting != conn;
    struct http_outbox *out = is_late ? &server->late : &server->out;
    conn->ends = conn->ends || http_reply_closes(conn, request, reply);
    size_t bytes = render(conn, out, request, reply);
    conn->slot = NULL;
    bool leaves_now = is_late || out->total >= HTTP_COLLECTED_MAX || out->count >= HTTP_PIECES_MAX - 2 ||
                      http_out_has_unowned(out);
    if (leaves_now && !http_out_flush(conn, out))
        http_conn_close(conn);
    http_conn_finish(conn, slot, reply->status, bytes);
    if (is_late)
        http_conn_settle(conn);
}
