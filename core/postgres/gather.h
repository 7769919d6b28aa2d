/* gather.h - writes that may share a commit: those of a loop turn go out as one unit, which is one transaction.
 *
 * Only for calls that ask for it (call->shares_commit): each must make sense by itself, and must not depend on another one of the unit
 * having taken place. If any fails, none has taken place, and each is run once more alone, which is the outcome that counts.
 */
#ifndef POSTGRES_GATHER_H
#define POSTGRES_GATHER_H

#include "postgres/connection.h"

enum { POSTGRES_GATHER_CONNECTIONS = 2, POSTGRES_GATHER_CALLS = 64, POSTGRES_GATHER_BYTES = 1 << 20 };

struct postgres_gather {
    struct list parked;                  /* oldest first; each has its deadline */
    unsigned running;                    /* units on their way */
    struct sql_call *scout;              /* the one that waits in the pool's queue for all that are parked; NULL: none */
};

void postgres_gather_init(struct postgres_gather *gather);
bool postgres_gather_wants(struct postgres_lane *lane, const struct sql_call *call);
/* The call is the gatherer's until it starts; postgres_gather_start starts. Refuses more than max_waiting, over all
 * lanes. */
void postgres_gather_add(struct postgres_lane *lane, struct sql_call *call);
/* A parked call is given up. */
void postgres_gather_leave(struct postgres_lane *lane, struct sql_call *call);
/* For lane.c: any call has ended. */
void postgres_gather_note_end(struct postgres_lane *lane, const struct sql_call *call);
/* Starts what may start now: at the end of a turn, and when a unit has ended. */
void postgres_gather_start(struct postgres_lane *lane);
/* The connection is quiet or lost: its unit has ended. */
void postgres_gather_end(struct postgres_connection *connection);
/* For lane.c: a call that waited in the pool's queue has this connection now; as many as may go with it. */
void postgres_gather_begin(struct postgres_connection *connection, struct sql_call *call);

#endif
