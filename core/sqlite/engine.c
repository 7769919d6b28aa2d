/* engine.c - opens the file and its threads, says which queue a call goes to, and closes it all again.
 *
 * DESIGN  The first thread writes, the others read. Closing: nothing new is taken; what waits is still served; after
 *         drain_ms what waits is refused, what runs is stopped and open transactions are rolled back. Readers leave before
 *         the writer, for they may still hand a call over. The last reference (threads, calls, leases, sessions) posts
 *         the end to the loop that asked for it.
 * Path:   script > sql/engine.h > [sqlite/engine] > sqlite/lane, sqlite/reader, sqlite/writer, sqlite/session, sqlite/batch
 */
#include "sqlite/engine.h"

#include "base/mem.h"
#include "sqlite/inner.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>

#define WITH_TEXTS_MAX 4096
#define READERS_MAX 64

/* --- which queue --- */

/* Of a text that begins with WITH only SQLite knows; a reader finds out once. */
static enum sqlite_class class_of_with(struct sqlite_engine *engine, struct str text)
{
    pthread_mutex_lock(&engine->lock);
    enum sqlite_class class = map_get(&engine->with, text) ? CLASS_WRITE : CLASS_READ;
    pthread_mutex_unlock(&engine->lock);
    return class;
}

static enum sqlite_class class_of(struct sqlite_engine *engine, struct str text, enum sql_verb verb)
{
    switch (verb) {
    case SQL_VERB_PRAGMA:
    case SQL_VERB_VACUUM: return CLASS_ALONE;
    case SQL_VERB_INSERT:
    case SQL_VERB_UPDATE:
    case SQL_VERB_DELETE:
    case SQL_VERB_REPLACE:
    case SQL_VERB_CREATE:
    case SQL_VERB_ALTER:
    case SQL_VERB_DROP:
    case SQL_VERB_ANALYZE:
    case SQL_VERB_REINDEX: return CLASS_WRITE;
    case SQL_VERB_WITH: return class_of_with(engine, text);
    default: return CLASS_READ;
    }
}

void sqlite_engine_learn(struct sqlite_engine *engine, struct str text)
{
    if (engine->with.count >= WITH_TEXTS_MAX) {
        map_clear(&engine->with);
        if (map_init(&engine->with, MEM_SQLITE))
            return;
    }
    /* Not remembered for want of memory: the next one takes the way over a reader again. */
    enum fail fail = map_set(&engine->with, text, engine);
    (void)fail;
}

void sqlite_engine_note(struct sqlite_engine *engine, const struct sql_call *call)
{
    bool is_trouble = sql_error_is(&call->error, "58") || sql_error_is(&call->error, "XX001");
    if (is_trouble)
        snprintf(engine->trouble, sizeof engine->trouble, "%.127s", call->error.text);
    else if (!call->fail)
        engine->trouble[0] = '\0';
}

bool sqlite_engine_submit(struct sqlite_engine *engine, struct sql_call *call, struct sqlite_lane *lane,
                          enum sqlite_class class)
{
    pthread_mutex_lock(&engine->lock);
    bool is_closing = engine->is_closing;
    bool is_taken = !is_closing && lane->count < engine->settings.queue_max;
    if (is_taken) {
        sqlite_order_set(call->engine_data, engine->next_order++, class);
        sqlite_lane_push(lane, call);
        sqlite_lane_wake(lane);
    }
    pthread_mutex_unlock(&engine->lock);
    if (is_taken)
        sqlite_call_watch(call);
    else if (is_closing)
        sqlite_call_refuse(call, FAIL_CLOSED, "57P01", "the database is being closed");
    else
        sqlite_call_refuse(call, FAIL_FULL, "53300", "too many statements wait for the file already");
    return is_taken;
}

void sqlite_engine_run(struct sql_engine *base, struct sql_call *call)
{
    struct sqlite_engine *engine = (void *)base;
    sqlite_call_prepare(engine, call);
    enum sql_verb verb = sql_statement_verb(call->text, SQL_SQLITE);
    if (sql_verb_is_transaction(verb)) {
        sqlite_call_refuse(call, FAIL_SQL, "25001", "a transaction needs a session: this would hold one for all");
        return;
    }
    enum sqlite_class class = call->read_only ? CLASS_READ : class_of(engine, call->text, verb);
    sqlite_engine_submit(engine, call, class == CLASS_READ ? &engine->reads : &engine->writes, class);
}

/* Whether the path still leads to the file that was opened. */
static bool is_in_place(const struct sqlite_engine *engine)
{
    struct stat now;
    return stat(engine->path, &now) == 0 && now.st_dev == engine->device && now.st_ino == engine->inode;
}

static bool is_ready(struct sql_engine *base, char *why, size_t why_bytes)
{
    struct sqlite_engine *engine = (void *)base;
    if (!is_in_place(engine)) {
        snprintf(why, why_bytes, "the SQLite file %s was moved, removed or replaced: put it back, or restart wick",
                 engine->path);
        return false;
    }
    pthread_mutex_lock(&engine->lock);
    bool is_ready = !engine->is_closing && !engine->trouble[0];
    if (!is_ready)
        snprintf(why, why_bytes, "%s", engine->is_closing ? "the database is being closed" : engine->trouble);
    pthread_mutex_unlock(&engine->lock);
    return is_ready;
}

struct sqlite_stats sqlite_engine_stats(struct sql_engine *base)
{
    struct sqlite_engine *engine = (void *)base;
    pthread_mutex_lock(&engine->lock);
    struct sqlite_stats stats = engine->stats;
    pthread_mutex_unlock(&engine->lock);
    return stats;
}

/* --- the end --- */

static void engine_free(struct sqlite_engine *engine)
{
    assert(engine->workers || engine->worker_count == 0);
    for (unsigned i = 0; i < engine->worker_count; i++) {
        if (engine->workers[i].has_thread)
            pthread_join(engine->workers[i].thread, NULL);
        if (engine->workers[i].connection.db)
            sqlite_connection_close(&engine->workers[i].connection);
    }
    sqlite_lane_destroy(&engine->reads);
    sqlite_lane_destroy(&engine->writes);
    pthread_mutex_destroy(&engine->lock);
    map_clear(&engine->with);
    mem_free(engine->workers);
    mem_free(engine->path);
    mem_free(engine);
}

/* On the closing loop: nobody refers to the engine any more, its threads are leaving or have left. */
static void on_last_release(void *arg)
{
    struct sqlite_engine *engine = arg;
    void (*on_closed)(void *) = engine->on_closed;
    void *on_closed_arg = engine->on_closed_arg;
    timer_stop(&engine->close_timer);
    engine_free(engine);
    on_closed(on_closed_arg);
}

void sqlite_engine_hold(struct sqlite_engine *engine)
{
    atomic_fetch_add_explicit(&engine->refs, 1, memory_order_relaxed);
}

void sqlite_engine_release(struct sqlite_engine *engine)
{
    if (atomic_fetch_sub_explicit(&engine->refs, 1, memory_order_acq_rel) == 1)
        loop_post(engine->close_loop, &engine->close_task);
}

static void wake_everybody(struct sqlite_engine *engine)
{
    pthread_cond_broadcast(&engine->reads.cond);
    pthread_cond_broadcast(&engine->writes.cond);
    for (unsigned i = 0; i < engine->worker_count; i++)
        if (engine->workers[i].session)
            pthread_cond_broadcast(&engine->workers[i].session->lane.cond);
}

/* drain_ms are over. */
static void on_drained(void *arg)
{
    struct sqlite_engine *engine = arg;
    struct sql_error error = { 0 };
    struct list calls, leases;
    list_init(&calls);
    list_init(&leases);
    sqlite_stop_set(SQLITE_STOP_CLOSE, &error);
    pthread_mutex_lock(&engine->lock);
    engine->is_forced = true;
    sqlite_lane_drain(&engine->reads, &error, &calls, &leases);
    sqlite_lane_drain(&engine->writes, &error, &calls, &leases);
    for (unsigned i = 0; i < engine->worker_count; i++)
        sqlite_connection_stop(&engine->workers[i].connection, SQLITE_STOP_CLOSE);
    wake_everybody(engine);
    pthread_mutex_unlock(&engine->lock);
    sqlite_calls_post(&calls);
    for (struct list *node; (node = list_pop_front(&leases));) {
        struct sql_lease *lease = LIST_ENTRY(node, struct sql_lease, node);
        loop_post(lease->loop, &lease->task);
    }
}

static void engine_close(struct sql_engine *base, struct loop *loop, unsigned drain_ms, void (*on_closed)(void *arg),
                         void *arg)
{
    struct sqlite_engine *engine = (void *)base;
    engine->close_loop = loop;
    engine->close_task = (struct loop_task){ .run = on_last_release, .arg = engine };
    engine->on_closed = on_closed;
    engine->on_closed_arg = arg;
    timer_start(loop, &engine->close_timer, drain_ms, on_drained, engine);
    pthread_mutex_lock(&engine->lock);
    assert(!engine->is_closing);
    engine->is_closing = true;
    wake_everybody(engine);
    pthread_mutex_unlock(&engine->lock);
}

static void tell_report(void *arg)
{
    struct sql_report *report = arg;
    report->on_done(report);
}

static void report(struct sql_engine *base, struct sql_report *report)
{
    struct sqlite_stats stats = sqlite_engine_stats(base);
    struct sqlite_engine *engine = (void *)base;
    buf_addf(&report->json,
             "{\"engine\":\"sqlite\",\"threads\":%u,\"reads\":%llu,\"writes\":%llu,\"commits\":%llu,\"busy\":%llu}",
             engine->worker_count, (unsigned long long)stats.reads, (unsigned long long)stats.writes,
             (unsigned long long)stats.commits, (unsigned long long)stats.busy);
    report->fail = buf_ok(&report->json) ? FAIL_OK : FAIL_NOMEM;
    report->task = (struct loop_task){ .run = tell_report, .arg = report };
    loop_post(report->loop, &report->task);
}

static const struct sql_engine_ops ops = {
    .dialect = "sqlite",
    .run = sqlite_engine_run,
    .run_many = sqlite_batch_run,
    .cancel = sqlite_call_cancel,
    .begin = sqlite_lease_begin,
    .begin_cancel = sqlite_lease_cancel,
    .session_run = sqlite_session_run,
    .session_end = sqlite_session_end,
    .is_ready = is_ready,
    .report = report,
    .close = engine_close,
};

/* --- the beginning --- */

static void *thread_main(void *arg)
{
    struct sqlite_worker *worker = arg;
    struct sqlite_engine *engine = worker->engine;
    pthread_setname_np(pthread_self(), worker->is_writer ? "sqlite-write" : "sqlite-read");
    pthread_mutex_lock(&engine->lock);
    if (worker->is_writer)
        sqlite_writer_run(worker);
    else
        sqlite_reader_run(worker);
    if (!worker->is_writer && --engine->readers_alive == 0)
        pthread_cond_broadcast(&engine->writes.cond);
    bool is_last = --engine->alive == 0;
    pthread_mutex_unlock(&engine->lock);
    if (is_last)
        sqlite_engine_release(engine);
    return NULL;
}

static unsigned or_default(unsigned value, unsigned fallback) { return value ? value : fallback; }

static struct sqlite_settings completed(const struct sqlite_settings *settings, const char *path)
{
    struct sqlite_settings out = *settings;
    out.path = path;
    out.readers = or_default(out.readers, 2);
    out.queue_max = or_default(out.queue_max, 4096);
    out.busy_ms = or_default(out.busy_ms, 5000);
    out.timeout_ms = or_default(out.timeout_ms, 30000);
    out.idle_ms = or_default(out.idle_ms, 10000);
    out.statement_cache = or_default(out.statement_cache, 256);
    out.group_max = or_default(out.group_max, 256);
    return out;
}

static enum fail open_connections(struct sqlite_engine *engine, char *why, size_t why_bytes)
{
    for (unsigned i = 0; i < engine->worker_count; i++) {
        struct sqlite_worker *worker = &engine->workers[i];
        worker->engine = engine;
        worker->is_writer = i == 0;
        enum fail fail = sqlite_connection_open(&worker->connection, &engine->settings, !worker->is_writer, why,
                                                why_bytes);
        if (fail)
            return fail;
        engine->settings.create = false; /* the first one made it */
    }
    return FAIL_OK;
}

/* No signal shall be handled on these threads. False: not all could be started. */
static bool start_threads(struct sqlite_engine *engine)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&engine->lock);
    bool has_all = true;
    for (unsigned i = 0; i < engine->worker_count && has_all; i++) {
        struct sqlite_worker *worker = &engine->workers[i];
        has_all = worker->has_thread = pthread_create(&worker->thread, NULL, thread_main, worker) == 0;
        engine->alive += has_all;
        engine->readers_alive += has_all && !worker->is_writer;
    }
    if (!has_all) { /* those that run find nothing to do and leave; the reference of the threads is never used */
        engine->is_closing = true;
        atomic_fetch_add(&engine->refs, 1);
    }
    pthread_mutex_unlock(&engine->lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return has_all;
}

static enum fail engine_make(const struct sqlite_settings *settings, struct sqlite_engine **out)
{
    struct sqlite_engine *engine = mem_zero(MEM_SQLITE, sizeof *engine);
    if (!engine)
        return FAIL_NOMEM;
    engine->base.ops = &ops;
    pthread_mutex_init(&engine->lock, NULL);
    sqlite_lane_init(&engine->reads);
    sqlite_lane_init(&engine->writes);
    atomic_init(&engine->refs, 1);
    const char *path = settings->path ? settings->path : "";
    engine->path = mem_dup(MEM_SQLITE, path, strlen(path));
    engine->settings = completed(settings, engine->path);
    engine->workers = mem_zero(MEM_SQLITE, (engine->settings.readers + 1) * sizeof *engine->workers);
    enum fail fail = map_init(&engine->with, MEM_SQLITE);
    if (!fail && engine->path && engine->workers) {
        engine->worker_count = engine->settings.readers + 1;
        *out = engine;
        return FAIL_OK;
    }
    engine_free(engine);
    return FAIL_NOMEM;
}

enum fail sqlite_engine_open(const struct sqlite_settings *settings, struct sql_engine **out, char *why,
                             size_t why_bytes)
{
    *out = NULL;
    if (settings->readers > READERS_MAX) {
        snprintf(why, why_bytes, "%u readers are too many: at most %d, and more than cores are of no use",
                 settings->readers, READERS_MAX);
        return FAIL_INVALID;
    }
    struct sqlite_engine *engine;
    enum fail fail = engine_make(settings, &engine);
    if (fail) {
        snprintf(why, why_bytes, "out of memory");
        return fail;
    }
    fail = open_connections(engine, why, why_bytes);
    struct stat file;
    if (!fail && stat(engine->path, &file) == 0) {
        engine->device = file.st_dev;
        engine->inode = file.st_ino;
    }
    if (!fail && !start_threads(engine)) {
        snprintf(why, why_bytes, "the system gives no more threads: raise the limit of processes (ulimit -u)");
        fail = FAIL_NOMEM;
    }
    if (fail) {
        engine_free(engine);
        return fail;
    }
    *out = &engine->base;
    return FAIL_OK;
}
