/* prepare.h - the prepared statements of one connection: which texts the server knows there, and by what name.
 *
 * Keyed by the exact text alone: parameters are sent without types, so that the server infers them from where they stand, and
 * one plan serves whatever Lua passes. At most 200 on a connection; the least recently used one makes room.
 */
#ifndef POSTGRES_PREPARE_H
#define POSTGRES_PREPARE_H

#include "base/fail.h"
#include "base/list.h"
#include "base/str.h"

#include <stdint.h>

struct postgres_shape;

enum { POSTGRES_PREPARED_MAX = 200, POSTGRES_PREPARED_BUCKETS = 256, POSTGRES_NAME_BYTES = 40 };

struct postgres_prepared {
    struct list node;                    /* by last use */
    struct postgres_prepared *next;      /* in its bucket */
    uint64_t hash;
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
    unsigned count;
    uint64_t names;                      /* given out so far */
    struct list evicted;                 /* to be deallocated on the server when the connection is quiet */
};

void postgres_prepare_init(struct postgres_prepared_cache *cache);
void postgres_prepare_clear(struct postgres_prepared_cache *cache);   /* forgets all; nothing may be in flight */

/* The entry for a text, made when there is none (then is_sent is false: the caller sends Parse first). NULL: out of memory. */
struct postgres_prepared *postgres_prepare_find(struct postgres_prepared_cache *cache, struct str text, uint64_t hash);
void postgres_prepare_hold(struct postgres_prepared *prepared);
void postgres_prepare_release(struct postgres_prepared *prepared);
/* Takes it out of the cache: the next find makes a new one under another name. exists: the server still has it. */
void postgres_prepare_drop(struct postgres_prepared_cache *cache, struct postgres_prepared *prepared, bool exists);
/* The server has forgotten all of them (DISCARD ALL, DEALLOCATE ALL). */
void postgres_prepare_forget_all(struct postgres_prepared_cache *cache);
/* The name of one to deallocate, in `name`; false: none is left. */
bool postgres_prepare_next_evicted(struct postgres_prepared_cache *cache, char name[POSTGRES_NAME_BYTES]);

#endif
