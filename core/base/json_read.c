/* json_read.c - reads JSON (RFC 8259) from front to back and tells a sink what it sees.
 *
 * DESIGN  A loop over `expect`, what may come next, and a stack of the open arrays and objects; no recursion.
 *         VALUE -> AFTER [scalar]   VALUE -> VALUE_OR_END [ '[' ]   VALUE -> KEY_OR_END [ '{' ]
 *         KEY -> VALUE [string and ':']   AFTER -> VALUE, KEY [',']   AFTER -> AFTER [']' '}'], the end at depth 0
 *         Strings without escapes are handed on as they lie in the text; others are decoded into scratch.
 *         Small documents stay within the memory of `struct reader` and allocate nothing.
 * HOLDS   start <= at <= end. Each open object has a scope of json_keys, and the innermost scope is its.
 */
#include "base/json.h"

#include "base/json_keys.h"
#include "base/json_string.h"

#include <assert.h>

#define DEPTH_MAX 64u
#define VALUES_MAX 1000000u
#define FRAMES_INSIDE 32u
#define SCRATCH_INSIDE 512u

enum expect { VALUE, VALUE_OR_END, KEY, KEY_OR_END, AFTER };

struct frame {
    bool is_object;
    struct json_scope scope; /* of an object */
};

struct reader {
    const char *start, *at, *end;
    const struct json_sink *sink;
    void *arg;
    struct json_where *where;
    unsigned depth, depth_max, values_left;
    struct frame *frames; /* frames[depth - 1] is the innermost */
    size_t frames_cap;
    struct buf scratch; /* for decoded strings that may be longer than scratch_inside */
    struct json_keys keys;
    struct frame frames_inside[FRAMES_INSIDE];
    char scratch_inside[SCRATCH_INSIDE];
};

static enum fail bad_at(struct reader *r, const char *at, const char *why)
{
    *r->where = (struct json_where){ .offset = (size_t)(at - r->start), .why = why };
    return FAIL_INVALID;
}

static enum fail bad(struct reader *r, const char *why)
{
    return bad_at(r, r->at, r->at == r->end ? "unexpected end" : why);
}

/* Calls what the sink has for it; a sink that leaves a function out does not care. */
#define TELL(r, function, ...) (!(r)->sink->function || (r)->sink->function(__VA_ARGS__) ? FAIL_OK : FAIL_CANCELLED)

/* Reads a string after its opening quote; *text lives until the next one is read. */
static enum fail read_string(struct reader *r, struct str *text, bool *is_decoded)
{
    const char *why = json_string_scan(&r->at, r->end, text, is_decoded);
    if (why)
        return bad_at(r, r->at, why);
    if (!*is_decoded)
        return FAIL_OK;
    char *to = r->scratch_inside;
    if (text->len > SCRATCH_INSIDE) {
        buf_reset(&r->scratch);
        if (!buf_room(&r->scratch, text->len))
            return FAIL_NOMEM;
        to = r->scratch.data;
    }
    const char *at;
    size_t len;
    why = json_string_decode(*text, to, &len, &at);
    if (why)
        return bad_at(r, at, why);
    *text = str_make(to, len);
    return FAIL_OK;
}

static inline bool is_digit(const struct reader *r) { return r->at < r->end && (unsigned char)(*r->at - '0') <= 9; }

static inline void skip_digits(struct reader *r)
{
    while (is_digit(r))
        r->at++;
}

static enum fail want_digits(struct reader *r)
{
    if (!is_digit(r))
        return bad(r, "digit expected");
    skip_digits(r);
    return FAIL_OK;
}

/* Fraction and exponent, where they are; *is_int tells whether neither was. */
static enum fail scan_rest(struct reader *r, bool *is_int)
{
    if (r->at < r->end && *r->at == '.') {
        *is_int = false;
        r->at++;
        enum fail failed = want_digits(r);
        if (failed)
            return failed;
    }
    if (r->at < r->end && (*r->at | 0x20) == 'e') {
        *is_int = false;
        r->at++;
        if (r->at < r->end && (*r->at == '+' || *r->at == '-'))
            r->at++;
        return want_digits(r);
    }
    return FAIL_OK;
}

static enum fail read_number(struct reader *r)
{
    const char *from = r->at;
    bool is_int = true;
    if (*r->at == '-')
        r->at++;
    if (r->at < r->end && *r->at == '0') {
        r->at++;
        if (is_digit(r))
            return bad(r, "number with a leading zero");
    } else {
        enum fail failed = want_digits(r);
        if (failed)
            return failed;
    }
    enum fail failed = scan_rest(r, &is_int);
    if (failed)
        return failed;
    struct str text = str_make(from, (size_t)(r->at - from));
    int64_t value;
    if (is_int && str_int64(text, &value))
        return TELL(r, on_int, r->arg, value);
    return TELL(r, on_number, r->arg, text);
}

static bool skip_word(struct reader *r, struct str word)
{
    if (!str_starts(str_make(r->at, (size_t)(r->end - r->at)), word))
        return false;
    r->at += word.len;
    return true;
}

static enum fail frames_grow(struct reader *r)
{
    bool is_inside = r->frames == r->frames_inside;
    size_t cap = r->frames_cap * 2;
    struct frame *frames = mem_grow(MEM_BASE, is_inside ? NULL : r->frames, cap * sizeof *frames);
    if (!frames)
        return FAIL_NOMEM;
    if (is_inside)
        memcpy(frames, r->frames_inside, sizeof r->frames_inside);
    r->frames = frames;
    r->frames_cap = cap;
    return FAIL_OK;
}

static enum fail open_frame(struct reader *r, bool is_object, enum expect *expect)
{
    if (r->depth == r->depth_max)
        return bad(r, "nested too deeply");
    if (r->depth == r->frames_cap) {
        enum fail failed = frames_grow(r);
        if (failed)
            return failed;
    }
    struct frame *frame = &r->frames[r->depth++];
    frame->is_object = is_object;
    if (is_object)
        json_scope_begin(&r->keys, &frame->scope);
    r->at++;
    *expect = is_object ? KEY_OR_END : VALUE_OR_END;
    return is_object ? TELL(r, on_object, r->arg) : TELL(r, on_array, r->arg);
}

static enum fail close_frame(struct reader *r, enum expect *expect)
{
    struct frame *frame = &r->frames[--r->depth];
    r->at++;
    *expect = AFTER;
    if (!frame->is_object)
        return TELL(r, on_array_end, r->arg);
    json_scope_end(&r->keys, &frame->scope);
    return TELL(r, on_object_end, r->arg);
}

static enum fail read_value(struct reader *r, enum expect *expect)
{
    if (r->values_left-- == 0)
        return bad(r, "too many values");
    char c = *r->at;
    if (c == '{' || c == '[')
        return open_frame(r, c == '{', expect);
    *expect = AFTER;
    if (c == '"') {
        r->at++;
        struct str text;
        bool is_decoded;
        enum fail failed = read_string(r, &text, &is_decoded);
        return failed ? failed : TELL(r, on_string, r->arg, text);
    }
    if (c == '-' || (c >= '0' && c <= '9'))
        return read_number(r);
    if (c == 't' && skip_word(r, STR("true")))
        return TELL(r, on_bool, r->arg, true);
    if (c == 'f' && skip_word(r, STR("false")))
        return TELL(r, on_bool, r->arg, false);
    if (c == 'n' && skip_word(r, STR("null")))
        return TELL(r, on_null, r->arg);
    return bad(r, "value expected");
}

static inline void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
        r->at++;
}

static enum fail read_key(struct reader *r, enum expect *expect)
{
    if (*r->at != '"')
        return bad(r, "key expected");
    const char *key_at = r->at++;
    struct str text;
    bool is_decoded;
    enum fail failed = read_string(r, &text, &is_decoded);
    if (failed)
        return failed;
    failed = json_scope_add(&r->keys, &r->frames[r->depth - 1].scope, text, is_decoded);
    if (failed)
        return failed == FAIL_INVALID ? bad_at(r, key_at, "duplicate key") : failed;
    skip_space(r);
    if (r->at == r->end || *r->at != ':')
        return bad(r, "':' expected");
    r->at++;
    *expect = VALUE;
    return TELL(r, on_key, r->arg, text);
}

static enum fail read_after(struct reader *r, enum expect *expect)
{
    bool in_object = r->frames[r->depth - 1].is_object;
    char c = *r->at;
    if (c == ',') {
        r->at++;
        *expect = in_object ? KEY : VALUE;
        return FAIL_OK;
    }
    if (c == (in_object ? '}' : ']'))
        return close_frame(r, expect);
    return bad(r, in_object ? "',' or '}' expected" : "',' or ']' expected");
}

static enum fail read_next(struct reader *r, enum expect *expect)
{
    char c = *r->at;
    switch (*expect) {
    case VALUE_OR_END: return c == ']' ? close_frame(r, expect) : read_value(r, expect);
    case VALUE: return read_value(r, expect);
    case KEY_OR_END: return c == '}' ? close_frame(r, expect) : read_key(r, expect);
    case KEY: return read_key(r, expect);
    case AFTER: return read_after(r, expect);
    }
    return FAIL_INVALID;
}

static enum fail read_document(struct reader *r)
{
    enum expect expect = VALUE;
    do {
        skip_space(r);
        if (r->at == r->end)
            return bad(r, "");
        enum fail failed = read_next(r, &expect);
        if (failed)
            return failed;
    } while (r->depth > 0);
    skip_space(r);
    return r->at == r->end ? FAIL_OK : bad(r, "text after the end of the document");
}

static void reader_clear(struct reader *r)
{
    while (r->depth > 0) {
        struct frame *frame = &r->frames[--r->depth];
        if (frame->is_object)
            json_scope_end(&r->keys, &frame->scope);
    }
    if (r->frames != r->frames_inside)
        mem_free(r->frames);
    json_keys_clear(&r->keys);
    buf_clear(&r->scratch);
}

enum fail json_read(struct str text, const struct json_limits *limits, const struct json_sink *sink, void *arg,
                    struct json_where *where)
{
    assert(sink && where);
    *where = (struct json_where){ 0 };
    if (text.len > UINT32_MAX) {
        where->why = "document of 4 GiB or more";
        return FAIL_INVALID;
    }
    struct reader r; /* the arrays inside need no zeroing */
    r.start = r.at = text.data;
    r.end = text.data + text.len;
    r.sink = sink;
    r.arg = arg;
    r.where = where;
    r.depth = 0;
    r.depth_max = limits && limits->depth_max ? limits->depth_max : DEPTH_MAX;
    r.values_left = limits && limits->values_max ? limits->values_max : VALUES_MAX;
    r.frames = r.frames_inside;
    r.frames_cap = FRAMES_INSIDE;
    json_keys_init(&r.keys, text.data);
    buf_init(&r.scratch, MEM_BASE, 0);
    enum fail failed = read_document(&r);
    reader_clear(&r);
    return failed;
}
