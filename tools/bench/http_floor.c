/* http_floor.c - what a request costs in core/http alone: one loop, one fixed reply of 500 bytes.
 *
 *   http_floor PORT [REQUESTS]     serves until it is killed; with REQUESTS it ends after so many and prints what one cost
 *
 * Compare with any other server of the same answer in the same run: wrk -t1 -c64 http://127.0.0.1:PORT/
 */
#include "base/clock.h"
#include "http/server.h"

#include <stdio.h>
#include <stdlib.h>

static char body[500];
static uint64_t requests_left;
static struct loop *loop;

static void on_request(void *arg, struct http_request *request)
{
    (void)arg;
    struct http_reply reply = { .status = 200, .type = STR("application/json"), .body = str_make(body, sizeof body) };
    http_reply_send(request, &reply);
    if (requests_left && --requests_left == 0)
        loop_stop(loop);
}

int main(int argc, char **argv)
{
    char why[200] = "";
    struct http_settings settings;
    struct http_server *server;
    struct http_handler handler = { .on_request = on_request };
    if (argc < 2) {
        fputs("usage: http_floor PORT [REQUESTS]\n", stderr);
        return 2;
    }
    uint64_t requests = requests_left = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    memset(body, 'x', sizeof body);
    memcpy(body, "{\"text\":\"", 9);
    memcpy(body + sizeof body - 2, "\"}", 2);
    http_settings_default(&settings);
    settings.port = atoi(argv[1]);
    settings.reuse_port = true;
    if (loop_open("floor", &loop) || http_server_open(loop, &settings, &handler, &server, why, sizeof why)) {
        fprintf(stderr, "http_floor: %s\n", why);
        return 1;
    }
    loop_run(loop);
    printf("%.2f us of CPU for each of %llu requests\n", (double)clock_thread_cpu_ns() / 1e3 / (double)requests,
           (unsigned long long)requests);
    return 0;
}
