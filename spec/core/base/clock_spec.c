/* clock_spec.c - what time it is, and how it is written. */
#include "support/spec.h"

#include "base/clock.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

static void time_goes_forward(void **state)
{
    (void)state;
    uint64_t before = clock_mono_ns(), cpu = clock_thread_cpu_ns();
    int64_t wall = clock_wall_us();
    assert_true(clock_mono_ns() >= before);
    assert_true(clock_thread_cpu_ns() >= cpu);
    assert_true(wall / 1000000 - (int64_t)time(NULL) <= 1);
    assert_int_equal(clock_mono_ms() / 1000, clock_mono_ns() / 1000000000u);
}

static atomic_bool is_over;

static void *compute(void *arg)
{
    while (!atomic_load(&is_over))
        continue;
    return arg;
}

static void who_shares_a_cpu_is_starved_for_what_the_other_takes(void **state)
{
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0); /* the new thread inherits it */
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, compute, NULL), 0);
    uint64_t begin_ns = clock_mono_ns(), cpu_ns = clock_thread_cpu_ns(), starved_ns = clock_thread_starved_ns();
    while (clock_mono_ns() < begin_ns + 200 * 1000000)
        continue;
    uint64_t lost_ns = clock_mono_ns() - begin_ns - (clock_thread_cpu_ns() - cpu_ns);
    starved_ns = clock_thread_starved_ns() - starved_ns;
    atomic_store(&is_over, true);
    pthread_join(other, NULL);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    if (clock_thread_starved_ns() == 0)
        skip(); /* a kernel without schedstats */
    assert_true(lost_ns > 20 * 1000000);
    assert_true(starved_ns > lost_ns / 2 && starved_ns < lost_ns + lost_ns / 2);
}

static void a_fake_clock_stands_still(void **state)
{
    (void)state;
    clock_fake(5000000, 77);
    assert_int_equal(clock_mono_ns(), 5000000);
    assert_int_equal(clock_mono_ms(), 5);
    assert_int_equal(clock_wall_us(), 77);
    clock_fake(0, 0);
    assert_int_not_equal(clock_wall_us(), 77);
}

static void dates_are_those_of_known_days(void **state)
{
    (void)state;
    static const struct {
        int64_t unix_s;
        const char *http, *iso;
    } cases[] = {
        { 784111777, "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37.000000Z" }, /* RFC 9110 5.6.7 */
        { 0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00.000000Z" },
        { -1, "Wed, 31 Dec 1969 23:59:59 GMT", "1969-12-31T23:59:59.000000Z" },
        { 951782400, "Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29T00:00:00.000000Z" },
        { 4107542399, "Sun, 28 Feb 2100 23:59:59 GMT", "2100-02-28T23:59:59.000000Z" },
        { 4107542400, "Mon, 01 Mar 2100 00:00:00 GMT", "2100-03-01T00:00:00.000000Z" },
        { 253402300799, "Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59.000000Z" },
        { 253402300800, "Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59.000000Z" }, /* no fifth digit */
        { -62167219200, "Sat, 01 Jan 0000 00:00:00 GMT", "0000-01-01T00:00:00.000000Z" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char http[CLOCK_HTTP_LEN + 1], iso[CLOCK_ISO_LEN + 1];
        clock_http_date(cases[i].unix_s, http);
        clock_iso(cases[i].unix_s * 1000000, iso);
        assert_string_equal(http, cases[i].http);
        assert_string_equal(iso, cases[i].iso);
    }
    char iso[CLOCK_ISO_LEN + 1];
    clock_iso(-1, iso);
    assert_string_equal(iso, "1969-12-31T23:59:59.999999Z");
    clock_iso(1795442542123456, iso);
    assert_string_equal(iso, "2026-11-23T14:02:22.123456Z");
}

static void dates_agree_with_the_c_library(void **state)
{
    (void)state;
    for (int64_t unix_s = -60000000000; unix_s < 250000000000; unix_s += 86400 * 97 + 12345) {
        char ours[CLOCK_HTTP_LEN + 1], theirs[40];
        struct tm tm;
        time_t when = unix_s;
        gmtime_r(&when, &tm);
        strftime(theirs, sizeof theirs, "%a, %d %b ", &tm);
        size_t len = strlen(theirs);
        snprintf(theirs + len, sizeof theirs - len, "%04d ", tm.tm_year + 1900);
        len = strlen(theirs);
        strftime(theirs + len, sizeof theirs - len, "%H:%M:%S GMT", &tm);
        clock_http_date(unix_s, ours);
        assert_string_equal(ours, theirs);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_goes_forward),
        cmocka_unit_test(who_shares_a_cpu_is_starved_for_what_the_other_takes),
        cmocka_unit_test(a_fake_clock_stands_still),
        cmocka_unit_test(dates_are_those_of_known_days),
        cmocka_unit_test(dates_agree_with_the_c_library),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
