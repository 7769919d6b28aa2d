/* value_spec.c - parameter types have names. */
#include "support/spec.h"

#include "sql/value.h"

static void every_type_has_a_name(void **state)
{
    (void)state;
    static const char *const names[] = { "null", "boolean", "integer", "double", "text", "bytes", "json" };
    for (int type = SQL_NULL; type <= SQL_JSON; type++)
        assert_string_equal(sql_type_name((enum sql_type)type), names[type]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_has_a_name),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
