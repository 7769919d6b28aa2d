/* clock.h - time, once: monotonic for waits, wall clock for people. Specs may put a fake one in. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t clock_mono_ns(void);
static inline uint64_t clock_mono_ms(void) { return clock_mono_ns() / 1000000u; }
int64_t clock_wall_us(void);                            /* since 1970-01-01 UTC */
uint64_t clock_thread_cpu_ns(void);
/* How long the calling thread was ready to run and had no CPU, since it began; 0 where the kernel does not say
 * (/proc/thread-self/schedstat, Documentation/scheduler/sched-stats). Three system calls: not for each turn. */
uint64_t clock_thread_starved_ns(void);
/* Specs: from now on time stands at these values until set again; clock_fake(0, 0) ends it. */
void clock_fake(uint64_t mono_ns, int64_t wall_us);

#define CLOCK_HTTP_LEN 29
#define CLOCK_ISO_LEN 27
void clock_http_date(int64_t unix_s, char out[CLOCK_HTTP_LEN + 1]);  /* Sun, 06 Nov 1994 08:49:37 GMT (RFC 9110 5.6.7) */
void clock_iso(int64_t wall_us, char out[CLOCK_ISO_LEN + 1]);        /* 2026-11-23T14:02:22.123456Z */

#endif
