/* guarded_cjson.c - lua-cjson as plugins have it: encode and decode of sizes that end soon and fit into lua.memory.
 *
 * DESIGN  lua-cjson runs in one C call that no hook ends, keeps its buffers outside of Lua's heap, ends the process where they
 *         would be larger than 2 GiB, and leaks them where Lua raises "not enough memory" beneath it. So what it will do is
 *         measured before it begins (the walk goes where its encoder goes, and is within the budget), and refused above BYTES_MAX or
 *         above what memory is left; then it runs with the limit lifted, since nothing may jump out of it. cx.json has no such limit.
 *         Each text may take six times its length when it is escaped, each value VALUE_BYTES (ten nulls before it), and what is
 *         read 24 times its text (a table is two characters).
 * Path:   lua/wick/sandbox.lua > [script/guarded_cjson] > lua-cjson
 */
#include "script/budget.h"
#include "script/state.h"

enum {
    BYTES_MAX = 4 << 20,
    DEPTH_MAX = 1000,
    VALUE_LEAST = 8,
    VALUE_BYTES = 64,
    TEXT_TIMES = 6,
    TABLE_TIMES = 24,
    STEPS = 4096
};

struct measure {
    lua_State *L;
    size_t bytes, needs; /* of text, and of memory at worst */
    unsigned steps;
};

/* The key or value on top. */
static void add(struct measure *measure)
{
    size_t len = lua_type(measure->L, -1) == LUA_TSTRING ? lua_rawlen(measure->L, -1) : 0;
    measure->bytes += len + VALUE_LEAST;
    measure->needs += len * TEXT_TIMES + VALUE_BYTES;
    if (measure->bytes > BYTES_MAX)
        luaL_error(measure->L, "cjson: a value of more than 4 MiB; cx.json takes larger ones");
    if (++measure->steps % STEPS == 0)
        budget_check(measure->L);
}

static void measure_value(struct measure *measure, unsigned depth);

/* The table on top: its own keys and values, as raw as lua-cjson takes them. */
static void measure_table(struct measure *measure, unsigned depth)
{
    lua_State *L = measure->L;
    if (depth >= DEPTH_MAX)
        luaL_error(L, "cjson: deeper than %d levels (does the table hold itself?)", DEPTH_MAX);
    luaL_checkstack(L, 4, "cjson");
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        measure_value(measure, depth);
        lua_pop(L, 1);
        add(measure);
    }
}

static void measure_value(struct measure *measure, unsigned depth)
{
    add(measure);
    if (lua_istable(measure->L, -1))
        measure_table(measure, depth + 1);
}

/* Upvalue 1 with the one argument there is. */
static int run(lua_State *L, size_t bytes)
{
    struct script_memory *memory = &vm_of(L)->memory;
    if (memory->bytes + bytes > memory->bytes_max)
        lua_gc(L, LUA_GCCOLLECT);
    if (memory->bytes + bytes > memory->bytes_max)
        return luaL_error(L, "not enough memory");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    bool was_unlimited = memory->unlimited;
    memory->unlimited = true;
    int status = lua_pcall(L, 1, LUA_MULTRET, 0);
    memory->unlimited = was_unlimited;
    return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

static int encode(lua_State *L)
{
    luaL_argcheck(L, lua_gettop(L) == 1, 1, "expected 1 argument");
    struct measure measure = { .L = L };
    measure_value(&measure, 0);
    return run(L, measure.needs);
}

static int decode(lua_State *L)
{
    luaL_argcheck(L, lua_gettop(L) == 1, 1, "expected 1 argument");
    luaL_checkstring(L, 1);
    size_t bytes = lua_rawlen(L, 1);
    luaL_argcheck(L, bytes <= BYTES_MAX, 1, "a text of more than 4 MiB; cx.json takes larger ones");
    budget_check(L);
    return run(L, bytes * TABLE_TIMES);
}

static int guard(lua_State *L, lua_CFunction guarded)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_pushcclosure(L, guarded, 1);
    return 1;
}

int cjson_guard_encode(lua_State *L) { return guard(L, encode); }
int cjson_guard_decode(lua_State *L) { return guard(L, decode); }
