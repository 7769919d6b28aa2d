/* batch.h - turn batching: quick autocommit reads that come in one loop turn share a pipeline and one Sync.
 *
 * Up to POSTGRES_BATCH_CONNECTIONS of a lane take them, each as long as it has an answer outstanding. Only statements known to be
 * quick take part; unknown and slow ones go alone, and so their time becomes known.
 */
#ifndef POSTGRES_BATCH_H
#define POSTGRES_BATCH_H

#include "postgres/connection.h"

enum { POSTGRES_BATCH_CONNECTIONS = 4, POSTGRES_BATCH_CALLS = 64, POSTGRES_PACES = 1024 };
static const uint64_t postgres_quick_ns = 5 * 1000 * 1000;         /* a statement slower than this goes alone */
static const uint64_t postgres_spread_ns = 250 * 1000;             /* more than this on its way: another connection shares the work */
static const uint64_t postgres_backlog_ns = 20 * 1000 * 1000;      /* more than this: wait in the queue */

/* How long a statement takes on the server, as it seems from here. */
struct postgres_pace { uint64_t hash, ewma_ns; };

struct postgres_batch {
    struct postgres_connection *shared[POSTGRES_BATCH_CONNECTIONS];
    unsigned count;
    struct postgres_pace paces[POSTGRES_PACES];
};

bool postgres_batch_wants(struct postgres_lane *lane, const struct sql_call *call);
/* Appends the call to a shared connection; postgres_batch_send sends. False: none may take it now. */
bool postgres_batch_add(struct postgres_lane *lane, struct sql_call *call);
/* Makes the connection a shared one, with this call and its part of those that wait right behind it. */
void postgres_batch_begin(struct postgres_connection *connection, struct sql_call *call);
void postgres_batch_send(struct postgres_lane *lane);
/* The connection is quiet or lost: it is shared no more. */
void postgres_batch_end(struct postgres_connection *connection);
/* A call's answer is in (or it was given up: took_ns is what it took until then). */
void postgres_batch_learn(struct postgres_lane *lane, uint64_t hash, uint64_t took_ns);

#endif
