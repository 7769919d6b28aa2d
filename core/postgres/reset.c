/* reset.c - cleans a connection whose user has gone, by the cheapest means that suffice.
 *
 * DESIGN  [a statement runs: cancel it, wait] [what is ours runs: wait] -> [transaction open: ROLLBACK] -> [dirt: what DISCARD ALL does] -> pool
 *         Prepared statements stay, unless there are some of the plugin's own.
 *         The cleaning is one transaction: where any of it fails none of it has taken place, and the connection is closed, as is one
 *         that does not get through within the deadline.
 * HOLDS   dirt is 0 only once the cleaning was answered without an error.
 * Path:   postgres/session, lane > [postgres/reset] > postgres/query, pool
 */
#include "postgres/reset.h"

#include "postgres/cancel.h"
#include "postgres/dirt.h"
#include "postgres/pool.h"
#include "postgres/query.h"

static const char *const cleaning[] = { "CLOSE ALL",  "SET SESSION AUTHORIZATION DEFAULT",          "RESET ALL",
                                        "UNLISTEN *", "select pg_catalog.pg_advisory_unlock_all()", "DISCARD TEMP" };

bool postgres_reset_is_needed(const struct postgres_connection *connection)
{
    return connection->dirt || postgres_query_transaction(connection) != PQTRANS_IDLE;
}

static void give_up(struct postgres_connection *connection, const char *why)
{
    sql_error_set(&connection->error, "25000", "%s", why);
    timer_stop(&connection->deadline);
    postgres_pool_drop(connection, POSTGRES_END_RESET);
}

static enum fail send_cleaning(struct postgres_connection *connection)
{
    enum fail fail = FAIL_OK;
    for (size_t i = 0; i < sizeof cleaning / sizeof *cleaning && !fail; i++)
        fail = postgres_query_add_text(connection, cleaning[i]);
    if (!fail && connection->dirt & POSTGRES_DIRT_PREPARED) {
        postgres_prepare_drop_all(&connection->prepared);
        postgres_prepare_forget_evicted(&connection->prepared);
        fail = postgres_query_add_text(connection, "DEALLOCATE ALL");
    }
    connection->is_cleaning = true;
    return fail;
}

/* What is needed next; false: it could not be sent. */
static bool send_next(struct postgres_connection *connection)
{
    enum fail fail = FAIL_OK;
    if (postgres_query_transaction(connection) != PQTRANS_IDLE) {
        fail = postgres_query_add_text(connection, "ROLLBACK");
    } else {
        fail = send_cleaning(connection);
    }
    postgres_query_end_unit(connection);
    return !fail;
}

/* Everything sent so far is answered. */
static void go_on(struct postgres_connection *connection)
{
    if (connection->is_cleaning && connection->unit_has_failed) {
        give_up(connection, "the connection could not be cleaned");
        return;
    }
    if (connection->is_cleaning)
        connection->dirt = 0;
    connection->is_cleaning = false;
    if (!postgres_reset_is_needed(connection)) {
        timer_stop(&connection->deadline);
        postgres_pool_release(connection);
        return;
    }
    postgres_pool_note(connection, POSTGRES_CARE_RESET);
    if (!send_next(connection))
        give_up(connection, "the connection could not be cleaned");
}

static void on_call(struct postgres_connection *connection, struct sql_call *call, int outcome)
{
    (void)connection, (void)call, (void)outcome; /* whoever asks for a reset has detached its calls */
}

static void on_quiet(struct postgres_connection *connection)
{
    if (!connection->is_cancelling)
        go_on(connection);
}

static void on_lost(struct postgres_connection *connection)
{
    timer_stop(&connection->deadline);
    postgres_pool_drop(connection, POSTGRES_END_LOST);
}

static const struct postgres_user reset_user = { on_call, on_quiet, on_lost };

static void on_deadline(void *arg) { give_up(arg, "the connection could not be cleaned in time"); }

void postgres_reset(struct postgres_connection *connection)
{
    connection->user = &reset_user;
    timer_start(connection->loop, &connection->deadline, POSTGRES_RESET_MS, on_deadline, connection);
    if (postgres_query_has_orphan(connection))
        postgres_cancel(connection, POSTGRES_CANCEL_ABANDONED); /* on_quiet comes when it has ended */
    else if (postgres_query_is_quiet(connection) && !connection->is_cancelling)
        go_on(connection);
}
