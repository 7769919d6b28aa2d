/* watch.h - readiness of a file descriptor somebody else owns (libpq's sockets).
 *
 * Never two watches on one fd. Readiness may be spurious. Stop (close) the watch before its fd is closed.
 */
#ifndef LOOP_WATCH_H
#define LOOP_WATCH_H

#include "loop/loop.h"

enum watch_events { WATCH_READ = 1, WATCH_WRITE = 2 };
struct watch;

typedef void watch_on_ready(void *arg, unsigned events, bool broken);

MUST_USE enum fail watch_open(struct loop *loop, int fd, watch_on_ready *on_ready, void *arg, struct watch **out);
void watch_set(struct watch *watch, unsigned events);   /* 0 pauses; no system call when nothing changes */
/* The fd may be closed, or watched by another loop, as soon as this returns; on_ready will not come any more. */
void watch_close(struct watch *watch);

#endif
