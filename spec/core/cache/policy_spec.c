/* policy_spec.c - the order of eviction, told by nodes that have no cache around them. */
#include "cache/policy.h"

#include "base/mem.h"
#include "base/siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum { NODES = 1000, BYTES = 1000 };

static size_t weigh(const struct policy_node *node) { return node->owners ? node->owners : BYTES; }

struct shelf { /* as many nodes as fit into NODES * BYTES */
    struct policy policy;
    struct policy_node nobody, nodes[NODES * 20 + 1]; /* one more takes another's place */
    bool is_in[NODES * 20];
    unsigned count, judged;
    unsigned stays; /* the node with this hash stays, when not 0 */
};
static struct shelf shelf;

static enum policy_word judge(const struct policy_node *node, void *arg)
{
    struct shelf *s = arg;
    s->judged++;
    return s->stays && node->hash == s->stays ? POLICY_STAYS : POLICY_DECIDES;
}

static uint32_t hash_of(unsigned i)
{
    struct siphash_key key = { 1, 2 };
    return (uint32_t)siphash13(key, &i, sizeof i);
}

static void want(unsigned i)
{
    if (shelf.is_in[i]) {
        policy_hit(&shelf.nodes[i]);
        return;
    }
    while (shelf.count >= NODES) {
        struct policy_node *gone = policy_take(&shelf.policy, judge, &shelf);
        assert_non_null(gone);
        shelf.is_in[gone - shelf.nodes] = false;
        shelf.count--;
    }
    shelf.nodes[i] = (struct policy_node){ .hash = hash_of(i) };
    policy_insert(&shelf.policy, &shelf.nodes[i]);
    shelf.is_in[i] = true;
    shelf.count++;
}

static int open_shelf(void **state)
{
    (void)state;
    shelf = (struct shelf){ 0 };
    return policy_open(&shelf.policy, &shelf.nobody, weigh, NODES * BYTES);
}

static int close_shelf(void **state)
{
    (void)state;
    policy_close(&shelf.policy);
    return mem_live() == 0 ? 0 : -1;
}

static unsigned count_in(unsigned from, unsigned to)
{
    unsigned count = 0;
    for (unsigned i = from; i < to; i++)
        count += shelf.is_in[i];
    return count;
}

static void a_scan_does_not_push_out_what_is_in_use(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 5; round++)
        for (unsigned i = 0; i < NODES / 2; i++)
            want(i);
    for (unsigned i = NODES; i < NODES * 20; i++)
        want(i);
    /* One in 64 may go, where a single call would have had to look at more than that. */
    assert_true(count_in(0, NODES / 2) >= NODES / 2 - NODES / 2 / 64 - 1);
}

static void what_is_never_hit_leaves_in_order_of_arrival(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NODES; i++)
        want(i);
    for (unsigned i = 0; i < NODES; i++)
        assert_ptr_equal(policy_take(&shelf.policy, judge, &shelf), &shelf.nodes[i]);
    assert_null(policy_take(&shelf.policy, judge, &shelf));
}

static void what_comes_back_soon_after_it_left_is_kept(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NODES + 50; i++)
        want(i);
    assert_int_equal(count_in(0, 50), 0);
    for (unsigned i = 0; i < 50; i++)
        want(i);
    for (unsigned i = NODES * 2; i < NODES * 20; i++)
        want(i);
    assert_int_equal(count_in(0, 50), 50);
}

static void a_node_in_use_is_not_taken(void **state)
{
    (void)state;
    want(0);
    shelf.stays = hash_of(0);
    for (unsigned i = 1; i < NODES * 10; i++)
        want(i);
    assert_true(shelf.is_in[0]);
}

static void each_call_looks_at_a_bounded_number_of_nodes(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 10; round++)
        for (unsigned i = 0; i < NODES; i++)
            want(i); /* everything hit as often as counts */
    for (unsigned i = NODES; i < NODES * 2; i++) {
        shelf.judged = 0;
        want(i);
        assert_true(shelf.judged <= 65);
    }
}

static void a_replacement_takes_the_place_and_the_hits(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        want(i);
    want(1);
    struct policy_node *other = &shelf.nodes[NODES * 20];
    *other = (struct policy_node){ .hash = hash_of(1), .owners = 7 };
    policy_replace(&shelf.policy, &shelf.nodes[1], other);
    assert_int_equal(other->hits, 1);
    assert_int_equal(shelf.policy.small_bytes, 2 * BYTES + 7);
    assert_ptr_equal(policy_take(&shelf.policy, judge, &shelf), &shelf.nodes[0]);
    assert_ptr_equal(policy_take(&shelf.policy, judge, &shelf), other);
    assert_ptr_equal(policy_take(&shelf.policy, judge, &shelf), &shelf.nodes[2]);
    assert_int_equal(shelf.policy.small_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_scan_does_not_push_out_what_is_in_use, open_shelf, close_shelf),
        cmocka_unit_test_setup_teardown(what_is_never_hit_leaves_in_order_of_arrival, open_shelf, close_shelf),
        cmocka_unit_test_setup_teardown(what_comes_back_soon_after_it_left_is_kept, open_shelf, close_shelf),
        cmocka_unit_test_setup_teardown(a_node_in_use_is_not_taken, open_shelf, close_shelf),
        cmocka_unit_test_setup_teardown(each_call_looks_at_a_bounded_number_of_nodes, open_shelf, close_shelf),
        cmocka_unit_test_setup_teardown(a_replacement_takes_the_place_and_the_hits, open_shelf, close_shelf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
