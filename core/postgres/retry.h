/* retry.h - runs an autocommit call once more where sql/retry.h says it may be. */
#ifndef POSTGRES_RETRY_H
#define POSTGRES_RETRY_H

#include "postgres/lane.h"
#include "postgres/query.h"

/* The flags to resubmit it with, or 0: its outcome stands. Each reason is good for once, and all but a stale plan spend budget; those that
 * were lost with one connection spend it once. */
int postgres_retry_flags(struct postgres_connection *connection, const struct sql_call *call, enum postgres_outcome outcome);

#endif
