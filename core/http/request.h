/* request.h - one request while it is being answered.
 *
 * Lives from its complete head until its reply is handed over. Slices in `head`, `body` and `params` are valid at any time
 * until the reply, but they MOVE once, when on_request returns without having replied, or between on_head and on_request when
 * the body is still to come (the bytes are then copied out of the read buffer): hold the request, not pointers into it.
 */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include "base/arena.h"
#include "http/parse.h"

#include <stdint.h>

struct http_conn;

#define HTTP_PARAMS_MAX 8
struct http_param { struct str name, value; };      /* of the path; value still percent-encoded */

struct http_request {
    struct http_conn *conn;
    struct http_head head;
    struct str body;                                 /* whole, decoded */
    struct arena arena;                              /* ends with the request */
    const void *route;                               /* what the router gave for it; NULL before and without */
    struct http_param params[HTTP_PARAMS_MAX];
    unsigned param_count;
    char id[65];                                     /* X-Request-Id: taken when it is 1..64 of [A-Za-z0-9._-], else made */
    uint8_t id_len;
    bool aborted, replied;
    size_t body_max;                                 /* handler may lower or raise it in on_head */
    uint64_t started_ns;                             /* when its first byte was read */
    void *user;                                      /* the handler's */
};

struct loop *http_request_loop(const struct http_request *request);
/* The numeric address of who asks, "unix", or "" when it has left. Behind a trusted proxy it is the client's: see trust.h. */
void http_request_peer(const struct http_request *request, char *out, size_t bytes);

#endif
