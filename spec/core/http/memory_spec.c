/* memory_spec.c - whichever allocation fails, the client gets an answer or an end, the handler's debts are settled, and
 * the next client is served. */
#include "core/http/rig.h"

#include "loop/timer.h"

#include <stdatomic.h>

static struct rig rig;
static _Atomic unsigned released, taken;

struct late {
    struct timer timer;
    struct http_request *request;
};

static void on_release(void *owner)
{
    (void)owner;
    released++;
}

static void on_late(void *arg)
{
    struct late *late = arg;
    struct http_reply reply = { .status = 200, .body = late->request->body };
    http_reply_send(late->request, &reply);
    free(late);
}

static void on_room(void *arg, enum fail fail)
{
    (void)arg;
    (void)fail;
}

static void stream(struct http_request *request)
{
    struct http_streaming *streaming;
    struct http_reply head = { .status = 200 };
    if (http_reply_begin(request, &head, on_room, NULL, &streaming)) {
        http_reply_send(request, &(struct http_reply){ .status = 503 });
        return;
    }
    bool is_whole = true;
    for (unsigned i = 0; i < 40 && is_whole; i++)
        is_whole = http_reply_piece(streaming, STR("0123456789012345678901234567890123456789")) == FAIL_OK;
    http_reply_end(streaming, is_whole);
}

static void on_request(void *arg, struct http_request *request)
{
    (void)arg;
    static char big[4 << 20];
    struct str path = request->head.path;
    if (str_is(path, STR("/late"))) {
        struct late *late = calloc(1, sizeof *late);
        late->request = request;
        timer_start(http_request_loop(request), &late->timer, 1, on_late, late);
    } else if (str_is(path, STR("/problem"))) {
        http_problem_send(request, &(struct http_problem){ .status = 404, .detail = STR("no"), .retry_after_s = 1 });
    } else if (str_is(path, STR("/stream"))) {
        stream(request);
    } else {
        bool is_big = str_is(path, STR("/big"));
        taken += is_big;
        struct http_reply reply = { .status = 200,
                                    .body = is_big ? str_make(big, sizeof big) : request->body,
                                    .release = is_big ? on_release : NULL };
        http_reply_send(request, &reply);
    }
}

static void set_failure(struct rig *which, void *n)
{
    (void)which;
    mem_fail_after(*(unsigned *)n);
}

/* The n-th allocation from before the connection on fails, for every n until a run needs fewer. */
static void sweep(const char *first, const char *second)
{
    rig_init(&rig, on_request);
    rig_open(&rig);
    released = taken = 0;
    for (unsigned n = 1; n < 40; n++) {
        struct client client, next;
        rig_call(&rig, set_failure, &n);
        client_open(&client, rig.port);
        client_send(&client, first, strlen(first));
        if (second) {
            usleep(2000);
            client_send(&client, second, strlen(second));
        }
        struct answer answer = client_read(&client, false);
        free(answer.body);
        rig_call(&rig, set_failure, &(unsigned){ 0 });
        client_close(&client);
        client_open(&next, rig.port);
        assert_answer(&next, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 200, "hello");
        client_close(&next);
    }
    rig_close(&rig);
    assert_int_equal(released, taken);
    assert_int_equal(mem_live(), 0);
}

static void a_request_in_pieces(void **state)
{
    (void)state;
    sweep("POST /a HTTP/1.1\r\nHost: a\r\nConte", "nt-Length: 5\r\n\r\nhello");
}

static void a_body_in_pieces(void **state)
{
    (void)state;
    sweep("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello", "world");
}

static void a_chunked_body(void **state)
{
    (void)state;
    sweep("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", "llo\r\n0\r\n\r\n");
}

static void a_late_reply(void **state)
{
    (void)state;
    sweep("POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", NULL);
}

static void pipelined_late_replies(void **state)
{
    (void)state;
    sweep("GET /late HTTP/1.1\r\nHost: a\r\n\r\nGET /late HTTP/1.1\r\nHost: a\r\n\r\n", NULL);
}

static void a_problem(void **state)
{
    (void)state;
    sweep("GET /problem HTTP/1.1\r\nHost: a\r\n\r\n", NULL);
}

static void a_refusal(void **state)
{
    (void)state;
    sweep("GET / HTTP/1.1\r\nHost : a\r\n\r\n", NULL);
}

static void a_stream(void **state)
{
    (void)state;
    sweep("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n", NULL);
}

static void a_body_the_socket_does_not_take_at_once(void **state)
{
    (void)state;
    sweep("GET /big HTTP/1.1\r\nHost: a\r\n\r\n", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_in_pieces),
        cmocka_unit_test(a_body_in_pieces),
        cmocka_unit_test(a_chunked_body),
        cmocka_unit_test(a_late_reply),
        cmocka_unit_test(pipelined_late_replies),
        cmocka_unit_test(a_problem),
        cmocka_unit_test(a_refusal),
        cmocka_unit_test(a_stream),
        cmocka_unit_test(a_body_the_socket_does_not_take_at_once),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
