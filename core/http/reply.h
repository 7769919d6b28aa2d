/* reply.h - the answer to a request: whole, or piece by piece.
 *
 * Every request gets exactly one reply, also an aborted one (it is thrown away then). The server adds Date, X-Request-Id,
 * Content-Length or Transfer-Encoding, Connection; answers HEAD without the body; 204, 205 and 304 have none.
 * Head and body leave in one writev where the socket takes them; replies to pipelined requests leave together.
 */
#ifndef HTTP_REPLY_H
#define HTTP_REPLY_H

#include "base/fail.h"
#include "http/request.h"

enum { HTTP_BODY_COPIED_MAX = 2048 };    /* shorter bodies are copied behind their head, and released at once */

struct http_reply {
    int status;
    struct str type;                      /* Content-Type; empty: none */
    struct str fields;                    /* further header lines, each ended by CRLF, already checked (http_field_is_safe) */
    struct str body;                      /* borrowed until release(owner) is called, exactly once, maybe within http_reply_send */
    void (*release)(void *owner);         /* NULL: the body is copied where it must wait */
    void *owner;
    bool close;                           /* close the connection after it */
};
/* The request is gone after this. */
void http_reply_send(struct http_request *request, const struct http_reply *reply);

/* A reply in pieces: chunked on 1.1 (closing on 1.0). on_room: the queue fell under 64 KiB, or the client is gone (fail, once).
 * FAIL_CLOSED (aborted) and FAIL_NOMEM: nothing was begun, a reply is still owed. The request lives until http_reply_end. */
struct http_streaming;
typedef void http_on_room(void *arg, enum fail fail);
MUST_USE enum fail http_reply_begin(struct http_request *request, const struct http_reply *head, http_on_room *on_room, void *arg,
                                    struct http_streaming **out);
/* Copies. FAIL_FULL: taken, but wait for on_room before the next. FAIL_CLOSED: the client is gone; call http_reply_end still. */
MUST_USE enum fail http_reply_piece(struct http_streaming *streaming, struct str piece);
void http_reply_end(struct http_streaming *streaming, bool complete);   /* false: cut the connection so that the client notices */

bool http_field_is_safe(struct str name, struct str value);   /* token name; no CR, LF, NUL or other controls in the value */
const char *http_status_text(int status);

#endif
