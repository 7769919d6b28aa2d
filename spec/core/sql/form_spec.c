/* form_spec.c - rows, arrays of rows and vectors as JSON, and what is not of its form. */
#include "support/spec.h"

#include "sql/form.h"

#define VALUE(name, its_kind) static const struct sql_form name = { .shape = SQL_FORM_VALUE, .kind = its_kind }
VALUE(number, SQL_KIND_INT);
VALUE(text, SQL_KIND_TEXT);
VALUE(truth, SQL_KIND_BOOL);
VALUE(real, SQL_KIND_FLOAT);
VALUE(json, SQL_KIND_JSON);
VALUE(instant, SQL_KIND_TIMESTAMPTZ);
VALUE(bytes, SQL_KIND_BYTES);

static const struct sql_field pair_fields[] = { { { "\"a\":", 4 }, &number }, { { "\"b\":", 4 }, &text } };
static const struct sql_form pair = { .shape = SQL_FORM_ROW, .field_count = 2, .fields = pair_fields };
static const struct sql_form pairs = { .shape = SQL_FORM_ARRAY, .delimiter = ',', .element = &pair };
static const struct sql_field nest_fields[] = { { { "\"p\":", 4 }, &pair }, { { "\"q\":", 4 }, &pairs } };
static const struct sql_form nest = { .shape = SQL_FORM_ROW, .field_count = 2, .fields = nest_fields };
static const struct sql_form empty = { .shape = SQL_FORM_ROW };
static const struct sql_field one_field[] = { { { "\"j\":", 4 }, &json } };
static const struct sql_form one = { .shape = SQL_FORM_ROW, .field_count = 1, .fields = one_field };
static const struct sql_form vector = { .shape = SQL_FORM_VECTOR, .element = &number };
static const struct sql_form vectors = { .shape = SQL_FORM_ARRAY, .delimiter = ',', .element = &vector };
static const struct sql_form boxes = { .shape = SQL_FORM_ARRAY, .delimiter = ';', .element = &text };

static void what_is_of_its_form_becomes_json(void **state)
{
    (void)state;
    static const struct {
        const struct sql_form *form;
        const char *text, *json;
    } cases[] = {
        { &pair, "(1,x)", "{\"a\":1,\"b\":\"x\"}" },
        { &pair, "(,)", "{\"a\":null,\"b\":null}" },
        { &pair, "(,\"\")", "{\"a\":null,\"b\":\"\"}" },
        { &pair, "(-5,\"a \"\"b\"\" \\\\ (c), d\")", "{\"a\":-5,\"b\":\"a \\\"b\\\" \\\\ (c), d\"}" },
        { &pair, "(1,\"\\\"\")", "{\"a\":1,\"b\":\"\\\"\"}" },
        { &pair, "(1,\"h\303\251\n\")", "{\"a\":1,\"b\":\"h\303\251\\n\"}" },
        { &empty, "()", "{}" },
        { &one, "()", "{\"j\":null}" },
        { &one, "(\"{\"\"x\"\": [1, 2]}\")", "{\"j\":{\"x\": [1, 2]}}" },
        { &pairs, "{\"(1,x)\",NULL,\"(2,\\\"y z\\\")\"}", "[{\"a\":1,\"b\":\"x\"},null,{\"a\":2,\"b\":\"y z\"}]" },
        { &pairs, "{}", "[]" },
        { &nest, "(\"(1,\"\"a b\"\")\",\"{\"\"(2,\\\\\"\"c d\\\\\"\")\"\"}\")",
          "{\"p\":{\"a\":1,\"b\":\"a b\"},\"q\":[{\"a\":2,\"b\":\"c d\"}]}" },
        { &truth, "t", "true" },
        { &truth, "f", "false" },
        { &real, "-Infinity", "\"-Infinity\"" },
        { &real, "1e-07", "1e-07" },
        { &instant, "2024-02-29 12:00:00+00", "\"2024-02-29T12:00:00+00:00\"" },
        { &instant, "infinity", "\"infinity\"" },
        { &bytes, "\\x00ff", "\"\\\\x00ff\"" },
        { &bytes, "\\\\ \"", "\"\\\\\\\\ \\\"\"" }, /* bytea_output = escape */
        { &vector, "1 2 3", "[1,2,3]" },
        { &vector, "", "[]" },
        { &vectors, "{\"1 2\",3}", "[[1,2],[3]]" },
        { &boxes, "{(1,1),(0,0);(2,2),(1,1)}", "[\"(1,1),(0,0)\",\"(2,2),(1,1)\"]" },
    };
    struct buf out;
    buf_init(&out, MEM_SQL, 0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        buf_reset(&out);
        if (!sql_form_add_json(&out, str_of(cases[i].text), cases[i].form, false))
            fail_msg("%s was refused", cases[i].text);
        assert_text(out, cases[i].json);
    }
    buf_clear(&out);
}

static void what_is_not_leaves_nothing_behind(void **state)
{
    (void)state;
    static const struct {
        const struct sql_form *form;
        const char *text;
    } cases[] = {
        { &pair, "" },
        { &pair, "(" },
        { &pair, "()" },
        { &pair, "(1)" },
        { &pair, "(1,x,2)" },
        { &pair, "(1,x" },
        { &pair, "1,x)" },
        { &pair, "(1,x)y" },
        { &pair, "(x,1)" },
        { &pair, "(1,\"x)" },
        { &pair, "(1,\"x\"y)" },
        { &pair, "(1,x\"y\")" },
        { &pair, "(1,\"x\\)" },
        { &pair, "(1,x\\y)" },
        { &pair, "(1,(x))" },
        { &pair, "(1,\"x\"\")" },
        { &empty, "(1)" },
        { &empty, "" },
        { &one, "({)" },
        { &one, "(\"{\"\"a\"\":}\")" },
        { &pairs, "{(1,x)}" },
        { &pairs, "{\"(1)\"}" },
        { &pairs, "{1}" },
        { &nest, "(\"(1)\",)" },
        { &truth, "true" },
        { &truth, "" },
        { &real, "inf" },
        { &number, "NaN" },
        { &number, "01" },
        { &instant, "2024-01-01 \"" },
        { &vector, "1  2" },
        { &vector, "1 " },
        { &vector, "a" },
        { &vectors, "{\"x\"}" },
        { &nest, "(,\"{\"\"(x,)\"\"}\")" },
    };
    struct buf out;
    buf_init(&out, MEM_SQL, 0);
    buf_add(&out, "ab", 2);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (sql_form_add_json(&out, str_of(cases[i].text), cases[i].form, false))
            fail_msg("%s was taken", cases[i].text);
        assert_text(out, "ab");
    }
    buf_clear(&out);
}

/* A lone surrogate is json to PostgreSQL and none to us. */
static void trusted_json_is_taken_as_it_is(void **state)
{
    (void)state;
    static const char *const text_of_it = "(\"\"\"\\\\ud800\"\"\")";
    struct buf out;
    buf_init(&out, MEM_SQL, 0);
    assert_false(sql_form_add_json(&out, str_of(text_of_it), &one, false));
    assert_true(sql_form_add_json(&out, str_of(text_of_it), &one, true));
    assert_text(out, "{\"j\":\"\\ud800\"}");
    buf_clear(&out);
}

static void a_long_field_with_escapes_is_whole(void **state)
{
    (void)state;
    struct buf row, out, expected;
    buf_init(&row, MEM_SQL, 0);
    buf_init(&out, MEM_SQL, 0);
    buf_init(&expected, MEM_SQL, 0);
    buf_add(&row, "(7,\"", 4);
    buf_add_str(&expected, STR("{\"a\":7,\"b\":\""));
    for (int i = 0; i < 1000; i++) {
        buf_add(&row, "a\"\"", 3);
        buf_add(&expected, "a\\\"", 3);
    }
    buf_add(&row, "\")", 2);
    buf_add(&expected, "\"}", 2);
    assert_true(sql_form_add_json(&out, str_make(row.data, row.len), &pair, false));
    assert_int_equal(out.len, expected.len);
    assert_memory_equal(out.data, expected.data, out.len);
    buf_clear(&row);
    buf_clear(&out);
    buf_clear(&expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_of_its_form_becomes_json), cmocka_unit_test(what_is_not_leaves_nothing_behind),
        cmocka_unit_test(trusted_json_is_taken_as_it_is),   cmocka_unit_test(a_long_field_with_escapes_is_whole),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
