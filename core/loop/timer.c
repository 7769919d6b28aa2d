/* timer.c - deadlines by the thousand, on one hierarchical wheel for each loop.
 *
 * DESIGN  Time is counted in ticks of 4 ms. A timer lies at the level of the highest 6-bit digit in which its due
 *         tick differs from the wheel's tick, in the slot that digit names:
 *             level 0: due within this round of 64 ticks (256 ms); 1: within 16 s; 2: 17 min; ... 6: 557 years.
 *         So on each level every filled slot lies ahead of the wheel, the lowest filled level holds what is next, and
 *         finding it is one count of trailing zeros. When the wheel reaches a slot, what is due is called and the
 *         rest moves down. Starting a set timer again for later (what every request does with its connection's
 *         timer) only writes the new time: the slot finds out when it is reached.
 *         STOPPED -> SET [timer_start]   SET -> STOPPED [timer_stop, or just before on_due]
 * HOLDS   loop != NULL exactly while SET. Nothing is called before its time, or later than a tick after a turn began
 *         at it.
 * Path:   anyone > [loop/timer] > loop/loop
 */
#include "loop/timer.h"

#include "base/clock.h"
#include "loop/inner.h"

#include <assert.h>

static const uint64_t ms_most = UINT64_C(1) << 40; /* 34 years: waits are clamped to it so that sums cannot wrap */

static uint64_t due_tick(const struct timer *timer) { return (timer->due_ms + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS; }

void wheel_init(struct wheel *wheel, uint64_t now_ms)
{
    *wheel = (struct wheel){ .tick = now_ms / WHEEL_TICK_MS };
    list_init(&wheel->due);
    for (unsigned level = 0; level < WHEEL_LEVELS; level++)
        for (unsigned slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&wheel->slots[level][slot]);
}

static void place(struct wheel *wheel, struct timer *timer)
{
    uint64_t tick = due_tick(timer);
    if (tick <= wheel->tick)
        tick = wheel->tick + 1;
    unsigned level = (63u - (unsigned)__builtin_clzll(tick ^ wheel->tick)) / WHEEL_BITS;
    unsigned slot = (tick >> (level * WHEEL_BITS)) & (WHEEL_SLOTS - 1);
    assert(level < WHEEL_LEVELS);
    wheel->filled[level] |= UINT64_C(1) << slot;
    list_push_back(&wheel->slots[level][slot], &timer->node);
}

/* Takes the timer off its list; the last one of a slot takes the slot's bit along. */
static void unplace(struct wheel *wheel, struct timer *timer)
{
    struct list *head = timer->node.next;
    bool is_last = head == timer->node.prev;
    list_remove(&timer->node);
    struct list *first = &wheel->slots[0][0];
    if (is_last && head >= first && head < first + WHEEL_LEVELS * WHEEL_SLOTS) {
        size_t at = (size_t)(head - first);
        wheel->filled[at / WHEEL_SLOTS] &= ~(UINT64_C(1) << (at % WHEEL_SLOTS));
    }
}

struct slot {
    unsigned level, at;
    uint64_t tick; /* when the wheel reaches it; UINT64_MAX: there is none */
};

static struct slot next_slot(const struct wheel *wheel)
{
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        if (!wheel->filled[level])
            continue;
        unsigned at = (unsigned)__builtin_ctzll(wheel->filled[level]);
        unsigned shift = (level + 1) * WHEEL_BITS;
        uint64_t round = wheel->tick >> shift << shift;
        return (struct slot){ level, at, round | (uint64_t)at << (shift - WHEEL_BITS) };
    }
    return (struct slot){ .tick = UINT64_MAX };
}

uint64_t wheel_next_ms(const struct wheel *wheel)
{
    uint64_t tick = next_slot(wheel).tick;
    return tick == UINT64_MAX ? UINT64_MAX : tick * WHEEL_TICK_MS;
}

/* Empties the slot: what is due by `target` goes to `due`, the rest to lower levels. */
static void reach(struct wheel *wheel, struct slot slot, uint64_t target)
{
    struct list *timers = &wheel->slots[slot.level][slot.at];
    wheel->tick = slot.tick;
    wheel->filled[slot.level] &= ~(UINT64_C(1) << slot.at);
    for (struct list *node; (node = list_pop_front(timers));) {
        struct timer *timer = LIST_ENTRY(node, struct timer, node);
        if (due_tick(timer) <= target)
            list_push_back(&wheel->due, node);
        else
            place(wheel, timer);
    }
}

void wheel_run(struct wheel *wheel, uint64_t now_ms)
{
    uint64_t target = now_ms / WHEEL_TICK_MS;
    if (target <= wheel->tick)
        return;
    for (struct slot slot; (slot = next_slot(wheel)).tick <= target;)
        reach(wheel, slot, target);
    wheel->tick = target;
    for (struct list *node; (node = list_pop_front(&wheel->due));) {
        struct timer *timer = LIST_ENTRY(node, struct timer, node);
        if (due_tick(timer) > wheel->tick) {
            place(wheel, timer); /* started again by a callback before it */
            continue;
        }
        wheel->count--;
        timer->loop = NULL;
        timer->on_due(timer->arg);
    }
}

unsigned wheel_abandon(struct wheel *wheel)
{
    unsigned count = 0;
    for (unsigned at = 0; at < WHEEL_LEVELS * WHEEL_SLOTS; at++)
        for (struct list *node; (node = list_pop_front(&wheel->slots[at / WHEEL_SLOTS][at % WHEEL_SLOTS])); count++)
            LIST_ENTRY(node, struct timer, node)->loop = NULL;
    wheel->count = 0;
    return count;
}

void timer_start(struct loop *loop, struct timer *timer, uint64_t ms, void (*on_due)(void *arg), void *arg)
{
    assert(loop && on_due);
    /* Not loop_now_ms: a turn may have lasted long, and a deadline must not come early. +1: now is rounded down. */
    uint64_t due_ms = clock_mono_ms() + (ms < ms_most ? ms : ms_most) + 1;
    timer->on_due = on_due;
    timer->arg = arg;
    if (timer->loop) {
        assert(timer->loop == loop);
        bool is_later = due_ms >= timer->due_ms;
        timer->due_ms = due_ms;
        if (is_later)
            return;
        unplace(&loop->wheel, timer);
    } else {
        timer->loop = loop;
        timer->due_ms = due_ms;
        loop->wheel.count++;
    }
    place(&loop->wheel, timer);
}

void timer_stop(struct timer *timer)
{
    if (!timer->loop)
        return;
    struct wheel *wheel = &timer->loop->wheel;
    unplace(wheel, timer);
    wheel->count--;
    timer->loop = NULL;
}

bool timer_is_set(const struct timer *timer) { return timer->loop != NULL; }
