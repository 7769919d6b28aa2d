/* handler.h - from an HTTP request to a plugin's handler and back.
 *
 * Path: http/conn > http/route > [script/handler] > serve/response, script/task > plugins
 */
#ifndef SCRIPT_HANDLER_H
#define SCRIPT_HANDLER_H

#include "http/server.h"
#include "metrics/metrics.h"
#include "script/task.h"
#include "serve/response.h"

#define ROUTE_CODES_MAX 16

struct script_route {
    struct list node;                      /* of vm->routes */
    char *name, *plugin, *pattern;         /* owned */
    enum http_method method;
    int handler, cx;                       /* references */
    unsigned timeout_ms;
    size_t body_max;                       /* 0: the server's */
    unsigned int_params;                   /* bit i: the i-th path parameter is an int64 */
    bool reads;
    bool is_alone, shares_commit;        /* its statements share no round trip; its inserts share a commit */
    struct serve_policy *policy;           /* NULL: no response cache */
    bool is_told_unkeyed;                  /* that its answers are not kept was said */
    struct buf policy_text;                /* what its slices point into */
    struct buf headers;                    /* lines of each answer that has none of the same name */
    struct metric_histogram *took;
    struct metric_counter *bytes_in, *bytes_out;
    struct route_code { int status; enum http_method method; struct metric_counter *count; } codes[ROUTE_CODES_MAX];
    unsigned code_count;
    uint64_t quiet_until_ms;               /* no further log line about what the world refused before that time */
    unsigned unlogged;                     /* lines kept back since the last one */
};

void handler_open(struct script_vm *vm);         /* fills vm->handler */
/* route.c */
struct script_route *route_new(struct script_vm *vm, const char *name);   /* on vm->routes; NULL: no memory */
void routes_free(struct script_vm *vm);
int route_add(lua_State *L);                     /* native.route_add(table) -> true | nil, why */

/* Called by task.c at the start of a coroutine that serves: pushes req to keep, handler, req, cx; returns the number of arguments. */
int handler_call(struct task *task, lua_State *L);
/* Turns the result or error on top of L into the reply to come; runs in the coroutine, protected. */
void handler_answer(struct task *task, lua_State *L);
/* The coroutine is over: sends the reply and gives the task back. clean: handler_answer ran to its end. */
void handler_ended(struct task *task, bool clean);
/* The grace is over and the coroutine still waits: the request gets 504 and leaves the task. */
void handler_give_up(struct task *task);

#endif
