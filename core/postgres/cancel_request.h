/* cancel_request.h - asks to cancel by the protocol's own request, for connections whose pid is a pooler's invention.
 *
 * libpq 15 can send it only by blocking (PQcancel), so that happens aside. The key in it belongs to our connection to the pooler, which
 * passes it on to whatever back end serves that connection then, and to none when it is idle or closed.
 */
#ifndef POSTGRES_CANCEL_REQUEST_H
#define POSTGRES_CANCEL_REQUEST_H

#include "loop/loop.h"

#include <libpq-fe.h>
#include <stdbool.h>

struct postgres_cancel_request;

/* on_done comes once, on the loop, when the other side has closed the request's connection: what it was to stop has got the signal. why is
 * libpq's words when it could not be sent, else NULL. FAIL_FULL: too many hang already. */
MUST_USE enum fail postgres_cancel_request_start(struct loop *loop, PGconn *pg, void (*on_done)(void *arg, const char *why), void *arg,
                                                 struct postgres_cancel_request **out);
/* on_done will not come. The thread may go on for as long as the other side lets it; it touches nothing of ours. NULL is fine. */
void postgres_cancel_request_leave(struct postgres_cancel_request *request);

#endif
