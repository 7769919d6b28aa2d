/* handler.c - from an HTTP request to a plugin's handler and back.
 *
 * DESIGN  on_head matches and refuses early (404, 405, bad parameters) before a body is read. on_request asks the
 *         response cache of the route, then runs a task. The reply is made inside the coroutine, protected, and sent
 *         after it has ended and what it forgot was released: an answer is never sent over an open transaction.
 *         request->user is the task that works for it, or, with bit 0 set, the fill it waits for.
 * HOLDS   Every request that came to on_request gets exactly one reply, also when its task is cancelled or lost.
 * Path:   http/conn > http/route > [script/handler] > serve/response, script/task > plugins
 */
#include "script/handler.h"

#include "base/log.h"
#include "http/problem.h"
#include "script/failure.h"
#include "script/reply_value.h"
#include "script/request_value.h"
#include "script/state.h"

#include <stdio.h>

static struct str request_id(const struct http_request *request) { return str_make(request->id, request->id_len); }

/* --- in ----------------------------------------------------------------------------------------------------------- */

static void refuse_param(struct http_request *request, const struct http_match_info *info)
{
    char detail[128], members[256];
    int name = info->param.len < 48 ? (int)info->param.len : 48,
        type = info->expected.len < 24 ? (int)info->expected.len : 24;
    int len = snprintf(detail, sizeof detail, "the path parameter %.*s must be of type %.*s", name, info->param.data,
                       type, info->expected.data);
    int more = snprintf(members, sizeof members, "\"errors\":[{\"parameter\":\"%.*s\",\"detail\":\"expected %.*s\"}]",
                        name, info->param.data, type, info->expected.data);
    http_problem_send(request, &(struct http_problem){ .status = 400,
                                                       .type = STR("invalid-parameter"),
                                                       .detail = str_make(detail, (size_t)len),
                                                       .members = str_make(members, (size_t)more) });
}

/* True: request->route is set. False: it was refused, and is gone. */
static bool find_route(struct script_vm *vm, struct http_request *request)
{
    struct http_match_info info = { 0 };
    switch (http_router_match(vm->router, request, &info)) {
    case HTTP_MATCH_FOUND: return true;
    case HTTP_MATCH_NONE:
        http_problem_send(request, &(struct http_problem){ .status = 404,
                                                           .type = STR("not-found"),
                                                           .detail = STR("there is nothing at this path") });
        break;
    case HTTP_MATCH_METHOD: http_problem_method(request, info.methods); break;
    case HTTP_MATCH_PARAM: refuse_param(request, &info); break;
    }
    return false;
}

static void on_head(void *arg, struct http_request *request)
{
    if (!find_route(arg, request))
        return;
    const struct script_route *route = request->route;
    if (route->body_max)
        request->body_max = route->body_max;
}

static void run(struct script_vm *vm, struct http_request *request, struct serve_fill *fill)
{
    struct task *task = task_take(vm);
    if (!task) {
        serve_response_abandon(fill);
        http_problem_send(request,
                          &(struct http_problem){ .status = 503,
                                                  .type = STR("overloaded"),
                                                  .detail = STR("too many requests are being worked on; try again"),
                                                  .retry_after_s = 1 });
        return;
    }
    const struct script_route *route = request->route;
    task->request = request;
    task->route = route;
    task->fill = fill;
    task->serves = true;
    if (route->timeout_ms)
        task->timeout_ms = route->timeout_ms;
    request->user = task;
    metric_gauge_add(vm->in_flight, 1);
    if (request->body.len)
        metric_add(route->bytes_in, request->body.len);
    task_start(task, 0);
}

static bool waits_for_fill(const struct http_request *request) { return ((uintptr_t)request->user & 1) != 0; }
static struct serve_fill *fill_of(const struct http_request *request)
{
    return (struct serve_fill *)((uintptr_t)request->user - 1);
}

/* It waited for another request's answer, and must make its own after all. */
static void on_run(void *arg, struct http_request *request, struct serve_fill *fill) { run(arg, request, fill); }

static void on_request(void *arg, struct http_request *request)
{
    struct script_vm *vm = arg;
    if (!request->route && !find_route(vm, request))
        return;
    const struct script_route *route = request->route;
    struct serve_fill *fill = NULL;
    request->user = NULL;
    if (route->policy && vm->services.cache) {
        switch (serve_response_try(vm->services.cache, route->policy, request, on_run, vm, &fill)) {
        case SERVE_DONE: return;
        case SERVE_WAITS: request->user = (void *)((uintptr_t)fill + 1); return;
        case SERVE_RUN: break;
        }
    }
    run(vm, request, fill);
}

static void on_abort(void *arg, struct http_request *request)
{
    (void)arg;
    if (!request->user)
        return;
    if (waits_for_fill(request))
        serve_response_leave(fill_of(request));
    else
        task_cancel(request->user, TASK_ABORTED);
}

/* Called by task.c at the start of the coroutine. [-0, +4: req, handler, req, cx] */
int handler_call(struct task *task, lua_State *L)
{
    task->ud = request_push(L, task->request);
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->route->handler);
    lua_pushvalue(L, -2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->route->cx);
    return 2;
}

/* --- out ---------------------------------------------------------------------------------------------------------- */

static void log_failed(struct task *task, const char *message, const char *error, struct str trace)
{
    const struct script_route *route = task->route;
    struct log_field fields[] = {
        LOG_STR("request_id", task->request ? request_id(task->request) : STR_NONE),
        LOG_TEXT("plugin", route->plugin),
        LOG_TEXT("route", route->name),
        LOG_TEXT("error", error),
        LOG_STR("traceback", trace),
    };
    log_fields(LOG_ERROR, message, fields, sizeof fields / sizeof *fields - (trace.len == 0));
}

/* What the world refuses it refuses to many at once: a line a second for each route, with the number of those in between. */
static bool is_quiet(struct script_route *route, uint64_t now_ms)
{
    if (now_ms < route->quiet_until_ms) {
        route->unlogged++;
        return true;
    }
    route->quiet_until_ms = now_ms + 1000;
    return false;
}

static void log_refused(struct task *task, const struct failure *failure, struct str trace)
{
    char error[640];
    const struct sql_error *sql = &failure->error;
    struct script_route *route = (struct script_route *)task->route;
    snprintf(error, sizeof error, "%s%s%s: %s%s%s", failure_kind(failure), sql->sqlstate[0] ? " " : "", sql->sqlstate,
             sql->text, sql->detail[0] ? "; " : "", sql->detail);
    if (failure_status(failure) == 500) {
        log_failed(task, "a request failed", error, trace);
        return;
    }
    if (is_quiet(route, loop_now_ms(task->vm->services.loop)))
        return;
    log_line(LOG_ERROR, "a request failed", LOG_STR("request_id", request_id(task->request)),
             LOG_TEXT("plugin", route->plugin), LOG_TEXT("route", route->name), LOG_TEXT("error", error),
             LOG_INT("unlogged_before", route->unlogged));
    route->unlogged = 0;
}

static void answer_internal(struct task *task)
{
    struct reply_out *out = task->vm->reply;
    reply_out_reset(out);
    reply_from_status(500, "internal", "the handler failed; the log tells more under this request_id", task->request,
                      out);
}

static void answer_error(struct task *task, lua_State *L)
{
    struct reply_out *out = task->vm->reply;
    char why[256];
    const struct failure *failure = failure_test(L, -1);
    if (failure) {
        if (failure_status(failure) >= 500 && task->stop != TASK_ABORTED)
            log_refused(task, failure, task_trace(task, L, -1));
        reply_from_failure(failure, task->request, out);
    } else if (!udata_test(L, -1, UD_REPLY)) {
        log_failed(task, "a handler failed", failure_words(L, -1), task_trace(task, L, -1));
        answer_internal(task);
    } else if (!reply_from_value(L, -1, task->request, out, why, sizeof why)) {
        log_failed(task, "a handler raised a reply that cannot be sent", why, STR_NONE);
        answer_internal(task);
    }
}

void handler_answer(struct task *task, lua_State *L)
{
    struct reply_out *out = task->vm->reply;
    char why[256];
    reply_out_reset(out);
    if (!task->ok) {
        answer_error(task, L);
    } else if (!reply_from_value(L, -1, task->request, out, why, sizeof why)) {
        log_failed(task, "a handler returned what cannot be sent", why, STR_NONE);
        answer_internal(task);
    }
    if (!buf_ok(&out->body) || !buf_ok(&out->fields))
        answer_internal(task);
}

/* A transaction ended without commit although the answer says that all is well. */
static void judge_transactions(struct task *task)
{
    int status = task->vm->reply->http.status;
    if (!task->lost_tx || status < 200 || status > 299)
        return;
    log_line(LOG_ERROR,
             task->tx_leaked ? "a transaction was still open when its request ended: rolled back"
                             : "a transaction was rolled back although the request succeeded: is tx:commit() missing?",
             LOG_STR("request_id", request_id(task->request)), LOG_TEXT("plugin", task->route->plugin),
             LOG_TEXT("route", task->route->name), LOG_TEXT("begun", task->lost_tx));
    if (task->tx_leaked)
        answer_internal(task);
}

static bool has_field(struct str fields, struct str wanted)
{
    while (fields.len > 0) {
        struct str line = str_split(&fields, '\n');
        if (str_is_nocase(str_split(&line, ':'), wanted))
            return true;
    }
    return false;
}

/* The lines of middleware whose names the handler has left free. */
static void add_headers(struct buf *fields, struct str headers)
{
    size_t own = fields->len;
    while (headers.len > 0) {
        struct str line = str_split(&headers, '\n'), rest = line;
        if (has_field(str_make(fields->data, own), str_split(&rest, ':')))
            continue;
        buf_add_str(fields, line);
        buf_add_char(fields, '\n');
    }
}

/* What the request's route and a cached value say of the answer, behind the fields of its handler. */
static void add_fields(struct task *task, const struct serve_fill *fill)
{
    struct reply_out *out = task->vm->reply;
    add_headers(&out->fields, str_make(task->route->headers.data, task->route->headers.len));
    if (task->route->policy)
        buf_add_str(&out->fields, task->route->policy->vary_line);
    if (!fill)
        buf_add_str(&out->fields, out->label);
    if (buf_ok(&out->fields))
        out->http.fields = str_make(out->fields.data, out->fields.len);
    else
        answer_internal(task);
}

static void log_unkeyed(const struct script_route *route, struct str read)
{
    bool is_field = !str_starts(read, STR("req.")) && !str_starts(read, STR("pairs("));
    log_line(LOG_WARN, "the answers of a route with cache are not kept: its handler reads what their key does not hold",
             LOG_TEXT("plugin", route->plugin), LOG_TEXT("route", route->name), LOG_STR("reads", read),
             LOG_TEXT("fix", is_field ? "add the field to cache.vary, or take cache off the route and use cx.cache:get "
                                        "with a key that holds it"
                                      : "take cache off the route and use cx.cache:get with a key that holds it"));
}

/* The next caller would be given what was made for this one. Said once for each route. */
static void judge_key(struct task *task, struct serve_fill *fill)
{
    if (!fill || !task->ud || !task->ud->unkeyed.data)
        return;
    struct script_route *route = (struct script_route *)task->route;
    serve_response_is_for_one(fill);
    if (!route->is_told_unkeyed)
        log_unkeyed(route, task->ud->unkeyed);
    route->is_told_unkeyed = true;
}

void handler_ended(struct task *task, bool clean)
{
    struct script_vm *vm = task->vm;
    struct http_request *request = task->request;
    struct serve_fill *fill = task->fill;
    if (task->ud)
        task->ud->request = NULL;
    metric_gauge_add(vm->in_flight, -1);
    if (request && !clean) {
        log_failed(task, "a handler failed", failure_words(task->L, -1), STR_NONE);
        answer_internal(task);
    }
    if (request) {
        judge_transactions(task);
        judge_key(task, fill);
        add_fields(task, fill);
        struct http_reply reply = vm->reply->http; /* its release moves to the server */
        vm->reply->http.release = NULL;
        if (task->stop == TASK_ABORTED) {
            serve_response_abandon(fill);
            fill = NULL;
        }
        task->request = NULL;
        request->user = NULL;
        serve_response_send(fill, request, &reply);
    }
    task_give(task);
}

void handler_give_up(struct task *task)
{
    struct http_request *request = task->request;
    log_line(LOG_WARN, "a request is answered while its operation has not ended yet",
             LOG_STR("request_id", request_id(request)), LOG_TEXT("route", task->route->name));
    serve_response_abandon(task->fill);
    task->fill = NULL;
    task->request = NULL;
    request->user = NULL;
    if (task->ud)
        task->ud->request = NULL;
    http_problem_send(request,
                      &(struct http_problem){ .status = task->stop == TASK_OVERDUE ? 504 : 503,
                                              .type = task->stop == TASK_OVERDUE ? STR("deadline") : STR("unavailable"),
                                              .detail = STR("the request took longer than it may") });
}

/* --- metrics ------------------------------------------------------------------------------------------------------ */

static struct metric_counter *code_counter(struct script_route *route, enum http_method method, struct str method_text,
                                           int status)
{
    for (unsigned i = 0; i < route->code_count; i++)
        if (route->codes[i].status == status && route->codes[i].method == method)
            return route->codes[i].count;
    bool full = route->code_count == ROUTE_CODES_MAX;
    char code[8];
    snprintf(code, sizeof code, "%d", status);
    struct buf labels;
    buf_init(&labels, MEM_SCRIPT, 1024);
    metrics_label(&labels, "route", str_of(route->name));
    metrics_label(&labels, "method", full || method == HTTP_METHOD_OTHER ? STR("other") : method_text);
    metrics_label(&labels, "code", full ? STR("other") : str_of(code));
    buf_add_char(&labels, '\0');
    struct metric_counter *counter = metric_counter("wick_http_requests_total", "Requests by route, method and status.",
                                                    buf_ok(&labels) ? labels.data : "");
    buf_clear(&labels);
    if (!full)
        route->codes[route->code_count++] = (struct route_code){ status, method, counter };
    return counter;
}

/* The query may hold what nobody should read in a log; the path is enough to find the route. */
static void log_request(const struct script_route *route, const struct http_request *request, int status, size_t bytes,
                        uint64_t took_ns)
{
    char peer[64];
    http_request_peer(request, peer, sizeof peer);
    log_line(LOG_INFO, "request", LOG_STR("request_id", str_make(request->id, request->id_len)),
             LOG_STR("method", request->head.method_text), LOG_STR("path", request->head.path),
             LOG_TEXT("route", route ? route->name : "none"), LOG_INT("status", status), LOG_INT("bytes", bytes),
             LOG_DOUBLE("ms", (double)took_ns / 1e6), LOG_TEXT("peer", peer));
}

static void on_done(void *arg, const struct http_request *request, int status, size_t bytes, uint64_t took_ns)
{
    struct script_vm *vm = arg;
    struct script_route *route = request->route ? (struct script_route *)request->route : vm->unrouted;
    if (vm->log_requests)
        log_request(route, request, status, bytes, took_ns);
    if (!route)
        return;
    metric_add(code_counter(route, request->head.method, request->head.method_text, status), 1);
    metric_observe(route->took, took_ns);
    metric_add(route->bytes_out, bytes);
}

void handler_open(struct script_vm *vm)
{
    vm->unrouted = route_new(vm, "none");
    vm->in_flight = metric_gauge("wick_http_requests_in_flight", "Requests that a handler works for.", "");
    vm->handler = (struct http_handler){
        .arg = vm, .on_head = on_head, .on_request = on_request, .on_abort = on_abort, .on_done = on_done
    };
}
