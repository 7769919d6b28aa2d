/* list_spec.c - lists of nodes inside their objects. */
#include "support/spec.h"

#include "base/list.h"

struct item {
    int number;
    struct list node;
};

static int number_of(struct list *node) { return LIST_ENTRY(node, struct item, node)->number; }

static void items_come_out_in_the_order_they_went_in(void **state)
{
    (void)state;
    struct list list;
    list_init(&list);
    assert_true(list_is_empty(&list));
    assert_null(list_pop_front(&list));
    assert_null(list_peek(&list));
    struct item a = { .number = 1 }, b = { .number = 2 }, c = { .number = 0 };
    list_push_back(&list, &a.node);
    list_push_back(&list, &b.node);
    list_push_front(&list, &c.node);
    int expected = 0;
    LIST_EACH(&list, node)
    assert_int_equal(number_of(node), expected++);
    assert_int_equal(expected, 3);
    assert_ptr_equal(list_peek(&list), &c.node);
    for (int i = 0; i < 3; i++)
        assert_int_equal(number_of(list_pop_front(&list)), i);
    assert_true(list_is_empty(&list));
}

static void any_item_can_leave(void **state)
{
    (void)state;
    struct list list;
    list_init(&list);
    struct item items[5];
    for (int i = 0; i < 5; i++) {
        items[i].number = i;
        list_push_back(&list, &items[i].node);
    }
    list_remove(&items[2].node);
    list_remove(&items[2].node); /* on no list: nothing happens */
    LIST_EACH_SAFE(&list, node, after)
    if (number_of(node) % 2)
        list_remove(node);
    assert_int_equal(number_of(list_pop_front(&list)), 0);
    assert_int_equal(number_of(list_pop_front(&list)), 4);
    assert_true(list_is_empty(&list));
}

static void an_item_goes_before_another(void **state)
{
    (void)state;
    struct list list;
    list_init(&list);
    struct item first = { .number = 1 }, last = { .number = 3 }, middle = { .number = 2 };
    list_push_back(&list, &first.node);
    list_push_back(&list, &last.node);
    list_insert(&last.node, &middle.node);
    for (int i = 1; i <= 3; i++)
        assert_int_equal(number_of(list_pop_front(&list)), i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_the_order_they_went_in),
        cmocka_unit_test(any_item_can_leave),
        cmocka_unit_test(an_item_goes_before_another),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
