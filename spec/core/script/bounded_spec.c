/* bounded_spec.c - what is done in C for long ends with the CPU budget as well, and is otherwise what Lua's own functions do. */
#include "world.h"

#include <lualib.h>

static struct world world;

/* Each takes for ever, or for minutes, where nobody looks at the budget. */
static const char *const endless[] = {
    "table.concat(setmetatable({}, { __index = table.concat }), '', 1, 1 << 60)",
    "table.concat(setmetatable({}, { __index = rawlen }), '', 1, 1 << 60)",
    "table.unpack(chain(), 1, 900000)",
    "table.move(chain(), 1, 9000000, 1, {})",
    "local t = setmetatable({}, { __index = chain() }) for i = 1, 65536 do t[i] = i end "
    "for i = 2, 65535 do t[i] = nil end for i = 1, 100 do table.insert(t, 1, 1) end while true do table.remove(t, 1) "
    "end",
    "local a, t = ('x'):rep(20000000), {} local b = a .. 'b' for i = 1, 3000 do t[i] = i % 2 == 0 and a or b end "
    "table.sort(t)",
    "local t = {} for i = 1, 1000000 do t[i] = i * 7919 % 1000003 end table.sort(t, math.ult)",
    "local t = {} for i = 1, 1000000 do t[i] = i * 7919 % 1000003 end table.sort(t)",
    "('x'):rep(1000000):gsub('.', chain())",
    "local function f() pcall(f) pcall(f) end f()",
    "local t = {} for i = 1, 60 do t = { t, t } end return t",
    "local t = {} for i = 1, 60 do t = { a = t, b = t } end json.encode(t)",
    "local t = {} for i = 1, 60 do t = { t, t } end json.encode(t, true)",
};

static void it_ends_with_the_budget(void **state)
{
    (void)state;
    world_open(&world, "route('GET', '/fine', function() return 1 end)");
    world.vm->cpu_ms = 200;
    char chunk[1024], line[32];
    alarm(120); /* which ends this program where it does not end */
    for (size_t i = 0; i < COUNT_OF(endless); i++) {
        snprintf(chunk, sizeof chunk,
                 "local function chain() local t = {} for i = 1, 1990 do t = setmetatable({}, { __index = t }) end "
                 "return t end route('GET', '/%zu', function() %s end)",
                 i, endless[i]);
        world_run(&world, chunk);
        snprintf(line, sizeof line, "GET /%zu", i);
        uint64_t begin_ns = clock_thread_cpu_ns();
        assert_has(world_ask(&world, line, NULL), "500 ");
        uint64_t took_ms = (clock_thread_cpu_ns() - begin_ns) / 1000000;
        if (took_ms >= slow_ms(400))
            fail_msg("%s took %d ms", endless[i], (int)took_ms);
        assert_answer(&world, "GET /fine", NULL, "200 1");
    }
    alarm(0);
    world_close(&world);
}

/* Each is refused with these words. */
static const char *const refused[][2] = {
    { "('%99.99f'):rep(1001):format(1)", "more than 1000 conversions" },
    { "('%q'):format(('\\1'):rep(1048577))", "texts of more than 1 MiB to quote" },
    { "string.packsize(('b'):rep(65537))", "a format of more than 64 KiB" },
    { "os.date(('%c'):rep(501))", "a format of more than 1000 characters" },
    { "table.move({}, 1, 1 << 60, 2)", "too many elements to move" },
    { "table.insert(setmetatable({}, { __len = function() return 1 << 60 end }), 1, 1)",
      "a table without __len expected" },
    { "('xx'):rep(1 << 62)", "resulting string too large" },
    { "table.concat { 1, {} }", "invalid value (at index 2) in table for 'concat'" },
    { "table.unpack(setmetatable({}, {}), 1, 1 << 40)", "too many results to unpack" },
    { "table.insert(setmetatable({}, {}), 3, 1)", "position out of bounds" },
    { "table.remove(setmetatable({}, {}), 3)", "position out of bounds" },
};

static void what_has_no_end_in_sight_is_refused(void **state)
{
    (void)state;
    world_open(&world, "");
    char chunk[512];
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        snprintf(
            chunk, sizeof chunk,
            "local fine, why = pcall(function() return %s end) assert(not fine and why:find([==[%s]==], 1, true), why)",
            refused[i][0], refused[i][1]);
        world_run(&world, chunk);
    }
    world_close(&world);
}

/* Each is true in Lua without us. */
static const char *const same[] = {
    "('ab'):rep(3) == 'ababab' and ('ab'):rep(3, ',') == 'ab,ab,ab' and ('ab'):rep(1, ',') == 'ab'",
    "('ab'):rep(0) == '' and ('ab'):rep(-1) == '' and (''):rep(5) == '' and (''):rep(3, '-') == '--'",
    "#('x'):rep(1000003, 'yz') == 3000007 and ('x'):rep(1000003, 'yz'):sub(-4) == 'xyzx'",
    "table.concat { 1, 'a', 2.5 } == '1a2.5' and table.concat({ 'a', 'b', 'c' }, '-', 2) == 'b-c' and table.concat {} "
    "== ''",
    "table.concat(setmetatable({}, { __index = function(_, i) return i end }), ',', 3, 5) == '3,4,5'",
    "table.concat({ [math.maxinteger] = 'z' }, '', math.maxinteger, math.maxinteger) == 'z'",
    "table.concat(table.move({ 1, 2, 3 }, 1, 3, 2)) == '1123' and table.concat(table.move({ 1, 2, 3 }, 2, 3, 1)) == "
    "'233'",
    "table.concat(table.move({ 1, 2 }, 1, 2, 2, { 9 })) == '912' and #table.move({}, 1, 0, 5) == 0",
    "select('#', table.unpack(setmetatable({ 1, nil, 3 }, {}), 1, 4)) == 4 and select(3, table.unpack(setmetatable({ "
    "1, 2, 3 }, {}))) == 3",
    "(function() local t = setmetatable({ 1, 2 }, {}) table.insert(t, 1, 0) table.insert(t, 3) return table.concat(t) "
    "end)() == '0123'",
    "(function() local t = setmetatable({ 1, 2, 3 }, {}) return table.remove(t, 1) .. table.remove(t) .. #t end)() == "
    "'131'",
    "table.remove(setmetatable({}, {})) == nil",
    "(function() local t = {} for i = 1, 5000 do t[i] = i * 7 % 5003 end table.sort(t) "
    "for i = 2, 5000 do assert(t[i - 1] < t[i]) end return true end)()",
    "(function() local t = { 3, 1, 2 } table.sort(t, function(a, b) return a > b end) return table.concat(t) end)() == "
    "'321'",
    "(function() local t = { 3, 1, 2 } table.sort(t, math.ult) return table.concat(t) end)() == '123'",
    "not pcall(table.sort, { 1, 'a' }) and not pcall(table.sort, { 1, 2 }, 3) and not pcall(table.concat)",
    "select(2, pcall(function(...) return ... end, 7)) == 7 and not pcall(pcall)",
    "('%5.1f%%%s'):format(1.25, 'x') == '  1.2%x' and ('%q'):format('a\\n') == '\"a\\\\\\n\"'",
    "string.pack('<i4', 1) == '\\1\\0\\0\\0' and string.packsize('i4') == 4 and os.date('!%Y', 0) == '1970'",
};

static void all_else_is_as_in_lua_itself(void **state)
{
    (void)state;
    world_open(&world, "");
    char chunk[512];
    lua_State *plain = luaL_newstate();
    luaL_openlibs(plain);
    for (size_t i = 0; i < COUNT_OF(same); i++) {
        snprintf(chunk, sizeof chunk, "assert(%s)", same[i]);
        if (luaL_dostring(plain, chunk))
            fail_msg("not so in Lua: %s: %s", same[i], lua_tostring(plain, -1));
        world_run(&world, chunk);
    }
    lua_close(plain);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_ends_with_the_budget),
        cmocka_unit_test(what_has_no_end_in_sight_is_refused),
        cmocka_unit_test(all_else_is_as_in_lua_itself),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
