/* The prepared statements of one connection. */
#include "postgres/prepare.h"

#include "base/mem.h"
#include "base/siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct postgres_prepared_cache cache;

static int set_up(void **state)
{
    (void)state;
    postgres_prepare_init(&cache, POSTGRES_PREPARED_MAX);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    postgres_prepare_clear(&cache);
    assert_int_equal(mem_live(), 0);
    return 0;
}

static struct postgres_prepared *find(const char *text)
{
    return postgres_prepare_find(&cache, str_of(text), siphash(text, strlen(text)), /* scope= */ 0, /* fresh= */ false);
}

static struct postgres_prepared *find_sent(const char *text)
{
    struct postgres_prepared *prepared = find(text);
    prepared->is_sent = true;
    return prepared;
}

static bool next_name(char name[POSTGRES_NAME_BYTES])
{
    struct postgres_prepared *prepared = postgres_prepare_next_evicted(&cache);
    if (!prepared)
        return false;
    memcpy(name, prepared->name, POSTGRES_NAME_BYTES);
    postgres_prepare_release(prepared);
    return true;
}

static void the_same_text_has_one_name(void **state)
{
    (void)state;
    struct postgres_prepared *one = find("select 1");
    assert_ptr_equal(one, find("select 1"));
    assert_ptr_not_equal(one, find("select 2"));
    assert_string_not_equal(one->name, find("select 2")->name);
    assert_string_equal(one->text, "select 1");
    assert_false(one->is_sent);
}

static void the_least_recently_used_one_makes_room(void **state)
{
    (void)state;
    char text[32], name[POSTGRES_NAME_BYTES], oldest[POSTGRES_NAME_BYTES] = "";
    for (int i = 0; i < POSTGRES_PREPARED_MAX; i++) {
        snprintf(text, sizeof text, "select %d", i);
        find_sent(text);
    }
    find("select 0"); /* so number 1 is the oldest */
    memcpy(oldest, find("select 1")->name, sizeof oldest);
    for (int i = 2; i < POSTGRES_PREPARED_MAX; i++) {
        snprintf(text, sizeof text, "select %d", i);
        find(text);
    }
    find("select 0");
    find("one more");
    assert_int_equal(cache.count, POSTGRES_PREPARED_MAX);
    assert_true(next_name(name));
    assert_string_equal(name, oldest);
    assert_false(next_name(name));
}

static void what_is_in_flight_is_never_evicted(void **state)
{
    (void)state;
    char text[32], name[POSTGRES_NAME_BYTES];
    struct postgres_prepared *first = find_sent("first");
    postgres_prepare_hold(first);
    for (int i = 0; i < 3 * POSTGRES_PREPARED_MAX; i++) {
        snprintf(text, sizeof text, "select %d", i);
        find_sent(text);
    }
    assert_ptr_equal(find("first"), first);
    while (next_name(name))
        assert_string_not_equal(name, first->name);
    postgres_prepare_release(first);
}

static void a_dropped_one_comes_back_under_another_name(void **state)
{
    (void)state;
    char before[POSTGRES_NAME_BYTES], name[POSTGRES_NAME_BYTES];
    struct postgres_prepared *prepared = find_sent("select 1");
    memcpy(before, prepared->name, sizeof before);
    postgres_prepare_hold(prepared);
    postgres_prepare_drop(&cache, prepared, /* exists= */ true);
    assert_string_not_equal(find("select 1")->name, before);
    assert_false(find("select 1")->is_sent);
    postgres_prepare_release(prepared);
    assert_true(next_name(name));
    assert_string_equal(name, before);
}

static void discard_all_forgets_them_all(void **state)
{
    (void)state;
    char name[POSTGRES_NAME_BYTES];
    find_sent("select 1");
    find_sent("select 2");
    postgres_prepare_drop(&cache, find("select 2"), /* exists= */ true);
    postgres_prepare_drop_all(&cache); /* on its way */
    postgres_prepare_forget_evicted(&cache);
    assert_int_equal(cache.count, 0);
    assert_false(next_name(name));
    assert_false(find("select 1")->is_sent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_same_text_has_one_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_least_recently_used_one_makes_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_in_flight_is_never_evicted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_dropped_one_comes_back_under_another_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(discard_all_forgets_them_all, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
