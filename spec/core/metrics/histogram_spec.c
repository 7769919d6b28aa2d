/* histogram_spec.c - quantiles within 1 % of the truth, and memory only where values fall. */
#include "support/spec.h"

#include "base/random.h"
#include "metrics/inner.h"

#include <math.h>
#include <stdlib.h>

static int open_metrics(void **state)
{
    (void)state;
    return metrics_open(1000) == FAIL_OK ? 0 : -1;
}

static int close_metrics(void **state)
{
    (void)state;
    metrics_close();
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void assert_within_one_percent(uint64_t value, uint64_t truth)
{
    double error = truth ? fabs((double)value - (double)truth) / (double)truth : (double)value;
    if (error > 0.01)
        print_error("%llu is not within 1 %% of %llu\n", (unsigned long long)value, (unsigned long long)truth);
    assert_true(error <= 0.01);
}

static void every_single_value_is_told_within_one_percent(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 900; i++) {
        char labels[32];
        snprintf(labels, sizeof labels, "i=\"%u\"", i);
        struct metric_histogram *histogram = metric_histogram("one_seconds", "One value.", labels, METRIC_SECONDS);
        uint64_t value = i < 200 ? i : random_u64() >> (random_u64() % 64);
        if (i == 899)
            value = UINT64_MAX;
        metric_observe(histogram, value);
        assert_within_one_percent(metric_quantile(histogram, 0.5), value);
        assert_int_equal(metric_count(histogram), 1);
    }
}

static void quantiles_agree_with_the_sorted_values(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    static uint64_t values[COUNT];
    struct metric_histogram *histogram = metric_histogram("wait_seconds", "Waits.", "", METRIC_SECONDS);
    for (unsigned i = 0; i < COUNT; i++) { /* a long tail, like latencies */
        double uniform = ((double)(random_u64() >> 11) + 1) / 9007199254740993.0;
        values[i] = (uint64_t)(200000 * pow(uniform, -0.7));
        metric_observe(histogram, values[i]);
    }
    qsort(values, COUNT, sizeof *values, compare);
    const double quantiles[] = { 0, 0.001, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1 };
    for (unsigned i = 0; i < COUNT_OF(quantiles); i++) {
        unsigned rank = (unsigned)ceil(quantiles[i] * COUNT);
        assert_within_one_percent(metric_quantile(histogram, quantiles[i]), values[rank ? rank - 1 : 0]);
    }
}

static void a_bound_counts_what_is_at_or_below_it(void **state)
{
    (void)state;
    struct metric_histogram *histogram = metric_histogram("size_bytes", "Sizes.", "", METRIC_BYTES);
    const uint64_t values[] = { 0, 1, 63, 64, 65, 1024, 1100, 1 << 20 };
    for (unsigned i = 0; i < COUNT_OF(values); i++)
        metric_observe(histogram, values[i]);
    struct histogram_view view;
    histogram_view(histogram, &view);
    assert_int_equal(view.count, COUNT_OF(values));
    assert_int_equal(view.sum, 0 + 1 + 63 + 64 + 65 + 1024 + 1100 + (1 << 20));
    assert_int_equal(histogram_below(&view, 0), 1);
    assert_int_equal(histogram_below(&view, 64), 4);
    assert_int_equal(histogram_below(&view, 1024), 6);
    assert_int_equal(histogram_below(&view, 4096), 7);
    assert_int_equal(histogram_below(&view, 1 << 20), 8);
    assert_int_equal(histogram_below(&view, UINT64_MAX), 8);
}

static void memory_is_spent_only_where_values_fall(void **state)
{
    (void)state;
    struct metric_histogram *first = metric_histogram("a_seconds", "A.", "", METRIC_SECONDS);
    metric_observe(first, 1);
    size_t before = mem_live();
    for (unsigned i = 0; i < 500; i++) {
        char labels[32];
        snprintf(labels, sizeof labels, "i=\"%u\"", i);
        assert_non_null(metric_histogram("b_seconds", "B.", labels, METRIC_SECONDS));
    }
    assert_true((mem_live() - before) / 500 < 400); /* its name and nothing else */
    before = mem_live();
    metric_observe(first, 1000000);
    assert_true(mem_live() - before < 1024);
    before = mem_live();
    for (unsigned i = 0; i < 100000; i++)
        metric_observe(first, 1000000 + i % 40000);
    assert_int_equal(mem_live(), before);
}

#define OPEN(test) cmocka_unit_test_setup_teardown(test, open_metrics, close_metrics)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPEN(every_single_value_is_told_within_one_percent), OPEN(quantiles_agree_with_the_sorted_values),
        OPEN(a_bound_counts_what_is_at_or_below_it),         OPEN(memory_is_spent_only_where_values_fall),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
