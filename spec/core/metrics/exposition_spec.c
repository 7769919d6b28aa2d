/* exposition_spec.c - the text that Prometheus reads, and Prometheus' own opinion of it. */
#include "support/spec.h"

#include "base/clock.h"
#include "metrics/metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct buf out;

static int open_metrics(void **state)
{
    (void)state;
    buf_init(&out, MEM_METRICS, 0);
    return metrics_open(1000) == FAIL_OK ? 0 : -1;
}

static int close_metrics(void **state)
{
    (void)state;
    buf_clear(&out);
    metrics_close();
    return 0;
}

/* All of it as a C string. */
static const char *write_all(void)
{
    buf_reset(&out);
    metrics_write(&out);
    buf_add_char(&out, '\0');
    assert_true(buf_ok(&out));
    return out.data;
}

static void assert_starts(const char *text, const char *expected)
{
    if (strncmp(text, expected, strlen(expected)) != 0)
        assert_string_equal(text, expected);
}

static void families_come_in_order_with_one_head_each(void **state)
{
    (void)state;
    metric_add(metric_counter("wick_hits_total", "Hits by method.", "method=\"GET\""), 3);
    metric_set(metric_gauge("wick_ratio", "With \\ and\nnewline.", ""), 0.5);
    metric_add(metric_counter("wick_hits_total", "Hits by method.", "method=\"PUT\""), 18446744073709551615u);
    assert_starts(write_all(), "# HELP wick_hits_total Hits by method.\n"
                               "# TYPE wick_hits_total counter\n"
                               "wick_hits_total{method=\"GET\"} 3\n"
                               "wick_hits_total{method=\"PUT\"} 18446744073709551615\n"
                               "# HELP wick_ratio With \\\\ and\\nnewline.\n"
                               "# TYPE wick_ratio gauge\n"
                               "wick_ratio 0.5\n"
                               "# HELP process_");
}

static void a_counter_of_seconds_is_fed_nanoseconds(void **state)
{
    (void)state;
    metric_add(metric_counter_seconds("wick_busy_seconds_total", "Busy.", ""), 1500000000);
    assert_starts(write_all(), "# HELP wick_busy_seconds_total Busy.\n"
                               "# TYPE wick_busy_seconds_total counter\n"
                               "wick_busy_seconds_total 1.5\n");
}

static void label_values_are_escaped(void **state)
{
    (void)state;
    struct buf labels;
    buf_init(&labels, MEM_METRICS, 0);
    metrics_label(&labels, "path", STR("C:\\a \"b\"\nc"));
    metrics_label(&labels, "name", STR(""));
    assert_text(labels, "path=\"C:\\\\a \\\"b\\\"\\nc\",name=\"\"");
    buf_clear(&labels);
}

static void durations_are_seconds_in_the_classic_buckets(void **state)
{
    (void)state;
    struct metric_histogram *waits = metric_histogram("w_seconds", "Waits.", "route=\"a\"", METRIC_SECONDS);
    metric_observe(waits, 5000000);     /* exactly 5 ms */
    metric_observe(waits, 30000000);    /* 30 ms */
    metric_observe(waits, 60000000000); /* a minute */
    assert_starts(write_all(), "# HELP w_seconds Waits.\n"
                               "# TYPE w_seconds histogram\n"
                               "w_seconds_bucket{route=\"a\",le=\"0.001\"} 0\n"
                               "w_seconds_bucket{route=\"a\",le=\"0.0025\"} 0\n"
                               "w_seconds_bucket{route=\"a\",le=\"0.005\"} 1\n"
                               "w_seconds_bucket{route=\"a\",le=\"0.01\"} 1\n"
                               "w_seconds_bucket{route=\"a\",le=\"0.02\"} 1\n"
                               "w_seconds_bucket{route=\"a\",le=\"0.05\"} 2\n"
                               "w_seconds_bucket{route=\"a\",le=\"0.1\"} 2\n"
                               "w_seconds_bucket{route=\"a\",le=\"0.25\"} 2\n"
                               "w_seconds_bucket{route=\"a\",le=\"0.5\"} 2\n"
                               "w_seconds_bucket{route=\"a\",le=\"1\"} 2\n"
                               "w_seconds_bucket{route=\"a\",le=\"2.5\"} 2\n"
                               "w_seconds_bucket{route=\"a\",le=\"5\"} 2\n"
                               "w_seconds_bucket{route=\"a\",le=\"10\"} 2\n"
                               "w_seconds_bucket{route=\"a\",le=\"+Inf\"} 3\n"
                               "w_seconds_sum{route=\"a\"} 60.035\n"
                               "w_seconds_count{route=\"a\"} 3\n");
}

static void sizes_are_plain_bytes(void **state)
{
    (void)state;
    metric_observe(metric_histogram("s_bytes", "Sizes.", "", METRIC_BYTES), 500);
    const char *text = write_all();
    assert_non_null(strstr(text, "s_bytes_bucket{le=\"256\"} 0\ns_bytes_bucket{le=\"1024\"} 1\n"));
    assert_non_null(strstr(text, "s_bytes_sum 500\ns_bytes_count 1\n"));
}

static void odd_numbers_are_written_as_prometheus_does(void **state)
{
    (void)state;
    metric_set(metric_gauge("a", "A.", ""), (double)NAN);
    metric_set(metric_gauge("b", "B.", ""), (double)INFINITY);
    metric_set(metric_gauge("c", "C.", ""), -(double)INFINITY);
    metric_set(metric_gauge("d", "D.", ""), 1e300);
    const char *text = write_all();
    assert_non_null(strstr(text, "\na NaN\n"));
    assert_non_null(strstr(text, "\nb +Inf\n"));
    assert_non_null(strstr(text, "\nc -Inf\n"));
    assert_non_null(strstr(text, "\nd 1e+300\n"));
}

/* --- collectors and the process ------------------------------------------------------------------------------- */

static unsigned collected;
static void collect(void *arg)
{
    collected++;
    metric_set(metric_gauge("asked", "Asked for.", ""), *(double *)arg);
    if (collected == 1)
        metrics_on_collect(collect, arg); /* registering from within is fine */
}

static void collectors_run_before_the_text_is_written(void **state)
{
    (void)state;
    double value = 12.5;
    collected = 0;
    metrics_on_collect(collect, &value);
    assert_non_null(strstr(write_all(), "\nasked 12.5\n"));
    assert_int_equal(collected, 2);
    value = 13;
    assert_non_null(strstr(write_all(), "\nasked 13\n"));
    assert_int_equal(collected, 4);
}

static double value_of(const char *text, const char *name)
{
    char start[100];
    snprintf(start, sizeof start, "\n%s ", name);
    const char *at = strstr(text, start);
    assert_non_null(at);
    return atof(at + strlen(start));
}

static void the_process_tells_what_the_kernel_knows(void **state)
{
    (void)state;
    const char *text = write_all();
    double fds = value_of(text, "process_open_fds");
    assert_true(fds >= 3 && fds < 100);
    assert_true(value_of(text, "process_max_fds") > fds);
    assert_true(value_of(text, "process_resident_memory_bytes") > 500000);
    double started_s = value_of(text, "process_start_time_seconds"), now_s = (double)clock_wall_us() / 1e6;
    assert_true(started_s <= now_s + 1 && started_s > now_s - 600);
    double cpu_s = value_of(text, "process_cpu_seconds_total");
    assert_true(cpu_s > 0 && cpu_s < 600);
    int more[5];
    for (unsigned i = 0; i < COUNT_OF(more); i++)
        more[i] = dup(1);
    text = write_all();
    assert_true(value_of(text, "process_open_fds") == fds + COUNT_OF(more));
    assert_true(value_of(text, "process_start_time_seconds") == started_s);
    for (unsigned i = 0; i < COUNT_OF(more); i++)
        close(more[i]);
}

/* --- Prometheus' opinion -------------------------------------------------------------------------------------- */

static void promtool_has_nothing_to_say(void **state)
{
    (void)state;
    if (system("command -v promtool >/dev/null 2>&1") != 0) {
        print_message("skipped: promtool (package prometheus) is not installed\n");
        skip();
    }
    struct buf labels;
    buf_init(&labels, MEM_METRICS, 0);
    metrics_label(&labels, "route", STR("GET /a\\b \"c\"\n{id}"));
    metrics_label(&labels, "method", STR("GET"));
    buf_add_char(&labels, '\0');
    metric_add(metric_counter("wick_http_requests_total", "Requests answered.", labels.data), 12);
    metric_set(metric_gauge("wick_pool_connections", "Connections in the pool.", ""), 5);
    metric_observe(
        metric_histogram("wick_http_request_duration_seconds", "Time to answer.", labels.data, METRIC_SECONDS), 123456);
    metric_observe(metric_histogram("wick_http_response_bytes", "Bytes sent.", "", METRIC_BYTES), 5000);
    buf_clear(&labels);
    const char *text = write_all();
    FILE *promtool = popen("promtool check metrics 2>&1", "w");
    assert_non_null(promtool);
    fputs(text, promtool);
    assert_int_equal(pclose(promtool), 0); /* 3: lint, 1: cannot be parsed; it prints what */
}

#define OPEN(test) cmocka_unit_test_setup_teardown(test, open_metrics, close_metrics)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPEN(families_come_in_order_with_one_head_each),
        OPEN(a_counter_of_seconds_is_fed_nanoseconds),
        OPEN(label_values_are_escaped),
        OPEN(durations_are_seconds_in_the_classic_buckets),
        OPEN(sizes_are_plain_bytes),
        OPEN(odd_numbers_are_written_as_prometheus_does),
        OPEN(collectors_run_before_the_text_is_written),
        OPEN(the_process_tells_what_the_kernel_knows),
        OPEN(promtool_has_nothing_to_say),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
