/* task_spec.c - coroutines that wait: cancel, deadlines, budgets, recycling, coroutines of the user's own. */
#include "world.h"

static struct world world;

/* Sends a request, lets it start to wait, and leaves. */
static void ask_and_leave(const char *line, unsigned wait_ms)
{
    int fd = world_connect(&world);
    world_send(fd, line, "", NULL);
    world_turn(&world, wait_ms);
    close(fd);
}

static void turn_until_idle(unsigned ms_max)
{
    uint64_t until = clock_mono_ms() + slow_ms(ms_max);
    while (script_vm_tasks(world.vm) > 0 && clock_mono_ms() < until)
        world_turn(&world, 5);
    assert_int_equal(script_vm_tasks(world.vm), 0);
}

static void a_client_that_leaves_cancels_the_wait_and_close_may_wait(void **state)
{
    (void)state;
    world_open(&world, "local seen = {}"
                       "local function guard(cx, name) return setmetatable({}, { __close = function() "
                       "  local ok, e = pcall(cx.sleep, 1) seen[name .. '_plain'] = tostring(e) "
                       "  cx.shield(function() seen[name] = cx.db:one('select 7 as n').n cx.sleep(10) end) end }) end "
                       "route('GET', '/sleep', function(req, cx) local g <close> = guard(cx, 'sleep') cx.sleep('10s') "
                       "seen.after = true end)"
                       "route('GET', '/pcall', function(req, cx) local g <close> = guard(cx, 'pcall') "
                       "  local n = 0 while n < 5 do n = n + 1 pcall(cx.sleep, '10s') end seen.n = n end)"
                       "route('GET', '/seen', function() return seen end)");
    ask_and_leave("GET /sleep", 20);
    assert_int_equal(script_vm_tasks(world.vm), 1);
    turn_until_idle(1000);
    ask_and_leave("GET /pcall", 20);
    turn_until_idle(1000);
    assert_answer(&world, "GET /seen", NULL,
                  "200 {\"n\":5,\"pcall\":7,\"pcall_plain\":\"cancelled: the client left\",\"sleep\":7,"
                  "\"sleep_plain\":\"cancelled: the client left\"}");
    world_close(&world);
}

static void a_statement_is_cancelled_with_its_client(void **state)
{
    (void)state;
    world_open(&world,
               "route('GET', '/spin', function(req, cx) return cx.db:one([[with recursive n(i) as (select 1 union all "
               "select i + 1 from n) select count(*) from n]]) end)");
    uint64_t start = clock_mono_ms();
    ask_and_leave("GET /spin", 50);
    turn_until_idle(5000);
    assert_true(clock_mono_ms() - start < slow_ms(2000));
    world_close(&world);
}

static void a_deadline_is_504(void **state)
{
    (void)state;
    world_open(&world,
               "route('GET', '/sleep', function(req, cx) cx.sleep('10s') return 1 end, { timeout_ms = 50 })"
               "route('GET', '/spin', function(req, cx) return cx.db:one([[with recursive n(i) as (select 1 union all "
               "select i + 1 from n) select count(*) from n]]) end, { timeout_ms = 100 })"
               "route('GET', '/left', function(req, cx) local a = cx.deadline_ms() cx.sleep(20) return a <= 5000 and a "
               "> 4900 and "
               "cx.deadline_ms() < a end, { timeout_ms = 5000 })");
    uint64_t start = clock_mono_ms();
    assert_has(world_ask(&world, "GET /sleep", NULL), "504 {\"type\":\"urn:wick:problem:deadline\"");
    assert_has(world_ask(&world, "GET /spin", NULL), "504 {\"type\":\"urn:wick:problem:deadline\"");
    assert_true(clock_mono_ms() - start < slow_ms(1000));
    assert_answer(&world, "GET /left", NULL, "200 true");
    world_close(&world);
}

static void a_shield_holds_for_the_grace_only(void **state)
{
    (void)state;
    world_open(&world, "route('GET', '/shield', function(req, cx) cx.shield(function() cx.sleep('10s') end) return 1 "
                       "end, { timeout_ms = 50 })");
    uint64_t start = clock_mono_ms();
    assert_has(world_ask(&world, "GET /shield", NULL), "504 ");
    uint64_t took = clock_mono_ms() - start;
    assert_true(took >= 1000 && took < slow_ms(3000));
    turn_until_idle(100);
    world_close(&world);
}

static void a_loop_without_end_uses_up_its_budget(void **state)
{
    (void)state;
    world_open(
        &world,
        "local KEPT = {} "
        "route('GET', '/loop', function() while true do end end)"
        "route('GET', '/pcall', function() while true do pcall(function() while true do end end) end end)"
        "route('GET', '/child', function() local f = function() while true do end end "
        "  while true do local co = coroutine.create(f) coroutine.resume(co) end end)"
        "route('GET', '/short', function() local f = function() for i = 1, 50 do end end "
        "  while true do coroutine.wrap(f)() end end)"
        "route('GET', '/costly', function() local s = ('x'):rep(1000000) while true do local t = s .. 'y' end end)"
        "local function stuck() local c <close> = setmetatable({}, { __close = function() while true do end end }) "
        "  while true do end end "
        "route('GET', '/closing', function() coroutine.wrap(stuck)() end)"
        "route('GET', '/closing_again', function() while true do pcall(coroutine.wrap(stuck)) end end)"
        "route('GET', '/keep', function() KEPT.co = coroutine.create(stuck) coroutine.resume(KEPT.co) end)"
        "route('GET', '/close', function() return { pcall(coroutine.close, KEPT.co) } end)"
        "route('GET', '/sorting', function() local t = {} for i = 1, 1000 do t[i] = i end "
        "  table.sort(t, function(a, b) while true do end end) end)"
        "route('GET', '/busy', function(req, cx) for i = 1, 5 do for j = 1, 200000 do end cx.sleep(1) end return 1 end)"
        "route('GET', '/fine', function() return 1 end)");
    world.vm->cpu_ms = 100;
    static const char *const lines[] = { "GET /loop",          "GET /pcall",  "GET /child",
                                         "GET /short",         "GET /costly", "GET /closing",
                                         "GET /closing_again", "GET /keep",   "GET /sorting" };
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        uint64_t begin_ns = clock_thread_cpu_ns();
        assert_has(world_ask(&world, lines[i], NULL), "500 ");
        assert_true(clock_thread_cpu_ns() - begin_ns < slow_ms(300) * UINT64_C(1000000));
        assert_answer(&world, "GET /fine", NULL, "200 1");
    }
    assert_has(world_log(&world), "used its CPU budget of 100 ms");
    assert_answer(&world, "GET /busy", NULL, "200 1");
    assert_has(world_ask(&world, "GET /close", NULL), "200 [false,\"this coroutine used up a CPU budget");
    world_close(&world);
}

static void coroutines_are_used_again(void **state)
{
    (void)state;
    world_open(&world, "route('GET', '/n/{n:int64}', function(req, cx) if req.params.n % 3 == 0 then cx.sleep(0) end "
                       "if req.params.n % 7 == 0 then error('seven') end return req.params.n end)"
                       "local native = require 'wick.native' local left = 10000 "
                       "route('GET', '/spawn', function(req, cx) for i = 1, 100 do native.spawn(function() cx.sleep(0) "
                       "left = left - 1 end, 1000) end return 1 end)"
                       "route('GET', '/left', function() return left end)");
    for (int i = 0; i < 100; i++) {
        assert_answer(&world, "GET /spawn", NULL, "200 1");
        turn_until_idle(1000);
    }
    assert_answer(&world, "GET /left", NULL, "200 0");
    assert_true(world.vm->idle_count <= 101);
    size_t before = script_vm_memory(world.vm);
    for (int i = 1; i <= 200; i++) {
        char line[32];
        snprintf(line, sizeof line, "GET /n/%d", i);
        world_ask(&world, line, NULL);
    }
    assert_int_equal(script_vm_tasks(world.vm), 0);
    lua_gc(world.vm->L, LUA_GCCOLLECT);
    assert_true(script_vm_memory(world.vm) < before + 64 * 1024);
    world_close(&world);
}

static void coroutines_of_the_user_may_wait(void **state)
{
    (void)state;
    world_open(
        &world,
        "route('GET', '/wrap', function(req, cx) local out = {} "
        "  for v in coroutine.wrap(function() for i = 1, 3 do cx.sleep(1) coroutine.yield(i) end end) do out[#out + 1] "
        "= v end return out end)"
        "route('GET', '/deep', function(req, cx) local function nest(n) if n == 0 then return cx.db:one('select 5 as "
        "n').n end "
        "  return coroutine.wrap(function() return nest(n - 1) end)() end return nest(20) end)"
        "route('GET', '/resume', function(req, cx) local co = coroutine.create(function(a) local b = coroutine.yield(a "
        "+ 1) cx.sleep(1) "
        "  error('x' .. b) end) local r = { coroutine.resume(co, 1) } local s = { coroutine.resume(co, 2) } "
        "  return { r, s[1], s[2]:match('x2$'), coroutine.status(co), select('#', coroutine.resume(co)) } end)"
        "route('GET', '/cancel', function(req, cx) local seen local co = coroutine.wrap(function() local g <close> = "
        "setmetatable({}, { __close = "
        "  function() seen = true end }) cx.sleep('10s') end) local ok, e = pcall(co) return { ok, e.kind, seen } end, "
        "{ timeout_ms = 40 })"
        "route('GET', '/sort', function(req, cx) local ok, e = pcall(table.sort, { 2, 1 }, function(a, b) cx.sleep(1) "
        "return a < b end) return e end)"
        "route('GET', '/outside', function() local ok, e = pcall(coroutine.yield, 1) return e end)"
        "local gen = coroutine.wrap(function() local n = 0 while true do n = n + 1 coroutine.yield(n) end end)"
        "route('GET', '/shared', function() return gen() end)"
        "local slow = coroutine.create(function(cx) cx.sleep(100) return 'done' end)"
        "route('GET', '/slow', function(req, cx) local ok, v = coroutine.resume(slow, cx) return tostring(v) end)");
    assert_answer(&world, "GET /wrap", NULL, "200 [1,2,3]");
    assert_answer(&world, "GET /deep", NULL, "200 5");
    assert_answer(&world, "GET /resume", NULL, "200 [[true,2],false,\"x2\",\"dead\",2]");
    assert_has(world_ask(&world, "GET /cancel", NULL), "200 [false,\"timeout\",true]");
    assert_has(world_ask(&world, "GET /sort", NULL), "cx.sleep cannot wait here");
    assert_has(world_ask(&world, "GET /outside", NULL), "attempt to yield from outside a coroutine");
    assert_answer(&world, "GET /shared", NULL, "200 1");
    assert_answer(&world, "GET /shared", NULL, "200 2");
    int fd = world_connect(&world);
    world_send(fd, "GET /slow", "", NULL);
    world_turn(&world, 20);
    assert_has(world_ask(&world, "GET /slow", NULL), "500 ");
    assert_has(world_log(&world), "this coroutine waits in another request");
    assert_has(world_receive(&world, fd), "\"done\"");
    world_close(&world);
}

static void a_coroutine_belongs_to_nobody_between_two_resumes(void **state)
{
    (void)state;
    world_open(&world,
               "local count = 0 local numbers "
               "route('GET', '/first', function() numbers = coroutine.wrap(function() while true do count = count + 1 "
               "coroutine.yield(count) end end) return numbers() end)"
               "route('GET', '/next', function() return numbers() end)"
               "route('GET', '/sleep', function(req, cx) cx.sleep(100) return 'slept' end)"
               "route('GET', '/close', function() local seen local co = coroutine.create(function() local g <close> = "
               "setmetatable({}, { __close = function() seen = cx.deadline_ms() > 0 end }) coroutine.yield() end) "
               "coroutine.resume(co) coroutine.close(co) return seen end)");
    assert_answer(&world, "GET /first", NULL, "200 1");
    int fd = world_connect(&world);
    world_send(fd, "GET /sleep", "", NULL); /* by the task that made the coroutine */
    world_turn(&world, 20);
    assert_answer(&world, "GET /next", NULL, "200 2");
    assert_has(world_receive(&world, fd), "\"slept\"");
    assert_answer(&world, "GET /close", NULL, "200 true");
    world_close(&world);
}

static void a_shield_goes_with_the_coroutine_it_was_put_up_in(void **state)
{
    (void)state;
    world_open(
        &world,
        "local function left() local co = coroutine.create(function() cx.shield(coroutine.yield) end) "
        "coroutine.resume(co) return co end "
        "route('GET', '/closed', function() coroutine.close(left()) cx.sleep('1m') end, { timeout_ms = 50 })"
        "route('GET', '/forgotten', function() left() collectgarbage() cx.sleep('1m') end, { timeout_ms = 50 })");
    assert_has(world_ask(&world, "GET /closed", NULL), "504 ");
    assert_has(world_ask(&world, "GET /forgotten", NULL), "504 ");
    assert_null(strstr(world_log(&world), "its operation has not ended yet"));
    world_close(&world);
}

static void a_shield_is_its_tasks_whoever_resumes_what_is_in_it(void **state)
{
    (void)state;
    world_open(&world,
               "local shielded "
               "route('GET', '/first', function() shielded = coroutine.wrap(function() cx.shield(coroutine.yield) "
               "end) shielded() return 1 end)"
               "route('GET', '/next', function() shielded() cx.sleep('1m') end, { timeout_ms = 50 })");
    assert_answer(&world, "GET /first", NULL, "200 1");
    assert_has(world_ask(&world, "GET /next", NULL), "504 ");
    assert_null(strstr(world_log(&world), "its operation has not ended yet")); /* no shield of its own held it */
    world_close(&world);
}

static void close_gives_what_the_standard_one_gives(void **state)
{
    (void)state;
    world_open(&world,
               "route('GET', '/close', function() return { coroutine.close(coroutine.create(print), 'more', 7) } "
               "end)");
    assert_answer(&world, "GET /close", NULL, "200 [true]");
    world_close(&world);
}

static void loading_code_cannot_wait(void **state)
{
    (void)state;
    world_open(&world, "local ok, e = pcall(cx.sleep, 1) assert(e:find 'nothing waits while files are loaded', e) "
                       "ok, e = pcall(cx.db.one, cx.db, 'select 1') assert(e:find 'cx.db:one cannot wait here', e)");
    world_close(&world);
}

static void a_closing_vm_ends_its_tasks(void **state)
{
    (void)state;
    world_open(
        &world,
        "local native = require 'wick.native' route('GET', '/x', function(req, cx) native.spawn(function() "
        "while true do cx.sleep('1h') end end, 10000000) native.spawn(function() local tx <close> = cx.db:begin() "
        "tx:exec('create table t(a)') cx.sleep('1h') end, 10000000) return 1 end)");
    assert_answer(&world, "GET /x", NULL, "200 1");
    world_turn(&world, 50);
    assert_int_equal(script_vm_tasks(world.vm), 2);
    world_close(&world);
}

static void too_much_memory_ends_the_request_alone(void **state)
{
    (void)state;
    world_open_with(
        &world,
        "route('GET', '/eat', function() local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end end)"
        "route('GET', '/fine', function() return 1 end)",
        16 << 20);
    world.vm->cpu_ms = 60000; /* sanitizers are slow */
    for (int i = 0; i < 3; i++) {
        assert_has(world_ask(&world, "GET /eat", NULL), "500 ");
        assert_answer(&world, "GET /fine", NULL, "200 1");
    }
    assert_has(world_log(&world), "not enough memory");
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_that_leaves_cancels_the_wait_and_close_may_wait),
        cmocka_unit_test(a_statement_is_cancelled_with_its_client),
        cmocka_unit_test(a_deadline_is_504),
        cmocka_unit_test(a_shield_holds_for_the_grace_only),
        cmocka_unit_test(a_loop_without_end_uses_up_its_budget),
        cmocka_unit_test(coroutines_are_used_again),
        cmocka_unit_test(coroutines_of_the_user_may_wait),
        cmocka_unit_test(a_coroutine_belongs_to_nobody_between_two_resumes),
        cmocka_unit_test(a_shield_goes_with_the_coroutine_it_was_put_up_in),
        cmocka_unit_test(a_shield_is_its_tasks_whoever_resumes_what_is_in_it),
        cmocka_unit_test(close_gives_what_the_standard_one_gives),
        cmocka_unit_test(loading_code_cannot_wait),
        cmocka_unit_test(a_closing_vm_ends_its_tasks),
        cmocka_unit_test(too_much_memory_ends_the_request_alone),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
