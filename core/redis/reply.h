/* reply.h - private to core/redis: bytes from the server become replies (RESP2, redis.io/docs/reference/protocol-spec).
 *
 * hiredis does the reading. A reply that is no array is handed on while it still lies in hiredis's buffer: no copy, no
 * allocation. Arrays are built in an arena that the next array reuses. Bounds: bytes of a reply, seven levels of arrays.
 */
#ifndef REDIS_REPLY_H
#define REDIS_REPLY_H

#include "redis/redis.h"

struct redis_reader;

/* The reply is borrowed for the call. false: no more of this connection is wanted. The reader may not be closed in it. */
typedef bool redis_on_reply(void *arg, const struct redis_reply *reply);

MUST_USE enum fail redis_reader_open(size_t reply_bytes_max, redis_on_reply *on_reply, void *arg, struct redis_reader **out);
void redis_reader_close(struct redis_reader *reader);         /* NULL is fine */
/* FAIL_INVALID: not RESP2, or over a bound; redis_reader_why says what. FAIL_CANCELLED: on_reply wanted no more.
 * After either only close is left. */
MUST_USE enum fail redis_reader_feed(struct redis_reader *reader, const char *data, size_t len);
const char *redis_reader_why(const struct redis_reader *reader);

#endif
