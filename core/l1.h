/* l1.h - the memory cache of the process: opened, kept clear of what is over, and counted. */
#ifndef L1_H
#define L1_H

#include "cache/store.h"
#include "loop/loop.h"

/* One for the process, after metrics_open. The store is borrowed until l1_close. */
MUST_USE enum fail l1_open(size_t bytes_max, struct cache_store **out);
/* From now on entries that are over go, a few at a time. `loop` must live until l1_close. */
void l1_keep(struct loop *loop);
/* When nobody uses the store any more, on the loop's thread. Fine when it is not open. */
void l1_close(void);

#endif
