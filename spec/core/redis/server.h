/* server.h - a private Redis for a spec: a process of its own on a free port of 127.0.0.1, gone when the spec ends.
 *
 * WICK_TEST_REDIS (a redis:// URL) is used instead where a test only needs some server; tests that kill or stop the
 * server always start their own.
 */
#ifndef SPEC_REDIS_SERVER_H
#define SPEC_REDIS_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct server {
    pid_t pid;
    int port;
    char dir[64];
    char socket[80];      /* its unix socket */
    const char *password; /* or NULL */
};

static inline int server_socket(int port, int connects)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed = connects ? connect(fd, (struct sockaddr *)&address, sizeof address)
                          : bind(fd, (struct sockaddr *)&address, sizeof address);
    if (!failed)
        return fd;
    close(fd);
    return -1;
}

static inline int server_free_port(void)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    int fd = server_socket(0, 0);
    if (fd < 0 || getsockname(fd, (struct sockaddr *)&address, &len))
        abort();
    close(fd);
    return ntohs(address.sin_port);
}

/* Starts it (again, on the same port) and waits until it accepts. */
static inline void server_start(struct server *server)
{
    char port[8];
    if (!server->port)
        server->port = server_free_port();
    snprintf(port, sizeof port, "%d", server->port);
    if (!server->dir[0]) {
        snprintf(server->dir, sizeof server->dir, "/tmp/wick-redis-XXXXXX");
        if (!mkdtemp(server->dir))
            abort();
    }
    snprintf(server->socket, sizeof server->socket, "%s/socket", server->dir);
    server->pid = fork();
    if (server->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a spec that dies takes it along */
        execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--unixsocket", server->socket,
               "--dir", server->dir, "--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", "/dev/null",
               "--enable-debug-command", "yes",
               server->password ? "--requirepass" : "--loglevel", server->password ? server->password : "notice",
               (char *)NULL);
        _exit(127);
    }
    for (int tries = 0; tries < 500; tries++) {
        int fd = server_socket(server->port, 1);
        if (fd >= 0) {
            close(fd);
            return;
        }
        usleep(10000);
    }
    fprintf(stderr, "redis-server does not start\n");
    abort();
}

static inline void server_kill(struct server *server)
{
    if (server->pid <= 0)
        return;
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

static inline void server_stop(struct server *server)
{
    server_kill(server);
    if (server->dir[0]) {
        unlink(server->socket);
        rmdir(server->dir);
    }
}

#endif
