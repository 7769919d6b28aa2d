/* outcome.c - asks the server, over another connection, what became of a transaction.
 *
 * DESIGN  session.c has the transaction's number: it is asked for in the round trip of each statement that may write, until there is one.
 *           ASKING -> known [committed, aborted]    ASKING -> WAITING [in progress, server away]    WAITING -> ASKING [ask_again_ms]
 *           any -> unknown [deadline, any other answer]
 *         A number alone can lie. Of a transaction whose records were never flushed a crash leaves no trace, and the number is given to
 *         another one, of which pg_xact_status would then tell. But recovery ends with a checkpoint, which names the next number:
 *         if the last checkpoint is younger than our question for the number (asked_s, the server's clock), and yet does not know
 *         the number, then the transaction is lost. If it is older, there was no recovery since. Within one and the same second
 *         nobody can tell. What remains: a second checkpoint after the recovery, before our question, while the number was given
 *         away again; and another server under the same name (a standby that was promoted lost what it had not received).
 * HOLDS   The lane counts it among its groups until it is freed. commit is NULL once that is finished.
 * Path:   postgres/session > [postgres/outcome] > postgres/lane
 */
#include "postgres/outcome.h"

#include "base/log.h"
#include "base/mem.h"
#include "postgres/rows.h"

#include <string.h>

enum { ASK_MS = 2000, ASK_AGAIN_MS = 50 };

static const char status_text[] =
    "select case"
    " when c.next_xid > $1::bigint or c.at < $2::bigint then pg_catalog.pg_xact_status($1::bigint::text::xid8)"
    " when c.at > $2::bigint then 'aborted'"
    " else 'unknown' end from (select"
    " (split_part(next_xid, ':', 1)::bigint << 32) + split_part(next_xid, ':', 2)::bigint as next_xid,"
    " floor(extract(epoch from checkpoint_time))::bigint as at"
    " from pg_catalog.pg_control_checkpoint()) as c";

struct postgres_lost_commit {
    struct postgres_lane *lane;
    struct sql_call *commit;
    struct sql_call ask;
    struct sql_value params[2];
    struct timer wait;
    bool is_asking;
};

static void ask(void *arg);

/* --- what is known -------------------------------------------------------------------------------------------- */

/* Rows of a COMMIT: none, and no columns. */
static struct sql_rows *no_rows(void)
{
    PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_COMMAND_OK);
    struct postgres_shape *shape = result ? postgres_shape_of(result, /* types= */ NULL) : NULL;
    struct sql_rows *rows = shape ? postgres_rows_open(result, shape) : NULL;
    if (!shape)
        PQclear(result);
    postgres_shape_release(shape);
    return rows;
}

void postgres_outcome_say_unknown(struct sql_error *error)
{
    sql_error_set(error, "08007", "the connection was lost during COMMIT: it is not known whether it took place");
    error->sent = true;
}

static enum fail fill(struct sql_call *commit, const char *status)
{
    commit->error = (struct sql_error){ .sent = true };
    if (strcmp(status, "committed") == 0) {
        commit->error.sent = false;
        commit->rows = no_rows();
        return commit->rows ? FAIL_OK : FAIL_NOMEM;
    }
    if (strcmp(status, "aborted") == 0) {
        sql_error_set(&commit->error, "40000",
                      "the connection was lost during COMMIT, and the transaction was rolled back");
        commit->error.again = true;
        return FAIL_SQL;
    }
    postgres_outcome_say_unknown(&commit->error);
    return FAIL_SQL;
}

static void finish(struct postgres_lost_commit *lost, const char *status)
{
    struct sql_call *commit = lost->commit;
    lost->commit = NULL;
    enum fail fail = fill(commit, status);
    log_line(LOG_WARN, "connection lost during commit", LOG_TEXT("pool", lost->lane->pool->settings->name),
             LOG_TEXT("transaction", status));
    postgres_meter_retry(&lost->lane->pool->meter, "08007", status);
    postgres_lane_finish(lost->lane, commit, fail);
}

static void free_outcome(struct postgres_lost_commit *lost)
{
    timer_stop(&lost->wait);
    lost->lane->groups--;
    mem_free(lost);
}

/* --- asking --------------------------------------------------------------------------------------------------- */

/* The server is away, or slow; it may come back. */
static bool is_worth_another_try(const struct sql_call *call)
{
    switch (call->fail) {
    case FAIL_SQL:
        return sql_error_is(&call->error, "08") || sql_error_is(&call->error, "57P") ||
               sql_error_is(&call->error, "53");
    case FAIL_TIMEOUT:
    case FAIL_FULL:
    case FAIL_REFUSED: return true;
    default: return false;
    }
}

static const char *status_of(const struct sql_call *call)
{
    static const char *const words[] = { "committed", "aborted", "in progress" };
    if (call->fail || call->rows->row_count != 1)
        return is_worth_another_try(call) ? "in progress" : "unknown";
    struct sql_cell cell = sql_rows_cell(call->rows, 0, 0);
    for (size_t i = 0; cell.kind == SQL_KIND_TEXT && i < sizeof words / sizeof *words; i++)
        if (str_is(cell.text, str_of(words[i])))
            return words[i];
    return "unknown";
}

static void on_asked(struct sql_call *call)
{
    struct postgres_lost_commit *lost = call->arg;
    const char *status = status_of(call);
    sql_rows_free(call->rows);
    lost->is_asking = false;
    if (lost->commit && strcmp(status, "in progress") == 0) {
        timer_start(lost->lane->loop, &lost->wait, ASK_AGAIN_MS, ask, lost);
        return;
    }
    if (lost->commit)
        finish(lost, status);
    free_outcome(lost);
}

static void ask(void *arg)
{
    struct postgres_lost_commit *lost = arg;
    lost->is_asking = true;
    lost->ask = (struct sql_call){ .text = str_of(status_text),
                                   .params = lost->params,
                                   .param_count = 2,
                                   .timeout_ms = ASK_MS,
                                   .read_only = true,
                                   .alone = true,
                                   .on_done = on_asked,
                                   .arg = lost };
    postgres_lane_adopt(lost->lane, &lost->ask);
    postgres_lane_submit(lost->lane, &lost->ask, POSTGRES_CALL_ALONE);
}

void postgres_outcome_resolve(struct postgres_lane *lane, struct sql_call *commit, const struct postgres_xid *xid)
{
    struct postgres_lost_commit *lost = mem_zero(MEM_POSTGRES, sizeof *lost);
    if (!lost) {
        postgres_lane_finish(lane, commit, fill(commit, "unknown"));
        return;
    }
    lost->lane = lane;
    lost->commit = commit;
    lost->params[0] = (struct sql_value){ .type = SQL_INT, .integer = xid->number };
    lost->params[1] = (struct sql_value){ .type = SQL_INT, .integer = xid->asked_s };
    lane->groups++;
    commit->engine_data[3] = lost;
    postgres_call_set(commit, POSTGRES_CALL_RESOLVING); /* its deadline goes on */
    ask(lost);
}

void postgres_outcome_abandon(struct postgres_lost_commit *lost)
{
    finish(lost, "unknown");
    if (lost->is_asking)
        postgres_lane_abandon(&lost->ask, FAIL_CANCELLED); /* on_asked frees it */
    else
        free_outcome(lost);
}
