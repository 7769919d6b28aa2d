/* size_bench.c - what a pool of a given size, or one that finds its size, gets done under one kind of load.
 *
 *   size_bench URL LOAD SIZE [WARM_S [SECONDS]]     LOAD: steady, spike, slow     SIZE: a number, or auto (2 to 64)
 *
 * DESIGN  A closed loop: as many statements are in flight as the load says, and each that ends is followed by the next, so statements per
 *         second tell how well the size fits. No turn batching, which hides the size from the load. The tables are those of seed.sql.
 *           steady   64 point selects by key
 *           spike    4 of them, and 64 in every other two seconds
 *           slow     64, of which each tenth sleeps 20 ms on its connection, as one that waits for a disk or a lock does
 * Path:   tools/bench/autosize > [size_bench] > postgres/engine
 */
#include "base/clock.h"
#include "base/random.h"
#include "engine_bench.h"
#include "metrics/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLIGHT_MAX = 64, CALM = 4, WAVE_S = 2, SLOW_EACH = 10, SERVICES = 50000, AUTO_MIN = 2, AUTO_MAX = 64 };

struct flight {
    struct sql_call call;
    struct sql_value param;
    bool is_flying;
};

static struct {
    struct loop *loop;
    struct sql_engine *engine;
    struct flight flights[FLIGHT_MAX];
    bool is_slow, is_spike, is_measuring, is_over;
    unsigned flying;
    uint64_t began_ns, done, failed;
    struct metric_histogram *latency; /* of the quick ones */
} bench;

static const char quick_text[] = "select id, name, status, host, port, labels, created_at from services "
                                 "where id = md5('service-' || $1)::uuid";
static const char slow_text[] = "select pg_sleep(0.02), $1::text";

/* --- the load ----------------------------------------------------------------------------------------------------- */

static unsigned wanted_now(void)
{
    if (!bench.is_spike)
        return FLIGHT_MAX;
    uint64_t s = (clock_mono_ns() - bench.began_ns) / UINT64_C(1000000000);
    return s / WAVE_S % 2 ? FLIGHT_MAX : CALM;
}

static void on_done(struct sql_call *call);

static void take_off(struct flight *flight)
{
    static char names[FLIGHT_MAX][8];
    size_t index = (size_t)(flight - bench.flights);
    int len = snprintf(names[index], sizeof names[index], "%u", (unsigned)(random_u64() % SERVICES) + 1);
    bool is_slow = bench.is_slow && random_u64() % SLOW_EACH == 0;
    flight->param = (struct sql_value){ .type = SQL_TEXT, .text = str_make(names[index], (size_t)len) };
    flight->call = (struct sql_call){ .text = str_of(is_slow ? slow_text : quick_text),
                                      .params = &flight->param,
                                      .param_count = 1,
                                      .read_only = true,
                                      .on_done = on_done,
                                      .arg = is_slow ? NULL : flight };
    flight->is_flying = true;
    bench.flying++;
    sql_run(bench.engine, &flight->call);
}

static void fill(void)
{
    unsigned wanted = wanted_now();
    for (unsigned i = 0; i < FLIGHT_MAX && bench.flying < wanted && !bench.is_over; i++)
        if (!bench.flights[i].is_flying)
            take_off(&bench.flights[i]);
}

static void on_done(struct sql_call *call)
{
    struct flight *flight = (struct flight *)call; /* its first member */
    if (bench.is_measuring && call->arg)
        metric_observe(bench.latency, clock_mono_ns() - call->submitted_ns);
    if (call->fail && bench.failed++ == 0)
        fprintf(stderr, "%s: %s\n", call->error.sqlstate, call->error.text);
    bench.done++;
    sql_rows_free(call->rows);
    flight->is_flying = false;
    bench.flying--;
    if (!bench.is_over && bench.flying < wanted_now())
        take_off(flight);
}

/* --- the measurement ---------------------------------------------------------------------------------------------- */

/* "wick_pg_pool_limit{..} 8" of the exposition. */
static double limit_now(void)
{
    struct buf out = { 0 };
    metrics_write(&out);
    buf_add_str(&out, str_make("", 1));
    const char *at = strstr(out.data, "\nwick_pg_pool_limit");
    at = at ? strchr(at + 1, ' ') : NULL;
    double limit = at ? strtod(at, NULL) : 0;
    buf_clear(&out);
    return limit;
}

static void run_for(unsigned seconds, double *least, double *most)
{
    uint64_t end_ns = clock_mono_ns() + seconds * UINT64_C(1000000000);
    *least = *most = limit_now();
    while (clock_mono_ns() < end_ns) {
        fill();
        loop_turn(bench.loop, 50, NULL);
        double limit = limit_now();
        *least = limit < *least ? limit : *least;
        *most = limit > *most ? limit : *most;
    }
}

static void measure(unsigned warm_s, unsigned seconds)
{
    double least = 0, most = 0;
    bench.began_ns = clock_mono_ns();
    run_for(warm_s, &least, &most);
    uint64_t before = bench.done, begin_ns = clock_mono_ns();
    bench.is_measuring = true;
    run_for(seconds, &least, &most);
    double s = (double)(clock_mono_ns() - begin_ns) / 1e9;
    printf("rate %.0f p50 %.3f p99 %.3f size %.0f %.0f failed %llu\n", (double)(bench.done - before) / s,
           (double)metric_quantile(bench.latency, 0.5) / 1e6, (double)metric_quantile(bench.latency, 0.99) / 1e6, least,
           most, (unsigned long long)bench.failed);
    bench.is_over = true;
    while (bench.flying)
        loop_turn(bench.loop, 10, NULL);
}

static void size_of(struct postgres_settings *settings, const char *size)
{
    settings->batches = false;
    settings->autosize = strcmp(size, "auto") == 0;
    settings->share_percent = 100;
    settings->max_size = settings->autosize ? AUTO_MAX : (unsigned)atoi(size);
    settings->min_size = settings->autosize ? AUTO_MIN : settings->max_size;
}

int main(int argc, char **argv)
{
    if (argc < 4 || !strstr(" steady spike slow ", argv[2])) {
        fprintf(stderr, "usage: size_bench URL steady|spike|slow SIZE|auto [WARM_S [SECONDS]]\n");
        return 2;
    }
    unsigned warm_s = argc > 4 ? (unsigned)atoi(argv[4]) : 3, seconds = argc > 5 ? (unsigned)atoi(argv[5]) : 8;
    bench.is_spike = strcmp(argv[2], "spike") == 0;
    bench.is_slow = strcmp(argv[2], "slow") == 0;
    struct postgres_settings settings = postgres_settings_default();
    settings.conninfo = argv[1];
    size_of(&settings, argv[3]);
    if (!engine_bench_open(&settings, &bench.loop, &bench.engine))
        return 1;
    bench.latency = metric_histogram("size_bench_seconds", "latency", "", METRIC_SECONDS);
    measure(warm_s, seconds);
    return engine_bench_close(bench.loop, bench.engine) != 0 || bench.failed != 0;
}
