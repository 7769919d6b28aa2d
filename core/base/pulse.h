/* pulse.h - a look at what a thread does, now and then while it computes; an idle thread is left in peace.
 *
 * The look runs on the thread itself, as a signal handler (SIGURG): it may only do what is safe in one (signal-safety(7)).
 */
#ifndef BASE_PULSE_H
#define BASE_PULSE_H

#include <stdbool.h>

enum { PULSE_MS = 10 };   /* of CPU time of the thread, between two looks; the kernel's tick makes it longer, never shorter */

struct pulse {
    void (*look)(void *arg);
    void *arg;
};

/* From here on the pulse is looked at on this thread, until pulse_leave; returns the one before, for pulse_leave. Costs two
 * stores, but for the first time on each thread, which makes its timer. Where there can be none, and under the thread
 * sanitizer, which holds signals back, nobody looks: pulse_beats says so. */
struct pulse *pulse_enter(struct pulse *pulse);
void pulse_leave(struct pulse *before);
bool pulse_beats(void);

#endif
