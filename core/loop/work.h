/* work.h - what blocks or computes long runs on other threads: hashes, names, files.
 *
 * A fixed number of threads for the process and a bounded queue. The result comes back on the loop that asked.
 */
#ifndef LOOP_WORK_H
#define LOOP_WORK_H

#include "loop/loop.h"

struct work {
    struct loop_task task;                 /* private to work.c */
    struct loop *loop;
    struct list node;
    void (*run)(struct work *work);        /* on a work thread */
    void (*on_done)(struct work *work, enum fail fail); /* on the loop; FAIL_CANCELLED: run was never called */
};

/* Starts the threads (once, before the loops); the queue holds at most queue_max pieces. */
MUST_USE enum fail work_open(unsigned threads, unsigned queue_max);
void work_close(void);                     /* waits for running pieces; queued ones are cancelled */
/* FAIL_FULL when the queue is full: then on_done will not come. run and on_done are set by the caller. */
MUST_USE enum fail work_submit(struct loop *loop, struct work *work);
/* True: it was still queued and on_done comes with FAIL_CANCELLED. False: it runs or ran; on_done comes as usual. */
bool work_cancel(struct work *work);

#endif
