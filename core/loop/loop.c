/* loop.c - turns a libuv loop into turns: sockets, posts, timers, deferred tasks, hooks, wait.
 *
 * DESIGN  libuv calls sockets as it leaves its wait and `prepare` as it is about to enter it, so prepare is the end
 *         of a turn and does all that is not a socket. Sockets come first on purpose: an answer that has arrived
 *         beats its own deadline.
 *         A post is a push on a lock-free stack and, only when the loop waits (or is about to), one eventfd write:
 *           loop:   is_waiting = true;  then look at `posted`        (both sequentially consistent, so one of
 *           poster: push on `posted`;   then look at is_waiting       the two sees the other)
 *         AWAKE -> WAITING [end_turn]    WAITING -> AWAKE [loop_begin_turn, from the first callback after the wait]
 * HOLDS   While AWAKE, posting makes no system call. Deferred tasks never wait: a turn that leaves some polls with 0.
 *         The clock is read twice a turn, once at each edge.
 * Path:   app > [loop/loop] > libuv
 */
#include "loop/inner.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

enum { ROUNDS_MAX = 4 }; /* how often tasks may beget tasks before sockets are looked at again */

static _Thread_local struct loop *here;

/* Writing to a socket that is gone, or to a file that may not grow, is a failure of that write and no reason to end. */
static void ignore_write_signals(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

enum fail loop_fail(int uv_error)
{
    switch (uv_error) {
    case 0: return FAIL_OK;
    case UV_ENOMEM:
    case UV_ENOBUFS: return FAIL_NOMEM;
    case UV_ETIMEDOUT: return FAIL_TIMEOUT;
    case UV_ECANCELED:
    case UV_EPIPE:
    case UV_ECONNRESET:
    case UV_ENOTCONN:
    case UV_EOF: return FAIL_CLOSED;
    case UV_ECONNREFUSED: return FAIL_REFUSED;
    case UV_EINVAL: return FAIL_INVALID;
    case UV_ENOENT:
    case UV_EAI_NONAME:
    case UV_EAI_NODATA: return FAIL_MISSING;
    default: return FAIL_IO;
    }
}

/* --- a turn --------------------------------------------------------------------------------------------------- */

/* The wait is over; this is the first callback since. */
void loop_begin_turn(struct loop *loop)
{
    uint64_t now_ns = clock_mono_ns();
    uint64_t now_ms = now_ns / 1000000u;
    loop->is_awake = true;
    atomic_store_explicit(&loop->is_waiting, false, memory_order_relaxed);
    atomic_store_explicit(&loop->busy_since_ns, now_ns, memory_order_relaxed);
    if (now_ms != loop->now_ms) {
        loop->now_ms = now_ms;
        loop->wall_s = clock_wall_us() / 1000000;
    }
}

static void run_task(struct list *node)
{
    struct loop_task *task = LIST_ENTRY(node, struct loop_task, node);
    task->run(task->arg);
}

static void run_posted(struct loop *loop)
{
    if (!atomic_load_explicit(&loop->posted, memory_order_relaxed))
        return;
    struct list *newest = atomic_exchange(&loop->posted, NULL);
    struct list *oldest = NULL;
    while (newest) {
        struct list *before = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = before;
    }
    while (oldest) {
        struct list *after = oldest->next;
        run_task(oldest); /* from here on its memory is not ours */
        oldest = after;
    }
}

/* Moves everything of `from` to the end of `to`. */
static void move_all(struct list *to, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

static void run_deferred(struct loop *loop)
{
    struct list tasks;
    list_init(&tasks);
    move_all(&tasks, &loop->deferred);
    for (struct list *node; (node = list_pop_front(&tasks));)
        run_task(node);
}

/* A hook may remove itself or any other. */
static void run_hooks(struct loop *loop)
{
    struct list ran;
    list_init(&ran);
    for (struct list *node; (node = list_pop_front(&loop->hooks));) {
        struct loop_hook *hook = LIST_ENTRY(node, struct loop_hook, node);
        list_push_back(&ran, node);
        hook->run(hook->arg);
    }
    move_all(&loop->hooks, &ran);
}

static bool has_tasks(struct loop *loop) { return !list_is_empty(&loop->deferred) || atomic_load(&loop->posted); }

static void on_again(uv_idle_t *idle) { (void)idle; }

static void set_again(struct loop *loop, bool is_set)
{
    if (is_set == loop->is_again_set)
        return;
    loop->is_again_set = is_set;
    int error = is_set ? uv_idle_start(&loop->again, on_again) : uv_idle_stop(&loop->again);
    assert(error == 0);
    (void)error;
}

static void on_alarm(uv_timer_t *alarm)
{
    struct loop *loop = loop_of(alarm);
    loop->is_alarm_set = false;
    loop_awake(loop);
}

/* Sets the alarm when the wheel needs one earlier than it is set. An alarm too early does no harm: it is set again. */
static void set_alarm(struct loop *loop, uint64_t now_ms)
{
    uint64_t next_ms = wheel_next_ms(&loop->wheel);
    if (next_ms == UINT64_MAX || (loop->is_alarm_set && loop->alarm_ms <= next_ms))
        return;
    uv_update_time(&loop->uv);
    int error = uv_timer_start(&loop->alarm, on_alarm, next_ms > now_ms ? next_ms - now_ms : 0, 0);
    assert(error == 0);
    (void)error;
    loop->alarm_ms = next_ms;
    loop->is_alarm_set = true;
}

static void add_load(struct loop *loop, uint64_t now_ns)
{
    uint64_t since_ns = atomic_load_explicit(&loop->busy_since_ns, memory_order_relaxed);
    uint64_t span_ns = now_ns > since_ns ? now_ns - since_ns : 0;
    uint64_t turns = atomic_load_explicit(&loop->load_turns, memory_order_relaxed);
    uint64_t busy_ns = atomic_load_explicit(&loop->load_busy_ns, memory_order_relaxed);
    atomic_store_explicit(&loop->load_turns, turns + 1, memory_order_relaxed);
    atomic_store_explicit(&loop->load_busy_ns, busy_ns + span_ns, memory_order_relaxed);
    if (span_ns > atomic_load_explicit(&loop->load_longest_ns, memory_order_relaxed))
        atomic_store_explicit(&loop->load_longest_ns, span_ns, memory_order_relaxed);
    atomic_store_explicit(&loop->busy_since_ns, 0, memory_order_relaxed);
}

/* From here to the poll nothing runs; posters must wake us. */
static void end_turn(struct loop *loop)
{
    atomic_store(&loop->is_waiting, true);
    bool is_done = atomic_load(&loop->is_stopping) || (loop->done && *loop->done);
    if (is_done)
        uv_stop(&loop->uv);
    set_again(loop, !is_done && has_tasks(loop));
    uint64_t now_ns = clock_mono_ns();
    set_alarm(loop, now_ns / 1000000u);
    add_load(loop, now_ns);
    loop->is_awake = false;
}

static void on_end_of_turn(uv_prepare_t *prepare)
{
    struct loop *loop = loop_of(prepare);
    loop_awake(loop);
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        run_posted(loop);
        wheel_run(&loop->wheel, loop->now_ms);
        run_deferred(loop);
        run_hooks(loop);
        if (!has_tasks(loop))
            break;
    }
    end_turn(loop);
}

static void on_wake(uv_async_t *wake) { loop_awake(loop_of(wake)); }

/* --- open, run, close ----------------------------------------------------------------------------------------- */

static void init_fields(struct loop *loop, const char *name)
{
    loop->uv.data = loop;
    strncpy(loop->name, name, sizeof loop->name - 1);
    list_init(&loop->deferred);
    list_init(&loop->hooks);
    list_init(&loop->spare_writes);
    atomic_init(&loop->posted, NULL);
    atomic_init(&loop->is_waiting, true);
    atomic_init(&loop->is_stopping, false);
    loop->now_ms = clock_mono_ms();
    loop->wall_s = clock_wall_us() / 1000000;
    wheel_init(&loop->wheel, loop->now_ms);
}

enum fail loop_open(const char *name, struct loop **out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, ignore_write_signals);
    struct loop *loop = mem_zero(MEM_LOOP, sizeof *loop);
    if (!loop)
        return FAIL_NOMEM;
    loop->read_buffer = mem_alloc(MEM_LOOP, LOOP_READ_BYTES);
    int error = loop->read_buffer ? uv_loop_init(&loop->uv) : UV_ENOMEM;
    if (error)
        goto fail;
    init_fields(loop, name);
    error = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (error) {
        uv_loop_close(&loop->uv);
        goto fail;
    }
    uv_prepare_init(&loop->uv, &loop->end_of_turn); /* these four cannot fail */
    uv_prepare_start(&loop->end_of_turn, on_end_of_turn);
    uv_idle_init(&loop->uv, &loop->again);
    uv_timer_init(&loop->uv, &loop->alarm);
    uv_timer_init(&loop->uv, &loop->turn_limit);
    *out = loop;
    return FAIL_OK;
fail:
    mem_free(loop->read_buffer);
    mem_free(loop);
    return loop_fail(error);
}

/* Runs libuv on this thread; what it leaves between two calls is not part of a turn. */
static void run_here(struct loop *loop, uv_run_mode mode)
{
    struct loop *before = here;
    here = loop;
    uv_run(&loop->uv, mode);
    here = before;
    loop->is_awake = false;
    atomic_store_explicit(&loop->busy_since_ns, 0, memory_order_relaxed);
}

void loop_run(struct loop *loop)
{
    run_here(loop, UV_RUN_DEFAULT);
    atomic_store(&loop->is_stopping, false);
}

static void wake_up(struct loop *loop)
{
    if (atomic_load(&loop->is_waiting) && atomic_exchange(&loop->is_waiting, false))
        uv_async_send(&loop->wake);
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->is_stopping, true);
    wake_up(loop);
}

static void on_turn_limit(uv_timer_t *timer) { loop_awake(loop_of(timer)); }

void loop_turn(struct loop *loop, unsigned ms, const bool *done)
{
    /* Real time, also where a spec has faked the clock. */
    uint64_t now_ns = uv_hrtime(), end_ns = now_ns + ms * UINT64_C(1000000);
    loop->done = done;
    do {
        uint64_t left_ms = (end_ns - now_ns + 999999) / 1000000; /* rounded up: libuv's timers know no less */
        uv_update_time(&loop->uv);
        /* It repeats, since it may be due before libuv begins to wait, and is not to be waited for without it. */
        uv_timer_start(&loop->turn_limit, on_turn_limit, left_ms, 1);
        run_here(loop, left_ms ? UV_RUN_ONCE : UV_RUN_NOWAIT);
        now_ns = uv_hrtime();
    } while (!(done && *done) && now_ns < end_ns);
    uv_timer_stop(&loop->turn_limit);
    loop->done = NULL;
}

static bool is_own(const struct loop *loop, const uv_handle_t *handle)
{
    const char *at = (const char *)handle;
    return at >= (const char *)loop && at < (const char *)(loop + 1);
}

struct census {
    const struct loop *loop;
    unsigned open, closing;
    bool closes; /* logs and closes the open ones, too */
};

static void count_handle(uv_handle_t *handle, void *arg)
{
    struct census *census = arg;
    if (is_own(census->loop, handle))
        return;
    if (uv_is_closing(handle)) {
        census->closing++;
        return;
    }
    census->open++;
    if (census->closes) {
        log_line(LOG_WARN, "loop closed with an open handle", LOG_TEXT("loop", census->loop->name),
                 LOG_TEXT("handle", uv_handle_type_name(handle->type)));
        uv_close(handle, NULL); /* its memory is its owner's leak */
    }
}

static struct census take_census(struct loop *loop, bool closes)
{
    struct census census = { .loop = loop, .closes = closes };
    uv_walk(&loop->uv, count_handle, &census);
    return census;
}

static void settle(struct loop *loop, unsigned ms_max)
{
    uint64_t end_ns = uv_hrtime() + ms_max * UINT64_C(1000000);
    loop_turn(loop, 0, NULL);
    for (;;) {
        struct census census = take_census(loop, false);
        bool is_quiet = !census.open && !census.closing && !has_tasks(loop) && !loop->uv.active_reqs.count;
        if (is_quiet || uv_hrtime() >= end_ns)
            return;
        loop_turn(loop, 1, NULL);
    }
}

static void free_loop(struct loop *loop)
{
    stream_drop_spares(loop);
    mem_free(loop->read_buffer);
    mem_free(loop);
}

unsigned loop_close(struct loop *loop, unsigned ms_max)
{
    if (!loop)
        return 0;
    settle(loop, ms_max);
    unsigned open = take_census(loop, /* closes= */ true).open;
    unsigned timers = wheel_abandon(&loop->wheel);
    if (timers)
        log_line(LOG_WARN, "loop closed with timers set", LOG_TEXT("loop", loop->name), LOG_INT("timers", timers));
    uv_close((uv_handle_t *)&loop->end_of_turn, NULL);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->again, NULL);
    uv_close((uv_handle_t *)&loop->alarm, NULL);
    uv_close((uv_handle_t *)&loop->turn_limit, NULL);
    run_here(loop, UV_RUN_NOWAIT);
    if (uv_loop_close(&loop->uv) != 0) {
        /* A name lookup still runs on libuv's threads and will write here: rather a leak than a crash. */
        log_line(LOG_ERROR, "loop closed while a lookup runs; its memory is kept", LOG_TEXT("loop", loop->name));
        return open + timers + 1;
    }
    free_loop(loop);
    return open + timers;
}

/* --- small questions and tasks -------------------------------------------------------------------------------- */

struct loop *loop_here(void) { return here; }
uint64_t loop_now_ms(const struct loop *loop) { return loop->now_ms; }
int64_t loop_wall_s(const struct loop *loop) { return loop->wall_s; }
const char *loop_name(const struct loop *loop) { return loop->name; }

void loop_post(struct loop *loop, struct loop_task *task)
{
    struct list *newest = atomic_load_explicit(&loop->posted, memory_order_relaxed);
    do
        task->node.next = newest;
    while (!atomic_compare_exchange_weak(&loop->posted, &newest, &task->node));
    wake_up(loop);
}

void loop_defer(struct loop *loop, struct loop_task *task) { list_push_back(&loop->deferred, &task->node); }

void loop_hook_add(struct loop *loop, struct loop_hook *hook) { list_push_back(&loop->hooks, &hook->node); }
void loop_hook_remove(struct loop_hook *hook) { list_remove(&hook->node); }

void loop_load_take(struct loop *loop, struct loop_load *out)
{
    uint64_t turns = atomic_load_explicit(&loop->load_turns, memory_order_relaxed);
    uint64_t busy_ns = atomic_load_explicit(&loop->load_busy_ns, memory_order_relaxed);
    out->turns = turns - loop->load_turns_taken;
    out->busy_ns = busy_ns - loop->load_busy_ns_taken;
    out->longest_ns = atomic_exchange_explicit(&loop->load_longest_ns, 0, memory_order_relaxed);
    loop->load_turns_taken = turns;
    loop->load_busy_ns_taken = busy_ns;
}

uint64_t loop_busy_since_ns(const struct loop *loop)
{
    return atomic_load_explicit(&loop->busy_since_ns, memory_order_relaxed);
}
