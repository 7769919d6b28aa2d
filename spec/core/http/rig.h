/* rig.h - a server on a loop of its own thread, and blocking clients for it. Included by the specs of core/http alone. */
#ifndef SPEC_HTTP_RIG_H
#define SPEC_HTTP_RIG_H

#include "support/spec.h"

#include "http/problem.h"
#include "http/server.h"
#include "loop/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* --- the server --- */

struct rig {
    struct http_settings settings;
    struct http_handler handler;
    pthread_t thread;
    struct loop *loop;
    struct http_server *server;
    int port;
    unsigned handles_left;
    bool is_open, is_draining;
    sem_t ready;
    struct client *client; /* the one that rig_go opens and rig_end closes, or NULL */
};

static inline void *rig_run(void *arg)
{
    struct rig *rig = arg;
    char why[200] = "";
    if (loop_open("spec", &rig->loop) ||
        http_server_open(rig->loop, &rig->settings, &rig->handler, &rig->server, why, sizeof why)) {
        fprintf(stderr, "no server: %s\n", why);
        abort();
    }
    rig->port = http_server_port(rig->server);
    sem_post(&rig->ready);
    loop_run(rig->loop);
    rig->handles_left = loop_close(rig->loop, 1000);
    return NULL;
}

/* Settings and handler may be changed between init and open. */
static inline void rig_init(struct rig *rig, void (*on_request)(void *, struct http_request *))
{
    *rig = (struct rig){ 0 };
    http_settings_default(&rig->settings);
    rig->settings.port = 0;
    rig->handler.arg = rig;
    rig->handler.on_request = on_request;
    sem_init(&rig->ready, 0, 0);
}

static inline void rig_open(struct rig *rig)
{
    assert_int_equal(pthread_create(&rig->thread, NULL, rig_run, rig), 0);
    sem_wait(&rig->ready);
    rig->is_open = true;
}

struct rig_call {
    struct loop_task task;
    void (*run)(struct rig *rig, void *arg);
    struct rig *rig;
    void *arg;
    sem_t done;
};

static inline void rig_on_call(void *arg)
{
    struct rig_call *call = arg;
    call->run(call->rig, call->arg);
    sem_post(&call->done);
}

/* Runs a function on the server's thread and waits for it. */
static inline void rig_call(struct rig *rig, void (*run)(struct rig *rig, void *arg), void *arg)
{
    struct rig_call call = { .run = run, .rig = rig, .arg = arg };
    call.task.run = rig_on_call;
    call.task.arg = &call;
    sem_init(&call.done, 0, 0);
    loop_post(rig->loop, &call.task);
    sem_wait(&call.done);
}

static inline void rig_on_closed(void *arg) { loop_stop(((struct rig *)arg)->loop); }

static inline void rig_start_close(struct rig *rig, void *drain_ms)
{
    http_server_close(rig->server, *(unsigned *)drain_ms, rig_on_closed, rig);
}

/* The same in two halves: drain, then wait for the end. */
static inline void rig_drain(struct rig *rig, unsigned drain_ms)
{
    rig->is_draining = true;
    rig_call(rig, rig_start_close, &drain_ms);
}

static inline void rig_join(struct rig *rig)
{
    pthread_join(rig->thread, NULL);
    rig->is_open = false;
    assert_int_equal(rig->handles_left, 0);
}

static inline void rig_close(struct rig *rig)
{
    if (!rig->is_draining)
        rig_drain(rig, 100);
    rig_join(rig);
}

static inline void rig_read_stats(struct rig *rig, void *out) { http_server_stats(rig->server, out); }

static inline struct http_stats rig_stats(struct rig *rig)
{
    struct http_stats stats;
    rig_call(rig, rig_read_stats, &stats);
    return stats;
}

/* Waits at most slow_ms(5000) for so many open connections, or requests in hand. */
static inline void wait_for_open(struct rig *rig, unsigned open)
{
    for (unsigned i = 0; i < slow_ms(5000) && rig_stats(rig).open != open; i++)
        usleep(1000);
    assert_int_equal(rig_stats(rig).open, open);
}

static inline void wait_for_in_flight(struct rig *rig, unsigned in_flight)
{
    for (unsigned i = 0; i < slow_ms(5000) && rig_stats(rig).in_flight != in_flight; i++)
        usleep(1000);
    assert_int_equal(rig_stats(rig).in_flight, in_flight);
}

/* --- a client --- */

struct client {
    int fd;
    char *data; /* received and not yet taken */
    size_t len, cap;
    bool at_eof;
    int broken; /* errno of a failed read */
};

static inline void client_open_small(struct client *client, int port, int receive_bytes)
{
    *client = (struct client){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    struct timeval patience = { .tv_sec = 20 };
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    assert_true(client->fd >= 0);
    setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (receive_bytes)
        setsockopt(client->fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    assert_int_equal(connect(client->fd, (struct sockaddr *)&address, sizeof address), 0);
}

static inline void client_open(struct client *client, int port) { client_open_small(client, port, 0); }

static inline void client_close(struct client *client)
{
    close(client->fd);
    free(client->data);
    *client = (struct client){ .fd = -1 };
}

/* A client that vanishes: RST. */
static inline void client_reset(struct client *client)
{
    struct linger now = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    client_close(client);
}

/* False when the server does not take it any more. */
static inline bool client_send(struct client *client, const char *data, size_t len)
{
    while (len) {
        ssize_t sent = send(client->fd, data, len, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        data += sent;
        len -= (size_t)sent;
    }
    return true;
}

static inline void client_say(struct client *client, const char *text)
{
    assert_true(client_send(client, text, strlen(text)));
}

/* Reads once more; false at the end. */
static inline bool client_more(struct client *client)
{
    if (client->at_eof)
        return false;
    if (client->cap - client->len < 65536) {
        client->cap = client->cap * 2 + 131072;
        client->data = realloc(client->data, client->cap + 1);
    }
    ssize_t got = recv(client->fd, client->data + client->len, client->cap - client->len, 0);
    if (got <= 0) {
        client->at_eof = true;
        client->broken = got < 0 ? errno : 0;
        return false;
    }
    client->len += (size_t)got;
    client->data[client->len] = '\0';
    return true;
}

static inline void client_drop(struct client *client, size_t len)
{
    memmove(client->data, client->data + len, client->len - len);
    client->len -= len;
    client->data[client->len] = '\0';
}

struct answer {
    int status;
    char head[8192]; /* with the blank line */
    char *body;      /* free it */
    size_t len, cap;
    bool is_whole;
};

static inline const char *answer_field(const struct answer *answer, const char *name)
{
    static _Thread_local char value[4][1000];
    static _Thread_local unsigned turn;
    char line[200];
    snprintf(line, sizeof line, "\r\n%s: ", name);
    const char *found = strcasestr(answer->head, line);
    if (!found)
        return NULL;
    char *out = value[turn++ % 4];
    found += strlen(line);
    snprintf(out, sizeof value[0], "%.*s", (int)strcspn(found, "\r"), found);
    return out;
}

static inline void client_take(struct client *client, size_t len, struct answer *out)
{
    while (client->len < len && client_more(client))
        ;
    size_t got = client->len < len ? client->len : len;
    if (out->len + got >= out->cap) {
        out->cap = 2 * (out->len + got) + 64;
        out->body = realloc(out->body, out->cap);
    }
    memcpy(out->body + out->len, client->data, got);
    out->len += got;
    out->body[out->len] = '\0';
    out->is_whole = got == len;
    client_drop(client, got);
}

static inline void client_take_chunks(struct client *client, struct answer *out)
{
    for (;;) {
        char *end;
        while (!(end = client->len ? memmem(client->data, client->len, "\r\n", 2) : NULL))
            if (!client_more(client)) {
                out->is_whole = false;
                return;
            }
        size_t size = strtoul(client->data, NULL, 16);
        client_drop(client, (size_t)(end + 2 - client->data));
        client_take(client, size, out);
        struct answer tail = { 0 };
        client_take(client, 2, &tail);
        bool is_framed = tail.is_whole && memcmp(tail.body, "\r\n", 2) == 0;
        free(tail.body);
        if (!is_framed)
            out->is_whole = false;
        if (!is_framed || size == 0)
            return;
    }
}

/* Reads one answer; status 0 when the connection ended instead. is_head: it has no body, whatever it says. */
static inline struct answer client_read(struct client *client, bool is_head)
{
    struct answer out = { 0 };
    char *end;
    while (!(end = client->len ? memmem(client->data, client->len, "\r\n\r\n", 4) : NULL))
        if (!client_more(client))
            return out;
    size_t head_len = (size_t)(end + 4 - client->data);
    assert_true(head_len < sizeof out.head);
    memcpy(out.head, client->data, head_len);
    client_drop(client, head_len);
    assert_int_equal(sscanf(out.head, "HTTP/1.1 %d ", &out.status), 1);
    out.is_whole = true;
    out.body = calloc(1, out.cap = 64);
    const char *length = answer_field(&out, "Content-Length");
    if (is_head || out.status == 204 || out.status == 304 || out.status == 100)
        return out;
    if (answer_field(&out, "Transfer-Encoding"))
        client_take_chunks(client, &out);
    else if (length)
        client_take(client, strtoul(length, NULL, 10), &out);
    else
        while (client_more(client) || client->len)
            client_take(client, client->len, &out);
    return out;
}

/* Nothing more comes, and the end is an orderly one. */
static inline void assert_orderly_end(struct client *client)
{
    while (client_more(client))
        ;
    assert_int_equal(client->len, 0);
    assert_int_equal(client->broken, 0);
}

/* Sends and expects this status and, unless NULL, this body. */
static inline void assert_answer(struct client *client, const char *request, int status, const char *body)
{
    client_say(client, request);
    struct answer answer = client_read(client, strncmp(request, "HEAD", 4) == 0);
    assert_int_equal(answer.status, status);
    assert_true(answer.is_whole);
    if (body)
        assert_string_equal(answer.body, body);
    free(answer.body);
}

/* --- a server and its client, for one test --- */

/* For the set-up: as rig_init, and leaves both to rig_end. */
static inline void rig_begin(void **state, struct rig *rig, struct client *client,
                             void (*on_request)(void *, struct http_request *))
{
    rig_init(rig, on_request);
    rig->client = client;
    *state = rig;
}

/* Once the settings are as the test wants them. */
static inline void rig_go(struct rig *rig)
{
    rig_open(rig);
    client_open(rig->client, rig->port);
}

/* The tear-down. Closes what is still open; fails where memory is left. */
static inline int rig_end(void **state)
{
    struct rig *rig = *state;
    if (rig->client->fd > 0)
        client_close(rig->client);
    if (rig->is_open)
        rig_close(rig);
    return mem_live() ? (int)mem_report(stderr) : 0;
}

static inline uint64_t ms_since(const struct timespec *begun)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)((now.tv_sec - begun->tv_sec) * 1000 + (now.tv_nsec - begun->tv_nsec) / 1000000);
}

/* Waits at most slow_ms(5000) for *what (written by the server's thread) to be at least `least`. */
static inline void wait_until(_Atomic unsigned *what, unsigned least)
{
    for (unsigned i = 0; i < slow_ms(5000) && *what < least; i++)
        usleep(1000);
    assert_true(*what >= least);
}

#endif
