/* sqlite_kind_fuzz.c - the quick check for JSON agrees with the reader; only what the reader refuses for other reasons than
 * grammar (a key twice, broken UTF-8, a lone surrogate) may pass here and fail there. */
#include "base/json.h"
#include "sqlite/kind.h"

#include <stdlib.h>

static bool on_any(void *arg) { return !arg; }
static bool on_bool(void *arg, bool value) { return !arg && (value || !value); }
static bool on_int(void *arg, int64_t value) { return !arg && (value || !value); }
static bool on_text(void *arg, struct str text) { return !arg && (text.data || !text.len); }

static const struct json_sink sink = { .on_null = on_any,
                                       .on_bool = on_bool,
                                       .on_int = on_int,
                                       .on_number = on_text,
                                       .on_string = on_text,
                                       .on_key = on_text,
                                       .on_object = on_any,
                                       .on_object_end = on_any,
                                       .on_array = on_any,
                                       .on_array_end = on_any };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char *const other_reasons[] = { "duplicate", "UTF-8", "surrogate", "deeply", "too many" };
    struct str text = str_make((const char *)data, len);
    struct json_where where = { 0 };
    sqlite_kind_is_timestamp(text);
    bool reads = json_read(text, NULL, &sink, NULL, &where) == FAIL_OK, is_json = sqlite_kind_is_json(text);
    if (reads == is_json)
        return 0;
    if (reads)
        abort();
    for (size_t i = 0; i < sizeof other_reasons / sizeof *other_reasons; i++)
        if (strstr(where.why, other_reasons[i]))
            return 0;
    abort();
}
