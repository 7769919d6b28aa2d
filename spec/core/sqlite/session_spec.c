/* session_spec.c - transactions: in turn, isolated, ended by their caller or for him. */
#include "support/sqlite_world.h"

static void a_session_commits_or_rolls_back(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    ask(&world, "create table t(a)", "");
    struct sql_session *session = begin(&world, false);
    assert_string_equal(ask_in(&world, session, "insert into t values (1)"), "[]");
    assert_string_equal(ask_in(&world, session, "select count(*) as n from t"), "[{\"n\":1}]");
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "[{\"n\":0}]");
    assert_string_equal(ask_in(&world, session, "commit"), "[]");
    assert_string_equal(ask_in(&world, session, "insert into t values (2)"), "25P01");
    sql_session_end(session);
    session = begin(&world, false);
    ask_in(&world, session, "insert into t values (3)");
    assert_string_equal(ask_in(&world, session, "rollback"), "[]");
    sql_session_end(session);
    session = begin(&world, false);
    ask_in(&world, session, "insert into t values (4)");
    sql_session_end(session);
    assert_string_equal(ask(&world, "insert into t values (5) returning a", ""), "[{\"a\":5}]");
    assert_string_equal(ask(&world, "select a from t order by a", ""), "[{\"a\":1},{\"a\":5}]");
    world_close(&world);
}

static void now_stands_still_in_a_transaction(void **state)
{
    (void)state;
    struct world world;
    char first[64];
    world_open(&world);
    struct sql_session *session = begin(&world, false);
    snprintf(first, sizeof first, "%s", ask_in(&world, session, "select now() as t"));
    loop_turn(world.loop, 5, NULL);
    assert_string_equal(ask_in(&world, session, "select now() as t"), first);
    sql_session_end(session);
    world_close(&world);
}

static void a_failed_statement_fails_the_transaction(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    ask(&world, "create table t(a unique)", "");
    struct sql_session *session = begin(&world, false);
    ask_in(&world, session, "insert into t values (1)");
    assert_string_equal(ask_in(&world, session, "insert into t values (1)"), "23505");
    assert_string_equal(ask_in(&world, session, "select 1 as x"), "25P02");
    assert_string_equal(ask_in(&world, session, "commit"), "25P02");
    assert_string_equal(ask_in(&world, session, "select 1 as x"), "25P01");
    sql_session_end(session);
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "[{\"n\":0}]");
    session = begin(&world, false);
    ask_in(&world, session, "insert into t values (1)");
    ask_in(&world, session, "savepoint s");
    assert_string_equal(ask_in(&world, session, "insert into t values (1)"), "23505");
    assert_string_equal(ask_in(&world, session, "rollback to s"), "[]");
    assert_string_equal(ask_in(&world, session, "insert into t values (2)"), "[]");
    assert_string_equal(ask_in(&world, session, "begin"), "25001");
    assert_string_equal(ask_in(&world, session, "rollback to s"), "[]");
    assert_string_equal(ask_in(&world, session, "commit"), "[]");
    sql_session_end(session);
    assert_string_equal(ask(&world, "select a from t", ""), "[{\"a\":1}]");
    session = begin(&world, false);
    assert_string_equal(ask_in(&world, session, "insert or rollback into t values (1)"), "23505");
    assert_string_equal(ask_in(&world, session, "insert into t values (3)"), "25P02");
    assert_string_equal(ask_in(&world, session, "rollback"), "[]");
    sql_session_end(session);
    assert_string_equal(ask(&world, "select a from t", ""), "[{\"a\":1}]");
    world_close(&world);
}

static void a_deferred_constraint_fails_the_commit(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    ask(&world, "create table p(id integer primary key)", "");
    ask(&world, "create table c(p int references p(id) deferrable initially deferred)", "");
    struct sql_session *session = begin(&world, false);
    assert_string_equal(ask_in(&world, session, "insert into c values (1)"), "[]");
    assert_string_equal(ask_in(&world, session, "commit"), "23503");
    assert_string_equal(ask_in(&world, session, "select 1"), "25P01");
    sql_session_end(session);
    assert_string_equal(ask(&world, "select count(*) as n from c", ""), "[{\"n\":0}]");
    world_close(&world);
}

static void writers_take_turns_in_order_of_arrival(void **state)
{
    (void)state;
    struct world world;
    struct wish wishes[3] = { 0 };
    struct answer write;
    unsigned next = 0;
    world_open(&world);
    ask(&world, "create table t(a)", "");
    for (int i = 0; i < 3; i++) {
        wishes[i].order_next = &next;
        wish_start(&world, &wishes[i], false);
        if (i == 1) {
            answer_set(&write, "insert into t values (9)", "");
            write.order_next = &next;
            run(&world, &write);
        }
    }
    wish_wait(&world, &wishes[0]);
    loop_turn(world.loop, 30, NULL);
    assert_false(wishes[1].is_done || write.is_done);
    ask_in(&world, wishes[0].lease.session, "insert into t values (0)");
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "[{\"n\":0}]"); /* reads go on */
    sql_session_end(wishes[0].lease.session);
    wish_wait(&world, &wishes[1]);
    loop_turn(world.loop, 30, NULL);
    assert_false(write.is_done);
    sql_session_end(wishes[1].lease.session);
    wish_wait(&world, &wishes[2]);
    assert_true(write.is_done);
    answer_free(&write);
    sql_session_end(wishes[2].lease.session);
    assert_true(wishes[0].order == 0 && wishes[1].order == 1 && write.order == 2 && wishes[2].order == 3);
    world_close(&world);
}

static void a_reading_session_sees_one_state_and_cannot_write(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    ask(&world, "create table t(a)", "");
    struct sql_session *session = begin(&world, true);
    assert_string_equal(ask_in(&world, session, "select count(*) as n from t"), "[{\"n\":0}]");
    ask(&world, "insert into t values (1)", "");
    assert_string_equal(ask_in(&world, session, "select count(*) as n from t"), "[{\"n\":0}]");
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "[{\"n\":1}]");
    assert_string_equal(ask_in(&world, session, "insert into t values (2)"), "25006");
    sql_session_end(session);
    world_close(&world);
}

static void reading_sessions_leave_a_reader_for_the_others(void **state)
{
    (void)state;
    struct world world;
    struct wish second = { .lease = { .timeout_ms = 0 } };
    world_open(&world);
    struct sql_session *first = begin(&world, true);
    wish_start(&world, &second, true);
    assert_string_equal(ask(&world, "select 1 as x", ""), "[{\"x\":1}]");
    assert_false(second.is_done);
    sql_session_end(first);
    wish_wait(&world, &second);
    assert_int_equal(second.lease.fail, FAIL_OK);
    sql_session_end(second.lease.session);
    world_close(&world);
}

static void an_idle_transaction_is_rolled_back(void **state)
{
    (void)state;
    struct world world;
    world_fill(&world);
    world.settings.idle_ms = 60;
    world_start(&world);
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    ask(&world, "create table t(a)", "");
    struct sql_session *session = begin(&world, false);
    ask_in(&world, session, "insert into t values (1)");
    assert_string_equal(ask(&world, "insert into t values (2)", ""), "[]"); /* waits until the session is thrown out */
    assert_string_equal(ask_in(&world, session, "select 1"), "25P03");
    assert_string_equal(ask_in(&world, session, "commit"), "25P03");
    sql_session_end(session);
    assert_string_equal(ask(&world, "select a from t", ""), "[{\"a\":2}]");
    world_close(&world);
}

static void a_lease_has_a_deadline_and_can_be_cancelled(void **state)
{
    (void)state;
    struct world world;
    struct wish late = { .lease = { .timeout_ms = 40 } }, dropped = { 0 };
    world_open(&world);
    struct sql_session *session = begin(&world, false);
    wish_start(&world, &late, false);
    wish_start(&world, &dropped, false);
    world.engine->ops->begin_cancel(&dropped.lease);
    wish_wait(&world, &dropped);
    assert_int_equal(dropped.lease.fail, FAIL_CANCELLED);
    wish_wait(&world, &late);
    assert_int_equal(late.lease.fail, FAIL_TIMEOUT);
    assert_null(late.lease.session);
    sql_session_end(session);
    assert_string_equal(ask(&world, "create table t(a)", ""), "[]");
    world_close(&world);
}

#define SPIN "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"

static void ending_a_session_ends_its_calls(void **state)
{
    (void)state;
    struct world world;
    struct answer spin, behind;
    world_open(&world);
    struct sql_session *session = begin(&world, false);
    answer_set(&spin, SPIN, "");
    answer_set(&behind, "select 1", "");
    run_in(&world, session, &spin);
    run_in(&world, session, &behind);
    loop_turn(world.loop, 100, NULL); /* it runs by now */
    sql_session_end(session);
    answer_wait(&world, &spin);
    answer_wait(&world, &behind);
    assert_int_equal(spin.call.fail, FAIL_CANCELLED);
    assert_int_equal(behind.call.fail, FAIL_CANCELLED);
    assert_string_equal(ask(&world, "create table t(a)", ""), "[]");
    world_close(&world);
}

static void a_deadline_inside_a_session_fails_the_transaction(void **state)
{
    (void)state;
    struct world world;
    struct answer spin;
    world_open(&world);
    ask(&world, "create table t(a)", "");
    struct sql_session *session = begin(&world, false);
    ask_in(&world, session, "insert into t values (1)");
    answer_set(&spin, "insert into t " SPIN, "");
    spin.call.timeout_ms = 50;
    run_in(&world, session, &spin);
    answer_wait(&world, &spin);
    assert_int_equal(spin.call.fail, FAIL_TIMEOUT);
    assert_string_equal(ask_in(&world, session, "commit"), "25P02");
    sql_session_end(session);
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "[{\"n\":0}]");
    world_close(&world);
}

static void a_full_stop_rolls_open_sessions_back(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    ask(&world, "create table t(a)", "");
    struct sql_session *session = begin(&world, false);
    ask_in(&world, session, "insert into t values (1)");
    bool is_closed = false;
    world.engine->ops->close(world.engine, world.loop, 30, world_on_closed, &is_closed);
    loop_turn(world.loop, 150, NULL);
    assert_string_equal(ask_in(&world, session, "commit"), "57P01");
    assert_false(is_closed); /* the caller still holds it */
    sql_session_end(session);
    loop_turn(world.loop, WAIT_MS, &is_closed);
    assert_true(is_closed);
    world_start(&world);
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "[{\"n\":0}]");
    world_close(&world);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_commits_or_rolls_back),
        cmocka_unit_test(now_stands_still_in_a_transaction),
        cmocka_unit_test(a_failed_statement_fails_the_transaction),
        cmocka_unit_test(a_deferred_constraint_fails_the_commit),
        cmocka_unit_test(writers_take_turns_in_order_of_arrival),
        cmocka_unit_test(a_reading_session_sees_one_state_and_cannot_write),
        cmocka_unit_test(reading_sessions_leave_a_reader_for_the_others),
        cmocka_unit_test(an_idle_transaction_is_rolled_back),
        cmocka_unit_test(a_lease_has_a_deadline_and_can_be_cancelled),
        cmocka_unit_test(ending_a_session_ends_its_calls),
        cmocka_unit_test(a_deadline_inside_a_session_fails_the_transaction),
        cmocka_unit_test(a_full_stop_rolls_open_sessions_back),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
