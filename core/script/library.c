/* library.c - require "wick.x" finds its file in the binary; with WICK_LUA=DIR, in DIR/wick/x.lua (for development). */
#include "script/library.h"

#include "script/state.h"

#include <stdlib.h>
#include <string.h>

static const struct library_file *find(const char *name)
{
    for (const struct library_file *file = library_files; file->name; file++)
        if (strcmp(file->name, name) == 0)
            return file;
    return NULL;
}

static int from_folder(lua_State *L, const char *folder, const char *name)
{
    const char *path = luaL_gsub(L, name, ".", "/");
    path = lua_pushfstring(L, "%s/%s.lua", folder, path);
    int status = luaL_loadfilex(L, path, "t");
    if (status == LUA_ERRFILE) {
        lua_pushfstring(L, "no file '%s'", path);
        return 1;
    }
    if (status != LUA_OK)
        return lua_error(L);
    lua_pushstring(L, path);
    return 2;
}

static int from_binary(lua_State *L, const char *name)
{
    const struct library_file *file = find(name);
    if (!file) {
        lua_pushfstring(L, "no file '%s' in the binary", name);
        return 1;
    }
    const char *chunk = lua_pushfstring(L, "@%s", luaL_gsub(L, name, ".", "/"));
    if (luaL_loadbufferx(L, file->data, file->len, lua_pushfstring(L, "%s.lua", chunk), "t") != LUA_OK)
        return lua_error(L);
    lua_pushstring(L, "(in the binary)");
    return 2;
}

static int search(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    if (strncmp(name, "wick.", 5) != 0) {
        lua_pushnil(L);
        return 1;
    }
    const char *folder = getenv("WICK_LUA");
    return folder && *folder ? from_folder(L, folder, name) : from_binary(L, name);
}

void library_open(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchers");
    lua_Integer count = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer i = count; i >= 2; i--) { /* after package.preload, before the paths */
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushcfunction(L, search);
    lua_rawseti(L, -2, 2);
    lua_pop(L, 2);
}
