/* etag.h - entity tags: what a body is called, so that nobody is sent the one they have (RFC 9110 8.8.3). */
#ifndef SERVE_ETAG_H
#define SERVE_ETAG_H

#include "base/str.h"

#include <stdbool.h>

enum { SERVE_ETAG_LEN = 18 };

/* Strong ETag of a body: 18 characters with quotes, and a zero; the same on every node. */
void serve_etag(struct str body, char out[SERVE_ETAG_LEN + 1]);
/* RFC 9110 13.1.2: a list of entity tags, or "*"; compared weakly. */
bool serve_etag_matches(struct str if_none_match, struct str etag);

#endif
