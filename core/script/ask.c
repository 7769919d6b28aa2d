/* ask.c - for commands: one question to a wick that runs, over its admin listener.
 *
 * DESIGN  Blocking: a command has nothing else to do. Connecting, asking and hearing have one deadline; looking the name up takes as long
 *         as the system lets it, and of several addresses the first alone is tried, for it is mostly this machine's own. The
 *         answer is wick's, so it has a length and is never chunked; what looks otherwise is refused.
 * Path:   lua/wick/command/pool > [script/ask] > serve/admin of another process
 */
#include "base/clock.h"
#include "script/state.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ASK_MS = 5000, ANSWER_BYTES_MAX = 8 << 20 };

struct ask {
    int fd;
    uint64_t end_ms;
    struct buf answer;
    const char *why;
};

static bool wait_for(struct ask *ask, short events)
{
    uint64_t now_ms = clock_mono_ms();
    struct pollfd poll_fd = { .fd = ask->fd, .events = events };
    int ready = now_ms < ask->end_ms ? poll(&poll_fd, 1, (int)(ask->end_ms - now_ms)) : 0;
    if (ready <= 0)
        ask->why = ready == 0 ? "no answer in time" : strerror(errno);
    return ready > 0;
}

/* Waits until the connection is there, or was refused. */
static bool end_connect(struct ask *ask)
{
    int error = 0;
    socklen_t len = sizeof error;
    return wait_for(ask, POLLOUT) && getsockopt(ask->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0;
}

static void connect_to(struct ask *ask, const struct sockaddr *address, socklen_t len)
{
    ask->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool is_there = ask->fd >= 0 && (connect(ask->fd, address, len) == 0 || (errno == EINPROGRESS && end_connect(ask)));
    if (!is_there && !ask->why) /* EAGAIN: a unix socket with more callers than it keeps */
        ask->why = errno == EAGAIN ? "it has too many callers" : "nobody listens there";
}

static void connect_unix(struct ask *ask, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path) {
        ask->why = "the path of its socket is too long";
        return;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    connect_to(ask, (struct sockaddr *)&address, sizeof address);
}

static void connect_tcp(struct ask *ask, const char *host, const char *port)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    if (getaddrinfo(host, port, &hints, &found) != 0) {
        ask->why = "its host has no address";
        return;
    }
    connect_to(ask, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
}

static bool send_all(struct ask *ask, const char *text, size_t len)
{
    while (len > 0) {
        if (!wait_for(ask, POLLOUT))
            return false;
        ssize_t sent = send(ask->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            ask->why = strerror(errno);
            return false;
        }
        if (sent > 0) {
            text += sent;
            len -= (size_t)sent;
        }
    }
    return true;
}

static bool read_all(struct ask *ask)
{
    char chunk[16384];
    while (wait_for(ask, POLLIN)) {
        ssize_t got = recv(ask->fd, chunk, sizeof chunk, MSG_DONTWAIT);
        if (got == 0)
            return true;
        if (got > 0)
            buf_add(&ask->answer, chunk, (size_t)got);
        else if (errno != EAGAIN && errno != EINTR)
            ask->why = strerror(errno);
        if (!buf_ok(&ask->answer))
            ask->why = "the answer is too long";
        if (ask->why)
            return false;
    }
    return false;
}

/* Pushes status and body, or nil and why. [-0, +2] */
static int push_answer(lua_State *L, struct ask *ask)
{
    int status = 0;
    char *body = NULL;
    buf_add_char(&ask->answer, '\0');
    if (!ask->why && buf_ok(&ask->answer)) {
        body = strstr(ask->answer.data, "\r\n\r\n");
        if (!body || sscanf(ask->answer.data, "HTTP/1.1 %3d", &status) != 1)
            ask->why = "this is no answer of wick";
    }
    if (ask->why) {
        lua_pushnil(L);
        lua_pushstring(L, ask->why);
    } else {
        lua_pushinteger(L, status);
        lua_pushlstring(L, body + 4, ask->answer.len - 1 - (size_t)(body + 4 - ask->answer.data));
    }
    buf_clear(&ask->answer);
    return 2;
}

/* native.ask(host, port, path) -> status, body | nil, why. host may be the path of a unix socket. */
int script_ask(lua_State *L)
{
    const char *host = luaL_checkstring(L, 1), *port = luaL_optstring(L, 2, ""), *path = luaL_checkstring(L, 3);
    struct ask ask = { .fd = -1, .end_ms = clock_mono_ms() + ASK_MS };
    char request[512];
    int len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: wick\r\nConnection: close\r\n\r\n", path);
    luaL_argcheck(L, len > 0 && len < (int)sizeof request, 3, "too long");
    buf_init(&ask.answer, MEM_SCRIPT, ANSWER_BYTES_MAX);
    if (host[0] == '/')
        connect_unix(&ask, host);
    else
        connect_tcp(&ask, host, port);
    if (!ask.why && send_all(&ask, request, (size_t)len))
        (void)read_all(&ask);
    if (ask.fd >= 0)
        close(ask.fd);
    return push_answer(L, &ask);
}
