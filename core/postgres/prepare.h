/* prepare.h - the prepared statements of one connection: which texts the server knows there, and by what name.
 *
 * Keyed by the exact text and by the scope: a number for the search_path, role and session authorization that statements on the
 * connection have set, 0 for none. Types of parameters are no part of the key: they are sent without, so that the server infers them
 * from where they stand, and one plan serves whatever Lua passes (DECISIONS.md). At most `max` on a connection; the least recently
 * used one makes room.
 */
#ifndef POSTGRES_PREPARE_H
#define POSTGRES_PREPARE_H

#include "base/fail.h"
#include "base/list.h"
#include "base/str.h"
#include "metrics/metrics.h"

#include <stdatomic.h>
#include <stdint.h>

struct postgres_shape;

enum { POSTGRES_PREPARED_MAX = 200, POSTGRES_PREPARED_BUCKETS = 256, POSTGRES_NAME_BYTES = 40 };

/* What a statement does to those behind it. */
enum postgres_effect {
    POSTGRES_EFFECT_NONE,
    POSTGRES_EFFECT_SCOPE,               /* names mean something else: SET search_path, ROLE .., set_config */
    POSTGRES_EFFECT_UNDO,                /* what was set may be undone: ROLLBACK TO */
    POSTGRES_EFFECT_FORGET               /* DISCARD ALL, DEALLOCATE ALL */
};

/* Of all connections of a pool. */
struct postgres_plans {
    atomic_uint renewals;                /* how often a plan was found stale */
    atomic_uint alterations;             /* how often somebody of this process altered what rows are made of */
    atomic_bool is_told_unreadable;      /* that the catalogue cannot be read */
    struct metric_counter *hits, *misses, *evictions;
};

struct postgres_prepared {
    struct list node;                    /* by last use */
    struct postgres_prepared *next;      /* in its bucket */
    uint64_t hash, scope;
    unsigned renewal;                    /* of the pool when it was made */
    enum postgres_effect effect;
    bool moves_transaction;              /* BEGIN, COMMIT and their like: for sessions */
    unsigned uses;                       /* steps in flight that name it */
    bool is_sent, is_dropped;            /* dropped: out of the cache, freed when uses reaches 0 */
    char name[POSTGRES_NAME_BYTES];
    unsigned dirt;                       /* what it leaves on its connection: enum postgres_dirt */
    struct postgres_shape *shape;        /* of its rows, known after the first result */
    size_t len;
    char text[];                         /* NUL-terminated */
};

struct postgres_prepared_cache {
    struct postgres_prepared *buckets[POSTGRES_PREPARED_BUCKETS];
    struct list used;                    /* most recent first */
    unsigned count, max;
    struct postgres_plans *plans;        /* NULL: of no pool */
    uint64_t names;                      /* given out so far */
    struct list evicted;                 /* to be deallocated on the server when the connection is quiet */
};

void postgres_prepare_init(struct postgres_prepared_cache *cache, unsigned max);
void postgres_prepare_clear(struct postgres_prepared_cache *cache);   /* forgets all; nothing may be in flight */

/* The entry for a text in a scope, made when there is none (then is_sent is false: the caller sends Parse first). fresh: one made before
 * a plan of the pool was last found stale will not do. NULL: out of memory. */
struct postgres_prepared *postgres_prepare_find(struct postgres_prepared_cache *cache, struct str text, uint64_t hash, uint64_t scope,
                                                bool fresh);
void postgres_prepare_hold(struct postgres_prepared *prepared);
void postgres_prepare_release(struct postgres_prepared *prepared);
/* Takes it out of the cache: the next find makes a new one under another name. exists: the server still has it. */
void postgres_prepare_drop(struct postgres_prepared_cache *cache, struct postgres_prepared *prepared, bool exists);
/* A statement that makes the server forget all of them is on its way: none may be named behind it .. */
void postgres_prepare_drop_all(struct postgres_prepared_cache *cache);
/* .. and it has taken place: nothing is left to deallocate. */
void postgres_prepare_forget_evicted(struct postgres_prepared_cache *cache);
/* A plan was stale, so others may be, on other connections, too. */
void postgres_prepare_note_stale(struct postgres_prepared_cache *cache);
/* Nothing is in flight any more: what a long pipeline has brought over the limit goes. */
void postgres_prepare_trim(struct postgres_prepared_cache *cache);
/* One to deallocate, with a reference that is the caller's to release; NULL: none is left. */
struct postgres_prepared *postgres_prepare_next_evicted(struct postgres_prepared_cache *cache);
/* It was not deallocated after all. */
void postgres_prepare_evict_again(struct postgres_prepared_cache *cache, struct postgres_prepared *prepared);

#endif
