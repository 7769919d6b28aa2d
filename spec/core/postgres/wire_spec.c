/* What a network does to connections: calls end as they should, nothing is done twice, nothing spins, nothing is left. */
#include "wire.h"

#include <sys/resource.h>

static unsigned rows_of(struct asked *asked)
{
    expect_ok(asked);
    unsigned rows = (unsigned)asked->call.rows->row_count;
    drop_rows(asked);
    return rows;
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void make_table(void) { outside("drop table if exists wire_spec; create table wire_spec(i int primary key)"); }

static void wait_for_connections(unsigned count)
{
    turn_until(4000, outside_int("select count(*) from pg_stat_activity where " OURS) == (int)count);
}

/* --- pieces and paces ----------------------------------------------------------------------------------------- */

static void answers_in_pieces_are_put_together(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char *const rules[] = { "set down_fragment=1 up_fragment=1", "set down_fragment=40 up_fragment=40" };
    open_wire("");
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        struct asked read = { .is_done = false };
        proxy_tell(&proxy, rules[i]);
        ask(&read, "select i, repeat('x', 40) from generate_series(1, 60) i", true);
        assert_int_equal(rows_of(&read), 60);
        assert_string_equal(run("select 'pieces'"), "pieces");
    }
    proxy_tell(&proxy, "set down_fragment=0 up_fragment=0");
    all_is_well();
}

static void ten_bytes_a_second_cost_a_deadline_and_no_processor(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked read = { .is_done = false };
    open_wire("");
    run("select 1");
    proxy_tell(&proxy, "set down_rate=10");
    prepare_call(&read, "select repeat('x', 500)", 0);
    read.call.timeout_ms = 1000;
    double before_s = cpu_s();
    uint64_t begin_ms = clock_mono_ms();
    sql_run(world.engine, &read.call);
    expect_error(&read, FAIL_TIMEOUT, "57014");
    double used = (cpu_s() - before_s) * 1000 / (double)(clock_mono_ms() - begin_ms);
    printf("%.1f %% of a processor\n", used * 100);
    assert_true(used < 0.05 * slow_ms(1));
    proxy_tell(&proxy, "set down_rate=0");
    all_is_well();
}

/* --- connections that end in the middle ----------------------------------------------------------------------- */

static void a_read_cut_in_the_middle_is_run_again(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char *const cuts[] = { "on D:7 half rst",       "on D:7 half fin",        "on C before rst",
                                        "on Z before rst",       "on Z before fatal",      "on 1 before rst",
                                        "on bytes:1 before rst", "on bytes:300 before fin" };
    open_wire("");
    for (size_t i = 0; i < COUNT_OF(cuts); i++) {
        struct asked read = { .is_done = false };
        char text[96];
        snprintf(text, sizeof text, "select %zu as round, i, repeat('x', 50) from generate_series(1, 40) i", i);
        all_is_well();
        proxy_tell(&proxy, cuts[i]);
        ask(&read, text, true);
        assert_int_equal(rows_of(&read), 40);
        assert_int_equal(proxy_stat(&proxy, "armed"), 0);
    }
    all_is_well();
}

/* Its answer is lost, not its effect: the caller learns that it may have run, and it has run once. */
static void a_write_cut_in_the_middle_is_not_run_again(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const struct {
        const char *cut, *sqlstate;
    } cuts[] = {
        { "on D half rst", "08006" },     { "on C before rst", "08006" }, { "on Z before rst", "08006" },
        { "on Z before fatal", "57P01" }, { "on Z before fin", "08006" }, { "on bytes:1 before rst", "08006" }
    };
    open_wire("");
    make_table();
    for (size_t i = 0; i < COUNT_OF(cuts); i++) {
        struct asked write = { .is_done = false };
        char text[96];
        all_is_well();
        snprintf(text, sizeof text, "insert into wire_spec values (%zu) returning i, repeat('x', 50)", i);
        proxy_tell(&proxy, cuts[i].cut);
        ask(&write, text, false);
        expect_error(&write, FAIL_SQL, cuts[i].sqlstate);
        assert_true(write.call.error.sent);
        assert_int_equal(sql_error_status(&write.call.error), 503);
        turn(30);
        snprintf(text, sizeof text, "select count(*) from wire_spec where i = %zu", i);
        assert_int_equal(outside_int(text), 1);
    }
    all_is_well();
}

static void what_never_reached_the_server_has_no_effect(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked write = { .is_done = false };
    open_wire("");
    make_table();
    all_is_well();
    proxy_tell(&proxy, "set up_hold=1");
    ask(&write, "insert into wire_spec values (1)", false);
    turn(50);
    proxy_tell(&proxy, "rst");
    expect_error(&write, FAIL_SQL, "08006");
    assert_true(write.call.error.sent); /* nobody here can know better */
    proxy_tell(&proxy, "set up_hold=0");
    all_is_well();
    assert_int_equal(outside_int("select count(*) from wire_spec"), 0);
}

static void a_commit_whose_answer_is_lost_is_looked_up_and_the_truth_reported(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    open_wire("");
    make_table();
    for (int has_arrived = 0; has_arrived <= 1; has_arrived++) {
        struct leased leased;
        struct asked commit = { .is_done = false };
        struct sql_session *session = begin(&leased);
        run_in(session, has_arrived ? "insert into wire_spec values (1)" : "insert into wire_spec values (0)");
        proxy_tell(&proxy, has_arrived ? "on C before rst" : "set up_hold=1");
        ask_in(session, &commit, "commit");
        turn(50);
        if (!has_arrived)
            proxy_tell(&proxy, "rst");
        proxy_tell(&proxy, "set up_hold=0");
        if (has_arrived)
            expect_ok(&commit);
        else
            expect_error(&commit, FAIL_SQL, "40000");
        drop_rows(&commit);
        sql_session_end(session);
        all_is_well();
    }
    assert_string_equal(outside("select string_agg(i::text, ',') from wire_spec"), "1");
}

/* --- connections that fall silent ----------------------------------------------------------------------------- */

static void an_answer_that_stops_half_way_costs_its_deadline(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked read = { .is_done = false };
    open_wire("");
    all_is_well();
    proxy_tell(&proxy, "on D:3 half hold");
    prepare_call(&read, "select repeat('x', 1000) from generate_series(1, 100)", 0);
    read.call.read_only = true;
    read.call.timeout_ms = 200;
    uint64_t begin_ms = clock_mono_ms();
    longest_turn_ms();
    sql_run(world.engine, &read.call);
    expect_error(&read, FAIL_TIMEOUT, "57014");
    assert_in_range(clock_mono_ms() - begin_ms, 200, slow_ms(250));
    assert_string_equal(run("select 'others'"), "others"); /* on another connection */
    turn(2200);                                            /* the silent one is given up */
    assert_true(longest_turn_ms() < slow_ms(20));
    all_is_well();
}

/* Root drops the packets of a socket; whether others may is the kernel's affair. */
static bool needs_darkness(void)
{
    bool can = proxy_stat(&proxy, "darkens");
    if (!can)
        fprintf(stderr, "skipped: this user may drop no packets\n");
    return can;
}

static void a_half_open_connection_is_noticed_and_its_read_run_again(void **state)
{
    (void)state;
    if (!needs_server() || !needs_darkness())
        skip();
    struct asked read = { .is_done = false };
    wire_settings.min_size = 0;
    open_wire("&tcp_user_timeout=400");
    all_is_well();
    proxy_tell(&proxy, "dark");
    uint64_t begin_ms = clock_mono_ms();
    longest_turn_ms();
    ask(&read, "select 1", true);
    assert_int_equal(rows_of(&read), 1);
    assert_in_range(clock_mono_ms() - begin_ms, 350, slow_ms(1500));
    assert_true(longest_turn_ms() < slow_ms(20));
    all_is_well();
}

/* By the system's keep-alives, or by a ping that stays without an answer. */
static void half_open_idle_connections_are_noticed_by_themselves(void **state)
{
    (void)state;
    if (!needs_server() || !needs_darkness())
        skip();
    static const char *const ways[] = {
        "&tcp_user_timeout=400&keepalives_idle=1&keepalives_interval=1&keepalives_count=1", ""
    };
    wire_settings.min_size = 3;
    wire_settings.ping_timeout_ms = slow_ms(200);
    for (size_t i = 0; i < COUNT_OF(ways); i++) {
        wire_settings.keepalive_ms = i ? 500 : 0;
        open_wire(ways[i]);
        wait_for_connections(3);
        proxy_tell(&proxy, "dark");
        wait_for_connections(0);
        wait_for_connections(3); /* others in their place, and nobody has asked for anything */
        all_is_well();
        close_world(NULL);
    }
}

static void a_server_that_never_answers_costs_connect_timeout(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char *const rules[] = { "set deaf=1", "set down_hold=1", "set up_hold=1" };
    wire_settings.min_size = 0;
    wire_settings.connect_timeout_ms = slow_ms(200); /* a login has to fit in */
    wire_settings.acquire_timeout_ms = slow_ms(1000);
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        struct asked asked = { .is_done = false };
        proxy_tell(&proxy, rules[i]);
        open_wire("");
        uint64_t begin_ms = clock_mono_ms();
        ask(&asked, "select 1", true);
        wait_for(&asked);
        assert_string_equal(sql_error_is(&asked.call.error, "08") ? "08001" : "53300", asked.call.error.sqlstate);
        assert_int_equal(sql_error_status(&asked.call.error), 503);
        assert_in_range(clock_mono_ms() - begin_ms, slow_ms(200), slow_ms(1200));
        proxy_tell(&proxy, "set deaf=0 down_hold=0 up_hold=0");
        uint64_t fixed_ms = clock_mono_ms();
        do {
            ask(&asked, "select 1", true);
            wait_for(&asked);
            drop_rows(&asked);
            turn(5);
        } while (asked.call.fail && clock_mono_ms() - fixed_ms < slow_ms(3000));
        assert_true(clock_mono_ms() - fixed_ms < slow_ms(1500));
        all_is_well();
        close_world(NULL);
    }
}

/* --- nobody there, and back again ----------------------------------------------------------------------------- */

static unsigned opening_now(struct postgres_pool *pool)
{
    struct postgres_counts counts;
    postgres_pool_count(pool, &counts);
    return counts.opening;
}

/* While it is away one attempt at a time is made, calls fail with what the server said; when it is back, one, then two, then four. */
static void one_asks_first_and_the_others_follow_slowly(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    wire_settings.min_size = 8;
    wire_settings.max_size = 8;
    wire_settings.connecting_limit = 4;
    open_wire("");
    wait_for_connections(8);
    struct postgres_pool *pool = pool_of();
    proxy_tell(&proxy, "refuse");
    proxy_tell(&proxy, "rst");
    struct asked asked = { .is_done = false };
    unsigned most = 0;
    for (uint64_t begin_ms = clock_mono_ms(); clock_mono_ms() - begin_ms < 1200;) {
        turn(3);
        if (clock_mono_ms() - begin_ms > 300)
            most = opening_now(pool) > most ? opening_now(pool) : most;
    }
    assert_true(most <= 1);
    ask(&asked, "select 1", false);
    expect_error(&asked, FAIL_REFUSED, "08001");
    assert_non_null(strstr(asked.call.error.text, "refused"));
    unsigned accepted = proxy_stat(&proxy, "accepted");
    proxy_tell(&proxy, "set connect_delay_ms=30");
    proxy_tell(&proxy, "listen");
    uint64_t back_ms = clock_mono_ms();
    while (!opening_now(pool) && clock_mono_ms() - back_ms < slow_ms(2000))
        turn(1);
    static const unsigned steps[] = { 1, 2, 4 };
    for (size_t i = 0; i < COUNT_OF(steps); i++) { /* what opens while so many are there */
        unsigned there = proxy_stat(&proxy, "accepted") - accepted;
        assert_true(opening_now(pool) <= steps[i] || there > steps[i]);
        turn(15);
    }
    turn_until(1500, outside_int("select count(*) from pg_stat_activity where " OURS) == 8);
    proxy_tell(&proxy, "set connect_delay_ms=0");
    all_is_well();
}

/* --- growing -------------------------------------------------------------------------------------------------- */

static void a_waiter_that_leaves_while_connecting_leaves_its_connection_behind(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked asked = { .is_done = false };
    wire_settings.min_size = 0;
    wire_settings.max_size = 2;
    proxy_tell(&proxy, "set connect_delay_ms=150");
    open_wire("");
    ask(&asked, "select 1", true);
    turn(50);
    sql_cancel(world.engine, &asked.call);
    expect_error(&asked, FAIL_CANCELLED, "57014");
    turn_until(1000, outside_int("select count(*) from pg_stat_activity where " OURS) == 1);
    turn(20);
    uint64_t begin_ms = clock_mono_ms();
    assert_string_equal(run("select 'reused'"), "reused");
    assert_true(clock_mono_ms() - begin_ms < slow_ms(50));
    assert_int_equal(proxy_stat(&proxy, "accepted"), 1);
    all_is_well();
}

/* HikariCP's "spike demand" test: a connection takes 150 ms to open, a query 2 ms, 50 come at once; five are enough. */
static void a_spike_of_fifty_opens_few_connections(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { N = 50 };
    static struct asked asked[N];
    wire_settings.min_size = 5;
    wire_settings.max_size = 50;
    proxy_tell(&proxy, "set connect_delay_ms=150");
    open_wire("");
    wait_for_connections(5);
    uint64_t begin_ms = clock_mono_ms();
    for (int i = 0; i < N; i++)
        ask(&asked[i], "select 1 from pg_sleep(0.002)", false);
    for (int i = 0; i < N; i++)
        assert_int_equal(rows_of(&asked[i]), 1);
    uint64_t took_ms = clock_mono_ms() - begin_ms;
    turn(400);
    int size = outside_int("select count(*) from pg_stat_activity where " OURS);
    printf("%llu ms, %d connections\n", (unsigned long long)took_ms, size);
    assert_true(took_ms <= slow_ms(200));
    assert_true(size <= 6);
    all_is_well();
}

/* --- time ----------------------------------------------------------------------------------------------------- */

static void the_wall_clock_may_jump(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    open_wire("");
    all_is_well();
    int64_t wall_us = clock_wall_us();
    static const int64_t jumps_s[] = { 3600, -3600 };
    for (size_t i = 0; i < COUNT_OF(jumps_s); i++) {
        struct asked asked = { .is_done = false };
        prepare_call(&asked, "select pg_sleep(5)", 0);
        asked.call.timeout_ms = 300;
        uint64_t begin_ns = clock_mono_ns();
        sql_run(world.engine, &asked.call);
        while (!asked.is_done) {
            turn(2);
            clock_fake(0, 0);
            uint64_t now_ns = clock_mono_ns();
            assert_true(asked.is_done ? now_ns - begin_ns >= 300 * UINT64_C(1000000)
                                      : now_ns - begin_ns < slow_ms(400) * UINT64_C(1000000));
            clock_fake(now_ns, wall_us + jumps_s[i] * 1000000);
        }
        clock_fake(0, 0);
        expect_error(&asked, FAIL_TIMEOUT, "57014");
        turn(300);
        all_is_well();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WIRE_TEST(answers_in_pieces_are_put_together),
        WIRE_TEST(ten_bytes_a_second_cost_a_deadline_and_no_processor),
        WIRE_TEST(a_read_cut_in_the_middle_is_run_again),
        WIRE_TEST(a_write_cut_in_the_middle_is_not_run_again),
        WIRE_TEST(what_never_reached_the_server_has_no_effect),
        WIRE_TEST(a_commit_whose_answer_is_lost_is_looked_up_and_the_truth_reported),
        WIRE_TEST(an_answer_that_stops_half_way_costs_its_deadline),
        WIRE_TEST(a_half_open_connection_is_noticed_and_its_read_run_again),
        WIRE_TEST(half_open_idle_connections_are_noticed_by_themselves),
        WIRE_TEST(a_server_that_never_answers_costs_connect_timeout),
        WIRE_TEST(one_asks_first_and_the_others_follow_slowly),
        WIRE_TEST(a_waiter_that_leaves_while_connecting_leaves_its_connection_behind),
        WIRE_TEST(a_spike_of_fifty_opens_few_connections),
        WIRE_TEST(the_wall_clock_may_jump),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_wire_group, NULL);
}
