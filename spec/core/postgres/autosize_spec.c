/* The size that is chosen, against servers whose best size is known, with noise in all that is measured. */
#include "support/spec.h"

#include "postgres/autosize.h"

#include <math.h>
#include <stdio.h>

enum { FLOOR = 2, CEILING = 64 };

/* What a server gets done a second with so many connections, all busy. */
typedef double model(unsigned size);

/* Four cores; each connection beyond eight costs a little in switching. */
static double of_cores(unsigned size) { return 5000.0 * fmin(size, 4) * (size > 8 ? 1 - 0.006 * (size - 8) : 1); }
/* Statements that wait elsewhere for 50 ms. */
static double of_waits(unsigned size) { return 20.0 * size; }
/* One lock that all want: two connections do as well as any. */
static double of_a_lock(unsigned size) { return size >= 2 ? 900 : 600; }

/* Another program takes its part of two cores in every other two seconds, and what it gets depends on how many we are. */
enum { WAVE = 2000 / POSTGRES_AUTOSIZE_MS };
static double beside_a_neighbour(unsigned size, bool is_there)
{
    double cores = 9000.0 * fmin(size, 2) * (size > 8 ? 1 - 0.002 * (size - 8) : 1);
    return is_there ? cores * size / (size + 4.0) : cores;
}

static double best_of(model *server)
{
    double best = 0;
    for (unsigned size = FLOOR; size <= CEILING; size++)
        best = fmax(best, server(size));
    return best;
}

static double noise(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return 1 + ((double)(*seed >> 33) / (double)(1u << 31) - 0.5) * 0.04; /* +- 2 % */
}

/* `clients` ask again as soon as they have an answer, or `offered` a second come. The mean rate over the second half. */
static double run(struct postgres_autosize *autosize, model *server, unsigned intervals, double offered, uint64_t seed)
{
    double sum = 0;
    for (unsigned i = 0; i < intervals; i++) {
        unsigned size = autosize->size;
        double capacity = server(size) * noise(&seed), rate = fmin(capacity, offered),
               seconds = POSTGRES_AUTOSIZE_MS / 1000.0;
        double in_use = size * rate / capacity;
        bool is_full = offered >= capacity;
        struct postgres_autosize_sample sample = {
            .seconds = seconds,
            .leases = rate * seconds,
            .hold_s = in_use * seconds,
            .wait_s = is_full ? 50 * seconds : 0,
            .in_use = in_use,
            .waiting = is_full ? 20 : 0,
        };
        postgres_autosize_step(autosize, &sample, FLOOR, CEILING);
        assert_in_range(autosize->size, FLOOR, CEILING);
        if (i >= intervals / 2)
            sum += rate;
    }
    return sum / (intervals - intervals / 2);
}

static void it_comes_within_a_tenth_of_the_best_size(void **state)
{
    (void)state;
    static model *const servers[] = { of_cores, of_waits, of_a_lock };
    static const unsigned starts[] = { FLOOR, 5, CEILING };
    for (size_t i = 0; i < COUNT_OF(servers); i++)
        for (size_t j = 0; j < COUNT_OF(starts); j++)
            for (uint64_t seed = 1; seed <= 20; seed++) {
                struct postgres_autosize autosize;
                postgres_autosize_init(&autosize, starts[j]);
                double rate = run(&autosize, servers[i], 400, 1e9, seed);
                if (rate < 0.9 * best_of(servers[i]))
                    fail_msg("server %zu from %u, seed %llu: %.0f of %.0f with %u connections", i, starts[j],
                             (unsigned long long)seed, rate, best_of(servers[i]), autosize.size);
            }
}

/* The mean rate over the second half; size 0: what autosize finds. */
static double run_beside_a_neighbour(unsigned size, unsigned intervals, uint64_t seed)
{
    struct postgres_autosize autosize;
    postgres_autosize_init(&autosize, FLOOR);
    double sum = 0, seconds = POSTGRES_AUTOSIZE_MS / 1000.0;
    for (unsigned i = 0; i < intervals; i++) {
        unsigned now = size ? size : autosize.size;
        double rate = beside_a_neighbour(now, (i + seed) / WAVE % 2) * noise(&seed);
        struct postgres_autosize_sample sample = { .seconds = seconds,
                                                   .leases = rate * seconds,
                                                   .hold_s = now * seconds,
                                                   .wait_s = (64 - now) * seconds,
                                                   .in_use = now,
                                                   .waiting = 64 - now };
        postgres_autosize_step(&autosize, &sample, FLOOR, CEILING);
        if (i >= intervals / 2)
            sum += rate;
    }
    return sum / (intervals - intervals / 2);
}

static void a_neighbour_that_comes_and_goes_costs_a_tenth_at_most(void **state)
{
    (void)state;
    double best = 0, total = 0;
    for (unsigned size = FLOOR; size <= CEILING; size++)
        best = fmax(best, run_beside_a_neighbour(size, 100, 1));
    for (uint64_t seed = 1; seed <= 40; seed++)
        total += run_beside_a_neighbour(0, 100, seed);
    assert_true(total / 40 >= 0.9 * best);
}

static void it_follows_a_server_that_changes(void **state)
{
    (void)state;
    struct postgres_autosize autosize;
    postgres_autosize_init(&autosize, 5);
    run(&autosize, of_cores, 200, 1e9, 7);
    assert_in_range(autosize.size, 3, 20);
    assert_true(run(&autosize, of_waits, 400, 1e9, 8) > 0.9 * best_of(of_waits));
    assert_true(run(&autosize, of_cores, 800, 1e9, 9) > 0.9 * best_of(of_cores));
}

static void without_waiting_it_keeps_what_is_in_use_and_some_to_spare(void **state)
{
    (void)state;
    struct postgres_autosize autosize;
    postgres_autosize_init(&autosize, 40);
    run(&autosize, of_waits, 200, 100, 3); /* 100 a second of 50 ms each: 5 in use */
    assert_in_range(autosize.size, 6, 9);
    run(&autosize, of_waits, 200, 1, 3);
    assert_int_equal(autosize.size, FLOOR);
}

static void a_storm_is_answered_within_seconds(void **state)
{
    (void)state;
    struct postgres_autosize autosize;
    postgres_autosize_init(&autosize, FLOOR);
    unsigned intervals = 0;
    while (autosize.size < 40 && intervals < 100) {
        run(&autosize, of_waits, 1, 1e9, intervals + 1);
        intervals++;
    }
    assert_true(intervals * POSTGRES_AUTOSIZE_MS <= 10000);
}

static void bounds_hold_at_once(void **state)
{
    (void)state;
    struct postgres_autosize autosize;
    postgres_autosize_init(&autosize, 30);
    struct postgres_autosize_sample sample = { .seconds = 0.5, .waiting = 5 };
    assert_int_equal(postgres_autosize_step(&autosize, &sample, 2, 10), POSTGRES_SIZE_BOUNDS);
    assert_int_equal(autosize.size, 10);
    assert_int_equal(postgres_autosize_step(&autosize, &sample, 12, 20), POSTGRES_SIZE_BOUNDS);
    assert_int_equal(autosize.size, 12);
    for (int i = 0; i < POSTGRES_SIZE_REASONS; i++)
        assert_non_null(postgres_autosize_word((enum postgres_autosize_reason)i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_comes_within_a_tenth_of_the_best_size),
        cmocka_unit_test(a_neighbour_that_comes_and_goes_costs_a_tenth_at_most),
        cmocka_unit_test(it_follows_a_server_that_changes),
        cmocka_unit_test(without_waiting_it_keeps_what_is_in_use_and_some_to_spare),
        cmocka_unit_test(a_storm_is_answered_within_seconds),
        cmocka_unit_test(bounds_hold_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
