/* reply.c - hiredis's reader with our objects.
 *
 * DESIGN  hiredis calls create_* as soon as it has read an item. At the top that is the whole reply, and its text lies in
 *         hiredis's buffer until we return: it is delivered there and then. Inside an array the buffer may move before the
 *         last item is in, so texts are copied to the arena, and the array is delivered when hiredis says it is whole.
 *         hiredis moves what is left of its buffer after each reply, so it is fed little at a time: else a read of many
 *         small replies would cost the square of their number.
 * HOLDS   the arena and hiredis's buffer each hold at most reply_bytes_max and one piece.
 * Path:   redis/connection > [redis/reply] > hiredis
 */
#include "redis/reply.h"

#include "base/arena.h"
#include "base/mem.h"

#include <assert.h>
#include <hiredis/read.h>
#include <stdio.h>

enum { PIECE_BYTES = 4096, SPARE_BYTES_MAX = 64 * 1024 };

struct redis_reader {
    redisReader *hiredis;
    struct arena arena;
    struct redis_reply root; /* of an array */
    size_t reply_bytes_max;
    redis_on_reply *on_reply;
    void *arg;
    bool is_done; /* on_reply wants no more */
    char why[128];
};

static void *refuse(struct redis_reader *reader, const char *what)
{
    if (!reader->why[0])
        snprintf(reader->why, sizeof reader->why, "%s", what);
    return NULL; /* which hiredis takes for "out of memory", and stops */
}

static void *refuse_large(struct redis_reader *reader)
{
    char text[80];
    snprintf(text, sizeof text, "a reply over the bound of %zu bytes", reader->reply_bytes_max);
    return refuse(reader, text);
}

/* Where the reply of this task belongs; the top has no place but the root. */
static struct redis_reply *place_of(const redisReadTask *task)
{
    struct redis_reader *reader = task->privdata;
    if (!task->parent)
        return &reader->root;
    struct redis_reply *array = task->parent->obj;
    assert(task->idx >= 0 && (size_t)task->idx < array->count);
    return &array->items[task->idx];
}

static void *take(const redisReadTask *task, struct redis_reply reply)
{
    struct redis_reader *reader = task->privdata;
    if (task->parent) {
        struct redis_reply *place = place_of(task);
        *place = reply;
        return place;
    }
    reader->is_done = !reader->on_reply(reader->arg, &reply);
    return reader->is_done ? NULL : reader;
}

static void *create_string(const redisReadTask *task, char *text, size_t len)
{
    struct redis_reader *reader = task->privdata;
    struct redis_reply reply = { .text = str_make(text, len) };
    reply.type = task->type == REDIS_REPLY_ERROR    ? REDIS_ERROR
                 : task->type == REDIS_REPLY_STATUS ? REDIS_STATUS
                                                    : REDIS_STRING;
    if (len > reader->reply_bytes_max)
        return refuse_large(reader);
    if (text[len] != '\r' || text[len + 1] != '\n') /* hiredis does not look */
        return refuse(reader, "a string that does not end where its length says");
    if (task->parent) {
        reply.text = arena_str(&reader->arena, reply.text);
        if (!reply.text.data)
            return refuse_large(reader);
    }
    return take(task, reply);
}

static void *create_array(const redisReadTask *task, int count)
{
    struct redis_reader *reader = task->privdata;
    struct redis_reply *place = place_of(task);
    if (!task->parent)
        arena_reset(&reader->arena);
    if (count < 0)
        return refuse(reader, "an array of a length below zero");
    if ((size_t)count > reader->reply_bytes_max / sizeof(struct redis_reply))
        return refuse_large(reader);
    struct redis_reply reply = { .type = REDIS_ARRAY, .count = (size_t)count };
    if (count > 0) {
        reply.items = arena_alloc(&reader->arena, (size_t)count * sizeof *reply.items);
        if (!reply.items)
            return refuse_large(reader);
    }
    *place = reply;
    return place;
}

static void *create_integer(const redisReadTask *task, long long value)
{
    return take(task, (struct redis_reply){ .type = REDIS_INTEGER, .integer = value });
}

static void *create_nil(const redisReadTask *task) { return take(task, (struct redis_reply){ .type = REDIS_NIL }); }

static void free_object(void *object) { (void)object; /* the arena's */ }

static redisReplyObjectFunctions functions = { create_string, create_array, create_integer, create_nil, free_object };

enum fail redis_reader_open(size_t reply_bytes_max, redis_on_reply *on_reply, void *arg, struct redis_reader **out)
{
    *out = NULL;
    struct redis_reader *reader = mem_zero(MEM_REDIS, sizeof *reader);
    if (!reader)
        return FAIL_NOMEM;
    reader->hiredis = redisReaderCreateWithFunctions(&functions);
    if (!reader->hiredis) {
        mem_free(reader);
        return FAIL_NOMEM;
    }
    reader->hiredis->privdata = reader;
    reader->hiredis->maxbuf = SPARE_BYTES_MAX;
    arena_init(&reader->arena, MEM_REDIS, reply_bytes_max);
    reader->reply_bytes_max = reply_bytes_max;
    reader->on_reply = on_reply;
    reader->arg = arg;
    *out = reader;
    return FAIL_OK;
}

void redis_reader_close(struct redis_reader *reader)
{
    if (!reader)
        return;
    redisReaderFree(reader->hiredis);
    arena_clear(&reader->arena);
    mem_free(reader);
}

const char *redis_reader_why(const struct redis_reader *reader) { return reader->why; }

static enum fail broken(struct redis_reader *reader)
{
    if (reader->is_done)
        return FAIL_CANCELLED;
    refuse(reader, reader->hiredis->errstr);
    return FAIL_INVALID;
}

/* Hands on every reply that is whole by now. */
static enum fail read_replies(struct redis_reader *reader)
{
    for (;;) {
        void *object = NULL;
        if (redisReaderGetReply(reader->hiredis, &object) != REDIS_OK)
            return broken(reader);
        if (!object)
            return FAIL_OK;
        if (object == &reader->root && !reader->on_reply(reader->arg, &reader->root)) {
            reader->is_done = true;
            return FAIL_CANCELLED;
        }
    }
}

enum fail redis_reader_feed(struct redis_reader *reader, const char *data, size_t len)
{
    while (len > 0) {
        size_t piece = len < PIECE_BYTES ? len : PIECE_BYTES;
        if (redisReaderFeed(reader->hiredis, data, piece) != REDIS_OK)
            return broken(reader);
        enum fail fail = read_replies(reader);
        if (fail)
            return fail;
        if (reader->hiredis->len - reader->hiredis->pos > reader->reply_bytes_max) {
            refuse_large(reader);
            return FAIL_INVALID;
        }
        data += piece;
        len -= piece;
    }
    return FAIL_OK;
}
