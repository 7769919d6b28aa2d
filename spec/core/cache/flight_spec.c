/* flight_spec.c - who leads, who follows, and that each is told once, on its own loop. */
#include "cache/flight.h"

#include "base/mem.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct cache_flights *flights;
static struct loop *loop;

struct follower {
    struct cache_waiter waiter;
    unsigned told;
    enum fail fail;
    char value[8];
    struct follower *takes_along; /* leaves when this one is told */
};

static void on_landed(struct cache_waiter *waiter)
{
    struct follower *follower = waiter->arg;
    follower->told++;
    follower->fail = waiter->fail;
    if (waiter->entry) {
        struct str value = cache_entry_value(waiter->entry);
        memcpy(follower->value, value.data, value.len);
        cache_entry_unref(waiter->entry);
    }
    if (follower->takes_along)
        cache_flight_leave(&follower->takes_along->waiter);
}

static enum cache_role join(struct follower *follower, unsigned timeout_ms)
{
    *follower = (struct follower){ .waiter = { .on_landed = on_landed, .arg = follower } };
    return cache_flight_join(flights, STR("key"), &follower->waiter, timeout_ms);
}

static struct cache_entry *entry_of(const char *value)
{
    struct cache_put put = { .key = STR("key"), .value = str_of(value), .ttl_ms = 10 };
    return cache_entry_loose(&put, 0);
}

static void land_with(const char *value)
{
    struct cache_entry *entry = entry_of(value);
    cache_flight_land(flights, STR("key"), FAIL_OK, entry);
    cache_entry_unref(entry);
}

/* A join needs a loop of its own thread: each test runs within one turn's task. */
static void (*body)(void);
static bool is_done;
static void run_body(void *arg)
{
    (void)arg;
    body();
}

static void within_loop(void (*test)(void))
{
    struct loop_task task = { .run = run_body };
    body = test;
    is_done = false;
    loop_post(loop, &task);
    loop_turn(loop, 20, &is_done);
}

static int open_all(void **state)
{
    (void)state;
    return loop_open("spec", &loop) || cache_flights_open(8, &flights);
}

static int close_all(void **state)
{
    (void)state;
    assert_int_equal(cache_flights_count(flights), 0);
    cache_flights_close(flights);
    assert_int_equal(loop_close(loop, 100), 0);
    return mem_live() == 0 ? 0 : -1;
}

static struct follower leader, followers[8];

static void join_three_and_land(void)
{
    assert_int_equal(join(&leader, 1000), CACHE_LEADS);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(join(&followers[i], 1000), CACHE_FOLLOWS);
    assert_int_equal(cache_flights_count(flights), 1);
    land_with("one");
    assert_int_equal(cache_flights_count(flights), 0);
    assert_int_equal(followers[0].told, 0); /* never from within the call */
    assert_int_equal(join(&followers[4], 1000), CACHE_LEADS);
    cache_flight_land(flights, STR("key"), FAIL_SQL, NULL);
}

static void the_first_leads_and_the_others_are_told(void **state)
{
    (void)state;
    within_loop(join_three_and_land);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(followers[i].told, 1);
        assert_int_equal(followers[i].fail, FAIL_OK);
        assert_string_equal(followers[i].value, "one");
    }
    assert_int_equal(leader.told + followers[4].told, 0);
}

static void join_two_and_fail(void)
{
    assert_int_equal(join(&leader, 1000), CACHE_LEADS);
    assert_int_equal(join(&followers[0], 1000), CACHE_FOLLOWS);
    cache_flight_land(flights, STR("key"), FAIL_CANCELLED, NULL);
}

static void a_failure_reaches_the_followers_too(void **state)
{
    (void)state;
    within_loop(join_two_and_fail);
    assert_int_equal(followers[0].told, 1);
    assert_int_equal(followers[0].fail, FAIL_CANCELLED);
}

static void leave_before_and_after_landing(void)
{
    assert_int_equal(join(&leader, 1000), CACHE_LEADS);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(join(&followers[i], 1000), CACHE_FOLLOWS);
    cache_flight_leave(&followers[0].waiter);
    cache_flight_leave(&followers[0].waiter);
    followers[1].takes_along = &followers[2];
    land_with("one");
    cache_flight_leave(&followers[3].waiter);
}

static void who_left_is_not_told(void **state)
{
    (void)state;
    within_loop(leave_before_and_after_landing);
    assert_int_equal(followers[1].told, 1);
    assert_int_equal(followers[0].told + followers[2].told + followers[3].told, 0);
}

static void join_more_than_may(void)
{
    assert_int_equal(join(&leader, 1000), CACHE_LEADS);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(join(&followers[i], 1000), CACHE_FOLLOWS);
    assert_int_equal(join(&followers[4], 1000), CACHE_REFUSED); /* half of all is the most for one key */
    land_with("one");
}

static void too_many_followers_are_refused(void **state)
{
    (void)state;
    within_loop(join_more_than_may);
    assert_int_equal(followers[3].told, 1);
    assert_int_equal(followers[4].told, 0);
}

static void join_for_a_moment(void)
{
    assert_int_equal(join(&leader, 1000), CACHE_LEADS);
    assert_int_equal(join(&followers[0], 5), CACHE_FOLLOWS);
}
static void land_at_last(void) { land_with("late"); }

static void a_follower_waits_no_longer_than_it_said(void **state)
{
    (void)state;
    within_loop(join_for_a_moment);
    assert_int_equal(followers[0].told, 1);
    assert_int_equal(followers[0].fail, FAIL_TIMEOUT);
    within_loop(land_at_last);
    assert_int_equal(followers[0].told, 1);
}

static void join_without_memory(void)
{
    mem_fail_after(1);
    assert_int_equal(join(&leader, 1000), CACHE_REFUSED);
    mem_fail_after(2);
    assert_int_equal(join(&leader, 1000), CACHE_REFUSED);
    mem_fail_after(0);
    assert_int_equal(join(&leader, 1000), CACHE_LEADS);
    mem_fail_after(1);
    assert_int_equal(join(&followers[0], 1000), CACHE_REFUSED);
    mem_fail_after(0);
    cache_flight_land(flights, STR("key"), FAIL_NOMEM, NULL);
}

static void without_memory_it_refuses(void **state)
{
    (void)state;
    within_loop(join_without_memory);
}

/* Four threads with a loop each miss the same few keys again and again; the leader of each lands from its own loop a
 * little later. Every join ends exactly once, and everybody sees a value of the right key. */
enum { THREADS = 4, READERS = 16, ROUNDS = 300, KEYS = 3 };

struct reader {
    struct cache_waiter waiter;
    struct thread *thread;
    struct loop_task task;
    struct timer landing;
    unsigned rounds, key;
    bool leads;
};

struct thread {
    pthread_t thread;
    struct loop *loop;
    struct cache_flights *flights;
    struct reader readers[READERS];
    unsigned running, seed, landed, followed, timeouts, left;
    bool is_done;
};

static unsigned dice(struct thread *thread, unsigned sides)
{
    thread->seed = thread->seed * 1664525u + 1013904223u;
    return (thread->seed >> 16) % sides;
}

static struct str key_of(const struct reader *reader)
{
    static const char *const keys[KEYS] = { "key-0", "key-1", "key-2" };
    return str_of(keys[reader->key]);
}

static void next_round(void *arg);

static void again(struct reader *reader)
{
    reader->task = (struct loop_task){ .run = next_round, .arg = reader };
    loop_defer(reader->thread->loop, &reader->task);
}

static void land_now(void *arg)
{
    struct reader *reader = arg;
    struct cache_put put = { .key = key_of(reader), .value = key_of(reader), .ttl_ms = 10 };
    struct cache_entry *entry = dice(reader->thread, 4) ? cache_entry_loose(&put, 0) : NULL;
    cache_flight_land(reader->thread->flights, key_of(reader), entry ? FAIL_OK : FAIL_SQL, entry);
    cache_entry_unref(entry);
    reader->thread->landed++;
    again(reader);
}

static void on_told(struct cache_waiter *waiter)
{
    struct reader *reader = waiter->arg;
    if (loop_here() != reader->thread->loop)
        abort();
    if (waiter->entry && !str_is(cache_entry_value(waiter->entry), key_of(reader)))
        abort();
    cache_entry_unref(waiter->entry);
    reader->thread->followed++;
    reader->thread->timeouts += waiter->fail == FAIL_TIMEOUT;
    again(reader);
}

static void next_round(void *arg)
{
    struct reader *reader = arg;
    struct thread *thread = reader->thread;
    if (reader->rounds-- == 0) {
        thread->is_done = --thread->running == 0;
        reader->rounds = 0;
        return;
    }
    reader->key = dice(thread, KEYS);
    reader->waiter = (struct cache_waiter){ .on_landed = on_told, .arg = reader };
    switch (cache_flight_join(thread->flights, key_of(reader), &reader->waiter, 2 + dice(thread, 10))) {
    case CACHE_LEADS:
        if (dice(thread, 2))
            timer_start(thread->loop, &reader->landing, dice(thread, 10), land_now, reader);
        else
            land_now(reader);
        return;
    case CACHE_FOLLOWS:
        if (dice(thread, 8))
            return;
        cache_flight_leave(&reader->waiter);
        thread->left++;
        break;
    case CACHE_REFUSED: break;
    }
    again(reader);
}

static void *run_readers(void *arg)
{
    struct thread *thread = arg;
    for (unsigned i = 0; i < READERS; i++) {
        thread->readers[i] = (struct reader){ .thread = thread, .rounds = ROUNDS };
        again(&thread->readers[i]);
    }
    thread->running = READERS;
    loop_turn(thread->loop, 30000, &thread->is_done);
    return NULL;
}

static void across_threads_every_follower_is_told_once(void **state)
{
    (void)state;
    static struct thread threads[THREADS];
    struct cache_flights *shared;
    unsigned landed = 0, followed = 0, left = 0;
    assert_int_equal(cache_flights_open(THREADS * READERS, &shared), FAIL_OK);
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){ .flights = shared, .seed = i + 1 };
        assert_int_equal(loop_open("thread", &threads[i].loop), FAIL_OK);
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i].thread, NULL, run_readers, &threads[i]), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i].thread, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_true(threads[i].is_done);
        assert_int_equal(loop_close(threads[i].loop, 100), 0);
        landed += threads[i].landed;
        followed += threads[i].followed;
        left += threads[i].left;
    }
    print_message("%u led, %u followed, %u left\n", landed, followed, left);
    assert_true(landed > 100 && followed > 100 && left > 10);
    assert_int_equal(cache_flights_count(shared), 0);
    cache_flights_close(shared);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_leads_and_the_others_are_told),
        TEST(a_failure_reaches_the_followers_too),
        TEST(who_left_is_not_told),
        TEST(too_many_followers_are_refused),
        TEST(a_follower_waits_no_longer_than_it_said),
        TEST(without_memory_it_refuses),
        TEST(across_threads_every_follower_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
