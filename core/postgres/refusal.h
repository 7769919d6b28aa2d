/* refusal.h - why a connection cannot be had, in words that say what to do. */
#ifndef POSTGRES_REFUSAL_H
#define POSTGRES_REFUSAL_H

#include "sql/error.h"

/* message: libpq's, asked to be verbose (PQERRORS_VERBOSE), so that the SQLSTATE stands in it. */
void postgres_refusal_fill(struct sql_error *error, const char *message);

#endif
