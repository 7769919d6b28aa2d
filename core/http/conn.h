/* conn.h - what the files of core/http know of each other. Nobody else includes it.
 *
 * One server on one loop owns connections; a connection has at most one request in hand; the request lies in a slot,
 * which is borrowed from the server's free list only while the request is there: an idle connection is one small struct.
 */
#ifndef HTTP_CONN_H
#define HTTP_CONN_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "http/chunk.h"
#include "http/reply.h"
#include "http/request.h"
#include "http/server.h"
#include "loop/stream.h"
#include "loop/timer.h"

enum {
    HTTP_PIECES_MAX = 16,             /* what stream_try_write takes */
    HTTP_COLLECTED_MAX = 64 * 1024,   /* replies waiting for the end of a read: more is written at once */
    HTTP_WAITING_MAX = 64 * 1024,     /* bytes of pipelined requests kept; then reading pauses */
    HTTP_ROOM_BYTES = 64 * 1024,      /* a stream with more than this in its queue has no room */
    HTTP_SLOTS_KEPT = 128,
    HTTP_LINGER_MS = 5000,
    HTTP_LINGER_CLOSING_MS = 300,     /* .. while the server closes */
    HTTP_RATE_WINDOW_MS = 5000
};

/* HEAD: waits for a request or its head. BODY: its body comes. HANDLING: a reply is owed. STREAMING: it is being written in
 * pieces. LINGER: the last reply is out, what still comes is thrown away. CLOSED: the stream is closing or gone. */
enum http_conn_state { HTTP_CONN_HEAD, HTTP_CONN_BODY, HTTP_CONN_HANDLING, HTTP_CONN_STREAMING, HTTP_CONN_LINGER, HTTP_CONN_CLOSED };

struct http_streaming {
    struct buf out;                   /* pieces of this turn */
    http_on_room *on_room;
    void *arg;
    int status;
    bool is_chunked, is_bodyless, is_full;
    size_t bytes;
};

struct http_slot {
    struct http_request request;
    struct list node;                 /* on the free list */
    const char *base;                 /* where the head lay when it was parsed; NULL once copied */
    struct buf body;
    struct http_chunk chunk;
    bool is_dispatched;               /* on_request was called */
    uint64_t rate_due_ms, rate_bytes;
    struct http_streaming streaming;
};

struct http_conn {
    struct list node;
    struct http_server *server;
    struct stream *stream;
    struct http_slot *slot;           /* the request in hand, or NULL */
    struct buf in;                    /* bytes read and not yet used up; no memory while there are none */
    size_t scanned;                   /* of http_parse_head */
    struct timer timer;
    struct loop_task task;            /* goes on after the current callback: see http_conn_defer */
    uint64_t due_ms;                  /* of the present state, 0: none */
    uint64_t write_due_ms, write_progress, write_total;
    uint64_t read_ns;
    unsigned requests, writes;        /* writes: queued and not yet reported */
    uint8_t state;
    bool ends;                        /* no further request is taken */
    bool at_eof, is_task_set, is_head_begun, is_paused, is_stream_gone;
    bool is_body_here;                /* the whole body lies behind the head, in the bytes at hand */
};

/* Bytes for one writev: what was rendered here, and borrowed bodies between. */
struct http_piece {
    size_t offset;                    /* into bytes, when outside.data is NULL; outside.len is the length of both kinds */
    struct str outside;
    void (*release)(void *owner);
    void *owner;
};
struct http_outbox {
    struct buf bytes;
    struct http_piece pieces[HTTP_PIECES_MAX];
    unsigned count;
    size_t total;
};

struct http_server {
    struct loop *loop;
    struct http_settings settings;
    struct http_handler handler;
    struct stream_listener *listener;
    char *local_path;                 /* of the unix socket, or NULL */
    struct list conns, slots;
    unsigned slot_count;
    struct http_conn *collecting;     /* whose read callback runs: its replies wait in `out` for the end of it */
    struct http_outbox out, late;     /* late: filled and written within one call, by replies from elsewhere */
    int64_t date_s;
    char date[CLOCK_HTTP_LEN + 9];    /* a whole line */
    char id_prefix[16];
    uint64_t id_count;
    struct http_stats stats;
    bool is_closing, is_listener_gone, is_task_set;
    struct timer drain_timer;
    struct loop_task task;
    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

/* request.c */
struct http_slot *http_slot_take(struct http_server *server);               /* NULL when out of memory */
void http_slot_give(struct http_server *server, struct http_slot *slot);
void http_slot_free(struct http_slot *slot);
void http_request_start(struct http_slot *slot, struct http_conn *conn);    /* after its head; gives it an id */
bool http_request_pin(struct http_slot *slot);                              /* copies what lies in a read buffer; false: no memory */

/* conn.c */
void http_conn_open(struct http_server *server, struct stream *stream, bool is_over_limit);
void http_conn_close(struct http_conn *conn);       /* no callback but the slot's release; the slot stays with who holds it */
void http_conn_lost(struct http_conn *conn);        /* the same, and tells who waits */
void http_conn_cut(struct http_conn *conn);         /* the same as lost, with RST */
void http_conn_finish(struct http_conn *conn, struct http_slot *slot, int status, size_t bytes);  /* the reply is handed over */
void http_conn_settle(struct http_conn *conn);      /* after output: timers, the next request, or the end */
void http_conn_defer(struct http_conn *conn);       /* goes on with the connection at the end of this turn */
bool http_conn_is_idle(const struct http_conn *conn);
void http_conn_hurry(struct http_conn *conn);       /* the server closes: who lingers does so no longer than HTTP_LINGER_CLOSING_MS */

/* body.c */
void http_body_start(struct http_conn *conn, struct str *bytes);
void http_body_read(struct http_conn *conn, struct str *bytes);
void http_conn_dispatch(struct http_conn *conn);                             /* conn.c: the body is whole */
void http_conn_refuse(struct http_conn *conn, int status, const char *why);  /* conn.c: a problem, then the end */

/* output.c */
void http_out_init(struct http_outbox *out);
void http_out_clear(struct http_outbox *out);
void http_out_added(struct http_outbox *out, size_t offset);                 /* bytes from offset on were rendered */
void http_out_body(struct http_outbox *out, const struct http_reply *reply); /* releases at once what it copies */
bool http_out_has_unowned(const struct http_outbox *out);
bool http_out_flush(struct http_conn *conn, struct http_outbox *out);        /* false: the stream is broken */
uint64_t http_out_progress(const struct http_conn *conn);                    /* changes when the client receives something */
/* Queues what may be freed only later; release is called in any case. */
bool http_out_write(struct http_conn *conn, struct str bytes, void (*release)(void *owner), void *owner);

/* reply.c */
struct http_head_flags { bool is_closing, is_chunked, has_length; size_t length; };
void http_reply_head(struct http_server *server, struct buf *out, const struct http_request *request, const struct http_reply *reply,
                     struct http_head_flags flags);
bool http_reply_closes(struct http_conn *conn, const struct http_request *request, const struct http_reply *reply);
bool http_reply_has_content(int status);   /* false: it ends with its head (RFC 9110 15.3.5, 15.3.6, 15.4.5) */
bool http_reply_is_bodyless(const struct http_request *request, int status);

/* streaming.c */
void http_streaming_push(struct http_conn *conn);      /* end of turn */
void http_streaming_drained(struct http_conn *conn);   /* a queued write is done */

/* local.c */
MUST_USE enum fail http_local_listen(const char *path, int backlog, int *out, char *why, size_t why_bytes);

/* server.c */
void http_server_conn_gone(struct http_server *server, struct http_conn *conn);
void http_server_problem(struct http_request *request, int status, const char *why);

#endif
