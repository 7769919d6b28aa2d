/* aside.h - calls that may hang for as long as somebody else likes, each on a thread of its own.
 *
 * What work.h takes ends by itself. A name look-up or a blocking connect ends when a machine elsewhere answers, perhaps in minutes;
 * a few of those would hold up every piece of work behind them, and the end of the process. So each gets a thread, at most ASIDE_MAX
 * at once, and nobody waits for it: it touches only what `arg` leads to, and who is interested in the outcome leaves word there.
 */
#ifndef LOOP_ASIDE_H
#define LOOP_ASIDE_H

#include "base/fail.h"

enum { ASIDE_MAX = 16 };

/* run(arg) is called once, on another thread. FAIL_FULL, FAIL_NOMEM: it will not be. */
MUST_USE enum fail aside_start(void (*run)(void *arg), void *arg);
unsigned aside_count(void);                /* how many are under way */

#endif
