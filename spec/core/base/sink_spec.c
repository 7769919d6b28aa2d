/* sink_spec.c - whatever standard error is, and whoever shares it, nobody waits for its reader. */
#include "support/spec.h"

#include "base/sink.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE 6000 /* more than a pipe takes at once (4096) */

static char piece[PIECE], got[8 << 20];

static size_t read_all(int fd)
{
    size_t len = 0;
    struct pollfd wanted = { .fd = fd, .events = POLLIN };
    for (ssize_t n; poll(&wanted, 1, 50) == 1 && (n = read(fd, got + len, sizeof got - len)) > 0;)
        len += (size_t)n;
    return len;
}

/* Fills it to the brim, reads all of it, and finds room again; nothing waits, and fd waits as before. */
static void assert_never_waits(struct sink sink, int fd, int reader)
{
    memset(piece, 'x', sizeof piece);
    size_t wrote = 0, last = PIECE;
    int flags = fcntl(fd, F_GETFL);
    alarm(60); /* which ends this program where it waits */
    while (last == PIECE && wrote < sizeof got)
        wrote += last = sink_write(&sink, piece, PIECE);
    assert_true(wrote < sizeof got);
    assert_int_equal(sink_write(&sink, piece, PIECE), 0);
    assert_int_equal(read_all(reader), wrote);
    assert_int_equal(sink_write(&sink, piece, 100), 100);
    assert_int_equal(read_all(reader), 100);
    assert_int_equal(fcntl(fd, F_GETFL), flags);
    alarm(0);
    sink_close(&sink);
    close(fd);
    close(reader);
}

static void a_pipe_is_not_waited_for(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct sink sink = sink_open(ends[1]);
    assert_true(sink.is_own);
    assert_never_waits(sink, ends[1], ends[0]);
}

static void a_pipe_that_cannot_be_opened_again_is_not_either(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_never_waits(SINK_OF(ends[1]), ends[1], ends[0]);
}

static void a_socket_is_not_waited_for(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_never_waits(sink_open(ends[1]), ends[1], ends[0]);
}

static void a_terminal_is_not_waited_for(void **state)
{
    (void)state;
    int reader = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(reader >= 0);
    assert_int_equal(grantpt(reader), 0);
    assert_int_equal(unlockpt(reader), 0);
    int fd = open(ptsname(reader), O_RDWR | O_NOCTTY);
    assert_true(fd >= 0);
    struct sink sink = sink_open(fd);
    assert_true(sink.is_own);
    assert_never_waits(sink, fd, reader);
}

static void a_file_is_written_where_its_descriptor_stands(void **state)
{
    (void)state;
    char path[] = "/tmp/wick-sink.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "ab", 2), 2);
    struct sink sink = sink_open(fd);
    assert_int_equal(sink_write(&sink, "cd", 2), 2);
    assert_int_equal(write(fd, "ef", 2), 2);
    sink_close(&sink);
    assert_int_equal(pread(fd, got, sizeof got, 0), 6);
    assert_memory_equal(got, "abcdef", 6);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipe_is_not_waited_for),
        cmocka_unit_test(a_pipe_that_cannot_be_opened_again_is_not_either),
        cmocka_unit_test(a_socket_is_not_waited_for),
        cmocka_unit_test(a_terminal_is_not_waited_for),
        cmocka_unit_test(a_file_is_written_where_its_descriptor_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
