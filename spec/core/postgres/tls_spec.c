/* TLS: the server must be the one that is meant, and no byte is left lying in OpenSSL. */
#include "world.h"

#include "support/servers.h"
#include "support/tls_proxy.h"

static char folder[200];
static struct tls_proxy proxy;

/* A CA, a certificate of it for localhost, and a CA that has nothing to do with it. */
static const char make_certificates[] = "set -e; cd %s; "
                                        "ca() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
                                        "-days 2 -subj /CN=$1 -keyout $1.key -out $1.pem; }; "
                                        "ca right; ca wrong; "
                                        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "
                                        "/CN=localhost -keyout server.key -out server.csr; "
                                        "echo subjectAltName=DNS:localhost >names; "
                                        "openssl x509 -req -in server.csr -CA right.pem -CAkey right.key "
                                        "-CAcreateserial -days 2 -extfile names -out server.pem";

static int set_up_group(void **state)
{
    char command[2000], script[1200];
    if (server_url()) {
        servers_folder(folder, sizeof folder, "tls");
        snprintf(script, sizeof script, make_certificates, folder);
        snprintf(command, sizeof command, "mkdir -p %s && { %s; } >%s/log 2>&1", folder, script, folder);
        if (system(command) != 0)
            return -1;
    }
    return set_up_process(state);
}

static int tear_down_group(void **state)
{
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return folder[0] ? system(command) : 0;
}

static int set_up(void **state)
{
    (void)state;
    world = (struct world){ .loop = NULL };
    if (!server_url())
        return 0;
    char certificate[240], key[240];
    snprintf(certificate, sizeof certificate, "%s/server.pem", folder);
    snprintf(key, sizeof key, "%s/server.key", folder);
    tls_proxy_open(&proxy, port_of(server_url()), certificate, key);
    return 0;
}

static int tear_down(void **state)
{
    int failed = close_world(state);
    if (proxy.context)
        tls_proxy_close(&proxy);
    proxy.context = NULL;
    return failed;
}

static void open_tls(const char *host, const char *ca)
{
    char url[512];
    snprintf(url, sizeof url,
             "host=%s port=%d user=wick password=wick dbname=wick sslmode=verify-full sslrootcert=%s/%s.pem", host,
             proxy.port, folder, ca);
    open_world_with(settings_for(url));
}

static void verify_full_is_content_with_the_right_name_and_ca(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    open_tls("localhost", "right");
    for (int i = 0; i < 50; i++)
        assert_string_equal(run("select 5"), "5");
}

/* Refused with these words, and hardly any attempt is made. */
static void expect_refused(const char *words)
{
    struct asked asked = { .is_done = false };
    ask(&asked, "select 1", false);
    expect_error(&asked, FAIL_REFUSED, "28000");
    if (!strstr(asked.call.error.text, words) || !strstr(asked.call.error.text, "sslrootcert"))
        fail_msg("%s", asked.call.error.text);
    turn(200);
    unsigned attempts = atomic_load(&proxy.attempts);
    assert_in_range(attempts, 1, 4);
    for (int i = 0; i < 40; i++) {
        ask(&asked, "select 1", false);
        expect_error(&asked, FAIL_REFUSED, "28000");
        turn(25);
    }
    assert_int_equal(atomic_load(&proxy.attempts), attempts);
}

static void another_name_than_the_certificates_is_refused_without_a_storm(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    open_tls("127.0.0.1", "right");
    expect_refused("does not match host name");
}

static void a_certificate_of_another_ca_is_refused_without_a_storm(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    open_tls("localhost", "wrong");
    expect_refused("certificate verify failed");
}

static void a_ca_file_that_is_missing_is_named(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    open_tls("localhost", "nobody");
    struct asked asked = { .is_done = false };
    ask(&asked, "select 1", false);
    expect_error(&asked, FAIL_REFUSED, "28000");
    assert_non_null(strstr(asked.call.error.text, "nobody.pem"));
}

static void a_server_without_tls_is_refused_where_it_is_asked_for(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    char url[512];
    snprintf(url, sizeof url, "%s?sslmode=require", server_url());
    open_world_with(settings_for(url));
    struct asked asked = { .is_done = false };
    ask(&asked, "select 1", false);
    expect_error(&asked, FAIL_REFUSED, "28000");
    assert_non_null(strstr(asked.call.error.text, "does not support SSL"));
}

/* --- what OpenSSL holds --- */

static void expect_echo(int64_t bytes)
{
    struct asked asked = { .is_done = false };
    prepare_call(
        &asked, "select string_agg(chr(97 + (i % 26)::int), '' order by i) from generate_series(0, $1::int8 - 1) i", 1);
    asked.params[0] = (struct sql_value){ .type = SQL_INT, .integer = bytes };
    asked.call.timeout_ms = slow_ms(3000);
    sql_run(world.engine, &asked.call);
    expect_ok(&asked);
    struct str text = sql_rows_cell(asked.call.rows, 0, 0).text;
    assert_int_equal(text.len, bytes);
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] != (char)('a' + i % 26))
            fail_msg("byte %zu of %zu is wrong", i, text.len);
    drop_rows(&asked);
}

static void results_around_the_sizes_of_buffers_and_records_arrive_whole(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const int64_t middles[] = { 8192, 16384, 32768, 81920 };
    open_tls("localhost", "right");
    for (size_t i = 0; i < COUNT_OF(middles); i++)
        for (int64_t bytes = middles[i] - 100; bytes <= middles[i] + 100; bytes += 7)
            expect_echo(bytes);
    for (int64_t bytes = 81830; bytes <= 81920; bytes++)
        expect_echo(bytes);
    assert_true(atomic_load(&proxy.full_records) > 91 * 4);
}

/* Rows of 511 bytes on the wire and one that makes up the rest of `bytes`: so libpq has part of a row in its 16 kB when the next record
 * comes, and leaves the end of that in OpenSSL. Where it is the last one, nothing would ever wake the loop. */
static void expect_rows(int64_t bytes)
{
    struct asked asked = { .is_done = false };
    int64_t rows = (bytes - 11) / 511, rest = (bytes - 11) % 511;
    prepare_call(&asked,
                 "select repeat('y', case i when 0 then $2::int else 500 end) from generate_series($1::int, 0, -1) i",
                 2);
    asked.params[0] = (struct sql_value){ .type = SQL_INT, .integer = rows };
    asked.params[1] = (struct sql_value){ .type = SQL_INT, .integer = rest };
    asked.call.timeout_ms = slow_ms(3000);
    sql_run(world.engine, &asked.call);
    expect_ok(&asked);
    assert_int_equal(asked.call.rows->row_count, rows + 1);
    for (int64_t i = 0; i <= rows; i++) {
        struct str text = sql_rows_cell(asked.call.rows, (size_t)i, 0).text;
        assert_int_equal(text.len, i == rows ? rest : 500);
        assert_true(text.len == 0 || (text.data[0] == 'y' && text.data[text.len - 1] == 'y'));
    }
    drop_rows(&asked);
}

static void the_end_of_a_record_that_libpq_left_in_openssl_is_read(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const int64_t middles[] = { 8192, 16384, 32768 };
    open_tls("localhost", "right");
    for (size_t i = 0; i < COUNT_OF(middles); i++)
        for (int64_t bytes = middles[i] - 300; bytes <= middles[i] + 100; bytes += 3)
            expect_rows(bytes);
    for (int64_t bytes = 81820 - 150; bytes <= 81920 + 10; bytes++)
        expect_rows(bytes);
}

static void many_results_in_records_of_16_kb_arrive_whole(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    enum { N = 64 };
    static struct asked asked[N];
    open_tls("localhost", "right");
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N; i++) {
            prepare_call(&asked[i], "select repeat('x', $1::int)", 1);
            asked[i].params[0] = (struct sql_value){ .type = SQL_INT, .integer = 100 + 331 * i };
            asked[i].call.read_only = true;
            sql_run(world.engine, &asked[i].call);
        }
        for (int i = 0; i < N; i++) {
            expect_ok(&asked[i]);
            assert_int_equal(sql_rows_cell(asked[i].call.rows, 0, 0).text.len, 100 + 331 * i);
            drop_rows(&asked[i]);
        }
    }
}

/* --- a server that speaks TLS itself --- */

/* A key belongs to the one who runs the server: us, or the user postgres where we are root. */
static void start_tls_server(char *dir, size_t bytes, int *port)
{
    char command[700], arguments[900], value[16] = "";
    servers_folder(dir, bytes, "tls-server");
    snprintf(
        command, sizeof command,
        "cd %s && cp server.key own.key && { [ \"$(id -u)\" != 0 ] || chown postgres own.key; } && chmod 600 own.key",
        folder);
    assert_int_equal(system(command), 0);
    snprintf(arguments, sizeof arguments,
             "postgres start %s --set=ssl=on --set=ssl_cert_file=%s/server.pem --set=ssl_key_file=%s/own.key", dir,
             folder, folder);
    servers_run(arguments, "port", value, sizeof value);
    *port = atoi(value);
}

static void check_cancel(void)
{
    struct asked asked = { .is_done = false };
    prepare_call(&asked, "select pg_sleep(20)", 0);
    asked.call.timeout_ms = slow_ms(100);
    sql_run(world.engine, &asked.call);
    expect_error(&asked, FAIL_TIMEOUT, "57014");
    turn_until(
        1000, strcmp(run("select count(*) from pg_stat_activity where query like 'select pg_sl%' and state = 'active'"),
                     "0") == 0);
}

static void a_server_that_speaks_tls_itself_answers_and_is_cancelled(void **state)
{
    (void)state;
    if (!needs_server() || !servers_are_there())
        skip();
    char dir[200], url[512];
    int port = 0;
    start_tls_server(dir, sizeof dir, &port);
    snprintf(url, sizeof url,
             "host=localhost port=%d user=wick password=wick dbname=wick sslmode=verify-full sslrootcert=%s/right.pem",
             port, folder);
    open_world_with(settings_for(url));
    assert_string_equal(run("select ssl::text || version from pg_stat_ssl where pid = pg_backend_pid()"),
                        "trueTLSv1.3");
    for (int64_t bytes = 8100; bytes <= 8300; bytes += 3)
        expect_echo(bytes);
    for (int64_t bytes = 81820; bytes <= 81920; bytes += 3)
        expect_rows(bytes);
    expect_echo(1000 * 1000);
    check_cancel();
    close_world(state);
    world = (struct world){ .loop = NULL };
    servers_stop("postgres", dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(verify_full_is_content_with_the_right_name_and_ca),
        TEST(another_name_than_the_certificates_is_refused_without_a_storm),
        TEST(a_certificate_of_another_ca_is_refused_without_a_storm),
        TEST(a_ca_file_that_is_missing_is_named),
        TEST(a_server_without_tls_is_refused_where_it_is_asked_for),
        TEST(results_around_the_sizes_of_buffers_and_records_arrive_whole),
        TEST(the_end_of_a_record_that_libpq_left_in_openssl_is_read),
        TEST(many_results_in_records_of_16_kb_arrive_whole),
        TEST(a_server_that_speaks_tls_itself_answers_and_is_cancelled),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_group, tear_down_group);
}
