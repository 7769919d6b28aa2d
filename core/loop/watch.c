/* watch.c - tells when a file descriptor that somebody else owns can be read or written.
 *
 * DESIGN  libuv changes interest with two system calls, so a smaller interest is not carried out at once: `armed` may
 *         hold more than `wanted`, and only an event that nobody wants makes the two equal. libuv disarms a watch
 *         whose fd is in error; watch_set arms it again.
 * HOLDS   wanted is a subset of armed, except after an error.
 * Path:   postgres/connection > [loop/watch] > loop/loop
 */
#include "loop/watch.h"

#include "base/mem.h"
#include "loop/inner.h"

#include <assert.h>

struct watch {
    uv_poll_t poll; /* first */
    watch_on_ready *on_ready;
    void *arg;
    unsigned wanted, armed;
};

_Static_assert((int)WATCH_READ == (int)UV_READABLE && (int)WATCH_WRITE == (int)UV_WRITABLE, "events are libuv's");

static void on_uv_poll(uv_poll_t *poll, int error, int events);

static void arm(struct watch *watch)
{
    if (watch->armed == watch->wanted)
        return;
    watch->armed = watch->wanted;
    int error = watch->wanted ? uv_poll_start(&watch->poll, (int)watch->wanted, on_uv_poll)
                              : uv_poll_stop(&watch->poll);
    assert(error == 0);
    (void)error;
}

static void on_uv_poll(uv_poll_t *poll, int error, int events)
{
    struct watch *watch = (struct watch *)poll;
    loop_awake(loop_of(poll));
    if (error)
        watch->armed = 0; /* libuv stopped it */
    unsigned ready = error ? watch->wanted : (unsigned)events & watch->wanted;
    if (!error)
        arm(watch);
    if (ready)
        watch->on_ready(watch->arg, ready, error != 0);
}

enum fail watch_open(struct loop *loop, int fd, watch_on_ready *on_ready, void *arg, struct watch **out)
{
    assert(fd >= 0 && on_ready);
    struct watch *watch = mem_zero(MEM_LOOP, sizeof *watch);
    if (!watch)
        return FAIL_NOMEM;
    int error = uv_poll_init(&loop->uv, &watch->poll, fd);
    if (error) {
        mem_free(watch);
        return loop_fail(error);
    }
    watch->on_ready = on_ready;
    watch->arg = arg;
    *out = watch;
    return FAIL_OK;
}

void watch_set(struct watch *watch, unsigned events)
{
    assert((events & ~(unsigned)(WATCH_READ | WATCH_WRITE)) == 0);
    watch->wanted = events;
    if (events & ~watch->armed)
        arm(watch);
}

static void on_uv_closed(uv_handle_t *handle)
{
    loop_awake(loop_of(handle));
    mem_free(handle);
}

/* uv_poll_stop takes the fd out of the kernel's set and out of the events already fetched. */
void watch_close(struct watch *watch)
{
    if (!watch)
        return;
    watch->wanted = watch->armed = 0;
    uv_poll_stop(&watch->poll);
    uv_close((uv_handle_t *)&watch->poll, on_uv_closed);
}
