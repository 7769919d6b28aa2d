/* command.c - commands and their replies: who asked stands in a row, and the row tells whose reply it is.
 *
 * DESIGN  call: OFF -> WAITING [redis_run]           WAITING -> OFF [reply, deadline, cancel]
 *               OFF -> ENDING  [refused by redis_run] WAITING -> ENDING [line lost]   ENDING -> OFF [redis_end, cancel]
 *         A call that leaves early leaves its slot behind, empty: the reply that comes to it is dropped.
 *         Three deadlines in a row without a reply between them are taken for a dead line. Commands nobody waits for have no
 *         timer each; `watch` goes over them once in command_ms instead.
 *         The breaker hears of every deadline, of every lost line with commands on it, and of every reply in time.
 * HOLDS   tail - head commands are on the line, at most pending_max (and the greeting). slots[call->position].call is the
 *         call while it is WAITING, and its timer runs.
 * Path:   serve/layer, script/bind_redis > [redis/command] > redis/connection
 */
#include "redis/connection.h"

#include "base/mem.h"

#include <assert.h>

enum { OFF, WAITING, ENDING }; /* of a call */
enum { LATE_MAX = 3, SLOTS_MIN = 64, GREETING_MAX = 3, OUT_BYTES_MAX = 64 << 20 };

static struct redis_slot *slot_at(struct redis *redis, uint64_t position)
{
    return &redis->slots[position & (redis->slot_count - 1)];
}

/* --- onto the line ---------------------------------------------------------------------------------------------- */

static bool slots_grow(struct redis *redis)
{
    size_t count = redis->slot_count ? redis->slot_count * 2 : SLOTS_MIN;
    struct redis_slot *slots = mem_alloc(MEM_REDIS, count * sizeof *slots);
    if (!slots)
        return false;
    for (uint64_t at = redis->head; at != redis->tail; at++)
        slots[at & (count - 1)] = *slot_at(redis, at);
    mem_free(redis->slots);
    redis->slots = slots;
    redis->slot_count = count;
    return true;
}

/* mark, number, CR LF */
static char *add_head(char *to, char mark, size_t number)
{
    char digits[20], *at = digits + sizeof digits;
    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    *to++ = mark;
    size_t len = (size_t)(digits + sizeof digits - at);
    memcpy(to, at, len);
    memcpy(to + len, "\r\n", 2);
    return to + len + 2;
}

/* *N, then $LEN and the bytes of each word. */
static bool add_command(struct buf *out, const struct str *words, unsigned word_count)
{
    enum { HEAD_MAX = 1 + 20 + 2 };
    size_t bytes = HEAD_MAX;
    for (unsigned i = 0; i < word_count; i++)
        if (words[i].len > OUT_BYTES_MAX || (bytes += words[i].len + HEAD_MAX + 2) > OUT_BYTES_MAX)
            return false;
    if (out->len + bytes > OUT_BYTES_MAX)
        return false;
    if (!buf_room(out, bytes)) {
        out->failed = false; /* what is already there is whole and goes out */
        return false;
    }
    char *to = add_head(out->data + out->len, '*', word_count);
    for (unsigned i = 0; i < word_count; i++) {
        to = add_head(to, '$', words[i].len);
        if (words[i].len > 0)
            memcpy(to, words[i].data, words[i].len);
        memcpy(to + words[i].len, "\r\n", 2);
        to += words[i].len + 2;
    }
    out->len = (size_t)(to - out->data);
    return true;
}

static void on_watch(void *arg);

enum fail redis_put(struct redis *redis, const struct str *words, unsigned word_count, enum redis_errand errand,
                    unsigned timeout_ms)
{
    assert(word_count > 0);
    uint64_t pending = redis->tail - redis->head;
    if (pending >= redis->settings.pending_max + GREETING_MAX)
        return FAIL_FULL;
    if (pending == redis->slot_count && !slots_grow(redis))
        return FAIL_NOMEM;
    if (!add_command(&redis->out, words, word_count))
        return FAIL_FULL;
    *slot_at(redis, redis->tail++) = (struct redis_slot){ .errand = errand,
                                                          .due_ms = loop_now_ms(redis->loop) + timeout_ms };
    if (!timer_is_set(&redis->watch))
        timer_start(redis->loop, &redis->watch, redis->settings.command_ms, on_watch, redis);
    redis->stats.commands++;
    return FAIL_OK;
}

static void on_due(void *arg);

static enum fail start(struct redis *redis, struct redis_call *call)
{
    uint64_t now_ms = loop_now_ms(redis->loop);
    if (redis->link != LINK_READY)
        return FAIL_REFUSED;
    if (redis->tail - redis->head >= redis->settings.pending_max)
        return FAIL_FULL;
    if (!breaker_allows(&redis->breaker, now_ms))
        return FAIL_REFUSED;
    unsigned timeout_ms = call->timeout_ms ? call->timeout_ms : redis->settings.command_ms;
    enum fail fail = redis_put(redis, call->words, call->word_count, ERRAND_CALL, timeout_ms);
    if (fail)
        return fail;
    call->position = redis->tail - 1;
    slot_at(redis, call->position)->call = call;
    timer_start(redis->loop, &call->timer, timeout_ms, on_due, call);
    return FAIL_OK;
}

static void end_with(struct redis *redis, struct redis_call *call, enum fail fail)
{
    call->fail = fail;
    call->state = ENDING;
    list_push_back(&redis->ended, &call->node);
    redis_end_later(redis);
}

void redis_run(struct redis *redis, struct redis_call *call)
{
    assert(call->state == OFF && call->on_reply);
    call->redis = redis;
    call->reply = NULL;
    call->fail = start(redis, call);
    if (call->fail == FAIL_OK) {
        call->state = WAITING;
        return;
    }
    redis->stats.refused++;
    end_with(redis, call, call->fail);
}

void redis_send(struct redis *redis, const struct str *words, unsigned word_count)
{
    /* What nobody waits for is no probe of a half-open breaker. */
    bool is_well = redis->link == LINK_READY && redis->breaker.state == BREAKER_CLOSED &&
                   redis->tail - redis->head < redis->settings.pending_max;
    if (!is_well || redis_put(redis, words, word_count, ERRAND_SEND, redis->settings.command_ms))
        redis->stats.refused++;
}

void redis_cancel(struct redis_call *call)
{
    if (call->state == WAITING) {
        timer_stop(&call->timer);
        slot_at(call->redis, call->position)->call = NULL;
    } else if (call->state == ENDING) {
        list_remove(&call->node);
    }
    call->state = OFF;
}

/* --- off the line ----------------------------------------------------------------------------------------------- */

static void note_late(struct redis *redis)
{
    breaker_failed(&redis->breaker, loop_now_ms(redis->loop));
    if (++redis->late >= LATE_MAX)
        redis_lose(redis, "no answer to %d commands in a row", LATE_MAX);
}

/* The call's time is over; its slot stays in the row. */
static void on_due(void *arg)
{
    struct redis_call *call = arg;
    struct redis *redis = call->redis;
    struct redis_slot *slot = slot_at(redis, call->position);
    assert(call->state == WAITING && slot->call == call);
    slot->call = NULL;
    slot->is_late = true;
    call->state = OFF;
    call->fail = FAIL_TIMEOUT;
    redis->stats.timeouts++;
    note_late(redis);
    call->on_reply(call);
}

/* Commands nobody waits for whose time is over count as deadlines passed, each once, in the order of the row. */
static void on_watch(void *arg)
{
    struct redis *redis = arg;
    uint64_t now_ms = loop_now_ms(redis->loop);
    if (redis->head == redis->tail)
        return;
    timer_start(redis->loop, &redis->watch, redis->settings.command_ms, on_watch, redis);
    if (redis->watched < redis->head)
        redis->watched = redis->head;
    while (redis->link == LINK_READY && redis->watched != redis->tail) {
        struct redis_slot *slot = slot_at(redis, redis->watched);
        if (now_ms < slot->due_ms)
            return;
        redis->watched++;
        if (slot->call || slot->is_late)
            continue;
        slot->is_late = true;
        note_late(redis);
    }
}

/* A redis_send has nobody to tell; the last refusal stands in redis_why until one works again. */
static void note_send(struct redis *redis, const struct redis_reply *reply)
{
    if (reply->type == REDIS_ERROR) {
        int len = reply->text.len < 200 ? (int)reply->text.len : 200;
        snprintf(redis->why, sizeof redis->why, "Redis refused to write: %.*s", len, reply->text.data);
        redis->is_why_of_send = true;
    } else if (redis->is_why_of_send) {
        redis->why[0] = '\0';
        redis->is_why_of_send = false;
    }
}

static void deliver(struct redis_call *call, const struct redis_reply *reply)
{
    timer_stop(&call->timer);
    call->state = OFF;
    call->fail = FAIL_OK;
    call->reply = reply;
    call->on_reply(call);
}

bool redis_answer(void *arg, const struct redis_reply *reply)
{
    struct redis *redis = arg;
    if (redis->head == redis->tail) {
        redis_lose(redis, "a reply that nobody asked for");
        return false;
    }
    struct redis_slot slot = *slot_at(redis, redis->head++);
    redis->late = 0;
    if (slot.errand == ERRAND_CALL || slot.errand == ERRAND_SEND) {
        if (!slot.is_late)
            breaker_worked(&redis->breaker, loop_now_ms(redis->loop));
        redis->backoff_ms = 0; /* it does not only let us in, it also works */
        if (slot.errand == ERRAND_SEND)
            note_send(redis, reply);
        else if (slot.call)
            deliver(slot.call, reply);
    } else {
        redis_greeted(redis, slot.errand, reply);
    }
    return redis->link == LINK_READY || redis->link == LINK_GREETING;
}

void redis_abandon(struct redis *redis)
{
    timer_stop(&redis->watch);
    redis->late = 0;
    while (redis->head != redis->tail) {
        struct redis_call *call = slot_at(redis, redis->head++)->call;
        if (!call)
            continue;
        timer_stop(&call->timer);
        end_with(redis, call, FAIL_CLOSED);
    }
}

/* --- in a turn of their own ------------------------------------------------------------------------------------- */

void redis_end_later(struct redis *redis)
{
    if (redis->is_ending)
        return;
    redis->is_ending = true;
    redis->end_task = (struct loop_task){ .run = redis_end, .arg = redis };
    loop_defer(redis->loop, &redis->end_task);
}

/* Tells those who stand in `ended` now; who asks again from there is told the next time. */
void redis_end(void *arg)
{
    struct redis *redis = arg;
    struct list *node, last;
    redis->is_ending = false;
    list_push_back(&redis->ended, &last);
    while ((node = list_pop_front(&redis->ended)) != &last) {
        struct redis_call *call = LIST_ENTRY(node, struct redis_call, node);
        call->state = OFF;
        call->on_reply(call);
    }
    redis_finish(redis);
}
