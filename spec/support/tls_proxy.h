/* tls_proxy.h - stands in front of a PostgreSQL, takes TLS from its client, and packs what the server says into records of 16 kB.
 *
 * PostgreSQL writes records of at most 8 kB, which libpq's buffer always takes whole. Others (YugabyteDB, TLS proxies) write 16 kB
 * ones, of which libpq takes a part: the rest stays decrypted inside of OpenSSL, where poll() does not see it. This proxy makes that
 * happen: it waits until the server has been silent for TLS_PROXY_SILENT_MS or 16 kB are there, and writes them as one record.
 * One thread for each connection; blocking calls and poll are fine there.
 */
#ifndef SUPPORT_TLS_PROXY_H
#define SUPPORT_TLS_PROXY_H

#include "support/spec.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TLS_PROXY_RECORD = 16384, TLS_PROXY_SILENT_MS = 3 };

struct tls_proxy {
    SSL_CTX *context;
    int listener, port, server_port;
    pthread_t thread;
    atomic_uint connections, attempts, full_records;  /* open now; begun in all; records of 16 kB written */
    atomic_bool is_closing;
};

struct tls_proxied {
    struct tls_proxy *proxy;
    SSL *ssl;
    int client, server;
    unsigned char held[TLS_PROXY_RECORD];
    int held_bytes;
};

static inline void tls_proxy_hurry(int fd)
{
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

static inline int tls_proxy_dial(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    tls_proxy_hurry(fd);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static inline bool tls_proxy_write_all(int fd, const unsigned char *data, int bytes)
{
    for (int at = 0; at < bytes;) {
        ssize_t written = send(fd, data + at, (size_t)(bytes - at), MSG_NOSIGNAL);
        if (written <= 0)
            return false;
        at += (int)written;
    }
    return true;
}

static inline bool tls_proxy_flush(struct tls_proxied *proxied)
{
    if (!proxied->held_bytes)
        return true;
    bool is_written = SSL_write(proxied->ssl, proxied->held, proxied->held_bytes) == proxied->held_bytes;
    if (proxied->held_bytes == TLS_PROXY_RECORD)
        atomic_fetch_add(&proxied->proxy->full_records, 1);
    proxied->held_bytes = 0;
    return is_written;
}

static inline bool tls_proxy_from_server(struct tls_proxied *proxied)
{
    ssize_t bytes = recv(proxied->server, proxied->held + proxied->held_bytes, (size_t)(TLS_PROXY_RECORD - proxied->held_bytes), 0);
    if (bytes <= 0)
        return false;
    proxied->held_bytes += (int)bytes;
    return proxied->held_bytes < TLS_PROXY_RECORD || tls_proxy_flush(proxied);
}

static inline bool tls_proxy_from_client(struct tls_proxied *proxied)
{
    unsigned char bytes[TLS_PROXY_RECORD];
    do {
        int count = SSL_read(proxied->ssl, bytes, sizeof bytes);
        if (count <= 0 || !tls_proxy_write_all(proxied->server, bytes, count))
            return false;
    } while (SSL_pending(proxied->ssl));
    return true;
}

static inline void tls_proxy_relay(struct tls_proxied *proxied)
{
    struct pollfd fds[] = { { proxied->client, POLLIN, 0 }, { proxied->server, POLLIN, 0 } };
    while (!atomic_load(&proxied->proxy->is_closing)) {
        int ready = poll(fds, 2, proxied->held_bytes ? TLS_PROXY_SILENT_MS : 100);
        if (ready == 0 && !tls_proxy_flush(proxied))
            return;
        if ((fds[1].revents && !tls_proxy_from_server(proxied)) || (fds[0].revents && !tls_proxy_from_client(proxied)))
            break;
    }
    (void)!tls_proxy_flush(proxied);
}

static inline void *tls_proxy_serve(void *arg)
{
    struct tls_proxied *proxied = arg;
    unsigned char request[8];
    if (recv(proxied->client, request, sizeof request, MSG_WAITALL) == sizeof request &&
        tls_proxy_write_all(proxied->client, (const unsigned char *)"S", 1) && SSL_accept(proxied->ssl) == 1 &&
        (proxied->server = tls_proxy_dial(proxied->proxy->server_port)) >= 0)
        tls_proxy_relay(proxied);
    SSL_free(proxied->ssl);
    close(proxied->client);
    if (proxied->server >= 0)
        close(proxied->server);
    atomic_fetch_sub(&proxied->proxy->connections, 1);
    free(proxied);
    return NULL;
}

static inline void *tls_proxy_listen(void *arg)
{
    struct tls_proxy *proxy = arg;
    for (int client; (client = accept(proxy->listener, NULL, NULL)) >= 0;) {
        struct tls_proxied *proxied = calloc(1, sizeof *proxied);
        pthread_t thread;
        tls_proxy_hurry(client);
        proxied->proxy = proxy;
        proxied->client = client;
        proxied->server = -1;
        proxied->ssl = SSL_new(proxy->context);
        SSL_set_fd(proxied->ssl, client);
        atomic_fetch_add(&proxy->attempts, 1);
        atomic_fetch_add(&proxy->connections, 1);
        if (pthread_create(&thread, NULL, tls_proxy_serve, proxied) == 0)
            pthread_detach(thread);
    }
    return NULL;
}

static inline void tls_proxy_open(struct tls_proxy *proxy, int server_port, const char *certificate, const char *key)
{
    *proxy = (struct tls_proxy){ .server_port = server_port };
    proxy->context = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate_file(proxy->context, certificate, SSL_FILETYPE_PEM), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(proxy->context, key, SSL_FILETYPE_PEM), 1);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    proxy->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(proxy->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(proxy->listener, 64), 0);
    assert_int_equal(getsockname(proxy->listener, (struct sockaddr *)&address, &len), 0);
    proxy->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&proxy->thread, NULL, tls_proxy_listen, proxy), 0);
}

static inline void tls_proxy_close(struct tls_proxy *proxy)
{
    atomic_store(&proxy->is_closing, true);
    shutdown(proxy->listener, SHUT_RDWR);
    pthread_join(proxy->thread, NULL);
    close(proxy->listener);
    while (atomic_load(&proxy->connections))
        usleep(1000);
    SSL_CTX_free(proxy->context);
}

#endif
