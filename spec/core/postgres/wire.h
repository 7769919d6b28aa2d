/* wire.h - an engine that reaches the server through a fault proxy, and the question after every fault: is all well again?
 *
 *   open_wire("&tcp_user_timeout=500")      world.settings first: wire_settings
 *   .. proxy_tell(&proxy, "on D half rst") ..
 *   all_is_well()                           an answer, the server sees what the pool counts, nobody waits, nothing is left open
 */
#ifndef SPEC_POSTGRES_WIRE_H
#define SPEC_POSTGRES_WIRE_H

#include "postgres/lane.h"
#include "support/proxy.h"
#include "world.h"

#include <dirent.h>

static struct proxy proxy;
static struct postgres_settings wire_settings;
static unsigned wire_fds;                /* of this process, before the engine was opened */

static inline unsigned open_fds(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static inline int set_up_wire(void **state)
{
    (void)state;
    world = (struct world){ .loop = NULL };
    wire_fds = open_fds();
    if (!server_url())
        return 0;
    proxy_start(&proxy, server_url());
    wire_settings = settings_for(proxy.url);
    return 0;
}

/* extra: connection parameters, as "&name=value". */
static inline void open_wire(const char *extra)
{
    static char url[400];
    snprintf(url, sizeof url, "%s%s", proxy.url, extra);
    wire_settings.conninfo = url;
    open_world_with(wire_settings);
    world.admin = open_admin(server_url());
}

static inline int close_wire(void **state)
{
    close_world(state);
    proxy_stop(&proxy);
    assert_int_equal(open_fds(), wire_fds);
    return 0;
}

/* Libraries keep what they open when first used; that is no leak. */
static inline int set_up_wire_group(void **state)
{
    set_up_process(state);
    if (!server_url())
        return 0;
    set_up_wire(state);
    open_wire("");
    run("select 1");
    close_world(state);
    proxy_stop(&proxy);
    return 0;
}

#define WIRE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_wire, close_wire)

static inline struct postgres_pool *pool_of(void)
{
    struct asked asked = { .is_done = false };
    ask(&asked, "select 1", true);
    struct postgres_lane *lane = asked.call.engine_data[0];
    wait_for(&asked);
    drop_rows(&asked);
    return lane->pool;
}

/* What the pool itself counts. */
static inline struct postgres_counts pool_counts(void)
{
    struct postgres_counts counts;
    postgres_pool_count(pool_of(), &counts);
    return counts;
}

/* So many are open and idle. */
static inline void wait_until_idle(unsigned count) { turn_until(3000, pool_counts().idle == count); }

static inline unsigned pool_total(void) { return pool_counts().total; }

/* The next call succeeds at once; soon the server sees exactly the connections the pool counts, all of them at rest. */
static inline void all_is_well(void)
{
    uint64_t begin_ms = clock_mono_ms();
    assert_string_equal(run("select 41 + 1"), "42");
    assert_true(clock_mono_ms() - begin_ms < slow_ms(200));
    turn_until(3000, outside_int("select count(*) from pg_stat_activity where " OURS) == (int)pool_total());
    turn_until(500, outside_int("select count(*) from pg_stat_activity where state <> 'idle' and " OURS) == 0);
    struct postgres_counts counts = pool_counts();
    assert_int_equal(counts.waiting, 0);
    assert_true(counts.total <= world.settings.max_size);
}

/* The longest this loop was busy since the last call. */
static inline double longest_turn_ms(void)
{
    struct loop_load load;
    loop_load_take(world.loop, &load);
    return (double)load.longest_ns / 1e6;
}

#endif
