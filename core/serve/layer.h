/* layer.h - Redis as the layer below the memory cache: makes a struct cache_layer of a struct redis. */
#ifndef SERVE_LAYER_H
#define SERVE_LAYER_H

#include "cache/layer.h"
#include "redis/redis.h"

struct serve_layer;

/* prefix goes before every key, e.g. "candlefish:". One for each loop, on that loop. redis is borrowed until close. */
MUST_USE enum fail serve_layer_open(struct redis *redis, struct str prefix, struct serve_layer **out);
const struct cache_layer *serve_layer_of(struct serve_layer *layer);
void serve_layer_close(struct serve_layer *layer);   /* no get may be under way; NULL is fine */

#endif
