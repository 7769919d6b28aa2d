/* str_spec.c - small questions to bytes. */
#include "support/spec.h"

static void names_compare_without_case(void **state)
{
    (void)state;
    assert_true(str_is_nocase(STR("Content-Length"), STR("content-lENGTH")));
    assert_false(str_is_nocase(STR("a"), STR("ab")));
    assert_false(str_is_nocase(STR("["), STR("{"))); /* 0x20 apart, no letters */
    assert_false(str_is_nocase(STR("\xC3\x84"), STR("\xC3\xA4")));
    assert_true(str_is(STR_NONE, STR("")));
    assert_true(str_starts(STR("Bearer x"), STR("Bearer ")));
    assert_true(str_starts(STR(""), STR_NONE));
    assert_false(str_starts(STR("Be"), STR("Bearer")));
}

static void trimming_takes_spaces_and_tabs_only(void **state)
{
    (void)state;
    assert_text(str_trim(STR(" \t a b\t ")), "a b");
    assert_text(str_trim(STR("\r\n")), "\r\n");
    assert_text(str_trim(STR(" \t ")), "");
    assert_text(str_trim(STR_NONE), "");
}

static void splitting_leaves_the_rest(void **state)
{
    (void)state;
    struct str rest = STR("a=b=c");
    assert_text(str_split(&rest, '='), "a");
    assert_text(rest, "b=c");
    assert_text(str_split(&rest, '='), "b");
    assert_text(str_split(&rest, '='), "c");
    assert_text(rest, "");
    assert_text(str_split(&rest, '='), "");
    rest = STR("a=");
    assert_text(str_split(&rest, '='), "a");
    assert_text(rest, "");
    rest = STR_NONE;
    assert_text(str_split(&rest, '='), "");
}

static void numbers_are_whole_and_in_range(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        int64_t value;
    } cases[] = {
        { "0", true, 0 },
        { "-0", true, 0 },
        { "007", true, 7 },
        { "9223372036854775807", true, INT64_MAX },
        { "-9223372036854775808", true, INT64_MIN },
        { "9223372036854775808", false, 0 },
        { "-9223372036854775809", false, 0 },
        { "18446744073709551616", false, 0 },
        { "99999999999999999999", false, 0 },
        { "", false, 0 },
        { "-", false, 0 },
        { "+1", false, 0 },
        { " 1", false, 0 },
        { "1 ", false, 0 },
        { "1e3", false, 0 },
        { "--1", false, 0 },
        { "0x1", false, 0 },
        { "1.0", false, 0 },
        { "\xD9\xA1", false, 0 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int64_t value = 0;
        assert_int_equal(str_int64(str_of(cases[i].text), &value), cases[i].ok);
        if (cases[i].ok)
            assert_int_equal(value, cases[i].value);
    }
    uint64_t value;
    assert_true(str_uint64(STR("18446744073709551615"), &value));
    assert_true(value == UINT64_MAX);
    assert_false(str_uint64(STR("18446744073709551616"), &value));
    assert_false(str_uint64(STR("-1"), &value));
    assert_false(str_uint64(STR_NONE, &value));
}

static void utf8_is_as_rfc_3629_says(void **state)
{
    (void)state;
    static const char *const good[] = {
        "",
        "a",
        "\x7f",
        "\xC2\x80",
        "\xDF\xBF",
        "\xE0\xA0\x80",
        "\xED\x9F\xBF",
        "\xEE\x80\x80",
        "\xEF\xBF\xBF",
        "\xF0\x90\x80\x80",
        "\xF4\x8F\xBF\xBF",
        "0123456789abcdefgh\xC3\xA4jklmnop0123456789",
        "\xE2\x82\xAC\xE2\x82\xAC",
    };
    static const char *const bad[] = {
        "\x80",
        "\xBF",
        "\xC0\x80",
        "\xC1\xBF",
        "\xC2",
        "\xC2\x41",
        "\xC2\xC0",
        "\xE0\x9F\xBF",
        "\xE0\xA0",
        "\xED\xA0\x80",
        "\xED\xBF\xBF",
        "\xF0\x8F\xBF\xBF",
        "\xF0\x90\x80",
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "\xFF",
        "\xFE",
        "\xF8\x88\x80\x80\x80",
        "\xE2\x82\x41",
        "\xF0\x90\x41\x80",
        "0123456789abcde\xFFghijklmnopqrstuv",
    };
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_true(str_utf8(str_of(good[i])));
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(str_utf8(str_of(bad[i])));
    assert_true(str_utf8(STR("a\0b")));
    assert_true(str_utf8(STR_NONE));
    assert_int_equal(str_utf8_prefix(STR("0123456789\xC3\xA4 0123456789\xE2\x82")), 23);
}

/* The same answer by decoding code points one by one. */
static bool is_utf8_slowly(const unsigned char *p, size_t len)
{
    for (size_t i = 0; i < len;) {
        unsigned more = p[i] < 0x80 ? 0 : p[i] < 0xC0 ? 9 : p[i] < 0xE0 ? 1 : p[i] < 0xF0 ? 2 : p[i] < 0xF8 ? 3 : 9;
        static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 }, masks[] = { 0x7f, 0x1f, 0xf, 7 };
        if (more == 9 || i + more >= len)
            return false;
        uint32_t code = p[i] & masks[more];
        for (unsigned k = 1; k <= more; k++) {
            if ((p[i + k] & 0xC0) != 0x80)
                return false;
            code = code << 6 | (p[i + k] & 63);
        }
        if (code < least[more] || code > 0x10ffff || (code >= 0xD800 && code <= 0xDFFF))
            return false;
        i += more + 1;
    }
    return true;
}

static void utf8_agrees_with_a_slow_reader_on_all_short_texts(void **state)
{
    (void)state;
    static const unsigned char bytes[] = { 0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf,
                                           0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff };
    unsigned char text[20] = "aaaaaaaaaaaaaaaaaaa";
    const size_t n = COUNT_OF(bytes);
    for (size_t i = 0; i < n * n * n * n; i++) {
        unsigned char *at = text + i % 13; /* at all places within the words that are read together */
        memset(text, 'a', sizeof text);
        at[0] = bytes[i % n];
        at[1] = bytes[i / n % n];
        at[2] = bytes[i / n / n % n];
        at[3] = bytes[i / n / n / n];
        bool expected = is_utf8_slowly(text, sizeof text);
        if (str_utf8(str_make((char *)text, sizeof text)) != expected)
            fail_msg("%02x %02x %02x %02x", at[0], at[1], at[2], at[3]);
    }
}

static void percent_escapes_are_decoded_or_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool plus_is_space;
        const char *decoded; /* NULL: refused */
    } cases[] = {
        { "a%20b", false, "a b" }, { "a+b", false, "a+b" },         { "a+b", true, "a b" }, { "%2B+", true, "+ " },
        { "", false, "" },         { "%c3%A4", false, "\xC3\xA4" }, { "%", false, NULL },   { "%4", false, NULL },
        { "a%4", false, NULL },    { "%g0", false, NULL },          { "%0g", false, NULL }, { "%%41", false, NULL },
        { "%+1", true, NULL },     { "%2541", false, "%41" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char out[32];
        ptrdiff_t len = str_percent_decode(str_of(cases[i].text), cases[i].plus_is_space, out);
        if (!cases[i].decoded) {
            assert_int_equal(len, -1);
        } else {
            assert_int_equal(len, strlen(cases[i].decoded));
            assert_memory_equal(out, cases[i].decoded, (size_t)len);
        }
    }
    char place[] = "x%00y";
    assert_int_equal(str_percent_decode(str_of(place), false, place), 3);
    assert_memory_equal(place, "x\0y", 3);
}

static void secrets_are_equal_in_every_byte(void **state)
{
    (void)state;
    assert_true(str_same_secret(STR("secret"), STR("secret")));
    assert_false(str_same_secret(STR("secret"), STR("secreT")));
    assert_false(str_same_secret(STR("secret"), STR("secre")));
    assert_false(str_same_secret(STR("\x80"), STR("\0")));
    assert_true(str_same_secret(STR_NONE, STR("")));
}

static void hex_is_lower_case(void **state)
{
    (void)state;
    char out[8];
    assert_int_equal(str_hex("\x00\xfa\x9C\xff", 4, out), 8);
    assert_memory_equal(out, "00fa9cff", 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_compare_without_case),
        cmocka_unit_test(trimming_takes_spaces_and_tabs_only),
        cmocka_unit_test(splitting_leaves_the_rest),
        cmocka_unit_test(numbers_are_whole_and_in_range),
        cmocka_unit_test(utf8_is_as_rfc_3629_says),
        cmocka_unit_test(utf8_agrees_with_a_slow_reader_on_all_short_texts),
        cmocka_unit_test(percent_escapes_are_decoded_or_refused),
        cmocka_unit_test(secrets_are_equal_in_every_byte),
        cmocka_unit_test(hex_is_lower_case),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
