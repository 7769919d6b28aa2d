/* layer.c - Redis as the layer below the memory cache.
 *
 * DESIGN  A get is one GET whose call lives in the caller's own memory (layer_data), so asking allocates nothing. A put is
 *         SET key value PX ttl, a remove is DEL; nobody waits for either, and either may be lost, or overtake the other on
 *         another worker's line: cache/read takes nothing from here that this process removed later. Deadlines and the breaker
 *         are redis/'s own.
 * HOLDS   on_got comes exactly once for each get, unless it was cancelled; never from within the get.
 * Path:   cache/read > [serve/layer] > redis/command > redis/connection
 */
#include "serve/layer.h"

#include "base/mem.h"
#include "metrics/metrics.h"

#include <stdio.h>

enum { PREFIX_MAX = 64, KEY_MAX = 4096 };

struct serve_layer {
    struct cache_layer face;
    struct redis *redis;
    char prefix[PREFIX_MAX];
    size_t prefix_len;
    struct metric_counter *hits, *misses, *errors, *skipped;
};
struct layer_call {
    struct redis_call call;
    struct serve_layer *layer;
};
_Static_assert(sizeof(struct layer_call) <= sizeof(((struct cache_layer_get *)0)->layer_data),
               "layer_data holds a call");

/* The prefixed key in `out`, or an empty one when it is too long for a key. */
static struct str full_key(const struct serve_layer *layer, struct str key, char out[KEY_MAX])
{
    if (layer->prefix_len + key.len > KEY_MAX)
        return STR_NONE;
    memcpy(out, layer->prefix, layer->prefix_len);
    memcpy(out + layer->prefix_len, key.data, key.len);
    return str_make(out, layer->prefix_len + key.len);
}

static void on_reply(struct redis_call *call);

static void layer_get(void *arg, struct cache_layer_get *get)
{
    struct serve_layer *layer = arg;
    struct layer_call *mine = (struct layer_call *)(void *)get->layer_data;
    char bytes[KEY_MAX];
    struct str words[2] = { STR("GET"), full_key(layer, get->key, bytes) };
    memset(mine, 0, sizeof *mine);
    mine->layer = layer;
    mine->call = (struct redis_call){ .words = words, .word_count = 2, .on_reply = on_reply, .arg = get };
    redis_run(layer->redis, &mine->call); /* an empty key is simply missing */
}

/* The reply is here, or why there is none. */
static void on_reply(struct redis_call *call)
{
    struct cache_layer_get *get = call->arg;
    struct serve_layer *layer = ((struct layer_call *)(void *)get->layer_data)->layer;
    get->value = STR_NONE;
    get->fail = call->fail;
    if (call->fail == FAIL_OK && call->reply->type == REDIS_STRING) {
        get->value = call->reply->text;
        metric_add(layer->hits, 1);
    } else if (call->fail == FAIL_OK && call->reply->type == REDIS_NIL) {
        get->fail = FAIL_MISSING;
        metric_add(layer->misses, 1);
    } else {
        get->fail = call->fail == FAIL_OK ? FAIL_REFUSED : call->fail;
        metric_add(layer->errors, 1);
    }
    get->on_got(get);
}

static void layer_cancel(void *arg, struct cache_layer_get *get)
{
    (void)arg;
    redis_cancel(&((struct layer_call *)(void *)get->layer_data)->call);
}

static void layer_put(void *arg, struct str key, struct str value, uint64_t ttl_ms)
{
    struct serve_layer *layer = arg;
    char bytes[KEY_MAX], ttl[24];
    struct str name = full_key(layer, key, bytes);
    if (name.len == 0 || ttl_ms == 0)
        return;
    int len = snprintf(ttl, sizeof ttl, "%llu", (unsigned long long)ttl_ms);
    struct str words[5] = { STR("SET"), name, value, STR("PX"), str_make(ttl, (size_t)len) };
    redis_send(layer->redis, words, 5);
}

static void layer_remove(void *arg, struct str key)
{
    struct serve_layer *layer = arg;
    char bytes[KEY_MAX];
    struct str words[2] = { STR("DEL"), full_key(layer, key, bytes) };
    if (words[1].len > 0)
        redis_send(layer->redis, words, 2);
}

static bool layer_is_open(void *arg)
{
    const struct serve_layer *layer = arg;
    return redis_is_open(layer->redis);
}

static void layer_skipped(void *arg)
{
    struct serve_layer *layer = arg;
    metric_add(layer->skipped, 1);
}

enum fail serve_layer_open(struct redis *redis, struct str prefix, struct serve_layer **out)
{
    if (prefix.len >= PREFIX_MAX)
        return FAIL_INVALID;
    struct serve_layer *layer = mem_zero(MEM_SERVE, sizeof *layer);
    if (!layer)
        return FAIL_NOMEM;
    layer->redis = redis;
    memcpy(layer->prefix, prefix.data, prefix.len);
    layer->prefix_len = prefix.len;
    layer->face = (struct cache_layer){ .arg = layer,
                                        .get = layer_get,
                                        .cancel = layer_cancel,
                                        .put = layer_put,
                                        .remove = layer_remove,
                                        .is_open = layer_is_open,
                                        .skipped = layer_skipped };
    const char *name = "wick_cache_requests_total", *help = "Look-ups in a cache layer, by what it had.";
    layer->hits = metric_counter(name, help, "layer=\"l2\",result=\"hit\"");
    layer->misses = metric_counter(name, help, "layer=\"l2\",result=\"miss\"");
    layer->errors = metric_counter(name, help, "layer=\"l2\",result=\"error\"");
    layer->skipped = metric_counter(name, help, "layer=\"l2\",result=\"skipped\""); /* it is away */
    *out = layer;
    return FAIL_OK;
}

const struct cache_layer *serve_layer_of(struct serve_layer *layer) { return &layer->face; }

void serve_layer_close(struct serve_layer *layer) { mem_free(layer); }
