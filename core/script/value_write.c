/* value_write.c - Lua values as JSON, exactly.
 *
 * DESIGN  Recurses, at most VALUE_DEPTH_MAX deep, with raw accesses only, so it never raises. A mistake is reported by
 *         unwinding: each level puts its key before the path.
 *         Nothing is made in Lua meanwhile, so the collector does not run: what texts and keys are borrowed from stays, in weak
 *         tables, too.
 *         A table that is in many places is written in each, so a small graph may stand for 2^60 values: writing ends when the
 *         text is as long as it may be, and when the CPU budget of the task is over.
 * Path:   script/handler, bind_cache, bind_db > [script/value_write] > base/json, sql/json
 */
#include "script/value.h"

#include "script/budget.h"
#include "script/cached.h"
#include "script/rows_value.h"
#include "script/state.h"

#include <stdio.h>
#include <stdlib.h>

struct writer {
    lua_State *L;
    struct buf *out;
    struct value_why *why;
    unsigned depth, steps;
    bool pretty;
};

enum { STEPS = 4096, KEYS_MAX = 500 * 1000 }; /* keys stand on Lua's stack, which holds a million values */

static bool write_value(struct writer *w, int index);

static bool refuse(struct writer *w, const char *reason)
{
    snprintf(w->why->text, sizeof w->why->text, ": %s", reason);
    return false;
}

/* As many values more; or as much work as they are. */
static bool may_go_on(struct writer *w, size_t steps)
{
    if (!buf_ok(w->out))
        return refuse(w, "the text is too long, or there is no memory for it");
    if (steps < STEPS - w->steps) {
        w->steps += (unsigned)steps;
        return true;
    }
    w->steps = 0;
    return !budget_is_over(w->L) || refuse(w, "the CPU budget is used up");
}

/* Puts a step before the path that is there. Where it does not fit, ".." stands for it and all before: the reason stays. */
static bool blame(struct writer *w, const char *step, int len)
{
    char *text = w->why->text;
    size_t room = sizeof w->why->text - sizeof "..", step_len = len < 60 ? (size_t)len : 60, rest = strlen(text);
    if (rest > room || strncmp(text, "..", 2) == 0)
        return false;
    if (rest + step_len > room) {
        step = "..";
        step_len = 2;
    }
    memmove(text + step_len, text, rest + 1);
    memcpy(text, step, step_len);
    return false;
}

static bool blame_name(struct writer *w, struct str name)
{
    char step[64];
    return blame(w, step, snprintf(step, sizeof step, ".%.*s", (int)(name.len < 40 ? name.len : 40), name.data));
}

static bool blame_place(struct writer *w, lua_Integer place)
{
    char step[32];
    return blame(w, step, snprintf(step, sizeof step, "[%lld]", (long long)place));
}

static void new_line(struct writer *w)
{
    if (!w->pretty)
        return;
    buf_add_char(w->out, '\n');
    for (unsigned i = 0; i < w->depth; i++)
        buf_add(w->out, "  ", 2);
}

static bool write_string(struct writer *w, struct str text)
{
    if (!str_utf8(text))
        return refuse(w, "this string is not valid UTF-8, so JSON cannot hold it");
    json_add_string(w->out, text);
    return may_go_on(w, text.len / 16);
}

static bool write_item(struct writer *w, lua_Integer place)
{
    if (place > 1)
        buf_add_char(w->out, ',');
    new_line(w);
    return write_value(w, -1) || blame_place(w, place);
}

static bool write_array(struct writer *w, int table, lua_Integer count)
{
    buf_add_char(w->out, '[');
    w->depth++;
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(w->L, table, i);
        bool fine = write_item(w, i);
        lua_pop(w->L, 1);
        if (!fine)
            return false;
    }
    w->depth--;
    if (count)
        new_line(w);
    buf_add_char(w->out, ']');
    return true;
}

/* Are the keys exactly 1..count? Counts them, whatever their order. */
static bool is_sequence(lua_State *L, int table, lua_Integer count)
{
    lua_Integer seen = 0;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pop(L, 1);
        bool fits = lua_isinteger(L, -1);
        if (fits) {
            lua_Integer key = lua_tointeger(L, -1);
            fits = key >= 1 && key <= count;
        }
        if (!fits) {
            lua_pop(L, 1);
            return false;
        }
        seen++;
    }
    return seen == count;
}

struct key {
    struct str text;
    char digits[24];
    int slot; /* of the key on the stack */
};

/* The text of the key on top, which is not converted in place: lua_next would lose its way. */
static bool key_text(lua_State *L, struct key *key)
{
    if (lua_type(L, -1) == LUA_TSTRING) {
        key->text = value_str(L, -1);
        return true;
    }
    if (!lua_isinteger(L, -1))
        return false;
    int len = snprintf(key->digits, sizeof key->digits, "%lld", (long long)lua_tointeger(L, -1));
    key->text = str_make(NULL, (size_t)len); /* data is set when it is read: keys move while they are sorted */
    return true;
}

static struct str key_str(const struct key *key)
{
    return key->text.data ? key->text : str_make(key->digits, key->text.len);
}

static int key_order(const void *left, const void *right)
{
    struct str a = key_str(left), b = key_str(right);
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static void sort_keys(struct key *keys, size_t count)
{
    if (count > 12) {
        qsort(keys, count, sizeof *keys, key_order);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        struct key key = keys[i];
        size_t at = i;
        for (; at > 0 && key_order(&key, &keys[at - 1]) < 0; at--)
            keys[at] = keys[at - 1];
        keys[at] = key;
    }
}

static bool write_member(struct writer *w, int table, const struct key *key, bool first)
{
    struct str text = key_str(key);
    if (!first)
        buf_add_char(w->out, ',');
    new_line(w);
    if (!write_string(w, text))
        return blame_name(w, STR("(key)"));
    buf_add_char(w->out, ':');
    if (w->pretty)
        buf_add_char(w->out, ' ');
    lua_pushvalue(w->L, key->slot);
    lua_rawget(w->L, table);
    bool fine = write_value(w, -1);
    lua_pop(w->L, 1);
    return fine || blame_name(w, text);
}

enum { KEYS_HERE = 24 };

/* All keys stay on the stack: a copy of each goes on to the next. */
static bool take_keys(struct writer *w, int table, struct key *keys)
{
    lua_State *L = w->L;
    lua_pushnil(L);
    for (size_t n = 0; lua_next(L, table); n++) {
        lua_pop(L, 1);
        if (!key_text(L, &keys[n]))
            return refuse(w, "a key of this table is neither a string nor an integer");
        keys[n].slot = lua_gettop(L);
        lua_pushvalue(L, -1);
    }
    return true;
}

static bool write_members(struct writer *w, int table, struct key *keys, size_t count)
{
    if (!take_keys(w, table, keys))
        return false;
    sort_keys(keys, count);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && key_order(&keys[i - 1], &keys[i]) == 0)
            return refuse(w, "two keys of this table, a number and a text, are one name in JSON");
        if (!write_member(w, table, &keys[i], i == 0))
            return false;
    }
    return true;
}

static size_t count_keys(lua_State *L, int table)
{
    size_t count = 0;
    lua_pushnil(L);
    for (; lua_next(L, table); count++)
        lua_pop(L, 1);
    return count;
}

static bool write_object(struct writer *w, int table)
{
    size_t count = count_keys(w->L, table);
    int top = lua_gettop(w->L);
    if (count > KEYS_MAX)
        return refuse(w, "an object of more than 500000 keys");
    if (!lua_checkstack(w->L, (int)count + 4))
        return refuse(w, "no memory");
    struct key here[KEYS_HERE], *keys = here;
    if (count > KEYS_HERE && !(keys = mem_alloc(MEM_SCRIPT, count * sizeof *keys)))
        return refuse(w, "no memory");
    buf_add_char(w->out, '{');
    w->depth++;
    bool fine = write_members(w, table, keys, count);
    lua_settop(w->L, top);
    w->depth--;
    if (count)
        new_line(w);
    buf_add_char(w->out, '}');
    if (keys != here)
        mem_free(keys);
    return fine;
}

static bool write_table(struct writer *w, int table)
{
    lua_State *L = w->L;
    if (w->depth >= VALUE_DEPTH_MAX)
        return refuse(w, "deeper than 128 levels (does the table hold itself?)");
    if (!lua_checkstack(L, 8))
        return refuse(w, "no memory");
    lua_Integer count = (lua_Integer)lua_rawlen(L, table);
    if (!may_go_on(w, (size_t)count / 4))
        return false;
    const void *mark = NULL;
    if (lua_getmetatable(L, table)) {
        mark = lua_topointer(L, -1);
        lua_pop(L, 1);
    }
    if (mark == vm_of(L)->array_mark)
        return write_array(w, table, count);
    if (count == 0 || mark == vm_of(L)->object_mark)
        return write_object(w, table);
    if (is_sequence(L, table, count))
        return write_array(w, table, count);
    return refuse(w, "a table with the key 1 and others that do not follow it is neither an array nor an object "
                     "(mark it with json.object or json.array)");
}

static bool write_userdata(struct writer *w, int index)
{
    if (rows_value_add_json(w->L, index, w->out) || cached_add_json(w->L, index, w->out))
        return true;
    return refuse(w, "this userdata has no JSON form");
}

static bool write_value(struct writer *w, int index)
{
    lua_State *L = w->L;
    if (!may_go_on(w, 1))
        return false;
    switch (lua_type(L, index)) {
    case LUA_TNIL: buf_add(w->out, "null", 4); return true;
    case LUA_TBOOLEAN: buf_add_str(w->out, lua_toboolean(L, index) ? STR("true") : STR("false")); return true;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            buf_add_int(w->out, lua_tointeger(L, index));
        else
            json_add_double(w->out, lua_tonumber(L, index));
        return true;
    case LUA_TSTRING: return write_string(w, value_str(L, index));
    case LUA_TTABLE: return write_table(w, lua_absindex(L, index));
    case LUA_TUSERDATA: return write_userdata(w, index);
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, index) == NULL) {
            buf_add(w->out, "null", 4);
            return true;
        }
        return refuse(w, "a light userdata has no JSON form");
    case LUA_TFUNCTION: return refuse(w, "a function has no JSON form");
    default: return refuse(w, "a thread has no JSON form");
    }
}

static bool write_whole(struct writer *w, int index)
{
    size_t len = w->out->len;
    int top = lua_gettop(w->L);
    struct script_memory *memory = &vm_of(w->L)->memory;
    memory->unlimited = true;
    bool fine = write_value(w, lua_absindex(w->L, index));
    memory->unlimited = false;
    lua_settop(w->L, top);
    if (fine && !buf_ok(w->out))
        fine = refuse(w, "the text is too long, or there is no memory for it");
    if (!fine)
        w->out->len = len;
    return fine;
}

bool value_add_json(lua_State *L, int index, struct buf *out, struct value_why *why)
{
    struct writer w = { .L = L, .out = out, .why = why };
    return write_whole(&w, index);
}

bool value_add_json_pretty(lua_State *L, int index, struct buf *out, struct value_why *why)
{
    struct writer w = { .L = L, .out = out, .why = why, .pretty = true };
    return write_whole(&w, index);
}
