/* exposition.c - all metrics as Prometheus text, format 0.0.4.
 *
 * DESIGN  https://prometheus.io/docs/instrumenting/exposition_formats/: HELP and TYPE once for each family, its series
 *         together, histograms as cumulative buckets with le, then _sum and _count. Durations are seconds here and
 *         nanoseconds inside. The bucket that holds a bound counts as below it, so le is exact for the bound itself
 *         and up to 1.6 % wide.
 * Path:   serve/admin > [metrics/exposition] > metrics/histogram
 */
#include "base/json.h"
#include "metrics/inner.h"

#include <math.h>

struct bound {
    uint64_t value;
    const char *le;
};

static const struct bound second_bounds[] = {
    { 1000000, "0.001" },  { 2500000, "0.0025" }, { 5000000, "0.005" },  { 10000000, "0.01" }, { 20000000, "0.02" },
    { 50000000, "0.05" },  { 100000000, "0.1" },  { 250000000, "0.25" }, { 500000000, "0.5" }, { 1000000000, "1" },
    { 2500000000, "2.5" }, { 5000000000, "5" },   { 10000000000, "10" },
};
static const struct bound byte_bounds[] = {
    { 64, "64" },           { 256, "256" },           { 1024, "1024" },         { 4096, "4096" },
    { 16384, "16384" },     { 65536, "65536" },       { 262144, "262144" },     { 1048576, "1048576" },
    { 4194304, "4194304" }, { 16777216, "16777216" }, { 67108864, "67108864" },
};

static const char *const kind_names[] = { "counter", "gauge", "histogram" };

static void add_double(struct buf *out, double value)
{
    if (isnan(value))
        buf_add_str(out, STR("NaN"));
    else if (isinf(value))
        buf_add_str(out, value > 0 ? STR("+Inf") : STR("-Inf"));
    else
        json_add_double(out, value);
}

static void add_help(struct buf *out, const char *help)
{
    for (; *help; help++) {
        if (*help == '\n')
            buf_add_str(out, STR("\\n"));
        else if (*help == '\\')
            buf_add_str(out, STR("\\\\"));
        else
            buf_add_char(out, *help);
    }
}

static void add_head(struct buf *out, const struct family *family)
{
    buf_addf(out, "# HELP %s ", family->name);
    add_help(out, family->help);
    buf_addf(out, "\n# TYPE %s %s\n", family->name, kind_names[family->kind]);
}

/* name<suffix>{labels,le="..."} and a space; no braces where there is nothing to put into them. */
static void add_series(struct buf *out, const struct series *series, const char *suffix, const char *le)
{
    buf_add_str(out, str_of(series->family->name));
    buf_add_str(out, str_of(suffix));
    if (*series->labels || le) {
        buf_add_char(out, '{');
        buf_add_str(out, str_of(series->labels));
        if (le)
            buf_addf(out, "%sle=\"%s\"", *series->labels ? "," : "", le);
        buf_add_char(out, '}');
    }
    buf_add_char(out, ' ');
}

static void add_bucket(struct buf *out, const struct series *series, const char *le, uint64_t count)
{
    add_series(out, series, "_bucket", le);
    buf_add_uint(out, count);
    buf_add_char(out, '\n');
}

static void add_histogram(struct buf *out, const struct series *series)
{
    bool is_seconds = series->family->unit == METRIC_SECONDS;
    const struct bound *bounds = is_seconds ? second_bounds : byte_bounds;
    size_t count = is_seconds ? sizeof second_bounds / sizeof *bounds : sizeof byte_bounds / sizeof *bounds;
    struct histogram_view view;
    histogram_view((const struct metric_histogram *)series, &view);
    for (size_t i = 0; i < count; i++)
        add_bucket(out, series, bounds[i].le, histogram_below(&view, bounds[i].value));
    add_bucket(out, series, "+Inf", view.count);
    add_series(out, series, "_sum", NULL);
    if (is_seconds)
        add_double(out, (double)view.sum / 1e9);
    else
        buf_add_uint(out, view.sum);
    buf_add_char(out, '\n');
    add_series(out, series, "_count", NULL);
    buf_add_uint(out, view.count);
    buf_add_char(out, '\n');
}

static void add_number(struct buf *out, const struct series *series)
{
    add_series(out, series, "", NULL);
    if (series->family->kind == KIND_GAUGE)
        add_double(out, metric_gauge_value((const struct metric_gauge *)series));
    else if (series->family->unit == METRIC_SECONDS)
        add_double(out, (double)metric_counter_value((const struct metric_counter *)series) / 1e9);
    else
        buf_add_uint(out, metric_counter_value((const struct metric_counter *)series));
    buf_add_char(out, '\n');
}

static void add_family(struct buf *out, const struct family *family)
{
    if (list_is_empty(&family->series))
        return;
    add_head(out, family);
    LIST_EACH(&family->series, node)
    {
        const struct series *series = LIST_ENTRY(node, struct series, node);
        if (family->kind == KIND_HISTOGRAM)
            add_histogram(out, series);
        else
            add_number(out, series);
    }
}

void metrics_write(struct buf *out)
{
    metrics_collect();
    metrics_lock();
    struct list *families = metrics_families();
    if (families)
        LIST_EACH(families, node)
    add_family(out, LIST_ENTRY(node, struct family, node));
    metrics_unlock();
    process_write(out);
}
