/* aside.c - a thread for each call that may hang, and a limit to their number.
 *
 * DESIGN  A thread costs some 20 us to start, which a call over the network does not notice. They are detached: a process that ends does
 *         not wait for a name server that is silent.
 * HOLDS   count is the number of threads that have not called leave(), never above ASIDE_MAX.
 * Path:   postgres/name, cancel_aside > [loop/aside]
 */
#include "loop/aside.h"

#include "base/mem.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

struct errand {
    void (*run)(void *arg);
    void *arg;
};

static atomic_uint count;

static bool enter(void)
{
    unsigned before = atomic_load(&count);
    do
        if (before >= ASIDE_MAX)
            return false;
    while (!atomic_compare_exchange_weak(&count, &before, before + 1));
    return true;
}

static void leave(void) { atomic_fetch_sub(&count, 1); }

static void *run_errand(void *arg)
{
    struct errand errand = *(struct errand *)arg;
    mem_free(arg);
    errand.run(errand.arg);
    leave();
    return NULL;
}

/* Signals are the main thread's. */
static enum fail start_thread(struct errand *errand)
{
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, NULL, run_errand, errand);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return FAIL_NOMEM;
    pthread_setname_np(thread, "wick-aside");
    pthread_detach(thread);
    return FAIL_OK;
}

enum fail aside_start(void (*run)(void *arg), void *arg)
{
    if (!enter())
        return FAIL_FULL;
    struct errand *errand = mem_alloc(MEM_LOOP, sizeof *errand);
    if (errand) {
        *errand = (struct errand){ run, arg };
        if (start_thread(errand) == FAIL_OK)
            return FAIL_OK;
    }
    mem_free(errand);
    leave();
    return FAIL_NOMEM;
}

unsigned aside_count(void) { return atomic_load(&count); }
