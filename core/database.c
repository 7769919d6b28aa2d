/* database.c - the engine the settings name, opened, and SQLite's work as metrics.
 *
 * HOLDS   At most one engine for the process, so what is counted of it stands here once. It is counted until metrics_close;
 *         whoever closes the engine serves no metrics any more.
 * Path:   app > [database] > sqlite/engine, postgres/engine
 */
#include "database.h"

#include "base/log.h"
#include "metrics/metrics.h"
#include "options.h"
#include "postgres/engine.h"
#include "sqlite/engine.h"

#include <limits.h>
#include <stdio.h>

static struct {
    struct sql_engine *engine;
    struct metric_counter *reads, *writes, *commits, *busy;
    struct sqlite_stats before;
} sqlite;

static void collect_sqlite(void *arg)
{
    (void)arg;
    struct sqlite_stats now = sqlite_engine_stats(sqlite.engine);
    metric_add(sqlite.reads, now.reads - sqlite.before.reads);
    metric_add(sqlite.writes, now.writes - sqlite.before.writes);
    metric_add(sqlite.commits, now.commits - sqlite.before.commits);
    metric_add(sqlite.busy, now.busy - sqlite.before.busy);
    sqlite.before = now;
}

static void register_sqlite(struct sql_engine *engine)
{
    sqlite.engine = engine;
    sqlite.before = (struct sqlite_stats){ 0 };
    sqlite.reads = metric_counter("wick_sqlite_reads_total", "Statements that read the SQLite file.", "");
    sqlite.writes = metric_counter("wick_sqlite_writes_total", "Statements that wrote to the SQLite file.", "");
    sqlite.commits = metric_counter("wick_sqlite_commits_total", "Commits; fewer than writes where writes shared one.",
                                    "");
    sqlite.busy = metric_counter("wick_sqlite_busy_total", "Waits for a lock that another program held.", "");
    metrics_on_collect(collect_sqlite, NULL);
}

static enum fail open_sqlite(struct script_vm *vm, struct sql_engine **out, char *why, size_t why_bytes)
{
    char path[PATH_MAX];
    struct str file = option_text(vm, "database.sqlite.path"), folder = option_text(vm, "config_folder");
    bool is_absolute = file.len && file.data[0] == '/';
    if (folder.len + file.len >= sizeof path) {
        snprintf(why, why_bytes, "database.sqlite.path: longer than a path may be");
        return FAIL_INVALID;
    }
    snprintf(path, sizeof path, "%.*s%.*s", is_absolute ? 0 : (int)folder.len, folder.data ? folder.data : "",
             (int)file.len, file.data);
    struct sqlite_settings settings = { .path = path,
                                        .readers = option_unsigned(vm, "database.sqlite.readers"),
                                        .queue_max = option_unsigned(vm, "database.sqlite.queue_max"),
                                        .busy_ms = option_unsigned(vm, "database.sqlite.busy_timeout"),
                                        .create = script_setting_bool(vm, "database.sqlite.create") };
    return sqlite_engine_open(&settings, out, why, why_bytes);
}

/* The text of the URL is borrowed from the VM. */
static struct postgres_settings postgres_settings_of(struct script_vm *vm)
{
    struct postgres_settings settings = postgres_settings_default();
    struct str url = option_text(vm, "database.postgres.primary");
    settings.conninfo = url.len ? url.data : ""; /* a Lua string: a zero ends it */
    settings.min_size = option_unsigned(vm, "database.postgres.pool.min_size");
    settings.max_size = option_unsigned(vm, "database.postgres.pool.max_size");
    settings.autosize = script_setting_bool(vm, "database.postgres.pool.autosize");
    settings.share_percent = option_unsigned(vm, "database.postgres.pool.share");
    settings.connecting_limit = option_unsigned(vm, "database.postgres.pool.connecting_limit");
    settings.max_uses = option_unsigned(vm, "database.postgres.pool.max_uses");
    settings.max_waiting = option_unsigned(vm, "database.postgres.pool.max_waiting");
    settings.idle_timeout_ms = option_unsigned(vm, "database.postgres.pool.idle_timeout");
    settings.max_lifetime_ms = option_unsigned(vm, "database.postgres.pool.max_lifetime");
    settings.keepalive_ms = option_unsigned(vm, "database.postgres.pool.keepalive");
    settings.ping_timeout_ms = option_unsigned(vm, "database.postgres.pool.ping_timeout");
    settings.acquire_timeout_ms = option_unsigned(vm, "database.postgres.pool.acquire_timeout");
    settings.connect_timeout_ms = option_unsigned(vm, "database.postgres.pool.connect_timeout");
    settings.statement_timeout_ms = option_unsigned(vm, "database.postgres.pool.statement_timeout");
    settings.idle_in_transaction_ms = option_unsigned(vm, "database.postgres.pool.idle_in_transaction");
    settings.front = str_is(option_text(vm, "database.postgres.behind"), STR("pgbouncer")) ? POSTGRES_FRONT_PGBOUNCER
                                                                                           : POSTGRES_FRONT_AUTO;
    settings.dns_ttl_ms = option_unsigned(vm, "database.postgres.dns_ttl");
    settings.statements_max = option_unsigned(vm, "database.postgres.pool.statement_cache");
    settings.batches = script_setting_bool(vm, "database.postgres.pool.batch");
    return settings;
}

static enum fail open_postgres(struct script_vm *vm, struct loop *main_loop, struct worker *const *workers,
                               unsigned worker_count, struct sql_engine **out, char *why, size_t why_bytes)
{
    struct postgres_settings settings = postgres_settings_of(vm);
    struct loop *loops[WORKERS_MAX + 1] = { main_loop };
    for (unsigned i = 0; i < worker_count; i++)
        loops[1 + i] = worker_loop(workers[i]);
    return postgres_engine_open(&settings, loops, 1 + worker_count, out, why, why_bytes);
}

enum fail database_open(struct script_vm *vm, struct loop *main_loop, struct worker *const *workers,
                        unsigned worker_count, struct sql_engine **out, char *why, size_t why_bytes)
{
    if (option_text(vm, "database.sqlite.path").len == 0)
        return open_postgres(vm, main_loop, workers, worker_count, out, why, why_bytes);
    enum fail fail = open_sqlite(vm, out, why, why_bytes);
    if (!fail)
        register_sqlite(*out);
    if (!fail && option_text(vm, "database.postgres.primary").len)
        log_line(
            LOG_WARN,
            "database has both sqlite and postgres: all is served from the SQLite file, nothing goes to PostgreSQL; "
            "set sqlite = false to serve from it");
    return fail;
}

enum fail database_apply(struct script_vm *vm, struct sql_engine *engine, char *why, size_t why_bytes)
{
    if (strcmp(engine->ops->dialect, "postgres") != 0)
        return FAIL_OK;
    if (option_text(vm, "database.sqlite.path").len || !option_text(vm, "database.postgres.primary").len) {
        snprintf(why, why_bytes, "another database cannot be taken while serving: restart");
        return FAIL_INVALID;
    }
    struct postgres_settings settings = postgres_settings_of(vm);
    return postgres_engine_apply(engine, &settings, why, why_bytes);
}
