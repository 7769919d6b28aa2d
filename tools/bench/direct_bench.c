/* direct_bench.c - the same statements as pool_bench, by libpq alone on the same loop: what a pool may cost is measured against it.
 *
 *   direct_bench URL [CONNECTIONS [SECONDS]]
 *
 * Each connection is in pipeline mode and has one prepared select in flight; the next leaves as soon as its answer is in. The table is
 * pool_bench's: run that one first.
 */
#include "base/clock.h"
#include "base/random.h"
#include "loop/watch.h"
#include "metrics/metrics.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { CONNECTIONS_MAX = 256, KEYS = 1000 };

struct direct {
    PGconn *pg;
    struct watch *watch;
    uint64_t sent_ns;
};

static struct {
    struct loop *loop;
    bool is_over;
    unsigned flying;
    uint64_t done;
    struct metric_histogram *latency;
    char keys[KEYS][37];
    struct direct connections[CONNECTIONS_MAX];
} bench;

static const char select_text[] =
    "select id, name, status, host, port, labels, created_at from pool_bench where id = $1";

static void die(PGconn *pg, const char *what)
{
    fprintf(stderr, "%s: %s\n", what, PQerrorMessage(pg));
    exit(1);
}

static void flush(struct direct *direct)
{
    watch_set(direct->watch, PQflush(direct->pg) == 1 ? WATCH_READ | WATCH_WRITE : WATCH_READ);
}

static void take_off(struct direct *direct)
{
    const char *value = bench.keys[random_u64() % KEYS];
    direct->sent_ns = clock_mono_ns();
    if (!PQsendQueryPrepared(direct->pg, "s", 1, &value, NULL, NULL, 0) || !PQpipelineSync(direct->pg))
        die(direct->pg, "cannot send");
    flush(direct);
}

/* Takes the rows as a caller would who looks at each cell once. */
static void look_at(const PGresult *result)
{
    static volatile int sum;
    for (int i = 0; i < PQntuples(result); i++)
        for (int j = 0; j < PQnfields(result); j++)
            sum += PQgetlength(result, i, j);
}

static void on_ready(void *arg, unsigned events, bool broken)
{
    struct direct *direct = arg;
    (void)events, (void)broken;
    if (!PQconsumeInput(direct->pg))
        die(direct->pg, "lost");
    flush(direct);
    while (!PQisBusy(direct->pg)) {
        PGresult *result = PQgetResult(direct->pg);
        if (!result)
            continue;
        ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_TUPLES_OK)
            look_at(result);
        PQclear(result);
        if (status != PGRES_PIPELINE_SYNC)
            continue;
        metric_observe(bench.latency, clock_mono_ns() - direct->sent_ns);
        bench.done++;
        if (bench.is_over)
            bench.flying--;
        else
            take_off(direct);
        return;
    }
}

static void open_one(struct direct *direct, const char *url)
{
    direct->pg = PQconnectdb(url);
    if (PQstatus(direct->pg) != CONNECTION_OK)
        die(direct->pg, "cannot connect");
    PQclear(PQprepare(direct->pg, "s", select_text, 0, NULL));
    if (PQsetnonblocking(direct->pg, 1) || !PQenterPipelineMode(direct->pg) ||
        watch_open(bench.loop, PQsocket(direct->pg), on_ready, direct, &direct->watch))
        die(direct->pg, "cannot begin");
    watch_set(direct->watch, WATCH_READ);
}

static void read_keys(const char *url)
{
    PGconn *pg = PQconnectdb(url);
    PGresult *result = PQexec(pg, "select id::text from pool_bench order by id limit 1000");
    if (PQntuples(result) != KEYS)
        die(pg, "pool_bench has not made its table");
    for (int i = 0; i < KEYS; i++)
        memcpy(bench.keys[i], PQgetvalue(result, i, 0), 37);
    PQclear(result);
    PQfinish(pg);
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void measure(unsigned connections, unsigned seconds)
{
    for (unsigned i = 0; i < connections; i++)
        take_off(&bench.connections[i]);
    loop_turn(bench.loop, 1000, NULL); /* warm */
    uint64_t before = bench.done, begin_ns = clock_mono_ns();
    double cpu_before = cpu_s();
    loop_turn(bench.loop, seconds * 1000, NULL);
    double s = (double)(clock_mono_ns() - begin_ns) / 1e9, cpu = cpu_s() - cpu_before;
    double done = (double)(bench.done - before);
    printf(
        "direct  in flight %4u  %8.0f statements/s  p50 %6.3f ms  p99 %6.3f ms  client CPU %5.2f us each  failed 0\n",
        connections, done / s, (double)metric_quantile(bench.latency, 0.5) / 1e6,
        (double)metric_quantile(bench.latency, 0.99) / 1e6, cpu / done * 1e6);
    bench.flying = connections;
    bench.is_over = true;
    while (bench.flying)
        loop_turn(bench.loop, 10, NULL);
}

int main(int argc, char **argv)
{
    unsigned connections = argc > 2 ? (unsigned)atoi(argv[2]) : 8, seconds = argc > 3 ? (unsigned)atoi(argv[3]) : 5;
    if (argc < 2 || connections == 0 || connections > CONNECTIONS_MAX) {
        fprintf(stderr, "usage: direct_bench URL [CONNECTIONS [SECONDS]]\n");
        return 2;
    }
    if (metrics_open(1000) || loop_open("bench", &bench.loop))
        return 1;
    bench.latency = metric_histogram("direct_bench_seconds", "latency", "", METRIC_SECONDS);
    read_keys(argv[1]);
    for (unsigned i = 0; i < connections; i++)
        open_one(&bench.connections[i], argv[1]);
    measure(connections, seconds);
    for (unsigned i = 0; i < connections; i++) {
        watch_close(bench.connections[i].watch);
        PQfinish(bench.connections[i].pg);
    }
    unsigned open = loop_close(bench.loop, 1000);
    metrics_close();
    return open != 0;
}
