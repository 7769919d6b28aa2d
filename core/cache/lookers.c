/* lookers.c - seats for look-ups, each on a cache line of its own.
 *
 * DESIGN  A thread goes to the seat it has always gone to; where somebody else is sitting, to the next one.
 *           free -> since [enter]   since -> free [leave]
 *         enter writes since, and then the table is read; what is taken out is written to the table, and then since is read. All four,
 *         the table's places included (shard.c), are sequentially consistent. So who was not seen sitting comes later in their one order,
 *         and finds the change. Who read a point later than that of the change has acquired the change with it (lookers_point releases).
 *         A pin is written before the seat is left, and leaving releases: who sees the seat left sees the pin, or what came after it.
 *         A pin that is taken off releases as well: who sees that uses the memory again only after the last read of it.
 * HOLDS   since is never later than the point at the time it was written. A pin is set only by who sits, and taken off only by who set it.
 * Path:   cache/store > [cache/lookers]
 */
#include "cache/lookers.h"

#include <string.h>

static unsigned arrivals; /* atomic */

void lookers_init(struct lookers *lookers)
{
    memset(lookers, 0, sizeof *lookers);
    lookers->point = 1;
}

static unsigned my_seat(void)
{
    static _Thread_local unsigned seat; /* from 1 */
    if (seat == 0)
        seat = __atomic_add_fetch(&arrivals, 1, __ATOMIC_RELAXED);
    return seat;
}

static void note_used(struct lookers *lookers, unsigned seats)
{
    unsigned used = __atomic_load_n(&lookers->seats_used, __ATOMIC_RELAXED);
    while (used < seats && !__atomic_compare_exchange_n(&lookers->seats_used, &used, seats, /* weak= */ true,
                                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        continue;
}

struct looker *lookers_enter(struct lookers *lookers)
{
    uint64_t point = __atomic_load_n(&lookers->point, __ATOMIC_ACQUIRE);
    for (unsigned seat = my_seat();; seat++) {
        struct looker *looker = &lookers->seats[seat % LOOKERS_MAX];
        uint64_t nobody = 0;
        if (__atomic_compare_exchange_n(&looker->since, &nobody, point, /* weak= */ false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED)) {
            note_used(lookers, seat % LOOKERS_MAX + 1);
            return looker;
        }
    }
}

bool lookers_pin(struct looker *looker, const void *what)
{
    if (__atomic_load_n(&looker->pin, __ATOMIC_ACQUIRE))
        return false;
    __atomic_store_n(&looker->pin, what, __ATOMIC_RELEASE);
    return true;
}

bool lookers_have_pinned(struct lookers *lookers, const void *what)
{
    unsigned used = __atomic_load_n(&lookers->seats_used, __ATOMIC_ACQUIRE);
    for (unsigned i = 0; i < used; i++)
        if (__atomic_load_n(&lookers->seats[i].pin, __ATOMIC_ACQUIRE) == what)
            return true;
    return false;
}

uint64_t lookers_point(struct lookers *lookers) { return __atomic_fetch_add(&lookers->point, 1, __ATOMIC_SEQ_CST); }

bool lookers_is_over(struct lookers *lookers, uint64_t point)
{
    for (unsigned i = 0; i < LOOKERS_MAX; i++) {
        uint64_t since = __atomic_load_n(&lookers->seats[i].since, __ATOMIC_SEQ_CST);
        if (since != 0 && since <= point)
            return false;
    }
    return true;
}
