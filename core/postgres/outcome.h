/* outcome.h - finds out whether a COMMIT took place whose answer was lost. */
#ifndef POSTGRES_OUTCOME_H
#define POSTGRES_OUTCOME_H

#include "postgres/lane.h"

struct postgres_lost_commit;

/* Takes over a COMMIT of the transaction `xid` whose connection is gone. It ends within its deadline, as far as can be known: FAIL_OK
 * when it was committed, 40000 (error.again) when it was rolled back, else 08007. */
void postgres_outcome_resolve(struct postgres_lane *lane, struct sql_call *commit, const struct postgres_xid *xid);
/* For lane.c: the COMMIT is not waited for any longer. */
void postgres_outcome_abandon(struct postgres_lost_commit *lost);
/* 08007, sent: nobody knows. */
void postgres_outcome_say_unknown(struct sql_error *error);

#endif
