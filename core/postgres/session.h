/* session.h - one connection in one transaction, for as long as its holder wants: sql_begin .. sql_session_end. */
#ifndef POSTGRES_SESSION_H
#define POSTGRES_SESSION_H

#include "postgres/connection.h"
#include "sql/copy.h"

struct postgres_session;

void postgres_session_begin(struct postgres_lane *lane, struct sql_engine *engine, struct sql_lease *lease);
void postgres_session_cancel(struct sql_lease *lease);
void postgres_session_run(struct sql_session *session, struct sql_call *call);
void postgres_session_copy(struct sql_session *session, struct sql_copy *copy);
void postgres_session_end(struct sql_session *session);

/* For lane.c: the session's turn has come; one of its running calls was given up. */
void postgres_session_lease(struct postgres_connection *connection, struct sql_call *waiter);
bool postgres_session_is_commit(const struct sql_call *call);
void postgres_session_lost_call(struct postgres_session *session, const struct sql_call *call);

#endif
