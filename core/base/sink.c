/* sink.c - where lines go, without ever waiting for those who read them.
 *
 * DESIGN  Standard error is shared with whoever started us, a terminal with its shell even: O_NONBLOCK on it would be theirs,
 *         too. So a pipe or a terminal is opened once more, which gives an open file of our own that may refuse to wait; a
 *         socket (the journal's) is asked so with each send. What cannot be opened again (another user's pipe) is asked by
 *         poll before each piece of PIPE_BUF bytes, for which a pipe that says POLLOUT has room; only another program that
 *         fills it in between could make us wait.
 *         A pipe's reader may be behind by PIPE_BYTES, where the kernel allows it: that is the bound of what queues.
 *         Files do not wait.
 * Path:   base/log > [base/sink]
 */
#include "base/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIPE_BYTES = 1 << 20 };

static int open_again(int fd)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

struct sink sink_open(int fd)
{
    struct stat info;
    struct sink sink = SINK_OF(fd);
    if (fstat(fd, &info) != 0)
        return sink;
    if (S_ISFIFO(info.st_mode))
        (void)fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES); /* refused, it holds the 64 KiB that every pipe does */
    int own = S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode) ? open_again(fd) : -1;
    if (own >= 0)
        return (struct sink){ .fd = own, .is_own = true, .kind = SINK_STRAIGHT };
    if (S_ISREG(info.st_mode))
        sink.kind = SINK_STRAIGHT;
    else if (S_ISSOCK(info.st_mode))
        sink.kind = SINK_SOCKET;
    return sink;
}

void sink_close(struct sink *sink)
{
    if (sink->is_own)
        close(sink->fd);
}

static bool has_room(int fd)
{
    struct pollfd wanted = { .fd = fd, .events = POLLOUT };
    return poll(&wanted, 1, 0) == 1;
}

static ssize_t write_piece(const struct sink *sink, const char *data, size_t len)
{
    switch (sink->kind) {
    case SINK_SOCKET: return send(sink->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    case SINK_STRAIGHT: return write(sink->fd, data, len);
    case SINK_POLLED: break;
    }
    return has_room(sink->fd) ? write(sink->fd, data, len < PIPE_BUF ? len : PIPE_BUF) : -1;
}

size_t sink_write(const struct sink *sink, const char *data, size_t len)
{
    size_t done = 0;
    while (done < len) {
        errno = 0;
        ssize_t wrote = write_piece(sink, data + done, len - done);
        if (wrote > 0)
            done += (size_t)wrote;
        else if (errno != EINTR)
            break;
    }
    return done;
}
