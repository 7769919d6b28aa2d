/* error.h - what an error result says: to the call it belongs to, and of the connection it came on. */
#ifndef POSTGRES_ERROR_H
#define POSTGRES_ERROR_H

#include "sql/error.h"

#include <libpq-fe.h>
#include <stdbool.h>

void postgres_error_fill(struct sql_error *error, const PGresult *result);
/* The server, or a pooler, has ended the connection with it, or libpq has seen the end. What a statement merely failed with leaves the
 * connection as it was, whatever its SQLSTATE: a foreign server that is down is 08001, too. */
bool postgres_error_is_end(const PGresult *result);
/* It was said by the other side: libpq's own errors have no SQLSTATE. */
bool postgres_error_is_told(const PGresult *result);

#endif
