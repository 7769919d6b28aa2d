/* connection.h - one libpq connection on one loop: opening, bytes in and out, closing. Never blocks.
 *
 * It is in pipeline mode from the moment it is open until it is closed, but for the length of a COPY. What is sent over it is query.h's
 * business, who may use it is pool.h's. The struct is open to the files of this folder, each of which minds its own part of it.
 */
#ifndef POSTGRES_CONNECTION_H
#define POSTGRES_CONNECTION_H

#include "base/buf.h"
#include "loop/timer.h"
#include "loop/watch.h"
#include "postgres/prepare.h"
#include "postgres/resolve.h"
#include "postgres/types.h"
#include "sql/engine.h"

#include <libpq-fe.h>

struct postgres_lane;
struct postgres_connection;
struct postgres_step;
struct postgres_cancel_ask;
struct postgres_cancel_request;
struct postgres_copy;

enum postgres_connection_state { POSTGRES_RESOLVING, POSTGRES_CONNECTING, POSTGRES_OPEN, POSTGRES_LOST };

/* Where the connection stands with the pool. Guarded by the pool's mutex from when it has opened; until then it is the home loop's. */
enum postgres_place { POSTGRES_OPENING, POSTGRES_IDLE, POSTGRES_LEASED, POSTGRES_MOVING, POSTGRES_OUTSIDE };

/* What a leased connection goes through between two users, for the counts. */
enum postgres_care { POSTGRES_CARE_NONE, POSTGRES_CARE_RESET, POSTGRES_CARE_CANCEL, POSTGRES_CARES };

/* Who is using it at the moment. Each comes on the loop, and may close the connection or give it away. */
struct postgres_user {
    /* It is known how the call went, or that it is not waited for (too large): call->fail, error and rows are set, but for POSTGRES_BEHIND.
     * `outcome` is an enum postgres_outcome (query.h). */
    void (*on_call)(struct postgres_connection *connection, struct sql_call *call, int outcome);
    /* All that was sent has been answered. */
    void (*on_quiet)(struct postgres_connection *connection);
    /* The connection is gone; on_call has come for each call that was on it. The user closes it. */
    void (*on_lost)(struct postgres_connection *connection);
};

/* The number of the transaction that is open, as far as it was asked for (outcome.h). */
struct postgres_xid {
    enum { POSTGRES_XID_UNKNOWN, POSTGRES_XID_NONE, POSTGRES_XID_KNOWN } state;   /* NONE: it had written nothing by then */
    int64_t number, asked_s;             /* .. and when, by the server's clock */
};

struct postgres_connection {
    /* connection.c */
    enum postgres_connection_state state;
    bool is_resolving, is_buried;        /* buried: closed when on_resolved was on its way, which frees it */
    bool is_bare;                        /* opened without our `options`, which a pooler does not take */
    bool is_pooled;                      /* behind a pooler: pooler.h says what that means */
    bool is_partial;                     /* after the last read a result was still incomplete */
    struct loop *loop;                   /* home */
    PGconn *pg;
    struct watch *watch;
    struct loop_task broken;             /* libpq has closed the socket; turns it lost at the end of this turn */
    void *ssl;
    int pid;                             /* of the back end; behind a pooler a number of its own */
    struct sql_error error;              /* why it did not open, or was lost */
    uint64_t started_ns;                 /* to be opened */
    uint64_t quiet_since_ms;
    uint64_t expires_ms, ends_ms;        /* when it is to be closed, and must be (renewal.c); 0: never */
    bool is_renewed;                     /* another one was opened in its place */
    uint64_t heard_ms;                   /* when it was last seen to work */
    unsigned uses;                       /* leases */
    uint64_t leased_ns;                  /* since when a call has it; 0: none has, not even where it is looked after (a ping) */
    const char *holder;                  /* of the session that has it, for people; NULL: autocommit */
    struct timer deadline;               /* of opening, of a ping, and of a cleaning */
    struct postgres_target target;
    const struct postgres_name_wait *name;   /* of its host; NULL: that is a number or a folder */
    char address[POSTGRES_ADDRESS_BYTES];
    unsigned name_losses;                    /* when the address was last compared with the name's */
    void (*on_open)(struct postgres_connection *connection, bool is_open);
    void *on_open_arg;
    /* query.c: what was sent and not yet answered, oldest first */
    const struct postgres_user *user;
    void *user_data;
    struct postgres_step *steps;         /* a ring of step_cap */
    unsigned step_cap, step_first, step_at, step_count;
    unsigned calls_in_flight, unit_calls;
    bool unit_is_stale;                  /* the unit whose calls are given out failed because of a plan: none of it has taken place */
    bool unit_has_failed;                /* .. or because of any error */
    uint64_t answered_ns, unit_ended_ns; /* when the unit before, and the one whose calls are given out, was answered */
    bool is_retried;                     /* it was lost, and what was lost with it has been paid for (retry.c) */
    struct postgres_xid xid;
    uint64_t result_bytes;               /* read for the result that is coming in */
    uint64_t taken_bytes;                /* read in all, when that was last looked at; 0: not of late */
    struct buf bind_texts;
    /* prepare.c */
    struct postgres_prepared_cache prepared;
    uint64_t scope;                      /* of names, as far as statements have changed it: 0 until then, and after a reset */
    /* types.c, typing.c */
    struct postgres_types types;
    bool has_altered;                    /* what it altered counts for others when it commits */
    /* cancel.c */
    bool is_cancelling;                  /* the cancel itself is under way */
    bool is_hit;                         /* one was asked for since the connection was last quiet .. */
    unsigned char cancel_cause;          /* .. because of this (enum postgres_cancel_cause) */
    struct postgres_cancel_ask *cancel_ask;
    struct postgres_cancel_request *cancel_request;   /* instead, where is_pooled */
    struct timer cancel_deadline;
    /* pool.c */
    bool is_cleaning;                    /* it was sent what takes the dirt away (reset.c) */
    unsigned dirt;                       /* what was sent since the last cleaning may have left here: enum postgres_dirt */
    struct postgres_lane *lane;
    struct list all_node;                /* in lane->all */
    enum postgres_place place;
    enum postgres_care care;             /* the home loop's own; postgres_pool_note changes it */
    struct list node;                    /* in lane->idle, or in lane->parked */
    bool is_parked;                      /* parking.h */
    struct sql_call *bound;              /* while MOVING: who it is for */
    struct postgres_lane *destination;
    struct loop_task task;
    /* copy.c */
    struct postgres_copy *copy;          /* the COPY that runs; pipeline mode is off meanwhile */
    unsigned notices;                    /* that have come in */
    /* listen.c */
    void (*on_notification)(struct postgres_connection *connection, const PGnotify *notification);   /* NULL: dropped */
    /* batch.c */
    uint64_t pending_ns;                 /* what is on its way will take about this long */
    bool is_shared, is_unsynced;
    unsigned unsynced_calls;             /* of the unit that is being collected */
    /* gather.c */
    bool is_gathered;                    /* has a unit of writes that share a commit */
};

/* Starts to open one. on_open comes once, never from within, unless the connection is closed first. It holds the
 * settings. */
MUST_USE enum fail postgres_connection_open(struct loop *loop, struct postgres_settings *settings, const char *application_name,
                                            void (*on_open)(struct postgres_connection *connection, bool is_open), void *arg,
                                            struct postgres_connection **out);
/* Ends it in any state; the struct is gone for the caller. No callback comes any more. NULL is fine. */
void postgres_connection_close(struct postgres_connection *connection);

/* Sends what libpq holds back; afterwards the watch waits for what is right. On failure the connection turns LOST and the user
 * learns of it from the loop, later. */
void postgres_connection_flush(struct postgres_connection *connection);

/* Looks at an idle connection's socket: false when the server has ended it and the loop does not know yet. */
bool postgres_connection_is_alive(struct postgres_connection *connection);
/* Its host name no longer leads to the address it is connected to: when its user is done with it, it should be closed. Cheap. */
bool postgres_connection_has_moved(struct postgres_connection *connection);
/* It is broken: ends what was in flight as GONE, tells the user. The connection may be closed after. */
void postgres_connection_turn_lost(struct postgres_connection *connection);

/* Moving house: leave on the old loop's thread, then enter on the new one's. Only when quiet. */
void postgres_connection_leave(struct postgres_connection *connection);
MUST_USE enum fail postgres_connection_enter(struct postgres_connection *connection, struct loop *loop);

#endif
