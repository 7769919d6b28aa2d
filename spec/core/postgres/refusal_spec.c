/* A server that is there and says no: each reason has its own words, nobody storms it, and once it says yes all is well without a restart. */
#include "wire.h"

static char guest_url[400];

/* The proxy's URL for another user, password and database. */
static void be(const char *user, const char *password, const char *database)
{
    const char *at = strchr(proxy.url, '@'), *slash = at ? strchr(at, '/') : NULL,
               *query = slash ? strchr(slash, '?') : NULL;
    assert_non_null(query);
    snprintf(guest_url, sizeof guest_url, "postgres://%s:%s%.*s/%s%s", user, password, (int)(slash - at), at, database,
             query);
}

static void open_as_guest(void)
{
    wire_settings.conninfo = guest_url;
    open_world_with(wire_settings);
}

static int set_up(void **state)
{
    set_up_wire(state);
    if (!server_url())
        return 0;
    world.admin = open_admin(server_url());
    outside("drop role if exists refusal_guest; create role refusal_guest login password 'guest'");
    PQfinish(world.admin);
    world.admin = NULL;
    return 0;
}

static uint64_t failed_attempts(void)
{
    return metric_counter_value(metric_counter("wick_pg_pool_reconnects_total",
                                               "Connections that had to be replaced, or could not be opened.",
                                               "pool=\"primary\",reason=\"failed\""));
}

static void admin_says(const char *text)
{
    PGconn *admin = open_admin(server_url());
    PQclear(PQexec(admin, text));
    PQfinish(admin);
}

/* --- wrong names and passwords -------------------------------------------------------------------------------- */

static void expect_refused(const char *sqlstate, const char *advice)
{
    struct asked asked = { .is_done = false };
    ask(&asked, "select 1", false);
    expect_error(&asked, FAIL_REFUSED, sqlstate);
    assert_non_null(strstr(asked.call.error.text, advice));
    assert_null(strstr(asked.call.error.text, "no-such-password"));
}

static void what_is_missing_is_said(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const struct {
        const char *user, *password, *database, *sqlstate, *advice;
    } all[] = { { "refusal_nobody", "no-such-password", "wick", "28P01", "check user and password" },
                { "refusal_guest", "no-such-password", "wick", "28P01", "check user and password" },
                { "refusal_guest", "guest", "refusal_nowhere", "3D000", "create the database" } };
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        be(all[i].user, all[i].password, all[i].database);
        open_as_guest();
        expect_refused(all[i].sqlstate, all[i].advice);
        uint64_t attempts = failed_attempts(), begin_ms = clock_mono_ms();
        while (clock_mono_ms() - begin_ms < 400) {
            expect_refused(all[i].sqlstate, all[i].advice); /* at once, by the error of before */
            turn(10);
        }
        assert_true(failed_attempts() - attempts <= 1);
        close_world(NULL);
    }
}

/* Time as it is and `ms` more; from now on. */
static void turn_later(unsigned ms, uint64_t later_ms)
{
    uint64_t begin_ns = 0;
    do {
        clock_fake(0, 0);
        uint64_t now_ns = clock_mono_ns();
        begin_ns = begin_ns ? begin_ns : now_ns;
        int64_t wall_us = clock_wall_us();
        bool is_over = now_ns - begin_ns > ms * UINT64_C(1000000);
        clock_fake(now_ns + later_ms * 1000000, wall_us);
        if (is_over)
            return;
        turn(2);
    } while (true);
}

static void a_password_that_is_put_right_is_used_without_a_restart(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    be("refusal_guest", "right", "wick");
    open_as_guest();
    expect_refused("28P01", "check user and password");
    uint64_t attempts = failed_attempts();
    admin_says("alter role refusal_guest password 'right'");
    turn_later(300, POSTGRES_CONFIG_HOLD_MS - 1500);
    assert_int_equal(failed_attempts(), attempts); /* one attempt in each POSTGRES_CONFIG_HOLD_MS */
    char why[128];
    for (unsigned i = 0; i < slow_ms(20) && !world.engine->ops->is_ready(world.engine, why, sizeof why); i++)
        turn_later(100, POSTGRES_CONFIG_HOLD_MS + 500); /* and by itself: nobody asks */
    assert_true(world.engine->ops->is_ready(world.engine, why, sizeof why));
    assert_string_equal(run("select current_user"), "refusal_guest");
}

/* Those that are open go on; new ones are refused until the pool knows the new password, which is what a reload is for. */
static void a_rotated_password_ends_nothing_that_is_open(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    be("refusal_guest", "guest", "wick");
    open_as_guest();
    run("select 1");
    admin_says("alter role refusal_guest password 'rotated'");
    enum { N = 20 };
    static struct asked asked[N];
    uint64_t attempts = failed_attempts();
    for (int i = 0; i < N; i++)
        ask(&asked[i], "select 1 from pg_sleep(0.02)", false);
    for (int i = 0; i < N; i++) { /* by the one there is */
        expect_ok(&asked[i]);
        drop_rows(&asked[i]);
    }
    assert_in_range(failed_attempts() - attempts, 1, 3);
}

/* --- no connection left --------------------------------------------------------------------------------------- */

static void the_few_connections_a_server_grants_serve_all(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { N = 60 };
    static struct asked asked[N];
    admin_says("alter role refusal_guest connection limit 3");
    be("refusal_guest", "guest", "wick");
    wire_settings.max_size = 10;
    open_as_guest();
    uint64_t attempts = failed_attempts(), begin_ms = clock_mono_ms();
    for (int i = 0; i < N; i++)
        ask(&asked[i], "select 1 from pg_sleep(0.05)", false);
    for (int i = 0; i < N; i++) {
        expect_ok(&asked[i]);
        drop_rows(&asked[i]);
    }
    uint64_t took_ms = clock_mono_ms() - begin_ms;
    attempts = failed_attempts() - attempts;
    printf("%llu ms, %llu refused attempts\n", (unsigned long long)took_ms, (unsigned long long)attempts);
    assert_in_range(attempts, 1, 6 + took_ms / 250); /* the breaker spaces them */
    for (int i = 0; i < N; i++)                      /* the breaker opens again, by more that are wanted */
        ask(&asked[i], "select 1 from pg_sleep(0.02)", false);
    for (int i = 0; i < N; i++) {
        expect_ok(&asked[i]);
        drop_rows(&asked[i]);
    }
    admin_says("select pg_terminate_backend(pid, 2000) from pg_stat_activity where usename = 'refusal_guest'");
    turn(20);
    run("select 1"); /* all are gone, and with them what was in the way */
    admin_says("alter role refusal_guest connection limit 0");
    proxy_tell(&proxy, "rst");
    turn(50);
    struct asked refused = { .is_done = false };
    ask(&refused, "select 1", false);
    expect_error(&refused, FAIL_REFUSED, "53300");
    assert_non_null(strstr(refused.call.error.text, "max_connections"));
    admin_says("alter role refusal_guest connection limit -1");
    char why[128];
    turn_until(2000, world.engine->ops->is_ready(world.engine, why, sizeof why));
    assert_string_equal(run("select 1"), "1");
}

static int tear_down(void **state)
{
    int result = close_wire(state); /* under the clock it was open with */
    clock_fake(0, 0);
    return result;
}

#define REFUSAL_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        REFUSAL_TEST(what_is_missing_is_said),
        REFUSAL_TEST(a_password_that_is_put_right_is_used_without_a_restart),
        REFUSAL_TEST(a_rotated_password_ends_nothing_that_is_open),
        REFUSAL_TEST(the_few_connections_a_server_grants_serve_all),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_wire_group, NULL);
}
