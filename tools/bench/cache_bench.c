/* cache_bench.c - what the memory cache does by itself: time of a hit, hits of several threads, bytes of an entry, hit ratios of traces.
 *
 *   cache_bench hit                    ns of a look-up that finds an entry and lets go of it: p50 and p99 of batches of 64
 *   cache_bench threads N [SECONDS]    hits a second of each of N threads: on one key, and spread over 10,000
 *   cache_bench memory COUNT BYTES     COUNT entries whose key and value are BYTES together: bytes of the store, and resident
 *   cache_bench replay ENTRIES         a trace from standard input, a key a line, through a store that holds so many entries
 *
 * Each prints one line of figures; tools/bench/cache makes the table.
 * Path:   tools/bench/cache > [cache_bench] > cache/store
 */
#include "base/clock.h"
#include "base/random.h"
#include "cache/store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MIB = 1 << 20, KEYS = 10000, BATCH = 64, BATCHES = 20000, THREADS_MAX = 64 };

static struct cache_store *store;

static void die(const char *text)
{
    fprintf(stderr, "cache_bench: %s\n", text);
    exit(1);
}

static void open_store(size_t bytes)
{
    if (cache_store_open(bytes, &store))
        die("the store cannot be opened");
}

static struct str key_of(char out[32], uint64_t n)
{
    return str_make(out, (size_t)snprintf(out, 32, "services:%016llx", (unsigned long long)n));
}

static void put(struct str key, const char *value, size_t len)
{
    struct cache_put entry = { .key = key, .value = str_make(value, len), .ttl_ms = 3600000 };
    if (cache_store_put(store, &entry, 0, NULL))
        die("an entry has no room");
}

static bool get(struct str key)
{
    struct cache_hold hold;
    if (cache_store_hold(store, key, 0, &hold) == CACHE_MISS)
        return false;
    cache_store_let_go(&hold);
    return true;
}

static char keys[KEYS][32];
static size_t key_len;

static void fill_keys(void)
{
    char value[500];
    memset(value, 'x', sizeof value);
    open_store(64 * MIB);
    for (unsigned i = 0; i < KEYS; i++) {
        struct str key = key_of(keys[i], i);
        key_len = key.len;
        put(key, value, sizeof value);
    }
}

/* --- hit ---------------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void bench_hit(void)
{
    static uint64_t took_ns[BATCHES];
    fill_keys();
    for (unsigned batch = 0; batch < BATCHES; batch++) {
        uint64_t seed = random_u64(), begin_ns = clock_mono_ns();
        for (unsigned i = 0; i < BATCH; i++, seed = seed * 6364136223846793005u + 1442695040888963407u)
            if (!get(str_make(keys[(seed >> 33) % KEYS], key_len)))
                die("a key that was put is not found");
        took_ns[batch] = clock_mono_ns() - begin_ns;
    }
    qsort(took_ns, BATCHES, sizeof *took_ns, compare);
    printf("hit %.1f %.1f\n", (double)took_ns[BATCHES / 2] / BATCH, (double)took_ns[BATCHES * 99 / 100] / BATCH);
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

static struct {
    bool is_one_key;
    uint64_t until_ns;
} load;

static void *look(void *arg)
{
    uint64_t *done = arg, seed = random_u64();
    while (clock_mono_ns() < load.until_ns) {
        for (unsigned i = 0; i < BATCH; i++, seed = seed * 6364136223846793005u + 1442695040888963407u)
            get(str_make(keys[load.is_one_key ? 0 : (seed >> 33) % KEYS], key_len));
        *done += BATCH;
    }
    return NULL;
}

static double rate_of(unsigned threads, double seconds, bool is_one_key)
{
    pthread_t ids[THREADS_MAX];
    static struct {
        uint64_t done;
        char apart[56];
    } counts[THREADS_MAX];
    uint64_t total = 0;
    memset(counts, 0, sizeof counts);
    load.is_one_key = is_one_key;
    load.until_ns = clock_mono_ns() + (uint64_t)(seconds * 1e9);
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, look, &counts[i].done) != 0)
            die("no thread");
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        total += counts[i].done;
    }
    return (double)total / seconds / threads;
}

static void bench_threads(unsigned threads, double seconds)
{
    if (threads < 1 || threads > THREADS_MAX)
        die("1 to 64 threads");
    fill_keys();
    double one = rate_of(threads, seconds, true), spread = rate_of(threads, seconds, false);
    printf("threads %u %.0f %.0f\n", threads, one, spread);
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static size_t resident(void)
{
    size_t pages = 0, skipped = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%zu %zu", &skipped, &pages) != 2)
        die("/proc/self/statm cannot be read");
    fclose(file);
    return pages * 4096;
}

static void bench_memory(unsigned count, unsigned bytes)
{
    char name[32];
    size_t name_len = key_of(name, 0).len, before = resident();
    if (bytes <= name_len)
        die("the key alone has more bytes");
    char *value = calloc(1, bytes - name_len);
    open_store((size_t)count * (bytes + 90));
    struct cache_stats stats;
    for (unsigned i = 0; i < count; i++)
        put(key_of(name, i), value, bytes - name_len);
    cache_store_stats(store, &stats);
    free(value);
    printf("memory %zu %.2f %.2f %.1f\n", stats.entries, (double)stats.bytes / 1e6, (double)(resident() - before) / 1e6,
           ((double)(resident() - before) - (double)count * bytes) / count);
}

/* --- replay ------------------------------------------------------------------------------------------------------- */

/* How many entries of so many bytes a store of this size holds. */
static size_t capacity_of(size_t store_bytes, size_t value_bytes, const char *value)
{
    struct cache_stats stats;
    char name[32];
    open_store(store_bytes);
    for (uint64_t i = 0; i < store_bytes / value_bytes * 3 / 2; i++)
        put(key_of(name, random_u64()), value, value_bytes);
    cache_store_stats(store, &stats);
    cache_store_close(store);
    return stats.entries;
}

/* A store that holds `entries` of them, to within half of one per cent where blocks are small enough for that. */
static size_t size_for(size_t entries, size_t value_bytes, const char *value)
{
    size_t low = entries * value_bytes, high = low * 2 + 8 * MIB;
    low = low < 2 * MIB ? 2 * MIB : low;
    for (unsigned i = 0; i < 14 && low < high; i++) {
        size_t middle = low + (high - low) / 2;
        if (capacity_of(middle, value_bytes, value) < entries)
            low = middle;
        else
            high = middle;
    }
    return high;
}

static void bench_replay(size_t entries)
{
    static char value[32768];
    size_t value_bytes = entries >= 8000 ? 1200 : entries >= 1000 ? 3900 : 16000;
    size_t bytes = size_for(entries, value_bytes, value);
    size_t capacity = capacity_of(bytes, value_bytes, value);
    open_store(bytes);
    char line[64];
    uint64_t asked = 0, found = 0;
    while (fgets(line, sizeof line, stdin)) {
        char name[32];
        struct str key = key_of(name, strtoull(line, NULL, 10));
        asked++;
        if (get(key))
            found++;
        else
            put(key, value, value_bytes);
    }
    printf("replay %zu %zu %llu %.2f\n", entries, capacity, (unsigned long long)asked,
           asked ? 100.0 * (double)found / (double)asked : 0);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "hit") == 0 && argc == 2)
        bench_hit();
    else if (strcmp(what, "threads") == 0 && (argc == 3 || argc == 4))
        bench_threads((unsigned)atoi(argv[2]), argc == 4 ? atof(argv[3]) : 2);
    else if (strcmp(what, "memory") == 0 && argc == 4)
        bench_memory((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
    else if (strcmp(what, "replay") == 0 && argc == 3 && atoi(argv[2]) > 0)
        bench_replay((size_t)atoi(argv[2]));
    else
        die("usage: cache_bench hit | threads N [SECONDS] | memory COUNT BYTES | replay ENTRIES");
    cache_store_close(store);
    return 0;
}
