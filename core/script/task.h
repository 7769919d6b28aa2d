/* task.h - a coroutine that works for one request (or for nobody), and the one way it waits.
 *
 *   IDLE -> RUNNING [task_start]   RUNNING -> WAITING [task_await]   WAITING -> RUNNING [task_wake]
 *   RUNNING -> IDLE [the function ended]
 *
 * A cancelled task (client gone, deadline, VM closing) is not torn down: the operation it waits for is asked to end, and
 * when it has ended the wait raises a failure inside the coroutine, so <close> variables run and may wait themselves
 * inside cx.shield. A commit, or a write that stands alone, has the grace to come to its end, and then returns as ever:
 * who stored something gets to say so to the caches, and the next wait raises. The cancel is sticky: every later wait
 * raises again. After a grace of TASK_GRACE_MS shields count no more, and a request that is still owed a reply gets it;
 * the coroutine ends when its operation does.
 */
#ifndef SCRIPT_TASK_H
#define SCRIPT_TASK_H

#include "base/buf.h"
#include "base/list.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "script/leak.h"

#include <lua.h>

#define TASK_GRACE_MS 1000
#define TASKS_IDLE_MAX 256

struct script_vm;
struct script_route;
struct http_request;
struct serve_fill;
struct request_ud;
struct task;

/* What a coroutine waits for. The operation owns it; task_wake comes exactly once, also after cancel. */
struct task_wait {
    struct task *task;
    void (*cancel)(struct task_wait *wait);   /* end soon; task_wake still comes, never from within; asked at most once */
    bool asked;                               /* cancel may put it back: then it comes once more, when the grace is over */
};
/* Something that must not outlive its task: released by C when the coroutine ended and forgot it. */
struct task_held {
    struct list node;
    void (*release)(struct task *task, struct task_held *held);
};
enum task_stop { TASK_GOES_ON, TASK_ABORTED, TASK_OVERDUE, TASK_CLOSED };

struct task {
    struct list node;                 /* of vm->idle or vm->running */
    struct script_vm *vm;
    lua_State *L;                     /* its first coroutine */
    int anchor;                       /* reference of L */
    uint64_t serial;                  /* of the work it does now, unique in the VM */
    enum task_stop stop;
    bool lost;                        /* the grace is over */
    bool may_wait;                    /* no C call without continuation stands between the coroutines */
    bool spent;                       /* used its CPU budget */
    bool serves;                      /* a request, maybe one that was given up meanwhile */
    bool tx_leaked;                   /* lost_tx was open when the coroutine ended */
    bool ok;                          /* the function returned; else it raised */
    int arguments;
    unsigned shields;
    unsigned timeout_ms;
    uint64_t deadline_ms;             /* on the loop's clock */
    uint64_t hook_cpu_ns;             /* thread CPU time from which on its budget counts; 0: not suspected */
    struct task_wait *wait;           /* NULL: runs */
    struct list held;
    struct timer timer;               /* of the deadline, then of the grace; set by the first wait */
    struct loop_task later;           /* of a start that is put off */
    /* the request, or its absence */
    struct http_request *request;
    const struct script_route *route;
    struct serve_fill *fill;
    struct request_ud *ud;
    void (*on_done)(void *arg, struct task *task, bool ok);   /* of tasks without a request; result or error on top of L */
    void *arg;
    const char *lost_tx;              /* where a transaction began that ended without commit, or NULL */
    char lost_tx_where[LEAK_TEXT_BYTES];
    /* of the error on its way up */
    struct buf trace;
    const void *trace_of;             /* identity of the error value; NULL: none kept */
    bool trace_more;                  /* of a child coroutine: those of the ones that resumed it follow */
};

static inline struct task *task_of(lua_State *L) { return *(struct task **)lua_getextraspace(L); }

/* A recycled or new task with an empty stack, NULL when there are too many or there is no memory. */
struct task *task_take(struct script_vm *vm);
/* On task->L: [kept values .., function, arg1 .. argn]; what is kept stays anchored to the end. Runs until it waits or ends. */
void task_start(struct task *task, int arguments);
/* The same at the end of this turn. */
void task_start_later(struct task *task, int arguments);
void task_cancel(struct task *task, enum task_stop stop);
/* Of a task that was taken and never started. */
void task_give(struct task *task);
void task_free_all(struct script_vm *vm);   /* the idle ones */

/* Raises unless the running coroutine may wait now; `what` names the call for the message. Call it before the operation starts. */
struct task *task_may_wait(lua_State *L, const char *what);
/* return task_await(L, &op->wait, next): the coroutine sleeps until task_wake, then goes on in next with (lua_KContext)wait. */
int task_await(lua_State *L, struct task_wait *wait, lua_KFunction next);
void task_wake(struct task_wait *wait);
/* Raises the failure when the task was told to stop and no shield is up. To be called first in each continuation
 * after it let go what it holds. */
void task_check(lua_State *L);
bool task_stops(const struct task *task);
/* The smaller of own_ms (0: no own limit) and what is left of the deadline; at least 1. */
unsigned task_left_ms(const struct task *task, unsigned own_ms);

void task_hold(struct task *task, struct task_held *held, void (*release)(struct task *, struct task_held *));
static inline void task_let_go(struct task_held *held) { list_remove(&held->node); }

/* Message handler: keeps the traceback of the error at its first raise. [-1, +1] */
int task_traceback(lua_State *L);
/* luaL_traceback, but never longer than what a person reads, nor slow where the stack has overflowed. [-0, +1] */
void script_traceback(lua_State *L, lua_State *of, const char *message, int level);
/* Keeps the traceback of a coroutine that died with the error on its top. [-0, +0] */
void task_keep_trace(struct task *task, lua_State *L, lua_State *dead);
/* The traceback of this error value, empty when none was kept. */
struct str task_trace(struct task *task, lua_State *L, int index);

#endif
