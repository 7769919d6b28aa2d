/* entry.c - one value in memory: made once, read by many.
 *
 * DESIGN  refs counts who holds it beside the store. New holders come from look-ups, while the entry is in the table (store.c says when
 *         its block may be used again), or from who holds it already. A loose entry is in no store: its last holder frees it.
 * HOLDS   Nothing but refs and the links changes after it was put.
 * Path:   cache/store > [cache/entry]
 */
#include "cache/entry.h"

#include "base/mem.h"
#include "base/siphash.h"

#include <assert.h>

static char *body_of(const struct cache_entry *entry)
{
    return (char *)(uintptr_t)entry + offsetof(struct cache_entry, tags) + entry->tag_count * sizeof *entry->tags;
}

struct str cache_entry_key(const struct cache_entry *entry) { return str_make(body_of(entry), entry->policy.owners); }

struct str cache_entry_meta(const struct cache_entry *entry)
{
    return str_make(body_of(entry) + entry->policy.owners, entry->meta_len);
}

struct str cache_entry_value(const struct cache_entry *entry)
{
    struct str meta = cache_entry_meta(entry);
    return str_make(meta.data + meta.len, entry->value_len - entry->meta_len);
}

uint64_t cache_entry_age_ms(const struct cache_entry *entry, uint64_t now_ms)
{
    int32_t age_16ms = (int32_t)((uint32_t)(now_ms / 16) - entry->created_16ms);
    return age_16ms > 0 ? (uint64_t)age_16ms * 16 : 0;
}

static size_t bytes_of(size_t tags, size_t key, size_t value)
{
    size_t bytes = offsetof(struct cache_entry, tags) + tags * sizeof(uint16_t) + key + value;
    return bytes < sizeof(struct cache_entry) ? sizeof(struct cache_entry) : bytes;
}

size_t entry_bytes(const struct cache_put *put)
{
    enum { BYTES_MAX = INT32_MAX };
    assert(put->tag_count <= CACHE_TAGS_MAX);
    if (put->key.len > UINT16_MAX || put->meta.len > UINT16_MAX || put->value.len > BYTES_MAX / 2)
        return 0;
    return bytes_of(put->tag_count, put->key.len, put->meta.len + put->value.len);
}

size_t entry_size(const struct cache_entry *entry)
{
    return bytes_of(entry->tag_count, entry->policy.owners, entry->value_len);
}

uint16_t entry_tag_hash(struct str tag) { return (uint16_t)siphash(tag.data, tag.len); }

static uint64_t add_ms(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

static char *append(char *to, struct str text)
{
    if (text.len > 0)
        memcpy(to, text.data, text.len);
    return to + text.len;
}

void entry_fill(struct cache_entry *entry, const struct cache_put *put, uint32_t hash, uint64_t mark, uint64_t now_ms)
{
    entry->fresh_until_ms = add_ms(now_ms, put->ttl_ms);
    entry->mark = mark ? mark : UINT64_MAX;
    entry->created_16ms = (uint32_t)(now_ms / 16);
    entry->stale_ms = put->stale_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)put->stale_ms;
    entry->value_len = (uint32_t)(put->meta.len + put->value.len);
    entry->policy.hash = hash;
    entry->policy.owners = (uint16_t)put->key.len;
    entry->meta_len = (uint16_t)put->meta.len;
    entry->kind = put->kind;
    entry->tag_count = (uint8_t)put->tag_count;
    for (unsigned i = 0; i < put->tag_count; i++)
        entry->tags[i] = entry_tag_hash(put->tags[i]);
    append(append(append(body_of(entry), put->key), put->meta), put->value);
    __atomic_store_n(&entry->refs, 0, __ATOMIC_RELAXED);
}

struct cache_entry *cache_entry_loose(const struct cache_put *put, uint64_t now_ms)
{
    size_t bytes = entry_bytes(put);
    struct cache_entry *entry = bytes == 0 ? NULL : mem_alloc(MEM_CACHE, bytes);
    if (!entry)
        return NULL;
    entry->policy = (struct policy_node){ .hash = 0 };
    entry_fill(entry, put, /* hash= */ 0, put->tag_mark, now_ms);
    entry->refs = ENTRY_LOOSE | 1;
    return entry;
}

bool cache_entry_is_loose(const struct cache_entry *entry)
{
    return (__atomic_load_n(&entry->refs, __ATOMIC_RELAXED) & ENTRY_LOOSE) != 0;
}

struct cache_entry *cache_entry_ref(struct cache_entry *entry)
{
    uint32_t before = __atomic_fetch_add(&entry->refs, 1, __ATOMIC_RELAXED);
    assert((before & ~ENTRY_LOOSE) > 0 && (before & ~ENTRY_LOOSE) < INT32_MAX);
    (void)before;
    return entry;
}

void cache_entry_unref(struct cache_entry *entry)
{
    /* Once the store's own is let go of, somebody else may use its block. */
    if (entry && __atomic_fetch_sub(&entry->refs, 1, __ATOMIC_ACQ_REL) == (ENTRY_LOOSE | 1))
        mem_free(entry);
}
