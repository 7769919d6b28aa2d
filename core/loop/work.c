/* work.c - a few threads for what blocks or computes long, and a bounded queue before them.
 *
 * DESIGN  One lock guards the queue; pieces are milliseconds long, so it is never contended. libuv's own pool is
 *         left to name lookups: its queue has no bound, and four slow lookups would hold up every password.
 *         QUEUED -> RUNNING [take]   RUNNING -> DONE [run_crew]   QUEUED -> DONE as cancelled [work_cancel, work_close]
 *         DONE: on_done is called on the loop, by a post.
 * HOLDS   Exactly the QUEUED pieces are on crew.queue, at most queue_max of them.
 * Path:   script/bind_crypto > [loop/work] > loop/loop
 */
#include "loop/work.h"

#include "base/mem.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pthread_t *threads;
    unsigned thread_count, queued, queue_max;
    struct list queue;
    bool is_open;
} crew = { .lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER };

static void tell_done(void *arg)
{
    struct work *work = arg;
    work->on_done(work, FAIL_OK);
}

static void tell_cancelled(void *arg)
{
    struct work *work = arg;
    work->on_done(work, FAIL_CANCELLED);
}

static void post_back(struct work *work, void (*tell)(void *arg))
{
    work->task.run = tell;
    work->task.arg = work;
    loop_post(work->loop, &work->task);
}

/* The next piece, or NULL when the crew goes home. Called with the lock held. */
static struct work *take(void)
{
    while (crew.is_open && list_is_empty(&crew.queue))
        pthread_cond_wait(&crew.filled, &crew.lock);
    struct list *node = list_pop_front(&crew.queue);
    if (!node)
        return NULL;
    crew.queued--;
    struct work *work = LIST_ENTRY(node, struct work, node);
    list_init(node);
    return work;
}

static void *run_crew(void *arg)
{
    (void)arg;
    for (;;) {
        pthread_mutex_lock(&crew.lock);
        struct work *work = take();
        pthread_mutex_unlock(&crew.lock);
        if (!work)
            return NULL;
        work->run(work);
        post_back(work, tell_done);
    }
}

/* Signals are the main thread's: the crew is born with all of them blocked. */
static unsigned start_threads(unsigned threads)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    unsigned started = 0;
    while (started < threads && pthread_create(&crew.threads[started], NULL, run_crew, NULL) == 0) {
        pthread_setname_np(crew.threads[started], "wick-work");
        started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

enum fail work_open(unsigned threads, unsigned queue_max)
{
    assert(!crew.is_open && threads > 0 && queue_max > 0);
    crew.threads = mem_zero(MEM_LOOP, threads * sizeof *crew.threads);
    if (!crew.threads)
        return FAIL_NOMEM;
    list_init(&crew.queue);
    crew.queued = 0;
    crew.queue_max = queue_max;
    crew.is_open = true;
    crew.thread_count = start_threads(threads);
    if (crew.thread_count == threads)
        return FAIL_OK;
    work_close();
    return FAIL_NOMEM;
}

void work_close(void)
{
    pthread_mutex_lock(&crew.lock);
    if (!crew.is_open) {
        pthread_mutex_unlock(&crew.lock);
        return;
    }
    crew.is_open = false;
    for (struct list *node; (node = list_pop_front(&crew.queue));)
        post_back(LIST_ENTRY(node, struct work, node), tell_cancelled);
    crew.queued = 0;
    pthread_cond_broadcast(&crew.filled);
    pthread_mutex_unlock(&crew.lock);
    for (unsigned i = 0; i < crew.thread_count; i++)
        pthread_join(crew.threads[i], NULL);
    mem_free(crew.threads);
    crew.threads = NULL;
}

enum fail work_submit(struct loop *loop, struct work *work)
{
    assert(loop && work->run && work->on_done);
    work->loop = loop;
    enum fail fail = FAIL_OK;
    pthread_mutex_lock(&crew.lock);
    if (!crew.is_open) {
        fail = FAIL_CLOSED;
    } else if (crew.queued == crew.queue_max) {
        fail = FAIL_FULL;
    } else {
        list_push_back(&crew.queue, &work->node);
        crew.queued++;
        pthread_cond_signal(&crew.filled);
    }
    pthread_mutex_unlock(&crew.lock);
    return fail;
}

bool work_cancel(struct work *work)
{
    pthread_mutex_lock(&crew.lock);
    bool was_queued = !list_is_empty(&work->node);
    if (was_queued) {
        list_remove(&work->node);
        crew.queued--;
        post_back(work, tell_cancelled);
    }
    pthread_mutex_unlock(&crew.lock);
    return was_queued;
}
