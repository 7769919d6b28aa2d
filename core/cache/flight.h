/* flight.h - single-flight: of all who miss the same key at the same time, one loads and the others wait for it.
 *
 * For the whole process, across loops. The first to join leads and must land (also when it fails or is cancelled);
 * followers get the landing on their own loops. A follower may leave. Followers are bounded for each key and in all.
 */
#ifndef CACHE_FLIGHT_H
#define CACHE_FLIGHT_H

#include "cache/store.h"
#include "loop/loop.h"
#include "loop/timer.h"

struct cache_flights;
struct cache_waiter {
    struct list node;
    struct timer timer;
    struct loop *loop;                                /* set by the caller, or NULL: the loop of this thread */
    struct cache_flights *flights;
    void *flight;
    void (*on_landed)(struct cache_waiter *waiter);   /* once, on the waiter's loop, unless it left */
    void *arg;
    enum fail fail;                                   /* FAIL_OK: entry is a reference of the waiter's own */
    struct cache_entry *entry;
    int state;
};
enum cache_role { CACHE_LEADS, CACHE_FOLLOWS, CACHE_REFUSED };   /* refused: too many waiters; load on your own, or say 503 */

MUST_USE enum fail cache_flights_open(unsigned waiters_max, struct cache_flights **out);
void cache_flights_close(struct cache_flights *flights);         /* none may be in flight */
/* on_landed with FAIL_TIMEOUT after timeout_ms. */
enum cache_role cache_flight_join(struct cache_flights *flights, struct str key, struct cache_waiter *waiter, unsigned timeout_ms);
/* The leader's word to all followers; entry may be NULL with a fail. The leader keeps its own reference. */
void cache_flight_land(struct cache_flights *flights, struct str key, enum fail fail, struct cache_entry *entry);
void cache_flight_leave(struct cache_waiter *waiter);            /* after this on_landed will not come */
unsigned cache_flights_count(struct cache_flights *flights);

#endif
