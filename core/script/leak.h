/* leak.h - transactions that are open for too long or left behind: where they were begun, and their end. */
#ifndef SCRIPT_LEAK_H
#define SCRIPT_LEAK_H

#include "base/list.h"
#include "loop/timer.h"

#include <lua.h>
#include <stdbool.h>

struct script_vm;
struct task;

/* Where Lua stood: the innermost calls, kept without allocating, so that every transaction can have it. */
enum { LEAK_LEVELS = 4, LEAK_TEXT_BYTES = 320 };
struct leak_stack {
    unsigned count;
    struct {
        int line;
        char source[60]; /* LUA_IDSIZE */
    } levels[LEAK_LEVELS];
};
void leak_take(lua_State *L, struct leak_stack *stack);
/* "plugins/a/init.lua:12 < plugins/a/init.lua:40", innermost first. */
void leak_write(const struct leak_stack *stack, char out[LEAK_TEXT_BYTES]);

/* Something that is held, and by whom. In its owner, zeroed memory is not watched. */
struct leak_watch {
    struct list node;       /* of vm->held, oldest first */
    bool is_watched, is_told;
    uint64_t since_ms;
    struct task *task;
    struct leak_stack stack;
    /* Gives it back; false: not now, ask again. */
    bool (*reclaim)(struct leak_watch *watch);
};
void leak_begin(struct task *task, struct leak_watch *watch);
void leak_end(struct leak_watch *watch);
/* It was left behind, and its owner has given it back. reason: "request" (its request ended) or "collected". */
void leak_tell(struct task *task, const struct leak_watch *watch, const char *reason);

/* Of the VM: the settings of the database that it serves from. */
void leak_set_up(struct script_vm *vm);
void leak_close(struct script_vm *vm);

#endif
