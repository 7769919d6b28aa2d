/* listen.c - one connection that listens for the whole process, and hands what it hears to subscribers on their loops.
 *
 * DESIGN  OFF -> OPENING [the first subscriber]    OPENING -> OPEN [on_open]    OPEN -> OFF [the last one has left]
 *         OPENING, OPEN -> WAITING [refused, lost, silent, a pooler in between]    WAITING -> OPENING [retry_ms later: the breaker's time]
 *         In OPEN, ask() sends one unit: LISTEN and UNLISTEN of all channels that need it, and `select 1` behind them, whose answer says
 *         that they hold. The same select alone is the ping of an idle connection: with neither an answer nor a note in time it is given
 *         up, for a half-open socket says nothing by itself.
 * HOLDS   Channels and subscriptions change under the mutex; the connection is touched by the owner's loop only.
 * Path:   script/listen > sql/listen > [postgres/listen] > postgres/channel, subscription, query
 */
#include "postgres/listen.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/siphash.h"
#include "postgres/channel.h"
#include "postgres/pool.h"
#include "postgres/query.h"
#include "postgres/subscription.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const struct breaker_limits breaker_limits = { .failures_max = 1, .open_ms = 250, .open_ms_max = 5000 };

static void go_on(struct postgres_listen *listen);
static void on_task(void *arg);
static void on_lost(struct postgres_connection *connection);

static void lock(struct postgres_listen *listen) { pthread_mutex_lock(&listen->mutex); }
static void unlock(struct postgres_listen *listen) { pthread_mutex_unlock(&listen->mutex); }

/* --- subscribing ---------------------------------------------------------------------------------------------- */

static void tell_owner(struct postgres_listen *listen)
{
    if (listen->is_posted || listen->is_closing)
        return;
    listen->is_posted = true;
    loop_post(listen->loop, &listen->task);
}

static enum fail check_channel(struct str channel, struct sql_error *error)
{
    if (channel.len >= 1 && channel.len <= POSTGRES_CHANNEL_BYTES && str_utf8(channel) &&
        !memchr(channel.data, '\0', channel.len))
        return FAIL_OK;
    sql_error_set(error, "22023", "the name of a channel has 1 to %d bytes of UTF-8", POSTGRES_CHANNEL_BYTES);
    return FAIL_INVALID;
}

static enum fail check_listen(struct postgres_listen *listen, struct str channel, struct sql_error *error)
{
    if (postgres_pool_is_pooled(listen->pool)) {
        sql_error_set(error, "0A000",
                      "LISTEN does not work through PgBouncer in transaction mode: give database.postgres the address "
                      "of PostgreSQL "
                      "itself, or do without listen");
        return FAIL_REFUSED;
    }
    if (listen->is_closing) {
        sql_error_set(error, "57P01", "the server is shutting down");
        return FAIL_CLOSED;
    }
    if (listen->channels.count >= POSTGRES_CHANNELS_MAX && !map_get(&listen->channels, channel)) {
        sql_error_set(error, "53400",
                      "%d channels are listened to already; use fewer, and tell things apart in the payload",
                      POSTGRES_CHANNELS_MAX);
        return FAIL_FULL;
    }
    return FAIL_OK;
}

static enum fail add(struct postgres_listen *listen, struct postgres_subscription *subscription, struct str name,
                     struct sql_error *error)
{
    enum fail fail = check_listen(listen, name, error);
    if (fail)
        return fail;
    struct postgres_channel *channel = postgres_channel_find(listen, name);
    if (!channel)
        return FAIL_NOMEM;
    subscription->channel = channel;
    list_push_back(&channel->subscriptions, &subscription->node);
    listen->subscriptions++;
    metric_gauge_add(listen->meter->subscribers, 1);
    if (channel->holds && !channel->is_asked)
        postgres_subscription_gap(subscription, /* is_loss= */ false);
    else
        tell_owner(listen);
    return FAIL_OK;
}

enum fail postgres_listen_subscribe(struct postgres_listen *listen, struct sql_engine *engine, struct loop *loop,
                                    struct str channel, const struct sql_listener *listener,
                                    struct sql_subscription **out, struct sql_error *error)
{
    enum fail fail = check_channel(channel, error);
    if (fail)
        return fail;
    struct postgres_subscription *subscription = mem_zero(MEM_POSTGRES, sizeof *subscription);
    if (!subscription)
        return FAIL_NOMEM;
    *subscription = (struct postgres_subscription){
        .base.engine = engine, .listen = listen, .loop = loop, .listener = *listener
    };
    subscription->task = (struct loop_task){ .run = postgres_subscription_deliver, .arg = subscription };
    list_init(&subscription->node);
    list_init(&subscription->notes);
    lock(listen);
    fail = add(listen, subscription, channel, error);
    unlock(listen);
    if (fail)
        mem_free(subscription);
    else
        *out = &subscription->base;
    return fail;
}

void postgres_listen_unsubscribe(struct sql_subscription *base)
{
    struct postgres_subscription *subscription = (struct postgres_subscription *)base;
    struct postgres_listen *listen = subscription->listen;
    lock(listen);
    assert(!subscription->is_gone);
    subscription->is_gone = true;
    list_remove(&subscription->node);
    metric_gauge_add(listen->meter->subscribers, -1);
    if (list_is_empty(&subscription->channel->subscriptions))
        tell_owner(listen);
    postgres_subscription_free_if_over(subscription);
    unlock(listen);
}

/* --- the connection, on the owner's loop ---------------------------------------------------------------------- */

static void close_connection(struct postgres_listen *listen)
{
    timer_stop(&listen->ping);
    timer_stop(&listen->answer);
    postgres_connection_close(listen->connection);
    listen->connection = NULL;
    listen->is_asking = listen->is_ping_due = false;
    lock(listen);
    postgres_channel_forget_all(listen);
    unlock(listen);
}

static void on_retry(void *arg) { go_on(arg); }

/* It did not open, was lost, or says nothing: once more, in a while. */
static void retry_later(struct postgres_listen *listen, const struct sql_error *error)
{
    uint64_t now_ms = loop_now_ms(listen->loop);
    if (!listen->has_worked)
        breaker_failed(&listen->breaker, now_ms);
    log_line(listen->has_worked ? LOG_WARN : LOG_DEBUG, "no connection to listen on; it is tried again",
             LOG_TEXT("pool", listen->pool->settings->name), LOG_TEXT("sqlstate", error->sqlstate),
             LOG_TEXT("why", error->text));
    listen->has_worked = false;
    uint64_t wait_ms = breaker_retry_ms(&listen->breaker, now_ms);
    wait_ms = wait_ms < POSTGRES_LISTEN_RETRY_MS ? POSTGRES_LISTEN_RETRY_MS : wait_ms;
    wait_ms += random_u64() % (wait_ms / 4 + 1);
    timer_start(listen->loop, &listen->retry, wait_ms, on_retry, listen);
}

static void on_ping(void *arg)
{
    struct postgres_listen *listen = arg;
    listen->is_ping_due = true;
    go_on(listen);
}

static void wait_for_answer(struct postgres_listen *listen);

/* An answer stands behind the notes that came before it: as long as those arrive, it is on its way. */
static void on_no_answer(void *arg)
{
    struct postgres_listen *listen = arg;
    if (listen->has_heard) {
        wait_for_answer(listen);
        return;
    }
    sql_error_set(&listen->connection->error, "08006", "the server has not answered for %d ms",
                  POSTGRES_LISTEN_ANSWER_MS);
    postgres_connection_turn_lost(listen->connection);
}

static void wait_for_answer(struct postgres_listen *listen)
{
    listen->has_heard = false;
    timer_start(listen->loop, &listen->answer, POSTGRES_LISTEN_ANSWER_MS, on_no_answer, listen);
}

/* --- asking --- */

static enum fail send_one(struct postgres_listen *listen, const char *verb, const struct postgres_channel *channel)
{
    PGconn *pg = listen->connection->pg;
    char text[2 * POSTGRES_CHANNEL_BYTES + 16];
    char *name = PQescapeIdentifier(pg, channel->name, channel->len);
    if (!name)
        return FAIL_INVALID;
    snprintf(text, sizeof text, "%s %s", verb, name);
    PQfreemem(name);
    return postgres_query_add_text(listen->connection, text);
}

/* What the channels need, into the unit. */
static enum fail send_channels(struct postgres_listen *listen, unsigned *sent)
{
    size_t at = 0;
    struct str name;
    void *value;
    enum fail fail = FAIL_OK;
    lock(listen);
    postgres_channel_sweep(listen);
    while (!fail && map_next(&listen->channels, &at, &name, &value)) {
        struct postgres_channel *channel = value;
        const char *verb = postgres_channel_verb(channel);
        if (!verb)
            continue;
        fail = send_one(listen, verb, channel);
        channel->is_asked = fail == FAIL_OK;
        *sent += channel->is_asked;
    }
    unlock(listen);
    return fail;
}

static enum fail send_unit(struct postgres_listen *listen)
{
    static const char statement[] = "select 1";
    unsigned sent = 0;
    enum fail fail = send_channels(listen, &sent);
    if (fail || (!sent && !listen->is_ping_due))
        return fail;
    listen->is_asking = true;
    listen->is_ping_due = listen->is_answered = false;
    listen->call = (struct sql_call){ .text = str_make(statement, sizeof statement - 1) };
    fail = postgres_query_add(listen->connection, &listen->call, siphash(statement, sizeof statement - 1));
    postgres_query_end_unit(listen->connection);
    return fail;
}

/* What cannot be sent, for want of memory or because the connection is broken, is asked for on another one, and not at once. */
static void ask(struct postgres_listen *listen)
{
    enum fail fail = send_unit(listen);
    if (fail) {
        if (!listen->connection->error.sqlstate[0])
            sql_error_set(&listen->connection->error, "53200", "cannot ask for notifications: %s", fail_text(fail));
        on_lost(listen->connection);
    } else if (listen->is_asking) {
        wait_for_answer(listen);
    }
}

/* --- answers --- */

static void on_call(struct postgres_connection *connection, struct sql_call *call, int outcome)
{
    struct postgres_listen *listen = connection->user_data;
    listen->is_answered = outcome == POSTGRES_DONE && call->fail == FAIL_OK;
    if (outcome != POSTGRES_GONE && !listen->is_answered)
        connection->error = call->error;
    sql_rows_free(call->rows);
    call->rows = NULL;
}

static void on_lost(struct postgres_connection *connection)
{
    struct postgres_listen *listen = connection->user_data;
    struct sql_error error = connection->error;
    close_connection(listen);
    retry_later(listen, &error);
}

static void on_quiet(struct postgres_connection *connection)
{
    struct postgres_listen *listen = connection->user_data;
    timer_stop(&listen->answer);
    listen->is_asking = false;
    if (!listen->is_answered) {
        on_lost(connection);
        return;
    }
    breaker_worked(&listen->breaker, loop_now_ms(listen->loop));
    listen->has_worked = true;
    lock(listen);
    postgres_channel_settle_all(listen);
    unlock(listen);
    timer_start(listen->loop, &listen->ping, listen->pool->settings->listen_ping_ms, on_ping, listen);
    go_on(listen);
}

static const struct postgres_user listen_user = { on_call, on_quiet, on_lost };

static void on_notification(struct postgres_connection *connection, const PGnotify *notification)
{
    struct postgres_listen *listen = connection->user_data;
    listen->has_heard = true;
    metric_add(listen->meter->notifications, 1);
    lock(listen);
    struct postgres_channel *channel = map_get(&listen->channels, str_of(notification->relname));
    if (channel)
        LIST_EACH(&channel->subscriptions, node)
    postgres_subscription_note(LIST_ENTRY(node, struct postgres_subscription, node), str_of(notification->extra),
                               notification->be_pid);
    unlock(listen);
}

/* --- opening --- */

/* A pooler in transaction mode may be in between: then sql_listen is refused, and whoever listens already hears nothing until it is gone,
 * for which we look as for a server that is away. */
static void note_forbidden(struct postgres_listen *listen, bool is_forbidden)
{
    lock(listen);
    bool is_news = is_forbidden && !listen->is_forbidden && listen->subscriptions;
    listen->is_forbidden = is_forbidden;
    unlock(listen);
    if (is_news)
        log_line(LOG_ERROR, "LISTEN does not work through PgBouncer in transaction mode: nothing will be heard",
                 LOG_TEXT("pool", listen->pool->settings->name));
}

static void on_open(struct postgres_connection *connection, bool is_open)
{
    struct postgres_listen *listen = connection->on_open_arg;
    bool is_pooled = is_open && connection->is_pooled;
    if (is_open)
        note_forbidden(listen, is_pooled);
    if (is_pooled)
        sql_error_set(&connection->error, "0A000", "a pooler is in between");
    if (is_open && !is_pooled)
        go_on(listen);
    else
        on_lost(connection);
}

static void open_connection(struct postgres_listen *listen)
{
    uint64_t now_ms = loop_now_ms(listen->loop);
    if (!breaker_allows(&listen->breaker, now_ms)) {
        timer_start(listen->loop, &listen->retry, breaker_retry_ms(&listen->breaker, now_ms) + 1, on_retry, listen);
        return;
    }
    enum fail fail = postgres_connection_open(listen->loop, listen->pool->settings, "wick listen", on_open, listen,
                                              &listen->connection);
    if (fail) {
        struct sql_error error = { .sent = false };
        sql_error_set(&error, "53200", "%s", fail_text(fail));
        retry_later(listen, &error);
        return;
    }
    listen->connection->user = &listen_user;
    listen->connection->user_data = listen;
    listen->connection->on_notification = on_notification;
}

static void on_task(void *arg)
{
    struct postgres_listen *listen = arg;
    lock(listen);
    listen->is_posted = false;
    unlock(listen);
    go_on(listen);
}

static bool has_channels(struct postgres_listen *listen)
{
    lock(listen);
    if (!listen->connection)
        postgres_channel_sweep(listen);
    bool has_any = listen->channels.count > 0 && !listen->is_closing;
    unlock(listen);
    return has_any;
}

/* Does what is to be done next, if anything. */
static void go_on(struct postgres_listen *listen)
{
    bool may_ask = listen->connection && listen->connection->state == POSTGRES_OPEN;
    if (may_ask && !listen->is_asking)
        ask(listen);
    if (!has_channels(listen)) {
        if (listen->connection && !listen->is_asking)
            close_connection(listen);
        timer_stop(&listen->retry);
    } else if (!listen->connection && !timer_is_set(&listen->retry)) {
        open_connection(listen);
    }
}

/* --- life ----------------------------------------------------------------------------------------------------- */

enum fail postgres_listen_init(struct postgres_listen *listen, struct postgres_pool *pool, struct loop *loop)
{
    *listen = (struct postgres_listen){ .loop = loop, .pool = pool, .meter = &pool->meter };
    listen->task = (struct loop_task){ .run = on_task, .arg = listen };
    breaker_init(&listen->breaker, breaker_limits);
    if (pthread_mutex_init(&listen->mutex, NULL) != 0)
        return FAIL_NOMEM;
    enum fail fail = map_init(&listen->channels, MEM_POSTGRES);
    if (fail)
        pthread_mutex_destroy(&listen->mutex);
    return fail;
}

void postgres_listen_close(struct postgres_listen *listen)
{
    lock(listen);
    listen->is_closing = true;
    unlock(listen);
    timer_stop(&listen->retry);
    if (listen->connection)
        close_connection(listen);
}

bool postgres_listen_is_over(struct postgres_listen *listen)
{
    lock(listen);
    bool is_over = listen->is_closing && listen->subscriptions == 0 && !listen->is_posted;
    unlock(listen);
    return is_over;
}

void postgres_listen_clear(struct postgres_listen *listen)
{
    assert(listen->subscriptions == 0 && !listen->connection);
    postgres_channel_sweep(listen);
    map_clear(&listen->channels);
    pthread_mutex_destroy(&listen->mutex);
}
