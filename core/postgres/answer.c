/* answer.c - judges a unit of steps once its SYNC is answered, or the connection is lost.
 *
 * DESIGN  The first step that failed gives its error to its call (a PARSE or a TEXT to the call behind it; the SYNC, where deferred constraints
 *         are checked, to the last call); the calls behind are BEHIND. If it was a cancel meant for somebody else in the unit, the
 *         call is BEHIND, too. On a lost connection reads that have their rows are DONE, everything else without an error is GONE.
 * Path:   postgres/query > [postgres/answer] > postgres/rows
 */
#include "postgres/answer.h"

#include "postgres/error.h"
#include "postgres/rows.h"
#include "sql/statement.h"

#include <assert.h>

static const size_t result_bytes_default = 64u << 20;

bool postgres_answer_is_good(const PGresult *result)
{
    ExecStatusType status = result ? PQresultStatus(result) : PGRES_PIPELINE_ABORTED;
    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY;
}

bool postgres_answer_is_kept(const PGresult *result)
{
    const char *sqlstate = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    return PQresultStatus(result) == PGRES_PIPELINE_ABORTED || (sqlstate && strcmp(sqlstate, "57014") == 0);
}

static bool is_aborted(const PGresult *result) { return !result || PQresultStatus(result) == PGRES_PIPELINE_ABORTED; }

/* A session must not believe that it committed what the server had rolled back: COMMIT of a failed transaction "succeeds". */
static bool is_false_commit(const struct sql_call *call, PGresult *result)
{
    return strcmp(PQcmdStatus(result), "ROLLBACK") == 0 &&
           sql_verb_commits(sql_statement_verb(call->text, SQL_POSTGRES));
}

/* ALTER TABLE, ALTER TYPE and CREATE OR REPLACE VIEW change what rows are made of and keep the OID; others see it from COMMIT on. */
static void note_alteration(struct postgres_connection *connection, const char *tag)
{
    bool alters = strncmp(tag, "ALTER ", 6) == 0 || strcmp(tag, "CREATE VIEW") == 0;
    bool commits = strcmp(tag, "COMMIT") == 0 && connection->has_altered;
    if ((alters || commits) && connection->prepared.plans)
        atomic_fetch_add_explicit(&connection->prepared.plans->alterations, 1, memory_order_relaxed);
    connection->has_altered = alters || (connection->has_altered && !commits);
}

void postgres_answer_note(struct postgres_connection *connection, const struct postgres_step *step)
{
    const char *tag = PQcmdStatus(step->result);
    if (tag[0] == 'A' || tag[0] == 'C')
        note_alteration(connection, tag);
    else if (strcmp(tag, "DISCARD ALL") == 0 || strcmp(tag, "DEALLOCATE ALL") == 0)
        postgres_prepare_forget_evicted(&connection->prepared);
}

struct postgres_xid postgres_answer_xid(const PGresult *result)
{
    struct postgres_xid xid = { .state = POSTGRES_XID_NONE };
    if (PQntuples(result) != 1 || PQnfields(result) != 2 || PQgetisnull(result, 0, 0))
        return xid;
    bool is_good = str_int64(str_of(PQgetvalue(result, 0, 0)), &xid.number) &&
                   str_int64(str_of(PQgetvalue(result, 0, 1)), &xid.asked_s);
    xid.state = is_good ? POSTGRES_XID_KNOWN : POSTGRES_XID_UNKNOWN;
    return xid;
}

size_t postgres_answer_bytes_max(const struct sql_call *call)
{
    return call->bytes_max ? call->bytes_max : result_bytes_default;
}

void postgres_answer_refuse_size(struct sql_call *call)
{
    call->fail = FAIL_SQL;
    sql_error_set(&call->error, "54000", "the result is larger than %zu bytes; ask for fewer rows or columns",
                  postgres_answer_bytes_max(call));
}

static enum postgres_outcome give_plain_rows(struct postgres_step *step)
{
    struct sql_call *call = step->call;
    struct postgres_shape *shape = step->prepared->shape;
    call->rows = shape ? postgres_rows_open(step->result, shape) : NULL;
    if (shape)
        step->result = NULL;
    call->fail = call->rows ? FAIL_OK : FAIL_NOMEM;
    return POSTGRES_DONE;
}

static void make_shape(struct postgres_connection *connection, const struct postgres_step *step)
{
    postgres_shape_release(step->prepared->shape);
    step->prepared->shape = postgres_shape_of(step->result, &connection->types);
}

/* OPEN where there is no memory for one: then no more is known than that. */
static enum postgres_shape_state state_of(const struct postgres_connection *connection,
                                          const struct postgres_step *step)
{
    const struct postgres_shape *shape = step->prepared->shape;
    return shape ? postgres_shape_state(shape, connection->unit_ended_ns, postgres_alterations(connection))
                 : POSTGRES_SHAPE_OPEN;
}

/* What was learned of rows some time ago is forgotten. OPEN: so there is something to ask for. */
static enum postgres_shape_state forget_rows(struct postgres_connection *connection, const struct postgres_step *step)
{
    postgres_types_forget_rows(&connection->types);
    make_shape(connection, step);
    return state_of(connection, step);
}

/* Others may have learned what was missing, or too old. */
static enum postgres_shape_state renew_shape(struct postgres_connection *connection, const struct postgres_step *step)
{
    make_shape(connection, step);
    enum postgres_shape_state state = state_of(connection, step);
    if (state != POSTGRES_SHAPE_OLD)
        return state;
    return connection->types.is_fresh ? POSTGRES_SHAPE_FORMED : forget_rows(connection, step);
}

/* Rows with columns that have parts. Where a value does not fit what was learned some time ago, that is asked for once more. */
static enum postgres_outcome give_formed_rows(struct postgres_connection *connection, struct postgres_step *step)
{
    struct sql_call *call = step->call;
    bool is_fresh = connection->types.is_fresh;
    enum fail fail = postgres_rows_form(step->result, step->prepared->shape, postgres_answer_bytes_max(call),
                                        /* is_sure= */ is_fresh, &call->rows);
    if (fail == FAIL_INVALID && !is_fresh && forget_rows(connection, step) == POSTGRES_SHAPE_OPEN)
        return POSTGRES_UNTYPED;
    call->fail = fail;
    if (!fail)
        step->result = NULL;
    if (fail == FAIL_FULL)
        postgres_answer_refuse_size(call);
    if (fail != FAIL_INVALID)
        return POSTGRES_DONE;
    call->fail = FAIL_SQL;
    sql_error_set(&call->error, "XX000",
                  "a value is not what pg_type and pg_attribute say of its type; was it altered meanwhile?");
    call->error.sent = true;
    return call->read_only ? POSTGRES_STALE : POSTGRES_DONE;
}

/* Rows whose shape says that they need more than their result. */
static enum postgres_outcome give_special_rows(struct postgres_connection *connection, struct postgres_step *step)
{
    enum postgres_shape_state state = state_of(connection, step);
    if (state == POSTGRES_SHAPE_OPEN || state == POSTGRES_SHAPE_OLD)
        state = renew_shape(connection, step);
    if (state == POSTGRES_SHAPE_OPEN)
        return POSTGRES_UNTYPED;
    if (state == POSTGRES_SHAPE_FORMED)
        return give_formed_rows(connection, step);
    return give_plain_rows(step);
}

/* Makes the rows of a good result; the result is theirs, unless something is missing. */
static enum postgres_outcome give_rows(struct postgres_connection *connection, struct postgres_step *step)
{
    struct sql_call *call = step->call;
    struct postgres_prepared *prepared = step->prepared;
    if (PQresultMemorySize(step->result) > postgres_answer_bytes_max(call)) {
        postgres_answer_refuse_size(call);
        return POSTGRES_DONE;
    }
    if (!prepared->shape || !postgres_shape_fits(prepared->shape, step->result))
        make_shape(connection, step);
    if (prepared->shape && !postgres_shape_is_plain(prepared->shape))
        return give_special_rows(connection, step);
    return give_plain_rows(step);
}

static enum postgres_outcome judge_good(struct postgres_connection *connection, struct postgres_step *step)
{
    if (is_false_commit(step->call, step->result)) {
        step->call->fail = FAIL_SQL;
        sql_error_set(&step->call->error, "25P02",
                      "nothing was committed: a statement before it had failed, so the transaction was rolled back");
        return POSTGRES_DONE;
    }
    return give_rows(connection, step);
}

/* The plan's row type has changed, somebody deallocated it, or somebody else has its name: the text is fine, the prepared statement is
 * not. A plugin's own PREPARE and EXECUTE fail with the same states, and about other names. The routine is no subject to translation. */
static bool is_stale(const struct postgres_step *step, const PGresult *result)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *routine = PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (!sqlstate || !step->prepared || step->kind == POSTGRES_STEP_CLOSE)
        return false;
    if (strcmp(sqlstate, "26000") == 0)
        return text && strstr(text, step->prepared->name);
    if (strcmp(sqlstate, "42P05") == 0)
        return step->kind == POSTGRES_STEP_PARSE;
    return strcmp(sqlstate, "0A000") == 0 && routine && strcmp(routine, "RevalidateCachedQuery") == 0;
}

static enum postgres_outcome judge_error(struct postgres_connection *connection, const struct postgres_unit *unit,
                                         unsigned at)
{
    struct postgres_step *step = postgres_step_at(connection, at);
    const PGresult *error = unit->error;
    struct sql_call *call = step->call;
    call->fail = FAIL_SQL;
    postgres_error_fill(&call->error, error);
    if (unit->is_end) {
        connection->error = call->error;
        /* In the server's own words to a step before: it did not come as far as to this one. libpq's say nothing of the kind: what the
         * server had answered may never have left it. */
        call->error.again = unit->error_at < at && postgres_error_is_told(error);
        return POSTGRES_GONE;
    }
    if (unit->is_stale) {
        call->error.again = true;
        postgres_prepare_drop(&connection->prepared, step->prepared,
                              /* exists= */ step->prepared->is_sent && !sql_error_is(&call->error, "26000"));
        return POSTGRES_STALE;
    }
    if (connection->is_hit && sql_error_is(&call->error, "57014"))
        return POSTGRES_BEHIND; /* who was meant has been detached */
    return POSTGRES_DONE;
}

struct postgres_unit postgres_answer_unit(struct postgres_connection *connection, unsigned steps, bool is_answered)
{
    struct postgres_unit unit = { .steps = steps, .is_answered = is_answered };
    for (unsigned i = 0; i < steps; i++) {
        const PGresult *result = postgres_step_at(connection, i)->result;
        unit.calls += postgres_step_at(connection, i)->call != NULL;
        unit.statements += postgres_step_at(connection, i)->kind == POSTGRES_STEP_CALL;
        if (!unit.error && result && !postgres_answer_is_good(result) && !is_aborted(result) &&
            PQresultStatus(result) != PGRES_PIPELINE_SYNC) {
            unit.error = result;
            unit.error_at = i;
            unit.is_end = postgres_error_is_end(result);
            unit.is_stale = is_stale(postgres_step_at(connection, i), result);
        }
    }
    return unit;
}

/* The server's last words may have come where the SYNC was awaited; they say more than that the socket has ended. */
static void note_last_words(struct postgres_connection *connection, const struct postgres_unit *unit)
{
    if (unit->is_end && postgres_error_is_told(unit->error))
        postgres_error_fill(&connection->error, unit->error);
}

static enum postgres_outcome judge_lost(struct postgres_connection *connection, const struct postgres_unit *unit,
                                        struct postgres_step *step)
{
    struct sql_call *call = step->call;
    note_last_words(connection, unit);
    if (postgres_answer_is_good(step->result) && call->read_only)
        return judge_good(connection, step); /* a read needs no commit */
    call->fail = FAIL_SQL;
    call->error = connection->error;
    call->error.sent = true;
    return POSTGRES_GONE;
}

/* Does the error of the unit belong to the call at `at`? A PARSE or a TEXT that failed gives it to the first call behind it. */
static bool owns_error(struct postgres_connection *connection, const struct postgres_unit *unit, unsigned at)
{
    if (!unit->error || unit->error_at > at)
        return false;
    for (unsigned i = unit->error_at; i < at; i++)
        if (postgres_step_at(connection, i)->kind == POSTGRES_STEP_CALL)
            return false;
    return true;
}

static bool is_last_call(struct postgres_connection *connection, const struct postgres_unit *unit, unsigned at)
{
    for (unsigned i = at + 1; i < unit->steps; i++)
        if (postgres_step_at(connection, i)->kind == POSTGRES_STEP_CALL)
            return false;
    return true;
}

/* One of several writes of a unit that failed. Where its Sync was not answered, the commit may have been. */
static bool shares_fate(const struct sql_call *call, const struct postgres_unit *unit)
{
    return call->shares_commit && unit->statements > 1 && unit->error && unit->is_answered;
}

enum postgres_outcome postgres_answer_judge(struct postgres_connection *connection, const struct postgres_unit *unit,
                                            unsigned at)
{
    struct postgres_step *step = postgres_step_at(connection, at);
    if (shares_fate(step->call, unit)) /* rolled back as a whole, and each is to be run alone */
        return POSTGRES_BEHIND;
    if (owns_error(connection, unit, at))
        return judge_error(connection, unit, at);
    if (!unit->is_answered)
        return judge_lost(connection, unit, step);
    if (is_aborted(step->result))
        return POSTGRES_BEHIND;
    bool failed_at_sync = unit->error && unit->error_at == unit->steps - 1;
    if (failed_at_sync && is_last_call(connection, unit, at)) /* a deferred constraint: nothing was committed */
        return judge_error(connection, unit, at);
    return judge_good(connection, step);
}
