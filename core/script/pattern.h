/* pattern.h - string.find, match, gmatch and gsub within a CPU budget. */
#ifndef SCRIPT_PATTERN_H
#define SCRIPT_PATTERN_H

struct lua_State;

/* Puts them over those of the standard library, in the global table string. [-0, +0] */
void pattern_open(struct lua_State *L);

#endif
