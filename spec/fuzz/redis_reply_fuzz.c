/* redis_reply_fuzz.c - bytes a broken or hostile server may send: read whole and read in pieces they must give the same
 * replies and the same verdict, and never more memory than the bound. */
#include "base/mem.h"
#include "base/siphash.h"
#include "redis/reply.h"

#include <stdlib.h>

enum { BYTES_MAX = 65536, INPUT_MAX = 32768 };

struct heard {
    uint64_t digest;
    unsigned replies;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void add(struct heard *heard, const void *data, size_t len)
{
    struct siphash_key key = { heard->digest, 7 };
    heard->digest = siphash13(key, data, len);
}

/* Touches every byte that is promised. */
static void hear(struct heard *heard, const struct redis_reply *reply)
{
    add(heard, &reply->type, sizeof reply->type);
    if (reply->type == REDIS_INTEGER)
        add(heard, &reply->integer, sizeof reply->integer);
    else if (reply->type == REDIS_ARRAY)
        for (size_t i = 0; i < reply->count; i++)
            hear(heard, &reply->items[i]);
    else
        add(heard, reply->text.data, reply->text.len);
}

static bool on_reply(void *arg, const struct redis_reply *reply)
{
    struct heard *heard = arg;
    hear(heard, reply);
    heard->replies++;
    return true;
}

/* Pieces of step bytes, each a block of its own so that a read past its end shows; 0: in one. */
static enum fail read_in_pieces(const uint8_t *data, size_t len, size_t step, struct heard *heard)
{
    struct redis_reader *reader;
    enum fail fail = redis_reader_open(BYTES_MAX, on_reply, heard, &reader);
    if (fail)
        abort();
    for (size_t at = 0, piece; at < len && !fail; at += piece) {
        piece = step && step < len - at ? step : len - at;
        char *copy = malloc(piece);
        memcpy(copy, data + at, piece);
        fail = redis_reader_feed(reader, copy, piece);
        free(copy);
        if (mem_live_tag(MEM_REDIS) > 4 * BYTES_MAX)
            abort();
    }
    if (fail && !redis_reader_why(reader)[0])
        abort();
    redis_reader_close(reader);
    return fail;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 1 || len > INPUT_MAX)
        return 0;
    struct heard whole = { 0, 0 }, pieces = { 0, 0 };
    enum fail fail = read_in_pieces(data + 1, len - 1, 0, &whole);
    if (read_in_pieces(data + 1, len - 1, data[0] % 16 + 1, &pieces) != fail || pieces.digest != whole.digest ||
        pieces.replies != whole.replies || mem_live() != 0)
        abort();
    return 0;
}
