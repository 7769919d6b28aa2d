/* state.h - the inside of a VM, for the files of this folder only.
 *
 * One lua_State, one loop, one thread. Every coroutine carries in its extra space the task it works for, so a binding
 * finds its request in one load; the main coroutine carries a task of its own that can never wait.
 *
 * HOLDS   idle tasks <= TASKS_IDLE_MAX; running tasks <= tasks_max. Lua bytes <= memory_max, except while
 *         `unlimited` is set around conversions whose size is bounded by their input.
 * Path:   script/vm > [script/state] > script/task, script/bind_*
 */
#ifndef SCRIPT_STATE_H
#define SCRIPT_STATE_H

#include "base/buf.h"
#include "http/route.h"
#include "script/budget.h"
#include "script/memory.h"
#include "script/task.h"
#include "script/vm.h"
#include "sql/retry.h"

#include <lauxlib.h>
#include <lua.h>

/* Lua's headers do not say that these never return; compiler and analyzer are glad to know. */
__attribute__((noreturn)) int lua_error(lua_State *L);
__attribute__((noreturn)) int luaL_error(lua_State *L, const char *format, ...);

/* Families of userdata. A value's family is the identity of its metatable: one load and one compare. */
enum udata {
    UD_REQUEST, UD_HEADERS, UD_DB, UD_TX, UD_COPY, UD_PIPE, UD_ROW, UD_ROWS, UD_CACHE, UD_CACHED, UD_FAILURE, UD_REPLY, UD_LOG,
    UD_CRYPTO, UD_BLOB, UD_SHIELD, UD_KINDS
};

#define VM_KEY_HINTS 4                                /* levels of JSON */

struct script_vm {
    lua_State *L;
    struct script_services services;
    struct script_hooks hooks;
    struct script_memory memory;
    struct script_main { struct task task; } main;   /* of the main coroutine */
    struct list idle, running;                        /* tasks */
    uint64_t task_serial;                             /* of the last that was taken */
    struct list held;                                 /* open transactions, oldest first, see leak.c */
    struct timer leak_timer;
    uint64_t leak_threshold_ms;                       /* 0: none is too long */
    bool leak_reclaim;
    struct sql_retry_budget retries;
    struct list ops;                                  /* idle database operations, see bind_db.c */
    struct list reads, lost_reads;                    /* idle and lost cache operations, see bind_cache.c */
    unsigned idle_count, running_count, tasks_max;
    unsigned cpu_ms;                                  /* of Lua between two waits */
    uint64_t hurry_ns;                                /* from then on (monotonic) it is 50 ms at most; 0: never */
    struct budget budget;
    bool load_is_over;                                /* the command has used its CPU time up, and somebody was told */
    uint64_t load_began_ns;                           /* CPU time of the thread when a command began */
    bool log_requests;                                /* a line for each answer */
    unsigned timeout_ms;                              /* of a request whose route says nothing */
    unsigned statement_ms;                            /* of a request's statement that says nothing; 0: as long as the request */
    uint64_t ttl_ms;                                  /* of cached values that say nothing */
    struct http_router *router;
    struct list routes;
    struct list listeners;                            /* listen.c */
    struct script_route *unrouted;                    /* metrics of requests without a route */
    struct metric_gauge *in_flight;
    struct http_handler handler;
    struct loop_hook turn;
    size_t external, external_seen;                   /* bytes of rows and entries that Lua values hold .. */
    size_t results;                                   /* .. of rows alone */
    struct reply_out *reply;                          /* of the task that just ended */
    struct buf out;                                   /* JSON on its way somewhere else */
    unsigned key_hints[VM_KEY_HINTS];                 /* keys of the last object read so deep, see value.c */
    int settings;                                     /* reference of the validated settings, or LUA_NOREF */
    int metatable[UD_KINDS];                          /* references */
    const void *family[UD_KINDS];                     /* the same as pointers */
    const char *family_name[UD_KINDS];                /* for those who gave something else; literals */
    int array_meta, object_meta;                      /* marks of json.array and json.object */
    const void *array_mark, *object_mark;
    bool closing;
};

/* Pushes a new userdata of a family, zeroed. May raise (memory). [-0, +1] */
void *udata_new(lua_State *L, enum udata kind, size_t bytes, int values);
/* NULL when the value is of another family. [-0, +0] */
void *udata_test(lua_State *L, int index, enum udata kind);
/* Raises when it is. [-0, +0] */
void *udata_check(lua_State *L, int index, enum udata kind);
/* Makes the metatable of a family: `metamethods`, and __index as a table of `methods` when they are given. The name
 * lives as long as the VM. [-0, +0] */
void udata_family(lua_State *L, enum udata kind, const char *name, const luaL_Reg *metamethods, const luaL_Reg *methods);
/* An __index function for a family whose keys are numbered: names[i] is number i (0 is no such key). Pushes a table
 * name -> number, to be the first upvalue. [-0, +1] */
void udata_push_names(lua_State *L, const char *const *names);
/* For __pairs and the like: `next`, whose first upvalue counts from 0, and the userdata at 1. [-0, +2] */
int udata_iterate(lua_State *L, lua_CFunction next);
/* The count so far; it is one more after. [-0, +0] */
lua_Integer udata_step(lua_State *L);
/* The number of the key at `key` in the table of upvalue 1; 0 when there is none. [-0, +0] */
int udata_key(lua_State *L, int key);

/* Counts the bytes of a result that a Lua value on the stack has taken over. Raises when they and Lua's heap are more than the VM may
 * have, also after a full collection: then the value is garbage, and nothing else may hang on it. [-0, +0] */
void vm_hold(lua_State *L, size_t bytes);
void vm_let_go(struct script_vm *vm, size_t bytes);

static inline struct script_vm *vm_of(lua_State *L) { return task_of(L)->vm; }

/* Each opens one family: metatables, and what native gets of it. [-0, +0] */
void bind_native_open(lua_State *L);      /* package.preload["wick.native"] */
void bind_request_open(lua_State *L);
void bind_cx_open(lua_State *L);          /* before the first bind_cx_push */
void bind_db_open(lua_State *L);
void bind_pipe_open(lua_State *L);
void bind_tx_open(lua_State *L);
void bind_copy_open(lua_State *L);
void bind_rows_open(lua_State *L);
void bind_cache_open(lua_State *L);
void bind_crypto_open(lua_State *L);
void bind_log_open(lua_State *L);
void reply_value_open(lua_State *L);
void failure_open(lua_State *L);
/* Pushes the cx of a plugin, its options at index. [-0, +1] */
void bind_cx_push(lua_State *L, const char *plugin, int options);
void bind_db_push(lua_State *L);
void bind_cache_push(lua_State *L, const char *plugin);
void bind_crypto_push(lua_State *L);
void bind_log_push(lua_State *L, const char *plugin);
const char *crypto_version(void);
void bind_json_push(lua_State *L);        /* the table json */

/* Frees what is idle. */
void bind_db_free(struct script_vm *vm);
void bind_cache_free(struct script_vm *vm);
/* settings.c: the table on top becomes the settings. [-1, +0] */
void settings_keep(lua_State *L);

int check_url(lua_State *L);              /* check_url.c: native.check_url(kind, url) */
int script_ask(lua_State *L);             /* ask.c: native.ask(host, port, path) */

/* sandbox.c */
void sandbox_open(lua_State *L);          /* strict globals, closed string metatable */
int sandbox_load(lua_State *L);           /* native.load_plugin_chunk(text, chunkname, environment) -> function | nil, why */
/* guarded_cjson.c: native.cjson_guard_encode(encode) and .._decode(decode) -> the same within size, memory and budget */
int cjson_guard_encode(lua_State *L);
int cjson_guard_decode(lua_State *L);
/* bind_cx.c: cx.sleep(ms or "1s") */
int cx_sleep(lua_State *L);
/* coroutine.c */
void coroutine_open(lua_State *L);
/* library.c: the Lua files of the program, from the binary or from $WICK_LUA. */
void library_open(lua_State *L);

#endif
