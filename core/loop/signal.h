/* signal.h - signals as callbacks on a loop. */
#ifndef LOOP_SIGNAL_H
#define LOOP_SIGNAL_H

#include "loop/loop.h"

struct signal_watch;
MUST_USE enum fail signal_watch_open(struct loop *loop, int signum, void (*on_signal)(void *arg, int signum), void *arg,
                                     struct signal_watch **out);
void signal_watch_close(struct signal_watch *watch);   /* NULL is fine */

#endif
