/* problem.h - application/problem+json (RFC 9457), the only shape of an error that an API consumer sees. */
#ifndef HTTP_PROBLEM_H
#define HTTP_PROBLEM_H

#include "base/buf.h"
#include "http/request.h"

struct http_problem {
    int status;
    struct str type;          /* a slug such as "service-not-found"; written as "urn:wick:problem:<slug>"; empty: about:blank */
    struct str title;         /* empty: the status text */
    struct str detail;        /* empty: left out */
    struct str members;       /* further members as JSON text without braces: "\"errors\":[...]"; empty: none */
    struct str fields;        /* further header lines */
    unsigned retry_after_s;   /* 0: none */
    bool close;
};
void http_problem_write(struct buf *out, const struct http_problem *problem, const struct http_request *request);
void http_problem_send(struct http_request *request, const struct http_problem *problem);   /* the request is gone after this */
/* The path knows these methods (bits as in http_match_info) and not the request's: 405 with Allow. OPTIONS asks for just that: 204
 * with Allow. The request is gone after this. */
void http_problem_method(struct http_request *request, unsigned methods);

#endif
