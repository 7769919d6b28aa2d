/* trust.h - which proxies are believed when they say, in X-Forwarded-For, for whom they ask. */
#ifndef HTTP_TRUST_H
#define HTTP_TRUST_H

#include "base/fail.h"
#include "http/parse.h"

#include <stdint.h>

enum { HTTP_TRUST_MAX = 64, HTTP_ADDRESS_BYTES = 16 };

struct http_net {
    uint8_t address[HTTP_ADDRESS_BYTES];             /* IPv4 as ::ffff:a.b.c.d */
    uint8_t bits;                                    /* of it that count: 96 to 128 for IPv4 */
};
struct http_trust {
    unsigned count;
    bool has_unix;                                   /* who comes through the unix socket we listen on */
    struct http_net nets[HTTP_TRUST_MAX];
};

/* Adds "10.0.0.0/8", "::1", "unix", .. FAIL_INVALID: it is none of these, or has bits set behind the prefix; FAIL_FULL. */
MUST_USE enum fail http_trust_add(struct http_trust *trust, struct str text);
/* Who asks. `peer` holds the address of the other end of the connection, and keeps it unless that is trusted: then the last address
 * of X-Forwarded-For that is not trusted takes its place, or the first one when all are. An element that is no address ends the
 * search: the proxy that let it through is who asks. bytes: at least 46. */
void http_trust_find(const struct http_trust *trust, const struct http_head *head, char *peer, size_t bytes);

#endif
