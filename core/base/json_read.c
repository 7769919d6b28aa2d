/* json_read.c - reads JSON (RFC 8259) from front to back and tells a sink what it sees.
 *
 * DESIGN  A loop over `expect`, what may come next, and a stack of the open arrays and objects; no recursion.
 *         VALUE -> AFTER [scalar]   VALUE -> VALUE_OR_END [ '[' ]   VALUE -> KEY_OR_END [ '{' ]
 *         KEY -> VALUE [string and ':']   AFTER -> VALUE, KEY [',']   AFTER -> AFTER [']' '}']   AFTER -> the end [depth 0]
 *         Strings without escapes are handed on as they lie in the text; others are decoded into scratch.
 *         Keys of the open objects lie on one stack, those of the innermost object on top. Up to FEW_KEYS of an object
 *         are compared one by one; beyond, the object gets a hash index (SipHash, so nobody can choose collisions).
 *         Small documents stay within the memory of `struct reader` and allocate nothing.
 * HOLDS   at <= end. keys_count, frames and copies shrink to what they were when an object closes.
 */
#include "base/json.h"

#include "base/siphash.h"

#include <assert.h>

#define DEPTH_MAX 64u
#define VALUES_MAX 1000000u
#define FRAMES_INSIDE 32u
#define KEYS_INSIDE 64u
#define SCRATCH_INSIDE 512u
#define FEW_KEYS 16u
#define INDEX_MIN 64u

#define ONES 0x0101010101010101u
#define TOPS 0x8080808080808080u

enum expect { VALUE, VALUE_OR_END, KEY, KEY_OR_END, AFTER };

struct key {
    size_t at; /* offset in the text, or in copies */
    uint32_t len;
    bool is_copy;
};

struct frame {
    bool is_object;
    uint32_t *index;  /* NULL while the object has few keys; else positions in keys, plus one; 0 is empty */
    size_t index_cap; /* a power of two */
    size_t keys_start, copies_start;
};

struct reader {
    const char *start, *at, *end;
    const struct json_sink *sink;
    void *arg;
    struct json_where *where;
    unsigned depth, depth_max, values_left;
    struct frame *frames; /* frames[depth - 1] is the innermost */
    struct key *keys;
    size_t frames_cap, keys_count, keys_cap;
    struct buf scratch; /* for strings longer than scratch_inside */
    struct buf copies;  /* decoded keys of open objects, those with escapes */
    struct frame frames_inside[FRAMES_INSIDE];
    struct key keys_inside[KEYS_INSIDE];
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

/* --- strings --- */

struct raw {
    const char *from;
    size_t len;
    bool has_escape, has_wide;
};

/* Top bits of the bytes that are control characters, " or \ (the lowest is right) or not ASCII. */
static inline uint64_t special_bytes(uint64_t x)
{
    uint64_t quote = x ^ (ONES * '"'), slash = x ^ (ONES * '\\');
    return ((((x - ONES * 0x20) | (quote - ONES) | (slash - ONES)) & ~x) | x) & TOPS;
}

static inline bool is_special(unsigned char c) { return c < 0x20 || c == '"' || c == '\\' || c >= 0x80; }

static inline const char *skip_common(const char *at, const char *end)
{
    for (; end - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        uint64_t hits = special_bytes(word);
        if (hits)
            return at + __builtin_ctzll(hits) / 8;
    }
    while (at < end && !is_special((unsigned char)*at))
        at++;
    return at;
}

/* From after the opening quote to after the closing one. Escapes are looked at later. */
static enum fail scan_string(struct reader *r, struct raw *raw)
{
    *raw = (struct raw){ .from = r->at };
    for (;;) {
        r->at = skip_common(r->at, r->end);
        if (r->at == r->end)
            return bad(r, "");
        unsigned char c = (unsigned char)*r->at;
        if (c == '"')
            break;
        if (c < 0x20)
            return bad(r, "control character in a string");
        if (c >= 0x80) {
            raw->has_wide = true;
            while (r->at < r->end && (unsigned char)*r->at >= 0x80)
                r->at++;
            continue;
        }
        raw->has_escape = true;
        if (r->end - r->at < 2)
            return bad_at(r, r->end, "unexpected end");
        r->at++;
        if ((unsigned char)*r->at < 0x20 || (unsigned char)*r->at >= 0x80)
            return bad(r, "unknown escape");
        r->at++;
    }
    raw->len = (size_t)(r->at - raw->from);
    r->at++;
    if (!raw->has_wide)
        return FAIL_OK;
    size_t good = str_utf8_prefix(str_make(raw->from, raw->len));
    return good == raw->len ? FAIL_OK : bad_at(r, raw->from + good, "invalid UTF-8");
}

/* Four hex digits at `at`, or -1. */
static int32_t read_hex4(const char *at, const char *end)
{
    if (end - at < 4)
        return -1;
    int32_t value = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)at[i];
        unsigned digit = c - (unsigned)'0';
        if (digit > 9) {
            digit = (c | 0x20u) - (unsigned)'a';
            if (digit > 5)
                return -1;
            digit += 10;
        }
        value = value * 16 + (int32_t)digit;
    }
    return value;
}

static char *put_utf8(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xC0 | code >> 6);
        *to++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *to++ = (char)(0xE0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    } else {
        *to++ = (char)(0xF0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 63));
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    }
    return to;
}

/* *from stands after "\u". */
static enum fail decode_unicode(struct reader *r, const char **from, const char *end, char **to)
{
    int32_t code = read_hex4(*from, end);
    if (code < 0)
        return bad_at(r, *from, "\\u wants four hex digits");
    if (code >= 0xDC00 && code <= 0xDFFF)
        return bad_at(r, *from, "lone surrogate");
    *from += 4;
    if (code >= 0xD800 && code <= 0xDBFF) {
        int32_t low = end - *from >= 6 && memcmp(*from, "\\u", 2) == 0 ? read_hex4(*from + 2, end) : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return bad_at(r, *from - 4, "lone surrogate");
        *from += 6;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    *to = put_utf8(*to, (uint32_t)code);
    return FAIL_OK;
}

static const char escapes[128] = {
    ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t'
};

/* Decodes into `to`, which has room for raw.len bytes: no escape is shorter than what it stands for. */
static enum fail decode(struct reader *r, struct raw raw, char *to, size_t *len)
{
    const char *from = raw.from, *end = from + raw.len;
    char *start = to;
    while (from < end) {
        const char *slash = memchr(from, '\\', (size_t)(end - from));
        size_t run = (size_t)((slash ? slash : end) - from);
        memcpy(to, from, run);
        to += run;
        from += run;
        if (!slash)
            break;
        unsigned char c = (unsigned char)from[1];
        from += 2;
        if (c == 'u') {
            enum fail failed = decode_unicode(r, &from, end, &to);
            if (failed)
                return failed;
        } else if (escapes[c]) {
            *to++ = escapes[c];
        } else {
            return bad_at(r, from - 1, "unknown escape");
        }
    }
    *len = (size_t)(to - start);
    return FAIL_OK;
}

/* Reads a string after its opening quote; *text lives until the next one is read. */
static enum fail read_string(struct reader *r, struct str *text, bool *is_decoded)
{
    struct raw raw;
    enum fail failed = scan_string(r, &raw);
    if (failed)
        return failed;
    *is_decoded = raw.has_escape;
    *text = str_make(raw.from, raw.len);
    if (!raw.has_escape)
        return FAIL_OK;
    char *to = r->scratch_inside;
    if (raw.len > SCRATCH_INSIDE) {
        buf_reset(&r->scratch);
        if (!buf_room(&r->scratch, raw.len))
            return FAIL_NOMEM;
        to = r->scratch.data;
    }
    text->data = to;
    return decode(r, raw, to, &text->len);
}

/* --- keys --- */

static struct str key_text(const struct reader *r, const struct key *key)
{
    return str_make((key->is_copy ? r->copies.data : r->start) + key->at, key->len);
}

/* The place in the index for the text: that of an equal key, or an empty one. */
static uint32_t *index_find(const struct reader *r, const struct frame *frame, struct str text)
{
    size_t mask = frame->index_cap - 1;
    for (size_t i = siphash(text.data, text.len) & mask;; i = (i + 1) & mask) {
        uint32_t *place = &frame->index[i];
        if (*place == 0 || str_is(key_text(r, &r->keys[*place - 1]), text))
            return place;
    }
}

/* Makes or doubles the index, so that it is at most half full with one key more. */
static enum fail index_grow(struct reader *r, struct frame *frame)
{
    size_t cap = frame->index ? frame->index_cap * 2 : INDEX_MIN;
    uint32_t *index = mem_zero(MEM_BASE, cap * sizeof *index);
    if (!index)
        return FAIL_NOMEM;
    mem_free(frame->index);
    frame->index = index;
    frame->index_cap = cap;
    for (size_t i = frame->keys_start; i < r->keys_count; i++)
        *index_find(r, frame, key_text(r, &r->keys[i])) = (uint32_t)i + 1;
    return FAIL_OK;
}

static bool is_among_few(const struct reader *r, const struct frame *frame, struct str text)
{
    for (size_t i = frame->keys_start; i < r->keys_count; i++)
        if (r->keys[i].len == text.len && str_is(key_text(r, &r->keys[i]), text))
            return true;
    return false;
}

static enum fail keys_push(struct reader *r, struct str text, bool is_decoded)
{
    if (r->keys_count == r->keys_cap) {
        bool is_inside = r->keys == r->keys_inside;
        struct key *keys = mem_grow(MEM_BASE, is_inside ? NULL : r->keys, 2 * r->keys_cap * sizeof *keys);
        if (!keys)
            return FAIL_NOMEM;
        if (is_inside)
            memcpy(keys, r->keys_inside, sizeof r->keys_inside);
        r->keys = keys;
        r->keys_cap *= 2;
    }
    struct key key = { .len = (uint32_t)text.len, .is_copy = is_decoded };
    if (is_decoded) {
        key.at = r->copies.len;
        buf_add_str(&r->copies, text);
        if (!buf_ok(&r->copies))
            return FAIL_NOMEM;
    } else {
        key.at = (size_t)(text.data - r->start);
    }
    r->keys[r->keys_count++] = key;
    return FAIL_OK;
}

static enum fail note_key(struct reader *r, struct str text, bool is_decoded, const char *key_at)
{
    struct frame *frame = &r->frames[r->depth - 1];
    size_t count = r->keys_count - frame->keys_start;
    bool is_double;
    uint32_t *place = NULL;
    if (count < FEW_KEYS) {
        is_double = is_among_few(r, frame, text);
    } else {
        if (!frame->index || count * 2 >= frame->index_cap) {
            enum fail failed = index_grow(r, frame);
            if (failed)
                return failed;
        }
        place = index_find(r, frame, text);
        is_double = *place != 0;
    }
    if (is_double)
        return bad_at(r, key_at, "duplicate key");
    enum fail failed = keys_push(r, text, is_decoded);
    if (place && !failed)
        *place = (uint32_t)r->keys_count;
    return failed;
}

/* --- values --- */

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
    r->frames[r->depth++] = (struct frame){ .is_object = is_object,
                                            .keys_start = r->keys_count,
                                            .copies_start = r->copies.len };
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
    r->keys_count = frame->keys_start;
    r->copies.len = frame->copies_start;
    mem_free(frame->index);
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
    failed = note_key(r, text, is_decoded, key_at);
    if (failed)
        return failed;
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
    for (unsigned i = 0; i < r->depth; i++)
        mem_free(r->frames[i].index);
    if (r->frames != r->frames_inside)
        mem_free(r->frames);
    if (r->keys != r->keys_inside)
        mem_free(r->keys);
    buf_clear(&r->scratch);
    buf_clear(&r->copies);
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
    r.keys = r.keys_inside;
    r.keys_cap = KEYS_INSIDE;
    r.keys_count = 0;
    buf_init(&r.scratch, MEM_BASE, 0);
    buf_init(&r.copies, MEM_BASE, 0);
    enum fail failed = read_document(&r);
    reader_clear(&r);
    return failed;
}
