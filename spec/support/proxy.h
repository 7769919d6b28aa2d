/* proxy.h - a fault proxy (fault_proxy.c, where its commands are) in front of a server, for C specs.
 *
 *   struct proxy proxy;
 *   proxy_start(&proxy, server_url());          proxy.url leads through it
 *   proxy_tell(&proxy, "set down_fragment=1");  proxy_tell(&proxy, "on D half rst");
 *   proxy_stop(&proxy);                         harmless when it does not run
 */
#ifndef SUPPORT_PROXY_H
#define SUPPORT_PROXY_H

#include "support/spec.h"

#include <arpa/inet.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct proxy {
    pid_t pid;
    int control;                         /* a socket */
    unsigned port;
    char url[320];                       /* the server's with our port and without TLS */
};

static inline void proxy_exec(int out, unsigned server_port)
{
    char self[256], path[300], port[16];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len > 0 ? len : 0] = '\0';
    snprintf(path, sizeof path, "%s/fault_proxy", dirname(self));
    snprintf(port, sizeof port, "%u", server_port);
    dup2(out, STDOUT_FILENO);
    execl(path, "fault_proxy", port, (char *)NULL);
    _exit(127);
}

static inline int proxy_connect(unsigned port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* url: postgres://user:password@127.0.0.1:PORT/database; extra: parameters behind it, such as "&tcp_user_timeout=500", or "". */
static inline void proxy_start_with(struct proxy *proxy, const char *url, const char *extra)
{
    const char *host = strrchr(url, '@'), *colon = host ? strchr(host, ':') : NULL, *slash = colon ? strchr(colon, '/') : NULL;
    assert_non_null(slash);
    int out[2];
    char line[64] = "";
    assert_int_equal(pipe(out), 0);
    proxy->pid = fork();
    if (proxy->pid == 0)
        proxy_exec(out[1], (unsigned)atoi(colon + 1));
    close(out[1]);
    unsigned control = 0;
    assert_true(read(out[0], line, sizeof line - 1) > 0);
    assert_int_equal(sscanf(line, "port=%u control=%u", &proxy->port, &control), 2);
    close(out[0]);
    proxy->control = proxy_connect(control);
    snprintf(proxy->url, sizeof proxy->url, "%.*s:%u%s?sslmode=disable%s", (int)(colon - url), url, proxy->port, slash, extra);
}

static inline void proxy_start(struct proxy *proxy, const char *url) { proxy_start_with(proxy, url, ""); }

/* Says it and waits until it holds; the answer behind "ok", valid until the next call. */
static inline const char *proxy_tell(struct proxy *proxy, const char *command)
{
    static char answer[256];
    size_t len = 0;
    dprintf(proxy->control, "%s\n", command);
    do {
        ssize_t bytes = read(proxy->control, answer + len, sizeof answer - 1 - len);
        assert_true(bytes > 0);
        len += (size_t)bytes;
    } while (answer[len - 1] != '\n');
    answer[len - 1] = '\0';
    if (strncmp(answer, "ok", 2) != 0)
        fail_msg("the proxy says to '%s': %s", command, answer);
    return answer + 2;
}

/* A number of `stat`: "open", "accepted", "up", "down", "armed", "darkens". */
static inline unsigned proxy_stat(struct proxy *proxy, const char *name)
{
    char key[24];
    snprintf(key, sizeof key, " %s=", name);
    const char *at = strstr(proxy_tell(proxy, "stat"), key);
    assert_non_null(at);
    return (unsigned)strtoul(at + strlen(key), NULL, 10);
}

static inline void proxy_stop(struct proxy *proxy)
{
    if (proxy->pid <= 0)
        return;
    close(proxy->control);
    kill(proxy->pid, SIGKILL);
    waitpid(proxy->pid, NULL, 0);
    proxy->pid = 0;
}

#endif
