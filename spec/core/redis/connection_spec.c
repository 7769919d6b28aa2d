/* connection_spec.c - the line to Redis under faults: not there, killed, stopped, refusing, garbled, slow byte by byte. */
#include "session.h"

#include "server.h"

#include "loop/stream.h"

static struct server server;

static int open_all(void **state)
{
    server = (struct server){ 0 };
    return open_loop(state);
}

static int close_all(void **state)
{
    int failed = close_loop(state);
    server_stop(&server);
    return failed;
}

static void a_server_that_is_not_there_is_found_when_it_comes(void **state)
{
    (void)state;
    struct question question;
    server.port = server_free_port();
    session_open_port(server.port);
    uint64_t start_ms = clock_mono_ms();
    assert_int_equal(ask(&question, 0, "PING"), FAIL_REFUSED);
    assert_true(clock_mono_ms() - start_ms < slow_ms(30));
    loop_turn(loop, 300, NULL);
    assert_false(redis_is_ready(redis) || redis_is_open(redis));
    assert_non_null(strstr(redis_why(redis), "cannot connect"));
    server_start(&server);
    assert_true(session_wait_ready(2000) >= 0);
    assert_string_equal(redis_why(redis), "");
    assert_answer("PING", REDIS_STATUS, "PONG");
}

static void a_killed_server_ends_its_commands_and_is_found_again_within_two_seconds(void **state)
{
    (void)state;
    struct question pending[3], question;
    struct redis_stats stats;
    server_start(&server);
    session_open_port(server.port);
    assert_true(session_wait_ready(2000) >= 0);
    for (unsigned i = 0; i < 3; i++)
        start_question(&pending[i], 2000, i ? "PING" : "DEBUG SLEEP 1");
    loop_turn(loop, 20, NULL);
    server_kill(&server);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(wait_for(&pending[i]), FAIL_CLOSED);
    assert_int_equal(ask(&question, 0, "PING"), FAIL_REFUSED);
    loop_turn(loop, 1500, NULL); /* long enough for the longest pause between two attempts */
    server_start(&server);
    int64_t took_ms = session_wait_ready(2000);
    print_message("ready %d ms after the restart\n", (int)took_ms);
    assert_true(took_ms >= 0);
    assert_answer("PING", REDIS_STATUS, "PONG");
    redis_stats(redis, &stats);
    assert_int_equal(stats.reconnects, 1);
}

static void a_stopped_server_is_refused_within_200_ms_and_used_again_when_it_goes_on(void **state)
{
    (void)state;
    struct question question;
    server_start(&server);
    session_open_port(server.port);
    assert_true(session_wait_ready(2000) >= 0);
    assert_answer("SET k v", REDIS_STATUS, "OK");
    kill(server.pid, SIGSTOP);
    uint64_t start_ms = clock_mono_ms();
    unsigned slow = 0;
    while (ask(&question, 0, "GET k") != FAIL_REFUSED) {
        assert_true(question.call.fail == FAIL_TIMEOUT || question.call.fail == FAIL_CLOSED);
        slow++;
        assert_true(clock_mono_ms() - start_ms < slow_ms(200));
    }
    assert_true(slow <= 5);
    assert_false(redis_is_open(redis));
    for (unsigned i = 0; i < 100; i++) { /* a second and a half of being asked */
        uint64_t asked_ms = clock_mono_ms();
        assert_true(ask(&question, 0, "GET k") != FAIL_OK);
        assert_true(clock_mono_ms() - asked_ms < slow_ms(40));
        loop_turn(loop, 15, NULL);
    }
    kill(server.pid, SIGCONT);
    int64_t took_ms = session_wait_ready(2000);
    print_message("ready %d ms after it went on\n", (int)took_ms);
    assert_true(took_ms >= 0);
    start_ms = clock_mono_ms();
    while (ask(&question, 0, "GET k") != FAIL_OK) {
        loop_turn(loop, 10, NULL);
        assert_true(clock_mono_ms() - start_ms < slow_ms(1000));
    }
    assert_string_equal(question.text, "v");
}

static void sends_alone_notice_a_stopped_server(void **state)
{
    (void)state;
    struct str set[] = { STR("SET"), STR("k"), STR("v") };
    server_start(&server);
    session_open_port(server.port);
    assert_true(session_wait_ready(2000) >= 0);
    kill(server.pid, SIGSTOP);
    for (unsigned i = 0; i < 3; i++)
        redis_send(redis, set, 3);
    loop_turn(loop, 200, NULL);
    assert_false(redis_is_ready(redis));
    kill(server.pid, SIGCONT);
    assert_true(session_wait_ready(2000) >= 0);
}

/* Alive, but each answer too late to be of use: the line stays, the breaker opens, and one probe closes it again. */
static void a_server_that_is_always_late_is_left_alone_for_a_while(void **state)
{
    (void)state;
    struct question slow, question;
    struct redis_stats stats;
    server_start(&server);
    session_open_port(server.port);
    assert_true(session_wait_ready(2000) >= 0);
    for (unsigned i = 0; i < 5; i++) {
        assert_true(redis_is_open(redis));
        assert_int_equal(ask(&slow, 20, "DEBUG SLEEP 0.04"), FAIL_TIMEOUT);
        loop_turn(loop, 40, NULL); /* its late reply comes */
    }
    assert_true(redis_is_ready(redis));
    assert_false(redis_is_open(redis));
    assert_int_equal(ask(&question, 0, "PING"), FAIL_REFUSED);
    loop_turn(loop, 120, NULL);
    assert_true(redis_is_open(redis));
    assert_int_equal(ask(&question, 500, "PING"), FAIL_OK);
    assert_int_equal(ask(&question, 500, "PING"), FAIL_OK);
    redis_stats(redis, &stats);
    assert_int_equal(stats.reconnects, 0);
}

static void without_memory_it_is_refused_or_comes_up_later(void **state)
{
    (void)state;
    struct redis_settings settings;
    char url[64], why[100];
    server_start(&server);
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", server.port);
    assert_int_equal(redis_settings_read(str_of(url), &settings, why, sizeof why), FAIL_OK);
    for (unsigned n = 1; n < 12; n++) {
        mem_fail_after(n);
        enum fail fail = redis_open(loop, &settings, &redis);
        if (fail) {
            assert_int_equal(fail, FAIL_NOMEM);
            assert_null(redis);
        } else {
            assert_true(session_wait_ready(1000) >= 0);
        }
        mem_fail_after(0);
        session_close();
    }
}

static void password_and_database_are_given_before_the_first_command(void **state)
{
    (void)state;
    char url[100];
    server.password = "pass:word@1";
    server_start(&server);
    snprintf(url, sizeof url, "redis://:pass%%3Aword%%401@127.0.0.1:%d/5", server.port);
    session_open(url);
    assert_true(session_wait_ready(2000) >= 0);
    assert_answer("SET where five", REDIS_STATUS, "OK");
    session_close();
    snprintf(url, sizeof url, "redis://default:pass%%3Aword%%401@127.0.0.1:%d", server.port);
    session_open(url);
    assert_true(session_wait_ready(2000) >= 0);
    assert_answer("GET where", REDIS_NIL, "");
    assert_answer("SELECT 5", REDIS_STATUS, "OK");
    assert_answer("GET where", REDIS_STRING, "five");
}

static void assert_why(const char *url, const char *what)
{
    session_open(url);
    for (int i = 0; i < 100 && !redis_why(redis)[0]; i++)
        loop_turn(loop, 10, NULL);
    if (!strstr(redis_why(redis), what))
        fail_msg("%s", redis_why(redis));
    assert_null(strstr(redis_why(redis), "hunter2"));
    assert_false(redis_is_ready(redis));
    session_close();
}

static void a_refused_login_says_why(void **state)
{
    (void)state;
    char url[100];
    server.password = "right";
    server_start(&server);
    snprintf(url, sizeof url, "redis://:hunter2@127.0.0.1:%d", server.port);
    assert_why(url, "AUTH was refused: WRONGPASS");
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", server.port);
    assert_why(url, "PING was refused: NOAUTH");
    snprintf(url, sizeof url, "redis://:right@127.0.0.1:%d/999", server.port);
    assert_why(url, "SELECT was refused: ERR DB index is out of range");
}

static void a_unix_socket_serves_as_well(void **state)
{
    (void)state;
    char url[120];
    server_start(&server);
    snprintf(url, sizeof url, "unix://%s?db=2", server.socket);
    session_open(url);
    assert_true(session_wait_ready(2000) >= 0);
    assert_answer("PING", REDIS_STATUS, "PONG");
    session_close();
    snprintf(url, sizeof url, "unix://%s.not", server.socket);
    assert_why(url, "socket.not: cannot connect");
}

/* --- a server that only says what a test has it say -------------------------------------------------------------- */

static struct fake {
    struct stream_listener *listener;
    struct stream *stream;
    const char *greeting; /* the answer to everything until it was said */
    unsigned connects;
} fake;

static void on_fake_read(void *arg, char *data, ptrdiff_t len)
{
    (void)arg;
    (void)data;
    if (len <= 0) {
        stream_close(fake.stream, NULL, NULL);
        fake.stream = NULL;
        return;
    }
    if (!fake.greeting)
        return;
    struct str piece = str_of(fake.greeting);
    fake.greeting = NULL;
    assert_int_equal(stream_try_write(fake.stream, &piece, 1), piece.len);
}

static void on_fake_accept(void *arg, struct stream *stream)
{
    (void)arg;
    fake.connects++;
    if (fake.stream)
        stream_close(fake.stream, NULL, NULL);
    fake.stream = stream;
    stream_read_start(stream, on_fake_read, NULL);
}

static void fake_open(const char *greeting)
{
    char why[100];
    fake = (struct fake){ .greeting = greeting };
    assert_int_equal(stream_listen(loop, "127.0.0.1", 0, (struct stream_listen_options){ .backlog = 8 }, on_fake_accept,
                                   NULL, &fake.listener, why, sizeof why),
                     FAIL_OK);
    session_open_port(stream_listener_port(fake.listener));
}

static void fake_close(void)
{
    session_close();
    stream_listener_close(fake.listener, NULL, NULL);
    if (fake.stream)
        stream_close(fake.stream, NULL, NULL);
    loop_turn(loop, 10, NULL);
}

static void fake_say(const char *bytes, size_t len)
{
    struct str piece = str_make(bytes, len);
    assert_int_equal(stream_try_write(fake.stream, &piece, 1), len);
}

static void replies_that_come_byte_by_byte_are_read(void **state)
{
    (void)state;
    static const char bytes[] = "$5\r\nhello\r\n*2\r\n:1\r\n$3\r\nabc\r\n-ERR x\r\n";
    struct question string, array, error;
    fake_open("+PONG\r\n");
    assert_true(session_wait_ready(1000) >= 0);
    start_question(&string, 3000, "GET a");
    start_question(&array, 3000, "MGET a b");
    start_question(&error, 3000, "X");
    for (size_t i = 0; i < sizeof bytes - 1; i++) {
        fake_say(bytes + i, 1);
        loop_turn(loop, 1, NULL);
        assert_int_equal(string.told, i >= 10);
        assert_int_equal(array.told, i >= 27);
    }
    assert_int_equal(wait_for(&error), FAIL_OK);
    assert_string_equal(string.text, "hello");
    assert_int_equal(array.count, 2);
    assert_string_equal(error.text, "ERR x");
    fake_close();
}

static void assert_costs_the_line(const char *bytes, const char *why)
{
    struct question question;
    fake_open("+PONG\r\n");
    assert_true(session_wait_ready(1000) >= 0);
    start_question(&question, 1000, "GET a");
    loop_turn(loop, 5, NULL);
    fake_say(bytes, strlen(bytes));
    assert_true(wait_for(&question) == FAIL_CLOSED || question.told == 1);
    loop_turn(loop, 5, NULL);
    assert_false(redis_is_ready(redis));
    if (!strstr(redis_why(redis), why))
        fail_msg("%s", redis_why(redis));
    fake_close();
}

static void garbage_costs_the_line_and_is_told(void **state)
{
    (void)state;
    assert_costs_the_line("HTTP/1.1 200 OK\r\n", "unreadable: Protocol error");
    assert_costs_the_line("$3\r\nabcde\r\n", "does not end where its length says");
    assert_costs_the_line("*2000000000\r\n", "over the bound of 16777216 bytes");
    assert_costs_the_line("+OK\r\n+OK\r\n", "a reply that nobody asked for");
}

static void a_reply_over_the_bound_costs_the_line(void **state)
{
    (void)state;
    static char much[32768];
    struct question question;
    fake_open("+PONG\r\n");
    assert_true(session_wait_ready(1000) >= 0);
    start_question(&question, 20000, "GET a");
    loop_turn(loop, 5, NULL);
    fake_say("$536870912\r\n", 12);
    for (unsigned sent = 0; !question.is_done && sent < 40u << 20;) {
        struct str piece = str_make(much, sizeof much);
        ptrdiff_t len = fake.stream ? stream_try_write(fake.stream, &piece, 1) : -1;
        if (len > 0)
            sent += (unsigned)len;
        loop_turn(loop, 1, &question.is_done);
    }
    assert_int_equal(question.call.fail, FAIL_CLOSED);
    assert_non_null(strstr(redis_why(redis), "over the bound of 16777216 bytes"));
    fake_close();
}

static void who_accepts_and_is_silent_is_given_up(void **state)
{
    (void)state;
    fake_open(NULL);
    loop_turn(loop, 400, NULL);
    assert_non_null(strstr(redis_why(redis), "no answer within 250 ms"));
    assert_false(redis_is_ready(redis));
    fake_close();
}

static void attempts_become_rarer(void **state)
{
    (void)state;
    fake_open("-LOADING Redis is loading the dataset in memory\r\n");
    for (int i = 0; i < 30; i++) {
        fake.greeting = "-LOADING Redis is loading the dataset in memory\r\n";
        loop_turn(loop, 100, NULL);
    }
    print_message("%u attempts in 3 s\n", fake.connects);
    assert_true(fake.connects >= 4 && fake.connects <= 12);
    assert_non_null(strstr(redis_why(redis), "LOADING"));
    fake_close();
}

/* More than a socket takes: the rest waits its turn, and what comes meanwhile goes after it. */
static void what_the_socket_does_not_take_follows(void **state)
{
    (void)state;
    enum { BYTES = 12 << 20, ROUNDS = 5 };
    struct question questions[ROUNDS], last;
    server_start(&server);
    session_open_port(server.port);
    assert_true(session_wait_ready(2000) >= 0);
    char *value = malloc(BYTES);
    memset(value, 'y', BYTES);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct str words[] = { STR("SETRANGE"), STR("k"), STR("0"), str_make(value, BYTES - i) };
        start_words(&questions[i], 4000, words, 4);
        loop_turn(loop, 1, NULL);
    }
    start_question(&last, 4000, "STRLEN k");
    assert_int_equal(wait_for(&last), FAIL_OK);
    assert_int_equal(last.integer, BYTES);
    for (unsigned i = 0; i < ROUNDS; i++)
        assert_int_equal(questions[i].call.fail, FAIL_OK);
    free(value);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_server_that_is_not_there_is_found_when_it_comes),
        TEST(a_killed_server_ends_its_commands_and_is_found_again_within_two_seconds),
        TEST(a_stopped_server_is_refused_within_200_ms_and_used_again_when_it_goes_on),
        TEST(sends_alone_notice_a_stopped_server),
        TEST(a_server_that_is_always_late_is_left_alone_for_a_while),
        TEST(without_memory_it_is_refused_or_comes_up_later),
        TEST(password_and_database_are_given_before_the_first_command),
        TEST(a_refused_login_says_why),
        TEST(a_unix_socket_serves_as_well),
        TEST(replies_that_come_byte_by_byte_are_read),
        TEST(garbage_costs_the_line_and_is_told),
        TEST(a_reply_over_the_bound_costs_the_line),
        TEST(who_accepts_and_is_silent_is_given_up),
        TEST(attempts_become_rarer),
        TEST(what_the_socket_does_not_take_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
