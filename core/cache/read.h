/* read.h - read-through: memory first, then one flight for all who miss, then the layer below, then the caller's loader.
 *
 * START -> HIT | STALE                    [cache_read_start; STALE with must_load: the caller also refreshes]
 * START -> WAIT                           joined a flight, or the layer below was asked
 * START -> LOAD                           nobody has it: the caller loads and must end with cache_read_fill or cache_read_fail
 * WAIT  -> HIT | STALE | LOAD | FAILED    [on_ready]
 * A read that ended in LOAD leads the flight. Cancel at any time with cache_read_cancel (a leader's followers then get the
 * failure and the first of them to retry leads).
 */
#ifndef CACHE_READ_H
#define CACHE_READ_H

#include "cache/flight.h"
#include "cache/layer.h"
#include "cache/store.h"

struct cache {                       /* one for each loop; store and flights are shared */
    struct cache_store *store;
    struct cache_flights *flights;
    const struct cache_layer *layer; /* NULL: no L2 */
    struct loop *loop;
};
enum cache_read_state { CACHE_READ_HIT, CACHE_READ_STALE, CACHE_READ_WAIT, CACHE_READ_LOAD, CACHE_READ_FAILED };
enum cache_source { CACHE_FROM_L1, CACHE_FROM_L2, CACHE_FROM_FLIGHT, CACHE_FROM_LOADER };

struct cache_read {
    /* set by the caller; key and tags are borrowed until the read ends */
    struct cache *cache;
    struct str key;
    struct str tags[CACHE_TAGS_MAX];
    unsigned tag_count;
    uint8_t kind;
    uint64_t ttl_ms, stale_ms;       /* stale_ms: how long after ttl it may be served while one refreshes it */
    uint64_t memory_ms;              /* in memory no longer than this (0: as ttl_ms), while the layer below keeps it for ttl_ms */
    unsigned timeout_ms;             /* of the WAIT */
    bool skip_layer;                 /* memory only */
    void (*on_ready)(struct cache_read *read);   /* after WAIT only; state says what; never from within start */
    void *arg;
    /* the outcome */
    enum cache_read_state state;
    enum cache_source source;
    bool must_load;                  /* on STALE: this caller refreshes (serve entry, then load and fill) */
    enum fail fail;
    struct cache_entry *entry;       /* a reference, on HIT and STALE: the caller unrefs it */
    /* private */
    uint64_t mark;
    bool leads;
    unsigned retries;
    struct cache_waiter waiter;
    struct cache_layer_get get;
};
enum cache_read_state cache_read_start(struct cache_read *read);
/* The loader's value: put in memory and the layer below, followers woken. *entry (may be NULL) gets a reference, also when the
 * value could not be kept. meta as in store.h. */
MUST_USE enum fail cache_read_fill(struct cache_read *read, struct str meta, struct str value, struct cache_entry **entry);
void cache_read_fail(struct cache_read *read, enum fail fail);   /* followers get it too */
void cache_read_cancel(struct cache_read *read);                 /* in WAIT, LOAD or STALE with must_load; fine otherwise */
/* Writes and drops that reach memory and the layer below. */
void cache_write(struct cache *cache, const struct cache_put *put);
void cache_remove(struct cache *cache, struct str key);

#endif
