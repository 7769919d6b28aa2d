/* signal.c - signals as callbacks on a loop. libuv's handler writes to a pipe, so nothing runs in signal context.
 *
 * Path:   app > [loop/signal] > loop/loop
 */
#include "loop/signal.h"

#include "base/mem.h"
#include "loop/inner.h"

struct signal_watch {
    uv_signal_t uv; /* first */
    void (*on_signal)(void *arg, int signum);
    void *arg;
};

static void on_uv_signal(uv_signal_t *uv, int signum)
{
    struct signal_watch *watch = (struct signal_watch *)uv;
    loop_awake(loop_of(uv));
    watch->on_signal(watch->arg, signum);
}

static void on_uv_closed(uv_handle_t *handle)
{
    loop_awake(loop_of(handle));
    mem_free(handle);
}

enum fail signal_watch_open(struct loop *loop, int signum, void (*on_signal)(void *arg, int signum), void *arg,
                            struct signal_watch **out)
{
    struct signal_watch *watch = mem_zero(MEM_LOOP, sizeof *watch);
    if (!watch)
        return FAIL_NOMEM;
    watch->on_signal = on_signal;
    watch->arg = arg;
    int error = uv_signal_init(&loop->uv, &watch->uv);
    if (error) {
        mem_free(watch);
        return loop_fail(error);
    }
    error = uv_signal_start(&watch->uv, on_uv_signal, signum);
    if (error) {
        signal_watch_close(watch);
        return loop_fail(error);
    }
    *out = watch;
    return FAIL_OK;
}

void signal_watch_close(struct signal_watch *watch)
{
    if (watch)
        uv_close((uv_handle_t *)&watch->uv, on_uv_closed);
}
