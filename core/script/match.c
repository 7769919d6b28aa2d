/* match.c - matches patterns of Lua within the CPU budget of the task.
 *
 * DESIGN  A pattern may take time that is exponential in its length, and simple ones such as "%s+$" take the square of
 *         the text's; the standard library matches in one C call, where no hook can end it, so that one such call would
 *         stop a worker for minutes. This is the matcher of Lua 5.4 (lstrlib.c, Copyright (C) 1994-2022 Lua.org,
 *         PUC-Rio, MIT licence) with a count of steps: each 65,536 of them the budget is looked at.
 * HOLDS   The results are those of the standard library for every text and pattern (spec/core/script/pattern_spec.c).
 * Path:   script/pattern > [script/match] > script/task
 */
#include "script/match.h"

#include "script/budget.h"

#include <ctype.h>
#include <lauxlib.h>
#include <string.h>

enum { ESCAPE = '%', DEPTH_MAX = 200, STEPS = 65536, UNFINISHED = -1 };

static const char *match_here(struct match *match, const char *s, const char *p);

void match_count(struct match *match, size_t steps)
{
    if (steps < STEPS - match->steps) {
        match->steps += (unsigned)steps;
        return;
    }
    match->steps = 0;
    budget_check(match->L);
}

/* --- single characters -------------------------------------------------------------------------------------------- */

static const char *class_end(struct match *match, const char *p)
{
    if (*p++ == ESCAPE) {
        if (p == match->pattern_end)
            luaL_error(match->L, "malformed pattern (ends with '%%')");
        return p + 1;
    }
    if (p[-1] != '[')
        return p;
    if (*p == '^')
        p++;
    do { /* look for a ']' */
        if (p == match->pattern_end)
            luaL_error(match->L, "malformed pattern (missing ']')");
        if (*p++ == ESCAPE && p < match->pattern_end)
            p++; /* skips escapes such as '%]' */
    } while (*p != ']');
    return p + 1;
}

static bool is_in_class(int c, int class)
{
    int fits;
    switch (tolower(class)) {
    case 'a': fits = isalpha(c); break;
    case 'c': fits = iscntrl(c); break;
    case 'd': fits = isdigit(c); break;
    case 'g': fits = isgraph(c); break;
    case 'l': fits = islower(c); break;
    case 'p': fits = ispunct(c); break;
    case 's': fits = isspace(c); break;
    case 'u': fits = isupper(c); break;
    case 'w': fits = isalnum(c); break;
    case 'x': fits = isxdigit(c); break;
    case 'z': fits = c == 0; break;
    default: return class == c;
    }
    return isupper(class) ? !fits : fits != 0;
}

/* p is at '[', end at ']'. */
static bool is_in_set(int c, const char *p, const char *end)
{
    bool found = true;
    if (p[1] == '^') {
        found = false;
        p++;
    }
    while (++p < end) {
        if (*p == ESCAPE) {
            p++;
            if (is_in_class(c, (unsigned char)*p))
                return found;
        } else if (p[1] == '-' && p + 2 < end) {
            p += 2;
            if ((unsigned char)p[-2] <= c && c <= (unsigned char)*p)
                return found;
        } else if ((unsigned char)*p == c) {
            return found;
        }
    }
    return !found;
}

static bool is_single(const struct match *match, const char *s, const char *p, const char *p_end)
{
    if (s >= match->text_end)
        return false;
    int c = (unsigned char)*s;
    switch (*p) {
    case '.': return true;
    case ESCAPE: return is_in_class(c, (unsigned char)p[1]);
    case '[': return is_in_set(c, p, p_end - 1);
    default: return (unsigned char)*p == c;
    }
}

/* --- items of a pattern ------------------------------------------------------------------------------------------- */

static const char *balance(struct match *match, const char *s, const char *p)
{
    if (p >= match->pattern_end - 1)
        luaL_error(match->L, "malformed pattern (missing arguments to '%%b')");
    if (s >= match->text_end || *s != *p)
        return NULL;
    const char *begin = s;
    int open = 1;
    while (++s < match->text_end) {
        if (*s == p[1]) {
            if (--open == 0) {
                match_count(match, (size_t)(s - begin));
                return s + 1;
            }
        } else if (*s == *p) {
            open++;
        }
    }
    match_count(match, (size_t)(s - begin));
    return NULL;
}

static const char *longest(struct match *match, const char *s, const char *p, const char *p_end)
{
    ptrdiff_t i = 0;
    while (is_single(match, s + i, p, p_end))
        i++;
    match_count(match, (size_t)i);
    for (; i >= 0; i--) {
        const char *end = match_here(match, s + i, p_end + 1);
        if (end)
            return end;
    }
    return NULL;
}

static const char *shortest(struct match *match, const char *s, const char *p, const char *p_end)
{
    for (;;) {
        const char *end = match_here(match, s, p_end + 1);
        if (end)
            return end;
        if (!is_single(match, s, p, p_end))
            return NULL;
        s++;
    }
}

static const char *open_capture(struct match *match, const char *s, const char *p, int what)
{
    if (match->level >= MATCH_CAPTURES_MAX)
        luaL_error(match->L, "too many captures");
    match->capture[match->level].start = s;
    match->capture[match->level].len = what;
    match->level++;
    const char *end = match_here(match, s, p);
    if (!end)
        match->level--;
    return end;
}

static const char *close_capture(struct match *match, const char *s, const char *p)
{
    unsigned level = match->level;
    do {
        if (level-- == 0)
            luaL_error(match->L, "invalid pattern capture");
    } while (match->capture[level].len != UNFINISHED);
    match->capture[level].len = s - match->capture[level].start;
    const char *end = match_here(match, s, p);
    if (!end)
        match->capture[level].len = UNFINISHED;
    return end;
}

/* %1 to %9 */
static const char *back_reference(struct match *match, const char *s, int digit)
{
    int level = digit - '1';
    if (level < 0 || level >= (int)match->level || match->capture[level].len == UNFINISHED)
        luaL_error(match->L, "invalid capture index %%%d", level + 1);
    size_t len = (size_t)match->capture[level].len;
    if ((size_t)(match->text_end - s) < len || memcmp(match->capture[level].start, s, len) != 0)
        return NULL;
    match_count(match, len / 16);
    return s + len;
}

/* %f[set]: from where the set does not match to where it does. p is behind the f; NULL when this is no frontier. */
static const char *frontier(struct match *match, const char *s, const char *p)
{
    if (*p != '[')
        luaL_error(match->L, "missing '[' after '%%f' in pattern");
    const char *p_end = class_end(match, p);
    int before = s == match->text ? 0 : (unsigned char)s[-1];
    int here = s == match->text_end ? 0 : (unsigned char)*s;
    return !is_in_set(before, p, p_end - 1) && is_in_set(here, p, p_end - 1) ? p_end : NULL;
}

/* --- a pattern ---------------------------------------------------------------------------------------------------- */

/* A single character with its repetition, if any. True: go on at *s and *p. False: *s is the result. */
static bool goes_on(struct match *match, const char **s, const char **p)
{
    const char *p_end = class_end(match, *p);
    bool fits = is_single(match, *s, *p, p_end);
    if (!fits && (*p_end == '*' || *p_end == '?' || *p_end == '-')) {
        *p = p_end + 1; /* no times */
        return true;
    }
    switch (*p_end) {
    case '?': {
        const char *end = match_here(match, *s + 1, p_end + 1);
        if (end) {
            *s = end;
            return false;
        }
        *p = p_end + 1;
        return true;
    }
    case '*': *s = longest(match, *s, *p, p_end); return false;
    case '+': *s = fits ? longest(match, *s + 1, *p, p_end) : NULL; return false;
    case '-': *s = shortest(match, *s, *p, p_end); return false;
    default: break;
    }
    *s = fits ? *s + 1 : NULL;
    *p = p_end;
    return fits;
}

/* What begins with '%' and is no class. True: it is done, go on at *s and *p where *s is not NULL. */
static bool is_special(struct match *match, const char **s, const char **p)
{
    const char *at = *p;
    switch (at[1]) {
    case 'b':
        *s = balance(match, *s, at + 2);
        *p = at + 4;
        return true;
    case 'f': {
        const char *p_end = frontier(match, *s, at + 2);
        if (!p_end)
            *s = NULL;
        *p = p_end;
        return true;
    }
    default: break;
    }
    if (!isdigit((unsigned char)at[1]))
        return false;
    *s = back_reference(match, *s, (unsigned char)at[1]);
    *p = at + 2;
    return true;
}

static const char *match_items(struct match *match, const char *s, const char *p)
{
    while (s && p != match->pattern_end) {
        match_count(match, 1);
        switch (*p) {
        case '(':
            return p[1] == ')' ? open_capture(match, s, p + 2, MATCH_POSITION)
                               : open_capture(match, s, p + 1, UNFINISHED);
        case ')': return close_capture(match, s, p + 1);
        case '$':
            if (p + 1 == match->pattern_end)
                return s == match->text_end ? s : NULL;
            break;
        case ESCAPE:
            if (is_special(match, &s, &p))
                continue;
            break;
        default: break;
        }
        if (!goes_on(match, &s, &p))
            return s;
    }
    return s;
}

/* The end of the match of p at s, or NULL. */
static const char *match_here(struct match *match, const char *s, const char *p)
{
    if (match->depth-- == 0)
        luaL_error(match->L, "pattern too complex");
    const char *end = match_items(match, s, p);
    match->depth++;
    return end;
}

void match_prepare(struct match *match, lua_State *L, struct str text, struct str pattern)
{
    match->L = L;
    match->text = text.data;
    match->text_end = text.data + text.len;
    match->pattern_end = pattern.data + pattern.len;
    match->steps = 0;
}

const char *match_from(struct match *match, const char *s, const char *p)
{
    match->depth = DEPTH_MAX;
    match->level = 0;
    return match_here(match, s, p);
}

/* --- captures ----------------------------------------------------------------------------------------------------- */

ptrdiff_t match_capture(struct match *match, unsigned index, const char *s, const char *end, const char **out)
{
    if (index >= match->level) {
        if (index != 0)
            luaL_error(match->L, "invalid capture index %%%d", (int)index + 1);
        *out = s;
        return end - s;
    }
    ptrdiff_t len = match->capture[index].len;
    *out = match->capture[index].start;
    if (len == UNFINISHED)
        luaL_error(match->L, "unfinished capture");
    if (len == MATCH_POSITION)
        lua_pushinteger(match->L, (match->capture[index].start - match->text) + 1);
    return len;
}

void match_push_capture(struct match *match, unsigned index, const char *s, const char *end)
{
    const char *start = NULL;
    ptrdiff_t len = match_capture(match, index, s, end, &start);
    if (len != MATCH_POSITION)
        lua_pushlstring(match->L, start, (size_t)len);
}

int match_push_captures(struct match *match, const char *s, const char *end)
{
    unsigned captures = match->level == 0 && s ? 1 : match->level;
    luaL_checkstack(match->L, (int)captures, "too many captures");
    for (unsigned i = 0; i < captures; i++)
        match_push_capture(match, i, s, end);
    return (int)captures;
}
