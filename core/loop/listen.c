/* listen.c - accepts connections and hands them over as streams.
 *
 * DESIGN  The listening socket is ours, watched for readiness, and accepted from by hand: libuv 1.44 has no
 *         SO_REUSEPORT, and when descriptors run out and two threads race for the last one, its accept loop never
 *         returns.
 *         Out of descriptors: give up the spare one, accept with it, close both, take a new spare; the peer sees a
 *         close at once instead of hanging in the backlog. Where not even that works, rest a little.
 *         OPEN -> RESTING [rest]   RESTING -> OPEN [on_rested]
 *         any -> CLOSING [stream_listener_close]   CLOSING -> gone [on_gone]
 * HOLDS   At most BATCH accepts a turn; a log line about refused connections at most once a second.
 * Path:   http/server > [loop/listen] > loop/stream, loop/watch
 */
#include "base/log.h"
#include "base/mem.h"
#include "loop/inner.h"
#include "loop/stream.h"
#include "loop/watch.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

enum { BATCH = 64, REST_MS = 100, LOG_EVERY_MS = 1000 };

struct stream_listener {
    struct loop *loop;
    struct watch *watch;
    stream_on_accept *on_accept;
    stream_on_closed *on_closed;
    void *arg, *closed_arg;
    struct timer rest;
    struct loop_task gone;
    uint64_t log_after_ms;
    unsigned shed; /* connections closed for want of descriptors since the last log line */
    int fd, spare_fd, port;
    bool is_unix, is_closing;
};

/* --- accepting ------------------------------------------------------------------------------------------------ */

static void log_trouble(struct stream_listener *listener, int error)
{
    uint64_t now_ms = loop_now_ms(listener->loop);
    if (now_ms < listener->log_after_ms)
        return;
    listener->log_after_ms = now_ms + LOG_EVERY_MS;
    log_line(LOG_ERROR, "connections refused: raise the limit of open files (ulimit -n) or lower http.connections_max",
             LOG_INT("port", listener->port), LOG_TEXT("error", strerror(error)), LOG_INT("closed", listener->shed));
    listener->shed = 0;
}

static int open_spare(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

static void on_rested(void *arg)
{
    struct stream_listener *listener = arg;
    if (listener->spare_fd < 0)
        listener->spare_fd = open_spare();
    watch_set(listener->watch, WATCH_READ);
}

static void rest(struct stream_listener *listener)
{
    watch_set(listener->watch, 0);
    timer_start(listener->loop, &listener->rest, REST_MS, on_rested, listener);
}

/* No descriptor is left: spends the spare one on closing a connection. False: not even that. */
static bool shed_one(struct stream_listener *listener)
{
    if (listener->spare_fd < 0)
        return false;
    close(listener->spare_fd);
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        close(fd);
        listener->shed++;
    }
    listener->spare_fd = open_spare();
    return listener->spare_fd >= 0 && fd >= 0;
}

/* accept(2) hands over network errors of the connection that was waiting; they are no reason to stop. */
static bool is_passing(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case ENETDOWN:
    case ETIMEDOUT: return true;
    default: return false;
    }
}

static void hand_over(struct stream_listener *listener, int fd)
{
    struct stream *stream = stream_adopt(listener->loop, fd, listener->is_unix);
    if (stream)
        listener->on_accept(listener->arg, stream);
    else
        close(fd);
}

/* Accepts one connection; false: enough for now. */
static bool accept_one(struct stream_listener *listener)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        hand_over(listener, fd);
        return !listener->is_closing;
    }
    int error = errno;
    if (error == EAGAIN)
        return false;
    if (is_passing(error))
        return true;
    bool is_shed = (error == EMFILE || error == ENFILE) && shed_one(listener);
    log_trouble(listener, error);
    if (!is_shed)
        rest(listener);
    return is_shed;
}

static void on_ready(void *arg, unsigned events, bool broken)
{
    (void)events;
    struct stream_listener *listener = arg;
    for (unsigned i = 0; i < BATCH; i++)
        if (!accept_one(listener))
            break;
    if (broken && !listener->is_closing)
        rest(listener);
}

/* --- opening -------------------------------------------------------------------------------------------------- */

static void say(char *why, size_t bytes, const char *what, const char *host, int port, const char *error)
{
    if (why)
        snprintf(why, bytes, "%s %s port %d: %s", what, host, port, error);
}

static bool parse_address(const char *host, int port, struct sockaddr_storage *out)
{
    char bare[INET6_ADDRSTRLEN + 18];
    size_t len = strlen(host);
    if (len >= 2 && len < sizeof bare && host[0] == '[' && host[len - 1] == ']') {
        memcpy(bare, host + 1, len - 2);
        bare[len - 2] = '\0';
        return uv_ip6_addr(bare, port, (struct sockaddr_in6 *)out) == 0;
    }
    return uv_ip4_addr(host, port, (struct sockaddr_in *)out) == 0 ||
           uv_ip6_addr(host, port, (struct sockaddr_in6 *)out) == 0;
}

static socklen_t address_bytes(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* A bound socket, or -1 with errno. Accepted sockets inherit TCP_NODELAY. */
static int bind_socket(const struct sockaddr_storage *address, bool reuse_port)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    int on = 1;
    bool ok = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
              (!reuse_port || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
              setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
              bind(fd, (const struct sockaddr *)address, address_bytes(address)) == 0;
    if (ok)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int port_of(int fd)
{
    struct sockaddr_storage address = { 0 };
    socklen_t len = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return 0;
    if (address.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&address)->sin_port);
    return address.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&address)->sin6_port) : 0;
}

static bool is_unix_socket(int fd)
{
    int domain = 0;
    socklen_t len = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

enum fail stream_listen_fd(struct loop *loop, int fd, stream_on_accept *on_accept, void *arg,
                           struct stream_listener **out)
{
    assert(on_accept);
    struct stream_listener *listener = mem_zero(MEM_LOOP, sizeof *listener);
    if (!listener)
        return FAIL_NOMEM;
    *listener = (struct stream_listener){ .loop = loop,
                                          .on_accept = on_accept,
                                          .arg = arg,
                                          .fd = fd,
                                          .spare_fd = open_spare(),
                                          .port = port_of(fd),
                                          .is_unix = is_unix_socket(fd) };
    enum fail fail = listener->spare_fd < 0 ? FAIL_IO : watch_open(loop, fd, on_ready, listener, &listener->watch);
    if (fail) {
        if (listener->spare_fd >= 0)
            close(listener->spare_fd);
        mem_free(listener);
        return fail;
    }
    watch_set(listener->watch, WATCH_READ);
    *out = listener;
    return FAIL_OK;
}

enum fail stream_listen(struct loop *loop, const char *host, int port, struct stream_listen_options options,
                        stream_on_accept *on_accept, void *arg, struct stream_listener **out, char *why,
                        size_t why_bytes)
{
    struct sockaddr_storage address = { 0 };
    if (port < 0 || port > 65535 || !parse_address(host, port, &address)) {
        say(why, why_bytes, "cannot listen on", host, port, "not an IPv4 or IPv6 address with a port of 0 to 65535");
        return FAIL_INVALID;
    }
    int fd = bind_socket(&address, options.reuse_port);
    if (fd < 0 || listen(fd, options.backlog > 0 ? options.backlog : SOMAXCONN) != 0) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        say(why, why_bytes, "cannot listen on", host, port, strerror(error));
        return error == EADDRINUSE ? FAIL_REFUSED : FAIL_IO;
    }
    enum fail fail = stream_listen_fd(loop, fd, on_accept, arg, out);
    if (fail) {
        say(why, why_bytes, "cannot listen on", host, port, fail_text(fail));
        close(fd);
    }
    return fail;
}

int stream_listener_port(const struct stream_listener *listener) { return listener->port; }

/* --- closing -------------------------------------------------------------------------------------------------- */

static void on_gone(void *arg)
{
    struct stream_listener *listener = arg;
    stream_on_closed *on_closed = listener->on_closed;
    void *closed_arg = listener->closed_arg;
    mem_free(listener);
    if (on_closed)
        on_closed(closed_arg);
}

void stream_listener_close(struct stream_listener *listener, stream_on_closed *on_closed, void *arg)
{
    if (!listener)
        return;
    assert(!listener->is_closing);
    listener->is_closing = true;
    listener->on_closed = on_closed;
    listener->closed_arg = arg;
    timer_stop(&listener->rest);
    watch_close(listener->watch);
    close(listener->fd);
    if (listener->spare_fd >= 0)
        close(listener->spare_fd);
    listener->gone = (struct loop_task){ .run = on_gone, .arg = listener };
    loop_defer(listener->loop, &listener->gone);
}
