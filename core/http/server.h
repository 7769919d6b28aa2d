/* server.h - listens on one loop and feeds requests to a handler.
 *
 * Path: [http/server] > http/conn > http/parse > http/route > serve/response or script/handler
 */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include "base/fail.h"
#include "http/reply.h"
#include "http/request.h"
#include "http/trust.h"
#include "loop/loop.h"

struct http_handler {
    void *arg;
    /* NULL, or: for every request, before its body is read; may reply (then no on_request comes). What it keeps for the request
     * belongs into the arena: if the body never comes, nothing is called for it any more. */
    void (*on_head)(void *arg, struct http_request *request);
    void (*on_request)(void *arg, struct http_request *request); /* the body is complete; reply now or later */
    /* The client left before the reply, which is still owed. Closing its side alone counts as leaving. Not for streams: their
     * on_room is told. Never from within on_request or a call of http/reply.h. */
    void (*on_abort)(void *arg, struct http_request *request);
    /* After each reply was handed over (not on aborts before any): for logs and metrics. bytes: of the body. Refusals of the
     * server itself come here, too; where there was no valid head, method is HTTP_METHOD_OTHER and the slices are empty. */
    void (*on_done)(void *arg, const struct http_request *request, int status, size_t bytes, uint64_t took_ns);
};
struct http_settings {
    const char *host; int port;          /* host an address literal, or /path of a unix socket */
    bool reuse_port;
    int backlog;
    struct http_limits limits;
    unsigned header_ms, body_ms;         /* 10 s for a whole head, 30 s for a whole body */
    unsigned idle_ms, write_ms;          /* 75 s between requests, 30 s for a client that takes nothing of what is written */
    unsigned body_rate_min;              /* bytes/s averaged over 5 s once 5 s have passed; 0: off. default 500 */
    unsigned conns_max;                  /* over it: 503 and close. default 20,000 for the process */
    unsigned requests_per_conn;          /* then Connection: close. 0: no limit */
    struct http_trust trust;             /* proxies whose X-Forwarded-For is believed; default: none */
};
struct http_stats { uint64_t accepted, requests, bad, aborted, bytes_in, bytes_out; unsigned open, in_flight; };

struct http_server;
void http_settings_default(struct http_settings *settings);
MUST_USE enum fail http_server_open(struct loop *loop, const struct http_settings *settings, const struct http_handler *handler,
                                    struct http_server **out, char *why, size_t why_bytes);
int http_server_port(const struct http_server *server);
/* Stops accepting, answers what is in flight with Connection: close, closes idle connections, cuts the rest after drain_ms;
 * then on_closed and the server is gone. */
void http_server_close(struct http_server *server, unsigned drain_ms, void (*on_closed)(void *arg), void *arg);
void http_server_stats(const struct http_server *server, struct http_stats *out);

#endif
