/* leak.c - finds transactions that nobody ends.
 *
 * DESIGN  What is held stands on vm->held in the order it was taken. One timer for all of a VM is due when the oldest that was not told
 *         of passes leak_threshold; while everything is quick it fires at most once in that time, and finds nothing.
 *         HELD -> TOLD [threshold: one line in the log, with the stack of its acquire]  TOLD -> gone [leak_reclaim, or its owner]
 *         The stack is copied as it is (source and line, which cost 0.1 us a level), and becomes text only when it is told of.
 *         A transaction that sends nothing is ended earlier, by idle_in_transaction of the engine; this one is busy, or hides in loops.
 * HOLDS   A watch is on vm->held exactly while is_watched.
 * Path:   script/bind_tx > [script/leak] > base/log, sql/engine
 */
#include "script/leak.h"

#include "base/log.h"
#include "script/handler.h"
#include "script/state.h"

#include <stdio.h>
#include <string.h>

enum { LEVELS_SEEN = 16, LOOK_AGAIN_MS = 500 };

/* --- where ---------------------------------------------------------------------------------------------------- */

void leak_take(lua_State *L, struct leak_stack *stack)
{
    lua_Debug at;
    stack->count = 0;
    for (int level = 1; level < LEVELS_SEEN && stack->count < LEAK_LEVELS && lua_getstack(L, level, &at); level++) {
        if (!lua_getinfo(L, "Sl", &at) || at.currentline < 0)
            continue; /* a C function */
        stack->levels[stack->count].line = at.currentline;
        memcpy(stack->levels[stack->count].source, at.short_src, sizeof at.short_src);
        stack->count++;
    }
}

void leak_write(const struct leak_stack *stack, char out[LEAK_TEXT_BYTES])
{
    size_t len = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < stack->count; i++)
        len += (size_t)snprintf(out + len, LEAK_TEXT_BYTES - len, "%s%s:%d", i ? " < " : "", stack->levels[i].source,
                                stack->levels[i].line);
}

/* --- telling -------------------------------------------------------------------------------------------------- */

static void tell(struct task *task, const struct leak_watch *watch, const char *what, const char *reason)
{
    struct script_vm *vm = task->vm;
    struct sql_engine *engine = vm->services.sql;
    char begun[LEAK_TEXT_BYTES];
    leak_write(&watch->stack, begun);
    uint64_t held_ms = watch->since_ms ? loop_now_ms(vm->services.loop) - watch->since_ms : 0;
    log_line(LOG_WARN, what, LOG_TEXT("plugin", task->route ? task->route->plugin : ""),
             LOG_TEXT("route", task->route ? task->route->name : ""), LOG_INT("held_ms", (int64_t)held_ms),
             LOG_TEXT("begun", begun));
    if (engine && engine->ops->note_leak)
        engine->ops->note_leak(engine, reason);
}

void leak_tell(struct task *task, const struct leak_watch *watch, const char *reason)
{
    tell(task, watch, "a transaction was left open and has been rolled back: close it with <close>, commit or rollback",
         reason);
}

/* --- watching ------------------------------------------------------------------------------------------------- */

static void look(void *arg);

static void watch_for(struct script_vm *vm, uint64_t due_ms)
{
    uint64_t now_ms = loop_now_ms(vm->services.loop);
    if (!timer_is_set(&vm->leak_timer))
        timer_start(vm->services.loop, &vm->leak_timer, due_ms > now_ms ? due_ms - now_ms : 0, look, vm);
}

/* When to look at it again: it is told of once, and reclaimed as soon as it may. */
static uint64_t look_at(struct script_vm *vm, struct leak_watch *watch, uint64_t now_ms)
{
    if (watch->since_ms + vm->leak_threshold_ms > now_ms)
        return watch->since_ms + vm->leak_threshold_ms;
    if (!watch->is_told)
        tell(watch->task, watch,
             vm->leak_reclaim ? "a transaction is open for longer than leak_threshold, and is rolled back"
                              : "a transaction is open for longer than leak_threshold: what does it wait for?",
             "held");
    watch->is_told = true;
    if (!vm->leak_reclaim)
        return UINT64_MAX;
    struct sql_engine *engine = vm->services.sql;
    if (!watch->reclaim(watch))
        return now_ms + LOOK_AGAIN_MS;
    if (engine && engine->ops->note_leak)
        engine->ops->note_leak(engine, "reclaimed");
    return UINT64_MAX;
}

static void look(void *arg)
{
    struct script_vm *vm = arg;
    uint64_t now_ms = loop_now_ms(vm->services.loop), next_ms = UINT64_MAX;
    LIST_EACH_SAFE(&vm->held, node, after)
    {
        uint64_t due_ms = look_at(vm, LIST_ENTRY(node, struct leak_watch, node), now_ms);
        next_ms = due_ms < next_ms ? due_ms : next_ms;
    }
    if (next_ms < UINT64_MAX)
        watch_for(vm, next_ms);
}

void leak_begin(struct task *task, struct leak_watch *watch)
{
    struct script_vm *vm = task->vm;
    watch->task = task;
    watch->is_watched = true;
    watch->since_ms = loop_now_ms(vm->services.loop);
    list_push_back(&vm->held, &watch->node);
    if (vm->leak_threshold_ms)
        watch_for(vm, watch->since_ms + vm->leak_threshold_ms);
}

void leak_end(struct leak_watch *watch)
{
    if (watch->is_watched)
        list_remove(&watch->node);
    watch->is_watched = false;
}

/* --- the VM --------------------------------------------------------------------------------------------------- */

void leak_set_up(struct script_vm *vm)
{
    struct sql_engine *engine = vm->services.sql;
    bool is_sqlite = engine && strcmp(engine->ops->dialect, "sqlite") == 0;
    int64_t threshold_ms = 0;
    (void)script_setting_int(vm, is_sqlite ? "database.sqlite.leak_threshold" : "database.postgres.pool.leak_threshold",
                             &threshold_ms);
    vm->leak_threshold_ms = threshold_ms > 0 ? (uint64_t)threshold_ms : 0;
    vm->leak_reclaim = script_setting_bool(vm, is_sqlite ? "database.sqlite.leak_reclaim"
                                                         : "database.postgres.pool.leak_reclaim");
}

void leak_close(struct script_vm *vm) { timer_stop(&vm->leak_timer); }
