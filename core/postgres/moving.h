/* moving.h - connections between loops. For pool.c. */
#ifndef POSTGRES_MOVING_H
#define POSTGRES_MOVING_H

#include "postgres/pool.h"

/* Mutex held: the connection, which is on no list, is the call's, whose loop is another. */
void postgres_moving_bind(struct postgres_connection *connection, struct sql_call *call);
/* A bound one sets out, on its own loop. */
void postgres_moving_start(struct postgres_connection *connection);
/* Mutex held: an idle connection of another lane goes to the call. False: there is none. */
bool postgres_moving_fetch(struct postgres_lane *lane, struct sql_call *call);

#endif
