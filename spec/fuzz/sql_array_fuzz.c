/* sql_array_fuzz.c - whatever is taken for an array comes out as JSON; whatever is not leaves nothing behind. */
#include "base/json.h"
#include "sql/array.h"

#include <stdlib.h>

static bool on_null(void *arg) { return !arg; }
static bool on_bool(void *arg, bool value) { return !arg && (value || !value); }
static bool on_int(void *arg, int64_t value) { return !arg && (value || !value); }
static bool on_text(void *arg, struct str text) { return !arg && (text.data || !text.len); }

static const struct json_sink sink = { .on_null = on_null,
                                       .on_bool = on_bool,
                                       .on_int = on_int,
                                       .on_number = on_text,
                                       .on_string = on_text,
                                       .on_key = on_text,
                                       .on_object = on_null,
                                       .on_object_end = on_null,
                                       .on_array = on_null,
                                       .on_array_end = on_null };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const enum sql_kind kinds[] = { SQL_KIND_TEXT, SQL_KIND_INT, SQL_KIND_FLOAT, SQL_KIND_NUMERIC,
                                           SQL_KIND_BOOL };
    struct str text = str_make((const char *)data, len);
    if (!str_utf8(text))
        return 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct buf out;
        struct json_where where;
        buf_init(&out, MEM_SQL, 0);
        buf_add_char(&out, ' ');
        bool is_array = sql_array_add_json(&out, text, kinds[i]);
        if (is_array ? json_read(str_make(out.data, out.len), NULL, &sink, NULL, &where) != FAIL_OK : out.len != 1)
            abort();
        buf_clear(&out);
    }
    return 0;
}
