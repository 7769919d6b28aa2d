/* entry.c - one value in memory: made once, read by many, freed by the last.
 *
 * DESIGN  An entry in a store has one reference of the store's. Taken out while readers still hold it, it is in limbo: its
 *         bytes stay on its shard's account until the last reader lets go, so that the bound holds for what is really there.
 * HOLDS   refs >= 1 while anybody can reach it; nothing but refs and the links changes after entry_make.
 * Path:   cache/store > [cache/entry]
 */
#include "cache/entry.h"

#include "base/mem.h"
#include "base/siphash.h"

#include <assert.h>

/* mem.c's head, malloc's head, and the rounding of both. */
enum { HEAP_HEAD = 24, HEAP_STEP = 16 };

_Static_assert(sizeof(struct cache_entry) % _Alignof(struct entry_links) == 0, "the links follow the public part");

static size_t body_offset(unsigned tag_count)
{
    return sizeof(struct cache_entry) + offsetof(struct entry_links, tags) + tag_count * sizeof(uint16_t);
}

static char *body_of(const struct cache_entry *entry)
{
    return (char *)(uintptr_t)entry + body_offset(entry_links(entry)->tag_count);
}

uint64_t cache_entry_mark(const struct cache_entry *entry) { return entry_links(entry)->mark; }

struct str cache_entry_key(const struct cache_entry *entry) { return str_make(body_of(entry), entry->key_len); }

struct str cache_entry_meta(const struct cache_entry *entry)
{
    return str_make(body_of(entry) + entry->key_len, entry->meta_len);
}

struct str cache_entry_value(const struct cache_entry *entry)
{
    return str_make(body_of(entry) + entry->key_len + entry->meta_len, entry->value_len - entry->meta_len);
}

size_t entry_bytes(const struct cache_put *put)
{
    enum { BYTES_MAX = INT32_MAX };
    assert(put->tag_count <= CACHE_TAGS_MAX);
    if (put->key.len > BYTES_MAX / 4 || put->meta.len > BYTES_MAX / 4 || put->value.len > BYTES_MAX / 4)
        return 0;
    size_t bytes = body_offset(put->tag_count) + put->key.len + put->meta.len + put->value.len;
    return (bytes + HEAP_HEAD + HEAP_STEP - 1) / HEAP_STEP * HEAP_STEP;
}

uint16_t entry_tag_hash(struct str tag) { return (uint16_t)siphash(tag.data, tag.len); }

static uint64_t add_ms(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

static char *append(char *to, struct str text)
{
    if (text.len > 0)
        memcpy(to, text.data, text.len);
    return to + text.len;
}

struct cache_entry *entry_make(const struct cache_put *put, uint32_t hash, uint64_t mark, uint64_t now_ms)
{
    size_t bytes = entry_bytes(put);
    struct cache_entry *entry = bytes == 0 ? NULL : mem_alloc(MEM_CACHE, bytes - HEAP_HEAD);
    if (!entry)
        return NULL;
    struct entry_links *links = entry_links(entry);
    uint64_t fresh_until_ms = add_ms(now_ms, put->ttl_ms);
    *entry = (struct cache_entry){ .created_ms = now_ms,
                                   .fresh_until_ms = fresh_until_ms,
                                   .stale_until_ms = add_ms(fresh_until_ms, put->stale_ms),
                                   .refs = 1,
                                   .key_len = (uint32_t)put->key.len,
                                   .value_len = (uint32_t)(put->meta.len + put->value.len),
                                   .kind = put->kind,
                                   .meta_len = (uint32_t)put->meta.len };
    *links = (struct entry_links){ .policy = { .hash = hash, .bytes = (uint32_t)bytes },
                                   .mark = mark ? mark : UINT64_MAX,
                                   .tag_count = (uint8_t)put->tag_count };
    for (unsigned i = 0; i < put->tag_count; i++)
        links->tags[i] = entry_tag_hash(put->tags[i]);
    append(append(append(body_of(entry), put->key), put->meta), put->value);
    return entry;
}

struct cache_entry *cache_entry_loose(const struct cache_put *put, uint64_t now_ms)
{
    struct cache_entry *entry = entry_make(put, /* hash= */ 0, put->tag_mark, now_ms);
    if (entry)
        entry_links(entry)->place = ENTRY_LOOSE;
    return entry;
}

bool cache_entry_is_loose(const struct cache_entry *entry) { return entry_links(entry)->place == ENTRY_LOOSE; }

struct cache_entry *cache_entry_ref(struct cache_entry *entry)
{
    uint32_t before = __atomic_fetch_add(&entry->refs, 1, __ATOMIC_RELAXED);
    assert(before > 0 && before < UINT32_MAX);
    (void)before;
    return entry;
}

void cache_entry_unref(struct cache_entry *entry)
{
    if (!entry || __atomic_fetch_sub(&entry->refs, 1, __ATOMIC_ACQ_REL) > 1)
        return;
    struct entry_links *links = entry_links(entry);
    struct cache_shard *limbo = links->place == ENTRY_LIMBO ? links->limbo : NULL;
    size_t bytes = links->policy.bytes;
    mem_free(entry);
    if (limbo)
        cache_shard_forget(limbo, bytes);
}
