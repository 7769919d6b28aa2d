/* metrics_spec.c - registering, counting from many threads, bounds. */
#include "support/spec.h"

#include "base/clock.h"
#include "base/log.h"
#include "metrics/inner.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static int open_metrics(void **state)
{
    (void)state;
    return metrics_open(100) == FAIL_OK ? 0 : -1;
}

static int close_metrics(void **state)
{
    (void)state;
    metrics_close();
    return 0;
}

static void the_same_name_and_labels_are_the_same_object(void **state)
{
    (void)state;
    struct metric_counter *get = metric_counter("hits_total", "Hits.", "method=\"GET\"");
    assert_ptr_equal(metric_counter("hits_total", "Hits.", "method=\"GET\""), get);
    assert_ptr_not_equal(metric_counter("hits_total", "Hits.", "method=\"PUT\""), get);
    metric_add(get, 2);
    metric_add(get, 40);
    assert_int_equal(metric_counter_value(get), 42);
}

static void a_gauge_is_set_or_counted_up_and_down(void **state)
{
    (void)state;
    struct metric_gauge *ratio = metric_gauge("ratio", "A ratio.", ""), *busy = metric_gauge("busy", "Busy ones.", "");
    metric_set(ratio, -0.25);
    assert_true(metric_gauge_value(ratio) == -0.25);
    metric_gauge_add(busy, 3);
    metric_gauge_add(busy, -5);
    assert_true(metric_gauge_value(busy) == -2);
}

/* --- threads -------------------------------------------------------------------------------------------------- */

enum { THREADS = 80, ADDS = 5000 }; /* more threads than shards */
static struct metric_counter *shared_counter;
static struct metric_gauge *shared_gauge;
static struct metric_histogram *shared_histogram;
static pthread_barrier_t all_here;

static void *feed(void *arg)
{
    bool waits = arg != NULL;
    for (unsigned i = 0; i < ADDS; i++) {
        if (i == 1 && waits)
            pthread_barrier_wait(&all_here); /* each holds a shard by now */
        metric_add(shared_counter, 1);
        metric_gauge_add(shared_gauge, i % 2 ? -1 : 2);
        metric_observe(shared_histogram, i);
    }
    return NULL;
}

static void register_shared(void)
{
    shared_counter = metric_counter("adds_total", "Adds.", "");
    shared_gauge = metric_gauge("level", "A level.", "");
    shared_histogram = metric_histogram("size_bytes", "Sizes.", "", METRIC_BYTES);
}

static void run_threads(unsigned count, void *arg)
{
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, feed, arg), 0);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static void nothing_is_lost_with_more_threads_than_shards(void **state)
{
    (void)state;
    register_shared();
    pthread_barrier_init(&all_here, NULL, THREADS);
    run_threads(THREADS, &all_here);
    pthread_barrier_destroy(&all_here);
    assert_int_equal(metric_counter_value(shared_counter), (uint64_t)THREADS * ADDS);
    assert_true(metric_gauge_value(shared_gauge) == (double)THREADS * ADDS / 2);
    assert_int_equal(metric_count(shared_histogram), (uint64_t)THREADS * ADDS);
}

static void threads_that_come_and_go_take_over_shards(void **state)
{
    (void)state;
    register_shared();
    run_threads(1, NULL);
    size_t before = mem_live();
    for (unsigned i = 0; i < 200; i++)
        run_threads(1, NULL);
    assert_int_equal(mem_live(), before); /* the next thread goes on where the last one stopped */
    assert_int_equal(metric_counter_value(shared_counter), (uint64_t)201 * ADDS);
}

static void reading_while_others_feed_never_goes_back(void **state)
{
    (void)state;
    register_shared();
    pthread_t threads[4];
    for (unsigned i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, feed, NULL), 0);
    uint64_t before = 0, counted = 0;
    for (unsigned i = 0; i < 200; i++) {
        uint64_t now = metric_counter_value(shared_counter), seen = metric_count(shared_histogram);
        assert_true(now >= before && seen >= counted);
        before = now;
        counted = seen;
    }
    for (unsigned i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metric_counter_value(shared_counter), COUNT_OF(threads) * ADDS);
}

/* --- bounds and misuse ---------------------------------------------------------------------------------------- */

static void beyond_the_limit_the_family_counts_on_other(void **state)
{
    (void)state;
    struct metric_counter *last = NULL;
    for (unsigned i = 0; i < 100000; i++) {
        char labels[64];
        snprintf(labels, sizeof labels, "user=\"u\\\"%u\",kind=\"a,b\"", i);
        last = metric_counter("stranger_total", "Strangers.", labels);
        metric_add(last, 1);
    }
    assert_int_equal(metric_counter_value(last), 100000 - 100);
    assert_string_equal(last->series.labels, "user=\"other\",kind=\"other\"");
    struct metric_gauge *later = metric_gauge("later", "A family that comes too late.", "");
    metric_set(later, 7); /* without labels it is its own other */
    assert_true(metric_gauge_value(later) == 7);
}

static void misuse_is_logged_and_harmless(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    log_setup(LOG_INFO, LOG_LOGFMT, ends[1]);
    struct metric_counter *good = metric_counter("good_total", "Good.", "");
    struct metric_gauge *second = metric_gauge("good_total", "The same as a gauge.", "");
    struct metric_counter *bad = metric_counter("9 bad-name", "Bad.", "");
    struct metric_histogram *bytes = metric_histogram("h", "H.", "", METRIC_BYTES);
    struct metric_histogram *seconds = metric_histogram("h", "H.", "", METRIC_SECONDS);
    log_setup(LOG_INFO, LOG_LOGFMT, 2);
    metric_add(good, 1);
    metric_set(second, 5);
    metric_gauge_add(second, 5);
    metric_add(bad, 5);
    metric_observe(seconds, 5);
    metric_observe(bytes, 6);
    assert_int_equal(metric_counter_value(good), 1);
    assert_true(metric_gauge_value(second) == 0);
    assert_int_equal(metric_counter_value(bad), 0);
    assert_int_equal(metric_count(seconds), 0);
    assert_int_equal(metric_count(bytes), 1);
    char text[2048];
    ssize_t len = read(ends[0], text, sizeof text - 1);
    text[len > 0 ? len : 0] = '\0';
    unsigned lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 3);
    close(ends[0]);
    close(ends[1]);
}

static void before_opening_and_after_closing_nothing_counts_and_nothing_breaks(void **state)
{
    (void)state;
    struct metric_counter *counter = metric_counter("early_total", "Early.", "");
    struct metric_histogram *histogram = metric_histogram("early_seconds", "Early.", "", METRIC_SECONDS);
    metric_add(counter, 1);
    metric_observe(histogram, 1);
    assert_int_equal(metric_counter_value(counter), 0);
    assert_int_equal(metric_count(histogram), 0);
    assert_int_equal(metric_quantile(histogram, 0.5), 0);
    metrics_close();
    for (unsigned round = 0; round < 3; round++) { /* opens again, from zero */
        assert_int_equal(metrics_open(10), FAIL_OK);
        counter = metric_counter("early_total", "Early.", "");
        metric_add(counter, 1);
        assert_int_equal(metric_counter_value(counter), 1);
        metrics_close();
    }
    assert_int_equal(mem_live(), 0);
}

static void want_of_memory_counts_on_a_sink(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 12; n++) {
        assert_int_equal(metrics_open(100), FAIL_OK);
        mem_fail_after(n);
        struct metric_counter *counter = metric_counter("poor_total", "Poor.", "a=\"b\"");
        struct metric_histogram *histogram = metric_histogram("poor_seconds", "Poor.", "", METRIC_SECONDS);
        metric_add(counter, 1);
        metric_observe(histogram, 1);
        mem_fail_after(0);
        assert_true(metric_counter_value(counter) <= 1);
        assert_true(metric_count(histogram) <= 1);
        metrics_close();
    }
    mem_fail_after(1);
    assert_int_equal(metrics_open(100), FAIL_NOMEM);
    mem_fail_after(0);
}

/* --- cost ----------------------------------------------------------------------------------------------------- */

static void feeding_costs_nanoseconds(void **state)
{
    (void)state;
    enum { TIMES = 2000000 };
    register_shared();
    uint64_t start_ns = clock_thread_cpu_ns();
    for (unsigned i = 0; i < TIMES; i++)
        metric_add(shared_counter, 1);
    double add_ns = (double)(clock_thread_cpu_ns() - start_ns) / TIMES;
    start_ns = clock_thread_cpu_ns();
    for (unsigned i = 0; i < TIMES; i++)
        metric_gauge_add(shared_gauge, 1);
    double gauge_ns = (double)(clock_thread_cpu_ns() - start_ns) / TIMES;
    start_ns = clock_thread_cpu_ns();
    for (uint64_t i = 0, value = 1; i < TIMES; i++, value = value * 6364136223846793005u + 1442695040888963407u)
        metric_observe(shared_histogram, value >> (20 + (value & 15)));
    double observe_ns = (double)(clock_thread_cpu_ns() - start_ns) / TIMES;
    print_message("add %.1f ns, gauge_add %.1f ns, observe %.1f ns\n", add_ns, gauge_ns, observe_ns);
    assert_true(add_ns < 500 && gauge_ns < 500 && observe_ns < 1000); /* sanitizers included */
}

#define OPEN(test) cmocka_unit_test_setup_teardown(test, open_metrics, close_metrics)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPEN(the_same_name_and_labels_are_the_same_object),
        OPEN(a_gauge_is_set_or_counted_up_and_down),
        OPEN(nothing_is_lost_with_more_threads_than_shards),
        OPEN(threads_that_come_and_go_take_over_shards),
        OPEN(reading_while_others_feed_never_goes_back),
        OPEN(beyond_the_limit_the_family_counts_on_other),
        OPEN(misuse_is_logged_and_harmless),
        cmocka_unit_test(before_opening_and_after_closing_nothing_counts_and_nothing_breaks),
        cmocka_unit_test(want_of_memory_counts_on_a_sink),
        OPEN(feeding_costs_nanoseconds),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
