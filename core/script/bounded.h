/* bounded.h - functions of the standard library that could run for long in C. */
#ifndef SCRIPT_BOUNDED_H
#define SCRIPT_BOUNDED_H

#include <lauxlib.h>

/* Puts bounded ones over those of the standard library, in its global tables. [-0, +0] */
void bounded_open(lua_State *L);
void bounded_table_open(lua_State *L);
/* Puts each function over that of its name in a global table, which becomes its first upvalue. [-0, +0] */
void bounded_put_over(lua_State *L, const char *library, const luaL_Reg *functions);

#endif
