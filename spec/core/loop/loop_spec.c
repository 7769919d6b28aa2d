/* loop_spec.c - turns, posts from other threads, hooks, and what is left at the end. */
#include "support/spec.h"

#include "base/clock.h"
#include "base/log.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "loop/watch.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
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

/* What happened, one letter each. */
static char trace[64];
static void note(void *arg)
{
    size_t len = strlen(trace);
    if (len + 1 < sizeof trace) {
        trace[len] = *(const char *)arg;
        trace[len + 1] = '\0';
    }
}

static void sleep_ms(unsigned ms)
{
    struct timespec time = { .tv_nsec = (long)ms * 1000000 };
    nanosleep(&time, NULL);
}

static void a_turn_runs_posts_then_deferred_tasks_then_hooks(void **state)
{
    (void)state;
    trace[0] = '\0';
    struct loop_hook hook = { .run = note, .arg = (char[]){ "h" } };
    struct loop_task deferred = { .run = note, .arg = (char[]){ "d" } };
    struct loop_task first = { .run = note, .arg = (char[]){ "1" } }, second = { .run = note, .arg = (char[]){ "2" } };
    loop_hook_add(loop, &hook);
    loop_defer(loop, &deferred);
    loop_post(loop, &first);
    loop_post(loop, &second);
    assert_string_equal(trace, ""); /* nothing runs within the calls */
    loop_turn(loop, 0, NULL);
    assert_string_equal(trace, "12dh");
    loop_hook_remove(&hook);
    loop_turn(loop, 0, NULL);
    assert_string_equal(trace, "12dh");
}

/* --- a ready socket and a due timer in one turn --- */

static void on_readable(void *arg, unsigned events, bool broken)
{
    (void)broken;
    char byte;
    assert_int_equal(events, WATCH_READ);
    assert_int_equal(read(*(int *)arg, &byte, 1), 1);
    note((char[]){ "s" });
}

static void note_late(void *arg)
{
    note((char[]){ "t" });
    *(bool *)arg = true;
}

static void dawdle(void *arg)
{
    assert_int_equal(write(*(int *)arg, "x", 1), 1);
    sleep_ms(20); /* both are due when the loop looks again */
}

static void an_answer_that_has_arrived_beats_its_deadline(void **state)
{
    (void)state;
    trace[0] = '\0';
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct watch *watch;
    assert_int_equal(watch_open(loop, ends[0], on_readable, &ends[0], &watch), FAIL_OK);
    watch_set(watch, WATCH_READ);
    struct timer timer = { 0 };
    bool is_late = false;
    timer_start(loop, &timer, 1, note_late, &is_late);
    struct loop_task task = { .run = dawdle, .arg = &ends[1] };
    loop_defer(loop, &task);
    loop_turn(loop, 5000, &is_late);
    assert_string_equal(trace, "st");
    watch_close(watch);
    close(ends[0]);
    close(ends[1]);
}

/* --- deferring for ever --- */

struct restless {
    struct loop_task task;
    unsigned runs;
    bool done;
};

static void defer_again(void *arg)
{
    struct restless *restless = arg;
    if (++restless->runs == 1000)
        restless->done = true;
    else
        loop_defer(loop, &restless->task);
}

static void a_task_that_defers_itself_starves_nobody_and_never_waits(void **state)
{
    (void)state;
    struct restless restless = { .task = { .run = defer_again, .arg = &restless } };
    loop_defer(loop, &restless.task);
    struct loop_load load;
    loop_load_take(loop, &load);
    uint64_t start_ms = clock_mono_ms();
    loop_turn(loop, 5000, &restless.done);
    assert_true(restless.done);
    assert_true(clock_mono_ms() - start_ms < 1000);
    loop_load_take(loop, &load);
    assert_true(load.turns >= 1000 / 4); /* sockets are looked at in between */
}

/* --- hooks --- */

static struct loop_hook suicidal, victim;
static void remove_both(void *arg)
{
    note(arg);
    loop_hook_remove(&suicidal);
    loop_hook_remove(&victim);
}

static void a_hook_may_remove_itself_and_others(void **state)
{
    (void)state;
    trace[0] = '\0';
    suicidal = (struct loop_hook){ .run = remove_both, .arg = (char[]){ "a" } };
    victim = (struct loop_hook){ .run = note, .arg = (char[]){ "b" } };
    struct loop_hook last = { .run = note, .arg = (char[]){ "c" } };
    loop_hook_add(loop, &suicidal);
    loop_hook_add(loop, &victim);
    loop_hook_add(loop, &last);
    loop_turn(loop, 0, NULL);
    loop_turn(loop, 0, NULL);
    assert_string_equal(trace, "acc");
    loop_hook_remove(&last);
}

/* --- other threads --- */

enum { POSTERS = 4, POSTS = 20000 };
struct post {
    struct loop_task task;
    unsigned poster, number;
};
static struct post *posts;
static unsigned next_of[POSTERS], posts_run;
static bool all_posts_ran;

static void on_post(void *arg)
{
    struct post *post = arg;
    assert_int_equal(post->number, next_of[post->poster]++);
    assert_ptr_equal(loop_here(), loop);
    all_posts_ran = ++posts_run == POSTERS * POSTS;
}

static void *post_many(void *arg)
{
    unsigned poster = (unsigned)(uintptr_t)arg;
    for (unsigned i = 0; i < POSTS; i++) {
        struct post *post = &posts[poster * POSTS + i];
        *post = (struct post){ .task = { .run = on_post, .arg = post }, .poster = poster, .number = i };
        loop_post(loop, &post->task);
        if (i % 4096 == 0)
            sleep_ms(1); /* so that the loop also falls asleep in between */
    }
    return NULL;
}

static void posts_of_many_threads_all_run_each_threads_in_order(void **state)
{
    (void)state;
    posts = calloc(POSTERS * POSTS, sizeof *posts);
    pthread_t threads[POSTERS];
    for (uintptr_t i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, (void *)i), 0);
    loop_turn(loop, 20000, &all_posts_ran);
    assert_true(all_posts_ran);
    for (unsigned i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    free(posts);
}

/* Write calls of this process so far. */
static uint64_t count_writes(void)
{
    char text[512];
    int fd = open("/proc/self/io", O_RDONLY | O_CLOEXEC);
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    text[len > 0 ? len : 0] = '\0';
    char *at = strstr(text, "syscw: ");
    return at ? strtoull(at + 7, NULL, 10) : 0;
}

static void count(void *arg) { ++*(unsigned *)arg; }

static void post_all(void *arg)
{
    struct loop_task *tasks = arg;
    for (unsigned i = 0; i < 1000; i++)
        loop_post(loop, &tasks[i]);
}

static void many_posts_wake_the_loop_once(void **state)
{
    (void)state;
    static struct loop_task tasks[1000];
    unsigned ran = 0;
    for (unsigned i = 0; i < COUNT_OF(tasks); i++)
        tasks[i] = (struct loop_task){ .run = count, .arg = &ran };
    uint64_t before = count_writes();
    post_all(tasks); /* while the loop waits: the first one wakes it */
    assert_in_range(count_writes() - before, 0, 1);
    loop_turn(loop, 0, NULL);
    assert_int_equal(ran, 1000);

    struct loop_task busy = { .run = post_all, .arg = tasks };
    loop_defer(loop, &busy);
    before = count_writes();
    loop_turn(loop, 0, NULL); /* while it works: it looks before it waits */
    assert_int_equal(count_writes() - before, 0);
    assert_int_equal(ran, 2000);
}

static struct loop_task reply_task;
static bool has_reply;
static void on_reply(void *arg)
{
    (void)arg;
    has_reply = true;
}
static void *post_late(void *arg)
{
    sleep_ms(50);
    loop_post(arg, &reply_task);
    return NULL;
}

static void a_post_wakes_a_waiting_loop_at_once(void **state)
{
    (void)state;
    reply_task = (struct loop_task){ .run = on_reply };
    pthread_t thread;
    uint64_t start_ms = clock_mono_ms();
    assert_int_equal(pthread_create(&thread, NULL, post_late, loop), 0);
    loop_turn(loop, 5000, &has_reply);
    assert_true(has_reply);
    assert_in_range(clock_mono_ms() - start_ms, 45, 1000);
    pthread_join(thread, NULL);
}

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void loop_stop_ends_loop_run_from_another_thread(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, run_loop, loop), 0);
        if (i % 2)
            sleep_ms(1);
        loop_stop(loop);
        pthread_join(thread, NULL);
    }
    assert_null(loop_here());
}

/* --- time and load --- */

static void be_busy(void *arg)
{
    uint64_t end_ns = clock_mono_ns() + *(uint64_t *)arg;
    assert_true(loop_busy_since_ns(loop) > 0);
    while (clock_mono_ns() < end_ns)
        ;
}

static void the_load_is_the_time_between_waits(void **state)
{
    (void)state;
    uint64_t busy_ns = 20 * 1000000;
    struct loop_task task = { .run = be_busy, .arg = &busy_ns };
    struct loop_load load;
    loop_load_take(loop, &load);
    loop_defer(loop, &task);
    loop_turn(loop, 60, NULL);
    loop_load_take(loop, &load);
    assert_in_range(load.busy_ns, busy_ns, 20 * busy_ns);
    assert_in_range(load.longest_ns, busy_ns, 20 * busy_ns);
    assert_true(load.turns > 0);
    assert_int_equal(loop_busy_since_ns(loop), 0);
    loop_load_take(loop, &load);
    assert_int_equal(load.turns, 0);
    assert_int_equal(load.longest_ns, 0);
}

static void an_idle_loop_does_not_wake(void **state)
{
    (void)state;
    struct timer far = { 0 };
    timer_start(loop, &far, 3600 * 1000, note, (char[]){ "x" });
    loop_turn(loop, 10, NULL);
    struct loop_load load;
    loop_load_take(loop, &load);
    loop_turn(loop, 400, NULL);
    loop_load_take(loop, &load);
    assert_true(load.turns <= 3);
    timer_stop(&far);
}

static void a_loop_knows_the_time_of_its_turn(void **state)
{
    (void)state;
    clock_fake(UINT64_C(5000) * 1000000, INT64_C(1700000000) * 1000000);
    loop_turn(loop, 0, NULL);
    assert_int_equal(loop_now_ms(loop), 5000);
    assert_int_equal(loop_wall_s(loop), 1700000000);
    assert_string_equal(loop_name(loop), "spec");
    clock_fake(0, 0);
}

/* --- the end --- */

static void what_was_forgotten_is_counted_and_logged(void **state)
{
    (void)state;
    int log_ends[2], fds[2];
    assert_int_equal(pipe(log_ends), 0);
    assert_int_equal(pipe(fds), 0);
    struct loop *careless;
    assert_int_equal(loop_open("careless", &careless), FAIL_OK);
    struct watch *watch;
    assert_int_equal(watch_open(careless, fds[0], on_readable, NULL, &watch), FAIL_OK);
    watch_set(watch, WATCH_READ);
    struct timer timer = { 0 };
    timer_start(careless, &timer, 1000, note, NULL);
    log_setup(LOG_INFO, LOG_LOGFMT, log_ends[1]);
    assert_int_equal(loop_close(careless, 10), 2);
    log_setup(LOG_INFO, LOG_LOGFMT, 2);
    char text[1024];
    ssize_t len = read(log_ends[0], text, sizeof text - 1);
    assert_true(len > 0);
    text[len] = '\0';
    assert_non_null(strstr(text, "handle=poll"));
    assert_non_null(strstr(text, "loop=careless"));
    assert_false(timer_is_set(&timer));
    mem_free(watch); /* the forgotten one's memory stays its owner's */
    for (unsigned i = 0; i < 2; i++) {
        close(log_ends[i]);
        close(fds[i]);
    }
}

static void a_loop_without_memory_does_not_open(void **state)
{
    (void)state;
    size_t before = mem_live();
    for (unsigned n = 1; n <= 2; n++) {
        struct loop *none = NULL;
        mem_fail_after(n);
        assert_int_equal(loop_open("none", &none), FAIL_NOMEM);
        assert_null(none);
    }
    mem_fail_after(0);
    assert_int_equal(mem_live(), before);
    assert_int_equal(loop_close(NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_turn_runs_posts_then_deferred_tasks_then_hooks, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(an_answer_that_has_arrived_beats_its_deadline, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(a_task_that_defers_itself_starves_nobody_and_never_waits, open_loop,
                                        close_loop),
        cmocka_unit_test_setup_teardown(a_hook_may_remove_itself_and_others, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(posts_of_many_threads_all_run_each_threads_in_order, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(many_posts_wake_the_loop_once, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(a_post_wakes_a_waiting_loop_at_once, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(loop_stop_ends_loop_run_from_another_thread, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(the_load_is_the_time_between_waits, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(an_idle_loop_does_not_wake, open_loop, close_loop),
        cmocka_unit_test_setup_teardown(a_loop_knows_the_time_of_its_turn, open_loop, close_loop),
        cmocka_unit_test(what_was_forgotten_is_counted_and_logged),
        cmocka_unit_test(a_loop_without_memory_does_not_open),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
