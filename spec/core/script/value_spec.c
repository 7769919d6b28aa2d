/* value_spec.c - Lua values and JSON: what goes round comes back equal, what cannot is refused with its place. */
#include "world.h"

#include "script/value.h"

static struct script_vm *vm;

static void open_vm(void)
{
    char why[256] = "";
    struct script_services services = { .loop = NULL };
    assert_int_equal(metrics_open(100), FAIL_OK);
    if (script_vm_open(&services, &vm, why, sizeof why))
        fail_msg("%s", why);
}

static void close_vm(void)
{
    script_vm_close(vm);
    metrics_close();
}

/* Reads and writes again. */
static const char *round_trip(const char *text)
{
    static char out[4096];
    struct json_where where = { 0 };
    struct value_why why = { "" };
    struct buf json;
    buf_init(&json, MEM_BASE, 0);
    if (value_push_json(vm->L, str_of(text), 0, &where)) {
        snprintf(out, sizeof out, "refused: %s at %zu", where.why, where.offset);
    } else if (!value_add_json(vm->L, -1, &json, &why)) {
        snprintf(out, sizeof out, "refused: value%s", why.text);
    } else {
        snprintf(out, sizeof out, "%.*s", (int)json.len, json.data);
        for (size_t i = 0; i < json.len; i++)
            assert_int_not_equal(json.data[i], 0);
    }
    lua_settop(vm->L, 0);
    buf_clear(&json);
    return out;
}

static void values_survive_a_round_trip(void **state)
{
    (void)state;
    open_vm();
    static const char *const same[] = {
        "9007199254740993",
        "123456789012345678",
        "-9223372036854775808",
        "9223372036854775807",
        "[]",
        "{}",
        "null",
        "\"\\u0000\"",
        "[null]",
        "[[],{}]",
        "{\"a\":null}",
        "0.1",
        "true",
        "\"\"",
        "\"\xc3\xbc\xf0\x9f\x98\x80\"",
        "[1,[2,[3,[]]]]",
        "{\"a\":{\"b\":[{}]},\"c\":\"d\"}",
        "1.5",
        "-0.0001",
        "{\"\":1}",
        "{\"a\\u0000b\":1}",
    };
    for (size_t i = 0; i < COUNT_OF(same); i++)
        assert_string_equal(round_trip(same[i]), same[i]);
    assert_string_equal(round_trip("1e-7"), "1e-07"); /* as PostgreSQL's to_json writes it */
    assert_string_equal(round_trip("1e2"), "100");
    assert_string_equal(round_trip("{\"b\":1,\"a\":2,\"ab\":3}"), "{\"a\":2,\"ab\":3,\"b\":1}");
    close_vm();
}

static void what_lua_cannot_hold_exactly_is_refused(void **state)
{
    (void)state;
    open_vm();
    assert_has(round_trip("9223372036854775808"), "refused: an integer beyond 64 bits");
    assert_has(round_trip("[1,123456789012345678901234567890]"), "refused: an integer beyond 64 bits");
    assert_has(round_trip("[1e400]"), "refused: a number beyond what a double holds");
    assert_has(round_trip("-1e999"), "refused: a number beyond what a double holds");
    assert_has(round_trip("{\"a\":1,\"a\":2}"), "refused:");
    assert_has(round_trip("[1,]"), "refused:");
    assert_has(round_trip("\"\xff\""), "refused:");
    char deep[2 * 129 + 1] = "";
    for (size_t depth = 128; depth <= 129; depth++) {
        memset(deep, '[', depth);
        memset(deep + depth, ']', depth);
        if (depth == 128) /* what is read can be written, and what is written can be read */
            assert_string_equal(round_trip(deep), deep);
        else
            assert_has(round_trip(deep), "refused:");
    }
    assert_string_equal(round_trip("[[[[[[[[]]]]]]]]"), "[[[[[[[[]]]]]]]]");
    close_vm();
}

/* The JSON of a Lua expression. */
static const char *json_of(const char *expression)
{
    static char out[4096];
    char chunk[4096];
    struct value_why why = { "" };
    struct buf json;
    buf_init(&json, MEM_BASE, 0);
    snprintf(chunk, sizeof chunk, "local json = require('wick.native').json return %s", expression);
    if (luaL_loadstring(vm->L, chunk) != LUA_OK || lua_pcall(vm->L, 0, 1, 0) != LUA_OK)
        fail_msg("%s", lua_tostring(vm->L, -1));
    bool fine = value_add_json(vm->L, -1, &json, &why);
    snprintf(out, sizeof out, "%s%.*s", fine ? "" : why.text, (int)json.len, json.data ? json.data : "");
    if (!fine)
        assert_int_equal(json.len, 0);
    lua_settop(vm->L, 0);
    buf_clear(&json);
    return out;
}

static void tables_are_arrays_or_objects(void **state)
{
    (void)state;
    open_vm();
    assert_string_equal(json_of("{}"), "{}");
    assert_string_equal(json_of("json.array {}"), "[]");
    assert_string_equal(json_of("json.object { 'x' }"), "{\"1\":\"x\"}");
    assert_string_equal(json_of("{ 1, 2, 3 }"), "[1,2,3]");
    assert_string_equal(
        json_of("(function() local t = {} for i = 100, 1, -1 do t[i] = i end return #t == 100 and t[100] end)()"),
        "100");
    assert_string_equal(json_of("(function() local t = {} t[3] = 3 t[2] = 2 t[1] = 1 return t end)()"), "[1,2,3]");
    assert_string_equal(json_of("{ [200] = 5, [404] = 1 }"), "{\"200\":5,\"404\":1}");
    assert_string_equal(json_of("{ b = 1, a = { d = 1, c = {} } }"), "{\"a\":{\"c\":{},\"d\":1},\"b\":1}");
    assert_string_equal(json_of("3.0"), "3");
    assert_string_equal(json_of("{ 0/0, 1/0, -1/0 }"), "[\"NaN\",\"Infinity\",\"-Infinity\"]");
    assert_string_equal(json_of("{ json.null, require('cjson').null }"), "[null,null]");
    char many[256] =
        "(function() local t = {} for i = 1, 300 do t['k' .. i] = i end local s = json.encode(t) return #s end)()";
    assert_string_equal(json_of(many), "3085");
    close_vm();
}

static void a_refusal_names_the_place(void **state)
{
    (void)state;
    open_vm();
    assert_has(json_of("{ items = { 1, { name = '\\xff' } } }"), ".items[2].name: this string is not valid UTF-8");
    assert_has(json_of("{ f = print }"), ".f: a function has no JSON form");
    assert_has(json_of("{ a = { 1, x = 2 } }"), ".a: a table with the key 1");
    assert_has(json_of("{ [1.5] = 1 }"), ": a key of this table is neither");
    assert_has(json_of("(function() local t = {} t.t = t return t end)()"), "deeper than 128 levels");
    assert_has(json_of("io.stdout"), ": this userdata has no JSON form");
    close_vm();
}

static void durations_have_units(void **state)
{
    (void)state;
    open_vm();
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        { "250ms", 250 },
        { "30s", 30000 },
        { "5m", 300000 },
        { "2h", 7200000 },
        { "1d", 86400000 },
        { "0s", 0 },
        { "s", -1 },
        { "5", -1 },
        { "-1s", -1 },
        { "2min", 120000 },
        { "2w", 1209600000 },
        { "1.5s", 1500 },
        { "0.07s", 70 },
        { "1.1m", 66000 },
        { " 10 s ", 10000 },
        { "0.5ms", -1 },
        { ".5s", -1 },
        { "1..5s", -1 },
        { "1S", -1 },
        { "1 fortnight", -1 },
        { "99999999999999999999d", -1 },
        { "9999999999999999999999999999999999999999999999999999999999999999999999999999.9s", -1 },
        { "", -1 },
        { "9999999999999s", -1 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint64_t ms = 0;
        lua_pushstring(vm->L, cases[i].text);
        bool fine = value_duration(vm->L, -1, &ms);
        assert_int_equal(fine, cases[i].ms >= 0);
        if (fine)
            assert_int_equal(ms, cases[i].ms);
    }
    lua_settop(vm->L, 0);
    close_vm();
}

static void memory_has_a_limit_that_is_an_error(void **state)
{
    (void)state;
    char why[256] = "";
    struct script_services services = { .memory_max = 8 << 20 };
    assert_int_equal(metrics_open(100), FAIL_OK);
    assert_int_equal(script_vm_open(&services, &vm, why, sizeof why), FAIL_OK);
    assert_int_equal(luaL_loadstring(vm->L, "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end"), LUA_OK);
    assert_int_equal(lua_pcall(vm->L, 0, 0, 0), LUA_ERRMEM);
    assert_true(script_vm_memory(vm) <= 8 << 20);
    lua_settop(vm->L, 0);
    assert_int_equal(luaL_dostring(vm->L, "local t = {} for i = 1, 1000 do t[i] = {} end"), LUA_OK);
    close_vm();
}

static void commands_run_in_a_vm_without_a_loop(void **state)
{
    (void)state;
    open_vm();
    assert_int_equal(
        luaL_dostring(vm->L,
                      "local native = require 'wick.native' return native.settings { a = { b = 7, c = 'x', d = true, "
                      "e = { { url = 'u' }, 2 } } }"),
        LUA_OK);
    int64_t number = 0;
    struct str text = STR_NONE;
    assert_true(script_setting_int(vm, "a.b", &number));
    assert_int_equal(number, 7);
    assert_true(script_setting_text(vm, "a.c", &text));
    assert_text(text, "x");
    assert_true(script_setting_text(vm, "a.e.1.url", &text));
    assert_text(text, "u");
    assert_true(script_setting_bool(vm, "a.d"));
    assert_false(script_setting_bool(vm, "a.nothing"));
    assert_false(script_setting_int(vm, "a.b.c", &number));
    assert_false(script_setting_text(vm, "x.y", &text));
    assert_int_equal(script_setting_count(vm, "a.e"), 2);
    assert_int_equal(luaL_dostring(vm->L, "undeclared = 1"), 1);
    lua_settop(vm->L, 0);
    assert_int_equal(luaL_dostring(vm->L, "return assert(require('wick.native').statement('select $1, $2')).params"),
                     LUA_OK);
    assert_int_equal(lua_tointeger(vm->L, -1), 2);
    assert_int_equal(
        luaL_dostring(
            vm->L,
            "local n = require 'wick.native' assert(n.match_check '/a/{id:uuid}') return not n.match_check '/a/{id'"),
        LUA_OK);
    assert_true(lua_toboolean(vm->L, -1));
    lua_settop(vm->L, 0);
    close_vm();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_survive_a_round_trip),
        cmocka_unit_test(what_lua_cannot_hold_exactly_is_refused),
        cmocka_unit_test(tables_are_arrays_or_objects),
        cmocka_unit_test(a_refusal_names_the_place),
        cmocka_unit_test(durations_have_units),
        cmocka_unit_test(memory_has_a_limit_that_is_an_error),
        cmocka_unit_test(commands_run_in_a_vm_without_a_loop),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
