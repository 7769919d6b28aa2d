/* redis.h - a Redis server seen from one loop: commands out, replies in, and never a wait longer than promised.
 *
 * One connection for each loop (RESP2 over loop/stream; hiredis only formats and reads). Commands of one turn leave in one
 * write. A command ends by its reply, its deadline (its late reply is dropped by position), or the loss of the connection.
 * While the breaker is open commands end at once with FAIL_REFUSED. No queue of commands while disconnected.
 *
 * States: IDLE -> CONNECTING -> GREETING (AUTH, SELECT) -> READY -> (lost) BACKOFF -> CONNECTING ...
 */
#ifndef REDIS_REDIS_H
#define REDIS_REDIS_H

#include "base/fail.h"
#include "base/str.h"
#include "loop/loop.h"
#include "loop/timer.h"

struct redis;

struct redis_settings {
    char host[256];               /* or the path of a unix socket */
    int port;
    char user[64], password[256]; /* "" for none */
    int database;
    unsigned connect_ms, command_ms;   /* defaults 250 and 20 */
    unsigned pending_max;              /* commands in flight; over it FAIL_FULL. default 10,000 */
    size_t reply_bytes_max;            /* a larger reply costs the connection. default 16 MiB */
};
/* redis://[user[:password]@]host[:port][/db], rediss:// is refused with a clear text, unix:///path?db=n */
MUST_USE enum fail redis_settings_read(struct str url, struct redis_settings *out, char *why, size_t why_bytes);

enum redis_type { REDIS_NIL, REDIS_STRING, REDIS_STATUS, REDIS_ERROR, REDIS_INTEGER, REDIS_ARRAY };
struct redis_reply {
    enum redis_type type;
    struct str text;               /* string, status, error */
    int64_t integer;
    size_t count;                  /* array */
    struct redis_reply *items;
};
struct redis_call {
    const struct str *words;       /* command and arguments; copied by redis_run */
    unsigned word_count;
    unsigned timeout_ms;           /* 0: command_ms */
    void (*on_reply)(struct redis_call *call);   /* once, never from within redis_run */
    void *arg;
    enum fail fail;                /* FAIL_OK (reply may still be REDIS_ERROR); never sent: FAIL_REFUSED (not connected, or the
                                    * breaker is open), FAIL_FULL; maybe executed: FAIL_TIMEOUT, FAIL_CLOSED */
    const struct redis_reply *reply;             /* borrowed for the callback */
    struct list node;              /* from here on private; zeroed before the first redis_run */
    struct timer timer;
    struct redis *redis;
    uint64_t position;
    int state;
};

/* Starts to connect at once and goes on trying for ever; a server that is not there is no failure of this call.
 * Settings left 0 take their defaults. */
MUST_USE enum fail redis_open(struct loop *loop, const struct redis_settings *settings, struct redis **out);
void redis_close(struct redis *redis, void (*on_closed)(void *arg), void *arg);   /* pending calls end with FAIL_CLOSED */
/* Not for commands that change what replies come (SUBSCRIBE, MONITOR, CLIENT REPLY) or that block (BLPOP): all share one line. */
void redis_run(struct redis *redis, struct redis_call *call);
void redis_cancel(struct redis_call *call);      /* on_reply will not come any more; a late reply is dropped */
/* Fire and forget (SET, DEL): dropped silently while not ready. */
void redis_send(struct redis *redis, const struct str *words, unsigned word_count);
bool redis_is_ready(const struct redis *redis);
bool redis_is_open(const struct redis *redis);   /* ready, and the breaker closed or half: worth asking */
const char *redis_why(const struct redis *redis);/* last trouble in words, "" when well */
struct redis_stats { uint64_t commands, timeouts, reconnects, refused; unsigned pending; };
void redis_stats(const struct redis *redis, struct redis_stats *out);

#endif
