/* retry.c - which autocommit calls are run once more.
 *
 * DESIGN  STALE: it did not run, and nobody sees that it was sent twice. GONE: only what may take effect twice, reads and what its caller
 *         declared idempotent. An error that says "rolled back" (40001, 40P01): all of the call has been undone, unless it is a CALL
 *         or a DO, which may have committed a part of its work. What was never sent needs no leave: lane.c,
 *         group.c, gather.c and batch.c do that themselves.
 * Path:   postgres/lane, group > [postgres/retry] > sql/retry
 */
#include "postgres/retry.h"

#include "sql/statement.h"

/* Its work is one transaction, from beginning to end. */
static bool is_one_transaction(const struct sql_call *call)
{
    switch (sql_statement_verb(call->text, SQL_POSTGRES)) {
    case SQL_VERB_SELECT:
    case SQL_VERB_VALUES:
    case SQL_VERB_TABLE:
    case SQL_VERB_WITH:
    case SQL_VERB_INSERT:
    case SQL_VERB_UPDATE:
    case SQL_VERB_DELETE:
    case SQL_VERB_MERGE: return true;
    default: return false;
    }
}

static bool may_be_repeated(const struct sql_call *call, enum postgres_outcome outcome)
{
    bool is_repeatable = call->read_only || call->idempotent;
    if (outcome == POSTGRES_GONE)
        return is_repeatable || call->error.again;
    return call->fail == FAIL_SQL && sql_retry_fate(&call->error) == SQL_FATE_UNDONE &&
           (is_repeatable || is_one_transaction(call));
}

static bool may_spend(struct postgres_connection *connection, enum postgres_outcome outcome)
{
    struct postgres_lane *lane = connection->lane;
    if (outcome == POSTGRES_GONE && connection->is_retried)
        return true;
    bool is_paid = sql_retry_spend(&lane->retries, loop_now_ms(lane->loop));
    connection->is_retried = is_paid && outcome == POSTGRES_GONE;
    return is_paid;
}

int postgres_retry_flags(struct postgres_connection *connection, const struct sql_call *call,
                         enum postgres_outcome outcome)
{
    if (outcome == POSTGRES_STALE)
        return call->state & POSTGRES_CALL_RENEWED ? 0 : POSTGRES_CALL_RENEWED | POSTGRES_CALL_FRESH;
    if (outcome == POSTGRES_BEHIND || !call->fail || !may_be_repeated(call, outcome))
        return 0;
    if (call->state & POSTGRES_CALL_RETRIED)
        return 0;
    if (may_spend(connection, outcome))
        return POSTGRES_CALL_RETRIED;
    postgres_meter_retry(&connection->lane->pool->meter, call->error.sqlstate, "refused");
    return 0;
}
