/* copy.h - COPY IN and COPY OUT on a leased connection; sql/copy.h says what its holder sees. */
#ifndef POSTGRES_COPY_H
#define POSTGRES_COPY_H

#include "postgres/connection.h"
#include "sql/copy.h"

enum { POSTGRES_COPY_CHUNK_BYTES = 64 * 1024, POSTGRES_COPY_TURN_BYTES = 1024 * 1024, POSTGRES_COPY_DOUBT_MS = 500 };

/* Three of the ops of sql/copy.h; the fourth is postgres_session_copy. */
void postgres_copy_put(struct sql_copy *copy, struct str chunk);
void postgres_copy_end(struct sql_copy *copy, const char *why);
void postgres_copy_read(struct sql_copy *copy);

/* For session.c. The connection is quiet, and is not until the COPY is over: then user->on_call comes for copy->call, and on_quiet.
 * On failure neither comes, and call.error is set. */
MUST_USE enum fail postgres_copy_begin(struct postgres_connection *connection, struct sql_copy *copy);
/* For query.c: nobody wants this call any more; the COPY is ended, the rest of it read and dropped. False: there is none of it here. */
bool postgres_copy_detach(struct postgres_connection *connection, const struct sql_call *call);
void postgres_copy_lost(struct postgres_connection *connection);
/* For connection.c: bytes have come in, or there is room for some; after either the connection may be gone. */
void postgres_copy_input(struct postgres_connection *connection);
void postgres_copy_output(struct postgres_connection *connection);
unsigned postgres_copy_events(const struct postgres_connection *connection);   /* to wait for: WATCH_READ, WATCH_WRITE */
void postgres_copy_clear(struct postgres_connection *connection);

#endif
