/* lookers.h - who is looking something up right now, or holds what was found, so that it is not used again under their eyes.
 *
 * A look-up is between lookers_enter and lookers_leave, a tenth of a microsecond. Who takes something out of the table asks for a point
 * (lookers_point) and may use its memory again when that point is over: when everybody who was looking then has left. Nobody waits for
 * anybody (epoch-based reclamation; Fraser 2004).
 * Who leaves may pin what was found to the seat, one thing for each seat; until it is unpinned nobody uses that again. A pin costs no
 * write to what others read, so any number of threads may hold the same thing for a moment without slowing each other down.
 */
#ifndef CACHE_LOOKERS_H
#define CACHE_LOOKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOOKERS_MAX = 64 };          /* at once; who comes then tries again */

/* A seat, taken by one thread at a time, with what was counted there. */
struct looker {
    uint64_t since;                 /* atomic: the point of the look-up under way; 0: nobody sits here */
    const void *pin;                /* atomic: what who sat here holds; NULL: nothing */
    uint64_t hits, stale, misses;   /* atomic, written by who sits here */
    char apart[88];                 /* wherever the store begins, no two seats are on one cache line */
};

struct lookers {
    uint64_t point;                 /* atomic; starts with 1 */
    char apart[56];                 /* it is written by others than the seats */
    unsigned seats_used;            /* atomic: none above was ever taken */
    char apart_too[60];
    struct looker seats[LOOKERS_MAX];
};

void lookers_init(struct lookers *lookers);
struct looker *lookers_enter(struct lookers *lookers);
static inline void lookers_leave(struct looker *looker) { __atomic_store_n(&looker->since, 0, __ATOMIC_RELEASE); }

/* While sitting: false where the seat has a pin already. */
bool lookers_pin(struct looker *looker, const void *what);
static inline void lookers_unpin(struct looker *looker) { __atomic_store_n(&looker->pin, NULL, __ATOMIC_RELEASE); }

/* After something was taken out: the point that is to be over. */
uint64_t lookers_point(struct lookers *lookers);
bool lookers_is_over(struct lookers *lookers, uint64_t point);
/* Whether a seat has it pinned; of what was taken out at a point that is over, no new pin will come. */
bool lookers_have_pinned(struct lookers *lookers, const void *what);

#endif
