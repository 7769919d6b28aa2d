/* match.h - one pattern of Lua against one text, with a count of the steps that it takes. */
#ifndef SCRIPT_MATCH_H
#define SCRIPT_MATCH_H

#include "base/str.h"

#include <lua.h>
#include <stddef.h>

enum { MATCH_CAPTURES_MAX = 32, MATCH_POSITION = -2 };

/* May live on the C stack: raising an error leaves nothing behind. */
struct match {
    const char *text, *text_end, *pattern_end;
    lua_State *L;
    int depth;                        /* calls that are left */
    unsigned level, steps;            /* level: captures so far */
    struct {
        const char *start;
        ptrdiff_t len;
    } capture[MATCH_CAPTURES_MAX];
};

/* Both stay with the caller, with a NUL behind them, while the match is used. */
void match_prepare(struct match *match, lua_State *L, struct str text, struct str pattern);
/* The end of the match of the pattern, from p on, at s; NULL when there is none. May raise. */
const char *match_from(struct match *match, const char *s, const char *p);
/* Counts work done elsewhere for this match. Raises when the task has used its CPU budget. */
void match_count(struct match *match, size_t steps);

/* What was captured as number `index` (from 0) of the match from s to end, in *out; its length. MATCH_POSITION: it is a
 * position, and was pushed. The whole match is number 0 where there are no captures. */
ptrdiff_t match_capture(struct match *match, unsigned index, const char *s, const char *end, const char **out);
/* [-0, +1] */
void match_push_capture(struct match *match, unsigned index, const char *s, const char *end);
/* All of them, or the whole match where there are none and s is not NULL; how many. [-0, +n] */
int match_push_captures(struct match *match, const char *s, const char *end);

#endif
