/* connection.c - the line to Redis: it is made, greeted, used, lost and made again, for as long as we are open.
 *
 * DESIGN  IDLE -> CONNECTING                [redis_open]
 *         CONNECTING -> GREETING | BACKOFF  [on_connected]
 *         GREETING -> READY                 [replies to AUTH, SELECT and PING]
 *         GREETING, READY -> DROPPING       [redis_lose: broken, garbage, refused, no answer]
 *         DROPPING -> BACKOFF               [on_stream_closed]
 *         BACKOFF -> CONNECTING             [timer: 50 ms doubling to 1 s, each shortened by up to half at random]
 *         any -> CLOSED                     [redis_close]      CLOSED -> gone [redis_finish]
 *         The greeting always ends with a PING: a stopped server accepts connections (its kernel does) and answers nothing.
 *         Commands collect in `out` and leave in one write at the end of the turn; what the socket does not take lies in
 *         `sending` until it does, while `out` collects on.
 * HOLDS   stream != NULL exactly in GREETING, READY and DROPPING, and in CLOSED until on_stream_closed.
 *         A new line is made only when the old stream is gone, so a borrowed `sending` is never written to.
 * Path:   redis/command > [redis/connection] > redis/reply, loop/stream
 */
#include "redis/connection.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "redis/reply.h"

#include <assert.h>
#include <stdarg.h>

enum { BACKOFF_MS_MIN = 50, BACKOFF_MS_MAX = 1000, SPARE_BYTES_MAX = 1 << 20 };

static const struct breaker_limits limits = { .failures_max = 5,
                                              .window_calls = 20,
                                              .window_failures = 11,
                                              .window_ms = 10000,
                                              .open_ms = 100,
                                              .open_ms_max = 1000 };

static void connect_now(void *arg);
static void on_connected(void *arg, enum fail fail, struct stream *stream, const char *why);
static void on_read(void *arg, char *data, ptrdiff_t len);
static void on_stream_closed(void *arg);
static void flush(void *arg);

/* --- open and connect ------------------------------------------------------------------------------------------- */

static void fill_defaults(struct redis_settings *settings)
{
    if (!settings->connect_ms)
        settings->connect_ms = 250;
    if (!settings->command_ms)
        settings->command_ms = 20;
    if (!settings->pending_max)
        settings->pending_max = 10000;
    if (!settings->reply_bytes_max)
        settings->reply_bytes_max = 16u << 20;
}

enum fail redis_open(struct loop *loop, const struct redis_settings *settings, struct redis **out)
{
    *out = NULL;
    struct redis *redis = mem_zero(MEM_REDIS, sizeof *redis);
    if (!redis)
        return FAIL_NOMEM;
    redis->loop = loop;
    redis->settings = *settings;
    fill_defaults(&redis->settings);
    breaker_init(&redis->breaker, limits);
    buf_init(&redis->out, MEM_REDIS, 0);
    buf_init(&redis->sending, MEM_REDIS, 0);
    list_init(&redis->ended);
    redis->flush = (struct loop_hook){ .run = flush, .arg = redis };
    loop_hook_add(loop, &redis->flush);
    connect_now(redis);
    *out = redis;
    return FAIL_OK;
}

static void set_why(struct redis *redis, const char *format, va_list args)
{
    int len = redis->settings.host[0] == '/'
                  ? snprintf(redis->why, sizeof redis->why, "Redis at %.120s: ", redis->settings.host)
                  : snprintf(redis->why, sizeof redis->why, "Redis at %.120s:%d: ", redis->settings.host,
                             redis->settings.port);
    vsnprintf(redis->why + len, sizeof redis->why - (size_t)len, format, args);
    redis->is_why_of_send = false;
}

/* Once for each outage, however often it is tried. */
static void tell_away(struct redis *redis)
{
    if (!redis->is_told)
        log_line(LOG_WARN, "Redis is away; requests go on without it", LOG_TEXT("why", redis->why));
    redis->is_told = true;
}

static void tell_back(struct redis *redis)
{
    if (redis->is_told)
        log_line(LOG_INFO, "Redis answers again", LOG_TEXT("host", redis->settings.host));
    redis->is_told = false;
}

static void back_off(struct redis *redis)
{
    redis->link = LINK_BACKOFF;
    unsigned ms = redis->backoff_ms * 2;
    ms = ms < BACKOFF_MS_MIN ? BACKOFF_MS_MIN : ms > BACKOFF_MS_MAX ? BACKOFF_MS_MAX : ms;
    redis->backoff_ms = ms;
    timer_start(redis->loop, &redis->timer, ms - random_u64() % (ms / 2 + 1), connect_now, redis);
}

static __attribute__((format(printf, 2, 3))) void could_not_connect(struct redis *redis, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_why(redis, format, args);
    va_end(args);
    tell_away(redis);
    back_off(redis);
}

/* Nothing of an earlier line is left. */
static void connect_now(void *arg)
{
    struct redis *redis = arg;
    assert(!redis->stream && !redis->connecting && redis->head == redis->tail && !redis->is_sending);
    redis->link = LINK_CONNECTING;
    enum fail fail = stream_connect(redis->loop, redis->settings.host, redis->settings.port, redis->settings.connect_ms,
                                    on_connected, redis, &redis->connecting);
    if (fail)
        could_not_connect(redis, "cannot connect: %s", fail_text(fail));
}

/* --- greet ------------------------------------------------------------------------------------------------------ */

static void on_greeting_due(void *arg)
{
    struct redis *redis = arg;
    redis_lose(redis, "connected, but no answer within %u ms", redis->settings.connect_ms);
}

static enum fail put_greeting(struct redis *redis)
{
    const struct redis_settings *settings = &redis->settings;
    char number[16];
    snprintf(number, sizeof number, "%d", settings->database);
    struct str words[3] = { STR("AUTH"), str_of(settings->user), str_of(settings->password) };
    enum fail fail = FAIL_OK;
    if (settings->password[0] && settings->user[0]) {
        fail = redis_put(redis, words, 3, ERRAND_AUTH, settings->connect_ms);
    } else if (settings->password[0]) {
        words[1] = words[2];
        fail = redis_put(redis, words, 2, ERRAND_AUTH, settings->connect_ms);
    }
    if (!fail && settings->database)
        fail = redis_put(redis, (struct str[]){ STR("SELECT"), str_of(number) }, 2, ERRAND_SELECT,
                         settings->connect_ms);
    if (!fail)
        fail = redis_put(redis, (struct str[]){ STR("PING") }, 1, ERRAND_PING, settings->connect_ms);
    return fail;
}

/* The stream is ours, or there is none and `why` says why. */
static void on_connected(void *arg, enum fail fail, struct stream *stream, const char *why)
{
    struct redis *redis = arg;
    assert(redis->link == LINK_CONNECTING);
    redis->connecting = NULL;
    if (fail) {
        could_not_connect(redis, "cannot connect: %s", why && why[0] ? why : fail_text(fail));
        return;
    }
    redis->stream = stream;
    redis->link = LINK_GREETING;
    fail = redis_reader_open(redis->settings.reply_bytes_max, redis_answer, redis, &redis->reader);
    if (!fail)
        fail = put_greeting(redis);
    if (fail) {
        redis_lose(redis, "%s", fail_text(fail));
        return;
    }
    timer_start(redis->loop, &redis->timer, redis->settings.connect_ms, on_greeting_due, redis);
    stream_read_start(stream, on_read, redis);
}

void redis_greeted(struct redis *redis, enum redis_errand errand, const struct redis_reply *reply)
{
    static const char *const names[] = { [ERRAND_AUTH] = "AUTH", [ERRAND_SELECT] = "SELECT", [ERRAND_PING] = "PING" };
    assert(redis->link == LINK_GREETING);
    /* A user who may not PING is answered all the same. */
    bool is_welcome = reply->type == REDIS_STATUS ||
                      (errand == ERRAND_PING && reply->type == REDIS_ERROR && str_starts(reply->text, STR("NOPERM")));
    if (!is_welcome) {
        int len = reply->text.len < 120 ? (int)reply->text.len : 120;
        redis_lose(redis, "%s was refused: %.*s", names[errand], len, len ? reply->text.data : "");
        return;
    }
    if (errand != ERRAND_PING)
        return;
    timer_stop(&redis->timer);
    redis->link = LINK_READY;
    redis->why[0] = '\0';
    tell_back(redis);
    redis->stats.reconnects += redis->was_ready;
    redis->was_ready = true;
}

/* --- read and write --------------------------------------------------------------------------------------------- */

static void on_read(void *arg, char *data, ptrdiff_t len)
{
    struct redis *redis = arg;
    if (len <= 0) {
        redis_lose(redis, len == 0 ? "the server closed the connection" : "the connection broke");
        return;
    }
    if (redis_reader_feed(redis->reader, data, (size_t)len) == FAIL_INVALID)
        redis_lose(redis, "unreadable: %s", redis_reader_why(redis->reader));
}

static void on_written(void *arg, enum fail fail)
{
    struct redis *redis = arg;
    redis->is_sending = false;
    if (redis->sending.cap > SPARE_BYTES_MAX)
        buf_clear(&redis->sending);
    buf_reset(&redis->sending);
    if (fail && (redis->link == LINK_READY || redis->link == LINK_GREETING))
        redis_lose(redis, "writing failed: %s", fail_text(fail));
}

/* The socket took `taken` bytes of `out`: the rest waits in `sending`. */
static void send_rest(struct redis *redis, size_t taken)
{
    struct buf rest = redis->out;
    redis->out = redis->sending;
    redis->sending = rest;
    struct str piece = str_make(rest.data + taken, rest.len - taken);
    enum fail fail = stream_write(redis->stream, &piece, 1, on_written, redis);
    redis->is_sending = fail == FAIL_OK;
    if (fail)
        redis_lose(redis, "writing failed: %s", fail_text(fail));
}

/* The end of a turn. */
static void flush(void *arg)
{
    struct redis *redis = arg;
    if (redis->out.len == 0 || redis->is_sending || (redis->link != LINK_READY && redis->link != LINK_GREETING))
        return;
    struct str piece = str_make(redis->out.data, redis->out.len);
    ptrdiff_t taken = stream_try_write(redis->stream, &piece, 1);
    if (taken < 0) {
        redis_lose(redis, "the connection broke");
    } else if ((size_t)taken < redis->out.len) {
        send_rest(redis, (size_t)taken);
    } else {
        if (redis->out.cap > SPARE_BYTES_MAX)
            buf_clear(&redis->out);
        buf_reset(&redis->out);
    }
}

/* --- lose and close --------------------------------------------------------------------------------------------- */

/* Ends the line from GREETING or READY; harmless later. The reader is kept until the stream is gone: we may be in it. */
void redis_lose(struct redis *redis, const char *format, ...)
{
    if (redis->link != LINK_READY && redis->link != LINK_GREETING)
        return;
    va_list args;
    va_start(args, format);
    set_why(redis, format, args);
    va_end(args);
    tell_away(redis);
    if (redis->link == LINK_READY && redis->head != redis->tail)
        breaker_failed(&redis->breaker, loop_now_ms(redis->loop));
    redis->link = LINK_DROPPING;
    timer_stop(&redis->timer);
    buf_reset(&redis->out);
    redis_abandon(redis);
    stream_close(redis->stream, on_stream_closed, redis);
}

/* No callback of the stream comes any more, and `sending` is ours again. */
static void on_stream_closed(void *arg)
{
    struct redis *redis = arg;
    redis->stream = NULL;
    redis->is_sending = false;
    buf_reset(&redis->sending);
    redis_reader_close(redis->reader);
    redis->reader = NULL;
    if (redis->link == LINK_CLOSED)
        redis_finish(redis);
    else
        back_off(redis);
}

void redis_close(struct redis *redis, void (*on_closed)(void *arg), void *arg)
{
    assert(redis->link != LINK_CLOSED);
    bool must_close_stream = redis->link == LINK_GREETING || redis->link == LINK_READY;
    if (redis->connecting)
        stream_connect_cancel(redis->connecting);
    redis->connecting = NULL;
    redis->link = LINK_CLOSED;
    redis->on_closed = on_closed;
    redis->on_closed_arg = arg;
    timer_stop(&redis->timer);
    redis_abandon(redis);
    redis_end_later(redis); /* which also finishes it, never from within this call */
    if (must_close_stream)
        stream_close(redis->stream, on_stream_closed, redis);
}

void redis_finish(struct redis *redis)
{
    if (redis->link != LINK_CLOSED || redis->stream || redis->is_ending || !list_is_empty(&redis->ended))
        return;
    loop_hook_remove(&redis->flush);
    buf_clear(&redis->out);
    buf_clear(&redis->sending);
    mem_free(redis->slots);
    void (*on_closed)(void *) = redis->on_closed;
    void *arg = redis->on_closed_arg;
    mem_free(redis);
    if (on_closed)
        on_closed(arg);
}

/* --- what is asked of it ---------------------------------------------------------------------------------------- */

bool redis_is_ready(const struct redis *redis) { return redis->link == LINK_READY; }

bool redis_is_open(const struct redis *redis)
{
    return redis->link == LINK_READY && !breaker_is_open(&redis->breaker, loop_now_ms(redis->loop));
}

const char *redis_why(const struct redis *redis) { return redis->why; }

void redis_stats(const struct redis *redis, struct redis_stats *out)
{
    *out = redis->stats;
    out->pending = (unsigned)(redis->tail - redis->head);
}
