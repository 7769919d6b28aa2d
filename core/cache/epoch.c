/* epoch.c - slots of readers, each on a cache line of its own.
 *
 * DESIGN  A thread goes to the slot it has always gone to; where another is in it, to the next one.
 *           free -> since [enter]   since -> free [leave]
 *         enter writes since, and then the table is read; what is taken out is written to the table, and then since is read. All four,
 *         the table's places included (shard.c), are sequentially consistent. So a reader that was not seen comes later in their one order,
 *         and finds the change. Who read a later epoch than that of the change has acquired the change with it (epoch_advance releases).
 *         A hazard is written before the slot is left, and leaving releases: who sees the slot left sees the hazard, or what came after it.
 *         Letting go releases as well: who sees that uses the memory again only after the last read of it.
 * HOLDS   since is never later than the epoch at the time it was written. A hazard is set only by who is in the slot, and taken off only
 *         by who set it.
 * Path:   cache/store > [cache/epoch]
 */
#include "cache/epoch.h"

#include <string.h>

static unsigned arrivals; /* atomic */

void epoch_init(struct epochs *epochs)
{
    memset(epochs, 0, sizeof *epochs);
    epochs->now = 1;
}

static unsigned my_slot(void)
{
    static _Thread_local unsigned slot; /* from 1 */
    if (slot == 0)
        slot = __atomic_add_fetch(&arrivals, 1, __ATOMIC_RELAXED);
    return slot;
}

static void note_used(struct epochs *epochs, unsigned slots)
{
    unsigned used = __atomic_load_n(&epochs->slots_used, __ATOMIC_RELAXED);
    while (used < slots && !__atomic_compare_exchange_n(&epochs->slots_used, &used, slots, /* weak= */ true,
                                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        continue;
}

struct epoch_reader *epoch_enter(struct epochs *epochs)
{
    uint64_t now = __atomic_load_n(&epochs->now, __ATOMIC_ACQUIRE);
    for (unsigned slot = my_slot();; slot++) {
        struct epoch_reader *reader = &epochs->readers[slot % EPOCH_READERS_MAX];
        uint64_t free = 0;
        if (__atomic_compare_exchange_n(&reader->since, &free, now, /* weak= */ false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED)) {
            note_used(epochs, slot % EPOCH_READERS_MAX + 1);
            return reader;
        }
    }
}

bool epoch_hold(struct epoch_reader *reader, const void *what)
{
    if (__atomic_load_n(&reader->hazard, __ATOMIC_ACQUIRE))
        return false;
    __atomic_store_n(&reader->hazard, what, __ATOMIC_RELEASE);
    return true;
}

bool epoch_is_held(struct epochs *epochs, const void *what)
{
    unsigned used = __atomic_load_n(&epochs->slots_used, __ATOMIC_ACQUIRE);
    for (unsigned i = 0; i < used; i++)
        if (__atomic_load_n(&epochs->readers[i].hazard, __ATOMIC_ACQUIRE) == what)
            return true;
    return false;
}

uint64_t epoch_advance(struct epochs *epochs) { return __atomic_fetch_add(&epochs->now, 1, __ATOMIC_SEQ_CST); }

bool epoch_is_over(struct epochs *epochs, uint64_t epoch)
{
    for (unsigned i = 0; i < EPOCH_READERS_MAX; i++) {
        uint64_t since = __atomic_load_n(&epochs->readers[i].since, __ATOMIC_SEQ_CST);
        if (since != 0 && since <= epoch)
            return false;
    }
    return true;
}
