/* uuid.h - UUIDs (RFC 9562) as their 36-character text. */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include "base/str.h"

#define UUID_LEN 36
bool uuid_is(struct str text);                 /* 8-4-4-4-12 hex digits, any case */
void uuid_v4(char out[UUID_LEN + 1]);
void uuid_v7(char out[UUID_LEN + 1]);          /* ordered by time, monotonic within a thread */

#endif
