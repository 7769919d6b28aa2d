/* arena_spec.c - memory that ends with a request. */
#include "support/spec.h"

#include "base/arena.h"

static void pieces_are_aligned_and_apart(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, MEM_HTTP, 0);
    char *before = NULL;
    for (size_t bytes = 0; bytes < 300; bytes++) {
        char *piece = arena_alloc(&arena, bytes);
        assert_non_null(piece);
        assert_int_equal((uintptr_t)piece % 16, 0);
        assert_ptr_not_equal(piece, before);
        memset(piece, (int)bytes, bytes);
        before = piece;
    }
    arena_clear(&arena);
    assert_int_equal(mem_live(), 0);
}

static void an_empty_arena_holds_nothing(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, MEM_HTTP, 0);
    arena_reset(&arena);
    assert_int_equal(mem_live(), 0);
    arena_clear(&arena);
}

static void copies_end_with_a_nul(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, MEM_HTTP, 0);
    assert_string_equal(arena_dup(&arena, "flame!", 5), "flame");
    assert_string_equal(arena_dup(&arena, NULL, 0), "");
    struct str copy = arena_str(&arena, STR("wick"));
    assert_text(copy, "wick");
    assert_int_equal(copy.data[4], 0);
    arena_clear(&arena);
}

static void a_recycled_arena_allocates_nothing(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, MEM_HTTP, 0);
    for (unsigned round = 0; round < 4; round++) {
        if (round == 3)
            mem_fail_after(1); /* any further block would be refused */
        for (unsigned i = 0; i < 100; i++)
            assert_non_null(arena_alloc(&arena, 100));
        arena_reset(&arena);
    }
    mem_fail_after(0);
    assert_true(mem_live() <= (16u << 10) + 64);
    arena_clear(&arena);
}

static void a_reset_gives_large_blocks_back(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, MEM_HTTP, 0);
    assert_non_null(arena_alloc(&arena, 1 << 20));
    arena_reset(&arena);
    assert_int_equal(mem_live(), 0);
    assert_non_null(arena_alloc(&arena, 10));
    assert_non_null(arena_alloc(&arena, 1 << 20));
    arena_reset(&arena);
    assert_true(mem_live() > 0 && mem_live() < 5000);
    arena_clear(&arena);
}

static void the_limit_holds_to_the_byte(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, MEM_HTTP, 10000);
    assert_null(arena_alloc(&arena, 10001));
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_dup(&arena, "", SIZE_MAX));
    size_t pieces = 0;
    while (arena_alloc(&arena, 16))
        pieces++;
    assert_int_equal(pieces, 10000 / 16);
    arena_reset(&arena);
    assert_non_null(arena_alloc(&arena, 1000));
    arena_clear(&arena);
}

static void out_of_memory_is_null(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, MEM_HTTP, 0);
    mem_fail_after(1);
    assert_null(arena_alloc(&arena, 1));
    mem_fail_after(1);
    assert_null(arena_str(&arena, STR("x")).data);
    assert_non_null(arena_alloc(&arena, 1));
    arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_apart),    cmocka_unit_test(an_empty_arena_holds_nothing),
        cmocka_unit_test(copies_end_with_a_nul),           cmocka_unit_test(a_recycled_arena_allocates_nothing),
        cmocka_unit_test(a_reset_gives_large_blocks_back), cmocka_unit_test(the_limit_holds_to_the_byte),
        cmocka_unit_test(out_of_memory_is_null),           cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
