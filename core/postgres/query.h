/* query.h - statements on a connection: what is sent, in units that end with a Sync, and whose answer each result is.
 *
 *   postgres_query_add(connection, call) ..; postgres_query_end_unit(connection)    one write, one round trip
 *
 * A unit is one implicit transaction unless it holds a BEGIN: after a failure the rest of it does not run. Answers are given
 * out when the unit's Sync is answered, because only then the server has committed.
 */
#ifndef POSTGRES_QUERY_H
#define POSTGRES_QUERY_H

#include "postgres/connection.h"

enum postgres_outcome {
    POSTGRES_DONE,      /* call->fail says how it went: FAIL_OK with rows, FAIL_SQL with the server's error */
    POSTGRES_BEHIND,    /* it did not run: another call of its unit failed, or was cancelled */
    POSTGRES_STALE,     /* it did not run: the prepared statement no longer fits; sent again it is prepared anew. error is set */
    POSTGRES_GONE,      /* the connection was lost before it was known how it went. error is set */
    POSTGRES_UNTYPED    /* not for users: it went well, and the types of its columns are to be looked up first (typing.h) */
};

/* Appends a call, with its Parse where the connection does not know the text. `hash` is siphash of the text. On failure nothing is to
 * be expected of the call, and its error is set: FAIL_SQL when a value cannot be sent, FAIL_NOMEM, FAIL_CLOSED. */
MUST_USE enum fail postgres_query_add(struct postgres_connection *connection, struct sql_call *call, uint64_t hash);
/* Appends a statement of ours, without parameters, such as BEGIN. When it fails, the first call behind it gets its error. */
MUST_USE enum fail postgres_query_add_text(struct postgres_connection *connection, const char *text);
/* Appends the question for the number of the open transaction; its answer goes to connection->xid. now: the server sends it at once,
 * before it looks at what is behind. */
MUST_USE enum fail postgres_query_add_xid(struct postgres_connection *connection, bool now);
/* Sync, and out it goes. */
void postgres_query_end_unit(struct postgres_connection *connection);

/* The call's answer is no longer wanted: on_call will not come for it. False: it is not on this connection. */
bool postgres_query_detach(struct postgres_connection *connection, const struct sql_call *call);
/* Nobody waits for one of the statements that are on their way, or a COPY is going on. What else is in flight is of our own making,
 * and short. */
bool postgres_query_has_orphan(const struct postgres_connection *connection);
/* Nobody waits for one of the statements that run now: those up to the next Sync, of which the server tells no sooner. */
bool postgres_query_runs_orphan(const struct postgres_connection *connection);
static inline bool postgres_query_is_quiet(const struct postgres_connection *connection)
{
    return connection->step_count == 0 && !connection->copy;
}
PGTransactionStatusType postgres_query_transaction(const struct postgres_connection *connection);

/* For connection.c. */
MUST_USE enum fail postgres_query_init(struct postgres_connection *connection);
void postgres_query_clear(struct postgres_connection *connection);
void postgres_query_input(struct postgres_connection *connection);   /* bytes have come in; the connection may be closed after */
void postgres_query_lost(struct postgres_connection *connection);    /* likewise */

#endif
