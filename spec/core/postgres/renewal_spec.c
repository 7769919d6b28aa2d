/* Connections whose time is over are replaced, and nobody waits for it. Opening takes 150 ms here (the proxy sees to it), a call hardly any
 * time: so who waited for a connection to be opened is found out. */
#include "postgres/renewal.h"
#include "wire.h"

enum { OPEN_MS = 150, LIFETIME_MS = 1500, RUN_MS = 4 * LIFETIME_MS };

static uint64_t closed_by_age(void)
{
    return metric_counter_value(metric_counter("wick_pg_pool_reconnects_total", "", "pool=\"primary\",reason=\"age\""));
}

static uint64_t opened(void)
{
    return metric_count(
        metric_histogram("wick_pg_pool_create_duration_seconds", "", "pool=\"primary\"", METRIC_SECONDS));
}

static void open_pool(unsigned min_size, unsigned max_size)
{
    wire_settings.min_size = min_size;
    wire_settings.max_size = max_size;
    wire_settings.max_lifetime_ms = LIFETIME_MS;
    open_wire("");
    run("select 1");
    proxy_tell(&proxy, "set connect_delay_ms=150");
    turn_until(3000, pool_counts().idle == min_size);
}

static double oldest_s(void)
{
    return atof(outside("select coalesce(extract(epoch from max(clock_timestamp() - backend_start)), 0) "
                        "from pg_stat_activity where " OURS));
}

/* The longest that one of `at_once` calls took, asked again and again for RUN_MS. */
static unsigned longest_ms(unsigned at_once, double *oldest)
{
    static struct asked asked[8];
    uint64_t longest_ns = 0;
    *oldest = 0;
    for (unsigned i = 0; i < at_once; i++)
        ask(&asked[i], "select 1", false);
    for (uint64_t end_ms = clock_mono_ms() + RUN_MS; clock_mono_ms() < end_ms;) {
        turn(2);
        *oldest = oldest_s() > *oldest ? oldest_s() : *oldest;
        for (unsigned i = 0; i < at_once; i++) {
            if (!asked[i].is_done)
                continue;
            expect_ok(&asked[i]);
            drop_rows(&asked[i]);
            uint64_t waited_ns = asked[i].call.started_ns - asked[i].call.submitted_ns;
            longest_ns = waited_ns > longest_ns ? waited_ns : longest_ns;
            ask(&asked[i], "select 1", false);
        }
    }
    for (unsigned i = 0; i < at_once; i++) {
        expect_ok(&asked[i]);
        drop_rows(&asked[i]);
    }
    return (unsigned)(longest_ns / 1000000);
}

static void the_new_one_is_there_before_the_old_one_goes(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    open_pool(1, 4);
    uint64_t aged = closed_by_age(), before = opened();
    double oldest;
    assert_true(longest_ms(1, &oldest) < OPEN_MS);
    assert_true(closed_by_age() - aged >= 2);
    assert_in_range(opened() - before, closed_by_age() - aged, closed_by_age() - aged + 1); /* one for one */
    assert_true(oldest < (double)(LIFETIME_MS + slow_ms(400)) / 1000);
    assert_true(pool_total() <= 2);
}

/* Without asking anything, which would be a use. */
static unsigned total_of(struct postgres_pool *pool)
{
    struct postgres_counts counts;
    postgres_pool_count(pool, &counts);
    return counts.total;
}

static void what_nobody_misses_is_not_replaced(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static struct asked asked[4];
    open_pool(1, 4);
    for (int i = 0; i < 4; i++)
        ask(&asked[i], "select pg_sleep(0.4)", false);
    for (int i = 0; i < 4; i++) {
        expect_ok(&asked[i]);
        drop_rows(&asked[i]);
    }
    struct postgres_pool *pool = pool_of();
    assert_true(total_of(pool) > 1);
    turn_until(LIFETIME_MS + 1000, total_of(pool) == 1); /* long before idle_timeout */
    uint64_t before = opened(), end_ms = clock_mono_ms() + 2 * LIFETIME_MS;
    while (clock_mono_ms() < end_ms) {
        turn(10);
        assert_in_range(total_of(pool), 1, 2); /* min_size is kept */
    }
    assert_in_range(opened() - before, 1, 3);
}

/* There is no room for the new one, so the old ones go first. All four have begun together, and where opening takes longer than it should (a
 * sanitizer) the last of them meet their end at the same time: then somebody waits, but for one opening. */
static void at_max_size_the_others_serve_meanwhile(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    open_pool(4, 4);
    uint64_t aged = closed_by_age();
    double oldest;
    bool is_sanitized = slow_ms(1) >= 10;
    assert_true(longest_ms(2, &oldest) < (is_sanitized ? 3 * OPEN_MS : OPEN_MS));
    assert_true(closed_by_age() - aged >= 4);
    assert_true(oldest < (double)(LIFETIME_MS + slow_ms(400)) / 1000);
    turn_until(2000, pool_counts().idle == 4);
}

static void one_waits_with_its_end_for_the_place_of_another_to_be_filled(void **state)
{
    (void)state;
    static struct postgres_settings its = { .max_lifetime_ms = 10000 };
    static struct postgres_pool pool;
    static struct postgres_lane lane = { .pool = &pool };
    static struct postgres_connection connection = { .lane = &lane };
    pool.settings = &its;
    for (int i = 0; i < 1000; i++) {
        postgres_renewal_start(&connection, 5000);
        assert_int_equal(connection.ends_ms, 15000);
        assert_in_range(connection.expires_ms, 14000, 15000);
    }
    connection.expires_ms = 14200;
    pool.opening = 0;
    assert_false(postgres_renewal_is_over(&connection, 14199));
    assert_true(postgres_renewal_is_over(&connection, 14200));
    pool.opening = 1;
    assert_false(postgres_renewal_is_over(&connection, 14999));
    assert_true(postgres_renewal_is_over(&connection, 15000));
    its.max_lifetime_ms = 0;
    connection = (struct postgres_connection){ .lane = &lane };
    postgres_renewal_start(&connection, 5000);
    assert_false(postgres_renewal_is_over(&connection, UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WIRE_TEST(the_new_one_is_there_before_the_old_one_goes),
        WIRE_TEST(what_nobody_misses_is_not_replaced),
        WIRE_TEST(at_max_size_the_others_serve_meanwhile),
        cmocka_unit_test(one_waits_with_its_end_for_the_place_of_another_to_be_filled),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_wire_group, NULL);
}
