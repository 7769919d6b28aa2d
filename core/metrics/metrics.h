/* metrics.h - counters, gauges and histograms that cost a few nanoseconds to feed, written out as Prometheus text.
 *
 * A metric is registered once for each set of label values and lives to the end (metrics_close). Feeding is wait-free:
 * every thread has its own shard; reading adds the shards up. Names follow Prometheus' rules (unit suffix, _total).
 * The number of series is bounded (metrics_open); over it, registration gives the family's "other" series.
 */
#ifndef METRICS_METRICS_H
#define METRICS_METRICS_H

#include "base/buf.h"
#include "base/fail.h"

struct metric_counter;
struct metric_gauge;
struct metric_histogram;

MUST_USE enum fail metrics_open(unsigned series_max);
void metrics_close(void);

/* labels: `route="service_get",method="GET"` built with metrics_label, or "" for none. Same name + labels gives the same
 * object. Never NULL (a sink that counts nothing when out of memory). Any thread. */
struct metric_counter *metric_counter(const char *name, const char *help, const char *labels);
/* Nanoseconds are added, seconds are written. */
struct metric_counter *metric_counter_seconds(const char *name, const char *help, const char *labels);
struct metric_gauge *metric_gauge(const char *name, const char *help, const char *labels);
/* Values are nanoseconds (exported in seconds) for METRIC_SECONDS, plain numbers for METRIC_BYTES. Relative error <= 1 %. */
enum metric_unit { METRIC_SECONDS, METRIC_BYTES };
struct metric_histogram *metric_histogram(const char *name, const char *help, const char *labels, enum metric_unit unit);
/* Appends name="value" (escaped) to labels, with a comma where needed. */
void metrics_label(struct buf *labels, const char *name, struct str value);

void metric_add(struct metric_counter *counter, uint64_t n);
uint64_t metric_counter_value(const struct metric_counter *counter);
void metric_set(struct metric_gauge *gauge, double value);
void metric_gauge_add(struct metric_gauge *gauge, int64_t n);   /* for gauges kept as integers by several threads */
double metric_gauge_value(const struct metric_gauge *gauge);
void metric_observe(struct metric_histogram *histogram, uint64_t value);
/* The q-quantile (0..1) of everything observed so far, in the unit of metric_observe; 0 when empty. */
uint64_t metric_quantile(const struct metric_histogram *histogram, double q);
uint64_t metric_count(const struct metric_histogram *histogram);

/* Called before each exposition, to set gauges that are cheaper to ask for than to keep. */
void metrics_on_collect(void (*collect)(void *arg), void *arg);
/* Prometheus text format 0.0.4, families in order of registration; process_* included. */
void metrics_write(struct buf *out);

#endif
