/* vm.h - a Lua 5.4 state on one loop, with everything that plugins and commands may touch.
 *
 * Path: serve/response > script/handler > [script/vm], script/task > plugins
 */
#ifndef SCRIPT_VM_H
#define SCRIPT_VM_H

#include "base/fail.h"
#include "base/str.h"
#include "cache/read.h"
#include "http/server.h"
#include "loop/loop.h"
#include "sql/engine.h"

struct script_vm;

struct script_services {            /* borrowed for the life of the VM; NULL where there is none (commands) */
    struct loop *loop;
    struct sql_engine *sql;
    struct cache *cache;
    size_t memory_max;              /* bytes of Lua memory; 0: 256 MiB */
    const char *plugins_dir;        /* of the bundled plugins; NULL: as built */
};
struct script_hooks {               /* what commands may ask the program for */
    void *arg;
    int (*serve)(void *arg, struct script_vm *vm, struct str settings_json);   /* returns the exit code */
};

MUST_USE enum fail script_vm_open(const struct script_services *services, struct script_vm **out, char *why, size_t why_bytes);
/* From so many ms on nothing computes for longer than a moment between two waits: what is left then is to end. */
void script_vm_hurry(struct script_vm *vm, unsigned after_ms);
/* Cancels all tasks, runs their close variables, frees everything. */
void script_vm_close(struct script_vm *vm);                  /* NULL is fine */

int script_vm_command(struct script_vm *vm, int argc, char **argv, const struct script_hooks *hooks);
/* Loads plugins and routes from settings already validated (JSON, as the serve hook got it). */
MUST_USE enum fail script_vm_boot(struct script_vm *vm, struct str settings_json, char *why, size_t why_bytes);
/* Makes the plugins' tables where they are missing, as a task on the VM's loop. on_done once. */
void script_vm_prepare(struct script_vm *vm, void (*on_done)(void *arg, enum fail fail, const char *why), void *arg);
/* Runs the plugins' start (or stop) functions as a task. */
void script_vm_start_plugins(struct script_vm *vm, void (*on_done)(void *arg, enum fail fail, const char *why), void *arg);
void script_vm_stop_plugins(struct script_vm *vm, void (*on_done)(void *arg, enum fail fail, const char *why), void *arg);

/* Begins to hear what the plugins listen to, and stops; on the VM's loop. Again is fine. */
void script_vm_listen(struct script_vm *vm);
void script_vm_unlisten(struct script_vm *vm);

/* Settings by path, e.g. "database.postgres.pool.max_size"; durations are ms, sizes are bytes. False: not set (false or nil).
 * Text is borrowed until the VM closes. */
bool script_setting_text(struct script_vm *vm, const char *path, struct str *out);
bool script_setting_int(struct script_vm *vm, const char *path, int64_t *out);
bool script_setting_bool(struct script_vm *vm, const char *path);   /* false when missing */
size_t script_setting_count(struct script_vm *vm, const char *path);/* of a list */

const struct http_handler *script_vm_handler(struct script_vm *vm);
size_t script_vm_memory(const struct script_vm *vm);
unsigned script_vm_tasks(const struct script_vm *vm);               /* running now */

#endif
