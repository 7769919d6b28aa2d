/* cancel.c - one control connection for the process, opened when first needed, closed when long unused.
 *
 * DESIGN  An ask goes from the loop of its connection to the canceller's, and comes back when it is over:
 *           asked [postgres_cancel] -> WAITING -> CURRENT [ask] -> over [the server has answered]
 *           WAITING, CURRENT -> over [left: its connection is closed]     CURRENT -> WAITING [the control connection was lost, or hangs]
 *         One at a time. It is over with any answer: when pg_cancel_backend has answered, the signal is delivered, and a back end that
 *         is between statements ignores it (PostgreSQL 15, ProcessInterrupts).
 *         Where no control connection can be had, the deadline of each request gives up its connection instead.
 *         Behind a pooler there is no control connection: each connection that is cancelled has a request of its own (cancel_request.h).
 * HOLDS   connection->is_cancelling exactly while it has a cancel_ask or a cancel_request. An ask counts among its lane's groups until
 *         it is freed, on its lane's loop; ask->connection is that loop's, the rest is the canceller's from being posted to coming back.
 * Path:   postgres/lane, session > [postgres/cancel] > postgres/query, cancel_request
 */
#include "postgres/cancel.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "postgres/cancel_request.h"
#include "postgres/lane.h"
#include "postgres/query.h"

#include <assert.h>

static const char statement[] = "select pg_cancel_backend($1)";

struct postgres_cancel_ask {
    struct loop_task task;
    struct list node;                       /* in canceller->waiting */
    struct postgres_lane *lane;             /* of the connection */
    struct postgres_connection *connection; /* NULL: it has been closed */
    atomic_bool is_left;                    /* likewise, for the canceller */
    int pid;
};

static void go_on(struct postgres_canceller *canceller);

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
    connection->is_cancelling = false;
    postgres_cancel_request_leave(connection->cancel_request);
    connection->cancel_request = NULL;
    if (!connection->cancel_ask)
        return;
    connection->cancel_ask->connection = NULL;
    atomic_store_explicit(&connection->cancel_ask->is_left, true, memory_order_relaxed);
    connection->cancel_ask = NULL;
}

static void log_failure(const struct postgres_settings *settings, const char *why)
{
    log_line(LOG_WARN, "cannot cancel a statement", LOG_TEXT("pool", settings->name), LOG_TEXT("why", why));
}

/* --- behind a pooler ------------------------------------------------------------------------------------------ */

static void on_request_done(void *arg, const char *why)
{
    struct postgres_connection *connection = arg;
    connection->cancel_request = NULL;
    if (why)
        log_failure(connection->target.settings, why);
    finish(connection);
}

/* If it cannot be sent, the deadline gives up the connection, and with it the pooler what runs for it. */
static void send_request(struct postgres_connection *connection)
{
    enum fail fail = postgres_cancel_request_start(connection->loop, connection->pg, on_request_done, connection,
                                                   &connection->cancel_request);
    connection->is_cancelling = !fail;
    if (fail)
        log_failure(connection->target.settings, fail_text(fail));
}

/* --- the way back --------------------------------------------------------------------------------------------- */

/* On the loop of the connection, which may be closed. */
static void on_over(void *arg)
{
    struct postgres_cancel_ask *ask = arg;
    struct postgres_connection *connection = ask->connection;
    ask->lane->groups--;
    mem_free(ask);
    if (!connection)
        return;
    connection->cancel_ask = NULL;
    finish(connection);
}

static void send_back(struct postgres_cancel_ask *ask)
{
    ask->task.run = on_over;
    loop_post(ask->lane->loop, &ask->task);
}

/* --- the control connection ----------------------------------------------------------------------------------- */

static void close_control(struct postgres_canceller *canceller)
{
    timer_stop(&canceller->timer);
    postgres_connection_close(canceller->control);
    canceller->control = NULL;
}

static void on_timer(void *arg)
{
    struct postgres_canceller *canceller = arg;
    if (canceller->current) /* it hangs */
        postgres_connection_turn_lost(canceller->control);
    else if (!list_is_empty(&canceller->waiting))
        go_on(canceller);
    else
        close_control(canceller);
}

static void start_timer(struct postgres_canceller *canceller, unsigned ms)
{
    timer_start(canceller->loop, &canceller->timer, ms, on_timer, canceller);
}

/* The answer is in, whatever it says: `false` means that the back end is gone already. */
static void on_call(struct postgres_connection *control, struct sql_call *call, int outcome)
{
    struct postgres_canceller *canceller = control->user_data;
    sql_rows_free(call->rows);
    call->rows = NULL;
    if (outcome == POSTGRES_GONE) /* on_lost comes next, and asks again */
        return;
    if (call->fail)
        log_failure(*canceller->settings, call->error.text);
}

static void on_quiet(struct postgres_connection *control)
{
    struct postgres_canceller *canceller = control->user_data;
    struct postgres_cancel_ask *ask = canceller->current;
    canceller->current = NULL;
    if (ask)
        send_back(ask);
    go_on(canceller);
}

static void on_lost(struct postgres_connection *control)
{
    struct postgres_canceller *canceller = control->user_data;
    if (canceller->current)
        list_push_front(&canceller->waiting, &canceller->current->node);
    canceller->current = NULL;
    close_control(canceller);
    start_timer(canceller, POSTGRES_CONTROL_RETRY_MS);
}

static const struct postgres_user control_user = { on_call, on_quiet, on_lost };

static void on_open(struct postgres_connection *control, bool is_open)
{
    struct postgres_canceller *canceller = control->on_open_arg;
    if (is_open) {
        go_on(canceller);
        return;
    }
    log_line(LOG_WARN, "no control connection to cancel statements with",
             LOG_TEXT("pool", (*canceller->settings)->name), LOG_TEXT("why", control->error.text));
    close_control(canceller);
    start_timer(canceller, POSTGRES_CONTROL_RETRY_MS);
}

static void open_control(struct postgres_canceller *canceller)
{
    enum fail fail = postgres_connection_open(canceller->loop, *canceller->settings, "wick control", on_open, canceller,
                                              &canceller->control);
    if (fail) {
        start_timer(canceller, POSTGRES_CONTROL_RETRY_MS);
        return;
    }
    canceller->control->user = &control_user;
    canceller->control->user_data = canceller;
}

static void ask_next(struct postgres_canceller *canceller)
{
    struct list *node = list_pop_front(&canceller->waiting);
    struct postgres_cancel_ask *ask = LIST_ENTRY(node, struct postgres_cancel_ask, node);
    canceller->pid = (struct sql_value){ .type = SQL_INT, .integer = ask->pid };
    canceller->call = (struct sql_call){ .text = str_make(statement, sizeof statement - 1),
                                         .params = &canceller->pid,
                                         .param_count = 1 };
    canceller->current = ask;
    start_timer(canceller, POSTGRES_CANCEL_MS);
    if (postgres_query_add(canceller->control, &canceller->call, siphash(statement, sizeof statement - 1)) == FAIL_OK) {
        postgres_query_end_unit(canceller->control);
        return;
    }
    canceller->current = NULL;
    list_push_front(&canceller->waiting, &ask->node);
    start_timer(canceller, POSTGRES_CONTROL_RETRY_MS);
}

/* Nobody needs those any more whose connection is closed, and their pid may be another's by now. */
static void drop_left(struct postgres_canceller *canceller)
{
    LIST_EACH_SAFE(&canceller->waiting, node, after)
    {
        struct postgres_cancel_ask *ask = LIST_ENTRY(node, struct postgres_cancel_ask, node);
        if (!canceller->is_over && !atomic_load_explicit(&ask->is_left, memory_order_relaxed))
            continue;
        list_remove(&ask->node);
        send_back(ask);
    }
}

static void go_on(struct postgres_canceller *canceller)
{
    if (canceller->current)
        return;
    drop_left(canceller);
    if (list_is_empty(&canceller->waiting)) {
        if (canceller->control)
            start_timer(canceller, POSTGRES_CONTROL_LINGER_MS);
    } else if (!canceller->control) {
        open_control(canceller);
    } else if (canceller->control->state == POSTGRES_OPEN) {
        ask_next(canceller);
    }
}

void postgres_canceller_init(struct postgres_canceller *canceller, struct loop *loop,
                             struct postgres_settings *_Atomic *settings)
{
    *canceller = (struct postgres_canceller){ .loop = loop, .settings = settings };
    list_init(&canceller->waiting);
}

void postgres_canceller_end(struct postgres_canceller *canceller)
{
    canceller->is_over = true;
    if (canceller->current)
        list_push_front(&canceller->waiting, &canceller->current->node);
    canceller->current = NULL;
    close_control(canceller);
    drop_left(canceller);
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

/* On the canceller's loop. */
static void on_ask(void *arg)
{
    struct postgres_cancel_ask *ask = arg;
    struct postgres_canceller *canceller = &ask->lane->pool->canceller;
    list_push_back(&canceller->waiting, &ask->node);
    if (canceller->is_over)
        drop_left(canceller);
    else
        go_on(canceller);
}

/* Without memory for it, the deadline gives up the connection. */
static void send_ask(struct postgres_connection *connection)
{
    struct postgres_cancel_ask *ask = mem_zero(MEM_POSTGRES, sizeof *ask);
    connection->is_cancelling = ask != NULL;
    connection->cancel_ask = ask;
    if (!ask)
        return;
    ask->lane = connection->lane;
    ask->lane->groups++;
    ask->connection = connection;
    ask->pid = connection->pid;
    ask->task = (struct loop_task){ .run = on_ask, .arg = ask };
    loop_post(ask->lane->pool->canceller.loop, &ask->task);
}

void postgres_cancel(struct postgres_connection *connection, enum postgres_cancel_cause cause)
{
    assert(connection->lane); /* of the pool: who listens or cancels is not cancelled */
    if (connection->is_hit || connection->state != POSTGRES_OPEN || postgres_query_is_quiet(connection))
        return;
    connection->is_hit = true;
    connection->cancel_cause = (unsigned char)cause;
    postgres_pool_note(connection, POSTGRES_CARE_CANCEL);
    timer_start(connection->loop, &connection->cancel_deadline, POSTGRES_CANCEL_MS, on_deadline, connection);
    if (connection->is_pooled)
        send_request(connection);
    else
        send_ask(connection);
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
