/* parking.h - connections set aside, open but given to nobody, while autosize compares fewer with more. For pool.c and those it works with.
 *
 * All but postgres_parking_look under the pool's mutex.
 */
#ifndef POSTGRES_PARKING_H
#define POSTGRES_PARKING_H

#include "postgres/pool.h"

/* More are about than may be in use: the leased connection that is given back may be set aside. */
static inline bool postgres_parking_is_due(const struct postgres_pool *pool)
{
    return pool->total - pool->parked > postgres_sizing_limit(&pool->sizing);
}

/* Sets the leased connection aside, on its own loop. */
void postgres_parking_park(struct postgres_connection *connection);
/* The connection, which is idle, leaves the list it is on. */
void postgres_parking_remove(struct postgres_connection *connection);
/* As many as the limit has room for become idle again; all of them when the pool closes. */
void postgres_parking_end(struct postgres_pool *pool);
/* From upkeep of each lane: the same, and a connection of the lane that is set aside and not worth keeping is closed. */
void postgres_parking_look(struct postgres_lane *lane);

#endif
