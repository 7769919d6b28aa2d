/* store_spec.c - the memory cache against a dictionary, at its bound, and under eight threads. */
#include "support/spec.h"

#include "base/clock.h"
#include "base/random.h"
#include "cache/store.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

enum { MIB = 1 << 20 };
static struct cache_store *store;

static int open_store(void **state)
{
    (void)state;
    return cache_store_open(4 * MIB, &store);
}

static int close_store(void **state)
{
    (void)state;
    cache_store_close(store);
    store = NULL;
    return mem_live() == 0 ? 0 : -1;
}

static struct cache_put put_of(const char *key, const char *value)
{
    return (struct cache_put){ .key = str_of(key), .value = str_of(value), .ttl_ms = 100, .stale_ms = 50 };
}

static void assert_found(const char *key, uint64_t now_ms, enum cache_found found, const char *value)
{
    struct cache_entry *entry;
    assert_int_equal(cache_store_get(store, str_of(key), now_ms, &entry), found);
    assert_true((entry != NULL) == (found != CACHE_MISS));
    if (entry && value)
        assert_true(str_is(cache_entry_value(entry), str_of(value)));
    cache_entry_unref(entry);
}

static void an_entry_is_fresh_then_stale_then_a_miss(void **state)
{
    (void)state;
    struct cache_put put = put_of("a", "one");
    assert_int_equal(cache_store_put(store, &put, 1000, NULL), FAIL_OK);
    assert_found("a", 1000, CACHE_FRESH, "one");
    assert_found("a", 1099, CACHE_FRESH, "one");
    assert_found("a", 1100, CACHE_STALE, "one");
    assert_found("a", 1149, CACHE_STALE, "one");
    assert_found("a", 1150, CACHE_MISS, NULL);
    put.ttl_ms = UINT64_MAX;
    assert_int_equal(cache_store_put(store, &put, 1150, NULL), FAIL_OK);
    assert_found("a", UINT64_MAX - 1, CACHE_FRESH, "one");
}

static void key_meta_value_and_kind_come_back_as_they_went_in(void **state)
{
    (void)state;
    struct cache_put put = { .key = STR("k\0k"), .meta = STR("m\0"), .value = STR(""), .kind = 7, .ttl_ms = 1 };
    struct cache_entry *entry;
    assert_int_equal(cache_store_put(store, &put, 5, &entry), FAIL_OK);
    assert_true(str_is(cache_entry_key(entry), put.key));
    assert_true(str_is(cache_entry_meta(entry), put.meta));
    assert_int_equal(cache_entry_value(entry).len, 0);
    assert_int_equal(entry->kind, 7);
    assert_int_equal(cache_entry_age_ms(entry, 5 + 1600), 1600);
    cache_entry_unref(entry);
    entry = cache_entry_loose(&put, 5);
    assert_true(str_is(cache_entry_meta(entry), put.meta));
    assert_found("k", 5, CACHE_MISS, NULL);
    cache_entry_unref(entry);
}

static void an_entry_is_of_no_age_for_a_loop_whose_turn_began_before_it_was_put(void **state)
{
    (void)state;
    static const uint64_t wraps_ms = UINT64_C(16) << 32; /* where the low bits begin anew */
    struct cache_put put = put_of("a", "one");
    struct cache_entry *entry = cache_entry_loose(&put, 1000);
    assert_int_equal(cache_entry_age_ms(entry, 900), 0);
    cache_entry_unref(entry);
    entry = cache_entry_loose(&put, wraps_ms - 160);
    assert_int_equal(cache_entry_age_ms(entry, wraps_ms + 160), 320);
    cache_entry_unref(entry);
}

static void a_dropped_tag_makes_its_entries_misses_and_no_others(void **state)
{
    (void)state;
    struct cache_put put = put_of("a", "one");
    put.tags[0] = STR("services");
    put.tags[1] = STR("users");
    put.tag_count = 2;
    assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_OK);
    put = put_of("b", "two");
    put.tags[0] = STR("logs");
    put.tag_count = 1;
    assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_OK);
    cache_store_drop_tag(store, STR("users"));
    assert_found("a", 1, CACHE_MISS, NULL);
    assert_found("b", 1, CACHE_FRESH, "two");
}

static void a_value_read_before_a_drop_is_not_put_after_it(void **state)
{
    (void)state;
    struct cache_put put = put_of("a", "old");
    put.tags[0] = STR("services");
    put.tag_count = 1;
    put.tag_mark = cache_store_mark(store);
    assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_OK);
    cache_store_drop_tag(store, STR("services"));
    assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_CANCELLED);
    put.tag_mark = cache_store_mark(store);
    assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_OK);

    cache_store_remove(store, STR("a"));
    assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_CANCELLED);
    put.tag_mark = cache_store_mark(store);
    cache_store_purge(store);
    assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_CANCELLED);

    put.tag_mark = cache_store_mark(store);
    struct cache_put direct = put_of("a", "new");
    assert_int_equal(cache_store_put(store, &direct, 0, NULL), FAIL_OK);
    assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_CANCELLED);
    assert_found("a", 1, CACHE_FRESH, "new");
}

static void an_entry_knows_whether_it_was_dropped_since(void **state)
{
    (void)state;
    struct cache_put put = put_of("a", "one");
    put.tags[0] = STR("services");
    put.tag_count = 1;
    put.tag_mark = cache_store_mark(store);
    struct cache_entry *entry, *loose = cache_entry_loose(&put, 0);
    assert_int_equal(cache_store_put(store, &put, 0, &entry), FAIL_OK);
    assert_true(cache_store_is_current(store, entry) && cache_store_is_current(store, loose));
    cache_store_drop_tag(store, STR("services"));
    assert_false(cache_store_is_current(store, entry) || cache_store_is_current(store, loose));
    cache_entry_unref(entry);
    cache_entry_unref(loose);

    put.tag_count = 0;
    put.tag_mark = cache_store_mark(store);
    assert_int_equal(cache_store_put(store, &put, 0, &entry), FAIL_OK);
    cache_store_remove(store, STR("a"));
    assert_false(cache_store_is_current(store, entry));
    cache_entry_unref(entry);
}

static void a_purge_empties_it_at_once_and_sweeps_free_the_memory(void **state)
{
    (void)state;
    char key[16];
    struct cache_stats empty, stats;
    cache_store_stats(store, &empty);
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        struct cache_put put = put_of(key, "value");
        assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_OK);
    }
    cache_store_purge(store);
    assert_found("k1", 1, CACHE_MISS, NULL);
    for (int i = 0; i < 400; i++)
        cache_store_sweep(store, 1);
    cache_store_stats(store, &stats);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.bytes, empty.bytes);
}

static void sweeps_free_what_expired_and_nothing_else(void **state)
{
    (void)state;
    char key[16];
    struct cache_stats stats;
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        struct cache_put put = put_of(key, "value");
        put.ttl_ms = i % 2 ? 100 : 1000;
        assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_OK);
    }
    for (int i = 0; i < 400; i++)
        cache_store_sweep(store, 500);
    cache_store_stats(store, &stats);
    assert_int_equal(stats.entries, 500);
    assert_int_equal(stats.expirations, 500);
    assert_found("k2", 500, CACHE_FRESH, "value");
}

static void a_reader_keeps_what_was_replaced_and_it_counts_until_then(void **state)
{
    (void)state;
    struct cache_stats before, during, after;
    struct cache_put put = put_of("a", "one");
    struct cache_entry *entry;
    cache_store_stats(store, &before);
    assert_int_equal(cache_store_put(store, &put, 0, &entry), FAIL_OK);
    assert_true(cache_store_remove(store, STR("a")));
    assert_false(cache_store_remove(store, STR("a")));
    cache_store_stats(store, &during);
    assert_true(during.bytes > before.bytes);
    assert_int_equal(during.entries, 0);
    assert_true(str_is(cache_entry_value(entry), STR("one")));
    cache_entry_unref(entry);
    cache_store_stats(store, &after);
    assert_int_equal(after.bytes, before.bytes);
}

static void what_is_held_stays_as_it_is_until_it_is_let_go_of(void **state)
{
    (void)state;
    struct cache_stats before, during, after;
    struct cache_hold hold, second;
    struct cache_put put = put_of("a", "one");
    cache_store_stats(store, &before);
    assert_int_equal(cache_store_hold(store, put.key, 0, &hold), CACHE_MISS);
    assert_null(hold.entry);
    assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_OK);
    assert_int_equal(cache_store_hold(store, put.key, 0, &hold), CACHE_FRESH);
    assert_int_equal(cache_store_hold(store, put.key, 0, &second),
                     CACHE_FRESH); /* the slot holds something: by reference */
    cache_store_remove(store, put.key);
    put.value = STR("two");
    assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_OK); /* not in the block of the first */
    assert_true(str_is(cache_entry_value(hold.entry), STR("one")) && second.entry == hold.entry);
    cache_store_let_go(&second);
    struct cache_entry *kept = cache_store_keep(&hold);
    cache_store_remove(store, put.key);
    cache_store_stats(store, &during);
    assert_true(during.bytes > before.bytes);
    assert_true(str_is(cache_entry_value(kept), STR("one")));
    cache_entry_unref(kept);
    cache_store_stats(store, &after);
    assert_int_equal(after.bytes, before.bytes);
}

static void what_is_too_large_is_refused(void **state)
{
    (void)state;
    static char large[MIB];
    struct cache_put put = { .key = STR("a"), .value = str_make(large, sizeof large), .ttl_ms = 1 };
    assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_FULL);
    put.value.len = (size_t)INT32_MAX + 1; /* never read */
    assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_FULL);
    assert_null(cache_entry_loose(&put, 0));
    struct cache_store *tiny;
    assert_int_equal(cache_store_open(MIB, &tiny), FAIL_INVALID);
}

static void when_all_is_in_use_there_is_no_room_and_later_there_is(void **state)
{
    (void)state;
    enum { MANY = 2000, BYTES = 8192 };
    static char value[BYTES];
    struct cache_entry *held[MANY];
    struct cache_stats stats;
    unsigned full = 0;
    for (int i = 0; i < MANY; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        struct cache_put put = { .key = str_of(key), .value = str_make(value, BYTES), .ttl_ms = 1 };
        full += cache_store_put(store, &put, 0, &held[i]) == FAIL_FULL;
        cache_store_stats(store, &stats);
        assert_true(stats.bytes <= stats.bytes_max);
    }
    assert_true(full > MANY / 2);
    for (int i = 0; i < MANY; i++)
        cache_entry_unref(held[i]);
    struct cache_put put = put_of("a", "one");
    assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_OK);
}

static void no_size_of_values_starves_another(void **state)
{
    (void)state;
    static const size_t sizes[] = { 60, 3000, 100000, 60, 700, 20000, 60 };
    static char value[100000];
    struct cache_stats stats;
    for (unsigned round = 0; round < COUNT_OF(sizes); round++)
        for (unsigned i = 0; i < 8 * MIB / (sizes[round] + 1000); i++) {
            char key[32];
            snprintf(key, sizeof key, "%u-%u", round, i);
            struct cache_put put = { .key = str_of(key), .value = str_make(value, sizes[round]), .ttl_ms = 100 };
            assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_OK);
            assert_found(key, 0, CACHE_FRESH, NULL);
        }
    cache_store_stats(store, &stats);
    assert_true(stats.entries > MIB / 200); /* the last ones have nearly all of it */
}

/* Small ones that are in use stand in pages with others that are not, and it is those that make room. */
static void large_values_that_pass_leave_small_ones_that_are_in_use(void **state)
{
    (void)state;
    enum { USED = 500, LARGE = 60000, PASSING = 200 };
    static char value[LARGE];
    char key[32];
    unsigned left = 0;
    for (unsigned i = 0; i < USED * 2; i++) {
        snprintf(key, sizeof key, "%s-%u", i % 2 ? "once" : "used", i / 2);
        struct cache_put put = { .key = str_of(key), .value = str_make(value, 400), .ttl_ms = 100 };
        assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_OK);
    }
    for (unsigned n = 0; n < PASSING; n++) {
        left = 0;
        for (unsigned i = 0; i < USED; i++) {
            struct cache_hold hold;
            snprintf(key, sizeof key, "used-%u", i);
            left += cache_store_hold(store, str_of(key), 0, &hold) == CACHE_FRESH;
            cache_store_let_go(&hold);
        }
        snprintf(key, sizeof key, "large-%u", n);
        struct cache_put put = { .key = str_of(key), .value = str_make(value, LARGE), .ttl_ms = 100 };
        assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_OK);
    }
    assert_in_range(left, USED * 9 / 10, USED);
}

static void running_out_of_memory_leaves_it_whole(void **state)
{
    (void)state;
    struct cache_stats before, after;
    struct cache_put put = put_of("a", "one");
    cache_store_stats(store, &before);
    mem_fail_after(1);
    assert_int_equal(cache_store_put(store, &put, 0, NULL), FAIL_OK); /* which takes nothing from the heap */
    assert_null(cache_entry_loose(&put, 0));
    mem_fail_after(0);
    cache_store_remove(store, put.key);
    cache_store_stats(store, &after);
    assert_int_equal(after.bytes, before.bytes);
    for (unsigned n = 1; n < 20; n++) {
        struct cache_store *other;
        mem_fail_after(n);
        if (cache_store_open(2 * MIB, &other) == FAIL_OK)
            cache_store_close(other);
        else
            assert_null(other);
        mem_fail_after(0);
    }
}

/* The dictionary: what each key was last given. A cache may forget, so a miss is always right; what it gives must be
 * the last value, not expired, not dropped. */
enum { KEYS = 700, TAGS = 20, STEPS = 300000 };
struct model {
    uint32_t version; /* 0: nothing */
    uint64_t fresh_until_ms, stale_until_ms;
    unsigned tags[2], tag_count;
    size_t len;
};

static uint32_t dice(uint32_t *seed, uint32_t sides)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(*seed >> 8) * sides >> 24);
}

static void model_check(const struct model *model, unsigned key, uint64_t now_ms, unsigned *hits)
{
    char name[32];
    struct cache_entry *entry;
    snprintf(name, sizeof name, "key-%u", key);
    enum cache_found found = cache_store_get(store, str_of(name), now_ms, &entry);
    if (found == CACHE_MISS)
        return;
    ++*hits;
    assert_true(model->version > 0);
    assert_true(now_ms < (found == CACHE_FRESH ? model->fresh_until_ms : model->stale_until_ms));
    assert_true(found == CACHE_FRESH || now_ms >= model->fresh_until_ms);
    assert_true(str_is(cache_entry_key(entry), str_of(name)));
    struct str value = cache_entry_value(entry);
    uint32_t version;
    assert_int_equal(value.len, model->len);
    memcpy(&version, value.data, sizeof version);
    assert_int_equal(version, model->version);
    cache_entry_unref(entry);
}

static enum fail model_put(struct model *model, unsigned key, uint32_t version, uint64_t now_ms, uint32_t *seed)
{
    static char bytes[40000];
    char name[32], tags[2][16];
    memcpy(bytes, &version, sizeof version);
    snprintf(name, sizeof name, "key-%u", key);
    struct model next = { .version = version, .tag_count = dice(seed, 3) };
    next.len = 4 + (dice(seed, 20) ? dice(seed, 9000) : dice(seed, 39000));
    struct cache_put put = { .key = str_of(name),
                             .value = str_make(bytes, next.len),
                             .ttl_ms = dice(seed, 2000),
                             .stale_ms = dice(seed, 500),
                             .tag_count = next.tag_count };
    for (unsigned i = 0; i < next.tag_count; i++) {
        next.tags[i] = dice(seed, TAGS);
        snprintf(tags[i], sizeof tags[i], "tag-%u", next.tags[i]);
        put.tags[i] = str_of(tags[i]);
    }
    if (dice(seed, 2))
        put.tag_mark = cache_store_mark(store);
    next.fresh_until_ms = now_ms + put.ttl_ms;
    next.stale_until_ms = next.fresh_until_ms + put.stale_ms;
    enum fail fail = cache_store_put(store, &put, now_ms, NULL);
    if (fail == FAIL_OK)
        *model = next;
    return fail;
}

static void it_never_differs_from_a_dictionary_and_never_exceeds_its_bound(void **state)
{
    (void)state;
    static struct model models[KEYS];
    uint32_t seed = (uint32_t)random_u64(), first_seed = seed, version = 0;
    uint64_t now_ms = 1000;
    unsigned hits = 0;
    struct cache_stats stats;
    print_message("seed %u\n", first_seed);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned key = dice(&seed, KEYS), what = dice(&seed, 1000);
        if (what < 450) {
            model_check(&models[key], key, now_ms, &hits);
        } else if (what < 950) {
            enum fail fail = model_put(&models[key], key, ++version, now_ms, &seed);
            assert_true(fail == FAIL_OK || fail == FAIL_FULL);
        } else if (what < 970) {
            char name[32];
            snprintf(name, sizeof name, "key-%u", key);
            cache_store_remove(store, str_of(name));
            models[key].version = 0;
        } else if (what < 975) {
            unsigned tag = dice(&seed, TAGS);
            char name[32];
            snprintf(name, sizeof name, "tag-%u", tag);
            cache_store_drop_tag(store, str_of(name));
            for (unsigned i = 0; i < KEYS; i++)
                for (unsigned t = 0; t < models[i].tag_count; t++)
                    if (models[i].tags[t] == tag)
                        models[i].version = 0;
        } else if (what == 975 && dice(&seed, 20) == 0) {
            cache_store_purge(store);
            for (unsigned i = 0; i < KEYS; i++)
                models[i].version = 0;
        } else if (what < 980) {
            cache_store_sweep(store, now_ms);
        } else {
            now_ms += dice(&seed, 20);
        }
        if (step % 8)
            continue;
        cache_store_stats(store, &stats);
        assert_true(stats.bytes <= stats.bytes_max);
        assert_true(mem_live_tag(MEM_CACHE) <= stats.bytes);
    }
    assert_true(hits > STEPS / 50);
    assert_true(stats.evictions > 1000 && stats.expirations > 100);
}

/* Every value says which key it belongs to and is all one byte, so that a torn or wrong one shows. */
enum { THREADS = 8, ROUNDS = 20000, SHARED_KEYS = 400 };

static void *hammer(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    char value[4096], key[32];
    struct cache_entry *kept[8] = { NULL };
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned n = dice(&seed, SHARED_KEYS), what = dice(&seed, 100);
        struct cache_entry **keep = &kept[dice(&seed, 8)];
        snprintf(key, sizeof key, "shared-%u", n);
        cache_entry_unref(*keep);
        *keep = NULL;
        if (what < 30) {
            struct cache_hold hold;
            if (cache_store_hold(store, str_of(key), i, &hold) != CACHE_MISS) {
                struct str text = cache_entry_value(hold.entry);
                if (!str_is(cache_entry_key(hold.entry), str_of(key)) || text.data[0] != text.data[text.len - 1])
                    abort();
                if (what < 5)
                    *keep = cache_store_keep(&hold);
                else
                    cache_store_let_go(&hold);
            }
        } else if (what < 60) {
            if (cache_store_get(store, str_of(key), i, keep) != CACHE_MISS) {
                struct str text = cache_entry_value(*keep);
                if (!str_is(cache_entry_key(*keep), str_of(key)) || text.data[0] != text.data[text.len - 1])
                    abort();
            }
        } else if (what < 95) {
            size_t len = 1 + dice(&seed, sizeof value);
            memset(value, (int)dice(&seed, 256), len);
            struct cache_put put = { .key = str_of(key),
                                     .value = str_make(value, len),
                                     .ttl_ms = 50 + dice(&seed, 100),
                                     .tags = { STR("x"), STR("y") },
                                     .tag_count = dice(&seed, 3),
                                     .tag_mark = dice(&seed, 2) ? cache_store_mark(store) : 0 };
            enum fail fail = cache_store_put(store, &put, i, keep);
            if (fail != FAIL_OK && fail != FAIL_FULL && fail != FAIL_CANCELLED)
                abort();
        } else if (what < 97) {
            cache_store_remove(store, str_of(key));
        } else if (what < 98) {
            cache_store_drop_tag(store, dice(&seed, 2) ? STR("x") : STR("y"));
        } else {
            struct cache_stats stats;
            cache_store_sweep(store, i);
            cache_store_stats(store, &stats);
            if (stats.bytes > stats.bytes_max)
                abort();
        }
    }
    for (unsigned i = 0; i < 8; i++)
        cache_entry_unref(kept[i]);
    return NULL;
}

static void eight_threads_do_not_disturb_each_other(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, (void *)(i + 1)), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct cache_stats stats;
    cache_store_stats(store, &stats);
    assert_true(stats.hits > 0 && stats.bytes <= stats.bytes_max);
}

/* Once a drop has returned, nobody is given a value read before it. */
static uint64_t truth; /* atomic: what the "database" holds */

static void *load_for_ever(void *arg)
{
    const bool *is_over = arg;
    while (!__atomic_load_n(is_over, __ATOMIC_ACQUIRE)) {
        uint64_t mark = cache_store_mark(store), value = __atomic_load_n(&truth, __ATOMIC_ACQUIRE);
        struct cache_put put = { .key = STR("row"),
                                 .value = str_make((char *)&value, sizeof value),
                                 .ttl_ms = 1000,
                                 .tags = { STR("table") },
                                 .tag_count = 1,
                                 .tag_mark = mark };
        enum fail fail = cache_store_put(store, &put, 0, NULL);
        if (fail != FAIL_OK && fail != FAIL_CANCELLED)
            abort();
    }
    return NULL;
}

static void no_fill_brings_back_what_was_written_over(void **state)
{
    (void)state;
    pthread_t threads[3];
    bool is_over = false;
    unsigned hits = 0;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, load_for_ever, &is_over), 0);
    uint64_t end_ms = clock_mono_ms() + slow_ms(5000);
    for (uint64_t i = 1; i < 30000 || (hits < 100 && clock_mono_ms() < end_ms); i++) {
        __atomic_store_n(&truth, i, __ATOMIC_RELEASE);
        if (i % 2)
            cache_store_drop_tag(store, STR("table"));
        else
            cache_store_remove(store, STR("row"));
        for (unsigned again = 0; again < 4; again++) {
            struct cache_entry *entry;
            if (i >= 30000) /* a busy machine has let nobody load yet */
                sched_yield();
            if (cache_store_get(store, STR("row"), 0, &entry) == CACHE_MISS)
                continue;
            uint64_t value;
            memcpy(&value, cache_entry_value(entry).data, sizeof value);
            assert_int_equal(value, i);
            cache_entry_unref(entry);
            hits++;
        }
    }
    __atomic_store_n(&is_over, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_true(hits > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_store, close_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_entry_is_fresh_then_stale_then_a_miss),
        TEST(key_meta_value_and_kind_come_back_as_they_went_in),
        TEST(an_entry_is_of_no_age_for_a_loop_whose_turn_began_before_it_was_put),
        TEST(a_dropped_tag_makes_its_entries_misses_and_no_others),
        TEST(a_value_read_before_a_drop_is_not_put_after_it),
        TEST(an_entry_knows_whether_it_was_dropped_since),
        TEST(a_purge_empties_it_at_once_and_sweeps_free_the_memory),
        TEST(sweeps_free_what_expired_and_nothing_else),
        TEST(a_reader_keeps_what_was_replaced_and_it_counts_until_then),
        TEST(what_is_held_stays_as_it_is_until_it_is_let_go_of),
        TEST(what_is_too_large_is_refused),
        TEST(when_all_is_in_use_there_is_no_room_and_later_there_is),
        TEST(no_size_of_values_starves_another),
        TEST(large_values_that_pass_leave_small_ones_that_are_in_use),
        TEST(running_out_of_memory_leaves_it_whole),
        TEST(it_never_differs_from_a_dictionary_and_never_exceeds_its_bound),
        TEST(eight_threads_do_not_disturb_each_other),
        TEST(no_fill_brings_back_what_was_written_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
