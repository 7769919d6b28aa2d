/* array_spec.c - PostgreSQL's arrays as JSON, and what is no array. */
#include "support/spec.h"

#include "sql/array.h"

static void arrays_become_json(void **state)
{
    (void)state;
    static const struct {
        const char *text, *json;
        enum sql_kind element;
    } cases[] = {
        { "{}", "[]", SQL_KIND_INT },
        { "{1,NULL,-3}", "[1,null,-3]", SQL_KIND_INT },
        { "{{1,2},{3,4}}", "[[1,2],[3,4]]", SQL_KIND_INT },
        { "[0:1][3:3]={{1},{2}}", "[[1],[2]]", SQL_KIND_INT },
        { "{1.50,NaN,-Infinity}", "[1.50,\"NaN\",\"-Infinity\"]", SQL_KIND_NUMERIC },
        { "{1e-07,1e+20}", "[1e-07,1e+20]", SQL_KIND_FLOAT },
        { "{t,f,NULL}", "[true,false,null]", SQL_KIND_BOOL },
        { "{a,\"NULL\",\"\",\"x y\",\"q\\\"b\\\\s\"}", "[\"a\",\"NULL\",\"\",\"x y\",\"q\\\"b\\\\s\"]", SQL_KIND_TEXT },
        { "{\"{\\\"a\\\": 1}\",null}", "[{\"a\": 1},null]", SQL_KIND_JSON },
        { "{\"2024-02-29 12:00:00\"}", "[\"2024-02-29T12:00:00\"]", SQL_KIND_TIMESTAMP },
        { "{\"2024-02-29 12:00:00+00\",infinity}", "[\"2024-02-29T12:00:00+00:00\",\"infinity\"]",
          SQL_KIND_TIMESTAMPTZ },
        { "{\"\\\\x00ff\"}", "[\"\\\\x00ff\"]", SQL_KIND_BYTES },
        { "{01,x}", "[\"01\",\"x\"]", SQL_KIND_INT }, /* no number JSON knows */
    };
    struct buf out;
    buf_init(&out, MEM_SQL, 0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        buf_reset(&out);
        assert_true(sql_array_add_json(&out, str_of(cases[i].text), cases[i].element));
        assert_text(out, cases[i].json);
    }
    buf_clear(&out);
}

static void what_is_no_array_leaves_nothing_behind(void **state)
{
    (void)state;
    static const char *const cases[] = { "",       "1",    "{",      "}",       "{1",     "{1,}",     "{,1}",
                                         "{1,,2}", "{1}2", "{1}{2}", "{\"a}",   "{\"a\\", "{a\"b\"}", "{\"a\"b}",
                                         "{{1}",   "{1}}", "[0:1]",  "[x]={1}", "{a\\b}", ",",        "{{}{}}" };
    struct buf out;
    buf_init(&out, MEM_SQL, 0);
    buf_add(&out, "ab", 2);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (sql_array_add_json(&out, str_of(cases[i]), SQL_KIND_TEXT))
            fail_msg("%s was taken", cases[i]);
        assert_text(out, "ab");
    }
    char deep[200];
    memset(deep, '{', 100);
    memset(deep + 100, '}', 100);
    assert_false(sql_array_add_json(&out, str_make(deep, 200), SQL_KIND_TEXT));
    sql_cell_add_json(&out, (struct sql_cell){ .kind = SQL_KIND_ARRAY, .element = SQL_KIND_INT, .text = STR("{1") });
    assert_text(out, "ab\"{1\"");
    buf_clear(&out);
}

static void a_long_element_with_escapes_is_whole(void **state)
{
    (void)state;
    struct buf text, out, expected;
    buf_init(&text, MEM_SQL, 0);
    buf_init(&out, MEM_SQL, 0);
    buf_init(&expected, MEM_SQL, 0);
    buf_add(&text, "{\"", 2);
    buf_add(&expected, "[\"", 2);
    for (int i = 0; i < 1000; i++) {
        buf_add(&text, "a\\\"", 3);
        buf_add(&expected, "a\\\"", 3);
    }
    buf_add(&text, "\"}", 2);
    buf_add(&expected, "\"]", 2);
    assert_true(sql_array_add_json(&out, str_make(text.data, text.len), SQL_KIND_TEXT));
    assert_int_equal(out.len, expected.len);
    assert_memory_equal(out.data, expected.data, out.len);
    buf_clear(&text);
    buf_clear(&out);
    buf_clear(&expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_become_json),
        cmocka_unit_test(what_is_no_array_leaves_nothing_behind),
        cmocka_unit_test(a_long_element_with_escapes_is_whole),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
