/* server.c - accepts connections and lets them go.
 *
 * DESIGN  Owns what connections share: slots, outboxes, the Date line, the counters. All of it belongs to one loop.
 *         OPEN -> CLOSING [http_server_close]   CLOSING -> gone [no listener and no connection is left]
 *         Over conns_max a connection is told 503 and lingers like any refused one; far over it, it is reset unheard.
 * HOLDS   on_closed comes once, from the loop, never from within a call of the one who closes or replies.
 * Path:   app > [http/server] > http/conn
 */
#include "http/server.h"

#include "base/random.h"
#include "http/conn.h"
#include "http/problem.h"

#include <assert.h>
#include <unistd.h>

enum { REFUSED_AT_ONCE = 256 };

void http_settings_default(struct http_settings *settings)
{
    *settings = (struct http_settings){
        .host = "127.0.0.1",
        .port = 8080,
        .backlog = 1024,
        .limits = { .line_bytes = 8 * 1024,
                    .head_bytes = 32 * 1024,
                    .fields_max = HTTP_FIELDS_MAX,
                    .body_bytes = 1024 * 1024 },
        .header_ms = 10000,
        .body_ms = 30000,
        .idle_ms = 75000,
        .write_ms = 30000,
        .body_rate_min = 500,
        .conns_max = 20000,
    };
}

/* --- refusals --- */

static struct str slug_of(int status)
{
    switch (status) {
    case 400: return STR("malformed-request");
    case 408: return STR("request-timeout");
    case 413: return STR("body-too-large");
    case 414: return STR("target-too-long");
    case 417: return STR("expectation-failed");
    case 431: return STR("header-fields-too-large");
    case 501: return STR("not-implemented");
    case 503: return STR("overloaded");
    case 505: return STR("version-not-supported");
    default: return STR_NONE;
    }
}

void http_server_problem(struct http_request *request, int status, const char *why)
{
    struct http_problem problem = {
        .status = status,
        .type = slug_of(status),
        .detail = str_of(why),
        .retry_after_s = status == 503 ? 1 : 0,
        .close = true,
    };
    http_problem_send(request, &problem);
}

/* --- the end --- */

static void free_server(struct http_server *server)
{
    struct list *node;
    while ((node = list_pop_front(&server->slots)))
        http_slot_free(LIST_ENTRY(node, struct http_slot, node));
    http_out_clear(&server->out);
    http_out_clear(&server->late);
    timer_stop(&server->drain_timer);
    mem_free(server->local_path);
    mem_free(server);
}

static void on_gone(void *arg)
{
    struct http_server *server = arg;
    void (*on_closed)(void *) = server->on_closed;
    void *on_closed_arg = server->on_closed_arg;
    free_server(server);
    if (on_closed)
        on_closed(on_closed_arg);
}

static void end_if_done(struct http_server *server)
{
    if (!server->is_closing || !server->is_listener_gone || !list_is_empty(&server->conns) || server->is_task_set)
        return;
    server->is_task_set = true;
    server->task.run = on_gone;
    server->task.arg = server;
    loop_defer(server->loop, &server->task);
}

void http_server_conn_gone(struct http_server *server, struct http_conn *conn)
{
    list_remove(&conn->node);
    server->stats.open--;
    mem_free(conn);
    end_if_done(server);
}

static void on_listener_closed(void *arg)
{
    struct http_server *server = arg;
    server->is_listener_gone = true;
    end_if_done(server);
}

/* Time is up: who is still there is cut off. */
static void on_drained(void *arg)
{
    struct http_server *server = arg;
    LIST_EACH_SAFE(&server->conns, node, after)
    http_conn_cut(LIST_ENTRY(node, struct http_conn, node));
}

void http_server_close(struct http_server *server, unsigned drain_ms, void (*on_closed)(void *arg), void *arg)
{
    assert(!server->is_closing);
    server->is_closing = true;
    server->on_closed = on_closed;
    server->on_closed_arg = arg;
    LIST_EACH_SAFE(&server->conns, node, after)
    {
        struct http_conn *conn = LIST_ENTRY(node, struct http_conn, node);
        if (http_conn_is_idle(conn))
            http_conn_close(conn);
        else
            http_conn_hurry(conn);
    }
    timer_start(server->loop, &server->drain_timer, drain_ms, on_drained, server);
    if (server->local_path)
        unlink(server->local_path);
    stream_listener_close(server->listener, on_listener_closed, server);
}

/* --- the beginning --- */

static void on_accept(void *arg, struct stream *stream)
{
    struct http_server *server = arg;
    unsigned most = server->settings.conns_max;
    if (server->is_closing || (most && server->stats.open >= most + REFUSED_AT_ONCE)) {
        stream_reset(stream, NULL, NULL);
        return;
    }
    server->stats.accepted++;
    http_conn_open(server, stream, most && server->stats.open >= most);
}

static enum fail listen_local(struct http_server *server, char *why, size_t why_bytes)
{
    const struct http_settings *settings = &server->settings;
    int fd;
    if (!(server->local_path = mem_dup(MEM_HTTP, settings->host, strlen(settings->host))))
        return FAIL_NOMEM;
    enum fail fail = http_local_listen(settings->host, settings->backlog, &fd, why, why_bytes);
    if (fail)
        return fail;
    fail = stream_listen_fd(server->loop, fd, on_accept, server, &server->listener);
    if (fail) {
        close(fd);
        unlink(settings->host);
    }
    return fail;
}

static enum fail listen_here(struct http_server *server, char *why, size_t why_bytes)
{
    const struct http_settings *settings = &server->settings;
    if (settings->host[0] == '/')
        return listen_local(server, why, why_bytes);
    struct stream_listen_options options = { .backlog = settings->backlog, .reuse_port = settings->reuse_port };
    return stream_listen(server->loop, settings->host, settings->port, options, on_accept, server, &server->listener,
                         why, why_bytes);
}

MUST_USE enum fail http_server_open(struct loop *loop, const struct http_settings *settings,
                                    const struct http_handler *handler, struct http_server **out, char *why,
                                    size_t why_bytes)
{
    assert(handler->on_request);
    struct http_server *server = mem_zero(MEM_HTTP, sizeof *server);
    if (!server)
        return FAIL_NOMEM;
    uint64_t prefix = random_u64();
    server->loop = loop;
    server->settings = *settings;
    server->handler = *handler;
    server->date_s = -1;
    str_hex(&prefix, sizeof prefix, server->id_prefix);
    list_init(&server->conns);
    list_init(&server->slots);
    http_out_init(&server->out);
    http_out_init(&server->late);
    enum fail fail = listen_here(server, why, why_bytes);
    if (fail) {
        free_server(server);
        return fail;
    }
    *out = server;
    return FAIL_OK;
}

int http_server_port(const struct http_server *server) { return stream_listener_port(server->listener); }

void http_server_stats(const struct http_server *server, struct http_stats *out) { *out = server->stats; }
