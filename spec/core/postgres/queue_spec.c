/* Exhaustion and age: hundreds wait for two connections, in order, each as long as the queue says; a busy pool renews itself unnoticed. */
#include "wire.h"

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Two connections, statements of 4 ms: whoever is n-th waits about n / 2 * 4 ms, and nobody overtakes. */
static void five_hundred_wait_for_two_connections_in_order(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { N = 500 };
    static struct asked asked[N];
    static double waited_ms[N];
    wire_settings.min_size = 2;
    wire_settings.max_size = 2;
    wire_settings.acquire_timeout_ms = 60 * 1000;
    open_wire("");
    wait_until_idle(2);
    for (int i = 0; i < N; i++)
        ask(&asked[i], "select 1 from pg_sleep(0.004)", i % 2);
    uint64_t begin_ns = clock_mono_ns();
    longest_turn_ms();
    for (int i = 0; i < N; i++) {
        expect_ok(&asked[i]);
        drop_rows(&asked[i]);
        waited_ms[i] = (double)(asked[i].call.started_ns - asked[i].call.submitted_ns) / 1e6;
        assert_true(i < 2 || asked[i].call.started_ns >= asked[i - 1].call.started_ns);
    }
    double all_ms = (double)(clock_mono_ns() - begin_ns) / 1e6;
    assert_true(longest_turn_ms() < slow_ms(20));
    qsort(waited_ms, N, sizeof *waited_ms, by_value);
    printf("p50 %.0f ms, p99 %.0f ms of %.0f ms in all\n", waited_ms[N / 2], waited_ms[N * 99 / 100], all_ms);
    assert_true(waited_ms[N / 2] > 0.40 * all_ms && waited_ms[N / 2] < 0.60 * all_ms);
    assert_true(waited_ms[N * 99 / 100] > 0.95 * all_ms);
    all_is_well();
}

static void who_comes_over_max_waiting_is_turned_away_and_the_others_served(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { N = 600, RUN = 2, WAIT = 500 };
    static struct asked asked[N];
    wire_settings.min_size = 2;
    wire_settings.max_size = RUN;
    wire_settings.max_waiting = WAIT;
    open_wire("");
    wait_until_idle(2);
    for (int i = 0; i < N; i++)
        ask(&asked[i], "select 1 from pg_sleep(0.001)", false);
    turn(0);
    for (int i = RUN + WAIT; i < N; i++) {
        expect_error(&asked[i], FAIL_FULL, "53300");
        assert_int_equal(sql_error_status(&asked[i].call.error), 503);
        assert_false(asked[i].call.error.sent);
    }
    for (int i = 0; i < RUN + WAIT; i++) {
        expect_ok(&asked[i]);
        drop_rows(&asked[i]);
    }
    all_is_well();
}

/* asyncpg#1247: somebody waits while others take and return connections as fast as they can. */
static void nobody_starves_beside_those_who_ask_again_at_once(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { GREEDY = 8 };
    static struct asked greedy[GREEDY];
    wire_settings.max_size = 2;
    open_wire("");
    run("select 1");
    for (int i = 0; i < GREEDY; i++)
        ask(&greedy[i], "select 1", i % 2);
    double worst_ms = 0;
    for (uint64_t begin_ms = clock_mono_ms(); clock_mono_ms() - begin_ms < 1000;) {
        struct leased leased;
        ask_session(&leased, false);
        uint64_t asked_ns = clock_mono_ns();
        while (!leased.is_done) {
            turn(0);
            for (int i = 0; i < GREEDY; i++)
                if (greedy[i].is_done) {
                    expect_ok(&greedy[i]);
                    drop_rows(&greedy[i]);
                    ask(&greedy[i], "select 1", i % 2);
                }
        }
        double took_ms = (double)(clock_mono_ns() - asked_ns) / 1e6;
        worst_ms = took_ms > worst_ms ? took_ms : worst_ms;
        assert_int_equal(leased.lease.fail, FAIL_OK);
        sql_session_end(leased.lease.session);
    }
    for (int i = 0; i < GREEDY; i++) {
        expect_ok(&greedy[i]);
        drop_rows(&greedy[i]);
    }
    printf("the longest wait: %.1f ms\n", worst_ms);
    assert_true(worst_ms < slow_ms(200));
    all_is_well();
}

/* --- age ------------------------------------------------------------------------------------------------------ */

static void a_busy_pool_renews_its_connections_unnoticed(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { FLIGHTS = 6, LIFE_MS = 500 };
    static struct asked asked[FLIGHTS];
    wire_settings.min_size = 4;
    wire_settings.max_lifetime_ms = LIFE_MS;
    open_wire("");
    wait_until_idle(4);
    char first[128], last[128];
    snprintf(first, sizeof first, "%.100s", outside("select min(backend_start) from pg_stat_activity where " OURS));
    double slowest_ms = 0, oldest_ms = 0;
    for (int i = 0; i < FLIGHTS; i++)
        ask(&asked[i], "select 1 from pg_sleep(0.001)", false);
    uint64_t begin_ms = clock_mono_ms(), looked_ms = begin_ms;
    while (clock_mono_ms() - begin_ms < 2500) {
        turn(1);
        for (int i = 0; i < FLIGHTS; i++)
            if (asked[i].is_done) {
                expect_ok(&asked[i]);
                drop_rows(&asked[i]);
                double took_ms = (double)(clock_mono_ns() - asked[i].call.submitted_ns) / 1e6;
                slowest_ms = took_ms > slowest_ms ? took_ms : slowest_ms;
                ask(&asked[i], "select 1 from pg_sleep(0.001)", false);
            }
        if (clock_mono_ms() - looked_ms < 50)
            continue;
        looked_ms = clock_mono_ms();
        double age_ms = atof(outside("select coalesce(max(extract(epoch from clock_timestamp() - backend_start)), 0) * "
                                     "1000 from pg_stat_activity where " OURS));
        oldest_ms = age_ms > oldest_ms ? age_ms : oldest_ms;
    }
    for (int i = 0; i < FLIGHTS; i++) {
        expect_ok(&asked[i]);
        drop_rows(&asked[i]);
    }
    snprintf(last, sizeof last, "%.100s", outside("select min(backend_start) from pg_stat_activity where " OURS));
    printf("the oldest connection: %.0f ms; the slowest call: %.1f ms\n", oldest_ms, slowest_ms);
    assert_string_not_equal(first, last);
    assert_true(oldest_ms < LIFE_MS + slow_ms(250));
    assert_true(slowest_ms < slow_ms(200));
    all_is_well();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WIRE_TEST(five_hundred_wait_for_two_connections_in_order),
        WIRE_TEST(who_comes_over_max_waiting_is_turned_away_and_the_others_served),
        WIRE_TEST(nobody_starves_beside_those_who_ask_again_at_once),
        WIRE_TEST(a_busy_pool_renews_its_connections_unnoticed),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_wire_group, NULL);
}
