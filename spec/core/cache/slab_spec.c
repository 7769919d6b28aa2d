/* slab_spec.c - blocks of all sizes within a budget: none over another, and every page given back. */
#include "support/spec.h"

#include "cache/slab.h"

#include <stdlib.h>

enum { MIB = 1 << 20, BLOCKS = 400, STEPS = 60000 };

static struct arena arena;
static struct slab slab;

static int set_up(void **state)
{
    (void)state;
    enum fail fail = arena_open(&arena, 4 * MIB);
    slab_init(&slab, &arena, 4 * MIB);
    return fail;
}

static int tear_down(void **state)
{
    (void)state;
    size_t left = slab.bytes;
    arena_close(&arena);
    return left == 0 && mem_live() == 0 ? 0 : -1;
}

static uint32_t dice(uint32_t *seed, uint32_t sides)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(*seed >> 8) * sides >> 24);
}

struct block {
    unsigned char *at;
    size_t bytes;
    unsigned char mark;
};

static void fill(struct block *block, size_t bytes, unsigned char mark)
{
    *block = (struct block){ slab_take(&slab, bytes), bytes, mark };
    if (!block->at)
        return;
    assert_int_equal((uintptr_t)block->at % ARENA_UNIT, 0);
    memset(block->at, mark, bytes);
}

static void drop(struct block *block)
{
    if (!block->at)
        return;
    for (size_t i = 0; i < block->bytes; i += 1 + block->bytes / 64)
        assert_int_equal(block->at[i], block->mark);
    assert_int_equal(block->at[block->bytes - 1], block->mark);
    slab_give(&slab, block->at, block->bytes);
    block->at = NULL;
}

static void no_block_is_written_over_by_another_and_the_budget_holds(void **state)
{
    (void)state;
    static struct block blocks[BLOCKS];
    uint32_t seed = 7;
    unsigned refused = 0;
    for (unsigned step = 0; step < STEPS; step++) {
        struct block *block = &blocks[dice(&seed, BLOCKS)];
        size_t bytes = 1 + (dice(&seed, 20) ? dice(&seed, 6000) : dice(&seed, 200000));
        drop(block);
        fill(block, bytes, (unsigned char)step);
        refused += block->at == NULL;
        assert_true(slab.bytes <= slab.bytes_max);
    }
    assert_in_range(refused, 1, STEPS / 2); /* it was full at times, and not for good */
    for (unsigned i = 0; i < BLOCKS; i++)
        drop(&blocks[i]);
    assert_int_equal(slab.bytes, 0);
}

static void a_small_block_takes_at_most_an_eighth_more_than_was_asked_for_a_large_one_a_third(void **state)
{
    (void)state;
    for (size_t bytes = 65; bytes <= SLAB_SMALL_MAX; bytes++)
        assert_in_range(slab_weight(bytes), bytes, bytes + bytes / (bytes <= 4080 ? 8 : 3) + ARENA_UNIT);
    assert_int_equal(slab_weight(SLAB_SMALL_MAX + 1), 3 * ARENA_PAGE);
    assert_int_equal(slab_weight(3 * ARENA_PAGE + 1), 4 * ARENA_PAGE);
}

static unsigned seen;
static void count(void *block, void *arg)
{
    (void)block, (void)arg;
    seen++;
}

static void a_page_to_clear_is_the_emptiest_of_another_size(void **state)
{
    (void)state;
    enum { SMALL = 100, OTHER = 300 };
    struct block small[SMALL], other[OTHER];
    for (unsigned i = 0; i < SMALL; i++)
        fill(&small[i], 1000, 1);
    for (unsigned i = 0; i < OTHER; i++)
        fill(&other[i], 100, 2);
    for (unsigned i = 3; i < OTHER; i++)
        drop(&other[i]);
    struct slab_page *page = slab_page_to_clear(&slab, 1000);
    assert_ptr_equal(page, slab_page_of(other[0].at));
    seen = 0;
    slab_each(page, count, NULL);
    assert_int_equal(seen, 3);
    assert_ptr_not_equal(slab_page_to_clear(&slab, 100), page); /* it is of that size itself */
    assert_true(slab_helps(small[0].at, 1000, 1000));
    assert_false(slab_helps(small[0].at, 1000, 100));
    assert_true(slab_helps(small[0].at, 100000, 100)); /* as if it were a large one */
    for (unsigned i = 0; i < SMALL; i++)
        drop(&small[i]);
    for (unsigned i = 0; i < 3; i++)
        drop(&other[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_block_is_written_over_by_another_and_the_budget_holds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_small_block_takes_at_most_an_eighth_more_than_was_asked_for_a_large_one_a_third, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_page_to_clear_is_the_emptiest_of_another_size, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
