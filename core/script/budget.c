/* budget.c - ends Lua that computes for too long between two waits, and costs nothing to Lua that does not.
 *
 * DESIGN  A count hook makes Lua 5.4 stop at each instruction to see whether it is due (a fifth of a handler's time), so runs have none at
 *         first. Every PULSE_MS of the thread's CPU time a signal handler looks at which run is going on: one that was there at
 *         the last look is suspected, and gets a hook for the next instruction (lua_sethook may be called in a signal handler:
 *         ldebug.c). The hook, which may raise, reads the clock, and ends the run when its budget is over, or takes itself off.
 *           free -> suspected [look: the same run as before]   suspected -> free [hook: budget left]
 *           suspected -> spent [hook: budget over]             any -> free [the run waits or ends]
 *         A spent task keeps a hook at each instruction until it ends, so that no pcall can swallow the error.
 *         A coroutine has a hook of its own: it gets its resumer's each time, and a suspicion it earned goes on to the resumer.
 *         Where the thread has no pulse every task has the hook for good, at a pace that follows what its instructions take.
 * HOLDS   running is what lua_resume was called with last and has not returned; the look happens on the same thread.
 * Path:   script/task, coroutine > [script/budget] > base/pulse
 */
#include "script/budget.h"

#include "base/clock.h"
#include "script/state.h"

enum { PACE_FIRST = 100, PACE_MOST = 100000, PACE_NS = 100000, HURRY_MS = 50 };

static void hook(lua_State *L, lua_Debug *ar);

static void set_hook(lua_State *L, int count) { lua_sethook(L, count ? hook : NULL, count ? LUA_MASKCOUNT : 0, count); }

static int count_of(lua_State *L) { return lua_gethook(L) == hook ? lua_gethookcount(L) : 0; }

static int count_at_rest(const struct task *task)
{
    if (task->spent)
        return BUDGET_COUNT_SPENT;
    return pulse_beats() ? 0 : task->vm->budget.pace.count;
}

bool budget_has_ended(lua_State *L) { return lua_status(L) > LUA_YIELD && count_of(L) == BUDGET_COUNT_SPENT; }

/* --- the pace ----------------------------------------------------------------------------------------------------- */

int budget_pace_begin(struct budget_pace *pace)
{
    *pace = (struct budget_pace){ .count = PACE_FIRST };
    return pace->count;
}

int budget_pace_next(struct budget_pace *pace, uint64_t now_ns)
{
    uint64_t took_ns = pace->seen_ns ? now_ns - pace->seen_ns : PACE_NS;
    uint64_t count = (uint64_t)pace->count * PACE_NS / (took_ns + 1);
    if (count > 2 * (uint64_t)pace->count)
        count = 2 * (uint64_t)pace->count;
    pace->count = count < BUDGET_COUNT_SUSPECTED ? BUDGET_COUNT_SUSPECTED : count > PACE_MOST ? PACE_MOST : (int)count;
    pace->seen_ns = now_ns;
    return pace->count;
}

/* --- the look ----------------------------------------------------------------------------------------------------- */

/* In a signal handler, on the thread that runs Lua, between any two of its instructions. */
static void look(void *arg)
{
    struct script_vm *vm = arg;
    struct budget *budget = &vm->budget;
    lua_State *L = budget->running;
    if (!L)
        return;
    if (budget->run_seen != budget->run) {
        budget->run_seen = budget->run;
        budget->seen_ns = clock_thread_cpu_ns();
        return;
    }
    uint64_t begin_ns = clock_thread_cpu_ns();
    if (begin_ns < budget->next_look_ns)
        return;
    struct task *task = task_of(L);
    if (!task->hook_cpu_ns)
        task->hook_cpu_ns = budget->seen_ns;
    budget->is_suspected = true;
    /* Each time anew: a function that is just being called may have missed the last one. Lua then goes through all frames of the
     * stack, which takes longer than a beat where there are hundreds of thousands: looking may take a twentieth of the time. */
    set_hook(L, task->spent ? BUDGET_COUNT_SPENT : BUDGET_COUNT_SUSPECTED);
    uint64_t end_ns = clock_thread_cpu_ns();
    budget->next_look_ns = end_ns + 20 * (end_ns - begin_ns);
}

void budget_open(struct script_vm *vm) { vm->budget.pulse = (struct pulse){ .look = look, .arg = vm }; }

/* --- runs --------------------------------------------------------------------------------------------------------- */

lua_State *budget_enter(struct script_vm *vm, lua_State *L)
{
    lua_State *before = vm->budget.running;
    if (before && count_of(L) != count_of(before))
        set_hook(L, count_of(before));
    vm->budget.running = L;
    return before;
}

void budget_leave(struct script_vm *vm, lua_State *before)
{
    lua_State *L = vm->budget.running;
    vm->budget.running = before;
    if (before && vm->budget.is_suspected && count_of(before) != count_of(L))
        set_hook(before, count_of(L));
}

/* The loop begins a run. */
static int resume_first(struct task *task, int arguments, int *results)
{
    struct script_vm *vm = task->vm;
    struct budget *budget = &vm->budget;
    lua_State *outer = budget->running; /* a loop that turns within a run: specs and closing do so */
    bool was_suspected = budget->is_suspected;
    budget_pace_begin(&budget->pace);
    if (count_of(task->L) != count_at_rest(task))
        set_hook(task->L, count_at_rest(task));
    budget->is_suspected = false;
    task->hook_cpu_ns = 0;
    budget->run++;
    budget->running = task->L;
    struct pulse *before = pulse_enter(&budget->pulse);
    int status = lua_resume(task->L, NULL, arguments, results);
    pulse_leave(before);
    budget->running = outer;
    budget->run++;
    budget->is_suspected = was_suspected;
    return status;
}

int budget_resume(struct task *task, lua_State *L, lua_State *from, int arguments, int *results)
{
    if (!from)
        return resume_first(task, arguments, results);
    lua_State *before = budget_enter(task->vm, L);
    int status = lua_resume(L, from, arguments, results);
    budget_leave(task->vm, before);
    return status;
}

void budget_settle(struct task *task) { task->spent = false; }

/* --- its end ------------------------------------------------------------------------------------------------------ */

/* What is still under way when a drain is over is not given a whole budget each to compute on. */
static unsigned budget_ms(const struct script_vm *vm)
{
    bool hurries = vm->hurry_ns && clock_mono_ns() >= vm->hurry_ns;
    return hurries && vm->cpu_ms > HURRY_MS ? HURRY_MS : vm->cpu_ms;
}

static bool is_spent(struct task *task)
{
    if (task->spent)
        return true;
    uint64_t now_ns = clock_thread_cpu_ns();
    if (!task->hook_cpu_ns)
        task->hook_cpu_ns = now_ns;
    return now_ns - task->hook_cpu_ns >= budget_ms(task->vm) * UINT64_C(1000000);
}

/* True where it is spent, from now on with a hook at each instruction. */
static bool has_spent(lua_State *L)
{
    struct task *task = task_of(L);
    if (!is_spent(task))
        return false;
    task->spent = true;
    task->vm->budget.is_suspected = true;
    if (count_of(L) != BUDGET_COUNT_SPENT)
        set_hook(L, BUDGET_COUNT_SPENT);
    return true;
}

static void end_spent(lua_State *L)
{
    if (has_spent(L))
        luaL_error(L, "used its CPU budget of %d ms between two waits", (int)budget_ms(task_of(L)->vm));
}

static void hook(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    end_spent(L);
    struct task *task = task_of(L);
    task->vm->budget.is_suspected = false;
    if (!pulse_beats())
        budget_pace_next(&task->vm->budget.pace, clock_thread_cpu_ns());
    set_hook(L, count_at_rest(task));
}

/* While files are loaded there is no budget. */
static bool has_budget(lua_State *L) { return task_of(L) != &task_of(L)->vm->main.task; }

void budget_check(lua_State *L)
{
    if (has_budget(L))
        end_spent(L);
}

bool budget_is_over(lua_State *L) { return has_budget(L) && has_spent(L); }
