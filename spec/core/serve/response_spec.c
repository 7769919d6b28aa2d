/* response_spec.c - a server whose handler asks the response cache first; the spec does the handler's work by hand. */
#include "support/spec.h"

#include "http/server.h"
#include "serve/etag.h"
#include "serve/response.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS_MAX = 12, PATIENCE_TURNS = 5000 };

/* A request that runs the handler, or waits for the one that does. request is NULL when it was answered. */
struct duty {
    struct http_request *request;
    struct serve_fill *fill;
    bool runs;
};

static struct loop *loop;
static struct http_server *server;
static struct cache_store *store;
static struct cache_flights *flights;
static struct cache cache;
static struct serve_policy policy;
static struct duty duties[CLIENTS_MAX]; /* in order of arrival */
static unsigned arrived, aborted, released;
static bool is_closed;

/* --- the handler --- */

static void on_run(void *arg, struct http_request *request, struct serve_fill *fill)
{
    struct duty *duty = arg;
    assert_ptr_equal(duty->request, request);
    duty->fill = fill;
    duty->runs = true;
}

static void on_request(void *arg, struct http_request *request)
{
    (void)arg;
    assert_true(arrived < CLIENTS_MAX);
    struct duty *duty = &duties[arrived++];
    *duty = (struct duty){ .request = request };
    request->user = duty;
    switch (serve_response_try(&cache, &policy, request, on_run, duty, &duty->fill)) {
    case SERVE_RUN: duty->runs = true; break;
    case SERVE_WAITS: break;
    case SERVE_DONE: duty->request = NULL; break;
    }
}

static void on_abort(void *arg, struct http_request *request)
{
    (void)arg;
    struct duty *duty = request->user;
    struct serve_fill *fill = duty->fill;
    bool runs = duty->runs;
    *duty = (struct duty){ 0 };
    aborted++;
    if (!runs) {
        serve_response_leave(fill);
        return;
    }
    serve_response_abandon(fill);
    http_reply_send(request, &(struct http_reply){ .status = 503 });
}

static void on_released(void *owner)
{
    (void)owner;
    released++;
}

/* The handler of the n-th request that came answers, with these fields. */
static void answer_with(unsigned n, int status, const char *fields, const char *body)
{
    struct duty duty = duties[n];
    assert_true(duty.request && duty.runs);
    duties[n] = (struct duty){ 0 };
    serve_response_send(duty.fill, duty.request,
                        &(struct http_reply){ .status = status,
                                              .type = STR("text/plain"),
                                              .fields = str_of(fields),
                                              .body = str_of(body),
                                              .release = on_released,
                                              .owner = &released });
}

static void answer(unsigned n, int status, const char *body) { answer_with(n, status, "X-Own: yes\r\n", body); }

/* --- clients --- */

static void turn(void)
{
    const bool never = false;
    loop_turn(loop, 1, &never);
}

/* Sends a request on a connection of its own and waits until the handler has it. more: header lines. */
static int ask(const char *method, const char *target, const char *more)
{
    char text[4096];
    int len = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n", method, target, more);
    unsigned before = arrived;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)http_server_port(server)) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(send(fd, text, (size_t)len, 0), len);
    for (int i = 0; i < PATIENCE_TURNS && arrived == before; i++)
        turn();
    assert_int_equal(arrived, before + 1);
    return fd;
}

static bool is_whole(const char *text, bool has_body)
{
    const char *end = strstr(text, "\r\n\r\n"), *length = strstr(text, "Content-Length: ");
    if (!end)
        return false;
    return !has_body || !length || strlen(end + 4) >= strtoul(length + 16, NULL, 10);
}

/* The one answer of this connection, which ends. Valid until the next call. */
static const char *hear_head(int fd, bool has_body)
{
    static char text[8192];
    size_t len = 0;
    text[0] = '\0';
    for (int i = 0; i < PATIENCE_TURNS && !is_whole(text, has_body); i++) {
        turn();
        ssize_t got = recv(fd, text + len, sizeof text - 1 - len, MSG_DONTWAIT);
        if (got > 0)
            text[len += (size_t)got] = '\0';
    }
    close(fd);
    assert_true(is_whole(text, has_body));
    return text;
}

static const char *hear(int fd) { return hear_head(fd, true); }

static void assert_has(const char *text, const char *piece)
{
    if (!strstr(text, piece))
        fail_msg("no \"%s\" in:\n%s", piece, text);
}

static void assert_answer(int fd, const char *status, const char *x_cache, const char *body)
{
    const char *text = hear(fd);
    char line[100];
    snprintf(line, sizeof line, "\r\nX-Cache: %s\r\n", x_cache);
    assert_memory_equal(text, "HTTP/1.1 ", 9);
    assert_memory_equal(text + 9, status, 3);
    assert_has(text, line);
    assert_has(text, "\r\nX-Own: yes\r\n");
    assert_string_equal(strstr(text, "\r\n\r\n") + 4, body);
}

static void leave(int fd)
{
    unsigned before = aborted;
    close(fd);
    for (int i = 0; i < PATIENCE_TURNS && aborted == before; i++)
        turn();
    assert_int_equal(aborted, before + 1);
}

static void wait_for_run(unsigned n)
{
    for (int i = 0; i < PATIENCE_TURNS && !duties[n].runs; i++)
        turn();
    assert_true(duties[n].runs);
}

/* --- around each sentence --- */

static int open_all(void **state)
{
    (void)state;
    struct http_settings settings;
    struct http_handler handler = { .on_request = on_request, .on_abort = on_abort };
    char why[200] = "";
    http_settings_default(&settings);
    settings.port = 0;
    assert_int_equal(loop_open("spec", &loop), FAIL_OK);
    assert_int_equal(http_server_open(loop, &settings, &handler, &server, why, sizeof why), FAIL_OK);
    assert_int_equal(cache_store_open(8 << 20, &store), FAIL_OK);
    assert_int_equal(cache_flights_open(100, &flights), FAIL_OK);
    cache = (struct cache){ .store = store, .flights = flights, .loop = loop };
    policy = (struct serve_policy){ .ttl_ms = 600000, .tags = { STR("tag") }, .tag_count = 1 };
    arrived = aborted = released = 0;
    return 0;
}

static void on_closed(void *arg) { *(bool *)arg = true; }

static int close_all(void **state)
{
    (void)state;
    is_closed = false;
    http_server_close(server, 100, on_closed, &is_closed);
    loop_turn(loop, 20000, &is_closed);
    assert_true(is_closed);
    assert_int_equal(cache_flights_count(flights), 0);
    cache_flights_close(flights);
    cache_store_close(store);
    assert_int_equal(loop_close(loop, 1000), 0);
    return 0;
}

/* --- sentences --- */

static void what_the_handler_answered_is_sent_again_without_it(void **state)
{
    (void)state;
    int fd = ask("GET", "/a?b=1", "");
    answer(0, 200, "one");
    assert_answer(fd, "200", "MISS", "one");
    assert_answer(ask("GET", "/a?b=1", ""), "200", "HIT; layer=l1", "one");
    const char *head = hear_head(ask("HEAD", "/a?b=1", ""), false);
    assert_has(head, "Content-Length: 3\r\n");
    assert_string_equal(strstr(head, "\r\n\r\n"), "\r\n\r\n");
    assert_int_equal(released, 1);
    fd = ask("GET", "/a?b=2", ""); /* another query is another answer */
    answer(3, 200, "two");
    assert_answer(fd, "200", "MISS", "two");
}

static void a_field_that_the_route_varies_by_is_part_of_the_key(void **state)
{
    (void)state;
    policy.vary[0] = STR("accept-language");
    policy.vary_count = 1;
    int fd = ask("GET", "/a", "Accept-Language: de\r\n");
    answer(0, 200, "hallo");
    assert_answer(fd, "200", "MISS", "hallo");
    fd = ask("GET", "/a", "Accept-Language: en\r\n");
    answer(1, 200, "hello");
    assert_answer(fd, "200", "MISS", "hello");
    assert_answer(ask("GET", "/a", "Accept-Language: de\r\n"), "200", "HIT; layer=l1", "hallo");
}

static void what_is_for_one_caller_is_not_kept(void **state)
{
    (void)state;
    static const char *const fields[] = { "X-Own: yes\r\nset-cookie: a=b\r\n",
                                          "Cache-Control: Private\r\nX-Own: yes\r\n",
                                          "Cache-Control: max-age=0, no-store\r\nX-Own: yes\r\n" };
    for (unsigned i = 0; i < 3; i++) {
        char target[] = "/0";
        target[1] = (char)('0' + i);
        unsigned before = arrived;
        int fd = ask("GET", target, ""), follower = ask("GET", target, "");
        answer_with(before, 200, fields[i], "mine");
        assert_answer(fd, "200", "MISS", "mine");
        wait_for_run(before + 1);
        answer_with(before + 1, 200, fields[i], "yours");
        assert_answer(follower, "200", "MISS", "yours");
        fd = ask("GET", target, "");
        answer(before + 2, 200, "theirs");
        assert_answer(fd, "200", "MISS", "theirs");
    }
}

static void an_answer_has_one_name_and_it_is_the_handlers(void **state)
{
    (void)state;
    int fd = ask("GET", "/a", "");
    answer_with(0, 200, "etag: W/\"v7\"\r\nX-Own: yes\r\n", "one");
    assert_null(strstr(hear(fd), "ETag"));
    const char *kept = hear(ask("GET", "/a", ""));
    assert_has(kept, "HIT");
    assert_has(kept, "etag: W/\"v7\"\r\n");
    assert_null(strstr(kept, "ETag"));
    kept = hear_head(ask("GET", "/a", "If-None-Match: \"v7\"\r\n"), false);
    assert_memory_equal(kept, "HTTP/1.1 304", 12);
    assert_has(kept, "etag: W/\"v7\"\r\n");
    fd = ask("GET", "/b", "If-None-Match: W/\"v8\"\r\n");
    answer_with(4 - 1, 200, "ETag: \"v8\"\r\n", "two");
    assert_memory_equal(hear_head(fd, false), "HTTP/1.1 304", 12);
}

static void a_key_too_long_and_a_method_that_changes_things_are_not_cached(void **state)
{
    (void)state;
    char target[2200] = "/a?";
    memset(target + 3, 'x', 2100);
    int fd = ask("GET", target, "");
    assert_null(duties[0].fill);
    answer(0, 200, "long");
    assert_has(hear(fd), "ETag: \"");
    fd = ask("POST", "/a", "Content-Length: 0\r\n");
    assert_null(duties[1].fill);
    answer(1, 200, "made");
    assert_null(strstr(hear(fd), "ETag"));
    assert_int_equal(released, 2);
}

static void those_who_ask_meanwhile_get_the_same_answer(void **state)
{
    (void)state;
    int fds[4];
    for (int i = 0; i < 4; i++)
        fds[i] = ask("GET", "/a", "");
    assert_true(duties[0].runs && !duties[1].runs && !duties[2].runs && !duties[3].runs);
    answer(0, 200, "one");
    assert_answer(fds[0], "200", "MISS", "one");
    for (int i = 1; i < 4; i++)
        assert_answer(fds[i], "200", "HIT; layer=flight", "one");
}

static void when_the_one_who_runs_leaves_the_next_one_runs(void **state)
{
    (void)state;
    int first = ask("GET", "/a", ""), second = ask("GET", "/a", ""), third = ask("GET", "/a", "");
    leave(first);
    wait_for_run(1);
    assert_false(duties[2].runs);
    answer(1, 200, "one");
    assert_answer(second, "200", "MISS", "one");
    assert_answer(third, "200", "HIT; layer=flight", "one");
}

static void one_who_waits_may_leave(void **state)
{
    (void)state;
    int first = ask("GET", "/a", ""), second = ask("GET", "/a", "");
    leave(second);
    answer(0, 200, "one");
    assert_answer(first, "200", "MISS", "one");
}

static void an_answer_that_cannot_be_kept_lets_each_run_on_their_own(void **state)
{
    (void)state;
    int fds[3];
    for (int i = 0; i < 3; i++)
        fds[i] = ask("GET", "/a", "");
    answer(0, 404, "none");
    assert_memory_equal(hear(fds[0]), "HTTP/1.1 404", 12);
    wait_for_run(1);
    wait_for_run(2);
    answer(2, 404, "none");
    answer(1, 200, "one");
    assert_memory_equal(hear(fds[2]), "HTTP/1.1 404", 12);
    assert_answer(fds[1], "200", "MISS", "one");
}

static void a_handler_that_fails_fails_those_who_wait_once(void **state)
{
    (void)state;
    int first = ask("GET", "/a", ""), second = ask("GET", "/a", "");
    answer(0, 500, "broken");
    assert_memory_equal(hear(first), "HTTP/1.1 500", 12);
    const char *text = hear(second);
    assert_memory_equal(text, "HTTP/1.1 503", 12);
    assert_has(text, "Retry-After: 1\r\n");
    int next = ask("GET", "/a", "");
    answer(2, 200, "one");
    assert_answer(next, "200", "MISS", "one");
}

static void who_asks_after_a_drop_does_not_get_what_was_made_before_it(void **state)
{
    (void)state;
    int first = ask("GET", "/a", "");
    cache_store_drop_tag(store, STR("tag"));
    int second = ask("GET", "/a", "");
    answer(0, 200, "old");
    assert_answer(first, "200", "MISS", "old");
    wait_for_run(1);
    answer(1, 200, "new");
    assert_answer(second, "200", "MISS", "new");
    assert_answer(ask("GET", "/a", ""), "200", "HIT; layer=l1", "new");
}

/* An answer that is stale from the start. */
static void make_stale(void)
{
    policy.ttl_ms = 1;
    policy.stale_ms = 600000;
    int fd = ask("GET", "/a", "");
    answer(0, 200, "old");
    assert_answer(fd, "200", "MISS", "old");
    usleep(5000);
    turn();
}

static void a_stale_answer_is_sent_while_one_refreshes_it(void **state)
{
    (void)state;
    make_stale();
    int first = ask("GET", "/a", "");
    assert_true(duties[1].runs);
    assert_answer(ask("GET", "/a", ""), "200", "STALE; layer=l1", "old");
    policy.ttl_ms = 600000;
    answer(1, 200, "new");
    assert_answer(first, "200", "MISS", "new");
    assert_answer(ask("GET", "/a", ""), "200", "HIT; layer=l1", "new");
}

static void a_stale_answer_is_sent_when_the_handler_fails(void **state)
{
    (void)state;
    make_stale();
    int first = ask("GET", "/a", "");
    answer(1, 503, "broken");
    assert_answer(first, "200", "STALE; layer=l1", "old");
    assert_int_equal(released, 2);
}

static void who_leaves_with_a_stale_answer_in_hand_gives_it_back(void **state)
{
    (void)state;
    make_stale();
    leave(ask("GET", "/a", ""));
    int fd = ask("GET", "/a", "");
    assert_true(duties[2].runs);
    answer(2, 404, "none");
    assert_memory_equal(hear(fd), "HTTP/1.1 404", 12);
}

static void who_has_it_already_gets_304(void **state)
{
    (void)state;
    char etag[19], field[60];
    serve_etag(STR("one"), etag);
    snprintf(field, sizeof field, "If-None-Match: \"x\", W/%s\r\n", etag);
    int fd = ask("GET", "/a", field);
    answer(0, 200, "one");
    assert_memory_equal(hear_head(fd, false), "HTTP/1.1 304", 12);
    const char *text = hear_head(ask("GET", "/a", field), false);
    assert_memory_equal(text, "HTTP/1.1 304", 12);
    assert_has(text, etag);
    assert_has(text, "X-Cache: HIT; layer=l1\r\n");
    assert_answer(ask("GET", "/a", "If-None-Match: \"x\"\r\n"), "200", "HIT; layer=l1", "one");
}

static void memory_that_runs_out_anywhere_still_ends_in_an_answer(void **state)
{
    (void)state;
    int first = ask("GET", "/a", ""); /* the server has what it writes answers into */
    answer(0, 200, "one");
    hear(first);
    for (unsigned n = 1; n < 12; n++) {
        arrived = 0;
        cache_store_purge(store);
        int fd = ask("GET", "/a", "");
        mem_fail_after(n);
        answer(0, 200, "one");
        mem_fail_after(0);
        const char *text = hear(fd);
        assert_memory_equal(text, "HTTP/1.1 200", 12);
        assert_has(text, "\r\n\r\none");
    }
    assert_int_equal(released, 12);
}

int main(void)
{
#define SENTENCE(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
    const struct CMUnitTest tests[] = {

        SENTENCE(what_the_handler_answered_is_sent_again_without_it),
        SENTENCE(a_field_that_the_route_varies_by_is_part_of_the_key),
        SENTENCE(what_is_for_one_caller_is_not_kept),
        SENTENCE(an_answer_has_one_name_and_it_is_the_handlers),
        SENTENCE(a_key_too_long_and_a_method_that_changes_things_are_not_cached),
        SENTENCE(those_who_ask_meanwhile_get_the_same_answer),
        SENTENCE(when_the_one_who_runs_leaves_the_next_one_runs),
        SENTENCE(one_who_waits_may_leave),
        SENTENCE(an_answer_that_cannot_be_kept_lets_each_run_on_their_own),
        SENTENCE(a_handler_that_fails_fails_those_who_wait_once),
        SENTENCE(who_asks_after_a_drop_does_not_get_what_was_made_before_it),
        SENTENCE(a_stale_answer_is_sent_while_one_refreshes_it),
        SENTENCE(a_stale_answer_is_sent_when_the_handler_fails),
        SENTENCE(who_leaves_with_a_stale_answer_in_hand_gives_it_back),
        SENTENCE(who_has_it_already_gets_304),
        SENTENCE(memory_that_runs_out_anywhere_still_ends_in_an_answer),
        cmocka_unit_test(all_memory_is_given_back),
    };
    serve_response_open();
    return cmocka_run_group_tests_name("serve/response", tests, NULL, NULL);
}
