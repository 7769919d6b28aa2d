/* A pooler in between: noticed by itself or said, and what is refused, kept and bounded behind it. */
#include "world.h"

#include "loop/aside.h"
#include "sql/listen.h"

static struct pooler pooler;
static struct postgres_settings settings;

static int set_up(void **state)
{
    (void)state;
    world = (struct world){ .loop = NULL };
    settings = settings_for("");
    return 0;
}

static int needs_pooler(void)
{
    if (server_url() && servers_are_there())
        return 1;
    fprintf(stderr, "skipped: needs WICK_TEST_POSTGRES, and spec/support/servers.sh below the current folder\n");
    return 0;
}

static void open_through(const char *pooler_settings)
{
    start_pooler(&pooler, port_of(server_url()), pooler_settings);
    settings.conninfo = pooler.url;
    open_world_with(settings);
    world.admin = open_admin(server_url());
}

static int tear_down(void **state)
{
    int failed = close_world(state);
    if (server_url()) {
        PGconn *admin = open_admin(server_url());
        PQclear(PQexec(admin, "alter role wick reset all"));
        PQfinish(admin);
    }
    stop_pooler(&pooler);
    return failed;
}

/* How often the pooler's log says it. */
static int logged(const char *text)
{
    char path[240], line[1024];
    int count = 0;
    snprintf(path, sizeof path, "%s/log", pooler.folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        count += strstr(line, text) != NULL;
    fclose(file);
    return count;
}

static void expect_refused(const char *text, const char *word)
{
    struct asked asked = { .is_done = false };
    ask(&asked, text, false);
    expect_error(&asked, FAIL_SQL, "0A000");
    if (!strstr(asked.call.error.text, word))
        fail_msg("%s", asked.call.error.text);
    assert_false(asked.call.error.sent);
}

static void expect_pooled(bool is_pooled)
{
    struct asked asked = { .is_done = false };
    for (int i = 0; i < 3; i++)
        run("select 4 as four");
    assert_int_equal(atoi(run("select count(*) from pg_prepared_statements where statement = 'select 4 as four'")),
                     !is_pooled);
    ask(&asked, "listen something", false);
    if (is_pooled) {
        expect_error(&asked, FAIL_SQL, "0A000");
        assert_non_null(strstr(asked.call.error.text, "address of PostgreSQL itself"));
    } else {
        expect_ok(&asked);
        drop_rows(&asked);
    }
}

/* Four statements at once, so that there are four connections. */
static void use_four_connections(void)
{
    struct asked asked[4];
    for (int i = 0; i < 4; i++)
        ask(&asked[i], "select pg_sleep(0.2)", false);
    for (int i = 0; i < 4; i++) {
        expect_ok(&asked[i]);
        drop_rows(&asked[i]);
    }
}

/* --- noticing --- */

static void it_is_noticed_when_it_refuses_options_and_only_the_first_connection_is_refused(void **state)
{
    (void)state;
    if (!needs_pooler())
        skip();
    open_through("");
    expect_pooled(true);
    use_four_connections();
    assert_int_equal(logged("pooler error: unsupported startup parameter: options"), 1);
    assert_true(pooler_clients(&pooler) > 1);
}

static void it_is_noticed_by_its_pid_where_it_takes_options(void **state)
{
    (void)state;
    if (!needs_pooler())
        skip();
    open_through("--set=ignore_startup_parameters=options");
    expect_pooled(true);
    assert_int_equal(logged("unsupported startup parameter"), 0);
}

static void where_the_configuration_says_so_nothing_is_tried(void **state)
{
    (void)state;
    if (!needs_pooler())
        skip();
    settings.front = POSTGRES_FRONT_PGBOUNCER;
    open_through("");
    use_four_connections();
    expect_pooled(true);
    assert_int_equal(logged("unsupported startup parameter"), 0);
}

static void the_server_itself_is_not_taken_for_one(void **state)
{
    (void)state;
    if (!needs_pooler())
        skip();
    settings.conninfo = server_url();
    open_world_with(settings);
    expect_pooled(false);
}

/* --- what must hold --- */

static void times_are_iso_and_utc_whatever_the_role_and_the_environment_say(void **state)
{
    (void)state;
    if (!needs_pooler())
        skip();
    PGconn *admin = open_admin(server_url());
    PQclear(PQexec(admin, "alter role wick set timezone = 'Asia/Tokyo'; alter role wick set datestyle = 'German'"));
    PQfinish(admin);
    open_through("");
    PGconn *other = open_admin(pooler.url); /* another client of the pooler, with settings of its own */
    PQclear(PQexec(other, "set timezone = 'America/New_York'; set datestyle = 'SQL, DMY'"));
    for (int i = 0; i < 8; i++) {
        PQclear(PQexec(other, "select 1"));
        assert_string_equal(run("select to_timestamp(0)::text"), "1970-01-01 00:00:00+00");
        assert_string_equal(run("show client_encoding"), "UTF8");
    }
    PQfinish(other);
    close_engine();
    settings.conninfo = server_url(); /* the same without the pooler */
    char why[256] = "";
    assert_int_equal(postgres_engine_open(&settings, &world.loop, 1, &world.engine, why, sizeof why), FAIL_OK);
    assert_string_equal(run("select to_timestamp(0)::text"), "1970-01-01 00:00:00+00");
}

static void a_setting_that_cannot_be_sent_and_does_not_fit_is_refused_in_words(void **state)
{
    (void)state;
    if (!needs_pooler())
        skip();
    PGconn *admin = open_admin(server_url());
    PQclear(PQexec(admin, "alter role wick set bytea_output = 'escape'"));
    PQfinish(admin);
    open_through("");
    struct asked asked = { .is_done = false };
    ask(&asked, "select 1", false);
    expect_error(&asked, FAIL_REFUSED, "28000");
    assert_non_null(strstr(asked.call.error.text, "bytea_output is \"escape\""));
    assert_non_null(strstr(asked.call.error.text, "ALTER ROLE"));
}

static void what_would_outlive_its_transaction_is_refused(void **state)
{
    (void)state;
    if (!needs_pooler())
        skip();
    open_through("");
    run("select 1");
    expect_refused("set search_path = pg_catalog", "SET LOCAL");
    expect_refused(" -- a word\n /* another */ SET SESSION timezone = 'UTC'", "SET LOCAL");
    expect_refused("discard all", "outlive");
    expect_refused("select set_config('work_mem', '5MB', false)", "set_config");
    expect_refused("create temp table t(i int)", "outlive");
    expect_refused("prepare p as select 1", "outlive");
    struct leased leased;
    struct sql_session *session = begin(&leased);
    run_in(session, "set local work_mem = '5MB'");
    run_in(session, "set transaction read only");
    run_in(session, "commit");
    sql_session_end(session);
    assert_string_equal(run("select current_setting('work_mem') = '5MB'"), "f");
}

static bool take_note(void *arg, struct str payload, int pid)
{
    (void)arg, (void)payload, (void)pid;
    return true;
}
static bool take_gap(void *arg)
{
    *(bool *)arg = true;
    return true;
}

/* Before the first connection of all nobody can know: then the listening connection notices, and is closed. */
static void listening_is_refused_in_words_or_given_up_once_it_is_noticed(void **state)
{
    (void)state;
    if (!needs_pooler())
        skip();
    bool has_gap = false;
    struct sql_listener listener = { take_note, take_gap, &has_gap };
    struct sql_subscription *early = NULL, *late = NULL;
    struct sql_error error = { .sent = false };
    settings.min_size = 0;
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    open_through("");
    assert_int_equal(sql_listen(world.engine, STR("c"), &listener, &early, &error), FAIL_OK);
    assert_string_equal(run("select 5"), "5");
    turn(500);
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    assert_int_equal(sql_listen(world.engine, STR("c"), &listener, &late, &error), FAIL_REFUSED);
    assert_string_equal(error.sqlstate, "0A000");
    assert_non_null(strstr(error.text, "PgBouncer"));
    assert_false(has_gap); /* it never held */
    sql_unlisten(early);
}

/* PostgreSQL itself where the pooler was. */
static void once_the_pooler_is_gone_it_listens(void **state)
{
    (void)state;
    if (!needs_pooler())
        skip();
    bool has_gap = false;
    struct sql_listener listener = { take_note, take_gap, &has_gap };
    struct sql_subscription *early = NULL, *late = NULL;
    struct sql_error error = { .sent = false };
    char folder[200], arguments[300], why[256];
    settings.min_size = 0;
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    open_through("");
    assert_int_equal(sql_listen(world.engine, STR("c"), &listener, &early, &error), FAIL_OK);
    assert_string_equal(run("select 5"), "5");
    turn(500);
    assert_int_equal(sql_listen(world.engine, STR("c"), &listener, &late, &error), FAIL_REFUSED);
    assert_int_equal(postgres_engine_apply(world.engine, &settings, why, sizeof why), FAIL_OK);
    assert_int_equal(sql_listen(world.engine, STR("c"), &listener, &late, &error), FAIL_REFUSED);
    snprintf(arguments, sizeof arguments, "pgbouncer stop %s", pooler.folder);
    servers_run(arguments, NULL, NULL, 0);
    servers_folder(folder, sizeof folder, "unpooled");
    snprintf(arguments, sizeof arguments, "postgres start %s --port=%d", folder, port_of(pooler.url));
    servers_run(arguments, NULL, NULL, 0);
    turn_until(12000, has_gap); /* the breaker's longest time, and a quarter */
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    assert_int_equal(sql_listen(world.engine, STR("c"), &listener, &late, &error), FAIL_OK);
    sql_unlisten(early);
    sql_unlisten(late);
    close_world(NULL);
    servers_stop("postgres", folder);
}

static void options_of_the_operators_own_are_refused_in_words(void **state)
{
    (void)state;
    if (!needs_pooler())
        skip();
    char url[512];
    start_pooler(&pooler, port_of(server_url()), "");
    snprintf(url, sizeof url, "%s?options=-csearch_path%%3Dpublic", pooler.url);
    settings.conninfo = url;
    open_world_with(settings);
    struct asked asked = { .is_done = false };
    ask(&asked, "select 1", false);
    expect_error(&asked, FAIL_REFUSED, "08P01");
    assert_non_null(strstr(asked.call.error.text, "the pooler in between takes no options"));
}

static void its_console_is_no_database(void **state)
{
    (void)state;
    if (!needs_pooler())
        skip();
    char url[512];
    start_pooler(&pooler, port_of(server_url()), "");
    snprintf(url, sizeof url, "%.*s/pgbouncer", (int)(strrchr(pooler.url, '/') - pooler.url), pooler.url);
    settings.conninfo = url;
    open_world_with(settings);
    struct asked asked = { .is_done = false };
    ask(&asked, "select 1", false);
    wait_for(&asked);
    assert_int_equal(asked.call.fail, FAIL_REFUSED);
    if (!strstr(asked.call.error.text, "extended"))
        fail_msg("%s", asked.call.error.text);
}

/* --- a pooler that stands still --- */

static void cancels_to_a_pooler_that_stands_still_block_nothing(void **state)
{
    (void)state;
    if (!needs_pooler())
        skip();
    enum { N = 4 };
    struct asked asked[N];
    char arguments[300];
    open_through("");
    use_four_connections();
    for (int i = 0; i < N; i++)
        ask(&asked[i], "select pg_sleep(6)", false);
    turn(100);
    snprintf(arguments, sizeof arguments, "pgbouncer signal %s STOP", pooler.folder);
    servers_run(arguments, NULL, NULL, 0);
    struct loop_load load;
    loop_load_take(world.loop, &load);
    for (int i = 0; i < N; i++)
        sql_cancel(world.engine, &asked[i].call);
    for (int i = 0; i < N; i++)
        expect_error(&asked[i], FAIL_CANCELLED, "57014");
    turn(100);
    assert_true(aside_count() >= N); /* each waits for the other side to close */
    turn(2500);                      /* the connections are given up, the threads are not waited for */
    loop_load_take(world.loop, &load);
    assert_true(load.longest_ns < (uint64_t)slow_ms(50) * 1000 * 1000);
    assert_true(aside_count() <= ASIDE_MAX);
    snprintf(arguments, sizeof arguments, "pgbouncer signal %s CONT", pooler.folder);
    servers_run(arguments, NULL, NULL, 0);
    turn_until(5000, aside_count() == 0);
    struct asked again = { .is_done = false };
    for (uint64_t end_ms = clock_mono_ms() + slow_ms(5000); clock_mono_ms() < end_ms;) {
        ask(&again, "select 1", true);
        wait_for(&again);
        if (!again.call.fail)
            break;
        turn(50);
    }
    expect_ok(&again);
    drop_rows(&again);
}

/* What wick may find in its environment, and what would change how times are written. */
static int set_up_group(void **state)
{
    setenv("PGTZ", "Asia/Kathmandu", 1);
    setenv("PGDATESTYLE", "German", 1);
    return set_up_process(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_is_noticed_when_it_refuses_options_and_only_the_first_connection_is_refused),
        TEST(it_is_noticed_by_its_pid_where_it_takes_options),
        TEST(where_the_configuration_says_so_nothing_is_tried),
        TEST(the_server_itself_is_not_taken_for_one),
        TEST(times_are_iso_and_utc_whatever_the_role_and_the_environment_say),
        TEST(a_setting_that_cannot_be_sent_and_does_not_fit_is_refused_in_words),
        TEST(what_would_outlive_its_transaction_is_refused),
        TEST(listening_is_refused_in_words_or_given_up_once_it_is_noticed),
        TEST(once_the_pooler_is_gone_it_listens),
        TEST(options_of_the_operators_own_are_refused_in_words),
        TEST(its_console_is_no_database),
        TEST(cancels_to_a_pooler_that_stands_still_block_nothing),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_group, NULL);
}
