/* lane.h - the calls of one loop: from submit to on_done, with their deadlines, retries and cancels.
 *
 * Calls that come in one turn are started together at its end: by then every connection that died has been noticed, and quick reads
 * can share a pipeline (batch.h).
 */
#ifndef POSTGRES_LANE_H
#define POSTGRES_LANE_H

#include "postgres/batch.h"
#include "postgres/cancel.h"
#include "postgres/gather.h"
#include "postgres/pool.h"
#include "sql/retry.h"

/* call->state: where it is .. */
enum postgres_call_state {
    POSTGRES_CALL_TURN = 1,     /* in lane->turn, to be started at the end of this turn */
    POSTGRES_CALL_WAITING,      /* in lane->waiters */
    POSTGRES_CALL_BOUND,        /* a connection is on its way from another loop */
    POSTGRES_CALL_RUNNING,
    POSTGRES_CALL_SESSION,      /* in its session's queue */
    POSTGRES_CALL_GROUPED,      /* part of a sql_run_many */
    POSTGRES_CALL_PARKED,       /* among the writes that wait for a unit to share */
    POSTGRES_CALL_RESOLVING,    /* a COMMIT whose answer was lost (outcome.h) */
    POSTGRES_CALL_FINISHED,     /* in lane->finished: on_done is about to come */
    POSTGRES_CALL_STATES = 15,
    /* .. and what else is known of it. */
    POSTGRES_CALL_ALONE = 16,   /* shares no unit */
    POSTGRES_CALL_RETRIED = 32, /* run again once: its connection was lost, it was never sent, or it was rolled back (40001) */
    POSTGRES_CALL_RENEWED = 64, /* its prepared statement was stale once */
    POSTGRES_CALL_LEASE = 128,  /* of ours: a session that waits for its connection */
    POSTGRES_CALL_GROUP = 256,  /* of ours: a sql_run_many that waits */
    POSTGRES_CALL_COPY = 512,   /* the head of a struct sql_copy */
    POSTGRES_CALL_FRESH = 1024, /* no plan will do that was made before one was found stale (prepare.h) */
    POSTGRES_CALL_REASON = 4096 /* times the number of what it was run again for (sql_retry_label_at), 0 to 15 */
};

struct postgres_lane {
    struct postgres_pool *pool;
    struct loop *loop;
    /* under the pool's mutex */
    struct list idle;                    /* newest first */
    struct list parked;                  /* idle, and given to nobody: parking.h */
    struct list waiters;                 /* oldest first */
    unsigned homes;                      /* connections that live here, and will */
    bool is_kicked;                      /* kick is posted */
    struct loop_task kick;
    /* the loop's own */
    struct list all;                     /* connections that live here */
    struct list turn, again;             /* to be started; those to be started once more go first */
    struct list finished;
    struct loop_task turn_task, deliver_task;
    bool is_turn_due, is_deliver_due;
    struct timer upkeep;
    struct postgres_batch batch;
    struct postgres_gather gather;
    struct sql_retry_budget retries;
    unsigned sessions, groups;           /* objects that still refer to the lane */
    /* opening and closing: engine.c */
    struct loop_task task, closing_task;
    uint64_t closing_since_ms;
    void *closing;
};

static inline int postgres_call_state(const struct sql_call *call) { return call->state & POSTGRES_CALL_STATES; }
static inline void postgres_call_set(struct sql_call *call, enum postgres_call_state state)
{
    call->state = (call->state & ~POSTGRES_CALL_STATES) | (int)state;
}
static inline struct postgres_lane *postgres_call_lane(const struct sql_call *call) { return call->engine_data[0]; }
static inline uint64_t postgres_call_hash(const struct sql_call *call) { return (uint64_t)(uintptr_t)call->engine_data[2]; }

void postgres_lane_init(struct postgres_lane *lane, struct postgres_pool *pool, struct loop *loop);

/* Makes the call the lane's; its deadline runs from here. */
void postgres_lane_adopt(struct postgres_lane *lane, struct sql_call *call);
void postgres_lane_submit(struct postgres_lane *lane, struct sql_call *call, int flags);
/* There is something to do at the end of this turn. */
void postgres_lane_schedule(struct postgres_lane *lane);
/* The call has just been put on the connection. now_ns: or as of a moment ago, for a look at the clock is what costs here. */
void postgres_lane_run(struct postgres_connection *connection, struct sql_call *call, uint64_t now_ns);
/* The call has this leased connection now: runs it, or hands it to the session or group it stands for. */
void postgres_lane_start(struct postgres_connection *connection, struct sql_call *call);
/* Runs it on an idle connection, or queues it. */
void postgres_lane_start_or_wait(struct postgres_lane *lane, struct sql_call *call, bool at_front);
/* on_done will come, before the loop waits again. */
void postgres_lane_finish(struct postgres_lane *lane, struct sql_call *call, enum fail fail);
/* The same for a call that ended before its time; the reason as sql_cancel and deadlines give it. */
void postgres_lane_finish_early(struct postgres_lane *lane, struct sql_call *call, enum fail fail);
/* Gives up on a call, wherever it is. */
void postgres_lane_abandon(struct sql_call *call, enum fail fail);
/* (Re)starts the deadline with what is left of it. */
void postgres_lane_watch(struct sql_call *call);
/* The same for a call that has no connection yet: acquire_timeout counts, too, from when it began to wait for this one. */
void postgres_lane_watch_wait(struct sql_call *call);
/* Once more, ahead of the others. */
void postgres_lane_resubmit(struct postgres_lane *lane, struct sql_call *call, int flags);
/* A leased connection its user is done with: rolled back or cleaned first where needed, then released. */
void postgres_lane_give_back(struct postgres_connection *connection);

/* Who uses idle connections, and those that run autocommit calls. */
extern const struct postgres_user postgres_lane_user;

#endif
