/* pattern_spec.c - our find, match, gmatch and gsub do what those of the standard library do, but not for ever. */
#include "support/spec.h"

#include "base/clock.h"
#include "script/bounded.h"
#include "script/pattern.h"
#include "script/state.h"

#include <lualib.h>

/* The thread sanitizer does not see Lua's errors unwind the stack (glibc's __longjmp_chk), and bears 65,536 lost frames. */
#ifdef __SANITIZE_THREAD__
#define ROUNDS "500"
#else
#define ROUNDS "20000"
#endif

static struct script_vm vm;
static struct task task;

/* A state with the functions of the standard library in `stock` and ours in `string`, that works for a task. */
static lua_State *open_state(unsigned cpu_ms)
{
    lua_State *L = luaL_newstate();
    vm.cpu_ms = cpu_ms;
    vm.main.task.vm = task.vm = &vm;
    task.L = L;
    task.hook_cpu_ns = 0;
    task.spent = false;
    *(struct task **)lua_getextraspace(L) = &task;
    luaL_openlibs(L);
    assert_int_equal(luaL_dostring(L, "stock = {} for name, f in pairs(string) do stock[name] = f end"), LUA_OK);
    pattern_open(L);
    bounded_open(L);
    return L;
}

static void run(lua_State *L, const char *chunk)
{
    if (luaL_dostring(L, chunk) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
    lua_settop(L, 0);
}

static void results_are_those_of_the_standard_library(void **state)
{
    (void)state;
    lua_State *L = open_state(600000);
    run(L,
        "local pieces = { 'a', 'b', '.', '%a', '%d', '%s', '%w', '%S', '[a-c]', '[^b]', '[]]', '[%w_]', '[a-', '%', "
        "'%b()', '%b', '%f[%w]',"
        " '%f', '%1', '%2', '*', '+', '-', '?', '(', ')', '()', '^', '$', '\\0', '%z', '%%', ' ', 'x', '\\xff', "
        "'[%z\\1-\\xff]' }\n"
        "local texts = { '', 'a', 'aab', 'abc abc', '(a(b)c)', 'a1b2 c3', 'x\\0y', '  pad  ', ('ab'):rep(40), "
        "('a'):rep(300), '\\xff\\xfe', 'THE (quick) fox' }\n"
        "local function all(f, ...) local r = table.pack(pcall(f, ...)) for i = 1, r.n do r[i] = tostring(r[i]) end "
        "return table.concat(r, '|') end\n"
        "local function collect(gmatch, ...) local out = {} for a, b in gmatch(...) do out[#out + 1] = tostring(a) .. "
        "tostring(b) if #out > 400 then break end end\n"
        "  return table.concat(out, ',') end\n"
        "math.randomseed(7)\n"
        "local function same(name, ...) local ours, theirs = all(string[name], ...), all(stock[name], ...)\n"
        "  if ours ~= theirs then error(name .. '(' .. all(function(...) return ... end, ...) .. '): ' .. ours .. ' "
        "instead of ' "
        ".. theirs) end end\n"
        "for i = 1, " ROUNDS " do\n"
        "  local p = {} for j = 1, math.random(1, 6) do p[j] = pieces[math.random(#pieces)] end p = table.concat(p)\n"
        "  local s, at = texts[math.random(#texts)], math.random(-4, 8)\n"
        "  same('find', s, p, at) same('match', s, p, at) same('find', s, p, at, true)\n"
        "  same('gsub', s, p, '<%0%1>') same('gsub', s, p, '%2', 2) same('gsub', s, p, 'x%')\n"
        "  local ours, theirs = all(collect, string.gmatch, s, p, at), all(collect, stock.gmatch, s, p, at)\n"
        "  assert(ours == theirs, 'gmatch ' .. s .. ' ' .. p)\n"
        "end\n"
        "local function by(f) return f('a1b2', '%a(%d)', function(d) return d == '1' and 'one' or nil end) .. f('ab', "
        "'%w', { a = 'A', b = false }) end\n"
        "assert(by(string.gsub) == by(stock.gsub))\n"
        "assert(not pcall(string.gsub, 'a', 'a', true)) same('gsub', 'a', '(', 'x') same('rep', 'ab', 3, ',') "
        "same('rep', '', 9) "
        "same('rep', 'a', -1)\n"
        "assert(not pcall(string.gsub, 'a', 'a', function() return {} end))\n");
    lua_close(L);
}

static void a_pattern_ends_with_the_budget(void **state)
{
    (void)state;
    static const char *const chunks[] = {
        "return (('a'):rep(40)):find(('a?'):rep(40) .. ('a'):rep(40))",
        "return (('a'):rep(30000)):find('(.-)(.-)(.-)(.-)b')",
        "return ((' '):rep(1000000) .. 'x'):gsub('%s+$', '')",
        "return (('('):rep(2000000)):gsub('%b()', '')",
        "return (('a'):rep(4000000)):find(('a'):rep(2000000) .. 'b', 1, true)",
        "for _ in (('a'):rep(30000)):gmatch('.-.-.-.-b') do end",
    };
    for (size_t i = 0; i < COUNT_OF(chunks); i++) {
        lua_State *L = open_state(100);
        uint64_t begin = clock_mono_ns();
        assert_int_not_equal(luaL_dostring(L, chunks[i]), LUA_OK);
        assert_non_null(strstr(lua_tostring(L, -1), "used its CPU budget of 100 ms"));
        assert_true(clock_mono_ns() - begin < UINT64_C(5000000000));
        lua_close(L);
    }
}

static void other_functions_end(void **state)
{
    (void)state;
    lua_State *L = open_state(1000);
    run(L, "assert(('').rep('', 1 << 60) == '')\n"
           "assert(not pcall(table.move, {}, 1, 1 << 60, 2))\n"
           "assert(not pcall(table.move, {}, math.mininteger, math.maxinteger, 2))\n"
           "local long = setmetatable({}, { __len = function() return 1 << 60 end })\n"
           "assert(not pcall(table.insert, long, 1, 1) and not pcall(table.remove, long, 1) and not pcall(table.sort, "
           "long))\n"
           "local t = table.move({ 1, 2, 3 }, 2, 3, 1) table.insert(t, 1, 0) table.sort(t) assert(table.concat(t) == "
           "'0233')\n");
    lua_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_those_of_the_standard_library),
        cmocka_unit_test(a_pattern_ends_with_the_budget),
        cmocka_unit_test(other_functions_end),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
