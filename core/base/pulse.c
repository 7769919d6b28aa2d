/* pulse.c - a timer on the CPU clock of each thread that asked for one, whose signal goes to that thread.
 *
 * DESIGN  timer_create on CLOCK_THREAD_CPUTIME_ID with SIGEV_THREAD_ID: no other thread has to wake up, and one that computes nothing is
 *         never interrupted. SIGURG, since nothing else sends it and its default is to be ignored, so that one which arrives late
 *         does no harm (Go's runtime preempts with it for the same reasons). SA_RESTART: calls under way go on.
 *         The timer ends with its thread, by the destructor of a key.
 * HOLDS   current is the pulse of the innermost enter that has not left, or NULL. Only the thread itself reads or writes it.
 * Path:   script/budget > [base/pulse] > the kernel > [base/pulse] > script/budget
 */
#include "base/pulse.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif
#if defined(__SANITIZE_THREAD__)
enum { HOLDS_SIGNALS_BACK = 1 };
#else
enum { HOLDS_SIGNALS_BACK = 0 };
#endif

enum beat { BEAT_UNKNOWN, BEAT_NONE, BEAT_GOES };

static __thread struct pulse *volatile current;
static __thread enum beat beat;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool has_key;

/* In a signal handler. */
static void on_signal(int number)
{
    (void)number;
    int error = errno;
    struct pulse *pulse = current;
    if (pulse)
        pulse->look(pulse->arg);
    errno = error;
}

static void end_timer(void *timer) { timer_delete((timer_t)((uintptr_t)timer - 1)); }

static void prepare(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    has_key = sigaction(SIGURG, &action, NULL) == 0 && pthread_key_create(&key, end_timer) == 0;
}

static bool start_timer(void)
{
    pthread_once(&once, prepare);
    if (HOLDS_SIGNALS_BACK || !has_key)
        return false;
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGURG;
    event.sigev_notify_thread_id = gettid();
    timer_t timer;
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) != 0)
        return false;
    struct timespec each = { .tv_nsec = PULSE_MS * 1000000L };
    struct itimerspec beats = { .it_interval = each, .it_value = each };
    /* A timer's number may be 0, which as a value of the key would mean that there is none. */
    if (timer_settime(timer, 0, &beats, NULL) != 0 || pthread_setspecific(key, (void *)((uintptr_t)timer + 1)) != 0) {
        timer_delete(timer);
        return false;
    }
    return true;
}

bool pulse_beats(void)
{
    if (beat == BEAT_UNKNOWN)
        beat = start_timer() ? BEAT_GOES : BEAT_NONE;
    return beat == BEAT_GOES;
}

struct pulse *pulse_enter(struct pulse *pulse)
{
    struct pulse *before = current;
    (void)pulse_beats();
    atomic_signal_fence(memory_order_seq_cst);
    current = pulse;
    return before;
}

void pulse_leave(struct pulse *before)
{
    current = before;
    atomic_signal_fence(memory_order_seq_cst);
}
