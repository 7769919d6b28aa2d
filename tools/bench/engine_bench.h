/* engine_bench.h - one loop and the PostgreSQL engine on it, opened and closed alike by each of the benches that need no HTTP. */
#ifndef BENCH_ENGINE_BENCH_H
#define BENCH_ENGINE_BENCH_H

#include "loop/work.h"
#include "metrics/metrics.h"
#include "postgres/engine.h"

#include <stdio.h>

/* False: it was told why on stderr. */
static inline bool engine_bench_open(const struct postgres_settings *settings, struct loop **loop, struct sql_engine **engine)
{
    char why[256] = "";
    if (metrics_open(1000) || work_open(2, 64) || loop_open("bench", loop) ||
        postgres_engine_open(settings, loop, 1, engine, why, sizeof why)) {
        fprintf(stderr, "cannot open: %s\n", why);
        return false;
    }
    return true;
}

static inline void engine_bench_on_closed(void *arg) { *(bool *)arg = true; }

/* Returns how many handles were left open on the loop. */
static inline unsigned engine_bench_close(struct loop *loop, struct sql_engine *engine)
{
    bool is_closed = false;
    engine->ops->close(engine, loop, 1000, engine_bench_on_closed, &is_closed);
    while (!is_closed)
        loop_turn(loop, 100, &is_closed);
    unsigned open = loop_close(loop, 1000);
    work_close();
    metrics_close();
    return open;
}

#endif
