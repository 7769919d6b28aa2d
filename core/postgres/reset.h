/* reset.h - makes a connection as good as new before it goes back: ends what runs, rolls back, undoes settings. */
#ifndef POSTGRES_RESET_H
#define POSTGRES_RESET_H

#include "postgres/connection.h"

enum { POSTGRES_RESET_MS = 2000 };

/* A transaction is open, or settings may outlive it. */
bool postgres_reset_is_needed(const struct postgres_connection *connection);
/* The connection is the reset's from here on: back in the pool within POSTGRES_RESET_MS, or closed. */
void postgres_reset(struct postgres_connection *connection);

#endif
