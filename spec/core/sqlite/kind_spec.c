/* kind_spec.c - what declared types mean, and which texts are JSON. */
#include "support/spec.h"

#include "sqlite/kind.h"

static void declared_types_have_kinds(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        enum sql_kind kind;
    } cases[] = {
        { "BOOLEAN", SQL_KIND_BOOL },
        { "bool", SQL_KIND_BOOL },
        { "json", SQL_KIND_JSON },
        { "JSONB", SQL_KIND_JSON },
        { "TIMESTAMPTZ", SQL_KIND_TIMESTAMPTZ },
        { "timestamptz(3)", SQL_KIND_TIMESTAMPTZ },
        { "DATETIME", SQL_KIND_TEXT },
        { "TIMESTAMP", SQL_KIND_TEXT },
        { "INT8", SQL_KIND_INT },
        { "INTEGER", SQL_KIND_INT },
        { "NVARCHAR(160)", SQL_KIND_TEXT },
        { "NUMERIC(10,2)", SQL_KIND_NUMERIC },
        { "BLOB", SQL_KIND_BYTES },
        { "DOUBLE", SQL_KIND_FLOAT },
        { "uuid", SQL_KIND_TEXT },
        { "boolean_like", SQL_KIND_TEXT },
        { NULL, SQL_KIND_TEXT },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(sqlite_kind_of_type(cases[i].type), cases[i].kind);
}

static void json_is_told_from_what_is_none(void **state)
{
    (void)state;
    static const char *const good[] = { "null",
                                        " 1 ",
                                        "-0.5e+3",
                                        "\"\\u00e4\\n\"",
                                        "[]",
                                        "{}",
                                        "[1,[2,{\"a\":[]}]]",
                                        "{\"a\":1,\"a\":2}",
                                        "\t{ \"a\" : { } , \"b\" : [ null ] }\n",
                                        "[[],{},[]]" };
    static const char *const bad[] = {
        "",       " ",  "nul", "01",   "1.",   "-",     "+1",  "1e",        "\"",      "\"\\x\"",  "\"\\u12\"",
        "\"\t\"", "[",  "]",   "[1,]", "[,1]", "[1 2]", "{",   "{a:1}",     "{\"a\"}", "{\"a\":}", "{\"a\":1,}",
        "[}",     "{]", "1 2", "[]]",  "{}}",  "nulll", "[1}", "{\"a\":1]", "NaN"
    };
    for (size_t i = 0; i < COUNT_OF(good); i++)
        if (!sqlite_kind_is_json(str_of(good[i])))
            fail_msg("%s is JSON", good[i]);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (sqlite_kind_is_json(str_of(bad[i])))
            fail_msg("%s is no JSON", bad[i]);
}

static void depth_has_a_limit(void **state)
{
    (void)state;
    static char text[4004];
    for (int deep = 999; deep <= 1001; deep++) {
        memset(text, '[', (size_t)deep);
        memset(text + deep, ']', (size_t)deep);
        assert_int_equal(sqlite_kind_is_json(str_make(text, 2 * (size_t)deep)), deep <= 1000);
    }
}

static void timestamps_are_known_by_their_shape(void **state)
{
    (void)state;
    assert_true(sqlite_kind_is_timestamp(STR("2024-02-29 12:00:00.5+00")));
    assert_true(sqlite_kind_is_timestamp(STR("2024-02-29 12:00")));
    assert_false(sqlite_kind_is_timestamp(STR("2024-02-29T12:00:00Z")));
    assert_false(sqlite_kind_is_timestamp(STR("2024-02-29 12:0")));
    assert_false(sqlite_kind_is_timestamp(STR("2024-02-29 12:00 \"x\"")));
    assert_false(sqlite_kind_is_timestamp(STR("2024-02-29 12:00\0\0")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(declared_types_have_kinds), cmocka_unit_test(json_is_told_from_what_is_none),
        cmocka_unit_test(depth_has_a_limit),         cmocka_unit_test(timestamps_are_known_by_their_shape),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
