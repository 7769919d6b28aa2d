/* map.c - byte strings to pointers.
 *
 * DESIGN  Open addressing with linear probing over a power of two; a removed entry leaves no tombstone: the entries
 *         behind it move up as far as their home allows (Knuth, volume 3, 6.4, algorithm R).
 * HOLDS   count <= 3/4 of cap, so every probe ends at an empty slot. A slot is empty when its key is NULL.
 *         Between an entry's home and its slot no slot is empty.
 */
#include "base/map.h"

#include "base/siphash.h"

#include <assert.h>

#define CAP_MIN 8u

struct map_slot {
    uint64_t hash;
    char *key;
    size_t len;
    void *value;
};

enum fail map_init(struct map *map, enum mem_tag tag)
{
    *map = (struct map){ .tag = tag };
    map->slots = mem_zero(tag, CAP_MIN * sizeof *map->slots);
    if (!map->slots)
        return FAIL_NOMEM;
    map->cap = CAP_MIN;
    return FAIL_OK;
}

void map_clear(struct map *map)
{
    for (size_t i = 0; i < map->cap; i++)
        mem_free(map->slots[i].key);
    mem_free(map->slots);
    *map = (struct map){ .tag = map->tag };
}

/* The slot that holds the key, or the empty one where it would go. The table has room. */
static struct map_slot *find(const struct map *map, struct str key, uint64_t hash)
{
    for (size_t i = hash & (map->cap - 1);; i = (i + 1) & (map->cap - 1)) {
        struct map_slot *slot = &map->slots[i];
        if (!slot->key || (slot->hash == hash && str_is(str_make(slot->key, slot->len), key)))
            return slot;
    }
}

void *map_get(const struct map *map, struct str key)
{
    if (map->count == 0)
        return NULL;
    return find(map, key, siphash(key.data, key.len))->value;
}

static enum fail grow(struct map *map)
{
    size_t cap = map->cap ? map->cap * 2 : CAP_MIN;
    struct map_slot *slots = mem_zero(map->tag, cap * sizeof *slots);
    if (!slots)
        return FAIL_NOMEM;
    for (size_t i = 0; i < map->cap; i++) {
        if (!map->slots[i].key)
            continue;
        size_t at = map->slots[i].hash & (cap - 1);
        while (slots[at].key)
            at = (at + 1) & (cap - 1);
        slots[at] = map->slots[i];
    }
    mem_free(map->slots);
    map->slots = slots;
    map->cap = cap;
    return FAIL_OK;
}

enum fail map_set(struct map *map, struct str key, void *value)
{
    assert(value);
    uint64_t hash = siphash(key.data, key.len);
    struct map_slot *slot = map->cap ? find(map, key, hash) : NULL;
    if (slot && slot->key) {
        slot->value = value;
        return FAIL_OK;
    }
    if (!slot || (map->count + 1) * 4 > map->cap * 3) {
        enum fail failed = grow(map);
        if (failed)
            return failed;
        slot = find(map, key, hash);
    }
    char *copy = mem_dup(map->tag, key.data, key.len);
    if (!copy)
        return FAIL_NOMEM;
    *slot = (struct map_slot){ .hash = hash, .key = copy, .len = key.len, .value = value };
    map->count++;
    return FAIL_OK;
}

/* Slot `hole` has become empty: moves up what would be cut off from its home by it. */
static void close_hole(struct map *map, size_t hole)
{
    size_t mask = map->cap - 1;
    for (size_t i = (hole + 1) & mask; map->slots[i].key; i = (i + 1) & mask) {
        size_t from_home = (i - map->slots[i].hash) & mask;
        size_t from_hole = (i - hole) & mask;
        if (from_home < from_hole)
            continue; /* its home lies behind the hole */
        map->slots[hole] = map->slots[i];
        hole = i;
    }
    map->slots[hole] = (struct map_slot){ 0 };
}

void *map_remove(struct map *map, struct str key)
{
    if (map->count == 0)
        return NULL;
    struct map_slot *slot = find(map, key, siphash(key.data, key.len));
    if (!slot->key)
        return NULL;
    void *value = slot->value;
    mem_free(slot->key);
    map->count--;
    close_hole(map, (size_t)(slot - map->slots));
    return value;
}

bool map_next(const struct map *map, size_t *at, struct str *key, void **value)
{
    for (; *at < map->cap; ++*at) {
        const struct map_slot *slot = &map->slots[*at];
        if (!slot->key)
            continue;
        *key = str_make(slot->key, slot->len);
        *value = slot->value;
        ++*at;
        return true;
    }
    return false;
}
