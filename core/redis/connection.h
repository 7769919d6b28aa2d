/* connection.h - private to core/redis: what connection.c (the line) and command.c (what travels on it) share. */
#ifndef REDIS_CONNECTION_H
#define REDIS_CONNECTION_H

#include "base/breaker.h"
#include "base/buf.h"
#include "loop/stream.h"
#include "redis/redis.h"

enum redis_link { LINK_IDLE, LINK_CONNECTING, LINK_GREETING, LINK_READY, LINK_DROPPING, LINK_BACKOFF, LINK_CLOSED };

/* One command on the line; its place in the row is all that tells its reply. */
struct redis_slot {
    struct redis_call *call; /* NULL: nobody waits (any more) */
    uint64_t due_ms;
    enum redis_errand { ERRAND_CALL, ERRAND_SEND, ERRAND_AUTH, ERRAND_SELECT, ERRAND_PING } errand;
    bool is_late;            /* its caller was told FAIL_TIMEOUT */
};

struct redis {
    struct loop *loop;
    struct redis_settings settings;
    enum redis_link link;
    struct stream *stream;
    struct stream_connecting *connecting;
    struct redis_reader *reader;
    struct timer timer;            /* of GREETING and BACKOFF */
    unsigned backoff_ms;
    bool was_ready, is_told;       /* is_told: the log says that it is away */
    struct loop_hook flush;        /* the end of the turn: what was collected leaves */
    struct buf out, sending;       /* collecting; borrowed by stream_write while is_sending */
    bool is_sending;

    struct redis_slot *slots;      /* a ring; a command's position modulo slot_count is its slot */
    uint64_t head, tail;
    size_t slot_count;
    struct timer watch;            /* looks after commands nobody waits for */
    uint64_t watched;              /* the first position it has not looked at */
    unsigned late;                 /* deadlines passed since the last reply */
    struct breaker breaker;
    struct list ended;             /* calls to be told by end_task */
    struct loop_task end_task;
    bool is_ending;

    struct redis_stats stats;
    char why[256];
    bool is_why_of_send;           /* `why` tells of a refused redis_send, not of the line */
    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

/* connection.c */
void redis_lose(struct redis *redis, const char *format, ...) __attribute__((format(printf, 2, 3)));
void redis_greeted(struct redis *redis, enum redis_errand errand, const struct redis_reply *reply);
void redis_finish(struct redis *redis);            /* frees a closed one once nothing holds it any more */

/* command.c */
MUST_USE enum fail redis_put(struct redis *redis, const struct str *words, unsigned word_count, enum redis_errand errand,
                             unsigned timeout_ms);
bool redis_answer(void *redis, const struct redis_reply *reply);   /* the next reply on the line; false: the line is lost */
void redis_abandon(struct redis *redis);           /* all on the line end with FAIL_CLOSED, told in a turn of their own */
void redis_end_later(struct redis *redis);         /* has end_task run */
void redis_end(void *redis);                       /* end_task */

#endif
