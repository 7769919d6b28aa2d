/* query.c - sends calls in pipelined units; unit.c takes what comes back.
 *
 * DESIGN  Every unit is [Parse] Bind Execute .. Sync. A step is what gets a result: a PARSE, a CALL, a TEXT or CLOSE of ours, or the SYNC.
 *         Behind a pooler nothing has a name: Parse, Bind and Execute of a call are one step.
 * HOLDS   A step's prepared statement is held as long as the step is in the ring. on_call never comes from within add or end_unit.
 * Path:   postgres/lane, session, cancel > [postgres/query] > postgres/connection
 */
#include "postgres/query.h"

#include "base/mem.h"
#include "base/random.h"
#include "base/siphash.h"
#include "postgres/answer.h"
#include "postgres/bind.h"
#include "postgres/copy.h"
#include "postgres/lane.h"
#include "postgres/pooler.h"
#include "sql/statement.h"

#include <assert.h>
#include <string.h>

enum { STEPS_AT_FIRST = 16 };
static const size_t bind_texts_kept = 64u << 10;
static const unsigned params_max = 65535; /* Bind counts them in 16 bits */

/* --- the ring ------------------------------------------------------------------------------------------------- */

enum fail postgres_query_init(struct postgres_connection *connection)
{
    buf_init(&connection->bind_texts, MEM_POSTGRES, 0);
    connection->steps = mem_alloc(MEM_POSTGRES, STEPS_AT_FIRST * sizeof *connection->steps);
    connection->step_cap = STEPS_AT_FIRST;
    return connection->steps ? FAIL_OK : FAIL_NOMEM;
}

void postgres_step_clear(struct postgres_step *step)
{
    PQclear(step->result);
    if (step->prepared)
        postgres_prepare_release(step->prepared);
    *step = (struct postgres_step){ .kind = POSTGRES_STEP_SYNC };
}

void postgres_query_clear(struct postgres_connection *connection)
{
    for (unsigned i = 0; connection->steps && i < connection->step_count; i++)
        postgres_step_clear(postgres_step_at(connection, i));
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
    if (!connection->is_pooled) /* behind a pooler what lasts is refused, and a cleaning would meet another back end */
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
    else if (sql_statement_verb(call->text, SQL_POSTGRES) == SQL_VERB_COPY) /* its data would be waited for, for ever */
        sql_error_set(&call->error, "0A000",
                      "COPY goes through tx:copy_in and tx:copy_out, not through one, rows or exec");
    else
        return true;
    return false;
}

/* BEGIN of a call that stands alone would be rolled back behind its back, with what comes behind it in a pipeline; COMMIT in a pipeline
 * would tear it in two; and where nothing is open neither does anything. */
static bool is_out_of_place(struct sql_call *call, const struct postgres_prepared *prepared)
{
    if (!prepared->moves_transaction || postgres_call_state(call) == POSTGRES_CALL_SESSION)
        return false;
    sql_error_set(&call->error, "25001",
                  "a transaction needs a session: this would end with the statement, or tear a pipeline apart; use "
                  "cx.db:begin or cx.db:transaction");
    return true;
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
    if (call->param_count > params_max) {
        sql_error_set(&call->error, "54000", "a statement takes at most %u parameters", params_max);
        return FAIL_SQL;
    }
    struct postgres_prepared *prepared = has_room(connection) ? find_prepared(connection, call, hash) : NULL;
    if (!prepared)
        return FAIL_NOMEM;
    if (is_out_of_place(call, prepared))
        return FAIL_SQL;
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

enum fail postgres_query_add_own(struct postgres_connection *connection, const char *text, struct postgres_step step)
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
    return postgres_query_add_own(connection, text, (struct postgres_step){ .kind = POSTGRES_STEP_TEXT });
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
