/* query.h - walks key=value pairs of a query string or a form, decoding as it goes. */
#ifndef HTTP_QUERY_H
#define HTTP_QUERY_H

#include "base/arena.h"

/* Takes the next pair from *query (advancing it), decoded into the arena where needed. 1: got one; 0: end;
 * -1: a broken escape or invalid UTF-8 (400); -2: out of memory. Empty pairs are passed over. */
int http_query_next(struct str *query, struct arena *arena, struct str *key, struct str *value);

#endif
