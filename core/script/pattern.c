/* pattern.c - string.find, match, gmatch and gsub, which end when the CPU budget of the task is spent.
 *
 * DESIGN  After lstrlib.c of Lua 5.4, as match.c is: same arguments, same results, same errors. Plain texts are looked for
 *         by memchr; the many comparisons that may take are counted, too.
 * Path:   plugins > [script/pattern] > script/match
 */
#include "script/pattern.h"

#include "script/match.h"

#include <ctype.h>
#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

/* --- find and match ----------------------------------------------------------------------------------------------- */

static struct str check_str(lua_State *L, int index)
{
    struct str text = { NULL, 0 };
    text.data = luaL_checklstring(L, index, &text.len);
    return text;
}

/* Where a relative position begins, from 1; more than len + 1 where it is behind the end. */
static size_t first_position(lua_Integer position, size_t len)
{
    if (position > 0)
        return (size_t)position;
    return position == 0 || position < -(lua_Integer)len ? 1 : len + (size_t)position + 1;
}

static bool is_plain(struct str pattern)
{
    for (size_t i = 0; i < pattern.len; i++)
        if (pattern.data[i] && strchr("^$*+?.([%-", pattern.data[i]))
            return false;
    return true;
}

/* The place of `part` in the text from s on, or NULL. */
static const char *find_plain(struct match *match, const char *s, struct str part)
{
    if (part.len == 0)
        return s;
    while ((size_t)(match->text_end - s) >= part.len) {
        const char *at = memchr(s, part.data[0], (size_t)(match->text_end - s) - part.len + 1);
        if (!at)
            return NULL;
        if (memcmp(at, part.data, part.len) == 0)
            return at;
        match_count(match, 1 + part.len / 16);
        s = at + 1;
    }
    return NULL;
}

static int find_part(struct match *match, const char *s, struct str part)
{
    const char *at = find_plain(match, s, part);
    if (!at) {
        luaL_pushfail(match->L);
        return 1;
    }
    lua_pushinteger(match->L, (at - match->text) + 1);
    lua_pushinteger(match->L, (at - match->text) + (lua_Integer)part.len);
    return 2;
}

static int find_pattern(struct match *match, const char *s, const char *p, bool wants_place)
{
    bool anchored = *p == '^';
    p += anchored;
    do {
        const char *end = match_from(match, s, p);
        if (end && !wants_place)
            return match_push_captures(match, s, end);
        if (end) {
            lua_pushinteger(match->L, (s - match->text) + 1);
            lua_pushinteger(match->L, end - match->text);
            return match_push_captures(match, NULL, NULL) + 2;
        }
    } while (s++ < match->text_end && !anchored);
    luaL_pushfail(match->L);
    return 1;
}

static int find_or_match(lua_State *L, bool wants_place)
{
    struct str text = check_str(L, 1), pattern = check_str(L, 2);
    size_t start = first_position(luaL_optinteger(L, 3, 1), text.len) - 1;
    if (start > text.len) {
        luaL_pushfail(L);
        return 1;
    }
    struct match match;
    match_prepare(&match, L, text, pattern);
    if (wants_place && (lua_toboolean(L, 4) || is_plain(pattern)))
        return find_part(&match, text.data + start, pattern);
    return find_pattern(&match, text.data + start, pattern.data, wants_place);
}

static int string_find(lua_State *L) { return find_or_match(L, /* wants_place= */ true); }
static int string_match(lua_State *L) { return find_or_match(L, /* wants_place= */ false); }

/* --- gmatch ------------------------------------------------------------------------------------------------------- */

struct gmatch {
    const char *at, *pattern, *last; /* last: end of the last match */
    struct match match;
};

static int gmatch_next(lua_State *L)
{
    struct gmatch *all = lua_touserdata(L, lua_upvalueindex(3));
    all->match.L = L;
    for (const char *s = all->at; s <= all->match.text_end; s++) {
        const char *end = match_from(&all->match, s, all->pattern);
        if (end && end != all->last) {
            all->at = all->last = end;
            return match_push_captures(&all->match, s, end);
        }
    }
    return 0;
}

static int string_gmatch(lua_State *L)
{
    struct str text = check_str(L, 1), pattern = check_str(L, 2);
    size_t start = first_position(luaL_optinteger(L, 3, 1), text.len) - 1;
    lua_settop(L, 2); /* kept by the closure */
    struct gmatch *all = lua_newuserdatauv(L, sizeof *all, 0);
    match_prepare(&all->match, L, text, pattern);
    all->at = text.data + (start > text.len ? text.len + 1 : start);
    all->pattern = pattern.data;
    all->last = NULL;
    lua_pushcclosure(L, gmatch_next, 3);
    return 1;
}

/* --- gsub --------------------------------------------------------------------------------------------------------- */

/* The replacement, a text at 3, with %0 to %9 filled in. */
static void add_text(struct match *match, luaL_Buffer *out, const char *s, const char *end)
{
    size_t left = 0;
    const char *text = lua_tolstring(match->L, 3, &left), *at;
    while ((at = memchr(text, '%', left)) != NULL) {
        luaL_addlstring(out, text, (size_t)(at - text));
        at++;
        if (*at == '%') {
            luaL_addchar(out, *at);
        } else if (*at == '0') {
            luaL_addlstring(out, s, (size_t)(end - s));
        } else if (isdigit((unsigned char)*at)) {
            const char *start = NULL;
            ptrdiff_t len = match_capture(match, (unsigned)(*at - '1'), s, end, &start);
            if (len == MATCH_POSITION)
                luaL_addvalue(out);
            else
                luaL_addlstring(out, start, (size_t)len);
        } else {
            luaL_error(match->L, "invalid use of '%c' in replacement string", '%');
        }
        left -= (size_t)(at + 1 - text);
        text = at + 1;
    }
    luaL_addlstring(out, text, left);
}

/* True when the text changed. */
static bool add_replacement(struct match *match, luaL_Buffer *out, const char *s, const char *end, int type)
{
    lua_State *L = match->L;
    if (type == LUA_TFUNCTION) {
        lua_pushvalue(L, 3);
        lua_call(L, match_push_captures(match, s, end), 1);
    } else if (type == LUA_TTABLE) {
        match_count(match, 1024); /* its __index may lead through thousands of tables */
        match_push_capture(match, 0, s, end);
        lua_gettable(L, 3);
    } else {
        add_text(match, out, s, end);
        return true;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(out, s, (size_t)(end - s));
        return false;
    }
    if (!lua_isstring(L, -1))
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    luaL_addvalue(out);
    return true;
}

static int string_gsub(lua_State *L)
{
    struct str text = check_str(L, 1), pattern = check_str(L, 2);
    int type = lua_type(L, 3);
    luaL_argexpected(L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION || type == LUA_TTABLE, 3,
                     "string/function/table");
    lua_Integer replaced = 0, max = luaL_optinteger(L, 4, (lua_Integer)text.len + 1);
    bool anchored = pattern.data[0] == '^', changed = false;
    const char *p = pattern.data + anchored, *s = text.data, *last = NULL;
    struct match match;
    match_prepare(&match, L, text, pattern);
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    while (replaced < max) {
        const char *end = match_from(&match, s, p);
        if (end && end != last) {
            replaced++;
            changed |= add_replacement(&match, &out, s, end, type);
            s = last = end;
        } else if (s < match.text_end) {
            luaL_addchar(&out, *s++);
        } else {
            break;
        }
        if (anchored)
            break;
    }
    if (changed) {
        luaL_addlstring(&out, s, (size_t)(match.text_end - s));
        luaL_pushresult(&out);
    } else {
        lua_pushvalue(L, 1);
    }
    lua_pushinteger(L, replaced);
    return 2;
}

void pattern_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "find", string_find }, { "match", string_match }, { "gmatch", string_gmatch }, { "gsub", string_gsub },
        { NULL, NULL },
    };
    lua_getglobal(L, LUA_STRLIBNAME);
    luaL_setfuncs(L, functions, 0);
    lua_pop(L, 1);
}
