/* clock.c - what time it is, and how it is written.
 *
 * DESIGN  Calendar from day numbers after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2013):
 *         years begin in March, so that the leap day is the last of its year.
 */
#include "base/clock.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define US_PER_S 1000000
#define S_PER_DAY 86400
/* 0000-01-01 and the last second of 9999: what four digits of year can say. */
#define UNIX_S_MIN (-62167219200)
#define UNIX_S_MAX 253402300799

static uint64_t fake_mono_ns;
static int64_t fake_wall_us;
static bool is_fake;

static uint64_t read_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
    if (__builtin_expect(__atomic_load_n(&is_fake, __ATOMIC_ACQUIRE), 0))
        return __atomic_load_n(&fake_mono_ns, __ATOMIC_RELAXED);
    return read_ns(CLOCK_MONOTONIC);
}

int64_t clock_wall_us(void)
{
    if (__builtin_expect(__atomic_load_n(&is_fake, __ATOMIC_ACQUIRE), 0))
        return __atomic_load_n(&fake_wall_us, __ATOMIC_RELAXED);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * US_PER_S + now.tv_nsec / 1000;
}

uint64_t clock_thread_cpu_ns(void) { return read_ns(CLOCK_THREAD_CPUTIME_ID); }

uint64_t clock_thread_starved_ns(void)
{
    int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    char text[80]; /* ns on a CPU, ns waiting for one, times it ran */
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    text[len > 0 ? len : 0] = '\0';
    const char *second = strchr(text, ' ');
    return second ? strtoull(second, NULL, 10) : 0;
}

void clock_fake(uint64_t mono_ns, int64_t wall_us)
{
    __atomic_store_n(&fake_mono_ns, mono_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&fake_wall_us, wall_us, __ATOMIC_RELAXED);
    __atomic_store_n(&is_fake, mono_ns != 0 || wall_us != 0, __ATOMIC_RELEASE);
}

struct moment {
    unsigned year, month, day, weekday, hour, minute, second; /* month and day from 1, weekday from Sunday = 0 */
};

static struct moment moment_of(int64_t unix_s)
{
    if (unix_s < UNIX_S_MIN)
        unix_s = UNIX_S_MIN;
    if (unix_s > UNIX_S_MAX)
        unix_s = UNIX_S_MAX;
    /* Seconds and days since 0000-03-01, less 400 years so that neither is negative. */
    uint64_t seconds = (uint64_t)(unix_s + (719468 + 146097) * (int64_t)S_PER_DAY);
    unsigned days = (unsigned)(seconds / S_PER_DAY), in_day = (unsigned)(seconds % S_PER_DAY);
    unsigned era = days / 146097, day_of_era = days % 146097;
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned from_march = (5 * day_of_year + 2) / 153;
    unsigned month = from_march < 10 ? from_march + 3 : from_march - 9;
    return (struct moment){
        .year = era * 400 + year_of_era + (month <= 2) - 400,
        .month = month,
        .day = day_of_year - (153 * from_march + 2) / 5 + 1,
        .weekday = (days + 3) % 7, /* 0000-03-01 was a Wednesday, and 400 years are whole weeks */
        .hour = in_day / 3600,
        .minute = in_day / 60 % 60,
        .second = in_day % 60,
    };
}

/* Writes `digits` digits at `at`; returns where they end. */
static char *put_digits(char *at, unsigned value, unsigned digits)
{
    for (unsigned i = digits; i > 0; i--) {
        at[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
    return at + digits;
}

static char *put_time(char *at, const struct moment *moment)
{
    at = put_digits(at, moment->hour, 2);
    *at++ = ':';
    at = put_digits(at, moment->minute, 2);
    *at++ = ':';
    return put_digits(at, moment->second, 2);
}

void clock_http_date(int64_t unix_s, char out[CLOCK_HTTP_LEN + 1])
{
    static const char weekdays[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct moment moment = moment_of(unix_s);
    memcpy(out, "Sun, 06 Nov 1994 08:49:37 GMT", CLOCK_HTTP_LEN + 1);
    memcpy(out, weekdays + moment.weekday * 3, 3);
    put_digits(out + 5, moment.day, 2);
    memcpy(out + 8, months + (moment.month - 1) * 3, 3);
    put_digits(out + 12, moment.year, 4);
    put_time(out + 17, &moment);
}

void clock_iso(int64_t wall_us, char out[CLOCK_ISO_LEN + 1])
{
    int64_t unix_s = wall_us / US_PER_S, fraction_us = wall_us % US_PER_S;
    if (fraction_us < 0) {
        fraction_us += US_PER_S;
        unix_s--;
    }
    struct moment moment = moment_of(unix_s);
    memcpy(out, "2026-11-23T14:02:22.123456Z", CLOCK_ISO_LEN + 1);
    put_digits(out, moment.year, 4);
    put_digits(out + 5, moment.month, 2);
    put_digits(out + 8, moment.day, 2);
    put_time(out + 11, &moment);
    put_digits(out + 20, (unsigned)fraction_us, 6);
}
