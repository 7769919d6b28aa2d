/* parse.h - the head of an HTTP/1.1 request (RFC 9112), strict, incremental, without a copy.
 *
 * The head must lie in one piece. `scanned` remembers how far the search for its end has come, so a head that arrives
 * byte by byte costs O(n). Framing is decided here and nowhere else; nothing on the reject list of the research is let
 * through, however it is split. Slices point into the given bytes.
 */
#ifndef HTTP_PARSE_H
#define HTTP_PARSE_H

#include "base/str.h"

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_OPTIONS,
                   HTTP_METHODS, HTTP_METHOD_OTHER = HTTP_METHODS };

/* Fields that the server or bindings ask for by number. */
enum http_known { HTTP_HOST, HTTP_CONNECTION, HTTP_CONTENT_LENGTH, HTTP_TRANSFER_ENCODING, HTTP_EXPECT, HTTP_CONTENT_TYPE, HTTP_ACCEPT,
                  HTTP_ACCEPT_ENCODING, HTTP_AUTHORIZATION, HTTP_IF_NONE_MATCH, HTTP_IF_MATCH, HTTP_X_REQUEST_ID, HTTP_COOKIE,
                  HTTP_IDEMPOTENCY_KEY, HTTP_TRACEPARENT, HTTP_CACHE_CONTROL, HTTP_UPGRADE, HTTP_RANGE, HTTP_KNOWN };

#define HTTP_FIELDS_MAX 100
struct http_field { struct str name, value; };
struct http_head {
    enum http_method method;
    struct str method_text, target, path, query;   /* query without '?'; path still percent-encoded */
    unsigned minor;                                /* of HTTP/1.x */
    unsigned field_count;
    bool keep_alive, chunked, expects_continue, has_length;
    uint64_t content_length;
    size_t bytes;                                  /* of the whole head, blank line included */
    struct str known[HTTP_KNOWN];                  /* first value of each known field; .data NULL when absent */
    struct http_field fields[HTTP_FIELDS_MAX];
};
struct http_limits { size_t line_bytes, head_bytes; unsigned fields_max; size_t body_bytes; };  /* defaults 8 KiB, 32 KiB, 100, 1 MiB */

enum http_parse { HTTP_PARSE_MORE, HTTP_PARSE_DONE, HTTP_PARSE_BAD };
struct http_parse_error { int status; const char *why; };   /* 400, 414, 417, 431, 501, 505, and a phrase */

/* *scanned starts at 0 for each head and is kept between calls with the same growing bytes. head is filled on DONE only. */
enum http_parse http_parse_head(struct str bytes, const struct http_limits *limits, size_t *scanned, struct http_head *head,
                                struct http_parse_error *error);
struct str http_head_field(const struct http_head *head, struct str name);   /* any case; .data NULL when absent */
const char *http_method_name(enum http_method method);

#endif
