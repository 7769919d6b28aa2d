/* bounded.h - functions of the standard library that could run for ever in C. */
#ifndef SCRIPT_BOUNDED_H
#define SCRIPT_BOUNDED_H

struct lua_State;

/* Puts bounded ones over those of the standard library, in the global tables string and table. [-0, +0] */
void bounded_open(struct lua_State *L);

#endif
