/* unit.c - matches the results that come back with the steps that were sent, and ends a unit when its Sync is answered.
 *
 * DESIGN  libpq gives for each step a result and then NULL, for a SYNC one result and no NULL; after an error everything up to the
 *         SYNC comes back as PIPELINE_ABORTED. An error may also come while the SYNC itself is awaited (a deferred constraint).
 *         The ring of steps:   step_first .. step_at .. first + count
 *                              [ answered, ][ not yet answered ]      a unit is judged when its SYNC is answered
 * Path:   postgres/connection > [postgres/unit] > postgres/answer, lane, session, group
 */
#include "base/clock.h"
#include "postgres/answer.h"
#include "postgres/cancel.h"
#include "postgres/copy.h"
#include "postgres/typing.h"

#include <stdio.h>

/* The first `steps` of the ring are over. Each call goes to the user; nothing is sent meanwhile. Where types are to be looked up first, the
 * unit stays, and is gone on with at that call. */
static void end_unit(struct postgres_connection *connection, unsigned steps, bool is_answered)
{
    struct postgres_unit unit = postgres_answer_unit(connection, steps, is_answered);
    connection->unit_ended_ns = clock_mono_ns();
    connection->unit_calls = unit.calls;
    connection->unit_is_stale = unit.is_stale;
    connection->unit_has_failed = unit.error != NULL;
    if (unit.is_stale)
        postgres_prepare_note_stale(&connection->prepared);
    for (unsigned i = connection->types.at; i < steps; i++) {
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
        if (outcome == POSTGRES_UNTYPED) {
            if (postgres_typing_ask(connection, i))
                return;
            outcome = postgres_typing_refuse(connection, call);
        }
        postgres_step_at(connection, i)->call = NULL;
        connection->calls_in_flight--;
        connection->user->on_call(connection, call, (int)outcome);
    }
    for (unsigned i = 0; i < steps; i++)
        postgres_step_clear(postgres_step_at(connection, i));
    connection->step_first = (connection->step_first + steps) & (connection->step_cap - 1);
    connection->step_count -= steps;
    connection->step_at -= steps;
    connection->answered_ns = connection->unit_ended_ns;
    postgres_typing_end_unit(connection);
}

/* Of the first unit, when it has been answered; 0: it has not. */
static unsigned answered_steps(const struct postgres_connection *connection)
{
    for (unsigned i = 0; i < connection->step_at; i++)
        if (postgres_step_at(connection, i)->kind == POSTGRES_STEP_SYNC)
            return i + 1;
    return 0;
}

/* What waited for types, and what was answered behind it. */
static void end_answered_units(struct postgres_connection *connection)
{
    for (unsigned steps; !postgres_typing_is_asking(connection) && (steps = answered_steps(connection));)
        end_unit(connection, steps, /* is_answered= */ true);
}

static void on_sync(struct postgres_connection *connection, PGresult *result)
{
    PQclear(result);
    connection->step_at++;
    if (!postgres_typing_is_asking(connection))
        end_unit(connection, connection->step_at, /* is_answered= */ true);
    else if (postgres_typing_settle(connection))
        end_answered_units(connection);
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
    connection->unit_ended_ns = clock_mono_ns(); /* as far as it is concerned, which is what is learned of it */
    connection->unit_calls = 1;
    connection->user->on_call(connection, call, POSTGRES_DONE);
}

/* Statements that made room for others are closed on the server, in a unit of their own so that nobody's fails with it. */
static bool send_close(struct postgres_connection *connection, struct postgres_prepared *prepared)
{
    char text[POSTGRES_NAME_BYTES + 16];
    snprintf(text, sizeof text, "DEALLOCATE %s", prepared->name);
    struct postgres_step step = { .kind = POSTGRES_STEP_CLOSE, .prepared = prepared };
    return postgres_query_add_own(connection, text, step) == FAIL_OK;
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
    postgres_typing_give_up(connection);
    end_answered_units(connection);
    if (connection->step_count)
        end_unit(connection, connection->step_count, /* is_answered= */ false);
    postgres_copy_lost(connection);
    connection->step_at = 0;
    connection->user->on_lost(connection);
}
