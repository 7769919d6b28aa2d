/* cancel_request.c - PQcancel on a thread of its own.
 *
 * DESIGN  SENDING -> TOLD [send_it: posted to the loop] -> gone [tell]
 *         SENDING, TOLD -> left [leave]: whoever comes next, the thread or the loop, frees it without a word.
 *         PQcancel ends when the other side closes, which a pooler that stands still does not do; tcp_user_timeout ends only what the
 *         network has lost. So the one who asked has a deadline of its own (cancel.h), and threads that hang are limited (aside.h).
 * Path:   postgres/cancel > [postgres/cancel_request] > loop/aside, libpq
 */
#include "postgres/cancel_request.h"

#include "base/mem.h"
#include "loop/aside.h"

#include <pthread.h>

struct postgres_cancel_request {
    pthread_mutex_t mutex;
    bool is_left; /* under the mutex */
    struct loop *loop;
    struct loop_task task;
    PGcancel *cancel;
    char why[256];
    void (*on_done)(void *arg, const char *why);
    void *arg;
};

static void free_request(struct postgres_cancel_request *request)
{
    PQfreeCancel(request->cancel);
    pthread_mutex_destroy(&request->mutex);
    mem_free(request);
}

static void tell(void *arg)
{
    struct postgres_cancel_request *request = arg;
    pthread_mutex_lock(&request->mutex);
    bool is_left = request->is_left;
    pthread_mutex_unlock(&request->mutex);
    if (!is_left)
        request->on_done(request->arg, request->why[0] ? request->why : NULL);
    free_request(request);
}

/* On a thread of its own. */
static void send_it(void *arg)
{
    struct postgres_cancel_request *request = arg;
    if (PQcancel(request->cancel, request->why, sizeof request->why))
        request->why[0] = '\0';
    pthread_mutex_lock(&request->mutex);
    bool is_left = request->is_left;
    if (!is_left)
        loop_post(request->loop, &request->task);
    pthread_mutex_unlock(&request->mutex);
    if (is_left)
        free_request(request);
}

enum fail postgres_cancel_request_start(struct loop *loop, PGconn *pg, void (*on_done)(void *arg, const char *why),
                                        void *arg, struct postgres_cancel_request **out)
{
    struct postgres_cancel_request *request = mem_zero(MEM_POSTGRES, sizeof *request);
    if (!request)
        return FAIL_NOMEM;
    pthread_mutex_init(&request->mutex, NULL);
    request->loop = loop;
    request->task = (struct loop_task){ .run = tell, .arg = request };
    request->on_done = on_done;
    request->arg = arg;
    request->cancel = PQgetCancel(pg);
    enum fail fail = request->cancel ? aside_start(send_it, request) : FAIL_NOMEM;
    if (fail)
        free_request(request);
    else
        *out = request;
    return fail;
}

void postgres_cancel_request_leave(struct postgres_cancel_request *request)
{
    if (!request)
        return;
    pthread_mutex_lock(&request->mutex);
    request->is_left = true;
    pthread_mutex_unlock(&request->mutex);
}
