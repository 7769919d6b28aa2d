/* report.h - what the pool is doing right now, for people: /admin/pool and `wick pool`. */
#ifndef POSTGRES_REPORT_H
#define POSTGRES_REPORT_H

#include "sql/engine.h"

struct postgres_pool;

/* As sql_engine_ops.report. */
void postgres_report_pool(struct postgres_pool *pool, struct sql_report *report);

#endif
