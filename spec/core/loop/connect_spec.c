/* connect_spec.c - from a name to a stream, or to words that say why not, before the deadline. */
#include "support/spec.h"

#include "base/clock.h"
#include "loop/loop.h"
#include "loop/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct loop *loop;

static int open_loop(void **state)
{
    (void)state;
    return loop_open("spec", &loop) == FAIL_OK ? 0 : -1;
}

static int close_loop(void **state)
{
    (void)state;
    return (int)loop_close(loop, 10000);
}

struct outcome {
    struct stream *stream;
    enum fail fail;
    char why[600];
    unsigned calls;
    bool done;
};

static void on_connected(void *arg, enum fail fail, struct stream *stream, const char *why)
{
    struct outcome *outcome = arg;
    assert_int_equal(fail == FAIL_OK, stream != NULL);
    outcome->calls++;
    outcome->fail = fail;
    outcome->stream = stream;
    snprintf(outcome->why, sizeof outcome->why, "%s", why ? why : "");
    outcome->done = true;
}

static void on_accept(void *arg, struct stream *stream)
{
    (void)arg;
    stream_close(stream, NULL, NULL);
}

static struct stream_listener *listen_on(const char *host)
{
    struct stream_listener *listener = NULL;
    struct stream_listen_options options = { 0 };
    enum fail fail = stream_listen(loop, host, 0, options, on_accept, NULL, &listener, NULL, 0);
    return fail ? NULL : listener;
}

static struct outcome connect_to(const char *host, int port, unsigned ms_max)
{
    struct outcome outcome = { 0 };
    struct stream_connecting *connecting;
    assert_int_equal(stream_connect(loop, host, port, ms_max, on_connected, &outcome, &connecting), FAIL_OK);
    assert_int_equal(outcome.calls, 0);
    loop_turn(loop, 10000, &outcome.done);
    assert_int_equal(outcome.calls, 1);
    if (outcome.stream)
        stream_close(outcome.stream, NULL, NULL);
    return outcome;
}

static void literals_and_names_connect(void **state)
{
    (void)state;
    struct stream_listener *listener = listen_on("127.0.0.1");
    int port = stream_listener_port(listener);
    assert_int_equal(connect_to("127.0.0.1", port, 1000).fail, FAIL_OK);
    assert_int_equal(connect_to("localhost", port, 5000).fail, FAIL_OK); /* also where ::1 comes first and refuses */
    stream_listener_close(listener, NULL, NULL);
}

static void ipv6_connects_with_and_without_brackets(void **state)
{
    (void)state;
    struct stream_listener *listener = listen_on("::1");
    if (!listener) {
        print_message("skipped: this machine has no IPv6\n");
        skip();
    }
    int port = stream_listener_port(listener);
    assert_int_equal(connect_to("::1", port, 1000).fail, FAIL_OK);
    assert_int_equal(connect_to("[::1]", port, 1000).fail, FAIL_OK);
    stream_listener_close(listener, NULL, NULL);
    listener = listen_on("[::1]");
    assert_non_null(listener);
    stream_listener_close(listener, NULL, NULL);
}

/* Bound and not listening: connects are refused, and nobody else gets the port. */
static int reserve_port(int *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static void a_refusal_says_who_refused(void **state)
{
    (void)state;
    int port;
    int fd = reserve_port(&port);
    char expected[100];
    struct outcome outcome = connect_to("127.0.0.1", port, 1000);
    assert_int_equal(outcome.fail, FAIL_REFUSED);
    snprintf(expected, sizeof expected, "cannot connect to 127.0.0.1 port %d: connection refused", port);
    assert_string_equal(outcome.why, expected);
    assert_int_equal(connect_to("localhost", port, 5000).fail, FAIL_REFUSED);
    close(fd);
}

static void a_name_that_does_not_exist_is_told(void **state)
{
    (void)state;
    struct outcome outcome = connect_to("no-such-host.invalid", 80, 5000);
    assert_true(outcome.fail != FAIL_OK);
    assert_non_null(strstr(outcome.why, "cannot resolve no-such-host.invalid"));
}

/* A listener whose backlog is full drops what comes: connecting hangs, as to a host that is down. */
struct deaf {
    int fd, port, fillers[64];
};

static struct deaf open_deaf(void)
{
    struct deaf deaf = { 0 };
    deaf.fd = reserve_port(&deaf.port);
    assert_int_equal(listen(deaf.fd, 0), 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)deaf.port) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (unsigned i = 0; i < COUNT_OF(deaf.fillers); i++) {
        deaf.fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(deaf.fillers[i], (struct sockaddr *)&address, sizeof address);
    }
    return deaf;
}

static void close_deaf(struct deaf *deaf)
{
    for (unsigned i = 0; i < COUNT_OF(deaf->fillers); i++)
        close(deaf->fillers[i]);
    close(deaf->fd);
}

static void the_deadline_ends_a_connect_that_hangs(void **state)
{
    (void)state;
    struct deaf deaf = open_deaf();
    uint64_t start_ms = clock_mono_ms();
    struct outcome outcome = connect_to("127.0.0.1", deaf.port, 150);
    uint64_t took_ms = clock_mono_ms() - start_ms;
    assert_int_equal(outcome.fail, FAIL_TIMEOUT);
    assert_non_null(strstr(outcome.why, "timed out"));
    assert_in_range(took_ms, 150, 1000);
    close_deaf(&deaf);
}

static void cancelled_connects_say_nothing(void **state)
{
    (void)state;
    struct deaf deaf = open_deaf();
    const char *hosts[] = { "127.0.0.1", "localhost", "no-such-host.invalid" };
    struct outcome outcome = { 0 };
    for (unsigned i = 0; i < COUNT_OF(hosts); i++) {
        for (unsigned turns = 0; turns < 4; turns++) {
            struct stream_connecting *connecting;
            assert_int_equal(stream_connect(loop, hosts[i], deaf.port, 200, on_connected, &outcome, &connecting),
                             FAIL_OK);
            for (unsigned turn = 0; turn < turns; turn++)
                loop_turn(loop, 0, NULL);
            if (!outcome.calls) /* an unknown name may have been told by now */
                stream_connect_cancel(connecting);
            assert_true(outcome.calls == 0 || i == 2);
            unsigned calls = outcome.calls;
            loop_turn(loop, 20, NULL);
            assert_int_equal(outcome.calls, calls);
            outcome.calls = 0;
        }
    }
    loop_turn(loop, 300, NULL);
    assert_int_equal(outcome.calls, 0);
    stream_connect_cancel(NULL);
    close_deaf(&deaf);
}

static void unix_sockets_connect_by_path(void **state)
{
    (void)state;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "/tmp/wick-connect-spec-%d", (int)getpid());
    struct outcome outcome = connect_to(address.sun_path, 0, 1000);
    assert_int_equal(outcome.fail, FAIL_MISSING);
    assert_non_null(strstr(outcome.why, address.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(connect_to(address.sun_path, 0, 1000).fail, FAIL_REFUSED);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(connect_to(address.sun_path, 0, 1000).fail, FAIL_OK);
    close(fd);
    unlink(address.sun_path);
}

static void nonsense_is_refused_at_once(void **state)
{
    (void)state;
    struct stream_connecting *connecting = NULL;
    char long_host[400], long_path[200];
    memset(long_host, 'a', sizeof long_host);
    memset(long_path, '/', sizeof long_path);
    long_host[sizeof long_host - 1] = long_path[sizeof long_path - 1] = '\0';
    const char *hosts[] = { "", long_host, long_path };
    for (unsigned i = 0; i < COUNT_OF(hosts); i++)
        assert_int_equal(stream_connect(loop, hosts[i], 80, 100, on_connected, NULL, &connecting), FAIL_INVALID);
    assert_int_equal(stream_connect(loop, "127.0.0.1", 65536, 100, on_connected, NULL, &connecting), FAIL_INVALID);
    assert_null(connecting);
}

static void want_of_memory_is_told_like_any_failure(void **state)
{
    (void)state;
    struct stream_connecting *connecting = NULL;
    mem_fail_after(1);
    assert_int_equal(stream_connect(loop, "127.0.0.1", 80, 100, on_connected, NULL, &connecting), FAIL_NOMEM);
    const char *hosts[] = { "127.0.0.1", "127.0.0.1", "localhost" };
    for (unsigned i = 0; i < COUNT_OF(hosts); i++) {
        struct outcome outcome = { 0 };
        assert_int_equal(stream_connect(loop, hosts[i], 80, 100, on_connected, &outcome, &connecting), FAIL_OK);
        mem_fail_after(i == 1 ? 2 : 1);
        loop_turn(loop, 2000, &outcome.done);
        mem_fail_after(0);
        assert_int_equal(outcome.fail, FAIL_NOMEM);
        assert_non_null(strstr(outcome.why, "memory"));
    }
}

#define LOOP(test) cmocka_unit_test_setup_teardown(test, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP(literals_and_names_connect),
        LOOP(ipv6_connects_with_and_without_brackets),
        LOOP(a_refusal_says_who_refused),
        LOOP(a_name_that_does_not_exist_is_told),
        LOOP(the_deadline_ends_a_connect_that_hangs),
        LOOP(cancelled_connects_say_nothing),
        LOOP(unix_sockets_connect_by_path),
        LOOP(nonsense_is_refused_at_once),
        LOOP(want_of_memory_is_told_like_any_failure),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
