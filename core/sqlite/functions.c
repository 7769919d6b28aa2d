/* functions.c - PostgreSQL's functions that SQLite lacks, each as PostgreSQL 15 documents it.
 *
 * DESIGN  SQLITE_DETERMINISTIC where the result depends on the arguments alone, so SQLite may move a call out of a loop
 *         and use it in an index; now() and gen_random_uuid() are not. All are SQLITE_INNOCUOUS: they may stand in
 *         DEFAULT, views and triggers of a schema that is not trusted, for they touch nothing.
 * Path:   sqlite/connection > [sqlite/functions] > sqlite/md5, sqlite/trunc
 */
#include "sqlite/functions.h"

#include "base/clock.h"
#include "base/str.h"
#include "base/uuid.h"
#include "sqlite/md5.h"
#include "sqlite/trunc.h"

#include <math.h>
#include <sqlite3.h>
#include <stdlib.h>

static struct str text_of(sqlite3_value *value)
{
    const char *data = (const char *)sqlite3_value_text(value);
    return str_make(data ? data : "", (size_t)sqlite3_value_bytes(value));
}

static bool any_null(int argc, sqlite3_value **argv)
{
    for (int i = 0; i < argc; i++)
        if (sqlite3_value_type(argv[i]) == SQLITE_NULL)
            return true;
    return false;
}

static void give_text(sqlite3_context *context, struct str text)
{
    sqlite3_result_text64(context, text.len ? text.data : "", text.len, SQLITE_TRANSIENT, SQLITE_UTF8);
}

/* --- time and chance --- */

static void now(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    (void)argc, (void)argv;
    struct sqlite_clock *clock = sqlite3_user_data(context);
    if (clock->len == 0) {
        clock_iso(clock->wall_us, clock->text); /* 2026-11-23T14:02:22.123456Z */
        clock->text[10] = ' ';
        memcpy(clock->text + CLOCK_ISO_LEN - 1, "+00", 4);
        clock->len = CLOCK_ISO_LEN + 2;
    }
    sqlite3_result_text(context, clock->text, clock->len, SQLITE_TRANSIENT);
}

static void gen_random_uuid(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    (void)argc, (void)argv;
    char text[UUID_LEN + 1];
    uuid_v4(text);
    sqlite3_result_text(context, text, UUID_LEN, SQLITE_TRANSIENT);
}

static void date_trunc(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    if (any_null(argc, argv))
        return;
    char out[SQLITE_TRUNC_BYTES];
    const char *why = sqlite_trunc(text_of(argv[0]), text_of(argv[1]), out);
    if (why)
        sqlite3_result_error(context, why, -1);
    else
        give_text(context, str_of(out));
}

/* --- text --- */

static void md5(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    if (any_null(argc, argv))
        return;
    const void *data = sqlite3_value_blob(argv[0]);
    char out[33];
    sqlite_md5_hex(data, (size_t)sqlite3_value_bytes(argv[0]), out);
    sqlite3_result_text(context, out, 32, SQLITE_TRANSIENT);
}

static void starts_with(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    if (!any_null(argc, argv))
        sqlite3_result_int(context, str_starts(text_of(argv[0]), text_of(argv[1])));
}

/* How often `by` stands in text, and so one less than there are parts. */
static sqlite3_int64 count_of(struct str text, struct str by)
{
    sqlite3_int64 count = 0;
    const char *end = text.data + text.len;
    for (const char *at = text.data; (at = memmem(at, (size_t)(end - at), by.data, by.len)); at += by.len)
        count++;
    return count;
}

static struct str part_of(struct str text, struct str by, sqlite3_int64 n)
{
    const char *from = text.data, *end = text.data + text.len;
    for (;;) {
        const char *next = memmem(from, (size_t)(end - from), by.data, by.len);
        if (--n == 0)
            return str_make(from, (size_t)((next ? next : end) - from));
        if (!next)
            return STR("");
        from = next + by.len;
    }
}

static void split_part(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    if (any_null(argc, argv))
        return;
    struct str text = text_of(argv[0]), by = text_of(argv[1]);
    sqlite3_int64 n = sqlite3_value_int64(argv[2]);
    if (n == 0) {
        sqlite3_result_error(context, "field position must not be zero", -1);
        return;
    }
    sqlite3_int64 parts = by.len ? count_of(text, by) + 1 : 1;
    if (n < 0)
        n = n < -parts ? 0 : n + parts + 1;
    if (n < 1 || n > parts)
        give_text(context, STR(""));
    else
        give_text(context, by.len ? part_of(text, by, n) : text);
}

static void join(sqlite3_context *context, struct str by, int argc, sqlite3_value **argv)
{
    sqlite3_str *out = sqlite3_str_new(sqlite3_context_db_handle(context));
    bool is_first = true;
    for (int i = 0; i < argc; i++) {
        if (sqlite3_value_type(argv[i]) == SQLITE_NULL)
            continue;
        if (!is_first)
            sqlite3_str_append(out, by.data, (int)by.len);
        is_first = false;
        struct str text = text_of(argv[i]);
        sqlite3_str_append(out, text.data, (int)text.len);
    }
    int code = sqlite3_str_errcode(out), len = sqlite3_str_length(out);
    char *text = sqlite3_str_finish(out);
    if (code == SQLITE_TOOBIG)
        sqlite3_result_error_toobig(context);
    else if (code != SQLITE_OK)
        sqlite3_result_error_nomem(context);
    else if (!text)
        give_text(context, STR(""));
    else {
        sqlite3_result_text(context, text, len, sqlite3_free);
        return;
    }
    sqlite3_free(text);
}

static void concat(sqlite3_context *context, int argc, sqlite3_value **argv) { join(context, STR(""), argc, argv); }

static void concat_ws(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    if (argc < 1)
        sqlite3_result_error(context, "concat_ws needs a separator", -1);
    else if (!any_null(1, argv))
        join(context, text_of(argv[0]), argc - 1, argv + 1);
}

/* --- greatest, least --- */

/* As SQLite sorts: numbers by value, then text, then blobs, each byte by byte. */
static int compare_numbers(sqlite3_value *a, sqlite3_value *b)
{
    if (sqlite3_value_type(a) == SQLITE_INTEGER && sqlite3_value_type(b) == SQLITE_INTEGER) {
        sqlite3_int64 x = sqlite3_value_int64(a), y = sqlite3_value_int64(b);
        return (x > y) - (x < y);
    }
    /* long double holds every int64 and every double exactly here (x87), and on others rounds as PostgreSQL does. */
    long double x = sqlite3_value_type(a) == SQLITE_INTEGER ? (long double)sqlite3_value_int64(a)
                                                            : sqlite3_value_double(a);
    long double y = sqlite3_value_type(b) == SQLITE_INTEGER ? (long double)sqlite3_value_int64(b)
                                                            : sqlite3_value_double(b);
    return (x > y) - (x < y);
}

static int rank_of(sqlite3_value *value)
{
    int type = sqlite3_value_type(value);
    return type == SQLITE_BLOB ? 2 : type == SQLITE_TEXT ? 1 : 0;
}

static int compare(sqlite3_value *a, sqlite3_value *b)
{
    if (rank_of(a) != rank_of(b))
        return rank_of(a) - rank_of(b);
    if (rank_of(a) == 0)
        return compare_numbers(a, b);
    const void *x = sqlite3_value_blob(a), *y = sqlite3_value_blob(b);
    size_t x_len = (size_t)sqlite3_value_bytes(a), y_len = (size_t)sqlite3_value_bytes(b);
    size_t len = x_len < y_len ? x_len : y_len;
    int order = len ? memcmp(x, y, len) : 0;
    return order ? order : (x_len > y_len) - (x_len < y_len);
}

static void pick(sqlite3_context *context, int argc, sqlite3_value **argv, int sign)
{
    sqlite3_value *best = NULL;
    for (int i = 0; i < argc; i++)
        if (sqlite3_value_type(argv[i]) != SQLITE_NULL && (!best || compare(argv[i], best) * sign > 0))
            best = argv[i];
    if (best)
        sqlite3_result_value(context, best);
}

static void greatest(sqlite3_context *context, int argc, sqlite3_value **argv) { pick(context, argc, argv, 1); }
static void least(sqlite3_context *context, int argc, sqlite3_value **argv) { pick(context, argc, argv, -1); }

/* --- percentile --- */

struct sample {
    double *values;
    size_t count, cap;
    double fraction;
    bool has_failed;
};

static void sample_fail(sqlite3_context *context, struct sample *sample, const char *why)
{
    sample->has_failed = true;
    if (why)
        sqlite3_result_error(context, why, -1);
    else
        sqlite3_result_error_nomem(context);
}

static void percentile_step(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    (void)argc;
    struct sample *sample = sqlite3_aggregate_context(context, sizeof *sample);
    if (!sample) {
        sqlite3_result_error_nomem(context);
        return;
    }
    if (sample->has_failed || sqlite3_value_type(argv[0]) == SQLITE_NULL)
        return;
    int type = sqlite3_value_numeric_type(argv[0]);
    double fraction = sqlite3_value_double(argv[1]);
    if (type != SQLITE_INTEGER && type != SQLITE_FLOAT) {
        sample_fail(context, sample, "percentile takes numbers");
        return;
    }
    if (sqlite3_value_type(argv[1]) == SQLITE_NULL || !(fraction >= 0 && fraction <= 1)) {
        sample_fail(context, sample, "percentile's fraction is between 0 and 1");
        return;
    }
    if (sample->count == sample->cap) {
        size_t cap = sample->cap ? sample->cap * 2 : 64;
        double *values = sqlite3_realloc64(sample->values, cap * sizeof *values);
        if (!values) {
            sample_fail(context, sample, NULL);
            return;
        }
        sample->values = values;
        sample->cap = cap;
    }
    sample->fraction = fraction;
    sample->values[sample->count++] = sqlite3_value_double(argv[0]);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Between the two values next to the place, by their distance (percentile_cont of PostgreSQL, orderedsetaggs.c). */
static void percentile_final(sqlite3_context *context)
{
    struct sample *sample = sqlite3_aggregate_context(context, 0);
    if (sample && sample->count && !sample->has_failed) {
        qsort(sample->values, sample->count, sizeof *sample->values, compare_doubles);
        double place = sample->fraction * (double)(sample->count - 1), below = floor(place);
        double low = sample->values[(size_t)below], high = sample->values[(size_t)ceil(place)];
        sqlite3_result_double(context, low + (place - below) * (high - low));
    }
    if (sample)
        sqlite3_free(sample->values);
}

/* --- the list --- */

typedef void function(sqlite3_context *, int, sqlite3_value **);

static const struct {
    const char *name;
    int argc; /* -1: any */
    bool is_pure;
    function *run;
} functions[] = {
    { "now", 0, false, now },
    { "gen_random_uuid", 0, false, gen_random_uuid },
    { "date_trunc", 2, true, date_trunc },
    { "md5", 1, true, md5 },
    { "starts_with", 2, true, starts_with },
    { "split_part", 3, true, split_part },
    { "concat", -1, true, concat },
    { "concat_ws", -1, true, concat_ws },
    { "greatest", -1, true, greatest },
    { "least", -1, true, least },
};

enum fail sqlite_functions_add(struct sqlite3 *db, struct sqlite_clock *clock)
{
    int code = SQLITE_OK, flags = SQLITE_UTF8 | SQLITE_INNOCUOUS;
    for (size_t i = 0; i < sizeof functions / sizeof *functions && code == SQLITE_OK; i++)
        code = sqlite3_create_function_v2(db, functions[i].name, functions[i].argc,
                                          flags | (functions[i].is_pure ? SQLITE_DETERMINISTIC : 0), clock,
                                          functions[i].run, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_create_function_v2(db, "percentile", 2, flags | SQLITE_DETERMINISTIC, NULL, NULL,
                                          percentile_step, percentile_final, NULL);
    return code == SQLITE_OK ? FAIL_OK : FAIL_NOMEM;
}
