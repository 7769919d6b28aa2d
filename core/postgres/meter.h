/* meter.h - what the pool and its statements tell the metrics. */
#ifndef POSTGRES_METER_H
#define POSTGRES_METER_H

#include "base/breaker.h"
#include "metrics/metrics.h"
#include "postgres/autosize.h"
#include "postgres/cancel.h"
#include "sql/engine.h"

struct postgres_pool;

/* Why a connection ends. PING: it did not answer one; to upkeep, that it is due for one. SETTINGS: it was opened with others than
 * those in force. */
enum postgres_end_reason {
    POSTGRES_END_NONE, POSTGRES_END_AGE, POSTGRES_END_IDLE, POSTGRES_END_USES, POSTGRES_END_RESIZE, POSTGRES_END_ADDRESS,
    POSTGRES_END_SETTINGS, POSTGRES_END_CLOSING, POSTGRES_END_LOST, POSTGRES_END_PING, POSTGRES_END_RESET, POSTGRES_ENDS
};

/* What statements share: a Sync, and writes a commit with it. */
enum postgres_unit_kind { POSTGRES_UNIT_READS, POSTGRES_UNIT_WRITES, POSTGRES_UNIT_KINDS };

struct postgres_counts {
    unsigned total, waiting;
    unsigned idle, used, opening, resetting, cancelling;   /* which make up the total */
    uint64_t oldest_wait_ms;
    enum breaker_state breaker;          /* of connecting */
    uint64_t retry_ms;                   /* until it is tried again; 0: at any time */
    struct sql_error error;              /* of the last attempt to connect, where it failed */
};

struct postgres_meter {
    struct postgres_pool *pool;
    struct list node;                    /* of all meters */
    struct metric_gauge *idle, *used, *opening, *resetting, *cancelling, *size, *size_min, *limit, *waiters, *breaker;
    struct metric_histogram *acquire, *use, *create, *query;
    struct metric_counter *timeouts, *refused, *failed_to_open, *rows;
    struct metric_counter *units[POSTGRES_UNIT_KINDS], *unit_calls[POSTGRES_UNIT_KINDS], *stuck;
    struct metric_counter *sizings[POSTGRES_SIZE_REASONS];
    struct metric_counter *closed[POSTGRES_ENDS];
    struct metric_counter *cancels[POSTGRES_CANCEL_CAUSES][POSTGRES_CANCEL_OUTCOMES];
    struct metric_counter *errors[8];
    struct metric_gauge *channels, *subscribers;   /* of LISTEN */
    struct metric_counter *notifications, *gaps;
};

void postgres_meter_open(struct postgres_meter *meter, struct postgres_pool *pool, const char *name);
void postgres_meter_close(struct postgres_meter *meter);
/* A connection is closed; true: for an orderly reason. */
bool postgres_meter_closed(struct postgres_meter *meter, enum postgres_end_reason reason);
const char *postgres_meter_reason(enum postgres_end_reason reason);   /* its word, in the log and the metric */
/* Something was run again because of a SQLSTATE, and that ended well or not; or it was not, for want of budget. */
void postgres_meter_retry(struct postgres_meter *meter, const char *sqlstate, const char *outcome);
/* A transaction was held too long, or left behind. */
void postgres_meter_leak(struct postgres_meter *meter, const char *reason);
/* So many statements went out together. */
void postgres_meter_unit(struct postgres_meter *meter, enum postgres_unit_kind kind, unsigned calls);
/* A statement is over. */
void postgres_meter_call(struct postgres_meter *meter, const struct sql_call *call, uint64_t now_ns);

#endif
