/* pool_bench.c - statements per second of the PostgreSQL engine on one loop, without HTTP and Lua.
 *
 *   pool_bench URL [IN_FLIGHT [SECONDS [MODE [POOL]]]]     MODE: read (default), alone (reads without turn batching), insert,
 *                                                            group (inserts that share commits), acquire (no statement at all)
 *
 * acquire: IN_FLIGHT times a turn, a session is asked for, got from the idle connections and given back.
 * Reads select one of 100,000 rows of the table pool_bench by its uuid key, inserts add to pool_bench_log; both tables are made when
 * missing. Compare with `pgbench -n -M prepared -f tools/bench/pool_bench.sql`, which sends the same select.
 */
#include "base/clock.h"
#include "base/random.h"
#include "engine_bench.h"
#include "metrics/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { FLIGHT_MAX = 4096, KEYS = 1000 };

static struct {
    struct loop *loop;
    struct sql_engine *engine;
    bool is_read, shares_commit, is_over;
    unsigned flying;
    uint64_t done, failed;
    struct metric_histogram *latency;
    char keys[KEYS][37];
} bench;

struct flight {
    struct sql_call call;
    struct sql_value param;
};
static struct flight flights[FLIGHT_MAX];

static const char select_text[] =
    "select id, name, status, host, port, labels, created_at from pool_bench where id = $1";
static const char insert_text[] = "insert into pool_bench_log(name) values ($1) returning id, name, at";

static void take_off(struct flight *flight);

static void on_done(struct sql_call *call)
{
    struct flight *flight = call->arg;
    metric_observe(bench.latency, clock_mono_ns() - call->submitted_ns);
    bench.done++;
    if (call->fail && bench.failed++ == 0)
        fprintf(stderr, "%s: %s\n", call->error.sqlstate, call->error.text);
    sql_rows_free(call->rows);
    if (bench.is_over)
        bench.flying--;
    else
        take_off(flight);
}

static void take_off(struct flight *flight)
{
    flight->param = (struct sql_value){ .type = SQL_TEXT, .text = str_make(bench.keys[random_u64() % KEYS], 36) };
    flight->call = (struct sql_call){ .text = str_of(bench.is_read ? select_text : insert_text),
                                      .params = &flight->param,
                                      .param_count = 1,
                                      .read_only = bench.is_read,
                                      .shares_commit = bench.shares_commit,
                                      .on_done = on_done,
                                      .arg = flight };
    sql_run(bench.engine, &flight->call);
}

/* --- acquire and release --- */

static void on_lease(struct sql_lease *lease);

static void acquire(struct sql_lease *lease)
{
    *lease = (struct sql_lease){ .on_lease = on_lease };
    sql_begin(bench.engine, lease);
}

static void on_lease(struct sql_lease *lease)
{
    if (lease->fail) {
        fprintf(stderr, "%s: %s\n", lease->error.sqlstate, lease->error.text);
        exit(1);
    }
    sql_session_end(lease->session);
    bench.done++;
    if (bench.is_over)
        bench.flying--;
    else
        acquire(lease);
}

static void measure_acquire(unsigned at_once, unsigned seconds)
{
    static struct sql_lease leases[FLIGHT_MAX];
    for (unsigned i = 0; i < at_once; i++)
        acquire(&leases[i]);
    loop_turn(bench.loop, 1000, NULL); /* warm */
    uint64_t before = bench.done, begin_ns = clock_mono_ns();
    loop_turn(bench.loop, seconds * 1000, NULL);
    double ns = (double)(clock_mono_ns() - begin_ns);
    printf("acquire %4u at once  %.3f us for acquire and release\n", at_once, ns / 1e3 / (double)(bench.done - before));
    bench.flying = at_once;
    bench.is_over = true;
    while (bench.flying)
        loop_turn(bench.loop, 10, NULL);
}

/* --- the tables --- */

static void on_setup_done(struct sql_call *call)
{
    if (call->fail) {
        fprintf(stderr, "%s: %s\n", call->error.sqlstate, call->error.text);
        exit(1);
    }
    *(bool *)call->arg = true;
}

static struct sql_rows *run_one(const char *text)
{
    bool is_done = false;
    struct sql_call call = { .text = str_of(text), .on_done = on_setup_done, .arg = &is_done, .timeout_ms = 120000 };
    sql_run(bench.engine, &call);
    while (!is_done)
        loop_turn(bench.loop, 1000, &is_done);
    return call.rows;
}

static void set_up(void)
{
    sql_rows_free(run_one("create table if not exists pool_bench(id uuid primary key, name text not null, status text, "
                          "host text, port int, "
                          "labels jsonb, created_at timestamptz)"));
    sql_rows_free(run_one("create table if not exists pool_bench_log(id bigint generated always as identity primary "
                          "key, name text not null, "
                          "at timestamptz not null default now())"));
    sql_rows_free(run_one(
        "insert into pool_bench select md5('service-' || i)::uuid, 'service-' || i, 'healthy', '10.0.0.1', 8080, "
        "'{\"env\":\"prod\",\"team\":\"a\"}', now() from generate_series(1, 100000) i on conflict do nothing"));
    struct sql_rows *rows = run_one("select id::text from pool_bench order by id limit 1000");
    for (size_t i = 0; i < KEYS; i++)
        memcpy(bench.keys[i], sql_rows_cell(rows, i, 0).text.data, 37);
    sql_rows_free(rows);
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void measure(unsigned in_flight, unsigned seconds, const char *mode)
{
    for (unsigned i = 0; i < in_flight; i++)
        take_off(&flights[i]);
    loop_turn(bench.loop, 1000, NULL); /* warm */
    uint64_t before = bench.done, begin_ns = clock_mono_ns();
    double cpu_before = cpu_s();
    loop_turn(bench.loop, seconds * 1000, NULL);
    double s = (double)(clock_mono_ns() - begin_ns) / 1e9, cpu = cpu_s() - cpu_before;
    double done = (double)(bench.done - before);
    printf(
        "%-7s in flight %4u  %8.0f statements/s  p50 %6.3f ms  p99 %6.3f ms  client CPU %5.2f us each  failed %llu\n",
        mode, in_flight, done / s, (double)metric_quantile(bench.latency, 0.5) / 1e6,
        (double)metric_quantile(bench.latency, 0.99) / 1e6, cpu / done * 1e6, (unsigned long long)bench.failed);
    bench.flying = in_flight;
    bench.is_over = true;
    while (bench.flying)
        loop_turn(bench.loop, 10, NULL);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: pool_bench URL [IN_FLIGHT [SECONDS [read|alone|insert|group|acquire [POOL]]]]\n");
        return 2;
    }
    unsigned in_flight = argc > 2 ? (unsigned)atoi(argv[2]) : 64, seconds = argc > 3 ? (unsigned)atoi(argv[3]) : 5;
    const char *mode = argc > 4 ? argv[4] : "read";
    if (in_flight == 0 || in_flight > FLIGHT_MAX)
        return 2;
    struct postgres_settings settings = postgres_settings_default();
    settings.conninfo = argv[1];
    settings.batches = strcmp(mode, "alone") != 0;
    settings.max_size = argc > 5 ? (unsigned)atoi(argv[5]) : 20;
    settings.min_size = settings.max_size < 5 ? settings.max_size : 5;
    bench.shares_commit = strcmp(mode, "group") == 0;
    bench.is_read = strcmp(mode, "insert") != 0 && !bench.shares_commit;
    if (!engine_bench_open(&settings, &bench.loop, &bench.engine))
        return 1;
    bench.latency = metric_histogram("pool_bench_seconds", "latency", "", METRIC_SECONDS);
    set_up();
    if (strcmp(mode, "acquire") == 0)
        measure_acquire(in_flight, seconds);
    else
        measure(in_flight, seconds, mode);
    return engine_bench_close(bench.loop, bench.engine) != 0;
}
