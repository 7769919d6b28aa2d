/* map_spec.c - byte strings to pointers. */
#include "support/spec.h"

#include "base/map.h"

#define KEYS 500

static struct map map;
static char values[KEYS];

static struct str key_of(unsigned i)
{
    static char text[16];
    return str_make(text, (size_t)snprintf(text, sizeof text, "key-%u", i));
}

static int open_map(void **state)
{
    (void)state;
    return map_init(&map, MEM_CACHE) ? -1 : 0;
}

static int close_map(void **state)
{
    (void)state;
    map_clear(&map);
    return 0;
}

static void what_was_set_is_found(void **state)
{
    (void)state;
    assert_null(map_get(&map, STR("nothing")));
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(map_set(&map, key_of(i), &values[i]), FAIL_OK);
    assert_int_equal(map.count, KEYS);
    for (unsigned i = 0; i < KEYS; i++)
        assert_ptr_equal(map_get(&map, key_of(i)), &values[i]);
    assert_int_equal(map_set(&map, key_of(7), &values[0]), FAIL_OK);
    assert_ptr_equal(map_get(&map, key_of(7)), &values[0]);
    assert_int_equal(map.count, KEYS);
}

static void keys_are_any_bytes(void **state)
{
    (void)state;
    assert_int_equal(map_set(&map, STR(""), &values[0]), FAIL_OK);
    assert_int_equal(map_set(&map, STR("\0"), &values[1]), FAIL_OK);
    assert_int_equal(map_set(&map, STR("\0\0"), &values[2]), FAIL_OK);
    assert_ptr_equal(map_get(&map, STR_NONE), &values[0]);
    assert_ptr_equal(map_get(&map, STR("\0")), &values[1]);
    assert_ptr_equal(map_get(&map, STR("\0\0")), &values[2]);
    assert_ptr_equal(map_remove(&map, STR_NONE), &values[0]);
    assert_null(map_get(&map, STR("")));
}

/* Sets and removes at random beside a plain array that is always right. */
static void sets_and_removes_agree_with_an_array(void **state)
{
    (void)state;
    bool is_set[KEYS] = { false };
    size_t count = 0;
    uint32_t random = 1;
    for (unsigned step = 0; step < 50000; step++) {
        random = random * 1664525u + 1013904223u;
        unsigned i = (random >> 8) % KEYS;
        bool must_set = random >> 31 ? step / 5000 % 2 : !(step / 5000 % 2) && (random >> 30 & 1);
        if (must_set) {
            assert_int_equal(map_set(&map, key_of(i), &values[i]), FAIL_OK);
            count += !is_set[i];
        } else {
            assert_ptr_equal(map_remove(&map, key_of(i)), is_set[i] ? &values[i] : NULL);
            count -= is_set[i];
        }
        is_set[i] = must_set;
        assert_int_equal(map.count, count);
        unsigned other = (random >> 4) % KEYS;
        assert_ptr_equal(map_get(&map, key_of(other)), is_set[other] ? &values[other] : NULL);
    }
    for (unsigned i = 0; i < KEYS; i++)
        assert_ptr_equal(map_get(&map, key_of(i)), is_set[i] ? &values[i] : NULL);
}

static void a_walk_meets_each_entry_once(void **state)
{
    (void)state;
    unsigned met[KEYS] = { 0 };
    size_t at = 0;
    struct str key;
    void *value;
    assert_false(map_next(&map, &at, &key, &value));
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(map_set(&map, key_of(i), &values[i]), FAIL_OK);
    for (at = 0; map_next(&map, &at, &key, &value);) {
        size_t i = (size_t)((char *)value - values);
        assert_true(str_is(key, key_of((unsigned)i)));
        met[i]++;
    }
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(met[i], 1);
}

static void a_failed_set_changes_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        for (unsigned n = 1;; n++) {
            mem_fail_after(n);
            enum fail failed = map_set(&map, key_of(i), &values[i]);
            mem_fail_after(0);
            if (!failed)
                break;
            assert_int_equal(failed, FAIL_NOMEM);
            assert_int_equal(map.count, i);
            assert_null(map_get(&map, key_of(i)));
        }
        assert_ptr_equal(map_get(&map, key_of(i / 2)), &values[i / 2]);
    }
    struct map other;
    mem_fail_after(1);
    assert_int_equal(map_init(&other, MEM_CACHE), FAIL_NOMEM);
}

static void a_cleared_map_is_empty_and_usable(void **state)
{
    (void)state;
    assert_int_equal(map_set(&map, STR("a"), &values[0]), FAIL_OK);
    map_clear(&map);
    assert_null(map_get(&map, STR("a")));
    assert_null(map_remove(&map, STR("a")));
    assert_int_equal(map_set(&map, STR("a"), &values[1]), FAIL_OK);
    assert_ptr_equal(map_get(&map, STR("a")), &values[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_set_is_found, open_map, close_map),
        cmocka_unit_test_setup_teardown(keys_are_any_bytes, open_map, close_map),
        cmocka_unit_test_setup_teardown(sets_and_removes_agree_with_an_array, open_map, close_map),
        cmocka_unit_test_setup_teardown(a_walk_meets_each_entry_once, open_map, close_map),
        cmocka_unit_test_setup_teardown(a_failed_set_changes_nothing, open_map, close_map),
        cmocka_unit_test_setup_teardown(a_cleared_map_is_empty_and_usable, open_map, close_map),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
