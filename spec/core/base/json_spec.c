/* json_spec.c - JSON out as PostgreSQL writes it, and in as RFC 8259 says. */
#include "support/spec.h"

#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* --- a sink that writes down what it is told --- */

static struct buf told;

static bool told_null(void *arg) { return buf_add_str(arg, STR("null ")), true; }
static bool told_bool(void *arg, bool value) { return buf_add_str(arg, value ? STR("true ") : STR("false ")), true; }
static bool told_int(void *arg, int64_t value) { return buf_addf(arg, "int:%" PRId64 " ", value), true; }
static bool told_text(struct buf *out, const char *what, struct str text)
{
    buf_addf(out, "%s:", what);
    buf_add_str(out, text);
    buf_add_char(out, ' ');
    return true;
}
static bool told_number(void *arg, struct str text) { return told_text(arg, "number", text); }
static bool told_string(void *arg, struct str text) { return told_text(arg, "string", text); }
static bool told_key(void *arg, struct str text) { return told_text(arg, "key", text); }
static bool told_object(void *arg) { return buf_add_str(arg, STR("{ ")), true; }
static bool told_object_end(void *arg) { return buf_add_str(arg, STR("} ")), true; }
static bool told_array(void *arg) { return buf_add_str(arg, STR("[ ")), true; }
static bool told_array_end(void *arg) { return buf_add_str(arg, STR("] ")), true; }

static const struct json_sink teller = {
    .on_null = told_null,
    .on_bool = told_bool,
    .on_int = told_int,
    .on_number = told_number,
    .on_string = told_string,
    .on_key = told_key,
    .on_object = told_object,
    .on_object_end = told_object_end,
    .on_array = told_array,
    .on_array_end = told_array_end,
};

static enum fail read_text(struct str text, struct json_where *where)
{
    buf_clear(&told);
    return json_read(text, NULL, &teller, &told, where);
}

/* --- the writer --- */

static struct buf out;

static int open_bufs(void **state)
{
    (void)state;
    buf_init(&told, MEM_BASE, 0);
    buf_init(&out, MEM_BASE, 0);
    return 0;
}

static int close_bufs(void **state)
{
    (void)state;
    buf_clear(&told);
    buf_clear(&out);
    return 0;
}

static struct str written_string(struct str text)
{
    buf_reset(&out);
    json_add_string(&out, text);
    return str_make(out.data, out.len);
}

static struct str written_double(double value)
{
    buf_reset(&out);
    json_add_double(&out, value);
    return str_make(out.data, out.len);
}

static void strings_are_escaped_as_to_json_does(void **state)
{
    (void)state;
    assert_text(written_string(STR("")), "\"\"");
    assert_text(written_string(STR_NONE), "\"\"");
    assert_text(written_string(STR("\"\\/")), "\"\\\"\\\\/\"");
    assert_text(written_string(STR("\b\f\n\r\t")), "\"\\b\\f\\n\\r\\t\"");
    assert_text(written_string(STR("\x01\x0b\x1f\x7f")), "\"\\u0001\\u000b\\u001f\x7f\"");
    assert_text(written_string(STR("a\0b")), "\"a\\u0000b\"");
    assert_text(written_string(STR("\xC3\xA9\xE2\x80\xA8\xF0\x9F\x95\xAF")),
                "\"\xC3\xA9\xE2\x80\xA8\xF0\x9F\x95\xAF\"");
}

static void an_escape_is_found_at_every_place(void **state)
{
    (void)state;
    static const char odd[] = "\"\\\n\x01\x1f";
    static const char *const escaped[] = { "\\\"", "\\\\", "\\n", "\\u0001", "\\u001f" };
    for (size_t len = 1; len < 40; len++) {
        for (size_t at = 0; at < len; at++) {
            for (size_t k = 0; k < COUNT_OF(escaped); k++) {
                char text[41], expected[50];
                memset(text, k % 2 ? 'x' : '\xBF', len); /* the writer does not look at what UTF-8 is */
                text[at] = odd[k];
                int expected_len = snprintf(expected, sizeof expected, "\"%.*s%s%.*s\"", (int)at, text, escaped[k],
                                            (int)(len - at - 1), text + at + 1);
                struct str result = written_string(str_make(text, len));
                assert_int_equal(result.len, expected_len);
                assert_memory_equal(result.data, expected, result.len);
            }
        }
    }
}

static void many_escapes_grow_the_buffer(void **state)
{
    (void)state;
    static char text[5000];
    memset(text, 1, sizeof text);
    struct str result = written_string(str_make(text, sizeof text));
    assert_int_equal(result.len, 6 * sizeof text + 2);
    struct json_where where;
    assert_int_equal(read_text(result, &where), FAIL_OK);
    assert_int_equal(told.len, sizeof text + strlen("string: "));
}

static void a_full_buffer_fails_and_stays_within_its_limit(void **state)
{
    (void)state;
    for (size_t max = 1; max < 60; max++) {
        struct buf small;
        buf_init(&small, MEM_BASE, max);
        json_add_string(&small, STR("0123456789\n0123456789\n0123456789\x01"));
        assert_int_equal(buf_ok(&small), max >= 42);
        buf_clear(&small);
        buf_init(&small, MEM_BASE, max);
        json_add_double(&small, -1.2345678901234567e-300);
        assert_true(small.len <= max);
        buf_clear(&small);
    }
}

/* The right-hand side is what `select to_json(x::float8)` of PostgreSQL 15 prints. */
static void doubles_are_written_as_to_json_does(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        { 1.0, "1" },
        { -1.0, "-1" },
        { 0.0, "0" },
        { 0.1, "0.1" },
        { 0.5, "0.5" },
        { -2.5, "-2.5" },
        { 100000.0, "100000" },
        { 1e-7, "1e-07" },
        { 1e-6, "1e-06" },
        { 0.0001, "0.0001" },
        { 0.00001, "1e-05" },
        { 0.00012345, "0.00012345" },
        { 123456.789, "123456.789" },
        { 1e14, "100000000000000" },
        { 1e15, "1e+15" },
        { 999999999999999.0, "999999999999999" },
        { 1e16, "1e+16" },
        { 1e20, "1e+20" },
        { 1e21, "1e+21" },
        { 1e22, "1e+22" },
        { 1e23, "9.999999999999999e+22" },
        { 1e-10, "1e-10" },
        { 1e100, "1e+100" },
        { 1.5e300, "1.5e+300" },
        { 1.7976931348623157e308, "1.7976931348623157e+308" },
        { 2.2250738585072014e-308, "2.2250738585072014e-308" },
        { 2.225073858507201e-308, "2.225073858507201e-308" },
        { 5e-324, "5e-324" },
        { 1e-323, "1e-323" },
        { 0.30000000000000004, "0.30000000000000004" },
        { 0.3, "0.3" },
        { 3.141592653589793, "3.141592653589793" },
        { 2.718281828459045, "2.718281828459045" },
        { 1234567890123456.0, "1.234567890123456e+15" },
        { 9007199254740991.0, "9.007199254740991e+15" },
        { 9007199254740992.0, "9.007199254740992e+15" },
        { 9007199254740994.0, "9.007199254740994e+15" },
        { 123456789012345678.0, "1.2345678901234568e+17" },
        { 1.23456789012345e-5, "1.23456789012345e-05" },
        { 4.35, "4.35" },
        { 0.000123456789, "0.000123456789" },
        { 5.684341886080802e-14, "5.684341886080802e-14" },
        { 7.1202363472230444e-307, "7.120236347223045e-307" },
        { 9.5367431640625e-07, "9.5367431640625e-07" },
        { 8.5899973e9, "8589997300" },
        { 1.8014398509482008e16, "1.8014398509482008e+16" },
        { -1e-7, "-1e-07" },
        { -123.456, "-123.456" },
        { 6.02214076e23, "6.02214076e+23" },
        { 1.602176634e-19, "1.602176634e-19" },
        { 99.99, "99.99" },
        { 1e9, "1000000000" },
        { 4294967296.0, "4294967296" },
        { 18446744073709551615.0, "1.8446744073709552e+19" },
        { 0.1e-3, "0.0001" },
        { 33.333333333333336, "33.333333333333336" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_text(written_double(cases[i].value), cases[i].text);
        buf_add_char(&out, '\0');
        assert_true(strtod(out.data, NULL) == cases[i].value);
    }
    assert_text(written_double(NAN), "\"NaN\"");
    assert_text(written_double(INFINITY), "\"Infinity\"");
    assert_text(written_double(-INFINITY), "\"-Infinity\"");
    assert_text(written_double(-0.0), "-0");
}

static double double_of_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Does the decimal lie right between the value and its neighbour? PostgreSQL does not print such a one. */
static bool is_half_way(const char *text, double value)
{
    long double decimal = strtold(text, NULL);
    double neighbour = nextafter(value, decimal > value ? INFINITY : -INFINITY);
    return decimal == ((long double)value + neighbour) / 2;
}

static void doubles_read_back_equal_with_no_digit_too_many(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (unsigned i = 0; i < 100000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        double value = double_of_bits(i % 4 ? random : random & 0xffff000000000000u);
        if (!isfinite(value))
            continue;
        struct str text = written_double(value);
        buf_add_char(&out, '\0');
        assert_true(strtod(text.data, NULL) == value);
        unsigned digits = 0, zeros = 0;
        for (const char *at = text.data; *at && *at != 'e'; at++) {
            if (*at < '0' || *at > '9')
                continue;
            digits += digits > 0 || *at != '0';
            zeros = *at == '0' ? zeros + 1 : 0;
        }
        assert_true(digits <= 17 || strlen(text.data) <= 17);
        char shorter[40]; /* one digit less, correctly rounded, is another number */
        int significant = (int)digits - (int)(strchr(text.data, '.') ? 0 : zeros);
        if (significant > 1) {
            snprintf(shorter, sizeof shorter, "%.*e", significant - 2, value);
            assert_true(strtod(shorter, NULL) != value || is_half_way(shorter, value));
        }
    }
}

/* --- the reader --- */

static void events_come_in_document_order(void **state)
{
    (void)state;
    struct json_where where;
    assert_int_equal(read_text(STR(" {\"a\" : [1, -2.50, 1e5, \"x\\ny\", true], \"b\": {\"a\":null}, \"\":[],\n"
                                   "\"c\":{} , \"d\":false}\r\n\t"),
                               &where),
                     FAIL_OK);
    assert_text(told, "{ key:a [ int:1 number:-2.50 number:1e5 string:x\ny true ] key:b { key:a null } key: [ ] "
                      "key:c { } key:d false } ");
    assert_null(where.why);
}

static void integers_are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *text, *told;
    } cases[] = {
        { "9007199254740993", "int:9007199254740993 " },
        { "123456789012345678", "int:123456789012345678 " },
        { "9223372036854775807", "int:9223372036854775807 " },
        { "-9223372036854775808", "int:-9223372036854775808 " },
        { "9223372036854775808", "number:9223372036854775808 " },
        { "-9223372036854775809", "number:-9223372036854775809 " },
        { "100000000000000000000000000", "number:100000000000000000000000000 " },
        { "0", "int:0 " },
        { "1.0", "number:1.0 " },
        { "1e-7", "number:1e-7 " },
        { "0.1000000000000000055511151231257827", "number:0.1000000000000000055511151231257827 " },
        { "-0.0", "number:-0.0 " },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct json_where where;
        assert_int_equal(read_text(str_of(cases[i].text), &where), FAIL_OK);
        assert_text(told, cases[i].told);
    }
}

static void strings_are_decoded(void **state)
{
    (void)state;
    static const struct {
        struct str text;
        struct str decoded;
    } cases[] = {
        { STR("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), STR("string:\"\\/\b\f\n\r\t ") },
        { STR("\"\\u0041\\u00e9\\u20AC\\ud83d\\udd6f\""), STR("string:A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x95\xAF ") },
        { STR("\"\\u0000\""), STR("string:\0 ") },
        { STR("\"\\uD800\\uDC00\\uDBFF\\uDFFF\""), STR("string:\xF0\x90\x80\x80\xF4\x8F\xBF\xBF ") },
        { STR("\"\\uFFFF\\uE000\\uD7FF\""), STR("string:\xEF\xBF\xBF\xEE\x80\x80\xED\x9F\xBF ") },
        { STR("\"\\\\u0041\""), STR("string:\\u0041 ") },
        { STR("\"\x7f\xE2\x80\xA8\""), STR("string:\x7f\xE2\x80\xA8 ") },
        { STR("{\"\\u006b\":1}"), STR("{ key:k int:1 } ") },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct json_where where;
        assert_int_equal(read_text(cases[i].text, &where), FAIL_OK);
        assert_true(str_is(str_make(told.data, told.len), cases[i].decoded));
    }
}

/* Accepted by the grammar of RFC 8259, section by section. */
static const struct str good[] = {
    /* 2: any value, white space around every structural character */
    STR("null"),
    STR("true"),
    STR("false"),
    STR("0"),
    STR("\"\""),
    STR("[]"),
    STR("{}"),
    STR(" [] "),
    STR("\t\n\r []"),
    STR(" [ 1 , 2 ] "),
    STR("{ \"a\" : 1 }"),
    STR("[\n]"),
    STR("[1\n]"),
    STR("[ ]"),
    STR("{\n}"),
    STR("\"x\" "),
    /* 4, 5: objects and arrays */
    STR("{\"a\":1,\"b\":2}"),
    STR("{\"\":0}"),
    STR("{\"a\":{\"a\":{\"a\":1}}}"),
    STR("[[],[[]]]"),
    STR("[{},{}]"),
    STR("[null,1,\"1\",{},true]"),
    STR("[1,null,null,null,2]"),
    STR("[[]   ]"),
    STR("[\"\"]"),
    STR("[\"a\"]"),
    STR("{\"x\":[{\"id\":\"xxx\"}],\"id\":\"xxx\"}"),
    STR("{\"title\":\"\\u041f\\u043e\"}"),
    STR("{\"a\\u0000b\":1}"),
    /* 6: numbers */
    STR("-0"),
    STR("-1"),
    STR("10"),
    STR("123"),
    STR("0.5"),
    STR("-0.5"),
    STR("0e1"),
    STR("0E1"),
    STR("0e+1"),
    STR("0e-1"),
    STR("1e1"),
    STR("1E22"),
    STR("1e-2"),
    STR("1e+2"),
    STR("1.5e10"),
    STR("123.456e78"),
    STR("1E-2"),
    STR("20e1"),
    STR("-123123e100000"),
    STR("0.4e00669999999999999999999"),
    STR("1.000000000000000005"),
    STR("[-0]"),
    STR("[ 4]"),
    STR("-0.000000000000000000000000000000000000000000000000000000000000000000000000000001"),
    STR("-237462374673276894279832749832423479823246327846"),
    /* 7: strings */
    STR("\"a\""),
    STR("\" \""),
    STR("\"\\u0060\\u012a\\u12AB\""),
    STR("\"\\ud801\\udc37\""),
    STR("\"\\uDBFF\\uDFFE\""),
    STR("\"a/*b*/c\""),
    STR("\"\\\\a\""),
    STR("\"\\\\n\""),
    STR("\"\\\"\""),
    STR("\"asd \""),
    STR("\"\x7f\""),
    STR("\"\xF4\x8F\xBF\xBF\""),
    STR("\"\xEF\xBF\xBF\""),
    STR("\"\\u0000\""),
    STR("\"\\uFFFE\\u2064\\u200B\""),
    STR("\"\xCF\x80\""),
    STR("\"\xF0\x9B\xBF\xBF\""),
    STR("\"\xE2\x80\xA8\xE2\x80\xA9\""),
    STR("\"\\u0012\""),
    STR("\"\xE2\x8D\x82\xE3\x88\xB4\""),
    STR("\"\\uA66D\""),
    STR("\"new\\u000Aline\""),
    STR("\"\\/\""),
};

/* Refused, and at which byte. */
static const struct {
    struct str text;
    size_t offset;
} bad[] = {
    /* 2: no value, more than one, wrong words, wrong space */
    { STR(""), 0 },
    { STR(" "), 1 },
    { STR("nul"), 0 },
    { STR("nulll"), 4 },
    { STR("True"), 0 },
    { STR("TRUE"), 0 },
    { STR("NaN"), 0 },
    { STR("[1]x"), 3 },
    { STR("1 2"), 2 },
    { STR("[][]"), 2 },
    { STR("{}}"), 2 },
    { STR("[]]"), 2 },
    { STR("{}#"), 2 },
    { STR("\"\"x"), 2 },
    { STR("\xEF\xBB\xBF{}"), 0 },
    { STR("\xEF\xBB\xBF"), 0 },
    { STR("\f[]"), 0 },
    { STR("[\v1]"), 1 },
    { STR("[\xC2\xA0]"), 1 },
    { STR("[\xE2\x81\xA0]"), 1 },
    { STR("[]\0"), 2 },
    { STR("\0"), 0 },
    { STR("<null>"), 0 },
    { STR("undefined"), 0 },
    { STR("*"), 0 },
    { STR("a\xC3\xA5"), 0 },
    { STR("\xC3\xA5"), 0 },
    { STR("{}/**/"), 2 },
    { STR("{}//"), 2 },
    { STR("/**/{}"), 0 },
    { STR("[1/*x*/]"), 2 },
    { STR("'a'"), 0 },
    { STR("[nul]"), 1 },
    { STR("[fals]"), 1 },
    { STR("[tru]"), 1 },
    { STR("Infinity"), 0 },
    { STR("[True]"), 1 },
    /* 4: objects */
    { STR("{"), 1 },
    { STR("{\"a\""), 4 },
    { STR("{\"a\":"), 5 },
    { STR("{\"a\":1"), 6 },
    { STR("{\"a\":1,"), 7 },
    { STR("{\"a\":1,}"), 7 },
    { STR("{,\"a\":1}"), 1 },
    { STR("{a:1}"), 1 },
    { STR("{'a':1}"), 1 },
    { STR("{1:1}"), 1 },
    { STR("{\"a\" 1}"), 5 },
    { STR("{\"a\",1}"), 4 },
    { STR("{\"a\"::1}"), 5 },
    { STR("{\"a\":1 \"b\":2}"), 7 },
    { STR("{\"a\":1,,\"b\":2}"), 7 },
    { STR("{\"a\":1]"), 6 },
    { STR("{]"), 1 },
    { STR("{\"a\":}"), 5 },
    { STR("{:1}"), 1 },
    { STR("{null:1}"), 1 },
    { STR("{[]:1}"), 1 },
    { STR("{\"a\":1;\"b\":2}"), 6 },
    { STR("{\"a\"=1}"), 4 },
    { STR("{\"a\":\"b\"}#"), 9 },
    { STR("{\"a\":\"b\",,\"c\":1}"), 9 },
    { STR("{\"\\uD800\":1}"), 4 },
    { STR("{\"a\":1,\"a\":2}"), 7 },
    { STR("{\"a\":1,\"\\u0061\":2}"), 7 },
    { STR("{\"a\":{},\"b\":{\"c\":1,\"c\":1}}"), 19 },
    { STR("{\"\":1,\"\":2}"), 6 },
    { STR("{\"\\n\":1,\"b\":[{\"\\n\":1}],\"\\u000a\":2}"), 23 },
    { STR("{\"a\":a}"), 5 },
    /* 5: arrays */
    { STR("["), 1 },
    { STR("[1"), 2 },
    { STR("[1,"), 3 },
    { STR("[1,]"), 3 },
    { STR("[,1]"), 1 },
    { STR("[,]"), 1 },
    { STR("[1,,2]"), 3 },
    { STR("[1 2]"), 3 },
    { STR("[1}"), 2 },
    { STR("[\"a\":1]"), 4 },
    { STR("[1:2]"), 2 },
    { STR("]"), 0 },
    { STR("[[1]"), 4 },
    { STR("[}"), 1 },
    { STR("[1,\n1\n,1"), 8 },
    { STR("[\"\",]"), 4 },
    { STR("[\"a\",\n4\n,1,"), 11 },
    { STR("[x"), 1 },
    { STR("[3[4]]"), 2 },
    { STR("[*]"), 1 },
    { STR("[{}"), 3 },
    { STR("[false, nul"), 8 },
    { STR("[\"x\"]]"), 5 },
    { STR("[\xFF]"), 1 },
    { STR("[\"\"\"\"]"), 3 },
    /* 6: numbers */
    { STR("-"), 1 },
    { STR("+1"), 0 },
    { STR("01"), 1 },
    { STR("-01"), 2 },
    { STR("00"), 1 },
    { STR("--1"), 1 },
    { STR(".5"), 0 },
    { STR("-.5"), 1 },
    { STR("1."), 2 },
    { STR("1.e1"), 2 },
    { STR("0.e1"), 2 },
    { STR("1e"), 2 },
    { STR("1e+"), 3 },
    { STR("1e-"), 3 },
    { STR("1ee1"), 2 },
    { STR("1e1.5"), 3 },
    { STR("1e+-1"), 3 },
    { STR("0x1"), 1 },
    { STR("1_000"), 1 },
    { STR("1,000"), 1 },
    { STR("1 000"), 2 },
    { STR("-Infinity"), 1 },
    { STR("-NaN"), 1 },
    { STR("1.2.3"), 3 },
    { STR("1+2"), 1 },
    { STR("- 1"), 1 },
    { STR("1a"), 1 },
    { STR("0E"), 2 },
    { STR("0.3e"), 4 },
    { STR("2.e+3"), 2 },
    { STR("-2."), 3 },
    { STR("[1.]"), 3 },
    { STR("[-]"), 2 },
    { STR("[1e]"), 3 },
    { STR("[0e+]"), 4 },
    { STR("[-foo]"), 2 },
    { STR("[++1234]"), 1 },
    { STR("[-2.]"), 4 },
    { STR("\xEF\xBC\x91"), 0 },
    { STR("[1\xC3\xA9]"), 2 },
    { STR("[0e+-1]"), 4 },
    { STR("[1eE2]"), 3 },
    { STR("[.123]"), 1 },
    { STR("[-012]"), 3 },
    /* 7: strings */
    { STR("\""), 1 },
    { STR("\"a"), 2 },
    { STR("\"\\"), 2 },
    { STR("\"\\\""), 3 },
    { STR("\"\\x41\""), 2 },
    { STR("\"\\a\""), 2 },
    { STR("\"\\'\""), 2 },
    { STR("\"\\0\""), 2 },
    { STR("\"\\v\""), 2 },
    { STR("\"\\U0041\""), 2 },
    { STR("\"\\u\""), 3 },
    { STR("\"\\u12\""), 3 },
    { STR("\"\\u123\""), 3 },
    { STR("\"\\u12g4\""), 3 },
    { STR("\"\\u00A\""), 3 },
    { STR("\"\\uD800\""), 3 },
    { STR("\"\\uDC00\""), 3 },
    { STR("\"\\uD800\\u0041\""), 3 },
    { STR("\"\\uD800\\uD800\""), 3 },
    { STR("\"\\uD800x\""), 3 },
    { STR("\"\\uD800\\\""), 9 },
    { STR("\"\\uDC00\\uD800\""), 3 },
    { STR("\"\\uD834\\uDd\""), 3 },
    { STR("\"\\uD800\\u\""), 3 },
    { STR("\"\\uD800\\u1\""), 3 },
    { STR("\"\\\xE5\""), 2 },
    { STR("\"\\\t\""), 2 },
    { STR("\"\n\""), 1 },
    { STR("\"\t\""), 1 },
    { STR("\"\x1f\""), 1 },
    { STR("\"a\0b\""), 2 },
    { STR("\"\\\0\""), 2 },
    { STR("\"0123456789\x01\""), 11 },
    { STR("\"\x80\""), 1 },
    { STR("\"\xC0\x80\""), 1 },
    { STR("\"\xC3\""), 1 },
    { STR("\"\xED\xA0\x80\""), 1 },
    { STR("\"\xF4\x90\x80\x80\""), 1 },
    { STR("\"\xF5\x80\x80\x80\""), 1 },
    { STR("\"\xE0\x80\xAF\""), 1 },
    { STR("\"ok\xFF\""), 3 },
    { STR("\"\xE2\x82"), 3 },
    { STR("\"\xC3\\n\""), 1 },
    { STR("[\"\\u{41}\"]"), 4 },
    { STR("[\"asd]"), 6 },
    { STR("[\\n]"), 1 },
    { STR("[\"a\\"), 4 },
    { STR("{\"a\xFF\":1}"), 3 },
    { STR("\\u0041"), 0 },
};

static void what_the_grammar_allows_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        struct json_where where;
        if (read_text(good[i], &where))
            fail_msg("%.*s refused at %zu: %s", (int)good[i].len, good[i].data, where.offset, where.why);
    }
}

static void what_it_does_not_is_refused_at_the_right_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct json_where where;
        enum fail failed = read_text(bad[i].text, &where);
        if (failed != FAIL_INVALID || where.offset != bad[i].offset)
            fail_msg("%.*s: %s at %zu, expected at %zu", (int)bad[i].text.len, bad[i].text.data, fail_text(failed),
                     where.offset, bad[i].offset);
        assert_non_null(where.why);
        if (bad[i].offset == bad[i].text.len)
            assert_string_equal(where.why, "unexpected end");
    }
}

static void no_part_of_a_document_is_a_document(void **state)
{
    (void)state;
    const struct str text = STR("{\"a\":[1.5e3,\"\\ud83d\\udd6f\xC3\xA9\",{\"b\":null}],\"c\\n\":[true,[]]}");
    for (size_t len = 0; len <= text.len; len++) {
        char *copy = mem_alloc(MEM_BASE, len); /* so that reading beyond is seen */
        memcpy(copy, text.data, len);
        struct json_where where;
        assert_int_equal(read_text(str_make(copy, len), &where), len == text.len ? FAIL_OK : FAIL_INVALID);
        mem_free(copy);
    }
}

static void depth_is_limited(void **state)
{
    (void)state;
    static char text[200000];
    struct json_where where;
    for (unsigned depth = 1; depth < 200; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        struct str document = str_make(text, 2 * depth);
        enum fail failed = read_text(document, &where);
        assert_int_equal(failed, depth <= 64 ? FAIL_OK : FAIL_INVALID);
        if (failed)
            assert_int_equal(where.offset, 64);
        assert_int_equal(json_read(document, &(struct json_limits){ .depth_max = depth }, &teller, &told, &where),
                         FAIL_OK);
        if (depth > 1)
            assert_int_equal(
                json_read(document, &(struct json_limits){ .depth_max = depth - 1 }, &teller, &told, &where),
                FAIL_INVALID);
    }
    memset(text, '[', sizeof text);
    assert_int_equal(read_text(str_make(text, sizeof text), &where), FAIL_INVALID);
    assert_string_equal(where.why, "nested too deeply");
}

static void values_are_limited(void **state)
{
    (void)state;
    struct json_where where;
    const struct json_limits limits = { .values_max = 4 };
    assert_int_equal(json_read(STR("[1,{\"a\":2}]"), &limits, &teller, &told, &where), FAIL_OK);
    assert_int_equal(json_read(STR("[1,{\"a\":2,\"b\":3}]"), &limits, &teller, &told, &where), FAIL_INVALID);
    assert_string_equal(where.why, "too many values");
    assert_int_equal(where.offset, 14);
}

/* {"k0":0,"k1":0,...} with escapes in every third key, inside another object with the same keys. */
static void add_keys(struct buf *text, unsigned count)
{
    buf_add_char(text, '{');
    for (unsigned i = 0; i < count; i++)
        buf_addf(text, i % 3 ? "%s\"k%u\":0" : "%s\"\\u006b%u\":0", i ? "," : "", i);
}

static void duplicate_keys_are_found_in_objects_of_any_size(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, MEM_BASE, 0);
    struct json_where where;
    for (unsigned count = 1; count < 400; count += count < 140 ? 1 : 37) {
        for (unsigned i = 0; i < 4; i++) { /* none; the first; the last; one in the middle, spelt differently */
            buf_reset(&text);
            add_keys(&text, count);
            buf_add_str(&text, STR(",\"x\":"));
            add_keys(&text, count);
            buf_add_str(&text, STR("},\"y\":1}"));
            unsigned again = i == 1 ? 0 : i == 2 ? count - 1 : count / 2;
            if (i) {
                text.len -= 1;
                buf_addf(&text, ",\"\\u006B%u\":1}", again);
            }
            enum fail failed = read_text(str_make(text.data, text.len), &where);
            assert_int_equal(failed, i ? FAIL_INVALID : FAIL_OK);
            if (i)
                assert_string_equal(where.why, "duplicate key");
        }
    }
    buf_clear(&text);
}

static unsigned sink_calls_left;
static bool stop_text(void *arg, struct str text) { return (void)arg, (void)text, --sink_calls_left > 0; }
static bool stop_int(void *arg, int64_t value) { return (void)arg, (void)value, --sink_calls_left > 0; }
static bool stop_plain(void *arg) { return (void)arg, --sink_calls_left > 0; }

static void a_sink_can_stop_the_reader_anywhere(void **state)
{
    (void)state;
    const struct json_sink sink = { .on_null = stop_plain,
                                    .on_int = stop_int,
                                    .on_string = stop_text,
                                    .on_key = stop_text,
                                    .on_object = stop_plain,
                                    .on_object_end = stop_plain,
                                    .on_array = stop_plain,
                                    .on_array_end = stop_plain };
    const struct str text = STR("{\"a\":[1,\"\\n\",null],\"b\":{\"c\":true}}"); /* on_bool is of no interest */
    struct json_where where;
    for (unsigned calls = 1; calls <= 11; calls++) {
        sink_calls_left = calls;
        assert_int_equal(json_read(text, NULL, &sink, NULL, &where), FAIL_CANCELLED);
        assert_int_equal(sink_calls_left, 0);
    }
    sink_calls_left = 13;
    assert_int_equal(json_read(text, NULL, &sink, NULL, &where), FAIL_OK);
}

static void small_documents_allocate_nothing(void **state)
{
    (void)state;
    const struct json_sink deaf = { 0 };
    struct json_where where;
    mem_fail_after(1);
    assert_int_equal(json_read(STR("{\"name\":\"a\\nb\",\"port\":80,\"labels\":{\"a\":[1,2,3]},\"x\":1.5}"), NULL,
                               &deaf, NULL, &where),
                     FAIL_OK);
    mem_fail_after(0);
}

static void running_out_of_memory_leaks_nothing(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, MEM_BASE, 0);
    for (unsigned i = 0; i < 60; i++)
        buf_add_str(&text, STR("{\"\\u0061\":"));
    add_keys(&text, 200);
    buf_addf(&text, ",\"long\":\"\\n%0600d\"}", 0);
    for (unsigned i = 0; i < 60; i++)
        buf_add_char(&text, '}');
    const struct json_sink deaf = { 0 };
    struct json_where where;
    size_t live = mem_live();
    enum fail failed = FAIL_NOMEM;
    unsigned n = 0;
    while (failed) {
        mem_fail_after(++n);
        failed = json_read(str_make(text.data, text.len), NULL, &deaf, NULL, &where);
        mem_fail_after(0);
        assert_int_equal(mem_live(), live);
        assert_true(!failed || failed == FAIL_NOMEM);
    }
    assert_true(n > 5);
    buf_clear(&text);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, open_bufs, close_bufs)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(strings_are_escaped_as_to_json_does),
        TEST(an_escape_is_found_at_every_place),
        TEST(many_escapes_grow_the_buffer),
        TEST(a_full_buffer_fails_and_stays_within_its_limit),
        TEST(doubles_are_written_as_to_json_does),
        TEST(doubles_read_back_equal_with_no_digit_too_many),
        TEST(events_come_in_document_order),
        TEST(integers_are_exact),
        TEST(strings_are_decoded),
        TEST(what_the_grammar_allows_is_read),
        TEST(what_it_does_not_is_refused_at_the_right_byte),
        TEST(no_part_of_a_document_is_a_document),
        TEST(depth_is_limited),
        TEST(values_are_limited),
        TEST(duplicate_keys_are_found_in_objects_of_any_size),
        TEST(a_sink_can_stop_the_reader_anywhere),
        TEST(small_documents_allocate_nothing),
        TEST(running_out_of_memory_leaks_nothing),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
