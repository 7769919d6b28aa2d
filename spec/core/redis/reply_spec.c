/* reply_spec.c - bytes to replies: whole, split anywhere, too large, and not RESP2 at all. */
#include "redis/reply.h"

#include "base/buf.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct redis_reader *reader;
static struct buf told; /* what came, written out */
static unsigned stop_after, count;

static void tell(const struct redis_reply *reply)
{
    static const char marks[] = { [REDIS_NIL] = '_', [REDIS_STRING] = '$', [REDIS_STATUS] = '+', [REDIS_ERROR] = '-' };
    if (reply->type == REDIS_INTEGER) {
        buf_addf(&told, ":%lld ", (long long)reply->integer);
    } else if (reply->type == REDIS_ARRAY) {
        buf_addf(&told, "[%zu ", reply->count);
        for (size_t i = 0; i < reply->count; i++)
            tell(&reply->items[i]);
        buf_addf(&told, "] ");
    } else {
        buf_add_char(&told, marks[reply->type]);
        buf_add_str(&told, reply->text);
        buf_add_char(&told, ' ');
    }
}

static bool on_reply(void *arg, const struct redis_reply *reply)
{
    (void)arg;
    tell(reply);
    count++;
    return count != stop_after;
}

static void open_reader(size_t bytes_max)
{
    buf_reset(&told);
    count = stop_after = 0;
    assert_int_equal(redis_reader_open(bytes_max, on_reply, NULL, &reader), FAIL_OK);
}

/* A copy on the heap, so that a read past its end shows. */
static enum fail feed(const char *data, size_t len)
{
    char *copy = malloc(len ? len : 1);
    memcpy(copy, data, len);
    enum fail fail = redis_reader_feed(reader, copy, len);
    free(copy);
    return fail;
}

static enum fail read_all(const char *bytes)
{
    open_reader(1 << 20);
    return feed(bytes, strlen(bytes));
}

static void assert_told(const char *what)
{
    assert_true(str_is(str_make(told.data, told.len), str_of(what)));
    redis_reader_close(reader);
}

static int setup(void **state)
{
    (void)state;
    buf_init(&told, MEM_BASE, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_clear(&told);
    return mem_live() == 0 ? 0 : -1;
}

static void every_type_is_read(void **state)
{
    (void)state;
    assert_int_equal(read_all("+OK\r\n-ERR no\r\n:-42\r\n$3\r\nabc\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n"), FAIL_OK);
    assert_told("+OK -ERR no :-42 $abc $ _ _ [0 ] ");
    assert_int_equal(read_all(":9223372036854775807\r\n:-9223372036854775808\r\n"), FAIL_OK);
    assert_told(":9223372036854775807 :-9223372036854775808 ");
}

static const char mixed[] = "*3\r\n$5\r\nhe\r\nl\r\n$-1\r\n*2\r\n:1\r\n*1\r\n+x\r\n"
                            "$4\r\n\r\n\r\n\r\n"
                            "-LOADING wait\r\n*2\r\n*0\r\n$1\r\n\n\r\n:7\r\n";
static const char mixed_told[] = "[3 $he\r\nl _ [2 :1 [1 +x ] ] ] $\r\n\r\n -LOADING wait [2 [0 ] $\n ] :7 ";

static void a_split_at_any_byte_changes_nothing(void **state)
{
    (void)state;
    size_t len = sizeof mixed - 1;
    for (size_t at = 0; at <= len; at++) {
        open_reader(1 << 20);
        assert_int_equal(feed(mixed, at), FAIL_OK);
        assert_int_equal(feed(mixed + at, len - at), FAIL_OK);
        assert_told(mixed_told);
    }
    open_reader(1 << 20);
    for (size_t at = 0; at < len; at++)
        assert_int_equal(feed(mixed + at, 1), FAIL_OK);
    assert_told(mixed_told);
}

static void many_small_replies_in_one_read_all_come(void **state)
{
    (void)state;
    struct buf bytes;
    buf_init(&bytes, MEM_BASE, 0);
    for (int i = 0; i < 20000; i++)
        buf_addf(&bytes, "$5\r\n%05d\r\n", i);
    open_reader(1 << 20);
    assert_int_equal(feed(bytes.data, bytes.len), FAIL_OK);
    assert_int_equal(count, 20000);
    assert_int_equal(told.len, 20000 * 7);
    assert_memory_equal(told.data + told.len - 7, "$19999 ", 7);
    redis_reader_close(reader);
    buf_clear(&bytes);
}

static void assert_refused(const char *bytes, const char *why)
{
    assert_int_equal(read_all(bytes), FAIL_INVALID);
    if (!strstr(redis_reader_why(reader), why))
        fail_msg("%s: %s", bytes, redis_reader_why(reader));
    assert_int_equal(feed("+OK\r\n", 5), FAIL_INVALID);
    redis_reader_close(reader);
}

static void what_is_not_resp2_is_refused_with_a_reason(void **state)
{
    (void)state;
    assert_refused("HTTP/1.1 400 Bad Request\r\n", "reply type byte");
    assert_refused("\r\n", "reply type byte");
    assert_refused("$3\r\nabcdef\r\n", "does not end where its length says");
    assert_refused("*8\r\n*8\r\n*8\r\n*8\r\n*8\r\n*8\r\n*8\r\n*8\r\n*8\r\n*8\r\n", "depth");
}

static void a_reply_over_the_bound_is_refused_before_it_is_held(void **state)
{
    (void)state;
    static char much[8192];
    memset(much, 'x', sizeof much);
    open_reader(16384);
    enum fail fail = feed("$500000000\r\n", 12);
    for (unsigned i = 0; i < 4 && !fail; i++)
        fail = feed(much, sizeof much);
    assert_int_equal(fail, FAIL_INVALID);
    assert_non_null(strstr(redis_reader_why(reader), "over the bound of 16384 bytes"));
    redis_reader_close(reader);

    open_reader(16384);
    assert_int_equal(feed("*100000000\r\n", 12), FAIL_INVALID); /* by its number of items */
    assert_non_null(strstr(redis_reader_why(reader), "over the bound"));
    redis_reader_close(reader);

    open_reader(16384);
    fail = feed("*300\r\n", 6);
    for (unsigned i = 0; i < 300 && !fail; i++) /* by their sum */
        fail = feed("$100\r\n", 6) || feed(much, 100) || feed("\r\n", 2) ? FAIL_INVALID : FAIL_OK;
    assert_int_equal(fail, FAIL_INVALID);
    redis_reader_close(reader);
}

static void who_wants_no_more_gets_no_more(void **state)
{
    (void)state;
    open_reader(1 << 20);
    stop_after = 2;
    assert_int_equal(feed("+a\r\n+b\r\n+c\r\n", 12), FAIL_CANCELLED);
    assert_told("+a +b ");
    open_reader(1 << 20);
    stop_after = 1;
    assert_int_equal(feed("*1\r\n:1\r\n+c\r\n", 12), FAIL_CANCELLED);
    assert_told("[1 :1 ] ");
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    mem_fail_after(1);
    assert_int_equal(redis_reader_open(100, on_reply, NULL, &reader), FAIL_NOMEM);
    open_reader(1 << 20);
    mem_fail_after(1);
    assert_int_equal(feed("*1\r\n:1\r\n", 8), FAIL_INVALID);
    mem_fail_after(0);
    redis_reader_close(reader);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_type_is_read),
        TEST(a_split_at_any_byte_changes_nothing),
        TEST(many_small_replies_in_one_read_all_come),
        TEST(what_is_not_resp2_is_refused_with_a_reason),
        TEST(a_reply_over_the_bound_is_refused_before_it_is_held),
        TEST(who_wants_no_more_gets_no_more),
        TEST(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
