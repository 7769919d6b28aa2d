/* worker.c - one thread that serves: a loop, a Lua VM, an HTTP listener, and the caches' way to Redis.
 *
 * DESIGN  The thread opens everything that is its own, says whether that worked, and turns its loop. The main thread asks
 *         for changes by posting a task and waiting for its answer; only worker_drain answers later, by a post.
 *         The loop runs twice: until it is drained (then the VM and Redis are closed), and once more, idle, so that the
 *         database engines can close what lives on it.
 * HOLDS   server, vm, redis and layer are touched by the worker's own thread only, from worker_open on.
 * Path:   app > [worker] > http/server, script/vm
 */
#include "worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "metrics/metrics.h"
#include "script/vm.h"
#include "serve/layer.h"

#include <assert.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>

enum { CLOSE_MS = 3000, NAME_MAX_BYTES = 16, TICK_MS = 250 };

struct worker {
    const struct worker_settings *settings;
    unsigned index;
    char name[NAME_MAX_BYTES], why[2048];
    pthread_t thread;
    sem_t answered;
    enum fail fail;
    int port;

    struct loop *loop;
    struct sql_engine *sql;
    struct script_vm *vm;
    struct redis *redis;
    struct serve_layer *layer;
    struct cache cache;
    struct http_server *server;
    struct loop_task ask;
    atomic_bool redis_ready;
    struct timer ticker;
    struct metric_histogram *lag, *hold;
    struct metric_counter *busy, *starved;
    uint64_t starved_ns; /* as last seen */
    struct metric_gauge *lua_memory, *connections;

    unsigned drain_ms;
    bool is_closed; /* redis */
    unsigned handles_left;
    struct loop *start_loop;
    struct loop_task start, started;
    char start_why[1024];
    bool is_started; /* its plugins were asked to, so those that have are to be stopped */
    struct loop *quiet_loop;
    struct loop_task quiet;
};

static void answer(struct worker *worker, enum fail fail)
{
    worker->fail = fail;
    sem_post(&worker->answered);
}

/* --- opening ---------------------------------------------------------------------------------------------------- */

static uint64_t take_starved_ns(struct worker *worker)
{
    uint64_t before_ns = worker->starved_ns;
    worker->starved_ns = clock_thread_starved_ns();
    return worker->starved_ns - before_ns;
}

/* Four times a second: what other threads may want to know of this one, which they must not look at themselves. */
static void tick(void *arg)
{
    struct worker *worker = arg;
    struct loop_load load;
    loop_load_take(worker->loop, &load);
    uint64_t starved_ns = take_starved_ns(worker);
    metric_observe(worker->lag, load.longest_ns);
    metric_observe(worker->hold, load.longest_ns > starved_ns ? load.longest_ns - starved_ns : 0);
    metric_add(worker->busy, load.busy_ns);
    metric_add(worker->starved, starved_ns);
    if (worker->vm)
        metric_set(worker->lua_memory, (double)script_vm_memory(worker->vm));
    if (worker->server) {
        struct http_stats stats;
        http_server_stats(worker->server, &stats);
        metric_set(worker->connections, stats.open);
    }
    if (worker->redis)
        atomic_store(&worker->redis_ready, redis_is_ready(worker->redis));
    timer_start(worker->loop, &worker->ticker, TICK_MS, tick, worker);
}

static void register_metrics(struct worker *worker)
{
    char label[40];
    snprintf(label, sizeof label, "worker=\"%u\"", worker->index);
    worker->lag = metric_histogram(
        "wick_loop_lag_seconds",
        "The longest a loop was busy without a look at its sockets, in each quarter of a second.", label,
        METRIC_SECONDS);
    worker->hold = metric_histogram(
        "wick_loop_hold_seconds",
        "The same without the time for which the loop had no CPU in that quarter of a second: what it did itself.",
        label, METRIC_SECONDS);
    worker->starved = metric_counter_seconds("wick_loop_starved_seconds_total",
                                             "Time a loop was ready to run, but other programs had the CPU.", label);
    worker->busy = metric_counter_seconds("wick_loop_busy_seconds_total",
                                          "Time a loop spent working rather than waiting.", label);
    worker->lua_memory = metric_gauge("wick_lua_memory_bytes", "Memory of a worker's Lua.", label);
    worker->connections = metric_gauge("wick_http_connections", "Open connections of clients.", label);
}

static enum fail open_redis(struct worker *worker)
{
    const struct worker_settings *settings = worker->settings;
    if (!settings->redis)
        return FAIL_OK;
    enum fail fail = redis_open(worker->loop, settings->redis, &worker->redis);
    if (fail)
        return fail;
    fail = serve_layer_open(worker->redis, settings->redis_prefix, &worker->layer);
    if (fail)
        return fail;
    worker->cache.layer = serve_layer_of(worker->layer);
    return FAIL_OK;
}

static enum fail open_all(struct worker *worker)
{
    enum fail fail = loop_open(worker->name, &worker->loop);
    if (fail)
        return fail;
    worker->cache = (struct cache){ .store = worker->settings->store,
                                    .flights = worker->settings->flights,
                                    .loop = worker->loop };
    return open_redis(worker);
}

static void on_redis_closed(void *arg) { ((struct worker *)arg)->is_closed = true; }

static void close_all(struct worker *worker)
{
    script_vm_close(worker->vm);
    worker->vm = NULL;
    timer_stop(&worker->ticker);
    serve_layer_close(worker->layer);
    worker->layer = NULL;
    if (worker->redis) {
        redis_close(worker->redis, on_redis_closed, worker);
        loop_turn(worker->loop, CLOSE_MS, &worker->is_closed);
        worker->redis = NULL;
    }
}

static void *run(void *arg)
{
    struct worker *worker = arg;
    enum fail fail = open_all(worker);
    if (!fail) {
        register_metrics(worker);
        tick(worker);
        answer(worker, FAIL_OK);
        loop_run(worker->loop);
    }
    close_all(worker);
    if (worker->quiet_loop) {
        loop_post(worker->quiet_loop, &worker->quiet);
        loop_run(worker->loop);
    }
    if (worker->loop)
        worker->handles_left = loop_close(worker->loop, CLOSE_MS);
    if (fail)
        answer(worker, fail);
    return NULL;
}

enum fail worker_open(const struct worker_settings *settings, unsigned index, struct worker **out, char *why,
                      size_t why_bytes)
{
    struct worker *worker = mem_zero(MEM_APP, sizeof *worker);
    if (!worker)
        return FAIL_NOMEM;
    worker->settings = settings;
    worker->index = index;
    snprintf(worker->name, sizeof worker->name, "worker%u", index);
    sem_init(&worker->answered, 0, 0);
    if (pthread_create(&worker->thread, NULL, run, worker) != 0) {
        sem_destroy(&worker->answered);
        mem_free(worker);
        return FAIL_NOMEM;
    }
    pthread_setname_np(worker->thread, worker->name);
    while (sem_wait(&worker->answered) != 0) {
    }
    if (worker->fail) {
        enum fail fail = worker->fail;
        snprintf(why, why_bytes, "%s", worker->why[0] ? worker->why : fail_text(fail));
        pthread_join(worker->thread, NULL);
        sem_destroy(&worker->answered);
        mem_free(worker);
        return fail;
    }
    *out = worker;
    return FAIL_OK;
}

/* --- serving ---------------------------------------------------------------------------------------------------- */

static void listen(void *arg)
{
    struct worker *worker = arg;
    struct http_settings settings = worker->settings->http;
    settings.port = worker->port;
    enum fail fail = http_server_open(worker->loop, &settings, script_vm_handler(worker->vm), &worker->server,
                                      worker->why, sizeof worker->why);
    if (!fail)
        worker->port = http_server_port(worker->server);
    answer(worker, fail);
}

static void ask(struct worker *worker, void (*run_there)(void *arg))
{
    worker->ask.run = run_there;
    worker->ask.arg = worker;
    loop_post(worker->loop, &worker->ask);
}

/* Asks and waits for the answer. */
static enum fail ask_and_wait(struct worker *worker, void (*run_there)(void *arg), char *why, size_t why_bytes)
{
    worker->why[0] = '\0';
    ask(worker, run_there);
    while (sem_wait(&worker->answered) != 0) {
    }
    if (worker->fail)
        snprintf(why, why_bytes, "%s", worker->why[0] ? worker->why : fail_text(worker->fail));
    return worker->fail;
}

static void load(void *arg)
{
    struct worker *worker = arg;
    struct script_services services = {
        .loop = worker->loop, .sql = worker->sql, .cache = &worker->cache, .memory_max = worker->settings->lua_memory
    };
    enum fail fail = script_vm_open(&services, &worker->vm, worker->why, sizeof worker->why);
    if (!fail)
        fail = script_vm_boot(worker->vm, worker->settings->settings_json, worker->why, sizeof worker->why);
    answer(worker, fail);
}

enum fail worker_load(struct worker *worker, struct sql_engine *sql, char *why, size_t why_bytes)
{
    worker->sql = sql;
    return ask_and_wait(worker, load, why, why_bytes);
}

enum fail worker_serve(struct worker *worker, int port, char *why, size_t why_bytes)
{
    worker->port = port;
    return ask_and_wait(worker, listen, why, why_bytes);
}

static void on_plugins_started(void *arg, enum fail fail, const char *why);

static void start_plugins(void *arg)
{
    struct worker *worker = arg;
    worker->is_started = true;
    script_vm_start_plugins(worker->vm, on_plugins_started, worker);
}

void worker_start(struct worker *worker, struct loop *loop, void (*on_started)(void *arg), void *arg)
{
    worker->start_loop = loop;
    worker->started.run = on_started;
    worker->started.arg = arg;
    worker->start.run = start_plugins;
    worker->start.arg = worker;
    loop_post(worker->loop, &worker->start);
}

/* The plugins' start functions are over, or one of them failed. */
static void on_plugins_started(void *arg, enum fail fail, const char *why)
{
    struct worker *worker = arg;
    snprintf(worker->start_why, sizeof worker->start_why, "%s", fail ? why : "");
    if (!fail && worker->index == 0) /* notifications are for the process, and the first worker is always there */
        script_vm_listen(worker->vm);
    loop_post(worker->start_loop, &worker->started);
}

const char *worker_start_why(const struct worker *worker) { return worker->start_why; }

int worker_port(const struct worker *worker) { return worker->port; }

/* --- draining --------------------------------------------------------------------------------------------------- */

static void on_server_closed(void *arg);
static void on_plugins_stopped(void *arg, enum fail fail, const char *why);

static void drain(void *arg)
{
    struct worker *worker = arg;
    if (worker->vm)
        script_vm_hurry(worker->vm, worker->drain_ms);
    if (!worker->server)
        on_server_closed(worker);
    else
        http_server_close(worker->server, worker->drain_ms, on_server_closed, worker);
}

/* No request is under way any more. */
static void on_server_closed(void *arg)
{
    struct worker *worker = arg;
    worker->server = NULL;
    if (worker->vm)
        script_vm_unlisten(worker->vm);
    if (worker->is_started)
        script_vm_stop_plugins(worker->vm, on_plugins_stopped, worker);
    else
        loop_stop(worker->loop);
}

/* The plugins have had their say; the VM is closed outside of any callback. */
static void on_plugins_stopped(void *arg, enum fail fail, const char *why)
{
    struct worker *worker = arg;
    if (fail)
        log_line(LOG_WARN, "a plugin's stop function failed", LOG_TEXT("worker", worker->name), LOG_TEXT("why", why));
    loop_stop(worker->loop);
}

void worker_drain(struct worker *worker, unsigned drain_ms, struct loop *loop, void (*on_quiet)(void *arg), void *arg)
{
    assert(!worker->quiet_loop);
    worker->drain_ms = drain_ms;
    worker->quiet_loop = loop;
    worker->quiet.run = on_quiet;
    worker->quiet.arg = arg;
    ask(worker, drain);
}

unsigned worker_close(struct worker *worker)
{
    if (!worker)
        return 0;
    loop_stop(worker->loop);
    pthread_join(worker->thread, NULL);
    unsigned left = worker->handles_left;
    sem_destroy(&worker->answered);
    mem_free(worker);
    return left;
}

struct loop *worker_loop(struct worker *worker) { return worker->loop; }

bool worker_redis_ready(struct worker *worker, char *why, size_t why_bytes)
{
    if (!worker->settings->redis || atomic_load(&worker->redis_ready))
        return true;
    snprintf(why, why_bytes, "Redis at %s does not answer; requests go on to the database",
             worker->settings->redis->host);
    return false;
}
