/* trunc.h - date_trunc of PostgreSQL on timestamps as text. */
#ifndef SQLITE_TRUNC_H
#define SQLITE_TRUNC_H

#include "base/str.h"

#define SQLITE_TRUNC_BYTES 64
/* 'YYYY-MM-DD[ T]HH:MM[:SS[.f]][zone]' or a date alone, cut down to the field; separator and zone stay as written.
 * Returns NULL, or what is wrong in words for people. */
const char *sqlite_trunc(struct str field, struct str timestamp, char out[SQLITE_TRUNC_BYTES]);

#endif
