/* response.h - the response cache: a route's fresh answer is written from memory without entering Lua.
 *
 * Key: "R", path, query and the request fields the route names in `vary`. Routes that ask who the caller is are never
 * cached here (wick check refuses the combination). Only 200 answers to GET and HEAD are kept, in memory (L1) only, and none that
 * is for one caller: with Set-Cookie, or Cache-Control: private or no-store, or made from what the key does not hold.
 *
 *   FRESH -> sent, X-Cache: HIT; If-None-Match -> 304
 *   STALE -> the first to ask runs the handler, the others are sent the stale answer, X-Cache: STALE
 *   MISS  -> the first to ask runs the handler (RUN), the others wait for its answer (single-flight)
 *   A handler that ends with 5xx while a stale answer is there: the stale one is sent.
 */
#ifndef SERVE_RESPONSE_H
#define SERVE_RESPONSE_H

#include "cache/read.h"
#include "http/reply.h"

/* Registers its metrics; once, before the threads start. */
void serve_response_open(void);

struct serve_policy {                 /* of a route; borrowed as long as the route */
    uint64_t ttl_ms, stale_ms;
    struct str tags[CACHE_TAGS_MAX];
    unsigned tag_count;
    struct str vary[4];
    unsigned vary_count;
    struct str vary_line;             /* "Vary: a, b", CRLF included, that each answer of the route has among its fields; may be empty */
};
struct serve_fill;                    /* the duty of a request that runs the handler: end it with serve_response_send, or _abandon */

enum serve_response { SERVE_DONE, SERVE_WAITS, SERVE_RUN };
/* DONE: replied. WAITS: on_run or a reply follows later: on_run(arg, request, fill) when this request must run the handler
 * after all; *fill is its place in the queue: if the client leaves meanwhile, call serve_response_leave with it. RUN: run the
 * handler now; *fill is its duty, or NULL when there is none (the request cannot be cached). */
typedef void serve_on_run(void *arg, struct http_request *request, struct serve_fill *fill);
enum serve_response serve_response_try(struct cache *cache, const struct serve_policy *policy, struct http_request *request,
                                       serve_on_run *on_run, void *arg, struct serve_fill **fill);
/* Sends the handler's answer; keeps it when it is a 200. With fill NULL it just sends with ETag (uncached routes): the handler's own,
 * where its fields have one. The request is gone. */
void serve_response_send(struct serve_fill *fill, struct http_request *request, const struct http_reply *reply);
/* The answer to come is made from what the key does not hold: it is not kept, and those who wait run the handler each on their own. */
void serve_response_is_for_one(struct serve_fill *fill);
void serve_response_abandon(struct serve_fill *fill);           /* the handler ends without an answer to keep (client gone) */
void serve_response_leave(struct serve_fill *waiting);          /* on_abort of a request that WAITS; replies for it */

#endif
