/* app.c - the server as a whole: opens the parts in order, joins them, closes them in reverse.
 *
 * DESIGN  The main thread keeps: signals, the admin listener, readiness, and a VM of its own that makes the plugins' tables.
 *         Workers serve. Everything shared (engine, store, flights, metrics, work threads) is opened before the first
 *         worker and closed after the last.
 *
 *         OPENING -> PREPARING [app_serve]            tables are made; a database that is away is asked again every second
 *         PREPARING -> STARTING [on_prepared]         the plugins' start functions run, in every worker
 *         STARTING -> SERVING [on_started]            systemd is told READY; /readyz says 200
 *         PREPARING -> DRAINING [on_prepared]         the tables can never be made: exit 78
 *         any -> DRAINING [on_signal]                 /readyz says 503, workers finish what is under way
 *         DRAINING -> closed [on_worker_quiet]        then the engine while the loops still turn, then the threads
 * HOLDS   Listeners are open in PREPARING too: while tables are missing requests fail with what the database says (503, 500),
 *         never by a refused connection.
 * Path:   main > script/vm (wick serve) > [app] > worker
 */
#include "app.h"

#include "database.h"
#include "files.h"
#include "l1.h"
#include "listening.h"
#include "options.h"
#include "reload.h"

#include "base/log.h"
#include "loop/signal.h"
#include "loop/stream.h"
#include "loop/work.h"
#include "metrics/metrics.h"
#include "notify.h"
#include "serve/admin.h"
#include "serve/response.h"
#include "worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    WORK_THREADS = 4,
    WORK_QUEUE = 1024,
    SERIES_MAX = 10000,
    PREPARE_RETRY_MS = 1000,
    CLOSE_MS = 5000,
    HURRY_MS = 1000,
    CONFIG_EXIT = 78,
    WHY_BYTES = 2048
};

struct app {
    struct script_vm *vm; /* of the command: settings */
    struct loop *loop;
    struct sql_engine *sql;
    struct cache_store *store;
    struct cache_flights *flights;
    struct cache cache; /* of the keeper */
    struct script_vm *keeper;
    struct worker_settings worker_settings;
    struct redis_settings redis;
    char host[256];
    int port;
    struct worker *workers[WORKERS_MAX];
    unsigned worker_count, quiet_count, started_count;
    struct serve_admin *admin;
    struct serve_check check_database, check_tables, check_redis;
    struct signal_watch *signals[3];
    struct timer prepare_timer, watchdog_timer;
    bool is_prepared, is_draining, is_closing, is_done, is_complained;
    int64_t drain_ms;
    uint64_t drain_began_ms;
    int exit_code;
    const struct app_words *words;
    char why[WHY_BYTES];
};

/* --- settings --------------------------------------------------------------------------------------------------- */

static void setup_log(struct app *app)
{
    static const char *const levels[] = { "debug", "info", "warn", "error" };
    enum log_level level = LOG_INFO;
    struct str text = option_text(app->vm, "log.level");
    for (unsigned i = 0; i < sizeof levels / sizeof *levels; i++)
        if (str_is(text, str_of(levels[i])))
            level = (enum log_level)i;
    log_setup(level, str_is(option_text(app->vm, "log.format"), STR("json")) ? LOG_JSON : LOG_LOGFMT, 2);
}

/* --- the database ----------------------------------------------------------------------------------------------- */

static bool is_database_ready(void *arg, char *why, size_t why_bytes)
{
    struct app *app = arg;
    return app->sql->ops->is_ready(app->sql, why, why_bytes);
}

static bool are_tables_ready(void *arg, char *why, size_t why_bytes)
{
    struct app *app = arg;
    if (!app->is_prepared)
        snprintf(why, why_bytes, "the plugins' tables are not made, or a plugin has not started");
    return app->is_prepared;
}

static bool is_redis_ready(void *arg, char *why, size_t why_bytes)
{
    struct app *app = arg;
    return app->worker_count == 0 || worker_redis_ready(app->workers[0], why, why_bytes);
}

/* --- preparing -------------------------------------------------------------------------------------------------- */

static void on_prepared(void *arg, enum fail fail, const char *why);
static void drain(struct app *app);
static void start_plugins(void *arg);

static void prepare(void *arg)
{
    struct app *app = arg;
    script_vm_prepare(app->keeper, on_prepared, app);
}

/* The plugins' tables are there, or why they are not. */
static void on_prepared(void *arg, enum fail fail, const char *why)
{
    struct app *app = arg;
    if (app->is_draining)
        return;
    if (fail == FAIL_INVALID) { /* a mistake, and not the database's state: another try would be the same */
        log_line(LOG_ERROR, "cannot start", LOG_TEXT("why", why));
        app->exit_code = CONFIG_EXIT;
        drain(app);
        return;
    }
    if (fail) {
        if (!app->is_complained)
            log_line(LOG_WARN, "the plugins' tables cannot be made yet; trying again every second",
                     LOG_TEXT("why", why));
        app->is_complained = true;
        timer_start(app->loop, &app->prepare_timer, PREPARE_RETRY_MS, prepare, app);
        return;
    }
    if (app->is_complained)
        log_line(LOG_INFO, "the plugins' tables are made");
    app->is_complained = false;
    start_plugins(app);
}

static void on_started(void *arg);

/* Every worker has a VM of its own, so every worker starts the plugins. */
static void start_plugins(void *arg)
{
    struct app *app = arg;
    app->started_count = 0;
    for (unsigned i = 0; i < app->worker_count; i++)
        worker_start(app->workers[i], app->loop, on_started, app);
}

/* A worker's plugins have started, or one of them could not. */
static void on_started(void *arg)
{
    struct app *app = arg;
    if (++app->started_count < app->worker_count || app->is_draining)
        return;
    for (unsigned i = 0; i < app->worker_count; i++) {
        const char *why = worker_start_why(app->workers[i]);
        if (!why[0])
            continue;
        if (!app->is_complained)
            log_line(LOG_WARN, "a plugin cannot start yet; trying again every second", LOG_TEXT("why", why));
        app->is_complained = true;
        timer_start(app->loop, &app->prepare_timer, PREPARE_RETRY_MS, start_plugins, app);
        return;
    }
    app->is_prepared = true;
    notify_send("READY=1\nSTATUS=serving");
}

/* --- keeping ---------------------------------------------------------------------------------------------------- */

static void feed_watchdog(void *arg)
{
    struct app *app = arg;
    notify_send("WATCHDOG=1");
    timer_start(app->loop, &app->watchdog_timer, notify_watchdog_ms(), feed_watchdog, app);
}

/* --- ending ----------------------------------------------------------------------------------------------------- */

static const int signums[] = { SIGTERM, SIGINT, SIGHUP };

static void on_worker_quiet(void *arg);

static void drain(struct app *app)
{
    app->is_draining = true;
    app->drain_began_ms = loop_now_ms(app->loop);
    notify_send("STOPPING=1");
    timer_stop(&app->prepare_timer);
    if (app->admin)
        serve_admin_draining(app->admin);
    for (unsigned i = 0; i < app->worker_count; i++)
        worker_drain(app->workers[i], (unsigned)app->drain_ms, app->loop, on_worker_quiet, app);
}

/* A supervisor and a shell, or SIGINT and SIGTERM from one, may ask at the same time: only who asks again later is in a hurry. */
static void stop_again(struct app *app, int signum)
{
    if (loop_now_ms(app->loop) - app->drain_began_ms < HURRY_MS)
        return;
    log_line(LOG_WARN, "stopping now: asked twice", LOG_TEXT("signal", strsignal(signum)));
    _exit(1);
}

static void on_signal(void *arg, int signum)
{
    struct app *app = arg;
    if (signum == SIGHUP) {
        if (!app->is_draining && !app->is_closing)
            reload(app->words->argc, app->words->argv, app->sql);
        return;
    }
    if (app->is_closing && !app->is_draining)
        return; /* the start failed, and it ends by itself */
    if (app->is_draining) {
        stop_again(app, signum);
        return;
    }
    log_line(LOG_INFO, "stopping: requests under way are finished first", LOG_TEXT("signal", strsignal(signum)),
             LOG_INT("drain_ms", app->drain_ms));
    drain(app);
}

/* A worker has nothing under way any more. */
static void on_worker_quiet(void *arg)
{
    struct app *app = arg;
    if (++app->quiet_count == app->worker_count)
        loop_stop(app->loop);
}

static void on_closed(void *arg) { ((struct app *)arg)->is_done = true; }

/* Turns the main loop until a close that was just asked for is over. */
static bool wait_closed(struct app *app)
{
    loop_turn(app->loop, CLOSE_MS, &app->is_done);
    bool was_done = app->is_done;
    app->is_done = false;
    return was_done;
}

/* The start failed: some workers may listen already. */
static void give_up(struct app *app)
{
    if (app->worker_count == 0)
        return;
    app->drain_ms = 0;
    drain(app);
    loop_run(app->loop);
}

/* From here to the exit there is nothing to stop any more: a signal that comes now must not end the process with another code. */
static void close_signals(struct app *app)
{
    for (size_t i = 0; i < sizeof signums / sizeof *signums; i++) {
        signal_watch_close(app->signals[i]);
        signal(signums[i], SIG_IGN);
    }
}

static unsigned close_all(struct app *app)
{
    unsigned left = 0;
    timer_stop(&app->prepare_timer);
    timer_stop(&app->watchdog_timer);
    app->is_closing = true;
    if (app->admin) {
        serve_admin_close(app->admin, on_closed, app);
        left += !wait_closed(app);
    }
    script_vm_close(app->keeper);
    if (app->sql) {
        app->sql->ops->close(app->sql, app->loop, 1000, on_closed, app);
        left += !wait_closed(app);
    }
    for (unsigned i = 0; i < app->worker_count; i++)
        left += worker_close(app->workers[i]);
    work_close();
    if (app->flights)
        cache_flights_close(app->flights);
    l1_close();
    close_signals(app);
    if (app->loop)
        left += loop_close(app->loop, CLOSE_MS);
    metrics_close();
    return left;
}

/* --- opening ---------------------------------------------------------------------------------------------------- */

static void register_build(void)
{
    char labels[128];
    snprintf(labels, sizeof labels, "version=\"%s\",lua=\"5.4\"", WICK_VERSION);
    metric_set(metric_gauge("wick_build_info", "What this is; always 1.", labels), 1);
}

static enum fail open_shared(struct app *app)
{
    enum fail fail = metrics_open(SERIES_MAX);
    if (!fail)
        fail = work_open(WORK_THREADS, WORK_QUEUE);
    if (!fail)
        fail = loop_open("main", &app->loop);
    if (!fail)
        fail = l1_open((size_t)option_int(app->vm, "cache.memory", 64 << 20), &app->store);
    if (!fail)
        fail = cache_flights_open(option_unsigned(app->vm, "cache.waiting_max"), &app->flights);
    if (fail)
        return fail;
    serve_response_open();
    register_build();
    return FAIL_OK;
}

static enum fail open_keeper(struct app *app, struct str settings_json)
{
    app->cache = (struct cache){ .store = app->store, .flights = app->flights, .loop = app->loop };
    struct script_services services = { .loop = app->loop,
                                        .sql = app->sql,
                                        .cache = &app->cache,
                                        .memory_max = (size_t)option_int(app->vm, "lua.memory", 0) };
    enum fail fail = script_vm_open(&services, &app->keeper, app->why, sizeof app->why);
    return fail ? fail : script_vm_boot(app->keeper, settings_json, app->why, sizeof app->why);
}

static void on_probe_accept(void *arg, struct stream *stream)
{
    (void)arg;
    stream_close(stream, NULL, NULL);
}

/* Several workers share the port by SO_REUSEPORT, which would let a second wick share it unnoticed: so the port is first
 * opened alone, where a clear refusal tells. Also finds the port where any will do. */
static enum fail probe_port(struct app *app, int *port)
{
    struct stream_listener *listener;
    if (app->host[0] == '/')
        return FAIL_OK;
    enum fail fail = stream_listen(app->loop, app->host, *port, (struct stream_listen_options){ .backlog = 1 },
                                   on_probe_accept, NULL, &listener, app->why, sizeof app->why);
    if (fail)
        return fail;
    *port = stream_listener_port(listener);
    stream_listener_close(listener, on_closed, app);
    return wait_closed(app) ? FAIL_OK : FAIL_IO;
}

static enum fail open_workers(struct app *app, struct str settings_json)
{
    unsigned count = listening_workers(app->vm);
    listening_address(option_text(app->vm, "listen"), app->host, sizeof app->host, &app->port);
    if (app->host[0] == '/')
        count = 1; /* a unix socket has one owner */
    struct worker_settings *settings = &app->worker_settings;
    *settings = (struct worker_settings){ .store = app->store,
                                          .flights = app->flights,
                                          .http = listening_http(app->vm, app->host),
                                          .settings_json = settings_json,
                                          .lua_memory = (size_t)option_int(app->vm, "lua.memory", 0),
                                          .redis_prefix = option_text(app->vm, "cache.redis.prefix") };
    settings->http.reuse_port = count > 1;
    settings->http.conns_max = settings->http.conns_max / count + 1;
    struct str url = option_text(app->vm, "cache.redis.url");
    if (url.len > 0) {
        enum fail fail = redis_settings_read(url, &app->redis, app->why, sizeof app->why);
        if (fail)
            return fail;
        app->redis.connect_ms = option_unsigned(app->vm, "cache.redis.connect_timeout");
        app->redis.command_ms = option_unsigned(app->vm, "cache.redis.timeout");
        settings->redis = &app->redis;
    }
    enum fail fail = count > 1 ? probe_port(app, &app->port) : FAIL_OK;
    for (unsigned i = 0; !fail && i < count; i++) {
        fail = worker_open(settings, i, &app->workers[i], app->why, sizeof app->why);
        if (!fail)
            app->worker_count++;
    }
    return fail;
}

/* The workers have loops, the engine knows them: now the plugins, and then the listeners. */
static enum fail serve_workers(struct app *app)
{
    enum fail fail = FAIL_OK;
    for (unsigned i = 0; !fail && i < app->worker_count; i++)
        fail = worker_load(app->workers[i], app->sql, app->why, sizeof app->why);
    for (unsigned i = 0; !fail && i < app->worker_count; i++) {
        fail = worker_serve(app->workers[i], app->port, app->why, sizeof app->why);
        if (!fail)
            app->port = worker_port(app->workers[i]);
    }
    return fail;
}

static enum fail open_admin(struct app *app)
{
    struct str text = option_text(app->vm, "admin");
    if (text.len == 0)
        return FAIL_OK;
    char host[256];
    int port;
    listening_address(text, host, sizeof host, &port);
    enum fail fail = serve_admin_open(app->loop, host, port, &app->admin, app->why, sizeof app->why);
    if (fail)
        return fail;
    app->check_database = (struct serve_check){
        .name = "database", .is_required = true, .is_ready = is_database_ready, .arg = app
    };
    app->check_tables = (struct serve_check){
        .name = "tables", .is_required = true, .is_ready = are_tables_ready, .arg = app
    };
    app->check_redis = (struct serve_check){ .name = "redis", .is_ready = is_redis_ready, .arg = app };
    serve_admin_engine(app->admin, app->sql);
    serve_admin_check(app->admin, &app->check_database);
    serve_admin_check(app->admin, &app->check_tables);
    if (app->worker_settings.redis)
        serve_admin_check(app->admin, &app->check_redis);
    return FAIL_OK;
}

static enum fail open_signals(struct app *app)
{
    enum fail fail = FAIL_OK;
    for (size_t i = 0; !fail && i < sizeof signums / sizeof *signums; i++)
        fail = signal_watch_open(app->loop, signums[i], on_signal, app, &app->signals[i]);
    return fail;
}

static void say_listening(struct app *app)
{
    struct str admin = option_text(app->vm, "admin");
    log_line(LOG_INFO, "listening", LOG_TEXT("host", app->host), LOG_INT("port", app->port),
             LOG_INT("workers", app->worker_count), LOG_TEXT("database", app->sql->ops->dialect),
             LOG_TEXT("redis", app->worker_settings.redis ? app->redis.host : "none"),
             LOG_STR("admin", admin.len ? admin : STR("none")),
             LOG_INT("admin_port", app->admin ? serve_admin_port(app->admin) : 0));
}

int app_serve(void *arg, struct script_vm *vm, struct str settings_json)
{
    struct app *app = mem_zero(MEM_APP, sizeof *app);
    if (!app)
        return 1;
    app->words = arg;
    app->vm = vm;
    app->drain_ms = option_int(app->vm, "http.drain_timeout", 30000);
    setup_log(app);
    enum fail fail = open_shared(app);
    if (!fail)
        fail = open_workers(app, settings_json);
    if (!fail)
        fail = database_open(app->vm, app->loop, app->workers, app->worker_count, &app->sql, app->why, sizeof app->why);
    if (!fail)
        fail = open_keeper(app, settings_json);
    if (!fail)
        fail = open_signals(app);
    if (!fail)
        fail = serve_workers(app);
    if (!fail)
        fail = open_admin(app);
    if (fail) {
        files_log_failure("cannot start", app->why[0] ? app->why : fail_text(fail));
        app->exit_code = fail == FAIL_INVALID || fail == FAIL_MISSING ? CONFIG_EXIT : 1;
        give_up(app);
    } else {
        say_listening(app);
        prepare(app);
        l1_keep(app->loop);
        if (notify_watchdog_ms() > 0)
            feed_watchdog(app);
        loop_run(app->loop);
    }
    unsigned left = close_all(app);
    if (left > 0)
        log_line(LOG_ERROR, "handles were left open at the end", LOG_INT("handles", left));
    int exit_code = left > 0 && app->exit_code == 0 ? 1 : app->exit_code;
    if (!fail)
        log_line(LOG_INFO, "stopped");
    mem_free(app);
    return exit_code;
}
