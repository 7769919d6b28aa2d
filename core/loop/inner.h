/* inner.h - what the files of core/loop know of each other. No other folder includes it: it includes uv.h.
 *
 * Every libuv callback begins with loop_awake: the first one after a wait reads the clock, the others cost a branch.
 */
#ifndef LOOP_INNER_H
#define LOOP_INNER_H

#include "loop/loop.h"
#include "loop/timer.h"

#include <stdatomic.h>
#include <uv.h>

enum { WHEEL_TICK_MS = 4, WHEEL_BITS = 6, WHEEL_SLOTS = 1 << WHEEL_BITS, WHEEL_LEVELS = 7 };
enum { LOOP_READ_BYTES = 64 * 1024, LOOP_SPARE_WRITES_MAX = 256 };

/* See timer.c. A timer is in one slot, or on `due` while its turn to be called comes. */
struct wheel {
    uint64_t tick;                       /* everything up to here has been called */
    uint64_t filled[WHEEL_LEVELS];       /* one bit for each slot that holds a timer */
    size_t count;
    struct list due;
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

struct loop {
    uv_loop_t uv;
    uv_prepare_t end_of_turn;
    uv_async_t wake;
    uv_idle_t again;                     /* active: the next poll does not wait */
    uv_timer_t alarm;                    /* wakes the loop for the wheel */
    uv_timer_t turn_limit;               /* wakes it at the end of loop_turn */

    uint64_t now_ms, alarm_ms;
    int64_t wall_s;
    bool is_awake, is_alarm_set, is_again_set;
    struct list deferred, hooks;
    const bool *done;                    /* of loop_turn */
    char *read_buffer;
    struct list spare_writes;            /* see stream.c */
    unsigned spare_write_count;
    struct wheel wheel;
    char name[16];

    uint64_t load_turns_taken, load_busy_ns_taken;
    _Atomic uint64_t load_turns, load_busy_ns, load_longest_ns, busy_since_ns;
    /* Written by other threads, so a cache line away from what the loop's own work touches. */
    char apart[64];
    _Atomic(struct list *) posted;       /* newest first, linked by next */
    atomic_bool is_waiting, is_stopping;
    char apart_too[64];
};

void loop_begin_turn(struct loop *loop);
static inline void loop_awake(struct loop *loop)
{
    if (!loop->is_awake)
        loop_begin_turn(loop);
}
static inline struct loop *loop_of(const void *handle) { return ((const uv_handle_t *)handle)->loop->data; }
enum fail loop_fail(int uv_error);                          /* 0 or a negative libuv error */

void wheel_init(struct wheel *wheel, uint64_t now_ms);
void wheel_run(struct wheel *wheel, uint64_t now_ms);       /* calls what is due */
uint64_t wheel_next_ms(const struct wheel *wheel);          /* when to call wheel_run next; UINT64_MAX: no timer is set */
unsigned wheel_abandon(struct wheel *wheel);                /* stops all; how many were set */

struct stream;
struct stream *stream_open(struct loop *loop, bool is_unix);  /* without a socket yet; NULL when out of memory */
/* Of a connected socket. The fd is the stream's on success only; NULL when there is no memory or the fd is no such socket. */
struct stream *stream_adopt(struct loop *loop, int fd, bool is_unix);
uv_stream_t *stream_handle(struct stream *stream);
void stream_drop_spares(struct loop *loop);

#endif
