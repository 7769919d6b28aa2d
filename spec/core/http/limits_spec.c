/* limits_spec.c - how long a client may take, how much it may hold, and asking before sending. */
#include "core/http/rig.h"

#include <stdatomic.h>
#include <sys/resource.h>

static struct rig rig;
static struct client client;
static _Atomic unsigned answered, heads, released;

static void on_release(void *owner)
{
    (void)owner;
    released++;
}

static void on_request(void *arg, struct http_request *request)
{
    (void)arg;
    static char big[4 << 20];
    answered++;
    bool is_big = str_is(request->head.path, STR("/big"));
    struct http_reply reply = { .status = 200,
                                .body = is_big ? str_make(big, sizeof big) : request->body,
                                .release = is_big ? on_release : NULL };
    http_reply_send(request, &reply);
}

/* /refuse is answered before its body, /small may have a body of 10 bytes, /large of 2 MB. */
static void on_head(void *arg, struct http_request *request)
{
    (void)arg;
    heads++;
    struct str path = request->head.path;
    if (str_is(path, STR("/small")))
        request->body_max = 10;
    else if (str_is(path, STR("/large")))
        request->body_max = 2 << 20;
    else if (str_is(path, STR("/refuse")))
        http_problem_send(request, &(struct http_problem){ .status = 401 });
}

static int open_rig(void **state)
{
    answered = heads = released = 0;
    rig_begin(state, &rig, &client, on_request);
    rig.handler.on_head = on_head;
    return 0;
}

#define HOST "Host: a\r\n"

/* --- time --- */

static void a_head_that_drips_in_is_408(void **state)
{
    (void)state;
    rig.settings.header_ms = 150;
    rig_go(&rig);
    struct timespec begun;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    assert_answer(&client, "GET /a HTTP/1.1\r\n" HOST "\r\n", 200, "");
    const char *drip = "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    for (unsigned i = 0; i < 30 && ms_since(&begun) < 140; i++) {
        client_send(&client, drip + i, 1);
        usleep(10000);
    }
    assert_answer(&client, "", 408, NULL);
    assert_true(ms_since(&begun) >= 150 && ms_since(&begun) < slow_ms(3000));
    assert_orderly_end(&client);
}

static void who_says_nothing_is_let_go_without_a_word(void **state)
{
    (void)state;
    rig.settings.header_ms = 100;
    rig.settings.idle_ms = 700;
    rig_go(&rig);
    struct timespec begun;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    struct client silent;
    client_open(&silent, rig.port);
    assert_answer(&client, "GET /a HTTP/1.1\r\n" HOST "\r\n", 200, "");
    assert_orderly_end(&silent);
    assert_true(ms_since(&begun) >= 100 && ms_since(&begun) < 650);
    assert_orderly_end(&client);
    assert_true(ms_since(&begun) >= 700 && ms_since(&begun) < slow_ms(3000));
    client_close(&silent);
    assert_int_equal(rig_stats(&rig).bad, 0);
}

static void a_body_that_does_not_come_is_408(void **state)
{
    (void)state;
    rig.settings.body_ms = 100;
    rig_go(&rig);
    client_say(&client, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n12345");
    assert_answer(&client, "", 408, NULL);
    assert_orderly_end(&client);
    assert_int_equal(answered, 0);
}

static void a_body_that_crawls_is_408_after_five_seconds(void **state)
{
    (void)state;
    rig_go(&rig);
    struct client brisk;
    client_open(&brisk, rig.port);
    client_say(&client, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n");
    client_say(&brisk, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n");
    char block[1000] = { 0 };
    for (unsigned i = 0; i < 54; i++) {
        client_send(&client, block, 10); /* 100 bytes a second */
        assert_true(client_send(&brisk, block, 1000));
        usleep(100000);
    }
    assert_answer(&client, "", 408, NULL);
    for (unsigned i = 54; i < 100; i++)
        assert_true(client_send(&brisk, block, 1000));
    assert_answer(&brisk, "", 200, NULL);
    client_close(&brisk);
}

static void who_does_not_read_is_cut_and_its_body_released(void **state)
{
    (void)state;
    rig.settings.write_ms = 150;
    rig_open(&rig);
    client_open_small(&client, rig.port, 4096);
    client_say(&client, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    struct timespec begun;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    wait_until(&released, 1);
    assert_true(ms_since(&begun) >= 140);
    assert_int_equal(rig_stats(&rig).open, 0);
}

static void who_reads_slowly_but_reads_is_not_cut(void **state)
{
    (void)state;
    rig.settings.write_ms = 500;
    rig_open(&rig);
    client_open_small(&client, rig.port, 4096);
    client_say(&client, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    struct timespec begun;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    char *taken = malloc(4 << 20);
    size_t len = 0;
    while (ms_since(&begun) < 1600) { /* at most 1 MB/s, through a window of 4 kB */
        ssize_t got = recv(client.fd, taken + len, 4096, 0);
        assert_true(got > 0);
        len += (size_t)got;
        usleep(4000);
    }
    while (len + client.len <= 4 << 20 && client_more(&client))
        ;
    if (len + client.len <= 4 << 20)
        fail_msg("%zu of %d bytes came, errno %d", len + client.len, 4 << 20, client.broken);
    free(taken);
    assert_int_equal(released, 1);
}

/* --- asking first --- */

static void a_client_that_asks_is_told_to_continue(void **state)
{
    (void)state;
    rig_go(&rig);
    assert_answer(&client, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", 100, NULL);
    assert_answer(&client, "hello", 200, "hello");
    assert_answer(&client, "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
                  100, NULL);
    assert_answer(&client, "5\r\nhello\r\n0\r\n\r\n", 200, "hello");
    assert_answer(&client, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 0\r\nExpect: 100-continue\r\n\r\n", 200, "");
    assert_answer(&client, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello", 200,
                  "hello");
    assert_answer(&client,
                  "POST /a HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"
                  "\r\nhello",
                  200, "hello");
}

static void a_body_nobody_wants_is_not_asked_for(void **state)
{
    (void)state;
    rig_go(&rig);
    assert_answer(&client, "POST /refuse HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", 401,
                  NULL);
    assert_orderly_end(&client);
    client_close(&client);
    client_open(&client, rig.port);
    assert_answer(&client, "POST /small HTTP/1.1\r\n" HOST "Content-Length: 11\r\nExpect: 100-continue\r\n\r\n", 413,
                  NULL);
    assert_orderly_end(&client);
    client_close(&client);
    client_open(&client, rig.port);
    assert_answer(&client, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: the-worst\r\n\r\n", 417, NULL);
    assert_orderly_end(&client);
    assert_int_equal(answered, 0);
    assert_int_equal(heads, 2);
}

/* --- size --- */

static void a_route_may_lower_and_raise_the_limit(void **state)
{
    (void)state;
    rig_go(&rig);
    assert_answer(&client, "POST /small HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n0123456789", 200, "0123456789");
    char *body = calloc(1, 2 << 20);
    client_say(&client, "POST /large HTTP/1.1\r\n" HOST "Content-Length: 2097152\r\n\r\n");
    assert_true(client_send(&client, body, 2 << 20));
    assert_answer(&client, "", 200, NULL);
    free(body);
    assert_answer(&client, "POST /small HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n01234567890", 413, NULL);
    assert_orderly_end(&client);
    client_close(&client);
    client_open(&client, rig.port);
    assert_answer(&client, "POST /small HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n3\r\n",
                  413, NULL);
}

static void a_refused_body_that_came_along_does_not_cost_the_connection(void **state)
{
    (void)state;
    rig_go(&rig);
    assert_answer(&client, "POST /refuse HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", 401, NULL);
    assert_answer(&client, "GET /a HTTP/1.1\r\n" HOST "\r\n", 200, "");
    assert_answer(&client, "POST /refuse HTTP/1.1\r\n" HOST "Content-Length: 50\r\n\r\nhello", 401, NULL);
    assert_orderly_end(&client);
}

/* --- many --- */

static void a_thousand_connections_cost_little(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct rlimit files = { 0 };
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 2 * COUNT + 100)
        skip();
    rig_go(&rig);
    struct client *clients = calloc(COUNT, sizeof *clients);
    assert_answer(&client, "GET /a HTTP/1.1\r\n" HOST "\r\n", 200, "");
    size_t before = mem_live();
    for (unsigned i = 0; i < COUNT; i++) {
        client_open(&clients[i], rig.port);
        assert_answer(&clients[i], "GET /a HTTP/1.1\r\n" HOST "\r\n", 200, "");
    }
    size_t each = (mem_live() - before) / COUNT;
    print_message("an idle connection takes %zu bytes\n", each);
    assert_true(each < 1024);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < COUNT; i++)
            client_say(&clients[i], "POST /a HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\na");
        for (unsigned i = 0; i < COUNT; i++)
            client_say(&clients[i], "bc");
        for (unsigned i = 0; i < COUNT; i++)
            assert_answer(&clients[i], "", 200, "abc");
    }
    struct http_stats stats = rig_stats(&rig);
    assert_int_equal(stats.open, COUNT + 1);
    assert_true((mem_live() - before) / COUNT < each + 1200); /* spare requests are kept */
    for (unsigned i = 0; i < COUNT; i++)
        client_close(&clients[i]);
    free(clients);
}

#define LIMITS_TEST(name) cmocka_unit_test_setup_teardown(name, open_rig, rig_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIMITS_TEST(a_head_that_drips_in_is_408),
        LIMITS_TEST(who_says_nothing_is_let_go_without_a_word),
        LIMITS_TEST(a_body_that_does_not_come_is_408),
        LIMITS_TEST(a_body_that_crawls_is_408_after_five_seconds),
        LIMITS_TEST(who_does_not_read_is_cut_and_its_body_released),
        LIMITS_TEST(who_reads_slowly_but_reads_is_not_cut),
        LIMITS_TEST(a_client_that_asks_is_told_to_continue),
        LIMITS_TEST(a_body_nobody_wants_is_not_asked_for),
        LIMITS_TEST(a_route_may_lower_and_raise_the_limit),
        LIMITS_TEST(a_refused_body_that_came_along_does_not_cost_the_connection),
        LIMITS_TEST(a_thousand_connections_cost_little),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
