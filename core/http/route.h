/* route.h - from method and path to a route: a tree of segments, literals before parameters.
 *
 * Patterns: /services/{id:uuid}/logs, types uuid, int64, string (default, one segment, not empty) and path (the rest; last only).
 * No trailing-slash magic, no case folding: /a and /a/ are two paths. Dot segments and empty segments never match a parameter.
 */
#ifndef HTTP_ROUTE_H
#define HTTP_ROUTE_H

#include "base/fail.h"
#include "http/request.h"

struct http_router;
MUST_USE enum fail http_router_open(struct http_router **out);
void http_router_close(struct http_router *router);           /* NULL is fine */
/* route is what a match gives back. FAIL_INVALID with why: bad pattern, or the same method and shape added twice
 * (why names both patterns). GET also answers HEAD. */
MUST_USE enum fail http_router_add(struct http_router *router, enum http_method method, struct str pattern, const void *route,
                                   char *why, size_t why_bytes);
enum http_match { HTTP_MATCH_FOUND, HTTP_MATCH_NONE, HTTP_MATCH_METHOD, HTTP_MATCH_PARAM };
struct http_match_info {
    unsigned methods;                     /* bit 1<<http_method for each method the path knows (METHOD, and for OPTIONS) */
    struct str param, expected;           /* PARAM: which parameter is not of its type ("id", "uuid") */
};
/* Fills request->route, params. The target "*" is the server as a whole, which knows every method: METHOD (RFC 9110 9.3.7). */
enum http_match http_router_match(const struct http_router *router, struct http_request *request, struct http_match_info *info);
void http_allow_header(unsigned methods, char out[64]);        /* "GET, HEAD, POST, OPTIONS" */

#endif
