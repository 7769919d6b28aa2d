/* value.c - JSON and cells of the database as Lua values, exactly; durations.
 *
 * DESIGN  Reading is a json_sink that keeps the containers under construction on the Lua stack; the memory limit is lifted
 *         meanwhile, since an error jumping out of json_read would leak its buffers, and the input's size bounds what
 *         can be built. Bodies of one route have the same keys: a table is made for as many as the last object so deep had, for
 *         each doubling moves all that are there.
 * Path:   script/bind_request, bind_cache, bind_rows > [script/value] > base/json, sql/json
 */
#include "script/value.h"

#include "script/state.h"

#include <math.h>

/* --- in ----------------------------------------------------------------------------------------------------------- */

/* Stack while reading: each open container, for arrays followed by nothing, for objects by the key that waits for its value.
 * counts[depth] is the number of items so far, or -1 less the number of keys in an object. */
struct reader {
    lua_State *L;
    unsigned *key_hints; /* by depth, of VM_KEY_HINTS */
    unsigned depth;
    int64_t counts[VALUE_DEPTH_MAX + 1];
    const char *why, *at; /* at: where in the text */
};

static bool refuse(struct reader *r, const char *at, const char *why)
{
    r->at = at;
    r->why = why;
    return false;
}

/* The value on top goes into the container below it. */
static bool place(struct reader *r)
{
    if (r->depth == 0)
        return true;
    int64_t *count = &r->counts[r->depth];
    if (*count < 0) {
        lua_rawset(r->L, -3);
        --*count;
    } else {
        lua_rawseti(r->L, -2, ++*count);
    }
    return true;
}

static bool on_null(void *arg)
{
    value_push_null(((struct reader *)arg)->L);
    return place(arg);
}

static bool on_bool(void *arg, bool value)
{
    lua_pushboolean(((struct reader *)arg)->L, value);
    return place(arg);
}

static bool on_int(void *arg, int64_t value)
{
    lua_pushinteger(((struct reader *)arg)->L, value);
    return place(arg);
}

static bool on_number(void *arg, struct str text)
{
    struct reader *r = arg;
    if (!memchr(text.data, '.', text.len) && !memchr(text.data, 'e', text.len) && !memchr(text.data, 'E', text.len))
        return refuse(r, text.data, "an integer beyond 64 bits");
    char digits[512];
    if (text.len >= sizeof digits)
        return refuse(r, text.data, "a number of more than 511 characters");
    memcpy(digits, text.data, text.len);
    digits[text.len] = '\0';
    if (!lua_stringtonumber(r->L, digits))
        return refuse(r, text.data, "a number that cannot be read");
    if (!isfinite(lua_tonumber(r->L, -1)))
        return refuse(r, text.data, "a number beyond what a double holds (1.8e308)");
    return place(arg);
}

static bool on_string(void *arg, struct str text)
{
    lua_pushlstring(((struct reader *)arg)->L, text.data, text.len);
    return place(arg);
}

static bool on_key(void *arg, struct str text)
{
    lua_pushlstring(((struct reader *)arg)->L, text.data, text.len);
    return true;
}

static const unsigned key_hint_max = 64;

static unsigned *hint_of(struct reader *r, unsigned depth)
{
    return depth <= VM_KEY_HINTS ? &r->key_hints[depth - 1] : NULL;
}

/* For the container itself, a key and its value, or a metatable; the one below has its room already. */
static bool has_room(struct reader *r) { return lua_checkstack(r->L, 4); }

static bool on_object(void *arg)
{
    struct reader *r = arg;
    if (!has_room(r))
        return false;
    const unsigned *hint = hint_of(r, ++r->depth);
    lua_createtable(r->L, 0, hint && *hint ? (int)*hint : 4);
    r->counts[r->depth] = -1;
    return true;
}

static bool on_array(void *arg)
{
    struct reader *r = arg;
    if (!has_room(r))
        return false;
    lua_newtable(r->L);
    lua_rawgeti(r->L, LUA_REGISTRYINDEX, vm_of(r->L)->array_meta);
    lua_setmetatable(r->L, -2);
    r->counts[++r->depth] = 0;
    return true;
}

static bool on_object_end(void *arg)
{
    struct reader *r = arg;
    unsigned *hint = hint_of(r, r->depth);
    int64_t keys = -1 - r->counts[r->depth--];
    if (hint)
        *hint = keys < key_hint_max ? (unsigned)keys : key_hint_max;
    return place(r);
}

static bool on_array_end(void *arg)
{
    ((struct reader *)arg)->depth--;
    return place(arg);
}

enum fail value_push_json(lua_State *L, struct str text, unsigned depth_max, struct json_where *where)
{
    static const struct json_sink sink = { on_null, on_bool,   on_int,        on_number, on_string,
                                           on_key,  on_object, on_object_end, on_array,  on_array_end };
    struct json_limits limits = { .depth_max = depth_max && depth_max < VALUE_DEPTH_MAX ? depth_max : VALUE_DEPTH_MAX };
    struct reader r = { .L = L, .key_hints = vm_of(L)->key_hints };
    int top = lua_gettop(L);
    struct script_memory *memory = &vm_of(L)->memory;
    memory->unlimited = true;
    enum fail fail = has_room(&r) ? json_read(text, &limits, &sink, &r, where) : FAIL_NOMEM;
    memory->unlimited = false;
    if (fail == FAIL_CANCELLED && r.why) {
        where->why = r.why;
        where->offset = (size_t)(r.at - text.data);
        fail = FAIL_INVALID;
    } else if (fail == FAIL_CANCELLED) {
        fail = FAIL_NOMEM; /* has_room */
    }
    if (fail)
        lua_settop(L, top);
    return fail;
}

/* --- cells -------------------------------------------------------------------------------------------------------- */

static void push_json_cell(lua_State *L, struct str text)
{
    struct json_where where;
    if (value_push_json(L, text, 0, &where))
        lua_pushlstring(L, text.data, text.len); /* e.g. an integer beyond 64 bits: the text is exact */
}

void value_push_cell(lua_State *L, struct sql_cell cell)
{
    switch (cell.kind) {
    case SQL_KIND_NULL: lua_pushnil(L); return;
    case SQL_KIND_BOOL: lua_pushboolean(L, cell.integer != 0); return;
    case SQL_KIND_INT: lua_pushinteger(L, cell.integer); return;
    case SQL_KIND_FLOAT: lua_pushnumber(L, cell.real); return;
    case SQL_KIND_JSON: push_json_cell(L, cell.text); return;
    case SQL_KIND_ARRAY: {
        struct buf *out = &vm_of(L)->out;
        buf_reset(out);
        sql_cell_add_json(out, cell);
        push_json_cell(L, str_make(out->data, out->len));
        return;
    }
    default: lua_pushlstring(L, cell.text.data, cell.text.len);
    }
}

enum { DURATION_TEXT_MAX = 64 };         /* what a number with more digits is, no double knows */
#define DURATION_MAX_MS 1000000000000000 /* some 30000 years: sums with the time of day stay exact */

/* 0: there is no such unit. The same as in lua/wick/units.lua. */
static uint64_t unit_ms(struct str unit)
{
    static const struct {
        struct str name;
        uint64_t ms;
    } units[] = { { STR("ms"), 1 },      { STR("s"), 1000 },     { STR("m"), 60000 },    { STR("min"), 60000 },
                  { STR("h"), 3600000 }, { STR("d"), 86400000 }, { STR("w"), 604800000 } };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (str_is(units[i].name, unit))
            return units[i].ms;
    return 0;
}

/* "1.5h": digits, maybe a point and more of them. Returns how many characters the number has; 0: there is none. */
static size_t read_decimal(struct str text, lua_Number *out)
{
    lua_Number number = 0, scale = 1;
    bool has_point = false;
    size_t at = 0;
    for (; at < text.len; at++) {
        char c = text.data[at];
        if (c == '.' && at > 0 && !has_point) {
            has_point = true;
        } else if (c >= '0' && c <= '9') {
            number = number * 10 + (c - '0');
            scale *= has_point ? 10 : 1;
        } else {
            break;
        }
    }
    *out = number / scale;
    return at;
}

bool value_duration(lua_State *L, int index, uint64_t *ms)
{
    lua_Number number = 0;
    if (lua_type(L, index) == LUA_TSTRING) {
        struct str text = str_trim(value_str(L, index));
        size_t len = read_decimal(text, &number);
        uint64_t unit = len && text.len <= DURATION_TEXT_MAX
                            ? unit_ms(str_trim(str_make(text.data + len, text.len - len)))
                            : 0;
        number *= (lua_Number)unit;
        lua_Number whole = (lua_Number)(uint64_t)(number < DURATION_MAX_MS ? number + 0.5 : 0);
        if (unit == 0 || number - whole > 1e-6 || whole - number > 1e-6) /* less is what binary fractions leave */
            return false;
        number = whole;
    } else if (lua_type(L, index) == LUA_TNUMBER) {
        number = lua_tonumber(L, index);
    } else {
        return false;
    }
    *ms = number > 0 && number < DURATION_MAX_MS ? (uint64_t)number : 0;
    return number >= 0 && number < DURATION_MAX_MS;
}
