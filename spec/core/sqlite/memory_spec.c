/* memory_spec.c - every allocation fails once: the answer is an error in words, and nothing leaks. */
#include "support/sqlite_world.h"

#include "sqlite/connection.h"

static void opening_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct world world;
    unsigned failures = 0;
    world_fill(&world);
    for (unsigned n = 1; n < 200; n++) {
        size_t before = mem_live();
        world.why[0] = '\0';
        mem_fail_after(n);
        enum fail fail = sqlite_engine_open(&world.settings, &world.engine, world.why, sizeof world.why);
        mem_fail_after(0);
        if (!fail)
            break;
        assert_int_equal(fail, FAIL_NOMEM);
        assert_string_equal(world.why, "out of memory");
        assert_int_equal(mem_live(), before);
        failures++;
    }
    assert_true(failures > 3);
    world_close(&world);
}

/* One call on a connection of this thread; true when it worked. */
static bool runs(struct sqlite_connection *connection, const char *text)
{
    struct answer answer;
    struct sqlite_statement *statement;
    answer_set(&answer, text, "t", "a text that is long enough to need some room of its own in the result");
    sqlite_connection_begin_call(connection, 0);
    enum fail fail = sqlite_statements_get(&connection->statements, answer.call.text, &statement, &answer.call.error);
    if (!fail) {
        sqlite_connection_run(connection, statement, &answer.call);
        fail = answer.call.fail;
    }
    assert_true(fail == FAIL_OK || fail == FAIL_NOMEM);
    assert_true((fail == FAIL_OK) == (answer.call.rows != NULL));
    answer_free(&answer);
    return fail == FAIL_OK;
}

static void running_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct world world;
    world_fill(&world);
    world.settings.busy_ms = 100;
    world.settings.statement_cache = 4;
    unsigned failures = 0;
    bool has_run = false;
    for (unsigned n = 1; n < 200 && !has_run; n++) {
        struct sqlite_connection connection;
        assert_int_equal(sqlite_connection_open(&connection, &world.settings, false, world.why, sizeof world.why),
                         FAIL_OK);
        mem_fail_after(n);
        has_run = runs(&connection, "select $1 as \"some name\", 1 as b, x'00ff' as c, $1 || $1 as d");
        mem_fail_after(0);
        failures += !has_run;
        assert_true(runs(&connection, "select $1 as again"));
        sqlite_connection_close(&connection);
    }
    assert_true(has_run && failures > 5);
    world_close(&world);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_survives_every_failed_allocation),
        cmocka_unit_test(running_survives_every_failed_allocation),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
