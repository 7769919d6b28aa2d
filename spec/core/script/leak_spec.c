/* leak_spec.c - transactions that are held for too long, or left behind, are told of with the lines they were begun in. */
#include "script/leak.h"

#include "world.h"

#include <time.h>

static struct world world;

#define TABLE                                                                                                        \
    "route('POST', '/setup', function(req, cx) cx.db:exec('create table t(id integer primary key, name text)') end)" \
    "route('GET', '/count', function(req, cx) return cx.db:one('select count(*) as n from t').n end)"

static void open_with_table(const char *chunk, unsigned threshold_ms, bool reclaims)
{
    char text[8192];
    snprintf(text, sizeof text, "%s %s", TABLE, chunk);
    world_open(&world, text);
    assert_answer(&world, "POST /setup", "", "204 ");
    world.vm->leak_threshold_ms = threshold_ms;
    world.vm->leak_reclaim = reclaims;
}

static unsigned times_in_log(const char *what)
{
    unsigned times = 0;
    for (const char *at = world_log(&world); (at = strstr(at, what)); at++)
        times++;
    return times;
}

#define SLOW                                                                                                       \
    "local function open(cx)\n local tx = cx.db:begin()\n return tx end\n"                                         \
    "route('POST', '/slow', function(req, cx) local tx <close> = open(cx)\n tx:exec([[insert into t(name) values " \
    "('a')]]) "                                                                                                    \
    "cx.sleep(400) tx:exec([[insert into t(name) values ('b')]]) tx:commit() return 1 end)"

static void one_that_is_open_for_too_long_is_told_of_once_and_goes_on(void **state)
{
    (void)state;
    open_with_table(SLOW, 60, false);
    assert_answer(&world, "POST /slow", "", "200 1");
    assert_int_equal(times_in_log("open for longer than leak_threshold"), 1);
    assert_int_equal(times_in_log("spec:2 < spec:4"), 1); /* the function, and who called it */
    assert_answer(&world, "GET /count", NULL, "200 2");
    assert_true(list_is_empty(&world.vm->held));
    world_close(&world);
}

static void with_leak_reclaim_it_is_rolled_back_and_its_next_statement_says_why(void **state)
{
    (void)state;
    open_with_table(SLOW, 60, true);
    assert_has(world_ask(&world, "POST /slow", ""), "500 ");
    assert_has(world_log(&world), "25P03");
    assert_int_equal(times_in_log("open for longer than leak_threshold"),
                     2); /* the leak, and the failure of the request */
    assert_answer(&world, "GET /count", NULL, "200 0");
    world_close(&world);
}

static void one_that_is_quick_is_not_told_of(void **state)
{
    (void)state;
    open_with_table("route('POST', '/quick', function(req, cx) for i = 1, 5 do local tx <close> = cx.db:begin() "
                    "tx:exec([[insert into "
                    "t(name) values ('a')]]) cx.sleep(20) tx:commit() end return 1 end)",
                    2000, true);
    assert_answer(&world, "POST /quick", "", "200 1");
    assert_int_equal(times_in_log("leak_threshold"), 0);
    assert_answer(&world, "GET /count", NULL, "200 5");
    world_close(&world);
}

static void one_that_its_request_left_behind_is_told_of_with_its_lines(void **state)
{
    (void)state;
    open_with_table(
        "local function open(cx)\n local tx = cx.db:begin()\n return tx end\n"
        "route('POST', '/forget', function(req, cx) local tx = open(cx)\n tx:one('select 1') return 1 end)"
        "route('POST', '/collect', function(req, cx) do local tx = open(cx) tx:one('select 1') end\n collectgarbage() "
        "collectgarbage() return 1 end)",
        0, false);
    (void)world_ask(&world, "POST /forget", "");
    assert_int_equal(times_in_log("left open"), 1);
    assert_int_equal(times_in_log("spec:2 < spec:4"), 1);
    world_close(&world);
}

static uint64_t took_ns, levels;

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int take_many(lua_State *L)
{
    struct leak_stack stack;
    uint64_t begin_ns = cpu_ns();
    for (int i = 0; i < 10000; i++)
        leak_take(L, &stack);
    took_ns = (cpu_ns() - begin_ns) / 10000;
    levels = stack.count;
    return 0;
}

/* All of begin may take 3 us. */
static void to_remember_the_lines_costs_little(void **state)
{
    (void)state;
    lua_State *L = luaL_newstate();
    assert_non_null(L);
    lua_pushcfunction(L, take_many);
    lua_setglobal(L, "take");
    if (luaL_dostring(L, "local function go(n) if n == 0 then take() else go(n - 1) end return 1 end go(8)"))
        fail_msg("%s", lua_tostring(L, -1));
    lua_close(L);
    fprintf(stderr, "%llu ns for %llu levels\n", (unsigned long long)took_ns, (unsigned long long)levels);
    assert_int_equal(levels, LEAK_LEVELS);
    assert_true(took_ns < slow_ms(1) * 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_is_open_for_too_long_is_told_of_once_and_goes_on),
        cmocka_unit_test(with_leak_reclaim_it_is_rolled_back_and_its_next_statement_says_why),
        cmocka_unit_test(one_that_is_quick_is_not_told_of),
        cmocka_unit_test(one_that_its_request_left_behind_is_told_of_with_its_lines),
        cmocka_unit_test(to_remember_the_lines_costs_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
