/* budget.h - ends Lua that computes for too long between two waits, and costs nothing to Lua that does not. */
#ifndef SCRIPT_BUDGET_H
#define SCRIPT_BUDGET_H

#include "base/pulse.h"

#include <lua.h>
#include <stdint.h>

/* Instructions from when a hook is set to when it runs: of a task that is over its budget, and of a run that goes on at its second look. */
enum { BUDGET_COUNT_SPENT = 1, BUDGET_COUNT_SUSPECTED = 2 };

/* Hooks for all the time, where no pulse tells when to set one: an instruction takes from 1 ns to 10 ms, so the next hook is as many of
 * them away as took about a tenth of a millisecond so far. */
struct budget_pace {
    int count;
    uint64_t seen_ns; /* CPU time of the thread at the last hook; 0: none yet */
};

struct script_vm;
struct task;

struct budget {
    struct pulse pulse;
    lua_State *volatile running;         /* the innermost coroutine that runs, NULL between runs */
    volatile unsigned run;               /* counts the runs */
    volatile unsigned run_seen;          /* the one that the last look saw, which began at most .. */
    volatile uint64_t seen_ns;           /* .. this much of the thread's CPU time ago */
    volatile uint64_t next_look_ns;      /* no look before: the last one took its time */
    volatile bool is_suspected;          /* a coroutine of the run has a hook that its resumers may have to get as well */
    struct budget_pace pace;             /* where the thread has no pulse */
};

void budget_open(struct script_vm *vm);
/* The instructions to the first hook, and at each hook to the next one. */
int budget_pace_begin(struct budget_pace *pace);
int budget_pace_next(struct budget_pace *pace, uint64_t now_ns);
/* lua_resume within the budget of the task, as the innermost coroutine: `from` is the one that resumes, or NULL for the loop. */
int budget_resume(struct task *task, lua_State *L, lua_State *from, int arguments, int *results);
/* The same around anything else that runs Lua on another coroutine than the one that runs now. */
lua_State *budget_enter(struct script_vm *vm, lua_State *L);
void budget_leave(struct script_vm *vm, lua_State *before);
/* This coroutine was ended for its budget: in it hooks are off for good, so nothing of its may run again, __close least of all. */
bool budget_has_ended(lua_State *L);
/* The task is to be used for other work: what it spent is forgotten. */
void budget_settle(struct task *task);
/* Raises when the task has used its budget: for C functions that compute for long. [-0, +0] */
void budget_check(lua_State *L);
/* The same for those that may not be left by an error: true, and they end soon. */
bool budget_is_over(lua_State *L);

#endif
