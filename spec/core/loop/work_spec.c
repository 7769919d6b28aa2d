/* work_spec.c - blocking pieces on threads of their own, results back on the loop. */
#include "support/spec.h"

#include "loop/loop.h"
#include "loop/signal.h"
#include "loop/work.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
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
    work_close();
    return (int)loop_close(loop, 100);
}

struct piece {
    struct work work;
    uint64_t input, output;
    enum fail fail;
    unsigned done;
};
static unsigned done_count, done_wanted;
static bool all_done;
static sem_t started, gate;

static void square(struct work *work)
{
    struct piece *piece = (struct piece *)work;
    assert_null(loop_here()); /* not on a loop's thread */
    piece->output = piece->input * piece->input;
}

static void wait_at_gate(struct work *work)
{
    sem_post(&started);
    sem_wait(&gate);
    square(work);
}

static void on_done(struct work *work, enum fail fail)
{
    struct piece *piece = (struct piece *)work;
    assert_ptr_equal(loop_here(), loop);
    piece->fail = fail;
    piece->done++;
    all_done = ++done_count == done_wanted;
}

static struct piece piece_of(void (*run)(struct work *work), uint64_t input)
{
    return (struct piece){ .work = { .run = run, .on_done = on_done }, .input = input };
}

static void begin(unsigned threads, unsigned queue_max, unsigned wanted)
{
    done_count = 0;
    done_wanted = wanted;
    all_done = false;
    assert_int_equal(sem_init(&started, 0, 0), 0);
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    assert_int_equal(work_open(threads, queue_max), FAIL_OK);
}

static void results_come_back_on_the_loop_that_asked(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct piece *pieces = calloc(COUNT, sizeof *pieces);
    begin(3, COUNT, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        pieces[i] = piece_of(square, i);
        assert_int_equal(work_submit(loop, &pieces[i].work), FAIL_OK);
    }
    assert_int_equal(done_count, 0);
    loop_turn(loop, 5000, &all_done);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(pieces[i].done, 1);
        assert_int_equal(pieces[i].fail, FAIL_OK);
        assert_int_equal(pieces[i].output, (uint64_t)i * i);
    }
    free(pieces);
}

static void a_full_queue_refuses(void **state)
{
    (void)state;
    struct piece running = piece_of(wait_at_gate, 1), queued = piece_of(square, 2), refused = piece_of(square, 3);
    begin(1, 1, 2);
    assert_int_equal(work_submit(loop, &running.work), FAIL_OK);
    sem_wait(&started);
    assert_int_equal(work_submit(loop, &queued.work), FAIL_OK);
    assert_int_equal(work_submit(loop, &refused.work), FAIL_FULL);
    sem_post(&gate);
    loop_turn(loop, 5000, &all_done);
    assert_int_equal(queued.output, 4);
    assert_int_equal(refused.done, 0);
}

static void only_queued_work_can_be_cancelled(void **state)
{
    (void)state;
    struct piece running = piece_of(wait_at_gate, 1), queued = piece_of(square, 2);
    begin(1, 10, 2);
    assert_int_equal(work_submit(loop, &running.work), FAIL_OK);
    sem_wait(&started);
    assert_int_equal(work_submit(loop, &queued.work), FAIL_OK);
    assert_false(work_cancel(&running.work));
    assert_true(work_cancel(&queued.work));
    assert_int_equal(queued.done, 0); /* not from within the call */
    sem_post(&gate);
    loop_turn(loop, 5000, &all_done);
    assert_int_equal(running.fail, FAIL_OK);
    assert_int_equal(queued.fail, FAIL_CANCELLED);
    assert_int_equal(queued.output, 0);
    assert_int_equal(queued.done, 1);
}

static void *open_gate_later(void *arg)
{
    (void)arg;
    usleep(20000);
    sem_post(&gate);
    return NULL;
}

static void closing_waits_for_what_runs_and_cancels_what_waits(void **state)
{
    (void)state;
    struct piece running = piece_of(wait_at_gate, 5), queued = piece_of(square, 2);
    begin(1, 10, 2);
    assert_int_equal(work_submit(loop, &running.work), FAIL_OK);
    sem_wait(&started);
    assert_int_equal(work_submit(loop, &queued.work), FAIL_OK);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, open_gate_later, NULL), 0);
    work_close();
    pthread_join(thread, NULL);
    assert_int_equal(running.output, 25);
    loop_turn(loop, 5000, &all_done);
    assert_int_equal(running.fail, FAIL_OK);
    assert_int_equal(queued.fail, FAIL_CANCELLED);
    assert_int_equal(work_submit(loop, &queued.work), FAIL_CLOSED);
}

static int seen_signal;
static bool has_signal;
static void on_signal(void *arg, int signum)
{
    (void)arg;
    assert_ptr_equal(loop_here(), loop);
    seen_signal = signum;
    has_signal = true;
}

static void a_signal_arrives_on_the_loop_and_work_threads_are_spared(void **state)
{
    (void)state;
    begin(2, 10, 0);
    struct signal_watch *watch;
    assert_int_equal(signal_watch_open(loop, SIGUSR1, on_signal, NULL, &watch), FAIL_OK);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    loop_turn(loop, 2000, &has_signal);
    assert_int_equal(seen_signal, SIGUSR1);
    signal_watch_close(watch);
    signal_watch_close(NULL);
    assert_int_equal(signal_watch_open(loop, 9999, on_signal, NULL, &watch), FAIL_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(results_come_back_on_the_loop_that_asked, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(a_full_queue_refuses, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(only_queued_work_can_be_cancelled, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(closing_waits_for_what_runs_and_cancels_what_waits, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(a_signal_arrives_on_the_loop_and_work_threads_are_spared, open_loop,
                                        close_loop),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
