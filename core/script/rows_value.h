/* rows_value.h - results of statements as Lua values: row, rows. */
#ifndef SCRIPT_ROWS_VALUE_H
#define SCRIPT_ROWS_VALUE_H

#include "sql/rows.h"

#include <lua.h>
#include <stdint.h>

/* Push an empty one before the rows are taken over, then give them: ownership moves when it returns. Their bytes are to be counted
 * with vm_hold then, before Lua runs again. [-0, +1] */
struct rows_value;
struct rows_value *rows_value_push_row(lua_State *L);
struct rows_value *rows_value_push_rows(lua_State *L);
void rows_value_take(struct rows_value *value, struct sql_rows *rows);
/* Appends the JSON when the value is a row or rows. False: it is something else. [-0, +0] */
bool rows_value_add_json(lua_State *L, int index, struct buf *out);

#endif
