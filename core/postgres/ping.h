/* ping.h - asks connections that were idle for long whether their server is still there. */
#ifndef POSTGRES_PING_H
#define POSTGRES_PING_H

#include "postgres/connection.h"

/* Who has a connection that is being pinged. */
extern const struct postgres_user postgres_ping_user;

/* The leased, quiet connection is the ping's from here on: back in the pool when the server answers within ping_timeout, else closed. */
void postgres_ping(struct postgres_connection *connection);

#endif
