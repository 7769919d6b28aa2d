/* cancel.h - stops what runs on a connection, without hitting whoever uses it next.
 *
 * libpq 15 can cancel only by blocking, so while there is something to cancel the process has one connection more, beside the pool, and
 * asks over it: select pg_cancel_backend(pid). That cancels a back end, not a statement; hence a connection goes to its next user only
 * when its own results are all in and the answer to the cancel has come. Each is then told by user->on_quiet, once. Behind a pooler the
 * pid names no back end, and the protocol's own request is sent instead.
 */
#ifndef POSTGRES_CANCEL_H
#define POSTGRES_CANCEL_H

#include "postgres/connection.h"

enum { POSTGRES_CANCEL_MS = 2000, POSTGRES_CANCEL_GRACE_MS = 20, POSTGRES_CONTROL_LINGER_MS = 30 * 1000, POSTGRES_CONTROL_RETRY_MS = 200 };

enum postgres_cancel_cause {
    POSTGRES_CANCEL_CLIENT,      /* who asked wants it no longer */
    POSTGRES_CANCEL_DEADLINE,
    POSTGRES_CANCEL_ABANDONED,   /* its transaction was ended while it ran */
    POSTGRES_CANCEL_SIZE,        /* its result is over the limit */
    POSTGRES_CANCEL_CLOSING,     /* we are shutting down */
    POSTGRES_CANCEL_CAUSES
};
/* The connection is used on, or it was given up, or lost. */
enum postgres_cancel_outcome { POSTGRES_CANCEL_ENDED, POSTGRES_CANCEL_LOST, POSTGRES_CANCEL_OUTCOMES };

/* Of the pool. It lives on one loop, and is asked from all. */
struct postgres_canceller {
    struct loop *loop;
    struct postgres_settings *_Atomic *settings; /* the pool's newest */
    struct postgres_connection *control;
    struct list waiting;                   /* of struct postgres_cancel_ask */
    struct postgres_cancel_ask *current;   /* is being asked for; NULL: nothing is */
    struct sql_call call;
    struct sql_value pid;
    struct timer timer;                    /* to close an unused control connection, to open one again, to give up one that hangs */
    bool is_over;
};

void postgres_canceller_init(struct postgres_canceller *canceller, struct loop *loop,
                             struct postgres_settings *_Atomic *settings);
/* On its loop: what is asked for now, and from now on, is answered without a word to the server. */
void postgres_canceller_end(struct postgres_canceller *canceller);

/* Nothing happens on a quiet connection or when one is under way. A connection that is not quiet POSTGRES_CANCEL_MS later is
 * given up: it turns lost. Send nothing on it until on_quiet. */
void postgres_cancel(struct postgres_connection *connection, enum postgres_cancel_cause cause);
/* The same after POSTGRES_CANCEL_GRACE_MS, if nobody wants anything of it then and it is still busy: most statements have ended by
 * themselves, and those that share the pipeline are left in peace. */
void postgres_cancel_soon(struct postgres_connection *connection);
/* For query.c: the results are all in. For connection.c: it is being closed. */
void postgres_cancel_settle(struct postgres_connection *connection);
void postgres_cancel_forget(struct postgres_connection *connection);

#endif
