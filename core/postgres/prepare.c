/* prepare.c - prepared statements of one connection, least recently used out.
 *
 * DESIGN  An entry in flight (uses > 0) may be dropped from the cache, not freed; libpq 15 cannot close a statement without waiting,
 *         so what is evicted goes on a list and is deallocated with a unit of its own when the connection is quiet.
 *         Names begin with a random word of this process: behind a pooler, two processes must not meet under one name.
 * HOLDS   count is the length of `used`; every entry of `used` is in its bucket; evicted ones are in no bucket.
 * Path:   postgres/query > [postgres/prepare]
 */
#include "postgres/prepare.h"

#include "base/mem.h"
#include "base/random.h"
#include "postgres/dirt.h"
#include "postgres/rows.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>

static char prefix[24];
static pthread_once_t prefix_once = PTHREAD_ONCE_INIT;

static void make_prefix(void) { snprintf(prefix, sizeof prefix, "wick_%08x", (unsigned)random_u64()); }

void postgres_prepare_init(struct postgres_prepared_cache *cache)
{
    pthread_once(&prefix_once, make_prefix);
    *cache = (struct postgres_prepared_cache){ .count = 0 };
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
        prepared->uses++; /* the list's; next_evicted gives it back */
        list_push_back(&cache->evicted, &prepared->node);
    } else if (prepared->uses == 0) {
        free_entry(prepared);
    }
}

/* The oldest that nothing in flight names goes; when all are in flight, the cache is over its size for a while. */
static void make_room(struct postgres_prepared_cache *cache)
{
    if (cache->count < POSTGRES_PREPARED_MAX)
        return;
    for (struct list *at = cache->used.prev; at != &cache->used; at = at->prev) {
        struct postgres_prepared *oldest = LIST_ENTRY(at, struct postgres_prepared, node);
        if (oldest->uses == 0) {
            postgres_prepare_drop(cache, oldest, /* exists= */ oldest->is_sent);
            return;
        }
    }
}

static struct postgres_prepared *add_entry(struct postgres_prepared_cache *cache, struct str text, uint64_t hash)
{
    make_room(cache);
    struct postgres_prepared *prepared = mem_zero(MEM_POSTGRES, sizeof *prepared + text.len + 1);
    if (!prepared)
        return NULL;
    prepared->hash = hash;
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

struct postgres_prepared *postgres_prepare_find(struct postgres_prepared_cache *cache, struct str text, uint64_t hash)
{
    for (struct postgres_prepared *at = *bucket_of(cache, hash); at; at = at->next)
        if (at->hash == hash && at->len == text.len && memcmp(at->text, text.data, text.len) == 0) {
            if (cache->used.next != &at->node) {
                list_remove(&at->node);
                list_push_front(&cache->used, &at->node);
            }
            return at;
        }
    return add_entry(cache, text, hash);
}

void postgres_prepare_hold(struct postgres_prepared *prepared) { prepared->uses++; }

void postgres_prepare_release(struct postgres_prepared *prepared)
{
    assert(prepared->uses > 0);
    if (--prepared->uses == 0 && prepared->is_dropped)
        free_entry(prepared);
}

bool postgres_prepare_next_evicted(struct postgres_prepared_cache *cache, char name[POSTGRES_NAME_BYTES])
{
    struct list *node = list_pop_front(&cache->evicted);
    if (!node)
        return false;
    struct postgres_prepared *prepared = LIST_ENTRY(node, struct postgres_prepared, node);
    memcpy(name, prepared->name, POSTGRES_NAME_BYTES);
    postgres_prepare_release(prepared);
    return true;
}

void postgres_prepare_forget_all(struct postgres_prepared_cache *cache)
{
    char name[POSTGRES_NAME_BYTES];
    while (postgres_prepare_next_evicted(cache, name))
        continue;
    while (!list_is_empty(&cache->used))
        postgres_prepare_drop(cache, LIST_ENTRY(cache->used.next, struct postgres_prepared, node), /* exists= */ false);
}

void postgres_prepare_clear(struct postgres_prepared_cache *cache) { postgres_prepare_forget_all(cache); }
