/* epoch.h - which readers are in the table right now, and what they hold, so that its memory is not used again under their eyes.
 *
 * Epoch-based reclamation (Fraser 2004), with one hazard pointer for each reader (Michael 2004). A look-up is between epoch_enter and
 * epoch_leave, a tenth of a microsecond. Who takes something out of the table ends an epoch (epoch_advance), and may use its memory again
 * when that epoch is over: when every reader who was in the table then has left. Nobody waits for anybody.
 * A reader that leaves may hold what it found, one thing for each slot; until it lets go, nobody uses that again. That costs no write to
 * what others read, so any number of threads may hold the same thing for a moment without slowing each other down.
 */
#ifndef CACHE_EPOCH_H
#define CACHE_EPOCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EPOCH_READERS_MAX = 64 };    /* at once; who comes then tries again */

/* A slot, taken by one thread at a time, with what was counted in it. */
struct epoch_reader {
    uint64_t since;                 /* atomic: the epoch of the look-up under way; 0: the slot is free */
    const void *hazard;             /* atomic: what the reader holds; NULL: nothing */
    uint64_t hits, stale, misses;   /* atomic, written by who is in the slot */
    char apart[88];                 /* wherever the store begins, no two slots are on one cache line */
};

struct epochs {
    uint64_t now;                   /* atomic; starts with 1 */
    char apart[56];                 /* it is written by others than the slots */
    unsigned slots_used;            /* atomic: none above was ever taken */
    char apart_too[60];
    struct epoch_reader readers[EPOCH_READERS_MAX];
};

void epoch_init(struct epochs *epochs);
struct epoch_reader *epoch_enter(struct epochs *epochs);
static inline void epoch_leave(struct epoch_reader *reader) { __atomic_store_n(&reader->since, 0, __ATOMIC_RELEASE); }

/* Before leaving: false where the slot holds something already. Let go of by the same thread. */
bool epoch_hold(struct epoch_reader *reader, const void *what);
static inline void epoch_let_go(struct epoch_reader *reader) { __atomic_store_n(&reader->hazard, NULL, __ATOMIC_RELEASE); }

/* After something was taken out: the epoch that is to be over. */
uint64_t epoch_advance(struct epochs *epochs);
bool epoch_is_over(struct epochs *epochs, uint64_t epoch);
/* Whether a reader holds it; of what was taken out in an epoch that is over, no new holder will come. */
bool epoch_is_held(struct epochs *epochs, const void *what);

#endif
