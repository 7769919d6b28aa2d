/* notify.c - tells systemd what state the process is in: one datagram to the socket named by NOTIFY_SOCKET. */
#include "notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void notify_send(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t len = path ? strlen(path) : 0;
    if (len == 0 || len >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, len);
    if (path[0] == '@')
        address.sun_path[0] = '\0'; /* the abstract namespace */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, bytes) < 0) {
        /* systemd is not listening: nothing to do, and nothing lost */
    }
    close(fd);
}

unsigned notify_watchdog_ms(void)
{
    const char *text = getenv("WATCHDOG_USEC");
    unsigned long long us = text ? strtoull(text, NULL, 10) : 0;
    return us >= 2000 && us < 3600000000ull ? (unsigned)(us / 2000) : 0; /* twice as often as asked */
}
