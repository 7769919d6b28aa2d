/* ping.c - an empty query to a connection that nobody used for a while.
 *
 * DESIGN  An end of the connection that the server tells of is noticed at once, by its socket. A peer that vanished without a word (cable,
 *         firewall that forgets) is noticed only by asking: upkeep takes one connection that was idle for keepalive at a time, and
 *         an empty query goes over it. It keeps firewalls from forgetting, too.
 * HOLDS   A connection is pinged while LEASED, so nobody else gets it meanwhile; those that ask get another one, or wait.
 * Path:   postgres/pool > [postgres/ping] > postgres/query
 */
#include "postgres/ping.h"

#include "postgres/lane.h"
#include "postgres/query.h"

static void on_call(struct postgres_connection *connection, struct sql_call *call, int outcome)
{
    (void)connection, (void)call, (void)outcome; /* it has no calls, only a text of ours */
}

/* It answered. */
static void on_quiet(struct postgres_connection *connection)
{
    timer_stop(&connection->deadline);
    postgres_pool_release(connection); /* which must see whose it was */
}

static void on_lost(struct postgres_connection *connection)
{
    timer_stop(&connection->deadline);
    postgres_pool_drop(connection, POSTGRES_END_PING);
}

const struct postgres_user postgres_ping_user = { on_call, on_quiet, on_lost };

static void on_deadline(void *arg)
{
    struct postgres_connection *connection = arg;
    sql_error_set(&connection->error, "08006", "no answer to a ping within %u ms",
                  connection->lane->pool->settings->ping_timeout_ms);
    postgres_connection_turn_lost(connection);
}

void postgres_ping(struct postgres_connection *connection)
{
    connection->user = &postgres_ping_user;
    timer_start(connection->loop, &connection->deadline, connection->lane->pool->settings->ping_timeout_ms, on_deadline,
                connection);
    enum fail fail = postgres_query_add_text(connection, "");
    postgres_query_end_unit(connection);
    if (fail) /* it could not even be sent */
        postgres_connection_turn_lost(connection);
}
