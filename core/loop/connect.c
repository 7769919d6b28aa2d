/* connect.c - turns a host and a port into a connected stream, under one deadline.
 *
 * DESIGN  LOOKING_UP -> CONNECTING [on_uv_looked_up]
 *         CONNECTING -> CONNECTING, to the next address [on_uv_connected, on_late]
 *         any -> gone [finish: calls on_connected; stream_connect_cancel: does not]
 *         Addresses are tried in the order the resolver gives. Each gets an equal share of the time that is left, so
 *         a dead first one does not eat the deadline of a live second one. Literals and unix sockets skip the lookup.
 *         A lookup or an attempt that is given up outlives us: it forgets its owner and frees itself when libuv is
 *         done with it.
 * HOLDS   At most one lookup or attempt is ours. The timer is set from on_start to the end.
 * Path:   redis/connection > [loop/connect] > loop/stream
 */
#include "base/clock.h"
#include "base/mem.h"
#include "loop/inner.h"
#include "loop/stream.h"

#include <assert.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/un.h>

enum { HOST_MAX = 256, WHY_MAX = 512 };

struct lookup {
    uv_getaddrinfo_t req; /* first */
    struct stream_connecting *owner;
};

struct attempt {
    uv_connect_t req; /* first */
    struct stream_connecting *owner;
    struct stream *stream;
};

struct stream_connecting {
    struct loop *loop;
    stream_on_connected *on_connected;
    void *arg;
    struct timer late;
    struct loop_task start;
    uint64_t deadline_ms;
    struct lookup *lookup;
    struct attempt *attempt;
    struct addrinfo *found, *next; /* found by the lookup; next to be tried */
    struct sockaddr_storage literal;
    enum fail fail; /* of the last attempt */
    int port;
    bool has_started, is_cancelled;
    char host[HOST_MAX], why[WHY_MAX];
};

static void try_next(struct stream_connecting *connecting);

/* --- the end -------------------------------------------------------------------------------------------------- */

static void drop_attempt(struct stream_connecting *connecting)
{
    struct attempt *attempt = connecting->attempt;
    if (!attempt)
        return;
    connecting->attempt = NULL;
    attempt->owner = NULL;
    stream_close(attempt->stream, NULL, NULL); /* on_uv_connected comes with UV_ECANCELED and frees the attempt */
}

static void drop_lookup(struct stream_connecting *connecting)
{
    struct lookup *lookup = connecting->lookup;
    if (!lookup)
        return;
    connecting->lookup = NULL;
    lookup->owner = NULL;
    uv_cancel((uv_req_t *)&lookup->req);
}

static void destroy(struct stream_connecting *connecting)
{
    timer_stop(&connecting->late);
    drop_lookup(connecting);
    drop_attempt(connecting);
    if (connecting->found)
        uv_freeaddrinfo(connecting->found);
    mem_free(connecting);
}

/* The last thing that happens to it. why is read before the memory goes, so it is copied out. */
static void finish(struct stream_connecting *connecting, enum fail fail, struct stream *stream)
{
    stream_on_connected *on_connected = connecting->on_connected;
    void *arg = connecting->arg;
    char why[WHY_MAX];
    memcpy(why, connecting->why, sizeof why);
    destroy(connecting);
    on_connected(arg, fail, stream, fail ? why : NULL);
}

static void note(struct stream_connecting *connecting, enum fail fail, const char *what, const char *error)
{
    connecting->fail = fail;
    if (connecting->host[0] == '/')
        snprintf(connecting->why, sizeof connecting->why, "%s %s: %s", what, connecting->host, error);
    else
        snprintf(connecting->why, sizeof connecting->why, "%s %s port %d: %s", what, connecting->host, connecting->port,
                 error);
}

/* --- attempts ------------------------------------------------------------------------------------------------- */

static void give_time(struct stream_connecting *connecting, unsigned shares);

static void on_uv_connected(uv_connect_t *req, int error)
{
    struct attempt *attempt = (struct attempt *)req;
    struct stream_connecting *connecting = attempt->owner;
    struct stream *stream = attempt->stream;
    loop_awake(loop_of(req->handle));
    mem_free(attempt);
    if (!connecting)
        return; /* given up; its stream is closing */
    connecting->attempt = NULL;
    if (error) {
        stream_close(stream, NULL, NULL);
        note(connecting, loop_fail(error), "cannot connect to", uv_strerror(error));
        try_next(connecting);
        return;
    }
    if (connecting->host[0] != '/')
        uv_tcp_nodelay((uv_tcp_t *)stream_handle(stream), 1);
    finish(connecting, FAIL_OK, stream);
}

static int start_attempt(struct attempt *attempt, const struct sockaddr *address, const char *path)
{
    uv_stream_t *handle = stream_handle(attempt->stream);
    if (!path)
        return uv_tcp_connect(&attempt->req, (uv_tcp_t *)handle, address, on_uv_connected);
    uv_pipe_connect(&attempt->req, (uv_pipe_t *)handle, path, on_uv_connected);
    return 0;
}

/* False: it failed at once, and noted why. */
static bool attempt_to(struct stream_connecting *connecting, const struct sockaddr *address, const char *path)
{
    struct attempt *attempt = mem_zero(MEM_LOOP, sizeof *attempt);
    struct stream *stream = attempt ? stream_open(connecting->loop, path != NULL) : NULL;
    if (!stream) {
        mem_free(attempt);
        note(connecting, FAIL_NOMEM, "cannot connect to", fail_text(FAIL_NOMEM));
        return false;
    }
    attempt->owner = connecting;
    attempt->stream = stream;
    int error = start_attempt(attempt, address, path);
    if (!error) {
        connecting->attempt = attempt;
        return true;
    }
    stream_close(stream, NULL, NULL);
    mem_free(attempt);
    note(connecting, loop_fail(error), "cannot connect to", uv_strerror(error));
    return false;
}

static unsigned addresses_left(const struct addrinfo *from)
{
    unsigned count = 0;
    for (; from; from = from->ai_next)
        count++;
    return count;
}

/* Nothing is under way: starts the next attempt, or gives up. */
static void try_next(struct stream_connecting *connecting)
{
    while (connecting->next) {
        struct addrinfo *to = connecting->next;
        give_time(connecting, addresses_left(to));
        connecting->next = to->ai_next;
        if (attempt_to(connecting, to->ai_addr, NULL))
            return;
    }
    finish(connecting, connecting->fail, NULL);
}

/* The time of a lookup or of an attempt is over. */
static void on_late(void *arg)
{
    struct stream_connecting *connecting = arg;
    note(connecting, FAIL_TIMEOUT, connecting->lookup ? "cannot resolve" : "cannot connect to", "timed out");
    if (connecting->lookup) {
        finish(connecting, FAIL_TIMEOUT, NULL);
        return;
    }
    drop_attempt(connecting);
    try_next(connecting);
}

static void give_time(struct stream_connecting *connecting, unsigned shares)
{
    uint64_t now_ms = clock_mono_ms();
    uint64_t left_ms = connecting->deadline_ms > now_ms ? connecting->deadline_ms - now_ms : 0;
    timer_start(connecting->loop, &connecting->late, left_ms / shares, on_late, connecting);
}

/* --- from a name to addresses --------------------------------------------------------------------------------- */

static void on_uv_looked_up(uv_getaddrinfo_t *req, int error, struct addrinfo *found)
{
    struct lookup *lookup = (struct lookup *)req;
    struct stream_connecting *connecting = lookup->owner;
    loop_awake(req->loop->data);
    mem_free(lookup);
    if (!connecting) {
        uv_freeaddrinfo(found);
        return;
    }
    connecting->lookup = NULL;
    if (error) {
        note(connecting, loop_fail(error), "cannot resolve", uv_strerror(error));
        finish(connecting, connecting->fail, NULL);
        return;
    }
    connecting->found = connecting->next = found;
    try_next(connecting);
}

static bool look_up(struct stream_connecting *connecting)
{
    struct lookup *lookup = mem_zero(MEM_LOOP, sizeof *lookup);
    if (!lookup) {
        note(connecting, FAIL_NOMEM, "cannot resolve", fail_text(FAIL_NOMEM));
        return false;
    }
    lookup->owner = connecting;
    char port[8];
    snprintf(port, sizeof port, "%d", connecting->port);
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    int error = uv_getaddrinfo(&connecting->loop->uv, &lookup->req, on_uv_looked_up, connecting->host, port, &hints);
    if (error) {
        mem_free(lookup);
        note(connecting, loop_fail(error), "cannot resolve", uv_strerror(error));
        return false;
    }
    connecting->lookup = lookup;
    return true;
}

/* IPv4, IPv6, and IPv6 in brackets. */
static bool parse_literal(struct stream_connecting *connecting)
{
    char *host = connecting->host;
    size_t len = strlen(host);
    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        memmove(host, host + 1, len - 2);
        host[len - 2] = '\0';
    }
    return uv_ip4_addr(host, connecting->port, (struct sockaddr_in *)&connecting->literal) == 0 ||
           uv_ip6_addr(host, connecting->port, (struct sockaddr_in6 *)&connecting->literal) == 0;
}

/* The first turn after stream_connect: from here on on_connected may be called. */
static void on_start(void *arg)
{
    struct stream_connecting *connecting = arg;
    if (connecting->is_cancelled) {
        destroy(connecting);
        return;
    }
    connecting->has_started = true;
    give_time(connecting, 1);
    bool is_under_way;
    if (connecting->host[0] == '/')
        is_under_way = attempt_to(connecting, NULL, connecting->host);
    else if (parse_literal(connecting))
        is_under_way = attempt_to(connecting, (const struct sockaddr *)&connecting->literal, NULL);
    else
        is_under_way = look_up(connecting);
    if (!is_under_way)
        finish(connecting, connecting->fail, NULL);
}

enum fail stream_connect(struct loop *loop, const char *host, int port, unsigned ms_max,
                         stream_on_connected *on_connected, void *arg, struct stream_connecting **out)
{
    assert(on_connected);
    size_t host_max = host[0] == '/' ? sizeof((struct sockaddr_un *)0)->sun_path : HOST_MAX;
    if (!*host || strlen(host) >= host_max || port < 0 || port > 65535)
        return FAIL_INVALID;
    struct stream_connecting *connecting = mem_zero(MEM_LOOP, sizeof *connecting);
    if (!connecting)
        return FAIL_NOMEM;
    connecting->loop = loop;
    connecting->on_connected = on_connected;
    connecting->arg = arg;
    connecting->port = port;
    connecting->fail = FAIL_NOMEM;
    memcpy(connecting->host, host, strlen(host));
    connecting->deadline_ms = clock_mono_ms() + ms_max;
    connecting->start = (struct loop_task){ .run = on_start, .arg = connecting };
    loop_defer(loop, &connecting->start);
    *out = connecting;
    return FAIL_OK;
}

void stream_connect_cancel(struct stream_connecting *connecting)
{
    if (!connecting)
        return;
    if (connecting->has_started) {
        destroy(connecting);
        return;
    }
    connecting->is_cancelled = true; /* on_start is still to come and must find us */
}
