/* metrics.c - the register of all metrics: families by name, series by labels; counters and gauges.
 *
 * DESIGN  Registering takes a lock and happens once for each series; who feeds keeps the pointer. A series is an id,
 *         the number of its cell in every thread's shard. Where the number of series has a limit, strangers (a label
 *         taken from a request) cannot use up memory: beyond it they all count on the family's "other" series.
 *         Misuse (a bad name, one name with two kinds) is logged and counts on a sink, as does want of memory.
 * HOLDS   series_count <= series_max, not counting one "other" for each family. Ids are never reused before
 *         metrics_close.
 * Path:   everyone > [metrics/metrics] > metrics/shard
 */
#include "metrics/metrics.h"

#include "base/log.h"
#include "base/mem.h"
#include "metrics/inner.h"

#include <assert.h>
#include <pthread.h>

struct collector {
    struct list node;
    void (*collect)(void *arg);
    void *arg;
};

static struct {
    pthread_mutex_t lock;
    bool is_open;
    unsigned series_max, series_count;
    uint32_t next_id;
    struct map by_name; /* name -> struct family */
    struct list families, collectors;
} registry = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct metric_counter sink_counter;
static struct metric_gauge sink_gauge;
static struct metric_histogram sink_histogram;
static struct series *const sinks[] = { &sink_counter.series, &sink_gauge.series, &sink_histogram.series };

void metrics_lock(void) { pthread_mutex_lock(&registry.lock); }
void metrics_unlock(void) { pthread_mutex_unlock(&registry.lock); }
struct list *metrics_families(void) { return registry.is_open ? &registry.families : NULL; }

/* --- open and close ------------------------------------------------------------------------------------------- */

enum fail metrics_open(unsigned series_max)
{
    assert(!registry.is_open);
    enum fail fail = map_init(&registry.by_name, MEM_METRICS);
    if (fail)
        return fail;
    list_init(&registry.families);
    list_init(&registry.collectors);
    registry.series_max = series_max < SERIES_MAX / 2 ? series_max : SERIES_MAX / 2;
    registry.series_count = 0;
    registry.next_id = SINK_ID + 1;
    registry.is_open = true;
    shards_open();
    return FAIL_OK;
}

static void free_series(struct series *series)
{
    if (!series)
        return;
    mem_free(series->labels);
    mem_free(series);
}

static void free_family(struct family *family)
{
    if (!family)
        return;
    for (struct list *node; (node = list_pop_front(&family->series));)
        free_series(LIST_ENTRY(node, struct series, node));
    map_clear(&family->by_labels);
    mem_free(family->name);
    mem_free(family->help);
    mem_free(family);
}

void metrics_close(void)
{
    if (!registry.is_open)
        return;
    registry.is_open = false;
    for (struct list *node; (node = list_pop_front(&registry.families));)
        free_family(LIST_ENTRY(node, struct family, node));
    for (struct list *node; (node = list_pop_front(&registry.collectors));)
        mem_free(LIST_ENTRY(node, struct collector, node));
    map_clear(&registry.by_name);
    shards_close();
}

/* --- registering ---------------------------------------------------------------------------------------------- */

static bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':'; }

static bool is_name(const char *name)
{
    if (!is_name_start(*name))
        return false;
    while (*++name)
        if (!is_name_start(*name) && (*name < '0' || *name > '9'))
            return false;
    return true;
}

static struct family *make_family(const char *name, const char *help, enum metric_kind kind, enum metric_unit unit)
{
    struct family *family = mem_zero(MEM_METRICS, sizeof *family);
    if (!family)
        return NULL;
    family->kind = kind;
    family->unit = unit;
    list_init(&family->series);
    if (map_init(&family->by_labels, MEM_METRICS)) {
        mem_free(family);
        return NULL;
    }
    family->name = mem_dup(MEM_METRICS, name, strlen(name));
    family->help = mem_dup(MEM_METRICS, help, strlen(help));
    if (!family->name || !family->help || map_set(&registry.by_name, str_of(name), family)) {
        free_family(family);
        return NULL;
    }
    list_push_back(&registry.families, &family->node);
    return family;
}

static struct family *find_family(const char *name, const char *help, enum metric_kind kind, enum metric_unit unit)
{
    if (!is_name(name)) {
        log_line(LOG_ERROR, "metric has a bad name and is not kept", LOG_TEXT("metric", name));
        return NULL;
    }
    struct family *family = map_get(&registry.by_name, str_of(name));
    if (!family)
        return make_family(name, help, kind, unit);
    if (family->kind == kind && family->unit == unit)
        return family;
    log_line(LOG_ERROR, "metric is registered as two kinds; the second is not kept", LOG_TEXT("metric", name));
    return NULL;
}

static struct series *make_series(struct family *family, struct str labels)
{
    if (registry.next_id == SERIES_MAX)
        return NULL;
    struct series *series = mem_zero(MEM_METRICS, sizeof *series);
    if (!series)
        return NULL;
    series->family = family;
    series->labels = mem_dup(MEM_METRICS, labels.data, labels.len);
    if (!series->labels || map_set(&family->by_labels, labels, series)) {
        free_series(series);
        return NULL;
    }
    series->id = registry.next_id++;
    list_push_back(&family->series, &series->node);
    return series;
}

/* The same label names, each with the value "other". */
static void add_other_labels(struct buf *out, const char *labels)
{
    bool is_quoted = false;
    for (const char *at = labels; *at; at++) {
        if (*at == '"') {
            is_quoted = !is_quoted;
            buf_add_str(out, is_quoted ? STR("\"other") : STR("\""));
        } else if (!is_quoted) {
            buf_add_char(out, *at);
        } else if (*at == '\\' && at[1]) {
            at++;
        }
    }
}

static struct series *other_series(struct family *family, const char *labels)
{
    struct buf other;
    buf_init(&other, MEM_METRICS, 0);
    add_other_labels(&other, labels);
    struct series *series = NULL;
    if (buf_ok(&other)) {
        struct str text = str_make(other.len ? other.data : "", other.len);
        series = map_get(&family->by_labels, text);
        if (!series)
            series = make_series(family, text);
    }
    buf_clear(&other);
    return series;
}

static struct series *find_series(struct family *family, const char *labels)
{
    struct series *series = map_get(&family->by_labels, str_of(labels));
    if (series)
        return series;
    if (registry.series_count >= registry.series_max)
        return other_series(family, labels);
    series = make_series(family, str_of(labels));
    if (series)
        registry.series_count++;
    return series;
}

struct series *metrics_series(const char *name, const char *help, const char *labels, enum metric_kind kind,
                              enum metric_unit unit)
{
    struct series *series = NULL;
    metrics_lock();
    if (registry.is_open) {
        struct family *family = find_family(name, help, kind, unit);
        if (family)
            series = find_series(family, labels);
    }
    metrics_unlock();
    return series ? series : sinks[kind];
}

struct metric_counter *metric_counter(const char *name, const char *help, const char *labels)
{
    return (struct metric_counter *)metrics_series(name, help, labels, KIND_COUNTER, METRIC_BYTES);
}

struct metric_counter *metric_counter_seconds(const char *name, const char *help, const char *labels)
{
    return (struct metric_counter *)metrics_series(name, help, labels, KIND_COUNTER, METRIC_SECONDS);
}

struct metric_gauge *metric_gauge(const char *name, const char *help, const char *labels)
{
    return (struct metric_gauge *)metrics_series(name, help, labels, KIND_GAUGE, METRIC_SECONDS);
}

void metrics_label(struct buf *labels, const char *name, struct str value)
{
    if (labels->len)
        buf_add_char(labels, ',');
    buf_add_str(labels, str_of(name));
    buf_add_str(labels, STR("=\""));
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        if (c == '\n')
            buf_add_str(labels, STR("\\n"));
        else if (c == '"' || c == '\\')
            buf_add(labels, (char[]){ '\\', c }, 2);
        else
            buf_add_char(labels, c);
    }
    buf_add_char(labels, '"');
}

/* --- counters and gauges -------------------------------------------------------------------------------------- */

static void add(uint32_t id, uint64_t n)
{
    bool is_shared;
    _Atomic uint64_t *cell = shard_number(id, &is_shared);
    if (cell)
        cell_add(cell, n, is_shared);
}

void metric_add(struct metric_counter *counter, uint64_t n) { add(counter->series.id, n); }

uint64_t metric_counter_value(const struct metric_counter *counter)
{
    return counter == &sink_counter ? 0 : shard_sum(counter->series.id);
}

void metric_set(struct metric_gauge *gauge, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    atomic_store_explicit(&gauge->series.set_bits, bits, memory_order_relaxed);
}

/* Negative n wraps around, and so does the sum, back to the right value. */
void metric_gauge_add(struct metric_gauge *gauge, int64_t n) { add(gauge->series.id, (uint64_t)n); }

double metric_gauge_value(const struct metric_gauge *gauge)
{
    if (gauge == &sink_gauge)
        return 0;
    double value;
    uint64_t bits = atomic_load_explicit(&gauge->series.set_bits, memory_order_relaxed);
    memcpy(&value, &bits, sizeof value);
    return value + (double)(int64_t)shard_sum(gauge->series.id);
}

/* --- collectors ----------------------------------------------------------------------------------------------- */

void metrics_on_collect(void (*collect)(void *arg), void *arg)
{
    struct collector *collector = mem_zero(MEM_METRICS, sizeof *collector);
    if (!collector) {
        log_line(LOG_ERROR, "out of memory: some gauges will not be collected", LOG_INT("bytes", sizeof *collector));
        return;
    }
    collector->collect = collect;
    collector->arg = arg;
    metrics_lock();
    assert(registry.is_open);
    list_push_back(&registry.collectors, &collector->node);
    metrics_unlock();
}

/* Collectors are only ever added, so the walk needs the lock for its steps, not for the calls. */
void metrics_collect(void)
{
    metrics_lock();
    struct list *node = registry.is_open ? registry.collectors.next : &registry.collectors;
    while (node != &registry.collectors) {
        struct collector *collector = LIST_ENTRY(node, struct collector, node);
        metrics_unlock();
        collector->collect(collector->arg);
        metrics_lock();
        node = node->next;
    }
    metrics_unlock();
}
