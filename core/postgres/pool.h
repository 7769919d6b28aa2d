/* pool.h - hands the process's connections to those who wait for them, on whichever loop they are.
 *
 * Limits hold for the process. Each loop has a lane: its idle connections, its waiting calls, its part of the upkeep. A connection
 * lives on one loop at a time; when the one who waits is on another, it moves there. Waiting calls are served in the order they came:
 * exactly so within a loop, and across loops to within POSTGRES_ORDER_SLACK_MS, inside of which a connection stays at home.
 */
#ifndef POSTGRES_POOL_H
#define POSTGRES_POOL_H

#include "base/breaker.h"
#include "postgres/cancel.h"
#include "postgres/connection.h"
#include "postgres/meter.h"
#include "postgres/prepare.h"
#include "postgres/sizing.h"

#include <pthread.h>
#include <stdatomic.h>

enum { POSTGRES_ORDER_SLACK_MS = 5, POSTGRES_UPKEEP_MS = 200, POSTGRES_CONFIG_HOLD_MS = 15 * 1000 };
enum { POSTGRES_FRESH_MS = 1 };   /* idle for longer: look at the socket before giving it out, the loop may not have done so lately */

struct postgres_pool {
    struct postgres_settings *_Atomic settings;   /* in force; owned, as are those before (settings->older) */
    struct postgres_lane *lanes;
    unsigned lane_count;
    struct postgres_meter meter;
    struct postgres_sizing sizing;           /* how many connections there may be now */
    struct postgres_plans plans;             /* of all its connections */
    struct postgres_canceller canceller;     /* on the first lane's loop */
    atomic_uint waiting;                     /* calls in all queues; changed under the mutex, read without */
    atomic_uint gathered;                    /* writes that are parked until a unit takes them (gather.h), in all lanes */
    atomic_uint cared_for[POSTGRES_CARES];   /* leased ones, by what they go through */
    atomic_bool is_closing;
    /* under the mutex */
    pthread_mutex_t mutex;
    unsigned total, opening;                 /* connections in any state, and those not open yet */
    unsigned parked;                         /* idle ones that are given to nobody (parking.h) */
    unsigned opening_max;                    /* 1 after a failure, doubles with each success */
    uint64_t open_ns;                        /* how long opening one takes, as of late; 0: not known */
    struct breaker breaker;
    uint64_t hold_until_ms;                  /* user, password or database are wrong: no attempt before */
    struct sql_error error;                  /* of the last attempt that failed */
};

static inline void postgres_pool_lock(struct postgres_pool *pool) { pthread_mutex_lock(&pool->mutex); }
static inline void postgres_pool_unlock(struct postgres_pool *pool) { pthread_mutex_unlock(&pool->mutex); }

MUST_USE enum fail postgres_pool_init(struct postgres_pool *pool, struct postgres_settings *settings);
void postgres_pool_clear(struct postgres_pool *pool);
/* From now on these sizes and times hold; upkeep fills, or closes what is too many as it becomes idle. Takes the settings over. */
void postgres_pool_apply(struct postgres_pool *pool, struct postgres_settings *settings);

/* A pooler stands between this pool and the server, as far as is known: what needs a back end of its own, such as LISTEN, must be
 * refused. */
static inline bool postgres_pool_is_pooled(const struct postgres_pool *pool) { return postgres_settings_is_pooled(pool->settings); }

/* The newest idle connection of this lane, leased; NULL when there is none. */
struct postgres_connection *postgres_pool_take(struct postgres_lane *lane);
/* Gives the call an idle connection of another lane, or queues it and opens one more where that is allowed. It comes back
 * through postgres_lane_start. FAIL_FULL, FAIL_REFUSED (no server; call->error says why). at_front: it has waited before. */
MUST_USE enum fail postgres_pool_wait(struct postgres_lane *lane, struct sql_call *call, bool at_front);
/* Takes a call that waits out of the queue. */
void postgres_pool_leave(struct postgres_lane *lane, struct sql_call *call);
/* The oldest waiting call of this lane, out of the queue; NULL: none. */
struct sql_call *postgres_pool_next(struct postgres_lane *lane);
/* The same if `wanted` says so. */
struct sql_call *postgres_pool_next_if(struct postgres_lane *lane, bool (*wanted)(struct postgres_lane *lane, const struct sql_call *call));

/* From here on the connection that was taken is the call's, and of those that share it; until it is released or dropped. */
void postgres_pool_lease(struct postgres_connection *connection, const struct sql_call *call);
/* What the leased connection goes through from here on, for the counts; release and drop end it. */
void postgres_pool_note(struct postgres_connection *connection, enum postgres_care care);
/* A quiet leased connection without a transaction goes to who waits, or becomes idle. */
void postgres_pool_release(struct postgres_connection *connection);
/* Why it must not be used again, whoever waits, or NONE. Mutex held. */
enum postgres_end_reason postgres_pool_why_over(struct postgres_connection *connection, uint64_t now_ms);
/* Tells the metrics and the log that it ends. */
void postgres_pool_note_drop(const struct postgres_connection *connection, enum postgres_end_reason reason);
/* It is closed, whatever it is doing (its calls have been taken care of). */
void postgres_pool_drop(struct postgres_connection *connection, enum postgres_end_reason reason);

/* Every POSTGRES_UPKEEP_MS: closes what is idle too long or too old, fills, ends the wait of those who wait in vain. */
void postgres_pool_upkeep(struct postgres_lane *lane);
bool postgres_pool_is_ready(struct postgres_pool *pool, char *why, size_t why_bytes);
void postgres_pool_count(struct postgres_pool *pool, struct postgres_counts *out);

#endif
