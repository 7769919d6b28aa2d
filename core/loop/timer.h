/* timer.h - deadlines by the thousand: a hashed wheel on one system timer, O(1) to start and stop.
 *
 * Precise to one tick (4 ms), never early. The struct lives in its owner; zeroed memory is a stopped timer.
 */
#ifndef LOOP_TIMER_H
#define LOOP_TIMER_H

#include "loop/loop.h"

struct timer {
    struct list node;
    struct loop *loop;
    uint64_t due_ms;
    void (*on_due)(void *arg);
    void *arg;
};

/* (Re)starts: on_due(arg) once, at least `ms` from now, never from within this call. */
void timer_start(struct loop *loop, struct timer *timer, uint64_t ms, void (*on_due)(void *arg), void *arg);
void timer_stop(struct timer *timer);                /* fine when stopped or never started */
bool timer_is_set(const struct timer *timer);

#endif
