/* meter.c - the wick_pg_* metrics.
 *
 * DESIGN  Counters and histograms are fed as things happen. The gauges come from one snapshot of the pool at each exposition, so they
 *         always add up; the callback stays registered for good, hence the list of pools that are open.
 * Path:   postgres/pool, lane > [postgres/meter] > metrics
 */
#include "postgres/meter.h"

#include "postgres/pool.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct list meters = { &meters, &meters };

static const char *const classes[] = { "08", "22", "23", "25", "40", "42", "57", "other" };

/* Why connections end. */
static const struct {
    const char *word;
    bool is_orderly;
} reasons[POSTGRES_ENDS] = {
    [POSTGRES_END_AGE] = { "age", true },         [POSTGRES_END_IDLE] = { "idle", true },
    [POSTGRES_END_USES] = { "uses", true },       [POSTGRES_END_RESIZE] = { "resize", true },
    [POSTGRES_END_ADDRESS] = { "address", true }, [POSTGRES_END_SETTINGS] = { "settings", true },
    [POSTGRES_END_CLOSING] = { "closing", true }, [POSTGRES_END_LOST] = { "lost", false },
    [POSTGRES_END_PING] = { "ping", false },      [POSTGRES_END_RESET] = { "reset", false },
};

static const double breaker_values[] = { [BREAKER_CLOSED] = 0, [BREAKER_HALF] = 1, [BREAKER_OPEN] = 2 };

static void collect(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&mutex);
    LIST_EACH(&meters, node)
    {
        struct postgres_meter *meter = LIST_ENTRY(node, struct postgres_meter, node);
        struct postgres_counts counts;
        postgres_pool_count(meter->pool, &counts);
        metric_set(meter->idle, counts.idle);
        metric_set(meter->used, counts.used);
        metric_set(meter->opening, counts.opening);
        metric_set(meter->resetting, counts.resetting);
        metric_set(meter->cancelling, counts.cancelling);
        metric_set(meter->waiters, counts.waiting);
        metric_set(meter->breaker, breaker_values[counts.breaker]);
        metric_set(meter->size, meter->pool->settings->max_size);
        metric_set(meter->size_min, meter->pool->settings->min_size);
        metric_set(meter->limit, postgres_sizing_limit(&meter->pool->sizing));
    }
    pthread_mutex_unlock(&mutex);
}

struct labels {
    struct buf text;
};

/* Valid until the next one. */
static const char *label_all(struct labels *labels, const char *pool, const char *const (*pairs)[2], size_t pair_count)
{
    buf_reset(&labels->text);
    metrics_label(&labels->text, "pool", str_of(pool));
    for (size_t i = 0; i < pair_count; i++)
        metrics_label(&labels->text, pairs[i][0], str_of(pairs[i][1]));
    buf_add_char(&labels->text, '\0');
    return buf_ok(&labels->text) ? labels->text.data : "";
}

static const char *label(struct labels *labels, const char *pool, const char *name, const char *value)
{
    const char *const pair[1][2] = { { name, value } };
    return label_all(labels, pool, pair, name ? 1 : 0);
}

static void open_gauges(struct postgres_meter *meter, struct labels *labels, const char *pool)
{
    static const char name[] = "wick_pg_pool_connections",
                      help[] = "Connections of the pool by state (OpenTelemetry: db.client.connection.count).";
    meter->idle = metric_gauge(name, help, label(labels, pool, "state", "idle"));
    meter->used = metric_gauge(name, help, label(labels, pool, "state", "used"));
    meter->opening = metric_gauge(name, help, label(labels, pool, "state", "connecting"));
    meter->resetting = metric_gauge(name, help, label(labels, pool, "state", "resetting"));
    meter->cancelling = metric_gauge(name, help, label(labels, pool, "state", "cancelling"));
    meter->size = metric_gauge("wick_pg_pool_size",
                               "Connections the pool may have, all of them idle if need be (OpenTelemetry: "
                               "db.client.connection.max, db.client.connection.idle.max).",
                               label(labels, pool, NULL, NULL));
    meter->size_min = metric_gauge("wick_pg_pool_size_min",
                                   "Connections the pool keeps (OpenTelemetry: db.client.connection.idle.min).",
                                   label(labels, pool, NULL, NULL));
    meter->limit = metric_gauge("wick_pg_pool_limit",
                                "Connections the pool may have right now: what autosize has found, else the size.",
                                label(labels, pool, NULL, NULL));
    meter->waiters = metric_gauge("wick_pg_pool_waiters",
                                  "Calls that wait for a connection (OpenTelemetry: "
                                  "db.client.connection.pending_requests).",
                                  label(labels, pool, NULL, NULL));
    meter->breaker = metric_gauge("wick_pg_pool_breaker_state",
                                  "0: connections are opened as needed; 1: one attempt will show; 2: none is tried for "
                                  "now.",
                                  label(labels, pool, NULL, NULL));
}

static void open_cancels(struct postgres_meter *meter, struct labels *labels, const char *pool)
{
    static const char *const causes[POSTGRES_CANCEL_CAUSES] = {
        [POSTGRES_CANCEL_CLIENT] = "client",       [POSTGRES_CANCEL_DEADLINE] = "deadline",
        [POSTGRES_CANCEL_ABANDONED] = "abandoned", [POSTGRES_CANCEL_SIZE] = "size",
        [POSTGRES_CANCEL_CLOSING] = "closing",
    };
    static const char *const outcomes[] = { [POSTGRES_CANCEL_ENDED] = "ended", [POSTGRES_CANCEL_LOST] = "lost" };
    for (size_t i = 0; i < POSTGRES_CANCEL_CAUSES; i++)
        for (size_t j = 0; j < POSTGRES_CANCEL_OUTCOMES; j++) {
            const char *const pairs[2][2] = { { "cause", causes[i] }, { "outcome", outcomes[j] } };
            meter->cancels[i][j] = metric_counter(
                "wick_pg_cancels_total",
                "Statements that were cancelled on the server: ended, or lost with their connection.",
                label_all(labels, pool, pairs, 2));
        }
}

static void open_units(struct postgres_meter *meter, struct labels *labels, const char *pool)
{
    static const char *const kinds[] = { [POSTGRES_UNIT_READS] = "read", [POSTGRES_UNIT_WRITES] = "write" };
    for (size_t i = 0; i < POSTGRES_UNIT_KINDS; i++) {
        meter->units[i] = metric_counter("wick_pg_batch_units_total",
                                         "Round trips that statements of one moment may share.",
                                         label(labels, pool, "kind", kinds[i]));
        meter->unit_calls[i] = metric_counter("wick_pg_batch_statements_total", "Statements that went out in them.",
                                              label(labels, pool, "kind", kinds[i]));
    }
    meter->stuck = metric_counter("wick_pg_batch_stuck_total",
                                  "Shared connections that were left to a statement which used to be quick.",
                                  label(labels, pool, NULL, NULL));
}

static void open_plans(struct postgres_plans *plans, struct labels *labels, const char *pool)
{
    plans->hits = metric_counter("wick_pg_statement_cache_hits_total", "Statements that were prepared already.",
                                 label(labels, pool, NULL, NULL));
    plans->misses = metric_counter("wick_pg_statement_cache_misses_total", "Statements that were prepared first.",
                                   label(labels, pool, NULL, NULL));
    plans->evictions = metric_counter("wick_pg_statement_cache_evictions_total",
                                      "Prepared statements that made room for others.",
                                      label(labels, pool, NULL, NULL));
}

static void open_counters(struct postgres_meter *meter, struct labels *labels, const char *pool)
{
    static const char timeouts[] = "wick_pg_pool_timeouts_total",
                      timeouts_help[] = "Calls that got no connection (OpenTelemetry: "
                                        "db.client.connection.timeouts).";
    static const char reconnects[] = "wick_pg_pool_reconnects_total",
                      reconnects_help[] = "Connections that had to be replaced, or could not be opened.";
    static const char errors[] = "wick_pg_query_errors_total",
                      errors_help[] = "Statements that failed, by SQLSTATE class.";
    meter->timeouts = metric_counter(timeouts, timeouts_help, label(labels, pool, "reason", "timeout"));
    meter->refused = metric_counter(timeouts, timeouts_help, label(labels, pool, "reason", "refused"));
    meter->failed_to_open = metric_counter(reconnects, reconnects_help, label(labels, pool, "reason", "failed"));
    static const char *const known[] = { "held", "reclaimed", "request", "collected" };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        metric_counter("wick_pg_pool_leaks_total",
                       "Transactions that were held too long, or left open by their request.",
                       label(labels, pool, "reason", known[i]));
    meter->rows = metric_counter("wick_pg_query_rows_total", "Rows returned or changed.",
                                 label(labels, pool, NULL, NULL));
    for (int i = 0; i < POSTGRES_SIZE_REASONS; i++)
        meter->sizings[i] = metric_counter(
            "wick_pg_pool_autosize_total", "Steps of autosize by what they decided.",
            label(labels, pool, "reason", postgres_autosize_word((enum postgres_autosize_reason)i)));
    for (size_t i = POSTGRES_END_NONE + 1; i < POSTGRES_ENDS; i++)
        meter->closed[i] = metric_counter(reconnects, reconnects_help, label(labels, pool, "reason", reasons[i].word));
    open_plans(&meter->pool->plans, labels, pool);
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        meter->errors[i] = metric_counter(errors, errors_help, label(labels, pool, "sqlstate_class", classes[i]));
}

static void open_listen(struct postgres_meter *meter, struct labels *labels, const char *pool)
{
    meter->channels = metric_gauge("wick_pg_listen_channels", "Channels that are listened to.",
                                   label(labels, pool, NULL, NULL));
    meter->subscribers = metric_gauge("wick_pg_listen_subscribers", "Subscribers to all channels together.",
                                      label(labels, pool, NULL, NULL));
    meter->notifications = metric_counter("wick_pg_listen_notifications_total", "Notifications that came in.",
                                          label(labels, pool, NULL, NULL));
    meter->gaps = metric_counter("wick_pg_listen_gaps_total",
                                 "Times a subscriber was told that it may have missed notifications.",
                                 label(labels, pool, NULL, NULL));
}

static void register_collect(void) { metrics_on_collect(collect, NULL); }

void postgres_meter_open(struct postgres_meter *meter, struct postgres_pool *pool, const char *name)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct labels labels;
    buf_init(&labels.text, MEM_POSTGRES, 1024);
    meter->pool = pool;
    open_gauges(meter, &labels, name);
    open_counters(meter, &labels, name);
    open_units(meter, &labels, name);
    open_cancels(meter, &labels, name);
    open_listen(meter, &labels, name);
    meter->acquire = metric_histogram("wick_pg_pool_acquire_duration_seconds",
                                      "From asking for a connection to having it (OpenTelemetry: "
                                      "db.client.connection.wait_time).",
                                      label(&labels, name, NULL, NULL), METRIC_SECONDS);
    meter->use = metric_histogram("wick_pg_pool_use_duration_seconds",
                                  "From having a connection to giving it back (OpenTelemetry: "
                                  "db.client.connection.use_time).",
                                  label(&labels, name, NULL, NULL), METRIC_SECONDS);
    meter->create = metric_histogram("wick_pg_pool_create_duration_seconds",
                                     "From looking up the name of the server to being logged in (OpenTelemetry: "
                                     "db.client.connection.create_time).",
                                     label(&labels, name, NULL, NULL), METRIC_SECONDS);
    meter->query = metric_histogram("wick_pg_query_duration_seconds", "Statements, waiting for a connection included.",
                                    label(&labels, name, NULL, NULL), METRIC_SECONDS);
    buf_clear(&labels.text);
    pthread_mutex_lock(&mutex);
    list_push_back(&meters, &meter->node);
    pthread_mutex_unlock(&mutex);
    pthread_once(&once, register_collect);
}

void postgres_meter_close(struct postgres_meter *meter)
{
    pthread_mutex_lock(&mutex);
    list_remove(&meter->node);
    pthread_mutex_unlock(&mutex);
}

bool postgres_meter_closed(struct postgres_meter *meter, enum postgres_end_reason reason)
{
    assert(reason > POSTGRES_END_NONE && reason < POSTGRES_ENDS);
    metric_add(meter->closed[reason], 1);
    return reasons[reason].is_orderly;
}

const char *postgres_meter_reason(enum postgres_end_reason reason) { return reasons[reason].word; }

/* These come seldom, so their series are looked up when they do. */
static void count(struct postgres_meter *meter, const char *name, const char *help, const char *const (*pairs)[2],
                  size_t pair_count)
{
    struct labels labels;
    buf_init(&labels.text, MEM_POSTGRES, 1024);
    const char *text = label_all(&labels, meter->pool->settings->name, pairs, pair_count);
    if (buf_ok(&labels.text))
        metric_add(metric_counter(name, help, text), 1);
    buf_clear(&labels.text);
}

void postgres_meter_retry(struct postgres_meter *meter, const char *sqlstate, const char *outcome)
{
    const char *const pairs[][2] = { { "sqlstate", sqlstate }, { "outcome", outcome } };
    count(meter, "wick_pg_retries_total",
          "Statements and transactions that were run again, and lost commits, by how it ended.", pairs, 2);
}

void postgres_meter_leak(struct postgres_meter *meter, const char *reason)
{
    const char *const pairs[][2] = { { "reason", reason } };
    count(meter, "wick_pg_pool_leaks_total", "Transactions that were held too long, or left open by their request.",
          pairs, 1);
}

void postgres_meter_unit(struct postgres_meter *meter, enum postgres_unit_kind kind, unsigned calls)
{
    metric_add(meter->units[kind], 1);
    metric_add(meter->unit_calls[kind], calls);
}

static struct metric_counter *errors_of(struct postgres_meter *meter, const char *sqlstate)
{
    size_t last = sizeof classes / sizeof *classes - 1;
    for (size_t i = 0; i < last; i++)
        if (strncmp(sqlstate, classes[i], 2) == 0)
            return meter->errors[i];
    return meter->errors[last];
}

void postgres_meter_call(struct postgres_meter *meter, const struct sql_call *call, uint64_t now_ns)
{
    metric_observe(meter->query, now_ns - call->submitted_ns);
    if (call->fail)
        metric_add(errors_of(meter, call->error.sqlstate), 1);
    else
        metric_add(meter->rows, call->rows->changed > 0 ? (uint64_t)call->rows->changed : call->rows->row_count);
}
