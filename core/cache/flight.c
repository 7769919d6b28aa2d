/* flight.c - single-flight across loops: who misses what another one already loads waits for that one.
 *
 * DESIGN  A flight is a key in the air. Its followers stand in one delivery for each loop they are on; landing hands each
 *         delivery to its loop with one post, made when the first follower of that loop joined, so that landing cannot fail.
 *         waiter: OFF -> WAITING [cache_flight_join]   WAITING -> LANDED [cache_flight_land]
 *                 WAITING -> OFF [time-out, leave]     LANDED -> OFF [deliver, leave]
 *         Up to the landing the table's lock covers the waiters; after it they belong to their loop's thread alone.
 *         A delivery without waiters goes at once, so a loop that has gone is never posted to.
 * HOLDS   waiting = number of waiters not OFF <= waiters_max; a key has at most half of them.
 * Path:   cache/read > [cache/flight] > loop/loop
 */
#include "cache/flight.h"

#include "base/map.h"
#include "base/mem.h"

#include <assert.h>
#include <pthread.h>

enum { KEY_SHARE = 2 };
enum { OFF, WAITING, LANDED }; /* of a waiter */

struct cache_flights {
    pthread_mutex_t lock;
    struct map flights;
    unsigned waiting; /* atomic: a delivery counts down without the lock */
    unsigned waiters_max;
};

struct delivery {
    struct list node; /* in its flight, or in what cache_flight_land is about to post */
    struct list waiters;
    struct flight *flight; /* NULL once landed */
    struct loop *loop;
    struct loop_task task;
};

struct flight {
    struct list deliveries;
    unsigned waiting;
};

enum fail cache_flights_open(unsigned waiters_max, struct cache_flights **out)
{
    *out = NULL;
    struct cache_flights *flights = mem_zero(MEM_CACHE, sizeof *flights);
    if (!flights)
        return FAIL_NOMEM;
    enum fail fail = map_init(&flights->flights, MEM_CACHE);
    if (fail) {
        mem_free(flights);
        return fail;
    }
    pthread_mutex_init(&flights->lock, NULL);
    flights->waiters_max = waiters_max;
    *out = flights;
    return FAIL_OK;
}

void cache_flights_close(struct cache_flights *flights)
{
    if (!flights)
        return;
    assert(flights->flights.count == 0 && flights->waiting == 0);
    map_clear(&flights->flights);
    pthread_mutex_destroy(&flights->lock);
    mem_free(flights);
}

unsigned cache_flights_count(struct cache_flights *flights)
{
    pthread_mutex_lock(&flights->lock);
    unsigned count = (unsigned)flights->flights.count;
    pthread_mutex_unlock(&flights->lock);
    return count;
}

static enum cache_role lead(struct cache_flights *flights, struct str key)
{
    struct flight *flight = mem_zero(MEM_CACHE, sizeof *flight);
    if (!flight)
        return CACHE_REFUSED;
    list_init(&flight->deliveries);
    if (map_set(&flights->flights, key, flight)) {
        mem_free(flight);
        return CACHE_REFUSED;
    }
    return CACHE_LEADS;
}

static void deliver(void *arg);

static struct delivery *delivery_to(struct flight *flight, struct loop *loop)
{
    LIST_EACH(&flight->deliveries, node)
    {
        struct delivery *delivery = LIST_ENTRY(node, struct delivery, node);
        if (delivery->loop == loop)
            return delivery;
    }
    struct delivery *delivery = mem_zero(MEM_CACHE, sizeof *delivery);
    if (!delivery)
        return NULL;
    list_init(&delivery->waiters);
    delivery->flight = flight;
    delivery->loop = loop;
    delivery->task = (struct loop_task){ .run = deliver, .arg = delivery };
    list_push_back(&flight->deliveries, &delivery->node);
    return delivery;
}

static void count(struct cache_flights *flights, int more)
{
    __atomic_fetch_add(&flights->waiting, (unsigned)more, __ATOMIC_RELAXED);
}

static enum cache_role follow(struct cache_flights *flights, struct flight *flight, struct cache_waiter *waiter)
{
    unsigned waiting = __atomic_load_n(&flights->waiting, __ATOMIC_RELAXED);
    if (waiting >= flights->waiters_max || flight->waiting >= (flights->waiters_max + 1) / KEY_SHARE)
        return CACHE_REFUSED;
    struct delivery *delivery = delivery_to(flight, waiter->loop);
    if (!delivery)
        return CACHE_REFUSED;
    list_push_back(&delivery->waiters, &waiter->node);
    waiter->flight = delivery;
    waiter->state = WAITING;
    flight->waiting++;
    count(flights, 1);
    return CACHE_FOLLOWS;
}

static void on_due(void *arg);

enum cache_role cache_flight_join(struct cache_flights *flights, struct str key, struct cache_waiter *waiter,
                                  unsigned timeout_ms)
{
    waiter->flights = flights;
    if (!waiter->loop)
        waiter->loop = loop_here();
    waiter->flight = NULL;
    waiter->fail = FAIL_OK;
    waiter->entry = NULL;
    waiter->state = OFF;
    waiter->timer = (struct timer){ 0 };
    assert(waiter->loop);
    pthread_mutex_lock(&flights->lock);
    struct flight *flight = map_get(&flights->flights, key);
    enum cache_role role = flight ? follow(flights, flight, waiter) : lead(flights, key);
    pthread_mutex_unlock(&flights->lock);
    if (role == CACHE_FOLLOWS) /* a landing meanwhile is only posted: deliver stops the timer */
        timer_start(waiter->loop, &waiter->timer, timeout_ms, on_due, waiter);
    return role;
}

/* The flight has landed; everything here is this loop's alone. */
static void deliver(void *arg)
{
    struct delivery *delivery = arg;
    struct list *node;
    assert(!delivery->flight && loop_here() == delivery->loop);
    while ((node = list_pop_front(&delivery->waiters))) {
        struct cache_waiter *waiter = LIST_ENTRY(node, struct cache_waiter, node);
        timer_stop(&waiter->timer);
        waiter->state = OFF;
        count(waiter->flights, -1);
        waiter->on_landed(waiter); /* may make others leave, and free itself */
    }
    mem_free(delivery);
}

static void tell(struct delivery *delivery, enum fail fail, struct cache_entry *entry)
{
    delivery->flight = NULL;
    LIST_EACH(&delivery->waiters, node)
    {
        struct cache_waiter *waiter = LIST_ENTRY(node, struct cache_waiter, node);
        waiter->state = LANDED;
        waiter->fail = fail;
        waiter->entry = entry ? cache_entry_ref(entry) : NULL;
    }
}

void cache_flight_land(struct cache_flights *flights, struct str key, enum fail fail, struct cache_entry *entry)
{
    assert(fail == FAIL_OK ? entry != NULL : entry == NULL);
    pthread_mutex_lock(&flights->lock);
    struct flight *flight = map_remove(&flights->flights, key);
    assert(flight);
    LIST_EACH(&flight->deliveries, node)
    tell(LIST_ENTRY(node, struct delivery, node), fail, entry);
    pthread_mutex_unlock(&flights->lock);
    /* Nobody else reaches the list now; a delivery is gone as soon as it is posted. */
    struct list *node;
    while ((node = list_pop_front(&flight->deliveries))) {
        struct delivery *delivery = LIST_ENTRY(node, struct delivery, node);
        loop_post(delivery->loop, &delivery->task);
    }
    mem_free(flight);
}

/* Under the lock: a WAITING one is taken out of its flight. */
static void part(struct cache_waiter *waiter)
{
    struct delivery *delivery = waiter->flight;
    list_remove(&waiter->node);
    waiter->state = OFF;
    count(waiter->flights, -1);
    delivery->flight->waiting--;
    if (list_is_empty(&delivery->waiters)) {
        list_remove(&delivery->node);
        mem_free(delivery);
    }
}

/* The waiter's time is over. Where the flight landed meanwhile its delivery is already on the way. */
static void on_due(void *arg)
{
    struct cache_waiter *waiter = arg;
    pthread_mutex_lock(&waiter->flights->lock);
    bool is_late = waiter->state == WAITING;
    if (is_late)
        part(waiter);
    pthread_mutex_unlock(&waiter->flights->lock);
    if (!is_late)
        return;
    waiter->fail = FAIL_TIMEOUT;
    waiter->on_landed(waiter);
}

void cache_flight_leave(struct cache_waiter *waiter)
{
    struct cache_flights *flights = waiter->flights;
    pthread_mutex_lock(&flights->lock);
    int state = waiter->state;
    if (state == WAITING)
        part(waiter);
    pthread_mutex_unlock(&flights->lock);
    if (state == OFF)
        return;
    assert(!loop_here() || loop_here() == waiter->loop);
    timer_stop(&waiter->timer);
    if (state == WAITING)
        return;
    list_remove(&waiter->node);
    waiter->state = OFF;
    count(flights, -1);
    cache_entry_unref(waiter->entry);
    waiter->entry = NULL;
}
