/* streaming_spec.c - replies in pieces: no faster than the client reads, and never mistaken for whole when they are not. */
#include "core/http/rig.h"

#include "loop/timer.h"

#include <stdatomic.h>

static struct rig rig;
static struct client client;
static _Atomic unsigned rooms, losses, ended, done;
static _Atomic size_t most_live, done_bytes;

/* /ID/COUNT/BYTES/HOW: COUNT pieces of BYTES; HOW is now, slow (a piece each 2 ms), cut (breaks off at the end) or reset
 * (with status 205). */
struct source {
    struct timer timer;
    struct http_streaming *streaming;
    struct loop *loop;
    unsigned left, bytes;
    bool is_slow, is_cut;
    char *piece;
};

static void end(struct source *source, bool complete)
{
    timer_stop(&source->timer);
    ended++;
    http_reply_end(source->streaming, complete);
    mem_free(source->piece);
    mem_free(source);
}

static void go_on(void *arg)
{
    struct source *source = arg;
    while (source->left) {
        size_t live = mem_live_tag(MEM_HTTP);
        if (live > most_live)
            most_live = live;
        source->left--;
        enum fail fail = http_reply_piece(source->streaming, str_make(source->piece, source->bytes));
        if (fail == FAIL_FULL)
            return; /* on_room goes on */
        if (fail) {
            losses++;
            end(source, false);
            return;
        }
        if (source->is_slow) {
            timer_start(source->loop, &source->timer, 2, go_on, source);
            return;
        }
    }
    end(source, !source->is_cut);
}

static void on_room(void *arg, enum fail fail)
{
    rooms++;
    if (!fail) {
        go_on(arg);
        return;
    }
    losses++;
    end(arg, false);
}

static void on_request(void *arg, struct http_request *request)
{
    (void)arg;
    struct source *source = mem_zero(MEM_HTTP, sizeof *source);
    char how[10] = "", path[100];
    unsigned id;
    snprintf(path, sizeof path, "%.*s", (int)request->head.path.len, request->head.path.data);
    assert_int_equal(sscanf(path, "/%u/%u/%u/%9s", &id, &source->left, &source->bytes, how), 4);
    source->is_slow = how[0] == 's';
    source->is_cut = how[0] == 'c';
    source->piece = mem_alloc(MEM_HTTP, source->bytes + 1);
    memset(source->piece, 'a' + (int)(id % 26), source->bytes);
    source->loop = http_request_loop(request);
    struct http_reply head = { .status = how[0] == 'r' ? 205 : 200, .type = STR("text/plain") };
    if (http_reply_begin(request, &head, on_room, source, &source->streaming))
        fail_msg("no stream");
    go_on(source);
}

static void on_done(void *arg, const struct http_request *request, int status, size_t bytes, uint64_t took_ns)
{
    (void)arg;
    (void)request;
    (void)took_ns;
    assert_true(status == 200 || status == 205);
    done++;
    done_bytes += bytes;
}

static int open_rig(void **state)
{
    rooms = losses = ended = done = 0;
    most_live = done_bytes = 0;
    rig_begin(state, &rig, &client, on_request);
    rig.handler.on_done = on_done;
    rig_go(&rig);
    return 0;
}

static void assert_pieces(const char *path, size_t bytes)
{
    char text[200];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);
    client_say(&client, text);
    struct answer answer = client_read(&client, false);
    assert_int_equal(answer.status, 200);
    assert_true(answer.is_whole);
    assert_string_equal(answer_field(&answer, "Transfer-Encoding"), "chunked");
    assert_null(answer_field(&answer, "Content-Length"));
    assert_int_equal(answer.len, bytes);
    for (size_t i = 0; i < answer.len; i++)
        if (answer.body[i] != 'a' + atoi(path + 1) % 26)
            fail_msg("byte %zu is wrong", i);
    free(answer.body);
}

static void pieces_arrive_and_the_connection_is_kept(void **state)
{
    (void)state;
    assert_pieces("/1/0/0/now", 0);
    assert_pieces("/2/3/0/now", 0);
    assert_pieces("/3/1/1/now", 1);
    assert_pieces("/4/1000/100/now", 100000);
    assert_pieces("/5/20/100/slow", 2000);
    assert_pieces("/6/3/1000000/now", 3000000);
    assert_int_equal(done, 6);
    assert_int_equal(done_bytes, 3102001);
}

static void streams_and_what_follows_keep_their_order(void **state)
{
    (void)state;
    client_say(&client, "GET /1/10/10/slow HTTP/1.1\r\nHost: a\r\n\r\nGET /2/10/10000/now HTTP/1.1\r\nHost: a\r\n\r\n"
                        "GET /3/1/10/now HTTP/1.1\r\nHost: a\r\n\r\n");
    static const size_t lengths[] = { 100, 100000, 10 };
    for (unsigned i = 0; i < 3; i++) {
        struct answer answer = client_read(&client, false);
        assert_int_equal(answer.len, lengths[i]);
        assert_int_equal(answer.body[0], 'b' + (int)i);
        assert_int_equal(answer.body[answer.len - 1], 'b' + (int)i);
        free(answer.body);
    }
}

static void a_slow_reader_slows_the_source(void **state)
{
    (void)state;
    client_close(&client);
    client_open_small(&client, rig.port, 65536);
    client_say(&client, "GET /1/3000/10000/now HTTP/1.1\r\nHost: a\r\n\r\n");
    usleep(100000);
    assert_int_equal(ended, 0);
    struct answer answer = client_read(&client, false);
    assert_int_equal(answer.len, 30000000);
    assert_true(answer.is_whole);
    free(answer.body);
    assert_true(rooms > 10);
    assert_true(most_live < 1024 * 1024);
}

static void on_1_0_the_end_of_the_connection_is_the_end(void **state)
{
    (void)state;
    client_say(&client, "GET /1/10/1000/now HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    struct answer answer = client_read(&client, false);
    assert_null(answer_field(&answer, "Transfer-Encoding"));
    assert_string_equal(answer_field(&answer, "Connection"), "close");
    assert_int_equal(answer.len, 10000);
    assert_int_equal(client.broken, 0);
    free(answer.body);
}

static void head_gets_the_head(void **state)
{
    (void)state;
    client_say(&client, "HEAD /1/10/1000/now HTTP/1.1\r\nHost: a\r\n\r\n");
    struct answer answer = client_read(&client, true);
    assert_string_equal(answer_field(&answer, "Transfer-Encoding"), "chunked");
    free(answer.body);
    assert_pieces("/2/1/5/now", 5);
}

static void reset_content_has_none(void **state)
{
    (void)state;
    client_say(&client, "GET /1/10/1000/reset HTTP/1.1\r\nHost: a\r\n\r\n");
    struct answer answer = client_read(&client, false);
    assert_int_equal(answer.status, 205);
    assert_string_equal(answer_field(&answer, "Content-Length"), "0");
    assert_null(answer_field(&answer, "Transfer-Encoding"));
    free(answer.body);
    assert_pieces("/2/1/5/now", 5);
}

static void a_stream_that_breaks_off_is_seen_to(void **state)
{
    (void)state;
    client_say(&client, "GET /1/10/1000/cut HTTP/1.1\r\nHost: a\r\n\r\n");
    struct answer answer = client_read(&client, false);
    assert_false(answer.is_whole);
    free(answer.body);
    assert_true(client.at_eof);
    client_close(&client);
    client_open(&client, rig.port);
    client_say(&client, "GET /1/10/1000/cut HTTP/1.0\r\n\r\n");
    answer = client_read(&client, false);
    assert_int_equal(client.broken, ECONNRESET);
    free(answer.body);
    wait_for_open(&rig, 0);
}

static void a_client_that_leaves_is_told_to_the_source_once(void **state)
{
    (void)state;
    client_say(&client, "GET /1/100000/100/slow HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for_in_flight(&rig, 1);
    client_close(&client);
    wait_until(&ended, 1);
    wait_for_in_flight(&rig, 0);
    client_open_small(&client, rig.port, 4096);
    client_say(&client, "GET /1/100000/10000/now HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for_in_flight(&rig, 1);
    client_reset(&client);
    wait_until(&ended, 2);
    wait_for_open(&rig, 0);
    assert_int_equal(losses, 2);
    struct http_stats stats = rig_stats(&rig);
    assert_int_equal(stats.open, 0);
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(stats.aborted, 2);
}

static void draining_waits_for_streams_and_then_cuts_them(void **state)
{
    (void)state;
    struct client other;
    client_open(&other, rig.port);
    client_say(&client, "GET /1/20/10/slow HTTP/1.1\r\nHost: a\r\n\r\n");
    client_say(&other, "GET /2/100000/10/slow HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for_in_flight(&rig, 2);
    rig_drain(&rig, 2000);
    struct answer answer = client_read(&client, false);
    assert_true(answer.is_whole);
    assert_int_equal(answer.len, 200);
    free(answer.body);
    assert_orderly_end(&client);
    answer = client_read(&other, false);
    assert_false(answer.is_whole);
    free(answer.body);
    client_close(&client);
    client_close(&other);
    rig_join(&rig);
    assert_int_equal(ended, 2);
    assert_int_equal(losses, 1);
}

#define STREAM_TEST(name) cmocka_unit_test_setup_teardown(name, open_rig, rig_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREAM_TEST(pieces_arrive_and_the_connection_is_kept),
        STREAM_TEST(streams_and_what_follows_keep_their_order),
        STREAM_TEST(a_slow_reader_slows_the_source),
        STREAM_TEST(on_1_0_the_end_of_the_connection_is_the_end),
        STREAM_TEST(head_gets_the_head),
        STREAM_TEST(reset_content_has_none),
        STREAM_TEST(a_stream_that_breaks_off_is_seen_to),
        STREAM_TEST(a_client_that_leaves_is_told_to_the_source_once),
        STREAM_TEST(draining_waits_for_streams_and_then_cuts_them),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
