/* read.c - read-through: memory first, then one flight for all who miss, then the layer below, then the loader.
 *
 * DESIGN  The state table is in read.h. Leadership of the key's flight is the duty to land it: whoever got CACHE_LEADS ends
 *         it exactly once, by cache_read_fill, cache_read_fail or cache_read_cancel, or by finding the value below.
 * HOLDS   leads implies the flight of `key` is open. An entry with tags never goes to the layer below nor comes from it,
 *         since a dropped tag does not reach it there.
 * Below   a value is stored with a head of 32 bytes: magic, length of its meta data, the wall-clock time it ends, so that
 *         memory never keeps it longer than the layer would, its mark, and a checksum of all of it: what somebody else wrote
 *         there, or left there in part, is a miss and never an answer.
 *         Nobody knows whether a DEL arrives (breaker open, line down, queue full), nor whether it comes before or after the
 *         SET of another worker, whose connection is another. So nothing depends on it: what comes from below is judged by its
 *         mark, as an entry of memory is. The store remembers for each key (by hash) when this process last removed it; a value
 *         read from the database before that is a miss. DEL and SET only make room, and tell other nodes.
 * Path:   serve/response, script/bind_cache > [cache/read] > cache/store, cache/flight, cache/layer
 */
#include "cache/read.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/siphash.h"

#include <assert.h>

enum { BELOW_HEAD = 32, RETRIES_MAX = 3 };
static const char below_magic[4] = { 'w', 'k', '0', '3' };

static void on_got(struct cache_layer_get *get);
static void on_landed(struct cache_waiter *waiter);

static bool is_for_layer(const struct cache_read *read)
{
    return read->cache->layer && !read->skip_layer && read->tag_count == 0;
}

static bool uses_layer(const struct cache_read *read)
{
    const struct cache_layer *layer = read->cache->layer;
    return is_for_layer(read) && layer->is_open(layer->arg);
}

static void note_skipped(const struct cache_read *read)
{
    const struct cache_layer *layer = read->cache->layer;
    if (is_for_layer(read) && layer->skipped)
        layer->skipped(layer->arg);
}

static void land(struct cache_read *read, enum fail fail, struct cache_entry *entry)
{
    assert(read->leads);
    read->leads = false;
    cache_flight_land(read->cache->flights, read->key, fail, entry);
}

static enum cache_read_state found(struct cache_read *read, enum cache_source source)
{
    read->source = source;
    return read->state = CACHE_READ_HIT;
}

/* The leader's next step: the layer below, or the caller's loader. */
static enum cache_read_state ask_below(struct cache_read *read)
{
    read->mark = cache_store_mark(read->cache->store);
    if (!uses_layer(read)) {
        note_skipped(read);
        return read->state = CACHE_READ_LOAD;
    }
    const struct cache_layer *layer = read->cache->layer;
    read->get.key = read->key;
    read->get.on_got = on_got;
    read->get.arg = read;
    read->state = CACHE_READ_WAIT;
    layer->get(layer->arg, &read->get);
    return read->state;
}

static enum cache_read_state join(struct cache_read *read)
{
    read->waiter.loop = read->cache->loop;
    read->waiter.on_landed = on_landed;
    read->waiter.arg = read;
    switch (cache_flight_join(read->cache->flights, read->key, &read->waiter, read->timeout_ms)) {
    case CACHE_FOLLOWS: return read->state = CACHE_READ_WAIT;
    case CACHE_REFUSED: read->fail = FAIL_FULL; return read->state = CACHE_READ_FAILED;
    case CACHE_LEADS: break;
    }
    read->leads = true;
    /* Another flight may have landed between the look-up and the join. */
    struct cache_entry *entry = NULL;
    switch (cache_store_get(read->cache->store, read->key, loop_now_ms(read->cache->loop), &entry)) {
    case CACHE_FRESH:
        read->entry = entry;
        land(read, FAIL_OK, entry);
        return found(read, CACHE_FROM_L1);
    case CACHE_STALE: cache_entry_unref(entry); break;
    case CACHE_MISS: break;
    }
    return ask_below(read);
}

/* The entry is stale: serve it, and refresh it when nobody does. */
static enum cache_read_state stale(struct cache_read *read)
{
    read->source = CACHE_FROM_L1;
    read->waiter.loop = read->cache->loop;
    read->waiter.on_landed = on_landed;
    read->waiter.arg = read;
    switch (cache_flight_join(read->cache->flights, read->key, &read->waiter, read->timeout_ms)) {
    case CACHE_LEADS:
        read->leads = true;
        read->must_load = true;
        read->mark = cache_store_mark(read->cache->store);
        break;
    case CACHE_FOLLOWS: cache_flight_leave(&read->waiter); break;
    case CACHE_REFUSED: break;
    }
    return read->state = CACHE_READ_STALE;
}

static enum cache_read_state look(struct cache_read *read)
{
    read->fail = FAIL_OK;
    read->must_load = false;
    read->entry = NULL;
    switch (cache_store_get(read->cache->store, read->key, loop_now_ms(read->cache->loop), &read->entry)) {
    case CACHE_FRESH: return found(read, CACHE_FROM_L1);
    case CACHE_STALE: return stale(read);
    case CACHE_MISS: break;
    }
    return join(read);
}

enum cache_read_state cache_read_start(struct cache_read *read)
{
    assert(read->cache && read->key.len > 0);
    read->leads = false;
    read->retries = 0;
    return look(read);
}

/* Followers of busy keys do not look for ever: in the end each loads alone, without leading. */
static void look_again(struct cache_read *read)
{
    if (read->retries++ >= RETRIES_MAX) {
        read->mark = cache_store_mark(read->cache->store);
        read->state = CACHE_READ_LOAD;
    } else if (look(read) == CACHE_READ_WAIT) {
        return;
    }
    read->on_ready(read);
}

/* We followed: the leader has landed, or our time is over. What landed may be older than a drop that came before we asked:
 * then it is not for us. */
static void on_landed(struct cache_waiter *waiter)
{
    struct cache_read *read = waiter->arg;
    assert(read->state == CACHE_READ_WAIT && !read->leads);
    read->fail = waiter->fail;
    if (waiter->fail == FAIL_CANCELLED) {
        look_again(read); /* the leader went away: the first of us to get here leads */
        return;
    }
    if (waiter->fail == FAIL_OK && !cache_store_is_current(read->cache->store, waiter->entry)) {
        cache_entry_unref(waiter->entry);
        look_again(read);
        return;
    }
    if (waiter->fail == FAIL_OK) {
        read->entry = waiter->entry;
        found(read, CACHE_FROM_FLIGHT);
    } else {
        read->state = CACHE_READ_FAILED;
    }
    read->on_ready(read);
}

/* Of the numbers in the head and of all behind the sum: the mark stands there. */
static uint64_t below_sum(uint32_t meta_len, int64_t ends_ms, struct str rest)
{
    return siphash13((struct siphash_key){ meta_len, (uint64_t)ends_ms }, rest.data, rest.len);
}

struct below {
    struct str meta, value;
    uint64_t left_ms, mark;
};

static bool below_decode(struct str bytes, struct below *out)
{
    uint32_t meta_len;
    int64_t ends_ms;
    uint64_t sum;
    if (bytes.len < BELOW_HEAD || memcmp(bytes.data, below_magic, sizeof below_magic) != 0)
        return false;
    memcpy(&meta_len, bytes.data + 4, sizeof meta_len);
    memcpy(&ends_ms, bytes.data + 8, sizeof ends_ms);
    memcpy(&sum, bytes.data + 16, sizeof sum);
    memcpy(&out->mark, bytes.data + 24, sizeof out->mark);
    if (sum != below_sum(meta_len, ends_ms, str_make(bytes.data + 24, bytes.len - 24)))
        return false;
    int64_t left = ends_ms - clock_wall_us() / 1000;
    if (meta_len > bytes.len - BELOW_HEAD || left <= 0 || out->mark == 0)
        return false;
    out->meta = str_make(bytes.data + BELOW_HEAD, meta_len);
    out->value = str_make(out->meta.data + meta_len, bytes.len - BELOW_HEAD - meta_len);
    out->left_ms = (uint64_t)left;
    return true;
}

static void below_encode(struct buf *out, struct str meta, struct str value, uint64_t ttl_ms, uint64_t mark)
{
    uint32_t meta_len = (uint32_t)meta.len;
    int64_t ends_ms = clock_wall_us() / 1000 + (int64_t)ttl_ms;
    uint64_t sum = 0;
    buf_add(out, below_magic, sizeof below_magic);
    buf_add(out, &meta_len, sizeof meta_len);
    buf_add(out, &ends_ms, sizeof ends_ms);
    buf_add(out, &sum, sizeof sum);
    buf_add(out, &mark, sizeof mark);
    buf_add_str(out, meta);
    buf_add_str(out, value);
    if (!buf_ok(out))
        return;
    sum = below_sum(meta_len, ends_ms, str_make(out->data + 24, out->len - 24));
    memcpy(out->data + 16, &sum, sizeof sum);
}

static void put_below(struct cache *cache, struct str key, struct str meta, struct str value, uint64_t ttl_ms,
                      uint64_t mark)
{
    struct buf bytes;
    buf_init(&bytes, MEM_CACHE, 0);
    below_encode(&bytes, meta, value, ttl_ms, mark);
    if (buf_ok(&bytes))
        cache->layer->put(cache->layer->arg, key, str_make(bytes.data, bytes.len), ttl_ms);
    buf_clear(&bytes);
}

static struct cache_put put_of(const struct cache_read *read, struct str meta, struct str value)
{
    struct cache_put put = { .key = read->key,
                             .meta = meta,
                             .value = value,
                             .kind = read->kind,
                             .ttl_ms = read->ttl_ms,
                             .stale_ms = read->stale_ms,
                             .tag_count = read->tag_count,
                             .tag_mark = read->mark };
    memcpy(put.tags, read->tags, sizeof put.tags);
    if (read->memory_ms && read->memory_ms < put.ttl_ms)
        put.ttl_ms = read->memory_ms;
    return put;
}

/* Puts what may be kept; what may not (no room, dropped meanwhile) still becomes an entry to serve once. */
static enum fail keep(struct cache_read *read, const struct cache_put *put, bool *kept)
{
    uint64_t now_ms = loop_now_ms(read->cache->loop);
    *kept = cache_store_put(read->cache->store, put, now_ms, &read->entry) == FAIL_OK;
    if (!*kept)
        read->entry = cache_entry_loose(put, now_ms);
    return read->entry ? FAIL_OK : FAIL_NOMEM;
}

/* True: it is the read's entry now. False: nothing removed since may come back, whoever wrote it there and whenever it got there. */
static bool take_from_below(struct cache_read *read, struct str bytes)
{
    struct below below;
    bool kept;
    if (!below_decode(bytes, &below))
        return false;
    struct cache_put put = put_of(read, below.meta, below.value);
    put.ttl_ms = below.left_ms < put.ttl_ms ? below.left_ms : put.ttl_ms;
    put.tag_mark = below.mark < read->mark ? below.mark : read->mark; /* another's clock may be ahead of ours */
    if (keep(read, &put, &kept))
        return false;
    if (kept || cache_store_is_current(read->cache->store, read->entry))
        return true;
    cache_entry_unref(read->entry);
    read->entry = NULL;
    return false;
}

/* The layer below has answered; the read is in WAIT and leads. */
static void on_got(struct cache_layer_get *get)
{
    struct cache_read *read = get->arg;
    assert(read->state == CACHE_READ_WAIT && read->leads);
    if (get->fail == FAIL_OK && take_from_below(read, get->value)) {
        land(read, FAIL_OK, read->entry);
        found(read, CACHE_FROM_L2);
        read->on_ready(read);
        return;
    }
    read->mark = cache_store_mark(read->cache->store); /* what is loaded from here on is newer than any drop so far */
    read->state = CACHE_READ_LOAD;
    read->on_ready(read);
}

enum fail cache_read_fill(struct cache_read *read, struct str meta, struct str value, struct cache_entry **entry)
{
    bool kept;
    struct cache_put put = put_of(read, meta, value);
    struct cache_entry *before = read->entry; /* the stale one, when this is a refresh */
    enum fail fail = keep(read, &put, &kept);
    if (kept && uses_layer(read))
        put_below(read->cache, read->key, meta, value, read->ttl_ms, read->mark);
    if (read->leads)
        land(read, fail, fail == FAIL_OK ? read->entry : NULL);
    read->must_load = false;
    if (entry)
        *entry = read->entry;
    else
        cache_entry_unref(read->entry);
    read->entry = before;
    return fail;
}

void cache_read_fail(struct cache_read *read, enum fail fail)
{
    assert(fail != FAIL_OK);
    read->must_load = false;
    if (read->leads)
        land(read, fail, NULL);
}

void cache_read_cancel(struct cache_read *read)
{
    if (read->state == CACHE_READ_WAIT && !read->leads)
        cache_flight_leave(&read->waiter);
    if (read->state == CACHE_READ_WAIT && read->leads)
        read->cache->layer->cancel(read->cache->layer->arg, &read->get);
    if (read->leads)
        land(read, FAIL_CANCELLED, NULL);
    read->must_load = false;
    read->state = CACHE_READ_FAILED;
}

void cache_write(struct cache *cache, const struct cache_put *put)
{
    /* Only what memory took goes below: a value refused here must not come back from there. */
    struct cache_entry *entry;
    if (cache_store_put(cache->store, put, loop_now_ms(cache->loop), &entry) != FAIL_OK) {
        cache_remove(cache, put->key);
        return;
    }
    if (cache->layer && put->tag_count == 0)
        put_below(cache, put->key, put->meta, put->value, put->ttl_ms, entry->mark);
    cache_entry_unref(entry);
}

void cache_remove(struct cache *cache, struct str key)
{
    cache_store_remove(cache->store, key);
    if (cache->layer)
        cache->layer->remove(cache->layer->arg, key);
}
