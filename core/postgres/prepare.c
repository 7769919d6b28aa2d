/* prepare.c - prepared statements of one connection, least recently used out.
 *
 * DESIGN  An entry in flight (uses > 0) may be dropped from the cache, not freed; libpq 15 cannot close a statement without waiting,
 *         so what is evicted goes on a list and is deallocated with a unit of its own when the connection is quiet.
 *         One DDL makes plans stale on every connection, and a transaction finds one of them each time it is tried. So the first that is
 *         found counts in plans->renewals, and who must not find another one (fresh) gets none that is older.
 *         Names begin with a random word of this process: behind a pooler, two processes must not meet under one name.
 * HOLDS   count is the length of `used`; every entry of `used` is in its bucket; evicted ones are in no bucket.
 * Path:   postgres/query > [postgres/prepare]
 */
#include "postgres/prepare.h"

#include "base/mem.h"
#include "base/random.h"
#include "postgres/dirt.h"
#include "postgres/rows.h"
#include "sql/statement.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>

static char prefix[24];
static pthread_once_t prefix_once = PTHREAD_ONCE_INIT;

static void make_prefix(void) { snprintf(prefix, sizeof prefix, "wick_%08x", (unsigned)random_u64()); }

void postgres_prepare_init(struct postgres_prepared_cache *cache, unsigned max)
{
    pthread_once(&prefix_once, make_prefix);
    *cache = (struct postgres_prepared_cache){ .max = max };
    list_init(&cache->used);
    list_init(&cache->evicted);
}

static void free_entry(struct postgres_prepared *prepared)
{
    postgres_shape_release(prepared->shape);
    mem_free(prepared);
}

static struct postgres_prepared **bucket_of(struct postgres_prepared_cache *cache, uint64_t hash)
{
    return &cache->buckets[hash % POSTGRES_PREPARED_BUCKETS];
}

static void unlink_entry(struct postgres_prepared_cache *cache, struct postgres_prepared *prepared)
{
    struct postgres_prepared **at = bucket_of(cache, prepared->hash);
    while (*at != prepared)
        at = &(*at)->next;
    *at = prepared->next;
    list_remove(&prepared->node);
    cache->count--;
}

void postgres_prepare_drop(struct postgres_prepared_cache *cache, struct postgres_prepared *prepared, bool exists)
{
    if (prepared->is_dropped)
        return;
    unlink_entry(cache, prepared);
    prepared->is_dropped = true;
    if (exists) {
        prepared->uses++; /* the list's, which next_evicted hands over */
        list_push_back(&cache->evicted, &prepared->node);
    } else if (prepared->uses == 0) {
        free_entry(prepared);
    }
}

/* The oldest that nothing in flight names go; when all are in flight, the cache is over its size for a while. */
static void make_room(struct postgres_prepared_cache *cache, unsigned keep)
{
    for (struct list *at = cache->used.prev; at != &cache->used && cache->count > keep;) {
        struct postgres_prepared *oldest = LIST_ENTRY(at, struct postgres_prepared, node);
        at = at->prev;
        if (oldest->uses)
            continue;
        postgres_prepare_drop(cache, oldest, /* exists= */ oldest->is_sent);
        if (cache->plans)
            metric_add(cache->plans->evictions, 1);
    }
}

static bool has(struct str text, const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= text.len; i++)
        if (str_is_nocase(str_make(text.data + i, len), str_make(word, len)))
            return true;
    return false;
}

/* Looked at once for each entry. A SET that a function or a DO does is not seen: then a plan may be used that was made in another
 * scope, which the server notices by itself. */
static enum postgres_effect effect_of(struct str text)
{
    static const char *const words[] = { "search_path", "schema", "role", "authorization", "all" };
    enum sql_verb verb = sql_statement_verb(text, SQL_POSTGRES);
    if (verb == SQL_VERB_DISCARD || verb == SQL_VERB_DEALLOCATE)
        return has(text, "all") ? POSTGRES_EFFECT_FORGET : POSTGRES_EFFECT_NONE;
    if (verb == SQL_VERB_ROLLBACK)
        return has(text, "to") ? POSTGRES_EFFECT_UNDO : POSTGRES_EFFECT_NONE;
    for (size_t i = 0; (verb == SQL_VERB_SET || verb == SQL_VERB_RESET) && i < sizeof words / sizeof *words; i++)
        if (has(text, words[i]))
            return POSTGRES_EFFECT_SCOPE;
    return has(text, "set_config") ? POSTGRES_EFFECT_SCOPE : POSTGRES_EFFECT_NONE;
}

static unsigned renewals_of(const struct postgres_prepared_cache *cache)
{
    return cache->plans ? atomic_load_explicit(&cache->plans->renewals, memory_order_relaxed) : 0;
}

static struct postgres_prepared *add_entry(struct postgres_prepared_cache *cache, struct str text, uint64_t hash,
                                           uint64_t scope)
{
    make_room(cache, cache->max - 1);
    struct postgres_prepared *prepared = mem_zero(MEM_POSTGRES, sizeof *prepared + text.len + 1);
    if (!prepared)
        return NULL;
    if (cache->plans)
        metric_add(cache->plans->misses, 1);
    prepared->hash = hash;
    prepared->scope = scope;
    prepared->renewal = renewals_of(cache);
    prepared->effect = effect_of(text);
    prepared->moves_transaction = sql_verb_is_transaction(sql_statement_verb(text, SQL_POSTGRES));
    prepared->len = text.len;
    memcpy(prepared->text, text.data, text.len);
    prepared->dirt = postgres_dirt_of(text);
    snprintf(prepared->name, sizeof prepared->name, "%s_%llu", prefix, (unsigned long long)++cache->names);
    prepared->next = *bucket_of(cache, hash);
    *bucket_of(cache, hash) = prepared;
    list_push_front(&cache->used, &prepared->node);
    cache->count++;
    return prepared;
}

static bool is_for(const struct postgres_prepared *prepared, struct str text, uint64_t hash, uint64_t scope)
{
    return prepared->hash == hash && prepared->scope == scope && prepared->len == text.len &&
           memcmp(prepared->text, text.data, text.len) == 0;
}

static void use(struct postgres_prepared_cache *cache, struct postgres_prepared *prepared)
{
    if (cache->plans)
        metric_add(cache->plans->hits, 1);
    if (cache->used.next == &prepared->node)
        return;
    list_remove(&prepared->node);
    list_push_front(&cache->used, &prepared->node);
}

struct postgres_prepared *postgres_prepare_find(struct postgres_prepared_cache *cache, struct str text, uint64_t hash,
                                                uint64_t scope, bool fresh)
{
    hash ^= scope;
    struct postgres_prepared *found = *bucket_of(cache, hash);
    while (found && !is_for(found, text, hash, scope))
        found = found->next;
    if (found && fresh && found->renewal != renewals_of(cache)) {
        postgres_prepare_drop(cache, found, /* exists= */ found->is_sent);
        found = NULL;
    }
    if (!found)
        return add_entry(cache, text, hash, scope);
    use(cache, found);
    return found;
}

void postgres_prepare_note_stale(struct postgres_prepared_cache *cache)
{
    if (cache->plans)
        atomic_fetch_add_explicit(&cache->plans->renewals, 1, memory_order_relaxed);
}

void postgres_prepare_hold(struct postgres_prepared *prepared) { prepared->uses++; }

void postgres_prepare_release(struct postgres_prepared *prepared)
{
    assert(prepared->uses > 0);
    if (--prepared->uses == 0 && prepared->is_dropped)
        free_entry(prepared);
}

void postgres_prepare_trim(struct postgres_prepared_cache *cache) { make_room(cache, cache->max); }

struct postgres_prepared *postgres_prepare_next_evicted(struct postgres_prepared_cache *cache)
{
    struct list *node = list_pop_front(&cache->evicted);
    return node ? LIST_ENTRY(node, struct postgres_prepared, node) : NULL;
}

void postgres_prepare_evict_again(struct postgres_prepared_cache *cache, struct postgres_prepared *prepared)
{
    postgres_prepare_hold(prepared);
    list_push_back(&cache->evicted, &prepared->node);
}

void postgres_prepare_drop_all(struct postgres_prepared_cache *cache)
{
    while (!list_is_empty(&cache->used)) {
        struct postgres_prepared *first = LIST_ENTRY(cache->used.next, struct postgres_prepared, node);
        postgres_prepare_drop(cache, first, /* exists= */ first->is_sent);
    }
}

void postgres_prepare_forget_evicted(struct postgres_prepared_cache *cache)
{
    for (struct postgres_prepared *prepared; (prepared = postgres_prepare_next_evicted(cache));)
        postgres_prepare_release(prepared);
}

void postgres_prepare_clear(struct postgres_prepared_cache *cache)
{
    postgres_prepare_drop_all(cache);
    postgres_prepare_forget_evicted(cache);
}
