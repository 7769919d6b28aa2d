/* response.c - the response cache: a route's fresh answer is written from memory without entering Lua.
 *
 * DESIGN  An entry's meta data is its head, ready to send: ETag (fixed length), length of the type, whether the handler's own ETag is
 *         among the fields (then the first is empty), type, further fields.
 *         A hit is one look-up, one comparison with If-None-Match and one writev of head and body, without an allocation.
 *         A fill is the duty of the request that runs the handler: it holds the key and the flight, in the request's arena.
 * HOLDS   Every flight this file joins as leader is landed exactly once: in serve_response_send or serve_response_abandon.
 *         FAIL_MISSING lands "cannot be kept": those who wait then run the handler each on their own, so that an
 *         uncacheable answer never makes them queue up. FAIL_CANCELLED lands "the leader went away": one of them leads.
 * Path:   script/handler > [serve/response] > cache/store, cache/flight > http/reply
 */
#include "serve/response.h"

#include "http/problem.h"
#include "metrics/metrics.h"
#include "serve/etag.h"

#include <assert.h>

enum {
    KEY_MAX = 2048,
    ETAG_LEN = SERVE_ETAG_LEN,
    META_HEAD = ETAG_LEN + 2,
    FOLLOW_MS = 10000,
    RETRIES_MAX = 2,
    FIELDS_MAX = 1024
};
enum { ENTRY_RESPONSE = 1 };

struct serve_fill {
    struct cache *cache;
    const struct serve_policy *policy;
    struct http_request *request;
    struct str key;
    uint64_t mark;
    bool leads, is_for_one;
    unsigned retries;
    struct cache_entry *stale; /* a reference; sent when the handler fails */
    struct cache_waiter waiter;
    serve_on_run *on_run;
    void *arg;
};

static struct {
    struct metric_counter *hit, *stale, *miss, *coalesced;
} counters;

void serve_response_open(void)
{
    const char *name = "wick_response_cache_requests_total";
    const char *help = "Requests to routes with a response cache, by what it had for them.";
    counters.stale = metric_counter(name, help, "result=\"stale\"");
    counters.miss = metric_counter(name, help, "result=\"miss\"");
    counters.coalesced = metric_counter(name, help, "result=\"coalesced\"");
    counters.hit = metric_counter(name, help, "result=\"hit\"");
}

/* --- keys ------------------------------------------------------------------------------------------------------- */

static size_t key_write(const struct serve_policy *policy, const struct http_request *request, char key[KEY_MAX])
{
    struct str path = request->head.path, query = request->head.query;
    if (path.len + query.len + 2 > KEY_MAX)
        return 0;
    size_t len = 0;
    key[len++] = 'R';
    memcpy(key + len, path.data, path.len);
    len += path.len;
    key[len++] = '?';
    if (query.len)
        memcpy(key + len, query.data, query.len);
    len += query.len;
    for (unsigned i = 0; i < policy->vary_count; i++) {
        struct str value = http_head_field(&request->head, policy->vary[i]);
        if (len + value.len + 2 > KEY_MAX)
            return 0;
        key[len++] = '\n';
        key[len++] = value.data ? '=' : '-'; /* an empty field is one, and a handler sees which */
        if (value.data)
            memcpy(key + len, value.data, value.len);
        len += value.len;
    }
    return len;
}

/* --- fields ----------------------------------------------------------------------------------------------------- */

static bool next_field(struct str *fields, struct str *name, struct str *value)
{
    if (fields->len == 0)
        return false;
    struct str line = str_split(fields, '\n');
    *name = str_split(&line, ':');
    *value = str_trim(str_split(&line, '\r'));
    return true;
}

/* RFC 9111 3: an answer for one caller. */
static bool is_for_one(struct str cache_control)
{
    while (cache_control.len > 0) {
        struct str one = str_split(&cache_control, ',');
        one = str_trim(str_split(&one, '='));
        if (str_is_nocase(one, STR("no-store")) || str_is_nocase(one, STR("private")))
            return true;
    }
    return false;
}

static bool may_keep(struct str fields)
{
    struct str name, value;
    while (next_field(&fields, &name, &value))
        if (str_is_nocase(name, STR("set-cookie")) || (str_is_nocase(name, STR("cache-control")) && is_for_one(value)))
            return false;
    return true;
}

/* The handler's own; data is NULL where it has none. */
static struct str own_etag(struct str fields)
{
    struct str name, value;
    while (next_field(&fields, &name, &value))
        if (str_is_nocase(name, STR("etag")))
            return value;
    return STR_NONE;
}

/* --- sending ---------------------------------------------------------------------------------------------------- */

static void release_entry(void *owner) { cache_entry_unref(owner); }

static size_t add(char *out, size_t at, struct str text)
{
    if (text.len)
        memcpy(out + at, text.data, text.len);
    return at + text.len;
}

static size_t add_uint(char *out, size_t at, uint64_t value)
{
    char digits[20];
    size_t count = 0;
    do
        digits[count++] = (char)('0' + value % 10);
    while (value /= 10);
    while (count > 0)
        out[at++] = digits[--count];
    return at;
}

/* Who has it already is sent no body. */
static void send_unless_known(struct http_request *request, struct http_reply *reply, struct str etag)
{
    struct str asked = request->head.known[HTTP_IF_NONE_MATCH];
    if (asked.data && serve_etag_matches(asked, etag)) {
        reply->status = 304;
        reply->type = STR_NONE;
        reply->body = STR_NONE;
    }
    http_reply_send(request, reply);
}

/* The entry is the caller's until release, or for this call where that is NULL. what: the X-Cache value. */
static void send_held(struct http_request *request, struct cache_entry *entry, struct str what,
                      void (*release)(void *owner))
{
    struct str meta = cache_entry_meta(entry);
    assert(entry->kind == ENTRY_RESPONSE && meta.len >= META_HEAD);
    size_t type_len = (unsigned char)meta.data[ETAG_LEN];
    bool has_own = meta.data[ETAG_LEN + 1] != 0;
    struct str type = str_make(meta.data + META_HEAD, type_len);
    struct str more = str_make(type.data + type_len, meta.len - META_HEAD - type_len);
    struct str etag = has_own ? own_etag(more) : str_make(meta.data, ETAG_LEN);
    uint64_t now_ms = loop_now_ms(http_request_loop(request));
    uint64_t age_s = cache_entry_age_ms(entry, now_ms) / 1000;
    char fields[FIELDS_MAX + 128];
    size_t len = add(fields, 0, STR("Age: "));
    len = add_uint(fields, len, age_s);
    len = add(fields, len, STR("\r\nX-Cache: "));
    len = add(fields, len, what);
    len = add(fields, len, has_own ? STR_NONE : STR("\r\nETag: "));
    len = add(fields, len, has_own ? STR_NONE : etag);
    len = add(fields, len, STR("\r\n"));
    len = add(fields, len, more);
    struct http_reply reply = { .status = 200,
                                .type = type,
                                .fields = str_make(fields, len),
                                .body = cache_entry_value(entry),
                                .release = release,
                                .owner = entry };
    send_unless_known(request, &reply, etag);
}

/* Takes the reference. */
static void send_entry(struct http_request *request, struct cache_entry *entry, struct str what)
{
    send_held(request, entry, what, release_entry);
}

/* Lets go of it. What is small is gone, or copied, when the call returns; what is large may stay with the socket for long. */
static void send_hit(struct http_request *request, struct cache_hold *hold)
{
    struct str what = STR("HIT; layer=l1");
    if (cache_entry_value(hold->entry).len > HTTP_BODY_COPIED_MAX) {
        send_entry(request, cache_store_keep(hold), what);
        return;
    }
    send_held(request, hold->entry, what, NULL);
    cache_store_let_go(hold);
}

/* What an answer to GET is called: by its handler, or by its body. */
struct tag {
    bool is_own;
    struct str text;
    char made[ETAG_LEN + 1];
};

static void tag_make(struct tag *tag, const struct http_reply *reply)
{
    tag->text = own_etag(reply->fields);
    tag->is_own = tag->text.data != NULL;
    if (tag->is_own)
        return;
    serve_etag(reply->body, tag->made);
    tag->text = str_make(tag->made, ETAG_LEN);
}

/* The reply with its ETag, and the line that comes with it, in front of its own fields; in the request's arena. */
static struct http_reply with_fields(struct http_request *request, const struct http_reply *reply,
                                     const struct tag *tag, struct str what)
{
    struct http_reply out = *reply;
    char *fields = arena_alloc(&request->arena, STR("ETag: \r\n").len + ETAG_LEN + what.len + reply->fields.len);
    if (!fields)
        return out;
    size_t len = 0;
    if (!tag->is_own) {
        len = add(fields, len, STR("ETag: "));
        len = add(fields, len, tag->text);
        len = add(fields, len, STR("\r\n"));
    }
    len = add(fields, len, what);
    len = add(fields, len, reply->fields);
    out.fields = str_make(fields, len);
    return out;
}

static void send_tagged(struct http_request *request, const struct http_reply *reply, const struct tag *tag,
                        struct str what)
{
    struct http_reply out = with_fields(request, reply, tag, what);
    send_unless_known(request, &out, tag->text);
}

static bool is_get(const struct http_request *request)
{
    return request->head.method == HTTP_GET || request->head.method == HTTP_HEAD;
}

/* --- finding ---------------------------------------------------------------------------------------------------- */

static void on_landed(struct cache_waiter *waiter);

static struct serve_fill *fill_new(struct cache *cache, const struct serve_policy *policy, struct http_request *request,
                                   const char *key, size_t key_len)
{
    struct serve_fill *fill = arena_alloc(&request->arena, sizeof *fill);
    char *kept = fill ? arena_dup(&request->arena, key, key_len) : NULL;
    if (!kept)
        return NULL;
    memset(fill, 0, sizeof *fill);
    fill->cache = cache;
    fill->policy = policy;
    fill->request = request;
    fill->key = str_make(kept, key_len);
    return fill;
}

static enum serve_response join(struct serve_fill *fill)
{
    fill->mark = cache_store_mark(fill->cache->store);
    fill->waiter.loop = fill->cache->loop;
    fill->waiter.on_landed = on_landed;
    fill->waiter.arg = fill;
    switch (cache_flight_join(fill->cache->flights, fill->key, &fill->waiter, FOLLOW_MS)) {
    case CACHE_LEADS: fill->leads = true; return SERVE_RUN;
    case CACHE_FOLLOWS:
        if (!fill->stale)
            return SERVE_WAITS;
        cache_flight_leave(&fill->waiter); /* somebody refreshes it: the stale answer does */
        metric_add(counters.stale, 1);
        send_entry(fill->request, fill->stale, STR("STALE; layer=l1"));
        return SERVE_DONE;
    case CACHE_REFUSED: break;
    }
    if (fill->stale) {
        metric_add(counters.stale, 1);
        send_entry(fill->request, fill->stale, STR("STALE; layer=l1"));
        return SERVE_DONE;
    }
    http_problem_send(
        fill->request,
        &(struct http_problem){ .status = 503,
                                .type = STR("overloaded"),
                                .retry_after_s = 1,
                                .detail = STR("too many requests wait for this answer; ask again in a second") });
    return SERVE_DONE;
}

enum serve_response serve_response_try(struct cache *cache, const struct serve_policy *policy,
                                       struct http_request *request, serve_on_run *on_run, void *arg,
                                       struct serve_fill **out)
{
    char key[KEY_MAX];
    *out = NULL;
    size_t key_len = is_get(request) ? key_write(policy, request, key) : 0;
    if (key_len == 0)
        return SERVE_RUN;
    struct cache_hold hold;
    enum cache_found found = cache_store_hold(cache->store, str_make(key, key_len), loop_now_ms(cache->loop), &hold);
    if (found == CACHE_FRESH) {
        metric_add(counters.hit, 1);
        send_hit(request, &hold);
        return SERVE_DONE;
    }
    struct cache_entry *entry = found == CACHE_STALE ? cache_store_keep(&hold) : NULL;
    struct serve_fill *fill = fill_new(cache, policy, request, key, key_len);
    if (!fill) {
        cache_entry_unref(entry);
        return SERVE_RUN;
    }
    fill->stale = entry;
    fill->on_run = on_run;
    fill->arg = arg;
    enum serve_response response = join(fill);
    if (response != SERVE_DONE)
        *out = fill;
    if (response == SERVE_RUN)
        metric_add(counters.miss, 1);
    return response;
}

/* Those who wait do not queue up for ever: in the end each runs the handler alone, without leading. */
static void try_again(struct serve_fill *fill)
{
    if (fill->retries++ >= RETRIES_MAX || join(fill) == SERVE_RUN)
        fill->on_run(fill->arg, fill->request, fill);
}

/* We waited: the leader has landed, or our time is over. */
static void on_landed(struct cache_waiter *waiter)
{
    struct serve_fill *fill = waiter->arg;
    assert(!fill->leads && !fill->stale);
    switch (waiter->fail) {
    case FAIL_OK:
        if (!cache_store_is_current(fill->cache->store, waiter->entry)) {
            cache_entry_unref(waiter->entry); /* a tag was dropped while it was made, maybe before we asked */
            try_again(fill);
            return;
        }
        metric_add(counters.coalesced, 1);
        send_entry(fill->request, waiter->entry, STR("HIT; layer=flight"));
        return;
    case FAIL_CANCELLED: /* the leader went away */ try_again(fill); return;
    case FAIL_MISSING: /* the answer cannot be kept: each on their own */
        fill->on_run(fill->arg, fill->request, fill);
        return;
    default:
        http_problem_send(fill->request, &(struct http_problem){
                                             .status = 503,
                                             .type = STR("unavailable"),
                                             .retry_after_s = 1,
                                             .detail = STR("the answer could not be made; ask again in a second") });
    }
}

/* --- ending ----------------------------------------------------------------------------------------------------- */

static void land(struct serve_fill *fill, enum fail fail, struct cache_entry *entry)
{
    if (fill->leads)
        cache_flight_land(fill->cache->flights, fill->key, fail, entry);
    fill->leads = false;
}

static void drop_stale(struct serve_fill *fill)
{
    cache_entry_unref(fill->stale);
    fill->stale = NULL;
}

/* Keeps the answer; NULL when it cannot be kept. */
static struct cache_entry *keep(struct serve_fill *fill, const struct http_reply *reply, const struct tag *tag)
{
    const struct serve_policy *policy = fill->policy;
    if (fill->is_for_one || reply->type.len > 255 || reply->fields.len > FIELDS_MAX - 128 || !may_keep(reply->fields))
        return NULL;
    char meta[META_HEAD + 255 + FIELDS_MAX];
    memcpy(meta, tag->made, ETAG_LEN);
    meta[ETAG_LEN] = (char)reply->type.len;
    meta[ETAG_LEN + 1] = (char)tag->is_own;
    size_t len = META_HEAD;
    if (reply->type.len)
        memcpy(meta + len, reply->type.data, reply->type.len);
    len += reply->type.len;
    if (reply->fields.len)
        memcpy(meta + len, reply->fields.data, reply->fields.len);
    len += reply->fields.len;
    struct cache_put put = { .key = fill->key,
                             .meta = str_make(meta, len),
                             .value = reply->body,
                             .kind = ENTRY_RESPONSE,
                             .ttl_ms = policy->ttl_ms,
                             .stale_ms = policy->stale_ms,
                             .tag_count = policy->tag_count,
                             .tag_mark = fill->mark };
    memcpy(put.tags, policy->tags, sizeof put.tags);
    struct cache_entry *entry = NULL;
    uint64_t now_ms = loop_now_ms(fill->cache->loop);
    if (cache_store_put(fill->cache->store, &put, now_ms, &entry) != FAIL_OK)
        return NULL;
    return entry;
}

void serve_response_is_for_one(struct serve_fill *fill) { fill->is_for_one = true; }

void serve_response_send(struct serve_fill *fill, struct http_request *request, const struct http_reply *reply)
{
    struct tag tag = { .is_own = false };
    bool tagged = is_get(request) && reply->status == 200;
    if (tagged)
        tag_make(&tag, reply);
    if (!fill) {
        if (tagged)
            send_tagged(request, reply, &tag, STR_NONE);
        else
            http_reply_send(request, reply);
        return;
    }
    if (reply->status >= 500 && fill->stale && cache_store_is_current(fill->cache->store, fill->stale)) {
        struct cache_entry *stale = fill->stale;
        fill->stale = NULL;
        land(fill, FAIL_OK, stale);
        metric_add(counters.stale, 1);
        send_entry(request, stale, STR("STALE; layer=l1"));
        if (reply->release)
            reply->release(reply->owner);
        return;
    }
    struct cache_entry *entry = tagged ? keep(fill, reply, &tag) : NULL;
    land(fill, entry ? FAIL_OK : reply->status >= 500 ? FAIL_IO : FAIL_MISSING, entry);
    cache_entry_unref(entry);
    drop_stale(fill);
    if (tagged)
        send_tagged(request, reply, &tag, STR("X-Cache: MISS\r\n"));
    else
        http_reply_send(request, reply);
}

void serve_response_abandon(struct serve_fill *fill)
{
    if (!fill)
        return;
    land(fill, FAIL_CANCELLED, NULL);
    drop_stale(fill);
}

void serve_response_leave(struct serve_fill *waiting)
{
    assert(!waiting->leads);
    cache_flight_leave(&waiting->waiter);
    drop_stale(waiting);
    /* Nobody reads it any more, but every request ends with a reply. */
    http_reply_send(waiting->request, &(struct http_reply){ .status = 503, .close = true });
}
