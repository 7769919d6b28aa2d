/* layer.h - what the memory cache asks of the layer below (L2): function pointers that serve/layer.c fills.
 *
 * Values are opaque bytes. Exactly one callback for each call, on the calling loop, never from within the call.
 * A broken or slow layer answers FAIL_REFUSED / FAIL_TIMEOUT quickly; callers then go on to the database.
 */
#ifndef CACHE_LAYER_H
#define CACHE_LAYER_H

#include "base/fail.h"
#include "base/str.h"

#include <stdint.h>

struct cache_layer_get {
    struct str key;                                        /* borrowed until on_got */
    void (*on_got)(struct cache_layer_get *get);
    void *arg;
    enum fail fail;                                        /* FAIL_OK, FAIL_MISSING, or why it could not be asked */
    struct str value;                                      /* borrowed for the callback */
    void *layer_data[40];                                  /* the layer's */
};
struct cache_layer {
    void *arg;
    void (*get)(void *arg, struct cache_layer_get *get);
    void (*cancel)(void *arg, struct cache_layer_get *get);                      /* on_got will not come any more */
    void (*put)(void *arg, struct str key, struct str value, uint64_t ttl_ms);   /* copies; nobody waits */
    void (*remove)(void *arg, struct str key);                                   /* nobody waits, and it may be lost */
    bool (*is_open)(void *arg);                                                  /* false: do not even ask now */
    void (*skipped)(void *arg);                                                  /* a look-up was not asked, for it is not open; NULL */
};

#endif
