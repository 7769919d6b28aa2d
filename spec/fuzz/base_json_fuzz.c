/* base_json_fuzz.c - whatever the reader accepts can be written down and read again with the same events. */
#include "base/json.h"

#include <stdlib.h>

/* Writes the events as compact JSON. */
struct copier {
    struct buf out;
    bool needs_comma;
};

static void put_comma(struct copier *copier)
{
    if (copier->needs_comma)
        buf_add_char(&copier->out, ',');
    copier->needs_comma = true;
}

static bool put_word(struct copier *copier, struct str word)
{
    put_comma(copier);
    buf_add_str(&copier->out, word);
    return true;
}

static bool on_open(struct copier *copier, char c)
{
    put_comma(copier);
    buf_add_char(&copier->out, c);
    copier->needs_comma = false;
    return true;
}

static bool on_close(struct copier *copier, char c)
{
    buf_add_char(&copier->out, c);
    copier->needs_comma = true;
    return true;
}

static bool on_null(void *arg) { return put_word(arg, STR("null")); }

static bool on_bool(void *arg, bool value) { return put_word(arg, value ? STR("true") : STR("false")); }

static bool on_int(void *arg, int64_t value)
{
    put_comma(arg);
    buf_add_int(&((struct copier *)arg)->out, value);
    return true;
}

static bool on_number(void *arg, struct str text) { return put_word(arg, text); }

static bool on_string(void *arg, struct str text)
{
    if (!str_utf8(text))
        abort();
    put_comma(arg);
    json_add_string(&((struct copier *)arg)->out, text);
    return true;
}

static bool on_key(void *arg, struct str text)
{
    struct copier *copier = arg;
    on_string(arg, text);
    buf_add_char(&copier->out, ':');
    copier->needs_comma = false;
    return true;
}

static bool on_object(void *arg) { return on_open(arg, '{'); }

static bool on_object_end(void *arg) { return on_close(arg, '}'); }

static bool on_array(void *arg) { return on_open(arg, '['); }

static bool on_array_end(void *arg) { return on_close(arg, ']'); }

static const struct json_sink sink = {
    .on_null = on_null,
    .on_bool = on_bool,
    .on_int = on_int,
    .on_number = on_number,
    .on_string = on_string,
    .on_key = on_key,
    .on_object = on_object,
    .on_object_end = on_object_end,
    .on_array = on_array,
    .on_array_end = on_array_end,
};

static enum fail copy(struct str text, struct copier *copier)
{
    const struct json_limits limits = { .depth_max = 100, .values_max = 10000 };
    struct json_where where;
    buf_init(&copier->out, MEM_BASE, 0);
    copier->needs_comma = false;
    enum fail failed = json_read(text, &limits, &sink, copier, &where);
    if ((failed == FAIL_INVALID) != (where.why != NULL) || where.offset > text.len)
        abort();
    return failed;
}

static void check_double(const uint8_t *data, size_t len)
{
    double value;
    struct buf out;
    if (len < sizeof value)
        return;
    memcpy(&value, data, sizeof value);
    buf_init(&out, MEM_BASE, 0);
    json_add_double(&out, value);
    buf_add_char(&out, '\0');
    if (out.data[0] != '"' && strtod(out.data, NULL) != value)
        abort();
    buf_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct copier first, second;
    check_double(data, len);
    if (copy(str_make((const char *)data, len), &first) == FAIL_OK) {
        struct str text = str_make(first.out.data, first.out.len);
        if (copy(text, &second) != FAIL_OK || !str_is(text, str_make(second.out.data, second.out.len)))
            abort();
        buf_clear(&second.out);
    }
    buf_clear(&first.out);
    if (mem_live() != 0)
        abort();
    return 0;
}
