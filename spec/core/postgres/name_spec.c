/* Host names: looked up aside and seldom, and connections follow where they lead.
 *
 * The resolver is the only thing that is not real: this program has a getaddrinfo of its own, which the linker prefers. Names that end
 * in .test get the answer that stands in `zone`; everything else goes to the C library.
 */
#include "world.h"

#include "loop/aside.h"
#include "support/servers.h"

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    const char *addresses[3]; /* numbers; none: there is no such name */
    bool is_away;             /* the name server */
    bool hangs;               /* names that begin with "silent" */
    atomic_uint asked, silent_asked;
} zone = { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

typedef int look_up(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **out);

static look_up *the_librarys(void)
{
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
    look_up *function;
    memcpy(&function, &symbol, sizeof function);
    return function;
}

static int answer(const struct addrinfo *hints, struct addrinfo **out)
{
    pthread_mutex_lock(&zone.mutex);
    int error = zone.is_away ? EAI_AGAIN : EAI_NONAME;
    for (int i = 0; i < 3 && zone.addresses[i] && !zone.is_away; i++) {
        error = the_librarys()(zone.addresses[i], NULL, hints, out);
        while (!error && *out)
            out = &(*out)->ai_next;
    }
    pthread_mutex_unlock(&zone.mutex);
    return error;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    size_t len = node ? strlen(node) : 0;
    bool is_numeric = hints && (hints->ai_flags & AI_NUMERICHOST);
    if (is_numeric || len < 5 || strcmp(node + len - 5, ".test") != 0)
        return the_librarys()(node, service, hints, out);
    if (strncmp(node, "none", 4) == 0)
        return EAI_NONAME;
    if (strncmp(node, "silent", 6) == 0) {
        atomic_fetch_add(&zone.silent_asked, 1);
        pthread_mutex_lock(&zone.mutex);
        while (zone.hangs)
            pthread_cond_wait(&zone.changed, &zone.mutex);
        pthread_mutex_unlock(&zone.mutex);
        return EAI_AGAIN;
    }
    atomic_fetch_add(&zone.asked, 1);
    *out = NULL;
    return answer(hints, out);
}

static void set_zone(const char *one, const char *two)
{
    pthread_mutex_lock(&zone.mutex);
    zone.addresses[0] = one;
    zone.addresses[1] = one ? two : NULL;
    pthread_mutex_unlock(&zone.mutex);
}

static void set_away(bool is_away)
{
    pthread_mutex_lock(&zone.mutex);
    zone.is_away = is_away;
    pthread_mutex_unlock(&zone.mutex);
}

static void set_silence(bool hangs)
{
    pthread_mutex_lock(&zone.mutex);
    zone.hangs = hangs;
    pthread_cond_broadcast(&zone.changed);
    pthread_mutex_unlock(&zone.mutex);
}

/* --- a server with two addresses --- */

static char server_dir[200], own_url[256], url[300];
static struct postgres_settings settings;

static const char *url_of(const char *hosts)
{
    snprintf(url, sizeof url, "host=%s port=%d user=wick password=wick dbname=wick", hosts, port_of(own_url));
    return url;
}

static int set_up(void **state)
{
    (void)state;
    world = (struct world){ .loop = NULL };
    set_zone("127.0.0.1", NULL);
    set_away(false);
    settings = settings_for(own_url[0] ? url_of("db.test") : "");
    atomic_store(&zone.asked, 0);
    atomic_store(&zone.silent_asked, 0);
    return 0;
}

static void open_it(void)
{
    open_world_with(settings);
    world.admin = open_admin(own_url);
}

static int connections(void) { return outside_int("select count(*) from pg_stat_activity where " OURS); }

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

/* --- how often it is asked --- */

static void connections_opened_together_share_a_look_up(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    settings.min_size = 4;
    open_it();
    turn_until(2000, connections() == 4);
    use_four_connections();
    assert_int_equal(atomic_load(&zone.asked), 1);
}

static void a_name_is_asked_about_again_when_its_time_is_over(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    settings.dns_ttl_ms = 300;
    open_it();
    run("select 1");
    turn(1500);
    assert_in_range(atomic_load(&zone.asked), 3, 6);
}

static void that_there_is_no_address_is_remembered_and_said(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    set_zone(NULL, NULL);
    open_it();
    struct asked asked = { .is_done = false };
    for (int i = 0; i < 60; i++) { /* some attempts are made meanwhile */
        ask(&asked, "select 1", true);
        expect_error(&asked, FAIL_REFUSED, "08001");
        assert_non_null(strstr(asked.call.error.text, "db.test"));
        turn(25);
    }
    assert_int_equal(atomic_load(&zone.asked), 1);
}

static void a_host_without_an_address_is_left_out_when_another_has_one(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    settings.conninfo = url_of("none.test,db.test");
    open_it();
    assert_string_equal(run("select 5"), "5");
}

static void an_address_that_does_not_answer_is_followed_by_the_next(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    set_zone("127.0.0.9", "127.0.0.2");
    open_it();
    assert_string_equal(run("select host(inet_server_addr())"), "127.0.0.2");
}

/* --- following it --- */

static void connections_to_an_address_that_is_gone_are_replaced_when_nobody_uses_them(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    settings.min_size = 3;
    settings.dns_ttl_ms = 200;
    open_it();
    turn_until(2000, connections() == 3);
    struct leased leased;
    struct sql_session *session = begin(&leased);
    run_in(session, "create temp table mine as select host(inet_server_addr()) as address");
    assert_string_equal(run("select host(inet_server_addr())"), "127.0.0.1");
    set_zone("127.0.0.2", NULL);
    uint64_t begin_ms = clock_mono_ms();
    while (strcmp(run("select host(inet_server_addr())"), "127.0.0.2") != 0 &&
           clock_mono_ms() - begin_ms < slow_ms(3000))
        turn(10);
    turn(800); /* the idle ones are closed one by one */
    for (int i = 0; i < 10; i++)
        assert_string_equal(run("select host(inet_server_addr())"), "127.0.0.2");
    struct asked asked = { .is_done = false };
    ask_in(session, &asked,
           "select address || ' ' || host(inet_server_addr()) from mine"); /* the one in use is not broken */
    expect_ok(&asked);
    assert_text(sql_rows_cell(asked.call.rows, 0, 0).text, "127.0.0.1 127.0.0.1");
    drop_rows(&asked);
    run_in(session, "commit");
    sql_session_end(session); /* now it may go, too */
    use_four_connections();
    for (int i = 0; i < 8; i++)
        assert_string_equal(run("select host(inet_server_addr())"), "127.0.0.2");
}

static void a_name_server_that_fails_costs_no_connection(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    settings.dns_ttl_ms = 200;
    open_it();
    char pid[32];
    snprintf(pid, sizeof pid, "%s", run("select pg_backend_pid()"));
    set_zone(NULL, NULL);
    unsigned before = atomic_load(&zone.asked);
    turn(1000);
    assert_true(atomic_load(&zone.asked) > before);
    assert_string_equal(run("select pg_backend_pid()"), pid);
}

static void while_no_name_server_answers_new_connections_go_where_the_last_ones_went(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    settings.dns_ttl_ms = 200;
    open_it();
    run("select 1");
    set_away(true);
    unsigned before = atomic_load(&zone.asked);
    turn_until(2000, atomic_load(&zone.asked) > before);
    turn(50);
    outside("select pg_terminate_backend(pid, 1000) from pg_stat_activity where " OURS);
    turn(50);
    assert_string_equal(run("select 'here'"), "here");
    use_four_connections();
}

/* --- silence --- */

static void a_look_up_that_hangs_holds_up_neither_the_loop_nor_another(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    char silent_url[300], why[256] = "";
    struct sql_engine *other;
    struct postgres_settings others = settings;
    set_silence(true);
    snprintf(silent_url, sizeof silent_url, "%s", url_of("silent.test"));
    settings.conninfo = silent_url;
    settings.connect_timeout_ms = 300;
    open_it();
    struct loop_load load;
    loop_load_take(world.loop, &load);
    struct asked asked = { .is_done = false };
    uint64_t begin_ms = clock_mono_ms();
    ask(&asked, "select 1", false);
    others.conninfo = url_of("db.test");
    assert_int_equal(postgres_engine_open(&others, &world.loop, 1, &other, why, sizeof why), FAIL_OK);
    struct sql_engine *silent = world.engine;
    world.engine = other;
    assert_string_equal(run("select 6"), "6");
    assert_true(clock_mono_ms() - begin_ms < slow_ms(300));
    expect_error(&asked, FAIL_REFUSED, "08001");
    assert_non_null(strstr(asked.call.error.text, "looking up its name"));
    turn(3000); /* more attempts, and each waits for the same look-up */
    assert_int_equal(atomic_load(&zone.silent_asked), 1);
    assert_int_equal(aside_count(), 1);
    loop_load_take(world.loop, &load);
    assert_true(load.longest_ns < (uint64_t)slow_ms(50) * 1000 * 1000);
    close_engine(); /* the other one */
    world.engine = silent;
    begin_ms = clock_mono_ms();
    close_world(NULL); /* does not wait for the answer, which then finds nobody */
    assert_true(clock_mono_ms() - begin_ms < slow_ms(1000));
    assert_int_equal(aside_count(), 1);
    set_silence(false);
    for (int i = 0; i < 1000 && aside_count(); i++)
        usleep(1000);
    assert_int_equal(aside_count(), 0);
}

/* --- the whole --- */

static int set_up_group(void **state)
{
    char arguments[300];
    if (server_url() && servers_are_there()) {
        servers_folder(server_dir, sizeof server_dir, "name");
        snprintf(arguments, sizeof arguments, "postgres start %s --set=listen_addresses=127.0.0.1,127.0.0.2",
                 server_dir);
        servers_run(arguments, "url", own_url, sizeof own_url);
    }
    return set_up_process(state);
}

static int tear_down_group(void **state)
{
    (void)state;
    if (own_url[0])
        servers_stop("postgres", server_dir);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(connections_opened_together_share_a_look_up),
        TEST(a_name_is_asked_about_again_when_its_time_is_over),
        TEST(that_there_is_no_address_is_remembered_and_said),
        TEST(a_host_without_an_address_is_left_out_when_another_has_one),
        TEST(an_address_that_does_not_answer_is_followed_by_the_next),
        TEST(connections_to_an_address_that_is_gone_are_replaced_when_nobody_uses_them),
        TEST(a_name_server_that_fails_costs_no_connection),
        TEST(while_no_name_server_answers_new_connections_go_where_the_last_ones_went),
        TEST(a_look_up_that_hangs_holds_up_neither_the_loop_nor_another),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_group, tear_down_group);
}
