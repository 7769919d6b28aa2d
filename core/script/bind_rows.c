/* bind_rows.c - results of statements in Lua: row and rows, lazy views of what the engine gave.
 *
 * DESIGN  A row or rows value owns the engine's result, or is a row of rows that it keeps alive through its slot. Cells
 *         become Lua values only when asked for; a handler that returns the whole is served from the result itself.
 * Path:   script/bind_db > [script/bind_rows] > sql/rows, script/value
 */
#include "script/rows_value.h"
#include "script/state.h"
#include "script/value.h"

struct rows_value {
    struct sql_rows *rows;
    size_t row;
    bool owns;
};

static struct rows_value *push_value(lua_State *L, enum udata kind)
{
    return udata_new(L, kind, sizeof(struct rows_value), 1);
}

struct rows_value *rows_value_push_row(lua_State *L) { return push_value(L, UD_ROW); }
struct rows_value *rows_value_push_rows(lua_State *L) { return push_value(L, UD_ROWS); }

void rows_value_take(struct rows_value *value, struct sql_rows *rows)
{
    value->rows = rows;
    value->owns = true;
}

static int value_gc(lua_State *L)
{
    struct rows_value *value = lua_touserdata(L, 1);
    if (value->owns && value->rows) {
        vm_let_go(vm_of(L), value->rows->bytes);
        sql_rows_free(value->rows);
        value->rows = NULL;
    }
    return 0;
}

bool rows_value_add_json(lua_State *L, int index, struct buf *out)
{
    struct rows_value *value = udata_test(L, index, UD_ROW);
    if (value && value->rows) {
        sql_row_add_json(out, value->rows, value->row);
        return true;
    }
    value = udata_test(L, index, UD_ROWS);
    if (!value || !value->rows)
        return false;
    sql_rows_add_json(out, value->rows);
    return true;
}

static struct rows_value *check(lua_State *L, enum udata kind)
{
    struct rows_value *value = udata_check(L, 1, kind);
    luaL_argcheck(L, value->rows, 1, "empty result");
    return value;
}

/* --- row ---------------------------------------------------------------------------------------------------------- */

/* row:table() -> a table of its own; NULL leaves its name out */
static int row_table(lua_State *L)
{
    const struct rows_value *value = check(L, UD_ROW);
    const struct sql_rows *rows = value->rows;
    lua_createtable(L, 0, (int)rows->column_count);
    for (unsigned i = 0; i < rows->column_count; i++) {
        lua_pushlstring(L, rows->columns[i].name.data, rows->columns[i].name.len);
        value_push_cell(L, sql_rows_cell(rows, value->row, i));
        lua_rawset(L, -3);
    }
    return 1;
}

static int row_index(lua_State *L)
{
    const struct rows_value *value = check(L, UD_ROW);
    if (lua_type(L, 2) == LUA_TSTRING) {
        struct str name = value_str(L, 2);
        int column = sql_rows_find(value->rows, name);
        if (column >= 0) {
            value_push_cell(L, sql_rows_cell(value->rows, value->row, (unsigned)column));
            return 1;
        }
        if (str_is(name, STR("table"))) {
            lua_pushcfunction(L, row_table);
            return 1;
        }
    }
    return luaL_error(L, "this row has no column '%s'", luaL_tolstring(L, 2, NULL));
}

static int row_next(lua_State *L)
{
    const struct rows_value *value = check(L, UD_ROW);
    lua_Integer at = udata_step(L);
    if (at >= (lua_Integer)value->rows->column_count)
        return 0;
    struct str name = value->rows->columns[at].name;
    lua_pushlstring(L, name.data, name.len);
    value_push_cell(L, sql_rows_cell(value->rows, value->row, (unsigned)at));
    return 2;
}

/* for name, value in pairs(row): columns in order; NULL is nil */
static int row_pairs(lua_State *L)
{
    check(L, UD_ROW);
    return udata_iterate(L, row_next);
}

static int row_newindex(lua_State *L)
{
    return luaL_error(L, "a row cannot be changed; row:table() gives a table that can");
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

/* Pushes row i (from 0) of the rows at 1. [-0, +1] */
static int push_row_of(lua_State *L, const struct rows_value *value, size_t i)
{
    struct rows_value *row = push_value(L, UD_ROW);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    row->rows = value->rows;
    row->row = i;
    return 1;
}

static int rows_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)check(L, UD_ROWS)->rows->row_count);
    return 1;
}

static int each_next(lua_State *L)
{
    const struct rows_value *value = check(L, UD_ROWS);
    size_t at = (size_t)udata_step(L);
    return at < value->rows->row_count ? push_row_of(L, value, at) : 0;
}

/* for row in rows:each() do .. end */
static int rows_each(lua_State *L)
{
    check(L, UD_ROWS);
    return udata_iterate(L, each_next);
}

/* rows:table() -> a list of tables */
static int rows_table(lua_State *L)
{
    const struct rows_value *value = check(L, UD_ROWS);
    size_t count = value->rows->row_count;
    lua_createtable(L, (int)count, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->array_meta);
    lua_setmetatable(L, -2);
    for (size_t i = 0; i < count; i++) {
        lua_pushcfunction(L, row_table);
        push_row_of(L, value, i);
        lua_call(L, 1, 1);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int rows_index(lua_State *L)
{
    const struct rows_value *value = check(L, UD_ROWS);
    if (lua_isinteger(L, 2)) {
        lua_Integer i = lua_tointeger(L, 2);
        if (i >= 1 && (size_t)i <= value->rows->row_count)
            return push_row_of(L, value, (size_t)i - 1);
        lua_pushnil(L);
        return 1;
    }
    struct str name = lua_type(L, 2) == LUA_TSTRING ? value_str(L, 2) : STR_NONE;
    if (str_is(name, STR("each")))
        lua_pushcfunction(L, rows_each);
    else if (str_is(name, STR("table")))
        lua_pushcfunction(L, rows_table);
    else
        return luaL_error(L, "rows have no field '%s'; they are a list: rows[1], #rows, rows:each(), rows:table()",
                          luaL_tolstring(L, 2, NULL));
    return 1;
}

void bind_rows_open(lua_State *L)
{
    static const luaL_Reg row[] = { { "__index", row_index },
                                    { "__newindex", row_newindex },
                                    { "__pairs", row_pairs },
                                    { "__gc", value_gc },
                                    { NULL, NULL } };
    static const luaL_Reg rows[] = { { "__index", rows_index },
                                     { "__len", rows_len },
                                     { "__newindex", row_newindex },
                                     { "__gc", value_gc },
                                     { NULL, NULL } };
    udata_family(L, UD_ROW, "row", row, NULL);
    udata_family(L, UD_ROWS, "rows", rows, NULL);
}
