/* watch_spec.c - readiness of descriptors that somebody else owns. */
#include "support/spec.h"

#include "loop/loop.h"
#include "loop/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
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
    return (int)loop_close(loop, 100);
}

struct seen {
    unsigned calls, events;
    bool broken, done;
    struct watch *watch;
};

static void on_ready(void *arg, unsigned events, bool broken)
{
    struct seen *seen = arg;
    seen->calls++;
    seen->events |= events;
    seen->broken = broken;
    seen->done = true;
}

static void on_ready_pause(void *arg, unsigned events, bool broken)
{
    struct seen *seen = arg;
    on_ready(arg, events, broken);
    watch_set(seen->watch, 0);
}

static void open_pair(int ends[2]) { assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0); }

static void close_pair(int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

static void only_what_was_asked_for_is_told(void **state)
{
    (void)state;
    int ends[2];
    open_pair(ends);
    struct seen seen = { 0 };
    assert_int_equal(watch_open(loop, ends[0], on_ready_pause, &seen, &seen.watch), FAIL_OK);
    loop_turn(loop, 20, NULL);
    assert_int_equal(seen.calls, 0);
    watch_set(seen.watch, WATCH_WRITE);
    assert_int_equal(seen.calls, 0);
    loop_turn(loop, 1000, &seen.done);
    assert_int_equal(seen.events, WATCH_WRITE);
    assert_int_equal(seen.calls, 1);

    seen = (struct seen){ .watch = seen.watch };
    watch_set(seen.watch, WATCH_READ);
    loop_turn(loop, 20, NULL);
    assert_int_equal(seen.calls, 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    loop_turn(loop, 1000, &seen.done);
    assert_int_equal(seen.events, WATCH_READ);
    assert_int_equal(seen.calls, 1);
    watch_close(seen.watch);
    close_pair(ends);
}

static void a_paused_watch_is_silent_and_does_not_spin(void **state)
{
    (void)state;
    int ends[2];
    open_pair(ends);
    struct seen seen = { 0 };
    assert_int_equal(watch_open(loop, ends[0], on_ready, &seen, &seen.watch), FAIL_OK);
    watch_set(seen.watch, WATCH_READ);
    loop_turn(loop, 0, NULL);
    watch_set(seen.watch, 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    struct loop_load load;
    loop_load_take(loop, &load);
    loop_turn(loop, 100, NULL);
    loop_load_take(loop, &load);
    assert_int_equal(seen.calls, 0);
    assert_true(load.turns < 10);
    watch_set(seen.watch, WATCH_READ);
    loop_turn(loop, 1000, &seen.done);
    assert_true(seen.calls > 0);
    watch_close(seen.watch);
    close_pair(ends);
}

static void giving_up_writing_keeps_reading(void **state)
{
    (void)state;
    int ends[2];
    open_pair(ends);
    struct seen seen = { 0 };
    assert_int_equal(watch_open(loop, ends[0], on_ready, &seen, &seen.watch), FAIL_OK);
    watch_set(seen.watch, WATCH_READ | WATCH_WRITE);
    loop_turn(loop, 1000, &seen.done);
    assert_int_equal(seen.events, WATCH_WRITE);
    seen = (struct seen){ .watch = seen.watch };
    watch_set(seen.watch, WATCH_READ);
    struct loop_load load;
    loop_load_take(loop, &load);
    loop_turn(loop, 50, NULL);
    loop_load_take(loop, &load);
    assert_int_equal(seen.calls, 0);
    assert_true(load.turns < 10); /* a writable socket nobody wants to write to does not spin */
    assert_int_equal(write(ends[1], "x", 1), 1);
    loop_turn(loop, 1000, &seen.done);
    assert_int_equal(seen.events, WATCH_READ);
    watch_close(seen.watch);
    close_pair(ends);
}

static void a_refused_connect_is_broken(void **state)
{
    (void)state;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    int reserved = socket(AF_INET, SOCK_STREAM, 0); /* bound and not listening: nobody else gets the port */
    assert_int_equal(bind(reserved, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(reserved, (struct sockaddr *)&address, &len), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void)!connect(fd, (struct sockaddr *)&address, len);
    struct seen seen = { 0 };
    assert_int_equal(watch_open(loop, fd, on_ready, &seen, &seen.watch), FAIL_OK);
    watch_set(seen.watch, WATCH_WRITE);
    loop_turn(loop, 1000, &seen.done);
    assert_true(seen.broken);
    assert_int_equal(seen.events, WATCH_WRITE); /* so that who only looks at events goes on to find the error */
    watch_close(seen.watch);
    close(fd);
    close(reserved);
}

static void a_closed_watch_frees_its_fd_for_another_loop_at_once(void **state)
{
    (void)state;
    struct loop *other;
    assert_int_equal(loop_open("other", &other), FAIL_OK);
    int ends[2];
    open_pair(ends);
    assert_int_equal(write(ends[1], "x", 1), 1);
    struct seen here = { 0 }, there = { 0 };
    struct loop *loops[2] = { loop, other };
    for (unsigned i = 0; i < 20; i++) { /* back and forth, the old loop's close still pending */
        assert_int_equal(watch_open(loops[i % 2], ends[0], on_ready, &here, &here.watch), FAIL_OK);
        watch_set(here.watch, WATCH_READ);
        watch_close(here.watch);
        assert_int_equal(watch_open(loops[1 - i % 2], ends[0], on_ready, &there, &there.watch), FAIL_OK);
        watch_set(there.watch, WATCH_READ);
        there.done = false;
        loop_turn(loops[1 - i % 2], 1000, &there.done);
        assert_true(there.done);
        watch_close(there.watch);
    }
    assert_int_equal(here.calls, 0);
    close_pair(ends);
    assert_int_equal(loop_close(other, 100), 0);
}

/* Both ends are ready in one wait; whoever is told first closes the other, whose event has already been fetched. */
static struct seen twins[2];
static void close_twin(void *arg, unsigned events, bool broken)
{
    struct seen *self = arg, *twin = &twins[self == &twins[0]];
    on_ready(arg, events, broken);
    watch_close(twin->watch);
    twin->watch = NULL;
    watch_set(self->watch, 0);
}

static void a_watch_closed_in_the_same_turn_is_not_told(void **state)
{
    (void)state;
    int ends[2];
    open_pair(ends);
    memset(twins, 0, sizeof twins);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(watch_open(loop, ends[i], close_twin, &twins[i], &twins[i].watch), FAIL_OK);
        watch_set(twins[i].watch, WATCH_WRITE);
    }
    loop_turn(loop, 50, NULL);
    assert_int_equal(twins[0].calls + twins[1].calls, 1);
    for (unsigned i = 0; i < 2; i++)
        watch_close(twins[i].watch);
    close_pair(ends);
}

static void want_of_memory_and_a_bad_fd_are_refused(void **state)
{
    (void)state;
    int ends[2];
    open_pair(ends);
    struct watch *watch = NULL;
    mem_fail_after(1);
    assert_int_equal(watch_open(loop, ends[0], on_ready, NULL, &watch), FAIL_NOMEM);
    close_pair(ends);
    assert_true(watch_open(loop, ends[0], on_ready, NULL, &watch) != FAIL_OK); /* closed by now */
    assert_null(watch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_what_was_asked_for_is_told, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(a_paused_watch_is_silent_and_does_not_spin, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(giving_up_writing_keeps_reading, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(a_refused_connect_is_broken, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(a_closed_watch_frees_its_fd_for_another_loop_at_once, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(a_watch_closed_in_the_same_turn_is_not_told, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(want_of_memory_and_a_bad_fd_are_refused, open_loop, close_loop),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
