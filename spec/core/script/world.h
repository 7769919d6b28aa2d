/* world.h - a VM behind a real server, over a real SQLite file and a real cache; and a client that turns the loop while
 * it waits. For the specs of core/script. */
#ifndef SPEC_SCRIPT_WORLD_H
#define SPEC_SCRIPT_WORLD_H

#include "support/spec.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "cache/read.h"
#include "http/server.h"
#include "loop/loop.h"
#include "loop/work.h"
#include "metrics/metrics.h"
#include "script/state.h"
#include "script/vm.h"
#include "serve/response.h"
#include "sqlite/engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 20000

struct world {
    struct loop *loop;
    struct sql_engine *engine;
    struct cache cache;
    struct script_vm *vm;
    struct http_server *server;
    int port, log_fd;
    char dir[64], path[96], log_path[96], answer[65536], log[65536], why[512];
};

/* Runs a chunk in the main coroutine: it declares routes with `native` and `route`. */
static inline void world_run(struct world *world, const char *chunk)
{
    static const char before[] =
        "local native = require 'wick.native'; local json = native.json; local cx = native.cx('spec', {});"
        "local function route(method, pattern, handler, more) local t = { method = method, pattern = pattern, name = 'r', "
        "plugin = 'spec', handler = handler, cx = cx }; for k, v in pairs(more or {}) do t[k] = v end "
        "assert(native.route_add(t)) end ";
    lua_State *L = world->vm->L;
    char text[16384];
    snprintf(text, sizeof text, "%s%s", before, chunk);
    if (luaL_loadbufferx(L, text, strlen(text), "=spec", "t") != LUA_OK || lua_pcall(L, 0, 0, 0) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
}

static inline void world_open_with(struct world *world, const char *chunk, size_t memory_max)
{
    memset(world, 0, sizeof *world);
    snprintf(world->dir, sizeof world->dir, "/tmp/wick-script-XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    snprintf(world->path, sizeof world->path, "%s/a.db", world->dir);
    snprintf(world->log_path, sizeof world->log_path, "%s/log", world->dir);
    world->log_fd = open(world->log_path, O_CREAT | O_RDWR | O_APPEND, 0600);
    log_setup(LOG_DEBUG, LOG_LOGFMT, world->log_fd);
    assert_int_equal(metrics_open(1000), FAIL_OK);
    serve_response_open();
    assert_int_equal(work_open(2, 100), FAIL_OK);
    assert_int_equal(loop_open("spec", &world->loop), FAIL_OK);
    struct sqlite_settings settings = { .path = world->path, .create = true };
    if (sqlite_engine_open(&settings, &world->engine, world->why, sizeof world->why))
        fail_msg("engine: %s", world->why);
    world->cache.loop = world->loop;
    assert_int_equal(cache_store_open(16 << 20, &world->cache.store), FAIL_OK);
    assert_int_equal(cache_flights_open(1000, &world->cache.flights), FAIL_OK);
    struct script_services services = {
        .loop = world->loop, .sql = world->engine, .cache = &world->cache, .memory_max = memory_max
    };
    if (script_vm_open(&services, &world->vm, world->why, sizeof world->why))
        fail_msg("vm: %s", world->why);
    world_run(world, chunk);
    struct http_settings http;
    http_settings_default(&http);
    http.port = 0;
    if (http_server_open(world->loop, &http, script_vm_handler(world->vm), &world->server, world->why, sizeof world->why))
        fail_msg("server: %s", world->why);
    world->port = http_server_port(world->server);
}

static inline void world_open(struct world *world, const char *chunk) { world_open_with(world, chunk, 0); }

static inline void world_on_closed(void *arg) { *(bool *)arg = true; }

static inline void world_close(struct world *world)
{
    bool closed = false;
    http_server_close(world->server, 1000, world_on_closed, &closed);
    loop_turn(world->loop, WAIT_MS, &closed);
    assert_true(closed);
    script_vm_close(world->vm);
    closed = false;
    world->engine->ops->close(world->engine, world->loop, 1000, world_on_closed, &closed);
    loop_turn(world->loop, WAIT_MS, &closed);
    assert_true(closed);
    assert_int_equal(cache_flights_count(world->cache.flights), 0);
    cache_flights_close(world->cache.flights);
    cache_store_close(world->cache.store);
    work_close();
    assert_int_equal(loop_close(world->loop, 1000), 0);
    metrics_close();
    log_setup(LOG_INFO, LOG_LOGFMT, 2);
    close(world->log_fd);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", world->dir);
    assert_int_equal(system(command), 0);
}

static inline int world_connect(struct world *world)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)world->port) };
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* Sends a request: "GET /x" or "POST /x", with more header lines, and a body. */
static inline void world_send(int fd, const char *line, const char *fields, const char *body)
{
    char text[32768];
    int len = snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%s", line, fields);
    if (body)
        len += snprintf(text + len, sizeof text - (size_t)len, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                        strlen(body), body);
    else
        len += snprintf(text + len, sizeof text - (size_t)len, "\r\n");
    assert_int_equal(send(fd, text, (size_t)len, 0), len);
}

/* Turns the loop until the answer is whole; status line, fields, body. */
static inline const char *world_receive(struct world *world, int fd)
{
    size_t len = 0;
    uint64_t until = clock_mono_ms() + WAIT_MS;
    while (clock_mono_ms() < until) {
        ssize_t got = recv(fd, world->answer + len, sizeof world->answer - 1 - len, 0);
        if (got == 0)
            break;
        if (got > 0)
            len += (size_t)got;
        else
            loop_turn(world->loop, 2, NULL);
    }
    world->answer[len] = '\0';
    close(fd);
    return world->answer;
}

static inline const char *world_ask_with(struct world *world, const char *line, const char *fields, const char *body)
{
    int fd = world_connect(world);
    world_send(fd, line, fields, body);
    return world_receive(world, fd);
}

/* The answer as "200 body". */
static inline const char *world_ask(struct world *world, const char *line, const char *body)
{
    static char text[sizeof world->answer];
    const char *answer = world_ask_with(world, line, "", body);
    const char *head_end = strstr(answer, "\r\n\r\n");
    if (strlen(answer) < 13 || !head_end)
        fail_msg("no answer: %s", answer);
    snprintf(text, sizeof text, "%.3s %s", answer + 9, head_end + 4);
    return text;
}

static inline void world_turn(struct world *world, unsigned ms) { loop_turn(world->loop, ms, NULL); }

/* Everything logged so far. */
static inline const char *world_log(struct world *world)
{
    ssize_t got = pread(world->log_fd, world->log, sizeof world->log - 1, 0);
    world->log[got > 0 ? got : 0] = '\0';
    return world->log;
}

#define assert_has(text, part) \
    do { \
        const char *text_ = (text); \
        if (!strstr(text_, (part))) \
            fail_msg("no \"%s\" in: %s", (part), text_); \
    } while (0)
#define assert_answer(world, line, body, expected) assert_string_equal(world_ask((world), (line), (body)), (expected))

#endif
