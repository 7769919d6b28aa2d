/* listen.h - the LISTEN multiplexer: one connection for the process, any number of subscribers on any loop (sql/listen.h). */
#ifndef POSTGRES_LISTEN_H
#define POSTGRES_LISTEN_H

#include "base/breaker.h"
#include "base/map.h"
#include "postgres/connection.h"
#include "postgres/meter.h"
#include "sql/listen.h"

#include <pthread.h>

enum { POSTGRES_CHANNEL_BYTES = 63, POSTGRES_CHANNELS_MAX = 1000 };              /* NAMEDATALEN - 1 */
enum { POSTGRES_NOTES_MAX = 1000, POSTGRES_NOTES_BYTES_MAX = 1024 * 1024 };      /* that one subscriber may leave waiting */
enum { POSTGRES_LISTEN_RETRY_MS = 50, POSTGRES_LISTEN_ANSWER_MS = 5000 };

struct postgres_pool;

struct postgres_listen {
    struct loop *loop;                    /* that owns the connection */
    struct postgres_pool *pool;           /* its settings are those in force */
    struct postgres_meter *meter;
    /* under the mutex */
    pthread_mutex_t mutex;
    struct map channels;                  /* name -> struct postgres_channel */
    unsigned subscriptions;               /* that have not been freed */
    bool is_forbidden, is_closing, is_posted;   /* forbidden: by a pooler, and that was said */
    struct loop_task task;                /* of the owner: look what is to be done */
    /* the owner's */
    struct postgres_connection *connection;
    struct sql_call call;                 /* the last of each unit: its answer says that the unit took place */
    struct breaker breaker;
    struct timer retry, ping, answer;
    bool is_asking, is_ping_due, is_answered, has_worked, has_heard;
};

MUST_USE enum fail postgres_listen_init(struct postgres_listen *listen, struct postgres_pool *pool, struct loop *loop);
/* On the owner's loop: closes the connection, takes no more subscribers. */
void postgres_listen_close(struct postgres_listen *listen);
bool postgres_listen_is_over(struct postgres_listen *listen);   /* closed, and every subscription has gone */
void postgres_listen_clear(struct postgres_listen *listen);

MUST_USE enum fail postgres_listen_subscribe(struct postgres_listen *listen, struct sql_engine *engine, struct loop *loop,
                                             struct str channel, const struct sql_listener *listener,
                                             struct sql_subscription **out, struct sql_error *error);
void postgres_listen_unsubscribe(struct sql_subscription *subscription);

#endif
