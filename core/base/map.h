/* map.h - hash map from byte strings to pointers, keyed SipHash so that chosen keys do not collide.
 * Keys are copied. Not thread-safe. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/fail.h"
#include "base/mem.h"
#include "base/str.h"

struct map_slot;
struct map { struct map_slot *slots; size_t count, cap; enum mem_tag tag; };

MUST_USE enum fail map_init(struct map *map, enum mem_tag tag);
void map_clear(struct map *map);                                   /* frees keys and table, not the values */
void *map_get(const struct map *map, struct str key);              /* NULL when missing */
MUST_USE enum fail map_set(struct map *map, struct str key, void *value); /* value must not be NULL; replaces */
void *map_remove(struct map *map, struct str key);                 /* the value that was there, or NULL */
/* Walks all entries in no order: start with *at = 0; false at the end. No set or remove during the walk. */
bool map_next(const struct map *map, size_t *at, struct str *key, void **value);

#endif
