/* stream_spec.c - bytes go in and come out, once, in order, and the end is told once. */
#include "support/spec.h"

#include "base/clock.h"
#include "loop/inner.h"
#include "loop/stream.h"

#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* A listener, and both ends of one connection to it. */
static struct loop *loop;
static struct stream_listener *listener;
static struct stream *server, *client;
static bool is_paired;

static void on_accept(void *arg, struct stream *stream)
{
    (void)arg;
    assert_null(server);
    server = stream;
    is_paired = server && client;
}

static void on_connected(void *arg, enum fail fail, struct stream *stream, const char *why)
{
    (void)arg;
    assert_null(why);
    assert_int_equal(fail, FAIL_OK);
    client = stream;
    is_paired = server && client;
}

static int open_pair(void **state)
{
    (void)state;
    server = client = NULL;
    is_paired = false;
    struct stream_connecting *connecting;
    if (loop_open("spec", &loop) ||
        stream_listen(loop, "127.0.0.1", 0, (struct stream_listen_options){ 0 }, on_accept, NULL, &listener, NULL, 0) ||
        stream_connect(loop, "127.0.0.1", stream_listener_port(listener), 5000, on_connected, NULL, &connecting))
        return -1;
    loop_turn(loop, 5000, &is_paired);
    return is_paired ? 0 : -1;
}

static int close_pair(void **state)
{
    (void)state;
    if (server)
        stream_close(server, NULL, NULL);
    if (client)
        stream_close(client, NULL, NULL);
    stream_listener_close(listener, NULL, NULL);
    return (int)loop_close(loop, 1000);
}

/* What an end has read. */
struct inbox {
    char *data;
    size_t len, wanted;
    ptrdiff_t end; /* what the last call said where it was not bytes: 0 or below */
    unsigned calls, ends;
    bool done;
};

static void on_read(void *arg, char *data, ptrdiff_t len)
{
    struct inbox *inbox = arg;
    inbox->calls++;
    if (len <= 0) {
        inbox->end = len;
        inbox->ends++;
        inbox->done = true;
        return;
    }
    if (inbox->data)
        memcpy(inbox->data + inbox->len, data, (size_t)len);
    memset(data, 'x', (size_t)len); /* the buffer is ours for the call, to write in, too */
    inbox->len += (size_t)len;
    if (inbox->wanted && inbox->len >= inbox->wanted)
        inbox->done = true;
}

/* What became of writes. */
struct outbox {
    unsigned written, failed;
    enum fail fail;
    bool done, closed;
};

static void on_written(void *arg, enum fail fail)
{
    struct outbox *outbox = arg;
    assert_false(outbox->closed);
    outbox->fail = fail;
    if (fail)
        outbox->failed++;
    else
        outbox->written++;
    outbox->done = true;
}

static void on_closed(void *arg)
{
    struct outbox *outbox = arg;
    assert_false(outbox->closed);
    outbox->closed = true;
    outbox->done = true;
}

/* --- plain traffic -------------------------------------------------------------------------------------------- */

static void pieces_leave_together_and_in_order(void **state)
{
    (void)state;
    char data[64];
    struct inbox inbox = { .data = data, .wanted = 13 };
    stream_read_start(client, on_read, &inbox);
    const struct str pieces[] = { STR("HTTP"), STR("/"), STR("1.1 "), STR("200 "), STR("O"), STR("") };
    assert_int_equal(stream_try_write(server, pieces, COUNT_OF(pieces)), 14);
    assert_int_equal(inbox.calls, 0); /* never from within */
    loop_turn(loop, 2000, &inbox.done);
    assert_int_equal(inbox.calls, 1);
    assert_memory_equal(data, "HTTP/1.1 200 O", 14);
    char peer[64], cut[5];
    stream_peer(server, peer, sizeof peer);
    assert_string_equal(peer, "127.0.0.1");
    stream_peer(server, cut, sizeof cut);
    assert_string_equal(cut, "127.");
    assert_ptr_equal(stream_loop(server), loop);
}

static void sixteen_megabytes_survive_a_slow_reader(void **state)
{
    (void)state;
    size_t len = 16u << 20;
    char *sent = malloc(len);
    struct inbox inbox = { .data = malloc(len), .wanted = len };
    struct outbox outbox = { 0 };
    for (size_t i = 0; i < len; i++)
        sent[i] = (char)(i * 2654435761u >> 13);
    ptrdiff_t at_once = stream_try_write(server, &(struct str){ sent, len }, 1);
    assert_true(at_once > 0 && (size_t)at_once < len);
    struct str rest[2] = { { sent + at_once, 1000 }, { sent + at_once + 1000, len - (size_t)at_once - 1000 } };
    assert_int_equal(stream_write(server, rest, 2, on_written, &outbox), FAIL_OK);
    assert_true(stream_queued(server) > 0);
    assert_int_equal(stream_try_write(server, rest, 1), 0); /* not past what is queued */
    loop_turn(loop, 30, NULL);
    assert_false(outbox.done);
    stream_read_start(client, on_read, &inbox);
    loop_turn(loop, 20000, &inbox.done);
    assert_int_equal(inbox.len, len);
    assert_memory_equal(inbox.data, sent, len);
    loop_turn(loop, 0, NULL);
    assert_int_equal(outbox.written, 1);
    assert_int_equal(stream_queued(server), 0);
    free(sent);
    free(inbox.data);
}

static void a_paused_stream_reads_nothing_and_loses_nothing(void **state)
{
    (void)state;
    char data[64];
    struct inbox inbox = { .data = data };
    stream_read_start(client, on_read, &inbox);
    loop_turn(loop, 0, NULL);
    stream_read_stop(client);
    assert_int_equal(stream_try_write(server, &STR("one"), 1), 3);
    struct loop_load load;
    loop_load_take(loop, &load);
    loop_turn(loop, 50, NULL);
    loop_load_take(loop, &load);
    assert_int_equal(inbox.calls, 0);
    assert_true(load.turns < 10); /* waits, does not spin */
    assert_int_equal(stream_try_write(server, &STR("two"), 1), 3);
    inbox.wanted = 6;
    stream_read_start(client, on_read, &inbox);
    loop_turn(loop, 2000, &inbox.done);
    assert_int_equal(inbox.len, 6);
    assert_memory_equal(data, "onetwo", 6);
    stream_read_stop(client); /* and at once again: as if nothing had been said */
    stream_read_start(client, on_read, &inbox);
    inbox.done = false;
    inbox.wanted = 9;
    assert_int_equal(stream_try_write(server, &STR("six"), 1), 3);
    loop_turn(loop, 2000, &inbox.done);
    assert_memory_equal(data, "onetwosix", 9);
}

/* --- ends ----------------------------------------------------------------------------------------------------- */

static void a_half_close_is_read_as_zero_after_all_bytes(void **state)
{
    (void)state;
    size_t len = 8u << 20;
    char *sent = calloc(1, len);
    struct outbox written = { 0 }, half = { 0 };
    struct inbox inbox = { 0 };
    assert_int_equal(stream_write(server, &(struct str){ sent, len }, 1, on_written, &written), FAIL_OK);
    assert_int_equal(stream_shutdown(server, on_written, &half), FAIL_OK);
    assert_int_equal(half.written, 0);
    stream_read_start(client, on_read, &inbox);
    loop_turn(loop, 20000, &inbox.done);
    assert_int_equal(inbox.end, 0);
    assert_int_equal(inbox.ends, 1);
    assert_int_equal(inbox.len, len);
    assert_int_equal(written.written, 1);
    assert_int_equal(half.written, 1);
    struct inbox back = { .wanted = 3 }; /* the other direction is still open */
    stream_read_start(server, on_read, &back);
    assert_int_equal(stream_try_write(client, &STR("bye"), 1), 3);
    loop_turn(loop, 2000, &back.done);
    assert_int_equal(back.len, 3);
    free(sent);
}

static void a_reset_is_read_as_broken(void **state)
{
    (void)state;
    struct inbox inbox = { 0 };
    struct outbox outbox = { 0 };
    stream_read_start(client, on_read, &inbox);
    stream_reset(server, on_closed, &outbox);
    server = NULL;
    assert_false(outbox.closed);
    loop_turn(loop, 2000, &inbox.done);
    assert_true(outbox.closed);
    assert_true(inbox.end < 0);
    assert_int_equal(inbox.ends, 1);
    assert_int_equal(stream_try_write(client, &STR("x"), 1), -1);
}

static void writing_to_who_has_gone_is_an_error_not_a_signal(void **state)
{
    (void)state;
    stream_reset(client, NULL, NULL);
    client = NULL;
    loop_turn(loop, 50, NULL);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(stream_try_write(server, &STR("x"), 1), -1);
}

static void queued_writes_end_as_closed_before_on_closed(void **state)
{
    (void)state;
    size_t len = 32u << 20;
    char *sent = calloc(1, len);
    struct outbox outbox = { 0 };
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(stream_write(server, &(struct str){ sent, len }, 1, on_written, &outbox), FAIL_OK);
    stream_close(server, on_closed, &outbox);
    server = NULL;
    assert_int_equal(outbox.failed, 0); /* not from within */
    loop_turn(loop, 100, &outbox.closed);
    assert_int_equal(outbox.failed, 3);
    assert_int_equal(outbox.fail, FAIL_CLOSED);
    assert_true(outbox.closed);
    free(sent);
}

static void a_closed_stream_is_not_read_any_more(void **state)
{
    (void)state;
    struct inbox inbox = { 0 };
    struct outbox outbox = { 0 };
    stream_read_start(client, on_read, &inbox);
    assert_int_equal(stream_try_write(server, &STR("late"), 1), 4);
    stream_close(client, on_closed, &outbox);
    client = NULL;
    loop_turn(loop, 2000, &outbox.closed);
    assert_int_equal(inbox.calls, 0);
    assert_true(outbox.closed);
}

static void close_in_read(void *arg, char *data, ptrdiff_t len)
{
    on_read(arg, data, len);
    stream_close(client, NULL, NULL);
    client = NULL;
}

static void a_stream_may_be_closed_while_it_is_read(void **state)
{
    (void)state;
    struct inbox inbox = { .wanted = 1 };
    stream_read_start(client, close_in_read, &inbox);
    char *sent = calloc(1, 1u << 20);
    assert_true(stream_try_write(server, &(struct str){ sent, 1u << 20 }, 1) > 0);
    loop_turn(loop, 2000, &inbox.done);
    loop_turn(loop, 20, NULL);
    assert_int_equal(inbox.calls, 1);
    free(sent);
}

/* --- cost ----------------------------------------------------------------------------------------------------- */

static void both_ends_send_small_pieces_at_once(void **state)
{
    (void)state;
    struct stream *ends[2] = { server, client };
    for (unsigned i = 0; i < 2; i++) {
        uv_os_fd_t fd;
        int value = 0;
        socklen_t len = sizeof value;
        assert_int_equal(uv_fileno((uv_handle_t *)stream_handle(ends[i]), &fd), 0);
        assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &len), 0);
        assert_true(value != 0);
    }
}

static void write_requests_are_used_again(void **state)
{
    (void)state;
    struct inbox inbox = { 0 };
    stream_read_start(client, on_read, &inbox);
    for (unsigned i = 0; i < 100; i++) {
        if (i == 10)
            mem_fail_after(1);
        struct outbox outbox = { 0 };
        assert_int_equal(stream_write(server, &STR("again"), 1, on_written, &outbox), FAIL_OK);
        loop_turn(loop, 1000, &outbox.done);
        assert_int_equal(outbox.written, 1);
    }
    mem_fail_after(0);
}

static struct stream *crowd[4096];
static unsigned crowd_count, crowd_wanted;
static bool is_crowded;
static void on_crowd(void *arg, struct stream *stream)
{
    struct inbox *inbox = arg;
    crowd[crowd_count++] = stream;
    stream_read_start(stream, on_read, inbox);
    is_crowded = crowd_count == crowd_wanted;
}

static void an_idle_stream_costs_less_than_600_bytes(void **state)
{
    (void)state;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    crowd_wanted = limit.rlim_cur > 8500 ? 4000 : 400;
    struct inbox inbox = { 0 };
    struct stream_listener *busy;
    struct stream_listen_options options = { .backlog = 4096 };
    assert_int_equal(stream_listen(loop, "127.0.0.1", 0, options, on_crowd, &inbox, &busy, NULL, 0), FAIL_OK);
    size_t before = mem_live();
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)stream_listener_port(busy)) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int *fds = calloc(crowd_wanted, sizeof *fds);
    for (unsigned i = 0; i < crowd_wanted; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fds[i], (struct sockaddr *)&address, sizeof address), 0);
    }
    loop_turn(loop, 10000, &is_crowded);
    assert_true(is_crowded);
    print_message("%u streams, %zu bytes each\n", crowd_count, (mem_live() - before) / crowd_count);
    assert_true((mem_live() - before) / crowd_count < 600);
    for (unsigned i = 0; i < crowd_count; i++) {
        stream_close(crowd[i], NULL, NULL);
        close(fds[i]);
    }
    stream_listener_close(busy, NULL, NULL);
    free(fds);
}

/* A ball back and forth: what a request and its answer cost in this layer and the kernel. */
static unsigned volleys;
static bool is_game_over;
static void return_ball(void *arg, char *data, ptrdiff_t len)
{
    struct stream *stream = *(struct stream **)arg;
    struct str ball = { data, (size_t)len };
    assert_int_equal(stream_try_write(stream, &ball, 1), len);
    is_game_over = ++volleys >= 40000;
}

static void a_round_trip_takes_microseconds(void **state)
{
    (void)state;
    stream_read_start(server, return_ball, &server);
    stream_read_start(client, return_ball, &client);
    uint64_t start_ns = clock_mono_ns();
    assert_int_equal(stream_try_write(client, &STR("ball"), 1), 4);
    loop_turn(loop, 60000, &is_game_over);
    assert_true(is_game_over);
    print_message("%.2f us for each read and write\n", (double)(clock_mono_ns() - start_ns) / 1000 / volleys);
}

#define PAIR(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PAIR(pieces_leave_together_and_in_order),
        PAIR(sixteen_megabytes_survive_a_slow_reader),
        PAIR(a_paused_stream_reads_nothing_and_loses_nothing),
        PAIR(a_half_close_is_read_as_zero_after_all_bytes),
        PAIR(a_reset_is_read_as_broken),
        PAIR(writing_to_who_has_gone_is_an_error_not_a_signal),
        PAIR(queued_writes_end_as_closed_before_on_closed),
        PAIR(a_closed_stream_is_not_read_any_more),
        PAIR(a_stream_may_be_closed_while_it_is_read),
        PAIR(both_ends_send_small_pieces_at_once),
        PAIR(write_requests_are_used_again),
        PAIR(an_idle_stream_costs_less_than_600_bytes),
        PAIR(a_round_trip_takes_microseconds),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
