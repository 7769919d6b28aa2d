/* cancel.c - a control connection for each loop, opened when first needed, closed when long unused.
 *
 * DESIGN  One request at a time; who waits is in `waiting`. A request ends with any answer: when pg_cancel_backend has answered, the signal
 *         is delivered, and a back end that is between statements ignores it (PostgreSQL 15, ProcessInterrupts).
 *         Where no control connection can be had, the deadline of each request gives up its connection instead.
 *         Behind a pooler there is no control connection: each connection that is cancelled has a request of its own (cancel_request.h).
 * HOLDS   connection->is_cancelling exactly while it is in `waiting` or `current`, or has a cancel_request.
 * Path:   postgres/lane, session > [postgres/cancel] > postgres/query, cancel_request
 */
#include "postgres/cancel.h"

#include "base/log.h"
#include "base/siphash.h"
#include "postgres/cancel_request.h"
#include "postgres/lane.h"
#include "postgres/query.h"

#include <assert.h>

static const char statement[] = "select pg_cancel_backend($1)";

static void go_on(struct postgres_canceller *canceller);

static void on_timer(void *arg)
{
    struct postgres_canceller *canceller = arg;
    if (!list_is_empty(&canceller->waiting)) {
        go_on(canceller);
    } else if (canceller->control && !canceller->is_asking) {
        postgres_connection_close(canceller->control);
        canceller->control = NULL;
    }
}

/* --- the end of a request ------------------------------------------------------------------------------------- */

static void end_hit(struct postgres_connection *connection, enum postgres_cancel_outcome outcome)
{
    if (!connection->is_hit)
        return;
    connection->is_hit = false;
    postgres_pool_note(connection, POSTGRES_CARE_NONE);
    metric_add(connection->lane->pool->meter.cancels[connection->cancel_cause][outcome], 1);
}

void postgres_cancel_settle(struct postgres_connection *connection)
{
    if (connection->is_cancelling)
        return;
    timer_stop(&connection->cancel_deadline);
    end_hit(connection, POSTGRES_CANCEL_ENDED);
}

/* The answer to the cancel has come; the connection may be given away from within. */
static void finish(struct postgres_connection *connection)
{
    connection->is_cancelling = false;
    if (!postgres_query_is_quiet(connection))
        return; /* query.c tells when it is */
    postgres_cancel_settle(connection);
    connection->user->on_quiet(connection);
}

void postgres_cancel_forget(struct postgres_connection *connection)
{
    timer_stop(&connection->cancel_deadline);
    end_hit(connection, POSTGRES_CANCEL_LOST);
    if (!connection->is_cancelling)
        return;
    connection->is_cancelling = false;
    postgres_cancel_request_leave(connection->cancel_request);
    connection->cancel_request = NULL;
    if (connection->is_pooled)
        return;
    if (connection->lane->canceller.current == connection)
        connection->lane->canceller.current = NULL;
    else
        list_remove(&connection->cancel_node);
}

/* --- behind a pooler ------------------------------------------------------------------------------------------ */

static void on_request_done(void *arg, const char *why)
{
    struct postgres_connection *connection = arg;
    connection->cancel_request = NULL;
    if (why)
        log_line(LOG_WARN, "cannot cancel a statement", LOG_TEXT("pool", connection->target.settings->name),
                 LOG_TEXT("why", why));
    finish(connection);
}

/* If it cannot be sent, the deadline gives up the connection, and with it the pooler what runs for it. */
static void send_request(struct postgres_connection *connection)
{
    enum fail fail = postgres_cancel_request_start(connection->loop, connection->pg, on_request_done, connection,
                                                   &connection->cancel_request);
    connection->is_cancelling = !fail;
    if (fail)
        log_line(LOG_WARN, "cannot cancel a statement", LOG_TEXT("pool", connection->target.settings->name),
                 LOG_TEXT("why", fail_text(fail)));
}

/* --- the control connection ----------------------------------------------------------------------------------- */

/* The answer is in, whatever it says: `false` means that the back end is gone already. */
static void on_call(struct postgres_connection *control, struct sql_call *call, int outcome)
{
    struct postgres_canceller *canceller = control->user_data;
    sql_rows_free(call->rows);
    call->rows = NULL;
    if (outcome == POSTGRES_GONE) /* on_lost comes next, and asks again */
        return;
    if (call->fail)
        log_line(LOG_WARN, "cannot cancel a statement", LOG_TEXT("pool", canceller->settings->name),
                 LOG_TEXT("why", call->error.text));
}

static void on_quiet(struct postgres_connection *control)
{
    struct postgres_canceller *canceller = control->user_data;
    struct postgres_connection *connection = canceller->current;
    canceller->is_asking = false;
    canceller->current = NULL;
    if (connection)
        finish(connection);
    go_on(canceller);
}

static void on_lost(struct postgres_connection *control)
{
    struct postgres_canceller *canceller = control->user_data;
    postgres_connection_close(control);
    canceller->control = NULL;
    canceller->is_asking = false;
    if (canceller->current)
        list_push_front(&canceller->waiting, &canceller->current->cancel_node);
    canceller->current = NULL;
    timer_start(canceller->loop, &canceller->timer, POSTGRES_CONTROL_RETRY_MS, on_timer, canceller);
}

static const struct postgres_user control_user = { on_call, on_quiet, on_lost };

static void on_open(struct postgres_connection *control, bool is_open)
{
    struct postgres_canceller *canceller = control->on_open_arg;
    if (is_open) {
        go_on(canceller);
        return;
    }
    log_line(LOG_WARN, "no control connection to cancel statements with", LOG_TEXT("pool", canceller->settings->name),
             LOG_TEXT("why", control->error.text));
    postgres_connection_close(control);
    canceller->control = NULL;
    timer_start(canceller->loop, &canceller->timer, POSTGRES_CONTROL_RETRY_MS, on_timer, canceller);
}

static void open_control(struct postgres_canceller *canceller)
{
    enum fail fail = postgres_connection_open(canceller->loop, canceller->settings, "wick control", on_open, canceller,
                                              &canceller->control);
    if (fail) {
        timer_start(canceller->loop, &canceller->timer, POSTGRES_CONTROL_RETRY_MS, on_timer, canceller);
        return;
    }
    canceller->control->user = &control_user;
    canceller->control->user_data = canceller;
}

static void ask(struct postgres_canceller *canceller)
{
    struct postgres_connection *connection = LIST_ENTRY(list_pop_front(&canceller->waiting), struct postgres_connection,
                                                        cancel_node);
    canceller->pid = (struct sql_value){ .type = SQL_INT, .integer = connection->pid };
    canceller->call = (struct sql_call){ .text = str_make(statement, sizeof statement - 1),
                                         .params = &canceller->pid,
                                         .param_count = 1 };
    canceller->current = connection;
    canceller->is_asking = true;
    if (postgres_query_add(canceller->control, &canceller->call, siphash(statement, sizeof statement - 1)) != FAIL_OK) {
        canceller->current = NULL; /* its deadline will give it up */
        list_push_back(&canceller->waiting, &connection->cancel_node);
    }
    postgres_query_end_unit(canceller->control);
}

static void go_on(struct postgres_canceller *canceller)
{
    if (canceller->is_asking)
        return;
    if (list_is_empty(&canceller->waiting)) {
        if (canceller->control)
            timer_start(canceller->loop, &canceller->timer, POSTGRES_CONTROL_LINGER_MS, on_timer, canceller);
        return;
    }
    if (!canceller->control)
        open_control(canceller);
    else if (canceller->control->state == POSTGRES_OPEN)
        ask(canceller);
}

/* --- asking --------------------------------------------------------------------------------------------------- */

static void on_deadline(void *arg)
{
    struct postgres_connection *connection = arg;
    if (!connection->error.sqlstate[0])
        sql_error_set(&connection->error, "08006", "the statement did not end within %d ms of being cancelled",
                      POSTGRES_CANCEL_MS);
    postgres_connection_turn_lost(connection);
}

void postgres_cancel(struct postgres_connection *connection, enum postgres_cancel_cause cause)
{
    if (connection->is_hit || connection->state != POSTGRES_OPEN || postgres_query_is_quiet(connection))
        return;
    struct postgres_canceller *canceller = &connection->lane->canceller;
    connection->is_cancelling = connection->is_hit = true;
    connection->cancel_cause = (unsigned char)cause;
    postgres_pool_note(connection, POSTGRES_CARE_CANCEL);
    timer_start(connection->loop, &connection->cancel_deadline, POSTGRES_CANCEL_MS, on_deadline, connection);
    if (connection->is_pooled) {
        send_request(connection);
        return;
    }
    list_push_back(&canceller->waiting, &connection->cancel_node);
    go_on(canceller);
}

/* An orphan that may be running is cancelled, also where others share its unit: what the cancel takes down with it is run again. One that is
 * behind the unit of others has time until they have ended. */
static void on_grace(void *arg)
{
    struct postgres_connection *connection = arg;
    if (connection->calls_in_flight == 0 || postgres_query_runs_orphan(connection))
        postgres_cancel(connection, POSTGRES_CANCEL_CLIENT);
    else
        postgres_cancel_soon(connection);
}

void postgres_cancel_soon(struct postgres_connection *connection)
{
    if (!connection->is_hit && !timer_is_set(&connection->cancel_deadline))
        timer_start(connection->loop, &connection->cancel_deadline, POSTGRES_CANCEL_GRACE_MS, on_grace, connection);
}

void postgres_canceller_init(struct postgres_canceller *canceller, struct loop *loop,
                             struct postgres_settings *settings)
{
    *canceller = (struct postgres_canceller){ .loop = loop, .settings = settings };
    list_init(&canceller->waiting);
}

void postgres_canceller_close(struct postgres_canceller *canceller)
{
    assert(list_is_empty(&canceller->waiting) && !canceller->current);
    timer_stop(&canceller->timer);
    postgres_connection_close(canceller->control);
    canceller->control = NULL;
}
