/* pooler.h - a pooler such as PgBouncer between us and the server: how it is noticed, and what is different then.
 *
 * In transaction mode a connection of ours gets another back end for each transaction. So, once connection->is_pooled:
 *   opening      no `options` but the operator's own (resolve.c); the first question checks what they would have set (here)
 *   statements   unnamed, parsed each time (query.c), so that nothing needs to be deallocated; prepare.c still knows their columns
 *   settings     SET, LISTEN, PREPARE and what else would outlive the transaction is refused (query.c), so nothing is reset
 *   cancelling   by the request of the protocol, aside (cancel.c): the pid is the pooler's invention, and no back end's
 */
#ifndef POSTGRES_POOLER_H
#define POSTGRES_POOLER_H

#include "postgres/settings.h"
#include "sql/error.h"
#include "sql/value.h"

#include <libpq-fe.h>

/* Before the first connection of the process, and before other threads read the environment: libpq takes the formats of dates and the
 * time zone from there as parameters of their own, which every pooler keeps for its client, and which win over `options`. */
void postgres_pooler_set_environment(void);

/* The first question on a new connection, which need not be in pipeline mode yet. False: it could not be sent. */
MUST_USE bool postgres_pooler_ask(PGconn *pg);
enum postgres_pooler_answer { POSTGRES_POOLER_NONE, POSTGRES_POOLER_THERE, POSTGRES_POOLER_UNFIT };
/* Judges its answer. UNFIT: error says what of the server's settings must change. */
enum postgres_pooler_answer postgres_pooler_judge(PGconn *pg, const PGresult *result, struct sql_error *error);

/* This is how one refuses `options`. */
bool postgres_pooler_refuses_options(const char *message);
/* PgBouncer before 1.21 says 08P01, a broken protocol, whatever is wrong: what a server would say of the same; NULL: nothing else. */
const char *postgres_pooler_sqlstate(const char *message);

/* A statement that would leave something behind on a back end that others use, too: error is set. dirt is what it leaves (dirt.h). */
bool postgres_pooler_forbids(struct str text, unsigned dirt, struct sql_error *error);

#endif
