/* listen_spec.c - listening on addresses, sharing a port, and what happens when descriptors run out. */
#include "support/spec.h"

#include "base/clock.h"
#include "base/log.h"
#include "loop/loop.h"
#include "loop/stream.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct loop *loop;
static struct stream *accepted[64];
static unsigned accepted_count, accepted_wanted;
static bool is_enough;

static int open_loop(void **state)
{
    (void)state;
    accepted_count = 0;
    is_enough = false;
    return loop_open("spec", &loop) == FAIL_OK ? 0 : -1;
}

static void close_accepted(void)
{
    while (accepted_count)
        stream_close(accepted[--accepted_count], NULL, NULL);
}

static int close_loop(void **state)
{
    (void)state;
    close_accepted();
    return (int)loop_close(loop, 1000);
}

static void on_accept(void *arg, struct stream *stream)
{
    if (arg)
        ++*(unsigned *)arg;
    accepted[accepted_count++] = stream;
    is_enough = accepted_count >= accepted_wanted;
}

static const struct stream_listen_options plain = { 0 }, shared = { .reuse_port = true, .backlog = 100 };

static struct stream_listener *listen_on(const char *host, int port, struct stream_listen_options options, void *arg)
{
    struct stream_listener *listener = NULL;
    char why[200] = "";
    enum fail fail = stream_listen(loop, host, port, options, on_accept, arg, &listener, why, sizeof why);
    if (fail)
        print_error("%s\n", why);
    assert_int_equal(fail, FAIL_OK);
    return listener;
}

static int connect_to(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void a_taken_port_and_a_bad_address_are_said_in_words(void **state)
{
    (void)state;
    struct stream_listener *first = listen_on("127.0.0.1", 0, plain, NULL), *second = NULL;
    int port = stream_listener_port(first);
    assert_in_range(port, 1, 65535);
    char why[200];
    assert_int_equal(stream_listen(loop, "127.0.0.1", port, plain, on_accept, NULL, &second, why, sizeof why),
                     FAIL_REFUSED);
    assert_non_null(strstr(why, "Address already in use"));
    assert_int_equal(stream_listen(loop, "localhost", 0, plain, on_accept, NULL, &second, why, sizeof why),
                     FAIL_INVALID);
    assert_non_null(strstr(why, "localhost"));
    assert_int_equal(stream_listen(loop, "127.0.0.1", 65536, plain, on_accept, NULL, &second, why, 10), FAIL_INVALID);
    assert_true(strlen(why) < 10);
    assert_int_equal(stream_listen(loop, "8.8.8.8", 0, plain, on_accept, NULL, &second, NULL, 0), FAIL_IO);
    assert_null(second);
    stream_listener_close(NULL, NULL, NULL);
    stream_listener_close(first, NULL, NULL);
}

static void set_true(void *arg) { *(bool *)arg = true; }

static void a_port_is_free_again_once_its_listener_is_closed(void **state)
{
    (void)state;
    struct stream_listener *first = listen_on("127.0.0.1", 0, plain, NULL);
    int port = stream_listener_port(first);
    bool closed = false;
    stream_listener_close(first, set_true, &closed);
    assert_false(closed);
    struct stream_listener *second = listen_on("127.0.0.1", port, plain, NULL);
    loop_turn(loop, 100, &closed);
    assert_true(closed);
    stream_listener_close(second, NULL, NULL);
}

static void listeners_that_share_a_port_share_the_connections(void **state)
{
    (void)state;
    unsigned by_first = 0, by_second = 0;
    struct stream_listener *first = listen_on("127.0.0.1", 0, shared, &by_first);
    struct stream_listener *second = listen_on("127.0.0.1", stream_listener_port(first), shared, &by_second);
    int fds[40];
    accepted_wanted = COUNT_OF(fds);
    for (unsigned i = 0; i < COUNT_OF(fds); i++)
        fds[i] = connect_to(stream_listener_port(first));
    loop_turn(loop, 2000, &is_enough);
    assert_int_equal(by_first + by_second, COUNT_OF(fds));
    assert_true(by_first > 0 && by_second > 0);
    for (unsigned i = 0; i < COUNT_OF(fds); i++)
        close(fds[i]);
    stream_listener_close(first, NULL, NULL);
    stream_listener_close(second, NULL, NULL);
}

static void an_inherited_unix_socket_is_served(void **state)
{
    (void)state;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "/tmp/wick-listen-spec-%d", (int)getpid());
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 10), 0);
    struct stream_listener *listener;
    assert_int_equal(stream_listen_fd(loop, fd, on_accept, NULL, &listener), FAIL_OK);
    assert_int_equal(stream_listener_port(listener), 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&address, sizeof address), 0);
    accepted_wanted = 1;
    loop_turn(loop, 2000, &is_enough);
    assert_int_equal(accepted_count, 1);
    char name[16];
    stream_peer(accepted[0], name, sizeof name);
    assert_string_equal(name, "unix");
    stream_listener_close(listener, NULL, NULL);
    unlink(address.sun_path);
    close(peer);
}

static struct stream_listener *closing;
static void close_listener(void *arg, struct stream *stream)
{
    on_accept(arg, stream);
    stream_listener_close(closing, NULL, NULL);
}

static void a_listener_may_be_closed_while_it_accepts(void **state)
{
    (void)state;
    assert_int_equal(stream_listen(loop, "127.0.0.1", 0, plain, close_listener, NULL, &closing, NULL, 0), FAIL_OK);
    int fds[3];
    for (unsigned i = 0; i < COUNT_OF(fds); i++)
        fds[i] = connect_to(stream_listener_port(closing));
    accepted_wanted = 1;
    loop_turn(loop, 2000, &is_enough);
    loop_turn(loop, 20, NULL);
    assert_int_equal(accepted_count, 1);
    for (unsigned i = 0; i < COUNT_OF(fds); i++)
        close(fds[i]);
}

/* --- no descriptor left --------------------------------------------------------------------------------------- */

/* Takes all descriptors up to `limit`; the clients are other processes' business, so they are opened before. */
static unsigned take_all(int *taken, unsigned most)
{
    unsigned count = 0;
    while (count < most && (taken[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        count++;
    assert_int_equal(errno, EMFILE);
    return count;
}

static unsigned count_lines(int fd, const char *what)
{
    char text[16384];
    ssize_t len = read(fd, text, sizeof text - 1);
    text[len > 0 ? len : 0] = '\0';
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        count++;
    return count;
}

static bool is_closed_by_peer(int fd)
{
    char byte;
    ssize_t len = recv(fd, &byte, 1, MSG_DONTWAIT);
    return len == 0 || (len < 0 && errno == ECONNRESET);
}

static void without_descriptors_connections_are_closed_at_once_and_nothing_spins(void **state)
{
    (void)state;
    struct stream_listener *listener = listen_on("127.0.0.1", 0, shared, NULL);
    int log_ends[2], clients[30], taken[300];
    assert_int_equal(pipe2(log_ends, O_NONBLOCK), 0);
    loop_turn(loop, 0, NULL);
    for (unsigned i = 0; i < COUNT_OF(clients); i++)
        clients[i] = connect_to(stream_listener_port(listener));
    struct rlimit before, tight;
    getrlimit(RLIMIT_NOFILE, &before);
    tight = before;
    tight.rlim_cur = 200;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    unsigned count = take_all(taken, COUNT_OF(taken));
    log_setup(LOG_INFO, LOG_LOGFMT, log_ends[1]);

    struct loop_load load;
    loop_load_take(loop, &load);
    loop_turn(loop, 300, NULL);
    loop_load_take(loop, &load);
    assert_int_equal(accepted_count, 0);
    assert_true(load.turns < 50);
    for (unsigned i = 0; i < COUNT_OF(clients); i++)
        assert_true(is_closed_by_peer(clients[i]));
    assert_int_equal(count_lines(log_ends[0], "connections refused"), 1);

    for (unsigned i = 0; i < count; i++)
        close(taken[i]);
    log_setup(LOG_INFO, LOG_LOGFMT, 2);
    int late = connect_to(stream_listener_port(listener));
    accepted_wanted = 1;
    loop_turn(loop, 2000, &is_enough);
    assert_int_equal(accepted_count, 1); /* and it serves again */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (unsigned i = 0; i < COUNT_OF(clients); i++)
        close(clients[i]);
    close(late);
    close(log_ends[0]);
    close(log_ends[1]);
    stream_listener_close(listener, NULL, NULL);
}

static void want_of_memory_loses_the_connection_and_nothing_else(void **state)
{
    (void)state;
    struct stream_listener *listener = listen_on("127.0.0.1", 0, plain, NULL), *none;
    for (unsigned n = 1; n <= 2; n++) {
        mem_fail_after(n);
        assert_int_equal(stream_listen(loop, "127.0.0.1", 0, plain, on_accept, NULL, &none, NULL, 0), FAIL_NOMEM);
    }
    int first = connect_to(stream_listener_port(listener)), second = connect_to(stream_listener_port(listener));
    mem_fail_after(1);
    accepted_wanted = 1;
    loop_turn(loop, 2000, &is_enough);
    mem_fail_after(0);
    assert_int_equal(accepted_count, 1);
    assert_true(is_closed_by_peer(first));
    assert_false(is_closed_by_peer(second));
    close(first);
    close(second);
    stream_listener_close(listener, NULL, NULL);
}

#define LOOP(test) cmocka_unit_test_setup_teardown(test, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP(a_taken_port_and_a_bad_address_are_said_in_words),
        LOOP(a_port_is_free_again_once_its_listener_is_closed),
        LOOP(listeners_that_share_a_port_share_the_connections),
        LOOP(an_inherited_unix_socket_is_served),
        LOOP(a_listener_may_be_closed_while_it_accepts),
        LOOP(without_descriptors_connections_are_closed_at_once_and_nothing_spins),
        LOOP(want_of_memory_loses_the_connection_and_nothing_else),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
