/* local.c - the listening end of a unix socket, for a proxy or an agent on the same machine.
 *
 * DESIGN  A socket file outlives the process that made it. If one is in the way, it is asked: when nobody answers it is
 *         stale and replaced; when somebody does, the address is taken. Any other kind of file is left alone.
 * Path:   http/server > [http/local]
 */
#include "http/conn.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int open_socket(void) { return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }

static bool is_stale(const struct sockaddr_un *address)
{
    struct stat file;
    if (lstat(address->sun_path, &file) != 0 || !S_ISSOCK(file.st_mode))
        return false;
    int fd = open_socket();
    bool is_refused = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
                      errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return is_refused;
}

static int bind_to(int fd, const struct sockaddr_un *address)
{
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) == 0)
        return 0;
    if (errno != EADDRINUSE)
        return -1;
    if (!is_stale(address) || unlink(address->sun_path) != 0) {
        errno = EADDRINUSE;
        return -1;
    }
    return bind(fd, (const struct sockaddr *)address, sizeof *address);
}

MUST_USE enum fail http_local_listen(const char *path, int backlog, int *out, char *why, size_t why_bytes)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path) {
        snprintf(why, why_bytes, "cannot listen on %s: the path is longer than %zu bytes", path,
                 sizeof address.sun_path - 1);
        return FAIL_INVALID;
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = open_socket();
    if (fd >= 0 && bind_to(fd, &address) == 0 && listen(fd, backlog > 0 ? backlog : SOMAXCONN) == 0) {
        *out = fd;
        return FAIL_OK;
    }
    int error = errno;
    if (fd >= 0)
        close(fd);
    snprintf(why, why_bytes, "cannot listen on %s: %s", path, strerror(error));
    return error == EADDRINUSE ? FAIL_REFUSED : FAIL_IO;
}
