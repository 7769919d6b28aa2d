/* admin.c - what operators' tools ask: /healthz, /readyz, /metrics, /admin/pool, on a listener of their own.
 *
 * DESIGN  Runs on the main loop, never on a worker's, so it answers while workers are busy. Checks say what they know already; only
 *         /admin/pool asks the other loops, one question at a time: who asks meanwhile is told to come again.
 * Path:   http/conn > http/route > [serve/admin]
 */
#include "serve/admin.h"

#include "base/json.h"
#include "http/problem.h"
#include "http/route.h"
#include "metrics/metrics.h"

enum { METRICS_BYTES_MAX = 16 << 20, CLOSE_MS = 200 };

typedef void answer_fn(struct serve_admin *admin, struct http_request *request);

struct serve_admin {
    struct http_server *server;
    struct http_router *router;
    struct http_handler handler;
    struct list checks;
    struct buf metrics;
    struct sql_engine *engine;
    struct sql_report report;
    struct http_request *asker;              /* of the report that is being made; NULL: none, or it has left */
    bool is_reporting, is_draining, is_shut; /* shut: free it when the report has come */
    void (*on_closed)(void *arg);
    void *arg;
};
struct admin_route {
    const char *path;
    answer_fn *answer;
};

static void send_text(struct http_request *request, int status, struct str type, struct str body)
{
    http_reply_send(request,
                    &(struct http_reply){
                        .status = status, .type = type, .body = body, .fields = STR("Cache-Control: no-store\r\n") });
}

static void answer_healthz(struct serve_admin *admin, struct http_request *request)
{
    (void)admin;
    send_text(request, 200, STR("application/json"), STR("{\"status\":\"ok\",\"version\":\"" WICK_VERSION "\"}"));
}

static void answer_readyz(struct serve_admin *admin, struct http_request *request)
{
    struct buf body;
    bool is_ready = !admin->is_draining, is_first = true;
    buf_init(&body, MEM_SERVE, 0);
    buf_add_str(&body, STR("{\"checks\":{"));
    LIST_EACH(&admin->checks, node)
    {
        struct serve_check *check = LIST_ENTRY(node, struct serve_check, node);
        char why[256] = "";
        bool ok = check->is_ready(check->arg, why, sizeof why);
        if (!ok && check->is_required)
            is_ready = false;
        if (!is_first)
            buf_add_char(&body, ',');
        is_first = false;
        json_add_string(&body, str_of(check->name));
        buf_add_char(&body, ':');
        json_add_string(&body, ok ? STR("ok") : str_of(why));
    }
    buf_add_str(&body, STR("},\"status\":"));
    buf_add_str(&body, is_ready             ? STR("\"ready\"}")
                       : admin->is_draining ? STR("\"draining\"}")
                                            : STR("\"not ready\"}"));
    if (buf_ok(&body))
        send_text(request, is_ready ? 200 : 503, STR("application/json"), str_make(body.data, body.len));
    else
        http_problem_send(request, &(struct http_problem){ .status = 500 });
    buf_clear(&body);
}

static void answer_metrics(struct serve_admin *admin, struct http_request *request)
{
    buf_reset(&admin->metrics);
    metrics_write(&admin->metrics);
    if (buf_ok(&admin->metrics))
        send_text(request, 200, STR("text/plain; version=0.0.4; charset=utf-8"),
                  str_make(admin->metrics.data, admin->metrics.len));
    else
        http_problem_send(request,
                          &(struct http_problem){ .status = 500, .detail = STR("the metrics do not fit in 16 MiB") });
}

static void on_report(struct sql_report *report);
static void finish_close(struct serve_admin *admin);

static void answer_pool(struct serve_admin *admin, struct http_request *request)
{
    if (!admin->engine || admin->is_reporting) {
        http_problem_send(request, &(struct http_problem){ .status = 503,
                                                           .retry_after_s = 1,
                                                           .detail = STR("another look at the pool is under way") });
        return;
    }
    buf_reset(&admin->report.json);
    admin->is_reporting = true;
    admin->asker = request;
    admin->report.on_done = on_report;
    admin->report.arg = admin;
    admin->engine->ops->report(admin->engine, &admin->report);
}

/* The loops have all told. */
static void on_report(struct sql_report *report)
{
    struct serve_admin *admin = report->arg;
    struct http_request *request = admin->asker;
    admin->is_reporting = false;
    admin->asker = NULL;
    if (admin->is_shut) {
        finish_close(admin);
        return;
    }
    if (request && report->fail)
        http_problem_send(request, &(struct http_problem){ .status = 500, .detail = STR("no memory for the report") });
    else if (request)
        send_text(request, 200, STR("application/json"), str_make(report->json.data, report->json.len));
}

static void on_abort(void *arg, struct http_request *request)
{
    struct serve_admin *admin = arg;
    if (admin->asker == request)
        admin->asker = NULL;
}

static const struct admin_route routes[] = {
    { "/healthz", answer_healthz },
    { "/readyz", answer_readyz },
    { "/metrics", answer_metrics },
    { "/admin/pool", answer_pool },
};

static void on_request(void *arg, struct http_request *request)
{
    struct serve_admin *admin = arg;
    struct http_match_info info = { 0 };
    switch (http_router_match(admin->router, request, &info)) {
    case HTTP_MATCH_FOUND: ((const struct admin_route *)request->route)->answer(admin, request); return;
    case HTTP_MATCH_METHOD: http_problem_method(request, info.methods); return;
    case HTTP_MATCH_NONE:
    case HTTP_MATCH_PARAM:
        http_problem_send(
            request,
            &(struct http_problem){
                .status = 404, .detail = STR("the admin listener knows /healthz, /readyz, /metrics and /admin/pool") });
    }
}

static void free_admin(struct serve_admin *admin)
{
    http_router_close(admin->router);
    buf_clear(&admin->metrics);
    buf_clear(&admin->report.json);
    mem_free(admin);
}

enum fail serve_admin_open(struct loop *loop, const char *host, int port, struct serve_admin **out, char *why,
                           size_t why_bytes)
{
    struct serve_admin *admin = mem_zero(MEM_SERVE, sizeof *admin);
    if (!admin)
        return FAIL_NOMEM;
    list_init(&admin->checks);
    buf_init(&admin->metrics, MEM_SERVE, METRICS_BYTES_MAX);
    buf_init(&admin->report.json, MEM_SERVE, SQL_REPORT_BYTES_MAX);
    admin->report.loop = loop;
    admin->handler = (struct http_handler){ .arg = admin, .on_request = on_request, .on_abort = on_abort };
    enum fail fail = http_router_open(&admin->router);
    for (size_t i = 0; !fail && i < sizeof routes / sizeof *routes; i++)
        fail = http_router_add(admin->router, HTTP_GET, str_of(routes[i].path), &routes[i], why, why_bytes);
    if (fail)
        goto fail;
    struct http_settings settings;
    http_settings_default(&settings);
    settings.host = host;
    settings.port = port;
    fail = http_server_open(loop, &settings, &admin->handler, &admin->server, why, why_bytes);
    if (fail)
        goto fail;
    *out = admin;
    return FAIL_OK;
fail:
    free_admin(admin);
    return fail;
}

void serve_admin_check(struct serve_admin *admin, struct serve_check *check)
{
    list_push_back(&admin->checks, &check->node);
}

void serve_admin_engine(struct serve_admin *admin, struct sql_engine *engine) { admin->engine = engine; }

void serve_admin_draining(struct serve_admin *admin) { admin->is_draining = true; }

int serve_admin_port(const struct serve_admin *admin) { return http_server_port(admin->server); }

static void on_server_closed(void *arg);

void serve_admin_close(struct serve_admin *admin, void (*on_closed)(void *arg), void *arg)
{
    admin->on_closed = on_closed;
    admin->arg = arg;
    http_server_close(admin->server, CLOSE_MS, on_server_closed, admin);
}

/* The server is gone; so are its connections. */
static void on_server_closed(void *arg)
{
    struct serve_admin *admin = arg;
    admin->is_shut = true;
    if (!admin->is_reporting)
        finish_close(admin);
}

static void finish_close(struct serve_admin *admin)
{
    void (*on_closed)(void *arg) = admin->on_closed;
    void *closed_arg = admin->arg;
    free_admin(admin);
    if (on_closed)
        on_closed(closed_arg);
}
