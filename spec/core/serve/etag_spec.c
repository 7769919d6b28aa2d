/* etag_spec.c - equal bodies have one name, different ones different names; If-None-Match is read as RFC 9110 says. */
#include "support/spec.h"

#include "serve/etag.h"

#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

static void a_name_is_sixteen_digits_in_quotes(void **state)
{
    (void)state;
    char etag[SERVE_ETAG_LEN + 1];
    serve_etag(STR("{}"), etag);
    assert_int_equal(strlen(etag), SERVE_ETAG_LEN);
    assert_true(etag[0] == '"' && etag[17] == '"');
    assert_int_equal(strspn(etag + 1, "0123456789abcdef"), 16);
}

static void a_name_depends_on_nothing_but_the_bytes(void **state)
{
    (void)state;
    char at[8][128], first[SERVE_ETAG_LEN + 1], other[SERVE_ETAG_LEN + 1];
    for (size_t i = 0; i < 8; i++) { /* at any address */
        memset(at[i], 'x', sizeof at[i]);
        memcpy(at[i] + i, "{\"id\":1,\"name\":\"a body that is longer than one step of the digest\"}", 67);
    }
    serve_etag(str_make(at[0], 67), first);
    for (size_t i = 1; i < 8; i++) {
        serve_etag(str_make(at[i] + i, 67), other);
        assert_string_equal(first, other);
    }
}

/* Bodies of 0 to 99 zeros, and those of 99 zeros with one bit set. */
static void every_bit_and_the_length_count(void **state)
{
    (void)state;
    enum { LEN = 99, COUNT = LEN + 1 + LEN * 8 };
    static char body[LEN], names[COUNT][SERVE_ETAG_LEN + 1];
    for (size_t i = 0; i <= LEN; i++)
        serve_etag(str_make(body, i), names[i]);
    for (size_t bit = 0; bit < (size_t)LEN * 8; bit++) {
        body[bit / 8] = (char)(1u << bit % 8);
        serve_etag(str_make(body, LEN), names[LEN + 1 + bit]);
        body[bit / 8] = 0;
    }
    qsort(names, COUNT, sizeof *names, by_text);
    for (size_t i = 1; i < COUNT; i++)
        assert_string_not_equal(names[i - 1], names[i]);
}

/* Half of the 64 bits turn, give or take, whichever bit of the body does. */
static void one_bit_turns_about_half_of_the_name(void **state)
{
    (void)state;
    char body[64] = { 0 }, before[SERVE_ETAG_LEN + 1], after[SERVE_ETAG_LEN + 1];
    serve_etag(str_make(body, sizeof body), before);
    for (size_t bit = 0; bit < sizeof body * 8; bit++) {
        body[bit / 8] = (char)(1u << bit % 8);
        serve_etag(str_make(body, sizeof body), after);
        body[bit / 8] = 0;
        uint64_t turned = strtoull(before + 1, NULL, 16) ^ strtoull(after + 1, NULL, 16);
        assert_in_range(__builtin_popcountll(turned), 12, 52);
    }
}

static void if_none_match_is_a_list_compared_weakly(void **state)
{
    (void)state;
    const char *etag = "\"0123456789abcdef\"";
    assert_true(serve_etag_matches(STR("\"0123456789abcdef\""), str_of(etag)));
    assert_true(serve_etag_matches(STR("W/\"0123456789abcdef\""), str_of(etag)));
    assert_true(serve_etag_matches(STR("\"a\", \"0123456789abcdef\" ,\"b\""), str_of(etag)));
    assert_true(serve_etag_matches(STR("*"), str_of(etag)));
    assert_false(serve_etag_matches(STR("\"0123456789abcde\""), str_of(etag)));
    assert_false(serve_etag_matches(STR("0123456789abcdef"), str_of(etag)));
    assert_false(serve_etag_matches(STR(""), str_of(etag)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_sixteen_digits_in_quotes),
        cmocka_unit_test(a_name_depends_on_nothing_but_the_bytes),
        cmocka_unit_test(every_bit_and_the_length_count),
        cmocka_unit_test(one_bit_turns_about_half_of_the_name),
        cmocka_unit_test(if_none_match_is_a_list_compared_weakly),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
