/* buf_spec.c - bytes that grow. */
#include "support/spec.h"

#include "base/buf.h"

#include <inttypes.h>

static void appends_end_up_in_order(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, MEM_HTTP, 0);
    buf_add(&buf, NULL, 0);
    buf_add(&buf, "ab", 2);
    buf_add_char(&buf, '-');
    buf_add_str(&buf, STR("cd"));
    buf_add_int(&buf, -12);
    buf_addf(&buf, " %s=%d", "x", 7);
    assert_text(buf, "ab-cd-12 x=7");
    assert_true(buf_ok(&buf));
    buf_clear(&buf);
    assert_int_equal(mem_live(), 0);
}

static void formatted_text_may_be_longer_than_what_was_there(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, MEM_HTTP, 0);
    size_t expected = 0;
    for (int width = 0; width < 300; width++) {
        buf_addf(&buf, "%*d", width, 1);
        expected += width ? (size_t)width : 1;
        assert_int_equal(buf.len, expected);
        assert_int_equal(buf.data[buf.len - 1], '1');
    }
    buf_clear(&buf);
}

static void integers_are_written_as_printf_does(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, MEM_HTTP, 0);
    uint64_t value = 0;
    for (unsigned i = 0; i < 200; i++) {
        char text[32];
        buf_reset(&buf);
        buf_add_uint(&buf, value);
        snprintf(text, sizeof text, "%" PRIu64, value);
        assert_text(buf, text);
        buf_reset(&buf);
        buf_add_int(&buf, (int64_t)value);
        snprintf(text, sizeof text, "%" PRId64, (int64_t)value);
        assert_text(buf, text);
        /* 1, 9, 10, 11, 99, 100, 101 ... up to the largest, then many others. */
        static const uint64_t edges[] = { 1, 9, 0, UINT64_MAX, INT64_MAX, (uint64_t)INT64_MIN };
        uint64_t power = 10;
        for (unsigned k = 0; k < i / 3; k++)
            power *= 10;
        value = i < COUNT_OF(edges) ? edges[i] : i < 60 ? power + i % 3 - 1 : value * 6364136223846793005u + 1;
    }
    buf_clear(&buf);
}

static void the_limit_is_kept_and_a_failure_stays(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, MEM_HTTP, 100);
    for (unsigned i = 0; i < 100; i++)
        buf_add_char(&buf, 'x');
    assert_true(buf_ok(&buf));
    assert_true(buf.cap <= 100);
    buf_add_char(&buf, 'y');
    assert_false(buf_ok(&buf));
    buf.len = 10;
    buf_add_int(&buf, 1);
    buf_addf(&buf, "x");
    buf_add(&buf, "z", 1);
    assert_int_equal(buf.len, 10); /* no text with a hole */
    buf_reset(&buf);
    buf_add(&buf, "z", 1);
    assert_text(buf, "z");
    assert_false(buf_room(&buf, SIZE_MAX));
    buf_clear(&buf);
    assert_true(buf_ok(&buf));
}

static void out_of_memory_is_noticed_at_the_end(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, MEM_HTTP, 0);
    mem_fail_after(1);
    buf_add(&buf, "abc", 3);
    buf_add(&buf, "def", 3);
    assert_false(buf_ok(&buf));
    assert_int_equal(buf.len, 0);
    size_t len = 1;
    assert_null(buf_take(&buf, &len));
    assert_int_equal(len, 0);
    assert_true(buf_ok(&buf));
}

static void the_front_can_be_dropped(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, MEM_HTTP, 0);
    buf_add_str(&buf, STR("0123456789"));
    buf_drop_front(&buf, 0);
    buf_drop_front(&buf, 4);
    assert_text(buf, "456789");
    buf_drop_front(&buf, 100);
    assert_int_equal(buf.len, 0);
    buf_clear(&buf);
}

static void the_bytes_can_be_taken(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, MEM_HTTP, 0);
    buf_add_str(&buf, STR("mine"));
    size_t len;
    char *data = buf_take(&buf, &len);
    assert_int_equal(len, 4);
    assert_memory_equal(data, "mine", 4);
    assert_int_equal(buf.len, 0);
    mem_free(data);
    buf_add_str(&buf, STR("next"));
    assert_text(buf, "next");
    buf_clear(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_end_up_in_order),
        cmocka_unit_test(formatted_text_may_be_longer_than_what_was_there),
        cmocka_unit_test(integers_are_written_as_printf_does),
        cmocka_unit_test(the_limit_is_kept_and_a_failure_stays),
        cmocka_unit_test(out_of_memory_is_noticed_at_the_end),
        cmocka_unit_test(the_front_can_be_dropped),
        cmocka_unit_test(the_bytes_can_be_taken),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
