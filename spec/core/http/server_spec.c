/* server_spec.c - what clients see: answers, in order, over kept connections; refusals that arrive. */
#include "core/http/rig.h"

#include "core/http/cases.h"
#include "loop/timer.h"

#include <stdatomic.h>
#include <sys/un.h>

static struct rig rig;
static struct client client;
static _Atomic unsigned aborted, released, answered, done;
static _Atomic size_t done_bytes;

/* --- a handler that does what the path says --- */

static struct str big_body;

static void on_release(void *owner)
{
    (void)owner;
    released++;
}

static void reply(struct http_request *request, int status, struct str body)
{
    struct http_reply out = { .status = status, .type = STR("text/plain"), .body = body };
    answered++;
    http_reply_send(request, &out);
}

/* METHOD path?query body */
static void echo(struct http_request *request)
{
    struct buf text;
    buf_init(&text, MEM_HTTP, 0);
    buf_add_str(&text, request->head.method_text);
    buf_add_char(&text, ' ');
    buf_add_str(&text, request->head.path);
    if (request->head.query.data) {
        buf_add_char(&text, '?');
        buf_add_str(&text, request->head.query);
    }
    buf_add_char(&text, ' ');
    buf_add_str(&text, request->body);
    reply(request, 200, str_make(text.data, text.len));
    buf_clear(&text);
}

struct late {
    struct timer timer;
    struct http_request *request;
};

static void on_late(void *arg)
{
    struct late *late = arg;
    echo(late->request);
    mem_free(late);
}

/* /late/MS answers after so many milliseconds */
static void reply_late(struct http_request *request)
{
    struct late *late = mem_zero(MEM_HTTP, sizeof *late);
    late->request = request;
    request->user = late;
    timer_start(http_request_loop(request), &late->timer, strtoul(request->head.path.data + 6, NULL, 10), on_late,
                late);
}

static void on_request(void *arg, struct http_request *request)
{
    (void)arg;
    struct str path = request->head.path;
    struct http_reply out = { .status = 200, .type = STR("text/plain") };
    if (str_starts(path, STR("/late/"))) {
        reply_late(request);
    } else if (str_starts(path, STR("/status/"))) {
        reply(request, atoi(path.data + 8), STR("body"));
    } else if (str_starts(path, STR("/big"))) {
        out.body = big_body;
        out.release = str_is(path, STR("/big/lent")) ? on_release : NULL;
        http_reply_send(request, &out);
    } else if (str_is(path, STR("/fields"))) {
        out.fields = STR("X-One: 1\r\nX-Two: 2\r\n");
        http_reply_send(request, &out);
    } else if (str_is(path, STR("/close"))) {
        out.close = true;
        http_reply_send(request, &out);
    } else if (str_is(path, STR("/problem"))) {
        http_problem_send(request, &(struct http_problem){ .status = 404,
                                                           .type = STR("thing-not-found"),
                                                           .detail = STR("No \"thing\"."),
                                                           .members = STR("\"id\":7"),
                                                           .fields = STR("X-One: 1\r\n"),
                                                           .retry_after_s = 3 });
    } else {
        echo(request);
    }
}

static void on_abort(void *arg, struct http_request *request)
{
    (void)arg;
    assert_true(request->aborted);
    aborted++;
}

static void on_done(void *arg, const struct http_request *request, int status, size_t bytes, uint64_t took_ns)
{
    (void)arg;
    (void)request;
    (void)status;
    (void)took_ns;
    done++;
    done_bytes += bytes;
}

static int open_rig(void **state)
{
    aborted = released = answered = done = 0;
    done_bytes = 0;
    rig_begin(state, &rig, &client, on_request);
    rig.handler.on_abort = on_abort;
    rig.handler.on_done = on_done;
    return 0;
}

#define HOST "Host: a\r\n"

/* --- answers --- */

static void a_connection_is_kept(void **state)
{
    (void)state;
    rig_go(&rig);
    assert_answer(&client, "GET /a?b HTTP/1.1\r\n" HOST "\r\n", 200, "GET /a?b ");
    assert_answer(&client, "POST /c HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", 200, "POST /c hello");
    assert_answer(&client, "GET /late/5 HTTP/1.1\r\n" HOST "\r\n", 200, "GET /late/5 ");
    assert_answer(&client, "\r\nDELETE /d HTTP/1.1\r\n" HOST "\r\n", 200, "DELETE /d ");
    struct http_stats stats = rig_stats(&rig);
    assert_int_equal(stats.requests, 4);
    assert_int_equal(stats.accepted, 1);
    assert_int_equal(stats.open, 1);
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(done, 4);
}

static void an_answer_has_the_fields_it_must_have(void **state)
{
    (void)state;
    rig_go(&rig);
    client_say(&client, "GET /fields HTTP/1.1\r\n" HOST "\r\n");
    struct answer answer = client_read(&client, false);
    const char *date = answer_field(&answer, "Date");
    assert_int_equal(strlen(date), 29);
    assert_string_equal(date + 25, " GMT");
    assert_int_equal(strlen(answer_field(&answer, "X-Request-Id")), 27);
    assert_string_equal(answer_field(&answer, "Content-Type"), "text/plain");
    assert_string_equal(answer_field(&answer, "Content-Length"), "0");
    assert_string_equal(answer_field(&answer, "X-One"), "1");
    assert_string_equal(answer_field(&answer, "X-Two"), "2");
    assert_null(answer_field(&answer, "Connection"));
    assert_null(answer_field(&answer, "Server"));
    free(answer.body);
}

static void a_request_id_is_taken_when_it_is_harmless(void **state)
{
    (void)state;
    static const struct {
        const char *given;
        bool is_taken;
    } ids[] = { { "abc.DEF_1-2", true },
                { "x", true },
                { "0123456789012345678901234567890123456789012345678901234567890123", true },
                { "01234567890123456789012345678901234567890123456789012345678901234", false },
                { "a b", false },
                { "a\"b", false },
                { "", false } };
    rig_go(&rig);
    char last[70] = "";
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        char text[300];
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\n" HOST "X-Request-Id: %s\r\n\r\n", ids[i].given);
        client_say(&client, text);
        struct answer answer = client_read(&client, false);
        const char *id = answer_field(&answer, "X-Request-Id");
        assert_int_equal(strcmp(id, ids[i].given) == 0, ids[i].is_taken);
        assert_string_not_equal(id, last);
        snprintf(last, sizeof last, "%s", id);
        free(answer.body);
    }
}

static void head_and_empty_statuses_have_no_body(void **state)
{
    (void)state;
    rig_go(&rig);
    client_say(&client, "HEAD /ab HTTP/1.1\r\n" HOST "\r\n");
    struct answer answer = client_read(&client, true);
    assert_string_equal(answer_field(&answer, "Content-Length"), "9");
    free(answer.body);
    client_say(&client, "GET /status/204 HTTP/1.1\r\n" HOST "\r\n");
    answer = client_read(&client, false);
    assert_int_equal(answer.status, 204);
    assert_null(answer_field(&answer, "Content-Length"));
    free(answer.body);
    client_say(&client, "GET /status/205 HTTP/1.1\r\n" HOST "\r\n");
    answer = client_read(&client, false);
    assert_int_equal(answer.status, 205);
    assert_string_equal(answer_field(&answer, "Content-Length"), "0");
    free(answer.body);
    client_say(&client, "GET /status/304 HTTP/1.1\r\n" HOST "\r\n");
    answer = client_read(&client, false);
    assert_int_equal(answer.status, 304);
    free(answer.body);
    assert_answer(&client, "GET /x HTTP/1.1\r\n" HOST "\r\n", 200, "GET /x ");
    assert_int_equal(done_bytes, strlen("GET /x "));
}

static void a_problem_is_json(void **state)
{
    (void)state;
    rig_go(&rig);
    client_say(&client, "GET /problem HTTP/1.1\r\n" HOST "X-Request-Id: r-1\r\n\r\n");
    struct answer answer = client_read(&client, false);
    assert_string_equal(answer_field(&answer, "Content-Type"), "application/problem+json");
    assert_string_equal(answer_field(&answer, "Retry-After"), "3");
    assert_string_equal(answer_field(&answer, "X-One"), "1");
    assert_string_equal(answer.body,
                        "{\"type\":\"urn:wick:problem:thing-not-found\",\"title\":\"Not Found\",\"status\":404,"
                        "\"detail\":\"No \\\"thing\\\".\",\"instance\":\"/problem\",\"request_id\":\"r-1\","
                        "\"id\":7}");
    free(answer.body);
}

/* --- order --- */

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    rig_go(&rig);
    char text[8000] = "", expected[20];
    for (unsigned i = 0; i < 100; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "GET /%u HTTP/1.1\r\n" HOST "\r\n", i);
    client_say(&client, text);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(expected, sizeof expected, "GET /%u ", i);
        assert_answer(&client, "", 200, expected);
    }
}

static void late_replies_keep_the_order(void **state)
{
    (void)state;
    rig_go(&rig);
    client_say(&client, "GET /late/40 HTTP/1.1\r\n" HOST "\r\nPOST /2 HTTP/1.1\r\n" HOST
                        "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET /late/1 HTTP/1.1\r\n" HOST
                        "\r\nGET /4 HTTP/1.1\r\n" HOST "\r\n");
    assert_answer(&client, "", 200, "GET /late/40 ");
    assert_answer(&client, "", 200, "POST /2 ab");
    assert_answer(&client, "", 200, "GET /late/1 ");
    assert_answer(&client, "", 200, "GET /4 ");
}

static void replies_to_one_read_leave_in_one_write(void **state)
{
    (void)state;
    rig_go(&rig);
    client_say(&client, "GET /1 HTTP/1.1\r\n" HOST "\r\nGET /2 HTTP/1.1\r\n" HOST "\r\n");
    assert_true(client_more(&client));
    assert_non_null(strstr(client.data, "GET /1 "));
    assert_non_null(strstr(client.data, "GET /2 "));
}

static void waiting_requests_do_not_pile_up(void **state)
{
    (void)state;
    rig_go(&rig);
    enum { COUNT = 20000 };
    const char *one = "GET /x HTTP/1.1\r\n" HOST "\r\n";
    size_t len = strlen(one);
    char *text = malloc(len * COUNT);
    for (unsigned i = 0; i < COUNT; i++)
        memcpy(text + i * len, one, len);
    client_say(&client, "GET /late/300 HTTP/1.1\r\n" HOST "\r\n");
    size_t sent = 0;
    for (unsigned i = 0; i < 100 && sent < len * COUNT; i++) {
        ssize_t now = send(client.fd, text + sent, len * COUNT - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += now > 0 ? (size_t)now : 0;
        usleep(1000);
    }
    assert_true(mem_live_tag(MEM_HTTP) < 512 * 1024);
    assert_answer(&client, "", 200, "GET /late/300 ");
    unsigned begun = 0;
    for (; begun < sent / len; begun++)
        assert_answer(&client, "", 200, "GET /x ");
    free(text);
}

/* --- connections --- */

static void http_1_0_is_kept_only_if_asked(void **state)
{
    (void)state;
    rig_go(&rig);
    client_say(&client, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    struct answer answer = client_read(&client, false);
    assert_string_equal(answer_field(&answer, "Connection"), "keep-alive");
    free(answer.body);
    client_say(&client, "GET /a HTTP/1.0\r\n\r\n");
    answer = client_read(&client, false);
    assert_string_equal(answer_field(&answer, "Connection"), "close");
    free(answer.body);
    assert_orderly_end(&client);
}

static void either_side_may_end_it(void **state)
{
    (void)state;
    rig_go(&rig);
    client_say(&client, "GET /a HTTP/1.1\r\n" HOST "Connection: close\r\n\r\nGET /b HTTP/1.1\r\n" HOST "\r\n");
    assert_answer(&client, "", 200, "GET /a ");
    assert_orderly_end(&client);
    client_close(&client);
    client_open(&client, rig.port);
    assert_answer(&client, "GET /close HTTP/1.1\r\n" HOST "\r\n", 200, "");
    assert_orderly_end(&client);
}

static void a_connection_serves_no_more_than_it_is_allowed_to(void **state)
{
    (void)state;
    rig.settings.requests_per_conn = 2;
    rig_go(&rig);
    assert_answer(&client, "GET /a HTTP/1.1\r\n" HOST "\r\n", 200, NULL);
    client_say(&client, "GET /b HTTP/1.1\r\n" HOST "\r\n");
    struct answer answer = client_read(&client, false);
    assert_string_equal(answer_field(&answer, "Connection"), "close");
    free(answer.body);
    assert_orderly_end(&client);
}

static void a_client_that_half_closes_gets_what_is_ready(void **state)
{
    (void)state;
    rig_go(&rig);
    client_say(&client, "GET /a HTTP/1.1\r\n" HOST "\r\nGET /b HTTP/1.1\r\n" HOST "\r\n");
    shutdown(client.fd, SHUT_WR);
    assert_answer(&client, "", 200, "GET /a ");
    assert_answer(&client, "", 200, "GET /b ");
    assert_orderly_end(&client);
    assert_int_equal(aborted, 0);
}

static void a_client_that_leaves_aborts_its_request_once(void **state)
{
    (void)state;
    rig_go(&rig);
    client_say(&client, "GET /late/100 HTTP/1.1\r\n" HOST "\r\nGET /never HTTP/1.1\r\n" HOST "\r\n");
    wait_for_in_flight(&rig, 1);
    client_close(&client);
    wait_until(&aborted, 1);
    wait_until(&answered, 1);
    wait_for_in_flight(&rig, 0);
    struct client other;
    client_open(&other, rig.port);
    client_say(&other, "GET /late/100 HTTP/1.1\r\n" HOST "\r\n");
    wait_for_in_flight(&rig, 1);
    client_reset(&other);
    wait_until(&aborted, 2);
    wait_until(&answered, 2);
    wait_for_open(&rig, 0);
    struct http_stats stats = rig_stats(&rig);
    assert_int_equal(stats.open, 0);
    assert_int_equal(stats.aborted, 2);
    assert_int_equal(stats.requests, 2);
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(done, 0);
}

static void over_the_limit_a_connection_is_told_so(void **state)
{
    (void)state;
    rig.settings.conns_max = 2;
    rig_go(&rig);
    struct client second, third;
    assert_answer(&client, "GET /a HTTP/1.1\r\n" HOST "\r\n", 200, NULL);
    client_open(&second, rig.port);
    assert_answer(&second, "GET /a HTTP/1.1\r\n" HOST "\r\n", 200, NULL);
    client_open(&third, rig.port);
    struct answer answer = client_read(&third, false);
    assert_int_equal(answer.status, 503);
    assert_string_equal(answer_field(&answer, "Connection"), "close");
    assert_string_equal(answer_field(&answer, "Retry-After"), "1");
    free(answer.body);
    assert_orderly_end(&third);
    client_close(&third);
    client_close(&second);
    wait_for_open(&rig, 1);
    client_open(&third, rig.port);
    assert_answer(&third, "GET /a HTTP/1.1\r\n" HOST "\r\n", 200, NULL);
    client_close(&third);
}

/* --- unix sockets --- */

static void assert_local_answer(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    client = (struct client){ .fd = socket(AF_UNIX, SOCK_STREAM, 0) };
    assert_int_equal(connect(client.fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_answer(&client, "GET /a HTTP/1.1\r\n" HOST "\r\n", 200, "GET /a ");
    client_close(&client);
}

static void a_unix_socket_is_served_and_a_stale_one_replaced(void **state)
{
    (void)state;
    char path[] = "/tmp/wick-http-spec-XXXXXX", why[300] = "";
    struct http_server *second;
    struct loop *loop;
    assert_non_null(mkdtemp(path));
    char file[100], other[100];
    snprintf(file, sizeof file, "%s/socket", path);
    snprintf(other, sizeof other, "%s/file", path);
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s", file);
    assert_int_equal(bind(stale, (struct sockaddr *)&address, sizeof address), 0);
    close(stale);
    rig.settings.host = file;
    rig_open(&rig);
    assert_local_answer(file);

    assert_int_equal(loop_open("second", &loop), FAIL_OK);
    assert_int_equal(http_server_open(loop, &rig.settings, &rig.handler, &second, why, sizeof why), FAIL_REFUSED);
    assert_non_null(strstr(why, file));
    struct http_settings elsewhere = rig.settings;
    elsewhere.host = other;
    fclose(fopen(other, "w"));
    assert_int_equal(http_server_open(loop, &elsewhere, &rig.handler, &second, why, sizeof why), FAIL_REFUSED);
    assert_int_equal(loop_close(loop, 100), 0);

    rig_close(&rig);
    assert_int_not_equal(access(file, F_OK), 0);
    assert_int_equal(access(other, F_OK), 0);
    unlink(other);
    rmdir(path);
}

static void an_address_that_is_none_is_refused_in_words(void **state)
{
    (void)state;
    char why[300] = "";
    struct http_server *server;
    struct loop *loop;
    rig.settings.host = "localhost:80";
    assert_int_equal(loop_open("second", &loop), FAIL_OK);
    assert_int_equal(http_server_open(loop, &rig.settings, &rig.handler, &server, why, sizeof why), FAIL_INVALID);
    assert_non_null(strstr(why, "localhost:80"));
    assert_int_equal(loop_close(loop, 100), 0);
}

/* --- draining --- */

static void draining_answers_what_is_in_hand_and_closes_the_rest(void **state)
{
    (void)state;
    rig_go(&rig);
    struct client idle;
    client_open(&idle, rig.port);
    assert_answer(&idle, "GET /a HTTP/1.1\r\n" HOST "\r\n", 200, NULL);
    client_say(&client, "GET /late/100 HTTP/1.1\r\n" HOST "\r\n");
    wait_for_in_flight(&rig, 1);
    rig_drain(&rig, 5000);
    assert_orderly_end(&idle);
    struct answer answer = client_read(&client, false);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer_field(&answer, "Connection"), "close");
    free(answer.body);
    assert_orderly_end(&client);
    client_close(&client);
    client_close(&idle);
    rig_join(&rig);
}

static void draining_cuts_who_takes_too_long(void **state)
{
    (void)state;
    rig_go(&rig);
    struct client half;
    client_open(&half, rig.port);
    client_say(&half, "GET /a HT");
    client_say(&client, "GET /late/1000 HTTP/1.1\r\n" HOST "\r\n");
    wait_for_in_flight(&rig, 1);
    wait_for_open(&rig, 2);
    struct timespec begun;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    rig_drain(&rig, 50);
    assert_false(client_more(&client));
    assert_false(client_more(&half));
    assert_true(ms_since(&begun) < 900);
    rig_join(&rig); /* the reply is still owed, and waited for */
    assert_int_equal(aborted, 1);
    assert_int_equal(answered, 1);
    client_close(&half);
}

/* --- large and slow --- */

static void make_big_body(void)
{
    enum { BYTES = 10 * 1024 * 1024 };
    char *text = malloc(BYTES);
    for (size_t i = 0; i < BYTES; i++)
        text[i] = (char)('a' + i * 7 % 26 + (i >> 16) % 3);
    big_body = str_make(text, BYTES);
}

static void slow_reader_gets(const char *path)
{
    make_big_body();
    rig_open(&rig);
    client_open_small(&client, rig.port, 65536);
    char text[200];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\nGET /after HTTP/1.1\r\n" HOST "\r\n", path);
    client_say(&client, text);
    for (unsigned i = 0; i < 5000 && rig_stats(&rig).requests < 1; i++)
        usleep(1000);
    usleep(20000);
    assert_int_equal(answered, 0); /* the second waits for the first to be written */
    struct answer answer = client_read(&client, false);
    assert_int_equal(answer.len, big_body.len);
    assert_memory_equal(answer.body, big_body.data, big_body.len);
    free(answer.body);
    assert_answer(&client, "", 200, "GET /after ");
    free((void *)(uintptr_t)big_body.data);
}

static void ten_megabytes_reach_a_slow_reader_without_a_copy(void **state)
{
    (void)state;
    slow_reader_gets("/big/lent");
    assert_int_equal(released, 1);
}

static void ten_megabytes_reach_a_slow_reader_with_a_copy(void **state)
{
    (void)state;
    slow_reader_gets("/big/copied");
}

static void bodies_of_every_size_arrive_whole(void **state)
{
    (void)state;
    make_big_body();
    char *all = (char *)(uintptr_t)big_body.data;
    rig_go(&rig);
    static const size_t sizes[] = { 0, 1, 2047, 2048, 2049, 65535, 65536, 65537, 300000, 2000000 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (unsigned lent = 0; lent < 2; lent++) {
            big_body.len = sizes[i];
            client_say(&client, lent ? "GET /big/lent HTTP/1.1\r\n" HOST "\r\nGET /big/lent HTTP/1.1\r\n" HOST "\r\n"
                                     : "GET /big HTTP/1.1\r\n" HOST "\r\nGET /big HTTP/1.1\r\n" HOST "\r\n");
            for (unsigned k = 0; k < 2; k++) {
                struct answer answer = client_read(&client, false);
                assert_int_equal(answer.len, sizes[i]);
                assert_memory_equal(answer.body, all, sizes[i]);
                free(answer.body);
            }
        }
    rig_stats(&rig);
    assert_int_equal(released, 2 * COUNT_OF(sizes));
    free(all);
}

static void a_large_request_body_arrives_whole(void **state)
{
    (void)state;
    rig_go(&rig);
    enum { BYTES = 900000 };
    char *text = malloc(BYTES + 200);
    for (unsigned chunked = 0; chunked < 2; chunked++) {
        size_t len = (size_t)sprintf(text, "POST /p HTTP/1.1\r\n" HOST "%s\r\n\r\n",
                                     chunked ? "Transfer-Encoding: chunked" : "Content-Length: 900000");
        if (chunked)
            len += (size_t)sprintf(text + len, "%x\r\n", BYTES);
        for (size_t i = 0; i < BYTES; i++)
            text[len + i] = (char)('a' + i % 26);
        if (chunked)
            memcpy(text + len + BYTES, "\r\n0\r\n\r\n", 7);
        size_t body_at = len;
        assert_true(client_send(&client, text, len + BYTES + (chunked ? 7 : 0)));
        struct answer answer = client_read(&client, false);
        assert_int_equal(answer.len, strlen("POST /p ") + BYTES);
        assert_memory_equal(answer.body + strlen("POST /p "), text + body_at, BYTES);
        free(answer.body);
    }
    free(text);
}

/* --- refusals --- */

static void assert_refusal(const struct http_case *c)
{
    struct answer answer = client_read(&client, false);
    if (answer.status != c->status)
        fail_msg("%s: status %d instead of %d", c->name, answer.status, c->status);
    assert_string_equal(answer_field(&answer, "Content-Type"), "application/problem+json");
    assert_string_equal(answer_field(&answer, "Connection"), "close");
    char id[100];
    snprintf(id, sizeof id, "\"request_id\":\"%s\"", answer_field(&answer, "X-Request-Id"));
    assert_non_null(strstr(answer.body, id));
    assert_non_null(strstr(answer.body, "\"detail\":\""));
    free(answer.body);
    assert_orderly_end(&client);
}

static void assert_taken(const struct http_case *c, bool has_body)
{
    struct answer answer = client_read(&client, false);
    if (answer.status != 200)
        fail_msg("%s: status %d", c->name, answer.status);
    bool is_empty = !has_body || strstr(c->name, "empty");
    assert_true(is_empty || (answer.len > 5 && memcmp(answer.body + answer.len - 5, "hello", 5) == 0));
    free(answer.body);
}

/* A request that is cut short by what is wrong with it goes on waiting; so one more follows. */
static void judge(const struct http_case *c, size_t split, bool has_body)
{
    static const char more[] = "GET /smuggled HTTP/1.1\r\n" HOST "\r\n";
    client_open(&client, rig.port);
    if (split) {
        client_send(&client, c->bytes.data, split);
        usleep(100);
    }
    client_send(&client, c->bytes.data + split, c->bytes.len - split);
    if (c->status) {
        client_send(&client, more, sizeof more - 1);
        assert_refusal(c);
    } else {
        assert_taken(c, has_body);
    }
    client_close(&client);
}

static void every_head_of_the_table_gets_its_answer(void **state)
{
    (void)state;
    rig_open(&rig);
    for (size_t i = 0; i < COUNT_OF(http_heads); i++) {
        judge(&http_heads[i], 0, false);
        judge(&http_heads[i], http_heads[i].bytes.len / 2, false);
    }
}

static void every_body_of_the_table_gets_its_answer_split_anywhere(void **state)
{
    (void)state;
    rig_open(&rig);
    for (size_t i = 0; i < COUNT_OF(http_bodies); i++)
        for (size_t split = 0; split < http_bodies[i].bytes.len; split++)
            judge(&http_bodies[i], split, true);
}

/* The answer must arrive although more than the socket's buffers hold is still being sent. */
static void a_body_too_long_is_refused_before_it_is_read(void **state)
{
    (void)state;
    rig_go(&rig);
    client_say(&client, "POST / HTTP/1.1\r\n" HOST "Content-Length: 104857600\r\n\r\n");
    char *text = calloc(1, 1 << 20);
    for (unsigned i = 0; i < 20; i++)
        client_send(&client, text, 1 << 20);
    free(text);
    struct answer answer = client_read(&client, false);
    assert_int_equal(answer.status, 413);
    assert_string_equal(answer_field(&answer, "Connection"), "close");
    free(answer.body);
    assert_int_equal(answered, 0);
    client_close(&client);
    client_open(&client, rig.port);
    text = calloc(1, 2 << 20);
    client_say(&client, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n200000\r\n");
    client_send(&client, text, 2 << 20);
    assert_answer(&client, "", 413, NULL);
    assert_orderly_end(&client);
    free(text);
    assert_int_equal(rig_stats(&rig).bad, 2);
}

#define SERVER_TEST(name) cmocka_unit_test_setup_teardown(name, open_rig, rig_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_TEST(a_connection_is_kept),
        SERVER_TEST(an_answer_has_the_fields_it_must_have),
        SERVER_TEST(a_request_id_is_taken_when_it_is_harmless),
        SERVER_TEST(head_and_empty_statuses_have_no_body),
        SERVER_TEST(a_problem_is_json),
        SERVER_TEST(pipelined_requests_are_answered_in_order),
        SERVER_TEST(late_replies_keep_the_order),
        SERVER_TEST(replies_to_one_read_leave_in_one_write),
        SERVER_TEST(waiting_requests_do_not_pile_up),
        SERVER_TEST(http_1_0_is_kept_only_if_asked),
        SERVER_TEST(either_side_may_end_it),
        SERVER_TEST(a_connection_serves_no_more_than_it_is_allowed_to),
        SERVER_TEST(a_client_that_half_closes_gets_what_is_ready),
        SERVER_TEST(a_client_that_leaves_aborts_its_request_once),
        SERVER_TEST(over_the_limit_a_connection_is_told_so),
        SERVER_TEST(a_unix_socket_is_served_and_a_stale_one_replaced),
        SERVER_TEST(an_address_that_is_none_is_refused_in_words),
        SERVER_TEST(draining_answers_what_is_in_hand_and_closes_the_rest),
        SERVER_TEST(draining_cuts_who_takes_too_long),
        SERVER_TEST(ten_megabytes_reach_a_slow_reader_without_a_copy),
        SERVER_TEST(ten_megabytes_reach_a_slow_reader_with_a_copy),
        SERVER_TEST(bodies_of_every_size_arrive_whole),
        SERVER_TEST(a_large_request_body_arrives_whole),
        SERVER_TEST(every_head_of_the_table_gets_its_answer),
        SERVER_TEST(every_body_of_the_table_gets_its_answer_split_anywhere),
        SERVER_TEST(a_body_too_long_is_refused_before_it_is_read),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
