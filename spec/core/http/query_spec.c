/* query_spec.c - pairs of a query, decoded. */
#include "support/spec.h"

#include "http/query.h"

#include <stdio.h>

static struct arena arena;

static int open_arena(void **state)
{
    (void)state;
    arena_init(&arena, MEM_HTTP, 0);
    return 0;
}

static int close_arena(void **state)
{
    (void)state;
    arena_clear(&arena);
    return 0;
}

/* Joins what comes as "key=value;"; the return value of the last call is appended. */
static const char *walk(const char *text)
{
    static char out[500];
    struct str query = str_of(text), key, value;
    size_t len = 0;
    int got;
    while ((got = http_query_next(&query, &arena, &key, &value)) == 1)
        len += (size_t)snprintf(out + len, sizeof out - len, "%.*s=%.*s;", (int)key.len, key.data, (int)value.len,
                                value.data);
    snprintf(out + len, sizeof out - len, "%d", got);
    return out;
}

static void pairs_come_in_order(void **state)
{
    (void)state;
    assert_string_equal(walk("a=1&b=2&a=3"), "a=1;b=2;a=3;0");
    assert_string_equal(walk(""), "0");
    assert_string_equal(walk("&&a=1&&"), "a=1;0");
    assert_string_equal(walk("a"), "a=;0");
    assert_string_equal(walk("a=&=b&=="), "a=;=b;==;0");
    assert_string_equal(walk("a=b=c"), "a=b=c;0");
}

static void escapes_are_decoded_once(void **state)
{
    (void)state;
    assert_string_equal(walk("a+b=c%20d&%26=%3D&x=%2541"), "a b=c d;&==;x=%41;0");
    assert_string_equal(walk("a=%E2%82%AC"), "a=\xe2\x82\xac;0");
}

static void broken_escapes_and_broken_text_are_refused(void **state)
{
    (void)state;
    assert_string_equal(walk("a=1&b=%"), "a=1;-1");
    assert_string_equal(walk("b=%4"), "-1");
    assert_string_equal(walk("%zz=1"), "-1");
    assert_string_equal(walk("a=%ff"), "-1");
    assert_string_equal(walk("a=%C0%80"), "-1");
    assert_string_equal(walk("a=%ED%A0%80"), "-1");
    assert_string_equal(walk("a=\xff"), "-1");
}

static void what_needs_no_decoding_is_not_copied(void **state)
{
    (void)state;
    const char *text = "abc=def";
    struct str query = str_of(text), key, value;
    assert_int_equal(http_query_next(&query, &arena, &key, &value), 1);
    assert_ptr_equal(key.data, text);
    assert_ptr_equal(value.data, text + 4);
}

static void no_memory_is_said(void **state)
{
    (void)state;
    struct str query = STR("a=%20"), key, value;
    struct arena empty;
    arena_init(&empty, MEM_HTTP, 0);
    mem_fail_after(1);
    assert_int_equal(http_query_next(&query, &empty, &key, &value), -2);
    mem_fail_after(0);
    arena_clear(&empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_come_in_order),
        cmocka_unit_test(escapes_are_decoded_once),
        cmocka_unit_test(broken_escapes_and_broken_text_are_refused),
        cmocka_unit_test(what_needs_no_decoding_is_not_copied),
        cmocka_unit_test(no_memory_is_said),
    };
    int failed = cmocka_run_group_tests(tests, open_arena, close_arena);
    const struct CMUnitTest last[] = { cmocka_unit_test(all_memory_is_given_back) };
    return failed + cmocka_run_group_tests(last, NULL, NULL);
}
