/* breaker.c - circuit breaker.
 *
 * DESIGN  breaker.h shows the states. A prober that never reports must not keep the others out for ever: after another
 *         open_ms the next caller becomes the prober. Results that arrive while OPEN belong to calls from before and
 *         change nothing.
 * HOLDS   limits.open_ms <= open_ms <= open_ms_max. A limit of 0 is off.
 */
#include "base/breaker.h"

static void close_it(struct breaker *breaker, uint64_t now_ms)
{
    breaker->state = BREAKER_CLOSED;
    breaker->failures_in_row = breaker->calls = breaker->failed = 0;
    breaker->window_start_ms = now_ms;
    breaker->open_ms = breaker->limits.open_ms;
}

void breaker_init(struct breaker *breaker, struct breaker_limits limits)
{
    if (limits.open_ms_max < limits.open_ms)
        limits.open_ms_max = limits.open_ms;
    *breaker = (struct breaker){ .limits = limits };
    close_it(breaker, 0);
}

bool breaker_is_open(const struct breaker *breaker, uint64_t now_ms)
{
    return breaker->state != BREAKER_CLOSED && now_ms < breaker->open_until_ms;
}

bool breaker_allows(struct breaker *breaker, uint64_t now_ms)
{
    if (breaker->state == BREAKER_CLOSED)
        return true;
    if (now_ms < breaker->open_until_ms)
        return false;
    breaker->state = BREAKER_HALF;
    breaker->open_until_ms = now_ms + breaker->open_ms;
    return true;
}

uint64_t breaker_retry_ms(const struct breaker *breaker, uint64_t now_ms)
{
    return breaker_is_open(breaker, now_ms) ? breaker->open_until_ms - now_ms : 0;
}

static void open_it(struct breaker *breaker, uint64_t now_ms)
{
    breaker->state = BREAKER_OPEN;
    breaker->open_until_ms = now_ms + breaker->open_ms;
}

static void count_call(struct breaker *breaker, uint64_t now_ms, bool has_failed)
{
    if (now_ms - breaker->window_start_ms >= breaker->limits.window_ms) {
        breaker->window_start_ms = now_ms;
        breaker->calls = breaker->failed = 0;
    }
    breaker->calls++;
    breaker->failed += has_failed;
    breaker->failures_in_row = has_failed ? breaker->failures_in_row + 1 : 0;
}

static bool is_too_much(const struct breaker *breaker)
{
    const struct breaker_limits *limits = &breaker->limits;
    if (limits->failures_max && breaker->failures_in_row >= limits->failures_max)
        return true;
    return limits->window_failures && breaker->calls >= limits->window_calls &&
           breaker->failed >= limits->window_failures;
}

void breaker_worked(struct breaker *breaker, uint64_t now_ms)
{
    if (breaker->state == BREAKER_CLOSED)
        count_call(breaker, now_ms, /* has_failed= */ false);
    else if (breaker->state == BREAKER_HALF)
        close_it(breaker, now_ms);
}

void breaker_failed(struct breaker *breaker, uint64_t now_ms)
{
    if (breaker->state == BREAKER_CLOSED) {
        count_call(breaker, now_ms, /* has_failed= */ true);
        if (is_too_much(breaker))
            open_it(breaker, now_ms);
    } else if (breaker->state == BREAKER_HALF) {
        uint64_t max = breaker->limits.open_ms_max;
        breaker->open_ms = breaker->open_ms > max / 2 ? max : breaker->open_ms * 2;
        open_it(breaker, now_ms);
    }
}
