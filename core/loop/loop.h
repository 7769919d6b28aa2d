/* loop.h - one event loop for each thread: turns, posts from other threads, hooks around the wait.
 *
 * A turn is: ready sockets, posted tasks, due timers, deferred tasks, the turn hooks (where writes collected in this turn
 * leave together), then the wait. Sockets come first, so an answer that has arrived beats its own deadline. Everything
 * of a loop is touched by its own thread only; loop_post and loop_stop are the two doors for others.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include "base/fail.h"
#include "base/list.h"

#include <stdint.h>

struct loop;

/* A piece of work for a loop. Memory is the caller's until run is called. */
struct loop_task {
    struct list node;
    void (*run)(void *arg);
    void *arg;
};
/* A function called at the end of every turn, before the wait. */
struct loop_hook {
    struct list node;
    void (*run)(void *arg);
    void *arg;
};

MUST_USE enum fail loop_open(const char *name, struct loop **out);
/* Runs on the calling thread until loop_stop; then returns. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);                   /* any thread */
/* After loop_run returned and owners closed what they opened: runs the pending closes (at most ms_max of turns) and frees
 * the loop. Returns how many handles were still open (0 is right; each is logged). */
unsigned loop_close(struct loop *loop, unsigned ms_max);
/* Lets the loop turn for at most `ms` or until *done is true (specs, orderly shutdown). */
void loop_turn(struct loop *loop, unsigned ms, const bool *done);

struct loop *loop_here(void);                        /* the loop of this thread, NULL where there is none */
uint64_t loop_now_ms(const struct loop *loop);       /* monotonic, as of the start of this turn */
int64_t loop_wall_s(const struct loop *loop);        /* seconds since 1970, as of this turn */
const char *loop_name(const struct loop *loop);

/* Runs task->run(arg) on the loop's thread, in posting order; wakes it. Any thread. Never fails; the task must not be
 * posted again before it ran. */
void loop_post(struct loop *loop, struct loop_task *task);
/* The same from the loop's own thread, without a system call: runs before the next wait. */
void loop_defer(struct loop *loop, struct loop_task *task);

void loop_hook_add(struct loop *loop, struct loop_hook *hook);
void loop_hook_remove(struct loop_hook *hook);

/* The longest and the total time (ns) this loop spent in callbacks between waits, and the turns, since the last call.
 * Any thread, one at a time. */
struct loop_load { uint64_t turns, busy_ns, longest_ns; };
void loop_load_take(struct loop *loop, struct loop_load *out);
/* Time the current turn began to work (ns, monotonic), readable from any thread: the watchdog compares it. 0: waiting. */
uint64_t loop_busy_since_ns(const struct loop *loop);

#endif
