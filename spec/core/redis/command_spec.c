/* command_spec.c - commands against a real Redis: replies to who asked, in order, in time or not at all. */
#include "session.h"

#include "server.h"

static struct server server;
static char url[300];

/* One server for all tests here: WICK_TEST_REDIS, or our own. None of these tests harms it. */
static int start_server(void **state)
{
    (void)state;
    const char *given = getenv("WICK_TEST_REDIS");
    if (given && given[0]) {
        snprintf(url, sizeof url, "%s", given);
        return 0;
    }
    server_start(&server);
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", server.port);
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    server_stop(&server);
    return 0;
}

static int open_all(void **state)
{
    if (open_loop(state))
        return -1;
    session_open(url);
    return session_wait_ready(5000) < 0 ? -1 : 0;
}

static void values_go_in_and_come_out(void **state)
{
    (void)state;
    struct question question;
    assert_answer("SET spec:a one", REDIS_STATUS, "OK");
    assert_answer("GET spec:a", REDIS_STRING, "one");
    assert_answer("DEL spec:n spec:none", REDIS_INTEGER, "");
    assert_answer("GET spec:none", REDIS_NIL, "");
    assert_int_equal(ask(&question, 2000, "INCRBY spec:n -7"), FAIL_OK);
    assert_int_equal(question.integer, -7);
    assert_answer("NOSUCH", REDIS_ERROR, "ERR unknown command 'NOSUCH', with args beginning with: ");
    assert_string_equal(redis_why(redis), "");
    assert_true(redis_is_open(redis));
}

static void any_bytes_may_be_in_keys_and_values(void **state)
{
    (void)state;
    struct question question;
    char value[256];
    for (unsigned i = 0; i < sizeof value; i++)
        value[i] = (char)i;
    struct str set[] = { STR("SET"), STR("spec:\r\n\0k"), str_make(value, sizeof value) };
    struct str len[] = { STR("STRLEN"), set[1] };
    struct str range[] = { STR("GETRANGE"), set[1], STR("1"), STR("255") };
    start_words(&question, 2000, set, 3);
    assert_int_equal(wait_for(&question), FAIL_OK);
    start_words(&question, 2000, len, 2);
    assert_int_equal(wait_for(&question), FAIL_OK);
    assert_int_equal(question.integer, 256);
    start_words(&question, 2000, range, 4);
    assert_int_equal(wait_for(&question), FAIL_OK);
    assert_memory_equal(question.text, value + 1, 255);
    struct str empty[] = { STR("SET"), STR("spec:e"), STR("") };
    start_words(&question, 2000, empty, 3);
    assert_int_equal(wait_for(&question), FAIL_OK);
    assert_answer("GET spec:e", REDIS_STRING, "");
}

static void on_many(struct redis_call *call)
{
    bool *is_done = call->arg;
    assert_int_equal(call->fail, FAIL_OK);
    assert_int_equal(call->reply->type, REDIS_ARRAY);
    assert_int_equal(call->reply->count, 3);
    assert_true(str_is(call->reply->items[0].text, STR("one")));
    assert_int_equal(call->reply->items[1].type, REDIS_NIL);
    assert_true(str_is(call->reply->items[2].text, STR("three")));
    *is_done = true;
}

static void many_values_come_as_an_array(void **state)
{
    (void)state;
    bool is_done = false;
    assert_answer("MSET spec:1 one spec:3 three", REDIS_STATUS, "OK");
    assert_answer("DEL spec:2", REDIS_INTEGER, "");
    struct str words[] = { STR("MGET"), STR("spec:1"), STR("spec:2"), STR("spec:3") };
    struct redis_call call = {
        .words = words, .word_count = 4, .timeout_ms = 2000, .on_reply = on_many, .arg = &is_done
    };
    redis_run(redis, &call);
    loop_turn(loop, 3000, &is_done);
    assert_true(is_done);
}

static void a_large_value_goes_both_ways(void **state)
{
    (void)state;
    enum { BYTES = 8 << 20 };
    struct question question;
    char *value = malloc(BYTES);
    memset(value, 'x', BYTES);
    struct str set[] = { STR("SET"), STR("spec:large"), str_make(value, BYTES) };
    struct str get[] = { STR("GET"), STR("spec:large") };
    start_words(&question, 4000, set, 3);
    assert_int_equal(wait_for(&question), FAIL_OK);
    free(value);
    start_words(&question, 4000, get, 2);
    assert_int_equal(wait_for(&question), FAIL_OK);
    assert_int_equal(question.type, REDIS_STRING);
    assert_answer("DEL spec:large", REDIS_INTEGER, "");
}

enum { MANY = 10000 };
static unsigned arrived;
struct numbered {
    struct redis_call call;
    unsigned number;
};

static void on_number(struct redis_call *call)
{
    struct numbered *numbered = call->arg;
    char text[16];
    snprintf(text, sizeof text, "%u", numbered->number);
    assert_int_equal(call->fail, FAIL_OK);
    assert_true(str_is(call->reply->text, str_of(text)));
    assert_int_equal(numbered->number, arrived);
    arrived++;
}

static void ten_thousand_commands_of_one_turn_are_answered_in_order(void **state)
{
    (void)state;
    static struct numbered many[MANY];
    bool is_done = false;
    arrived = 0;
    for (unsigned i = 0; i < MANY; i++) {
        char text[16];
        snprintf(text, sizeof text, "%u", i);
        struct str words[] = { STR("ECHO"), str_of(text) };
        many[i] = (struct numbered){ { .words = words, .word_count = 2, .timeout_ms = 5000, .on_reply = on_number },
                                     i };
        many[i].call.arg = &many[i];
        redis_run(redis, &many[i].call);
    }
    struct question over;
    start_question(&over, 5000, "PING");
    assert_int_equal(wait_for(&over), FAIL_FULL); /* one too many */
    for (int i = 0; i < 100 && arrived < MANY; i++)
        loop_turn(loop, 50, &is_done);
    assert_int_equal(arrived, MANY);
    assert_answer("PING", REDIS_STATUS, "PONG");
}

static void a_cancelled_command_is_not_told_and_its_reply_is_dropped(void **state)
{
    (void)state;
    struct question first, second, third;
    start_question(&first, 2000, "ECHO first");
    start_question(&second, 2000, "ECHO second");
    start_question(&third, 2000, "ECHO third");
    redis_cancel(&second.call);
    redis_cancel(&second.call);
    assert_int_equal(wait_for(&third), FAIL_OK);
    assert_string_equal(first.text, "first");
    assert_string_equal(third.text, "third");
    assert_int_equal(second.told, 0);
    struct redis_call never_run = { 0 };
    redis_cancel(&never_run);
}

static void a_late_reply_is_dropped_and_the_next_ones_are_right(void **state)
{
    (void)state;
    struct question slow, next;
    struct redis_stats stats;
    assert_int_equal(ask(&slow, 20, "DEBUG SLEEP 0.3"), FAIL_TIMEOUT); /* one late command is no dead line */
    start_question(&next, 2000, "ECHO next");
    assert_int_equal(wait_for(&next), FAIL_OK);
    assert_string_equal(next.text, "next");
    assert_int_equal(slow.told, 1);
    redis_stats(redis, &stats);
    assert_int_equal(stats.timeouts, 1);
    assert_int_equal(stats.reconnects, 0);
    assert_int_equal(stats.pending, 0);
}

static void a_deadline_is_kept_to_the_tick(void **state)
{
    (void)state;
    struct question slow;
    uint64_t start_ms = clock_mono_ms();
    assert_int_equal(ask(&slow, 0, "DEBUG SLEEP 0.2"), FAIL_TIMEOUT);
    uint64_t took_ms = clock_mono_ms() - start_ms;
    assert_true(took_ms >= 20 && took_ms < slow_ms(60));
}

static void what_nobody_waits_for_is_done_all_the_same(void **state)
{
    (void)state;
    struct str set[] = { STR("SET"), STR("spec:sent"), STR("yes") };
    struct str wrong[] = { STR("LPUSH"), STR("spec:sent"), STR("x") };
    redis_send(redis, set, 3);
    assert_answer("GET spec:sent", REDIS_STRING, "yes");
    redis_send(redis, wrong, 3);
    assert_answer("GET spec:sent", REDIS_STRING, "yes");
    assert_non_null(strstr(redis_why(redis), "WRONGTYPE"));
    redis_send(redis, set, 3);
    assert_answer("GET spec:sent", REDIS_STRING, "yes");
    assert_string_equal(redis_why(redis), "");
}

static void closing_ends_what_is_pending(void **state)
{
    (void)state;
    struct question first, second;
    bool is_closed = false;
    start_question(&first, 2000, "DEBUG SLEEP 0.05");
    start_question(&second, 2000, "PING");
    redis_cancel(&second.call);
    redis_close(redis, on_session_closed, &is_closed);
    assert_int_equal(first.told, 0);
    loop_turn(loop, 1000, &is_closed);
    assert_int_equal(first.told, 1);
    assert_int_equal(first.call.fail, FAIL_CLOSED);
    assert_int_equal(second.told, 0);
    redis = NULL;
}

static void without_memory_a_command_is_refused_and_the_line_goes_on(void **state)
{
    (void)state;
    struct question question;
    char value[4096];
    memset(value, 'x', sizeof value);
    struct str set[] = { STR("SET"), STR("spec:m"), str_make(value, sizeof value) };
    mem_fail_after(1);
    start_words(&question, 2000, set, 3);
    mem_fail_after(0);
    assert_true(wait_for(&question) != FAIL_OK);
    assert_answer("PING", REDIS_STATUS, "PONG");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_all, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(values_go_in_and_come_out),
        TEST(any_bytes_may_be_in_keys_and_values),
        TEST(many_values_come_as_an_array),
        TEST(a_large_value_goes_both_ways),
        TEST(ten_thousand_commands_of_one_turn_are_answered_in_order),
        TEST(a_cancelled_command_is_not_told_and_its_reply_is_dropped),
        TEST(a_late_reply_is_dropped_and_the_next_ones_are_right),
        TEST(a_deadline_is_kept_to_the_tick),
        TEST(what_nobody_waits_for_is_done_all_the_same),
        TEST(closing_ends_what_is_pending),
        TEST(without_memory_a_command_is_refused_and_the_line_goes_on),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
