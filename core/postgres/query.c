/* query.c - sends calls in pipelined units and matches the results that come back.
 *
 * DESIGN  Every unit is [Parse] Bind Execute .. Sync. A step is what gets a result: a PARSE, a CALL, a TEXT or CLOSE of ours, or the SYNC.
 *         Behind a pooler nothing has a name: Parse, Bind and Execute of a call are one step.
 *         libpq gives for each step a result and then NULL, for a SYNC one result and no NULL; after an error everything up to the
 *         SYNC comes back as PIPELINE_ABORTED. An error may also come while the SYNC itself is awaited (a deferred constraint).
 *         The ring of steps:   step_first .. step_at .. first + count
 *                              [ answered, ][ not yet answered ]      a unit is judged when its SYNC is answered
 * HOLDS   A step's prepared statement is held as long as the step is in the ring. on_call never comes from within add or end_unit.
 * Path:   postgres/lane, session, cancel > [postgres/query] > postgres/connection
 */
#include "postgres/query.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/siphash.h"
#include "postgres/answer.h"
#include "postgres/bind.h"
#include "postgres/cancel.h"
#include "postgres/copy.h"
#include "postgres/lane.h"
#include "postgres/pooler.h"
#include "sql/statement.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { STEPS_AT_FIRST = 16 };
static const size_t bind_texts_kept = 64u << 10;

/* --- the ring ------------------------------------------------------------------------------------------------- */

enum fail postgres_query_init(struct postgres_connection *connection)
{
    buf_init(&connection->bind_texts, MEM_POSTGRES, 0);
    connection->steps = mem_alloc(MEM_POSTGRES, STEPS_AT_FIRST * sizeof *connection->steps);
    connection->step_cap = STEPS_AT_FIRST;
    return connection->steps ? FAIL_OK : FAIL_NOMEM;
}

static void clear_step(struct postgres_step *step)
{
    PQclear(step->result);
    if (step->prepared)
        postgres_prepare_release(step->prepared);
    *step = (struct postgres_step){ .kind = POSTGRES_STEP_SYNC };
}

void postgres_query_clear(struct postgres_connection *connection)
{
    for (unsigned i = 0; connection->steps && i < connection->step_count; i++)
        clear_step(postgres_step_at(connection, i));
    mem_free(connection->steps);
    buf_clear(&connection->bind_texts);
    connection->steps = NULL;
    connection->step_count = 0;
}

/* Room for two more: a PARSE and its CALL. */
static bool has_room(struct postgres_connection *connection)
{
    unsigned cap = connection->step_cap;
    if (connection->step_count + 3 <= cap) /* and one for the SYNC */
        return true;
    struct postgres_step *steps = mem_alloc(MEM_POSTGRES, 2 * cap * sizeof *steps);
    if (!steps)
        return false;
    for (unsigned i = 0; i < connection->step_count; i++)
        steps[i] = *postgres_step_at(connection, i);
    mem_free(connection->steps);
    connection->steps = steps;
    connection->step_cap = 2 * cap;
    connection->step_first = 0;
    return true;
}

static void add_step(struct postgres_connection *connection, struct postgres_step step)
{
    assert(connection->step_count < connection->step_cap);
    if (step.prepared)
        postgres_prepare_hold(step.prepared);
    connection->step_count++;
    *postgres_step_at(connection, connection->step_count - 1) = step;
}

/* --- sending -------------------------------------------------------------------------------------------------- */

static enum fail cannot_send(struct postgres_connection *connection, struct sql_error *error)
{
    const char *message = PQerrorMessage(connection->pg);
    sql_error_set(error, "08006", "cannot send: %.*s", (int)strcspn(message, "\n"), message);
    return FAIL_CLOSED;
}

static bool send_parse(struct postgres_connection *connection, struct postgres_prepared *prepared)
{
    if (prepared->is_sent || connection->is_pooled)
        return true;
    if (!PQsendPrepare(connection->pg, prepared->name, prepared->text, 0, NULL))
        return false;
    prepared->is_sent = true;
    add_step(connection, (struct postgres_step){ .kind = POSTGRES_STEP_PARSE, .prepared = prepared });
    return true;
}

/* Behind a pooler a name would be known to the back end of one transaction alone: there Parse, Bind and Execute go at once. */
static bool send_bound(struct postgres_connection *connection, const struct postgres_prepared *prepared,
                       const struct postgres_bind *bind, int count)
{
    if (!connection->is_pooled)
        return PQsendQueryPrepared(connection->pg, prepared->name, count, bind->values, bind->lengths, bind->formats,
                                   /* resultFormat= */ 0);
    return PQsendQueryParams(connection->pg, prepared->text, count, NULL, bind->values, bind->lengths, bind->formats,
                             /* resultFormat= */ 0);
}

static enum fail send_call(struct postgres_connection *connection, struct sql_call *call,
                           struct postgres_prepared *prepared, const struct postgres_bind *bind)
{
    if (!send_parse(connection, prepared) || !send_bound(connection, prepared, bind, (int)call->param_count))
        return cannot_send(connection, &call->error);
    connection->dirt |= prepared->dirt;
    add_step(connection, (struct postgres_step){ .kind = POSTGRES_STEP_CALL, .call = call, .prepared = prepared });
    connection->calls_in_flight++;
    return FAIL_OK;
}

/* A scope is told by the statements that led to it. */
static uint64_t next_scope(uint64_t scope, const struct sql_call *call)
{
    uint64_t parts[2] = { scope, postgres_call_hash(call) };
    for (unsigned i = 0; i < call->param_count; i++)
        if (call->params[i].type == SQL_TEXT)
            parts[1] ^= siphash(call->params[i].text.data, call->params[i].text.len) + i;
    scope = siphash((const char *)parts, sizeof parts);
    return scope ? scope : 1;
}

/* For what is sent behind it. Should the statement fail, its unit has, and the scope is 0 again when the connection is given back. */
static void take_effect(struct postgres_connection *connection, const struct sql_call *call,
                        const struct postgres_prepared *prepared)
{
    switch (prepared->effect) {
    case POSTGRES_EFFECT_NONE: return;
    case POSTGRES_EFFECT_SCOPE: connection->scope = next_scope(connection->scope, call); return;
    case POSTGRES_EFFECT_UNDO: connection->scope = connection->scope ? random_u64() | 1 : 0; return;
    case POSTGRES_EFFECT_FORGET: postgres_prepare_drop_all(&connection->prepared); return;
    }
}

static bool is_sendable(struct sql_call *call)
{
    if (call->text.len == 0 || memchr(call->text.data, '\0', call->text.len))
        sql_error_set(&call->error, "42601", "the statement is empty or contains a zero byte");
    else if (call->param_count > 65535)
        sql_error_set(&call->error, "54000", "a statement takes at most 65535 parameters");
    else if (sql_statement_verb(call->text, SQL_POSTGRES) == SQL_VERB_COPY) /* its data would be waited for, for ever */
        sql_error_set(&call->error, "0A000",
                      "COPY goes through tx:copy_in and tx:copy_out, not through one, rows or exec");
    else
        return true;
    return false;
}

/* What found a stale plan once is prepared in the very unit that runs it: nobody can change a table in between. */
static struct postgres_prepared *find_prepared(struct postgres_connection *connection, const struct sql_call *call,
                                               uint64_t hash)
{
    struct postgres_prepared_cache *cache = &connection->prepared;
    bool fresh = call->state & POSTGRES_CALL_FRESH;
    struct postgres_prepared *found = postgres_prepare_find(cache, call->text, hash, connection->scope, fresh);
    if (!found || !found->is_sent || !(call->state & POSTGRES_CALL_RENEWED))
        return found;
    postgres_prepare_drop(cache, found, /* exists= */ true);
    return postgres_prepare_find(cache, call->text, hash, connection->scope, fresh);
}

enum fail postgres_query_add(struct postgres_connection *connection, struct sql_call *call, uint64_t hash)
{
    if (connection->state != POSTGRES_OPEN) {
        call->error = connection->error;
        return FAIL_CLOSED;
    }
    struct postgres_prepared *prepared = has_room(connection) ? find_prepared(connection, call, hash) : NULL;
    if (!prepared)
        return FAIL_NOMEM;
    if (connection->is_pooled && postgres_pooler_forbids(call->text, prepared->dirt, &call->error))
        return FAIL_SQL;
    if (!prepared->is_sent && !is_sendable(call)) {
        postgres_prepare_drop(&connection->prepared, prepared, /* exists= */ false);
        return FAIL_SQL;
    }
    struct postgres_bind bind;
    enum fail fail = postgres_bind(&bind, &connection->bind_texts, call->params, call->param_count, &call->error);
    if (fail)
        return fail;
    fail = send_call(connection, call, prepared, &bind);
    if (!fail)
        take_effect(connection, call, prepared);
    postgres_bind_clear(&bind);
    if (connection->bind_texts.cap > bind_texts_kept)
        buf_clear(&connection->bind_texts);
    return fail;
}

static enum fail send_text(struct postgres_connection *connection, const char *text, struct postgres_step step)
{
    if (connection->state != POSTGRES_OPEN)
        return FAIL_CLOSED;
    if (!has_room(connection))
        return FAIL_NOMEM;
    if (!PQsendQueryParams(connection->pg, text, 0, NULL, NULL, NULL, NULL, 0))
        return FAIL_CLOSED;
    add_step(connection, step);
    return FAIL_OK;
}

enum fail postgres_query_add_text(struct postgres_connection *connection, const char *text)
{
    return send_text(connection, text, (struct postgres_step){ .kind = POSTGRES_STEP_TEXT });
}

static const char xid_text[] = "select pg_catalog.pg_current_xact_id_if_assigned()::text,"
                               " pg_catalog.floor(extract(epoch from pg_catalog.clock_timestamp()))::bigint::text";

enum fail postgres_query_add_xid(struct postgres_connection *connection, bool now)
{
    struct str text = str_make(xid_text, sizeof xid_text - 1);
    if (connection->state != POSTGRES_OPEN)
        return FAIL_CLOSED;
    struct postgres_prepared *prepared = NULL;
    if (has_room(connection))
        prepared = postgres_prepare_find(&connection->prepared, text, siphash(text.data, text.len), 0,
                                         /* fresh= */ false);
    if (!prepared)
        return FAIL_NOMEM;
    static const struct postgres_bind none;
    if (!send_parse(connection, prepared) || !send_bound(connection, prepared, &none, 0))
        return FAIL_CLOSED;
    connection->xid.state = POSTGRES_XID_UNKNOWN;
    add_step(connection, (struct postgres_step){ .kind = POSTGRES_STEP_XID, .prepared = prepared });
    return now && !PQsendFlushRequest(connection->pg) ? FAIL_CLOSED : FAIL_OK;
}

void postgres_query_end_unit(struct postgres_connection *connection)
{
    /* When Sync cannot be sent the connection is broken, and its socket will say so: the calls are answered then. */
    if (connection->state == POSTGRES_OPEN && PQpipelineSync(connection->pg))
        add_step(connection, (struct postgres_step){ .kind = POSTGRES_STEP_SYNC });
    postgres_connection_flush(connection);
}

bool postgres_query_detach(struct postgres_connection *connection, const struct sql_call *call)
{
    for (unsigned i = 0; i < connection->step_count; i++)
        if (postgres_step_at(connection, i)->call == call) {
            postgres_step_at(connection, i)->call = NULL;
            connection->calls_in_flight--;
            return true;
        }
    return postgres_copy_detach(connection, call);
}

static bool has_orphan(const struct postgres_connection *connection, bool up_to_sync)
{
    for (unsigned i = 0; i < connection->step_count; i++) {
        const struct postgres_step *step = postgres_step_at(connection, i);
        if (up_to_sync && step->kind == POSTGRES_STEP_SYNC)
            return false;
        if (step->kind == POSTGRES_STEP_CALL && !step->call)
            return true;
    }
    return false;
}

bool postgres_query_has_orphan(const struct postgres_connection *connection)
{
    return connection->copy || has_orphan(connection, /* up_to_sync= */ false);
}

bool postgres_query_runs_orphan(const struct postgres_connection *connection)
{
    return has_orphan(connection, /* up_to_sync= */ true);
}

PGTransactionStatusType postgres_query_transaction(const struct postgres_connection *connection)
{
    return connection->pg ? PQtransactionStatus(connection->pg) : PQTRANS_UNKNOWN;
}

/* --- what came back ------------------------------------------------------------------------------------------- */

/* The first `steps` of the ring are over. Each call goes to the user; nothing is sent meanwhile. */
static void end_unit(struct postgres_connection *connection, unsigned steps, bool is_answered)
{
    struct postgres_unit unit = postgres_answer_unit(connection, steps, is_answered);
    connection->unit_ended_ns = clock_mono_ns();
    connection->unit_calls = unit.calls;
    connection->unit_is_stale = unit.is_stale;
    if (unit.is_stale)
        postgres_prepare_note_stale(&connection->prepared);
    for (unsigned i = 0; i < steps; i++) {
        struct postgres_step *step = postgres_step_at(connection, i);
        if (step->kind == POSTGRES_STEP_PARSE && !postgres_answer_is_good(step->result))
            postgres_prepare_drop(&connection->prepared, step->prepared, /* exists= */ false);
        if (step->kind == POSTGRES_STEP_XID && postgres_answer_is_good(step->result))
            connection->xid = postgres_answer_xid(step->result);
        if (step->kind == POSTGRES_STEP_CLOSE && postgres_answer_is_kept(step->result))
            postgres_prepare_evict_again(&connection->prepared, step->prepared);
        if (step->kind == POSTGRES_STEP_CALL && postgres_answer_is_good(step->result))
            postgres_answer_note(connection, step); /* also when nobody waits for it any more */
        if (!step->call)
            continue;
        struct sql_call *call = step->call;
        enum postgres_outcome outcome = postgres_answer_judge(connection, &unit, i);
        step->call = NULL;
        connection->calls_in_flight--;
        connection->user->on_call(connection, call, (int)outcome);
    }
    for (unsigned i = 0; i < steps; i++)
        clear_step(postgres_step_at(connection, i));
    connection->step_first = (connection->step_first + steps) & (connection->step_cap - 1);
    connection->step_count -= steps;
    connection->step_at -= steps;
    connection->answered_ns = connection->unit_ended_ns;
}

static void on_sync(struct postgres_connection *connection, PGresult *result)
{
    PQclear(result);
    connection->step_at++;
    end_unit(connection, connection->step_at, /* is_answered= */ true);
}

/* libpq's own error, that the socket has ended, tells less than what the server has said before. */
static bool is_no_news(const PGresult *result, const PGresult *before)
{
    return PQresultStatus(result) == PGRES_FATAL_ERROR && !PQresultErrorField(result, PG_DIAG_SQLSTATE) && before &&
           PQresultErrorField(before, PG_DIAG_SQLSTATE);
}

/* A result that is no SYNC. The last one counts where there are several: an error may follow rows. */
static void on_result(struct postgres_connection *connection, PGresult *result)
{
    struct postgres_step *step = postgres_step_at(connection, connection->step_at);
    connection->result_bytes = 0;
    if (is_no_news(result, step->result)) {
        PQclear(result);
        return;
    }
    PQclear(step->result);
    step->result = result;
}

/* libpq says NULL once behind each step. */
static bool on_null(struct postgres_connection *connection)
{
    struct postgres_step *step = postgres_step_at(connection, connection->step_at);
    if (step->kind == POSTGRES_STEP_SYNC || !step->result)
        return false;
    connection->step_at++;
    return true;
}

static void take_results(struct postgres_connection *connection)
{
    unsigned nulls = 0;
    while (connection->step_count && !PQisBusy(connection->pg)) {
        PGresult *result = PQgetResult(connection->pg);
        if (!result) {
            if (!on_null(connection) && ++nulls > 1)
                return;
            continue;
        }
        nulls = 0;
        if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
            on_sync(connection, result);
        else
            on_result(connection, result);
        if (PQstatus(connection->pg) != CONNECTION_OK)
            return;
    }
    connection->is_partial = connection->step_count > 0;
}

/* A result that outgrows its limit while it comes in is not waited for. */
static void check_size(struct postgres_connection *connection)
{
    struct postgres_step *step = postgres_step_at(connection, connection->step_at);
    if (!connection
             ->lane) /* it listens, or cancels: what it asks has small answers, and notifications are bytes, too */
        return;
    if (!connection->step_count || !step->call || connection->result_bytes <= postgres_answer_bytes_max(step->call))
        return;
    struct sql_call *call = step->call;
    postgres_answer_refuse_size(call);
    postgres_query_detach(connection, call);
    postgres_cancel(connection, POSTGRES_CANCEL_SIZE);
    connection->user->on_call(connection, call, POSTGRES_DONE);
}

/* Statements that made room for others are closed on the server, in a unit of their own so that nobody's fails with it. */
static bool send_close(struct postgres_connection *connection, struct postgres_prepared *prepared)
{
    char text[POSTGRES_NAME_BYTES + 16];
    snprintf(text, sizeof text, "DEALLOCATE %s", prepared->name);
    struct postgres_step step = { .kind = POSTGRES_STEP_CLOSE, .prepared = prepared };
    return send_text(connection, text, step) == FAIL_OK;
}

static bool deallocate_evicted(struct postgres_connection *connection)
{
    bool is_good = true;
    for (struct postgres_prepared *prepared;
         is_good && (prepared = postgres_prepare_next_evicted(&connection->prepared));) {
        is_good = send_close(connection, prepared);
        if (!is_good)
            postgres_prepare_evict_again(&connection->prepared, prepared);
        postgres_prepare_release(prepared);
    }
    if (connection->step_count == 0)
        return false;
    postgres_query_end_unit(connection);
    return true;
}

static void read_notifications(struct postgres_connection *connection)
{
    for (PGnotify *notify; (notify = PQnotifies(connection->pg)); PQfreemem(notify))
        if (connection->on_notification)
            connection->on_notification(connection, notify);
}

void postgres_query_input(struct postgres_connection *connection)
{
    bool was_quiet = connection->step_count == 0;
    take_results(connection);
    if (PQstatus(connection->pg) != CONNECTION_OK) {
        postgres_connection_turn_lost(connection);
        return;
    }
    if (was_quiet)
        (void)PQisBusy(connection->pg); /* notices and parameter changes are taken in by it */
    if (was_quiet || connection->on_notification)
        read_notifications(connection);
    if (was_quiet)
        return;
    if (connection->step_count) {
        check_size(connection);
        return;
    }
    postgres_prepare_trim(&connection->prepared);
    if (!list_is_empty(&connection->prepared.evicted) && postgres_query_transaction(connection) == PQTRANS_IDLE &&
        deallocate_evicted(connection))
        return;
    postgres_cancel_settle(connection);
    connection->user->on_quiet(connection);
}

void postgres_query_lost(struct postgres_connection *connection)
{
    if (connection->step_count)
        end_unit(connection, connection->step_count, /* is_answered= */ false);
    postgres_copy_lost(connection);
    connection->step_at = 0;
    connection->user->on_lost(connection);
}
