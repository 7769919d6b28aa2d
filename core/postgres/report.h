/* report.h - what the pool is doing right now, for people: /admin/pool and `wick pool`. */
#ifndef POSTGRES_REPORT_H
#define POSTGRES_REPORT_H

#include "sql/engine.h"

struct postgres_pool;

/* What a connection is doing, as operators see it. */
enum postgres_state {
    POSTGRES_STATE_IDLE, POSTGRES_STATE_USED, POSTGRES_STATE_CONNECTING, POSTGRES_STATE_RESETTING, POSTGRES_STATE_CANCELLING,
    POSTGRES_STATE_PINGING, POSTGRES_STATE_MOVING, POSTGRES_STATES
};

/* As sql_engine_ops.report. */
void postgres_report_pool(struct postgres_pool *pool, struct sql_report *report);

#endif
