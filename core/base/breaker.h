/* breaker.h - circuit breaker: after too many failures nobody asks again for a while, then one asks first.
 *
 * CLOSED -> OPEN  [breaker_failed: failures_max in a row, or too many in a window]
 * OPEN -> HALF    [breaker_allows after open_ms; exactly one caller gets true, as the prober]
 * HALF -> CLOSED  [breaker_worked]     HALF -> OPEN, twice as long up to open_ms_max [breaker_failed]
 * A prober that does not report within another open_ms is given up: the next caller probes.
 * The window: at least window_calls calls and window_failures failures within window_ms. A limit of 0 is off.
 * Pure: it is told the time. Not thread-safe; its owner is.
 */
#ifndef BASE_BREAKER_H
#define BASE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF };
struct breaker_limits { unsigned failures_max; unsigned window_calls, window_failures; uint64_t window_ms, open_ms, open_ms_max; };
struct breaker {
    struct breaker_limits limits;
    enum breaker_state state;
    unsigned failures_in_row, calls, failed;
    uint64_t window_start_ms, open_until_ms, open_ms;
};

void breaker_init(struct breaker *breaker, struct breaker_limits limits);
bool breaker_allows(struct breaker *breaker, uint64_t now_ms);      /* may I ask? In HALF only the prober may. */
bool breaker_is_open(const struct breaker *breaker, uint64_t now_ms);
void breaker_worked(struct breaker *breaker, uint64_t now_ms);
void breaker_failed(struct breaker *breaker, uint64_t now_ms);
uint64_t breaker_retry_ms(const struct breaker *breaker, uint64_t now_ms);  /* until the next probe; 0 when closed */

#endif
