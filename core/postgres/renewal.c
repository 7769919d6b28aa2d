/* renewal.c - when old connections go, and what is opened in their place beforehand.
 *
 * DESIGN  A connection is to end at a random moment of the last tenth of max_lifetime, and no later than its end.
 *           young -> due [a second before, or a third of a short life: another one is opened, if this one is in use or needed for min_size]
 *           due -> over [its moment has come, and none is being opened; or max_lifetime is over]
 *         So where there is room the new one is there before the old one goes. At max_size there is none: the old one is closed first, when
 *         its user gives it back, and the others wait with their ends until the new one is open, so that one is missing at a time.
 * HOLDS   None is given out that is older than max_lifetime, and none sets out for another loop. Each is replaced once (is_renewed).
 * Path:   postgres/pool > [postgres/renewal] > postgres/opening
 */
#include "postgres/renewal.h"

#include "base/random.h"
#include "postgres/lane.h"
#include "postgres/opening.h"

void postgres_renewal_start(struct postgres_connection *connection, uint64_t now_ms)
{
    unsigned lifetime_ms = connection->lane->pool->settings->max_lifetime_ms;
    if (!lifetime_ms)
        return;
    connection->ends_ms = now_ms + lifetime_ms;
    connection->expires_ms = connection->ends_ms - random_u64() % (lifetime_ms / 10 + 1);
}

bool postgres_renewal_is_over(const struct postgres_connection *connection, uint64_t now_ms)
{
    if (!connection->expires_ms || now_ms < connection->expires_ms)
        return false;
    return connection->lane->pool->opening == 0 || now_ms >= connection->ends_ms;
}

static bool is_due(const struct postgres_connection *connection, uint64_t now_ms, bool is_above_min)
{
    unsigned lifetime_ms = connection->lane->pool->settings->max_lifetime_ms;
    uint64_t lead_ms = lifetime_ms / 3 < POSTGRES_RENEWAL_LEAD_MS ? lifetime_ms / 3 : POSTGRES_RENEWAL_LEAD_MS;
    if (connection->is_renewed || !connection->expires_ms || now_ms + lead_ms < connection->expires_ms)
        return false;
    bool is_in_use = connection->leased_ns || now_ms - connection->quiet_since_ms < lead_ms;
    return is_in_use || !is_above_min;
}

void postgres_renewal_look(struct postgres_lane *lane)
{
    uint64_t now_ms = loop_now_ms(lane->loop);
    struct postgres_pool *pool = lane->pool;
    postgres_pool_lock(pool);
    bool is_above_min = pool->total > pool->settings->min_size;
    postgres_pool_unlock(pool);
    LIST_EACH(&lane->all, node)
    {
        struct postgres_connection *connection = LIST_ENTRY(node, struct postgres_connection, all_node);
        if (!is_due(connection, now_ms, is_above_min))
            continue;
        connection->is_renewed = postgres_opening_one(lane);
        return;
    }
}
