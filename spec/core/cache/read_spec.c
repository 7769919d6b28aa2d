/* read_spec.c - reads through memory, one flight and a layer below that the spec plays itself, on a real loop. */
#include "support/spec.h"

#include "base/clock.h"
#include "cache/read.h"

/* The layer below: one value under any key, answered at the end of the turn, as the real one does. */
struct below {
    struct cache_layer face;
    char value[512];
    size_t len;
    enum fail fail;
    unsigned gets, puts, removes;
    struct cache_layer_get *pending;
    struct loop_task task;
    bool is_open, loses_removes;
};

static struct loop *loop;
static struct cache_store *store;
static struct cache_flights *flights;
static struct below below;
static struct cache cache;
static unsigned ready;
static struct cache_read *ready_last;

static void below_answer(void *arg)
{
    struct below *layer = arg;
    struct cache_layer_get *get = layer->pending;
    layer->pending = NULL;
    if (!get)
        return;
    get->fail = layer->fail ? layer->fail : layer->len ? FAIL_OK : FAIL_MISSING;
    get->value = str_make(layer->value, layer->len);
    get->on_got(get);
}

static void below_get(void *arg, struct cache_layer_get *get)
{
    struct below *layer = arg;
    layer->gets++;
    layer->pending = get;
    layer->task = (struct loop_task){ .run = below_answer, .arg = layer };
    loop_defer(loop, &layer->task);
}

static void below_cancel(void *arg, struct cache_layer_get *get)
{
    struct below *layer = arg;
    if (layer->pending == get)
        layer->pending = NULL;
}

static void below_put(void *arg, struct str key, struct str value, uint64_t ttl_ms)
{
    struct below *layer = arg;
    assert_true(key.len > 0 && ttl_ms > 0 && value.len <= sizeof layer->value);
    memcpy(layer->value, value.data, value.len);
    layer->len = value.len;
    layer->puts++;
}

static void below_remove(void *arg, struct str key)
{
    struct below *layer = arg;
    (void)key;
    if (!layer->loses_removes)
        layer->len = 0;
    layer->removes++;
}

static bool below_is_open(void *arg) { return ((struct below *)arg)->is_open; }

static int open_all(void **state)
{
    (void)state;
    assert_int_equal(loop_open("spec", &loop), FAIL_OK);
    assert_int_equal(cache_store_open(8 << 20, &store), FAIL_OK);
    assert_int_equal(cache_flights_open(100, &flights), FAIL_OK);
    below = (struct below){ .is_open = true };
    below.face = (struct cache_layer){ .arg = &below,
                                       .get = below_get,
                                       .cancel = below_cancel,
                                       .put = below_put,
                                       .remove = below_remove,
                                       .is_open = below_is_open };
    cache = (struct cache){ .store = store, .flights = flights, .layer = &below.face, .loop = loop };
    ready = 0;
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    assert_int_equal(cache_flights_count(flights), 0);
    cache_flights_close(flights);
    cache_store_close(store);
    assert_int_equal(loop_close(loop, 1000), 0);
    return 0;
}

/* Memory is empty, and knows of no removals: another process, on the same layer. */
static void start_anew(void)
{
    cache_store_close(store);
    assert_int_equal(cache_store_open(8 << 20, &store), FAIL_OK);
    cache.store = store;
}

static void on_ready(struct cache_read *read)
{
    ready++;
    ready_last = read;
}

static struct cache_read read_of(const char *key)
{
    return (struct cache_read){
        .cache = &cache, .key = str_of(key), .ttl_ms = 60000, .timeout_ms = 1000, .on_ready = on_ready
    };
}

static void turn(unsigned until)
{
    bool never = false;
    for (int i = 0; i < 200 && ready < until; i++)
        loop_turn(loop, 5, &never);
    assert_int_equal(ready, until);
}

static void the_first_to_miss_loads_and_the_next_hits(void **state)
{
    (void)state;
    below.is_open = false;
    struct cache_read first = read_of("k"), second = read_of("k");
    assert_int_equal(cache_read_start(&first), CACHE_READ_LOAD);
    struct cache_entry *entry;
    assert_int_equal(cache_read_fill(&first, STR_NONE, STR("value"), &entry), FAIL_OK);
    assert_text(cache_entry_value(entry), "value");
    cache_entry_unref(entry);
    assert_int_equal(cache_read_start(&second), CACHE_READ_HIT);
    assert_int_equal(second.source, CACHE_FROM_L1);
    assert_text(cache_entry_value(second.entry), "value");
    cache_entry_unref(second.entry);
}

static void those_who_miss_together_wait_for_one_load(void **state)
{
    (void)state;
    below.is_open = false;
    struct cache_read leader = read_of("k"), followers[5];
    assert_int_equal(cache_read_start(&leader), CACHE_READ_LOAD);
    for (int i = 0; i < 5; i++) {
        followers[i] = read_of("k");
        assert_int_equal(cache_read_start(&followers[i]), CACHE_READ_WAIT);
    }
    assert_int_equal(cache_read_fill(&leader, STR_NONE, STR("v"), NULL), FAIL_OK);
    assert_int_equal(ready, 0); /* never from within the call */
    turn(5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(followers[i].state, CACHE_READ_HIT);
        assert_int_equal(followers[i].source, CACHE_FROM_FLIGHT);
        cache_entry_unref(followers[i].entry);
    }
}

static void what_the_layer_below_has_is_not_loaded_again(void **state)
{
    (void)state;
    struct cache_read first = read_of("k"), second = read_of("k");
    assert_int_equal(cache_read_start(&first), CACHE_READ_WAIT);
    turn(1);
    assert_int_equal(first.state, CACHE_READ_LOAD);
    assert_int_equal(cache_read_fill(&first, STR("meta"), STR("value"), NULL), FAIL_OK);
    assert_int_equal(below.puts, 1);
    start_anew();
    assert_int_equal(cache_read_start(&second), CACHE_READ_WAIT);
    turn(2);
    assert_int_equal(second.state, CACHE_READ_HIT);
    assert_int_equal(second.source, CACHE_FROM_L2);
    assert_text(cache_entry_value(second.entry), "value");
    assert_text(cache_entry_meta(second.entry), "meta");
    cache_entry_unref(second.entry);
}

static void a_layer_below_that_fails_is_passed_over(void **state)
{
    (void)state;
    below.fail = FAIL_TIMEOUT;
    struct cache_read read = read_of("k");
    assert_int_equal(cache_read_start(&read), CACHE_READ_WAIT);
    turn(1);
    assert_int_equal(read.state, CACHE_READ_LOAD);
    cache_read_fail(&read, FAIL_SQL);
}

static void garbage_from_the_layer_below_is_a_miss(void **state)
{
    (void)state;
    memcpy(below.value, "not what we wrote there at all", 30);
    below.len = 30;
    struct cache_read read = read_of("k");
    assert_int_equal(cache_read_start(&read), CACHE_READ_WAIT);
    turn(1);
    assert_int_equal(read.state, CACHE_READ_LOAD);
    cache_read_cancel(&read);
}

static void a_value_that_was_changed_or_cut_below_is_a_miss(void **state)
{
    (void)state;
    struct cache_read writer = read_of("k");
    assert_int_equal(cache_read_start(&writer), CACHE_READ_WAIT);
    turn(1);
    assert_int_equal(cache_read_fill(&writer, STR("meta"), STR("value"), NULL), FAIL_OK);
    size_t len = below.len;
    for (size_t i = 0; i < 2 * len; i++) {
        char *byte = &below.value[i % len], was = *byte;
        if (i < len)
            *byte = (char)(was ^ 0x10);
        else
            below.len = i - len;
        start_anew();
        struct cache_read read = read_of("k");
        assert_int_equal(cache_read_start(&read), CACHE_READ_WAIT);
        turn((unsigned)i + 2);
        assert_int_equal(read.state, CACHE_READ_LOAD);
        cache_read_cancel(&read);
        *byte = was;
        below.len = len;
    }
    struct cache_read read = read_of("k");
    assert_int_equal(cache_read_start(&read), CACHE_READ_WAIT);
    turn((unsigned)(2 * len) + 2);
    assert_int_equal(read.state, CACHE_READ_HIT);
    cache_entry_unref(read.entry);
}

static void an_entry_with_tags_never_goes_below(void **state)
{
    (void)state;
    struct cache_read read = read_of("k");
    read.tags[0] = STR("services");
    read.tag_count = 1;
    assert_int_equal(cache_read_start(&read), CACHE_READ_LOAD);
    assert_int_equal(cache_read_fill(&read, STR_NONE, STR("v"), NULL), FAIL_OK);
    assert_int_equal(below.gets + below.puts, 0);
}

static void a_value_whose_tag_was_dropped_while_it_was_loaded_is_served_once_and_not_kept(void **state)
{
    (void)state;
    struct cache_read read = read_of("k");
    read.tags[0] = STR("services");
    read.tag_count = 1;
    assert_int_equal(cache_read_start(&read), CACHE_READ_LOAD);
    cache_store_drop_tag(store, STR("services"));
    struct cache_entry *entry;
    assert_int_equal(cache_read_fill(&read, STR_NONE, STR("old"), &entry), FAIL_OK);
    assert_text(cache_entry_value(entry), "old");
    cache_entry_unref(entry);
    assert_int_equal(cache_store_get(store, STR("k"), loop_now_ms(loop), &entry), CACHE_MISS);
}

static void a_key_removed_while_it_was_loaded_reaches_neither_memory_nor_the_layer_below(void **state)
{
    (void)state;
    struct cache_read read = read_of("k");
    assert_int_equal(cache_read_start(&read), CACHE_READ_WAIT);
    turn(1);
    assert_int_equal(read.state, CACHE_READ_LOAD);
    cache_remove(&cache, STR("k"));
    assert_int_equal(cache_read_fill(&read, STR_NONE, STR("old"), NULL), FAIL_OK);
    assert_int_equal(below.puts, 0);
    struct cache_entry *entry;
    assert_int_equal(cache_store_get(store, STR("k"), loop_now_ms(loop), &entry), CACHE_MISS);
}

/* Starts a read, which asks below, and waits for what comes of that. */
static enum cache_read_state read_through(struct cache_read *read)
{
    assert_int_equal(cache_read_start(read), CACHE_READ_WAIT);
    turn(ready + 1);
    return read->state;
}

static void fill(struct cache_read *read, const char *value)
{
    assert_int_equal(cache_read_fill(read, STR_NONE, str_of(value), NULL), FAIL_OK);
}

static void a_removal_that_never_reached_the_layer_below_holds(void **state)
{
    (void)state;
    struct cache_read first = read_of("k"), second = read_of("k"), third = read_of("k");
    assert_int_equal(read_through(&first), CACHE_READ_LOAD);
    fill(&first, "old");
    below.loses_removes = true; /* the breaker is open, the line is down, the queue is full .. */
    cache_remove(&cache, STR("k"));
    assert_int_equal(read_through(&second), CACHE_READ_LOAD);
    fill(&second, "new");
    cache_store_purge(store);
    assert_int_equal(read_through(&third), CACHE_READ_LOAD); /* nor does it bring back what was purged */
    cache_read_fail(&third, FAIL_MISSING);
}

static void a_value_that_overtakes_its_removal_on_the_way_below_is_not_taken(void **state)
{
    (void)state;
    struct cache_read first = read_of("k"), second = read_of("k"), third = read_of("k");
    char late[sizeof below.value];
    assert_int_equal(read_through(&first), CACHE_READ_LOAD);
    fill(&first, "old");
    size_t len = below.len;
    memcpy(late, below.value, len);
    cache_remove(&cache, STR("k"));
    memcpy(below.value, late, len); /* the SET of one connection comes after the DEL of another */
    below.len = len;
    assert_int_equal(read_through(&second), CACHE_READ_LOAD);
    fill(&second, "new");
    start_anew();
    assert_int_equal(read_through(&third), CACHE_READ_HIT);
    assert_int_equal(third.source, CACHE_FROM_L2);
    assert_text(cache_entry_value(third.entry), "new");
    cache_entry_unref(third.entry);
}

static void what_was_set_below_is_known_to_be_of_then(void **state)
{
    (void)state;
    struct cache_put put = { .key = STR("k"), .value = STR("set"), .ttl_ms = 60000 };
    struct cache_read first = read_of("k"), second = read_of("k");
    cache_store_remove(store, STR("k"));
    cache_write(&cache, &put);
    struct cache_store *other, *mine = store; /* of a process on the same layer */
    assert_int_equal(cache_store_open(8 << 20, &other), FAIL_OK);
    cache.store = other;
    assert_int_equal(read_through(&first), CACHE_READ_HIT);
    cache_entry_unref(first.entry);
    cache_store_remove(other, STR("k")); /* it removes the key, and its DEL is lost */
    assert_int_equal(read_through(&second), CACHE_READ_LOAD);
    cache_read_fail(&second, FAIL_MISSING);
    cache.store = mine;
    cache_store_close(other);
}

static void who_asks_after_a_drop_does_not_ride_on_a_load_from_before_it(void **state)
{
    (void)state;
    struct cache_read before = read_of("k"), after = read_of("k");
    before.tags[0] = after.tags[0] = STR("services");
    before.tag_count = after.tag_count = 1;
    assert_int_equal(cache_read_start(&before), CACHE_READ_LOAD);
    cache_store_drop_tag(store, STR("services"));
    assert_int_equal(cache_read_start(&after), CACHE_READ_WAIT);
    assert_int_equal(cache_read_fill(&before, STR_NONE, STR("old"), NULL), FAIL_OK);
    turn(1);
    assert_int_equal(after.state, CACHE_READ_LOAD);
    assert_int_equal(cache_read_fill(&after, STR_NONE, STR("new"), NULL), FAIL_OK);
}

static void when_the_leader_leaves_one_follower_leads(void **state)
{
    (void)state;
    below.is_open = false;
    struct cache_read leader = read_of("k"), a = read_of("k"), b = read_of("k");
    assert_int_equal(cache_read_start(&leader), CACHE_READ_LOAD);
    assert_int_equal(cache_read_start(&a), CACHE_READ_WAIT);
    assert_int_equal(cache_read_start(&b), CACHE_READ_WAIT);
    cache_read_cancel(&leader);
    turn(1);
    struct cache_read *next = ready_last;
    assert_int_equal(next->state, CACHE_READ_LOAD);
    assert_int_equal(cache_read_fill(next, STR_NONE, STR("v"), NULL), FAIL_OK);
    turn(2);
    assert_ptr_not_equal(ready_last, next);
    assert_int_equal(ready_last->state, CACHE_READ_HIT);
    cache_entry_unref(ready_last->entry);
}

static void a_failure_of_the_leader_reaches_those_who_wait(void **state)
{
    (void)state;
    below.is_open = false;
    struct cache_read leader = read_of("k"), follower = read_of("k");
    assert_int_equal(cache_read_start(&leader), CACHE_READ_LOAD);
    assert_int_equal(cache_read_start(&follower), CACHE_READ_WAIT);
    cache_read_fail(&leader, FAIL_SQL);
    turn(1);
    assert_int_equal(follower.state, CACHE_READ_FAILED);
    assert_int_equal(follower.fail, FAIL_SQL);
}

static void a_wait_ends_at_its_deadline(void **state)
{
    (void)state;
    below.is_open = false;
    struct cache_read leader = read_of("k"), follower = read_of("k");
    follower.timeout_ms = 20;
    assert_int_equal(cache_read_start(&leader), CACHE_READ_LOAD);
    assert_int_equal(cache_read_start(&follower), CACHE_READ_WAIT);
    turn(1);
    assert_int_equal(follower.state, CACHE_READ_FAILED);
    assert_int_equal(follower.fail, FAIL_TIMEOUT);
    cache_read_cancel(&leader);
}

static void a_cancelled_wait_is_not_answered(void **state)
{
    (void)state;
    struct cache_read asks_below = read_of("a"), follower = read_of("a");
    assert_int_equal(cache_read_start(&asks_below), CACHE_READ_WAIT);
    assert_int_equal(cache_read_start(&follower), CACHE_READ_WAIT);
    cache_read_cancel(&follower);
    cache_read_cancel(&asks_below);
    bool never = false;
    loop_turn(loop, 20, &never);
    assert_int_equal(ready, 0);
}

static void a_stale_entry_is_served_while_one_refreshes_it(void **state)
{
    (void)state;
    below.is_open = false;
    struct cache_put put = { .key = STR("k"), .value = STR("old"), .ttl_ms = 1, .stale_ms = 60000 };
    assert_int_equal(cache_store_put(store, &put, loop_now_ms(loop), NULL), FAIL_OK);
    bool never = false;
    loop_turn(loop, 20, &never);
    struct cache_read first = read_of("k"), second = read_of("k"), third = read_of("k");
    assert_int_equal(cache_read_start(&first), CACHE_READ_STALE);
    assert_true(first.must_load);
    assert_int_equal(cache_read_start(&second), CACHE_READ_STALE);
    assert_false(second.must_load);
    assert_int_equal(cache_read_fill(&first, STR_NONE, STR("new"), NULL), FAIL_OK);
    assert_text(cache_entry_value(first.entry), "old"); /* the caller may still be serving it */
    assert_int_equal(cache_read_start(&third), CACHE_READ_HIT);
    assert_text(cache_entry_value(third.entry), "new");
    cache_entry_unref(first.entry);
    cache_entry_unref(second.entry);
    cache_entry_unref(third.entry);
}

static void memory_that_runs_out_anywhere_ends_in_a_failure_not_in_a_crash(void **state)
{
    (void)state;
    below.is_open = false;
    for (unsigned n = 1; n < 12; n++) {
        struct cache_read read = read_of("n");
        cache_store_remove(store, STR("n"));
        mem_fail_after(n);
        enum cache_read_state found = cache_read_start(&read);
        struct cache_entry *entry = NULL;
        enum fail fail = found == CACHE_READ_LOAD ? cache_read_fill(&read, STR_NONE, STR("v"), &entry) : FAIL_OK;
        mem_fail_after(0);
        assert_true(found == CACHE_READ_LOAD || found == CACHE_READ_FAILED);
        assert_true(fail == FAIL_OK || fail == FAIL_NOMEM);
        cache_entry_unref(entry);
    }
}

int main(void)
{
#define SENTENCE(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
    const struct CMUnitTest tests[] = {
        SENTENCE(the_first_to_miss_loads_and_the_next_hits),
        SENTENCE(those_who_miss_together_wait_for_one_load),
        SENTENCE(what_the_layer_below_has_is_not_loaded_again),
        SENTENCE(a_layer_below_that_fails_is_passed_over),
        SENTENCE(garbage_from_the_layer_below_is_a_miss),
        SENTENCE(a_value_that_was_changed_or_cut_below_is_a_miss),
        SENTENCE(an_entry_with_tags_never_goes_below),
        SENTENCE(a_value_whose_tag_was_dropped_while_it_was_loaded_is_served_once_and_not_kept),
        SENTENCE(a_key_removed_while_it_was_loaded_reaches_neither_memory_nor_the_layer_below),
        SENTENCE(a_removal_that_never_reached_the_layer_below_holds),
        SENTENCE(a_value_that_overtakes_its_removal_on_the_way_below_is_not_taken),
        SENTENCE(what_was_set_below_is_known_to_be_of_then),
        SENTENCE(who_asks_after_a_drop_does_not_ride_on_a_load_from_before_it),
        SENTENCE(when_the_leader_leaves_one_follower_leads),
        SENTENCE(a_failure_of_the_leader_reaches_those_who_wait),
        SENTENCE(a_wait_ends_at_its_deadline),
        SENTENCE(a_cancelled_wait_is_not_answered),
        SENTENCE(a_stale_entry_is_served_while_one_refreshes_it),
        SENTENCE(memory_that_runs_out_anywhere_ends_in_a_failure_not_in_a_crash),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests_name("cache/read", tests, NULL, NULL);
}
