/* typing.c - asks what the types of a result are, between its coming and its being given out.
 *
 * DESIGN  RESTING -> PROBING [ask: it is not known whether we may read the catalogue]   RESTING -> ASKING [ask: it is known]
 *         PROBING -> ASKING [we may]    PROBING -> RESTING [we may not: such columns are text on this connection]
 *         ASKING -> RESTING [it is known, or cannot be]
 *         The probe cannot fail, where to read what is forbidden would: it would take an open transaction with it.
 *         The question is a unit of its own, behind all that was sent. If a cancel meant for somebody else hits it, it is asked again,
 *         TRIES_MAX times in all.
 *         Units that are answered meanwhile wait behind the one that asks, so calls are answered in order. The time all of this takes is that
 *         of the calls, whose deadlines go on.
 * Path:   postgres/unit > [postgres/typing] > postgres/types, query
 */
#include "postgres/typing.h"

#include "base/clock.h"
#include "base/log.h"
#include "postgres/error.h"
#include "postgres/lane.h"

#include <stdio.h>

enum { TRIES_MAX = 3 };

static const char probe[] = "select pg_catalog.has_table_privilege('pg_catalog.pg_type', 'select')"
                            " and pg_catalog.has_table_privilege('pg_catalog.pg_attribute', 'select')";

/* --- asking ------------------------------------------------------------------------------------------------------- */

static bool send(struct postgres_connection *connection, const char *text)
{
    struct postgres_step step = { .kind = POSTGRES_STEP_TYPES };
    if (postgres_query_add_own(connection, text, step) != FAIL_OK)
        return false;
    postgres_query_end_unit(connection);
    return true;
}

static bool send_question(struct postgres_connection *connection)
{
    struct buf text;
    buf_init(&text, MEM_POSTGRES, 0);
    postgres_types_add_question(&text, str_make(connection->types.wanted.data, connection->types.wanted.len));
    bool is_sent = buf_ok(&text) && send(connection, text.data);
    buf_clear(&text);
    if (is_sent)
        connection->types.state = POSTGRES_TYPES_ASKING;
    return is_sent;
}

static bool send_probe(struct postgres_connection *connection)
{
    bool is_sent = send(connection, probe);
    if (is_sent)
        connection->types.state = POSTGRES_TYPES_PROBING;
    return is_sent;
}

static bool send_next(struct postgres_connection *connection)
{
    return connection->types.is_readable ? send_question(connection) : send_probe(connection);
}

bool postgres_typing_ask(struct postgres_connection *connection, unsigned at)
{
    struct postgres_types *types = &connection->types;
    if (types->is_fresh && types->at == at)
        return false;
    types->at = at;
    types->is_fresh = false;
    types->tries = 1;
    sql_error_clear(&types->why);
    if (connection->state != POSTGRES_OPEN) {
        types->why = connection->error;
        return false;
    }
    postgres_types_trim(types);
    buf_reset(&types->wanted);
    postgres_types_add_missing(types, postgres_step_at(connection, at)->result, &types->wanted);
    if (buf_ok(&types->wanted) && types->wanted.len && send_next(connection))
        return true;
    sql_error_set(&types->why, "08006", "the question could not be sent");
    return false;
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

/* The question's step, once it and the Sync behind it have been answered. */
static struct postgres_step *answered_step(struct postgres_connection *connection)
{
    for (unsigned i = 0; i < connection->step_at; i++) {
        struct postgres_step *step = postgres_step_at(connection, i);
        if (step->kind == POSTGRES_STEP_TYPES && step->result)
            return step;
    }
    return NULL;
}

static void rest(struct postgres_connection *connection)
{
    connection->types.state = POSTGRES_TYPES_RESTING;
    connection->types.is_fresh = true;
}

/* Once is enough for people; the next connection finds out by itself. */
static void tell(const struct postgres_connection *connection)
{
    struct postgres_plans *plans = connection->prepared.plans;
    if (plans && !atomic_exchange_explicit(&plans->is_told_unreadable, true, memory_order_relaxed))
        log_line(LOG_WARN,
                 "types cannot be looked up: columns of types made with CREATE are served as text; grant select on "
                 "pg_catalog.pg_type and pg_catalog.pg_attribute",
                 LOG_TEXT("pool", connection->lane ? connection->lane->pool->settings->name : ""));
}

/* Whoever asked may have given up. */
static bool is_wanted(const struct postgres_connection *connection)
{
    return postgres_step_at(connection, connection->types.at)->call != NULL;
}

static bool take_probe(struct postgres_connection *connection, const PGresult *answer)
{
    bool may_read = PQntuples(answer) == 1 && PQgetvalue(answer, 0, 0)[0] == 't';
    connection->types.is_readable = may_read;
    connection->types.is_unreadable = !may_read;
    if (may_read && is_wanted(connection) && send_question(connection))
        return false;
    if (may_read)
        sql_error_set(&connection->types.why, "08006", "the question could not be sent");
    else
        tell(connection);
    rest(connection);
    return true;
}

static bool take_types(struct postgres_connection *connection, const PGresult *answer)
{
    struct postgres_types *types = &connection->types;
    struct str wanted = str_make(types->wanted.data, types->wanted.len);
    enum fail fail = postgres_types_learn(types, answer, wanted, clock_mono_ns(), postgres_alterations(connection));
    if (fail == FAIL_FULL)
        sql_error_set(&types->why, "54001", "one is made of more than %d parts, or more than %d deep",
                      POSTGRES_TYPE_PARTS_MAX, SQL_FORM_DEPTH_MAX);
    else if (fail)
        sql_error_set(&types->why, "53200", "no memory");
    rest(connection);
    return true;
}

/* A cancel meant for somebody else hit it. */
static bool may_ask_again(const struct postgres_connection *connection)
{
    return sql_error_is(&connection->types.why, "57014") && connection->is_hit && is_wanted(connection) &&
           connection->types.tries < TRIES_MAX;
}

static bool take_failure(struct postgres_connection *connection, const PGresult *answer)
{
    struct postgres_types *types = &connection->types;
    postgres_error_fill(&types->why, answer);
    if (may_ask_again(connection)) {
        types->tries++;
        if (send_next(connection))
            return false;
    }
    rest(connection);
    return true;
}

bool postgres_typing_settle(struct postgres_connection *connection)
{
    struct postgres_step *step = answered_step(connection);
    if (!step)
        return false;
    PGresult *answer = step->result;
    step->result = NULL; /* and so it is taken once, and a failure of ours is nobody else's */
    bool is_probe = connection->types.state == POSTGRES_TYPES_PROBING;
    bool is_over = !postgres_answer_is_good(answer) ? take_failure(connection, answer)
                   : is_probe                       ? take_probe(connection, answer)
                                                    : take_types(connection, answer);
    PQclear(answer);
    return is_over;
}

void postgres_typing_give_up(struct postgres_connection *connection)
{
    if (!postgres_typing_is_asking(connection))
        return;
    connection->types.why = connection->error;
    rest(connection);
}

enum postgres_outcome postgres_typing_refuse(struct postgres_connection *connection, struct sql_call *call)
{
    const struct sql_error *why = connection->types.why.sqlstate[0] ? &connection->types.why : &connection->error;
    bool is_lost = connection->state != POSTGRES_OPEN;
    call->fail = FAIL_SQL;
    sql_error_set(&call->error, why->sqlstate[0] ? why->sqlstate : "08006",
                  "the statement has run, but what the types of its columns are could not be found out: %s", why->text);
    call->error.sent = true;
    return is_lost && call->read_only ? POSTGRES_GONE : POSTGRES_DONE;
}
