/* mem_spec.c - the accounts of core/base/mem.c add up, whoever frees. */
#include "support/spec.h"

#include <pthread.h>

#define THREADS 4
#define BLOCKS 2000

static void blocks_are_counted_by_tag(void **state)
{
    (void)state;
    char *a = mem_alloc(MEM_HTTP, 100), *b = mem_zero(MEM_LUA, 28);
    assert_int_equal(mem_live_tag(MEM_HTTP), 100);
    assert_int_equal(mem_live_tag(MEM_LUA), 28);
    assert_int_equal(mem_live(), 128);
    for (unsigned i = 0; i < 28; i++)
        assert_int_equal(b[i], 0);
    mem_free(a);
    assert_int_equal(mem_live(), 28);
    mem_free(b);
    mem_free(NULL);
    assert_int_equal(mem_live(), 0);
}

static void blocks_are_aligned_for_any_type(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 70; bytes++) {
        void *block = mem_alloc(MEM_BASE, bytes);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % _Alignof(max_align_t), 0);
        mem_free(block);
    }
}

static void growing_keeps_bytes_and_tag(void **state)
{
    (void)state;
    char *text = mem_dup(MEM_SQL, "wick", 4);
    assert_string_equal(text, "wick");
    text = mem_grow(MEM_HTTP, text, 5000);
    assert_memory_equal(text, "wick", 5);
    assert_int_equal(mem_live_tag(MEM_SQL), 5000);
    assert_int_equal(mem_live_tag(MEM_HTTP), 0);
    text = mem_grow(MEM_SQL, text, 2);
    assert_int_equal(mem_live(), 2);
    mem_free(text);
    text = mem_grow(MEM_SQL, NULL, 7);
    assert_int_equal(mem_live_tag(MEM_SQL), 7);
    mem_free(text);
}

static void sizes_beyond_the_address_space_are_refused(void **state)
{
    (void)state;
    volatile size_t huge = SIZE_MAX - 8;
    assert_null(mem_alloc(MEM_BASE, huge));
    assert_null(mem_zero(MEM_BASE, huge));
    char *text = mem_dup(MEM_BASE, "x", 1);
    assert_null(mem_grow(MEM_BASE, text, huge));
    assert_string_equal(text, "x");
    mem_free(text);
}

static void the_nth_allocation_fails_once_when_asked_to(void **state)
{
    (void)state;
    mem_fail_after(2);
    char *first = mem_alloc(MEM_BASE, 1), *second = mem_alloc(MEM_BASE, 1), *third = mem_alloc(MEM_BASE, 1);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    mem_fail_after(1);
    assert_null(mem_grow(MEM_BASE, first, 100));
    mem_fail_after(1);
    mem_fail_after(0);
    second = mem_zero(MEM_BASE, 1);
    assert_non_null(second);
    mem_free(first);
    mem_free(second);
    mem_free(third);
}

static void *allocate_blocks(void *arg)
{
    void **blocks = arg;
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = mem_alloc((enum mem_tag)(i % MEM_TAGS), i);
    return NULL;
}

static void *free_blocks(void *arg)
{
    void **blocks = arg;
    for (size_t i = 0; i < BLOCKS; i++)
        mem_free(blocks[i]);
    return NULL;
}

static void run_threads(void *(*run)(void *), void *blocks[THREADS][BLOCKS])
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, blocks[i]), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void blocks_freed_by_other_threads_leave_the_sum_exact(void **state)
{
    (void)state;
    static void *blocks[THREADS][BLOCKS];
    for (unsigned round = 0; round < 5; round++) {
        run_threads(allocate_blocks, blocks);
        /* The threads have ended; what they allocated is still on the books. */
        assert_int_equal(mem_live(), (size_t)THREADS * BLOCKS * (BLOCKS - 1) / 2);
        run_threads(free_blocks, blocks);
        for (unsigned tag = 0; tag < MEM_TAGS; tag++)
            assert_int_equal(mem_live_tag((enum mem_tag)tag), 0);
    }
}

static bool must_stop;

static void *churn(void *arg)
{
    (void)arg;
    while (!__atomic_load_n(&must_stop, __ATOMIC_RELAXED)) {
        void *block = mem_grow(MEM_CACHE, mem_alloc(MEM_CACHE, 10), 1000);
        mem_free(block);
    }
    return NULL;
}

static void the_sum_can_be_asked_for_while_others_allocate(void **state)
{
    (void)state;
    must_stop = false;
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, NULL), 0);
    for (unsigned i = 0; i < 2000; i++)
        assert_true(mem_live() <= THREADS * 1000);
    __atomic_store_n(&must_stop, true, __ATOMIC_RELAXED);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(mem_live(), 0);
}

static pthread_key_t late_key;

static void free_late(void *block) { mem_free(block); }

static void *leave_a_block_for_the_end(void *arg)
{
    (void)arg;
    pthread_setspecific(late_key, mem_alloc(MEM_APP, 50));
    return NULL;
}

static void blocks_freed_while_a_thread_ends_are_counted(void **state)
{
    (void)state;
    assert_int_equal(pthread_key_create(&late_key, free_late), 0);
    for (unsigned i = 0; i < 20; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, leave_a_block_for_the_end, NULL), 0);
        pthread_join(thread, NULL);
        assert_int_equal(mem_live(), 0);
    }
    pthread_key_delete(late_key);
}

static void the_report_names_who_holds_what(void **state)
{
    (void)state;
    char text[200] = "";
    FILE *out = fmemopen(text, sizeof text, "w");
    void *a = mem_alloc(MEM_POSTGRES, 3), *b = mem_alloc(MEM_LUA, 4);
    assert_int_equal(mem_report(out), 7);
    fclose(out);
    assert_string_equal(text, "memory: 3 bytes live in postgres\nmemory: 4 bytes live in lua\n");
    mem_free(a);
    mem_free(b);
    for (unsigned tag = 0; tag < MEM_TAGS; tag++)
        assert_non_null(mem_tag_name((enum mem_tag)tag));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_counted_by_tag),
        cmocka_unit_test(blocks_are_aligned_for_any_type),
        cmocka_unit_test(growing_keeps_bytes_and_tag),
        cmocka_unit_test(sizes_beyond_the_address_space_are_refused),
        cmocka_unit_test(the_nth_allocation_fails_once_when_asked_to),
        cmocka_unit_test(blocks_freed_by_other_threads_leave_the_sum_exact),
        cmocka_unit_test(the_sum_can_be_asked_for_while_others_allocate),
        cmocka_unit_test(blocks_freed_while_a_thread_ends_are_counted),
        cmocka_unit_test(the_report_names_who_holds_what),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
