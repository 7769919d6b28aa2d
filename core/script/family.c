/* family.c - families of userdata: made once, told apart by the identity of their metatable. */
#include "script/state.h"

#include <string.h>

void *udata_new(lua_State *L, enum udata kind, size_t bytes, int values)
{
    void *data = lua_newuserdatauv(L, bytes, values);
    memset(data, 0, bytes);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->metatable[kind]);
    lua_setmetatable(L, -2);
    return data;
}

void *udata_test(lua_State *L, int index, enum udata kind)
{
    if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return NULL;
    bool same = lua_topointer(L, -1) == vm_of(L)->family[kind];
    lua_pop(L, 1);
    return same ? lua_touserdata(L, index) : NULL;
}

void *udata_check(lua_State *L, int index, enum udata kind)
{
    void *data = udata_test(L, index, kind);
    if (!data)
        luaL_typeerror(L, index, vm_of(L)->family_name[kind]);
    return data;
}

void udata_family(lua_State *L, enum udata kind, const char *name, const luaL_Reg *metamethods, const luaL_Reg *methods)
{
    struct script_vm *vm = vm_of(L);
    lua_newtable(L);
    luaL_setfuncs(L, metamethods, 0);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    if (methods) {
        lua_newtable(L);
        luaL_setfuncs(L, methods, 0);
        lua_setfield(L, -2, "__index");
    }
    vm->family[kind] = lua_topointer(L, -1);
    vm->family_name[kind] = name;
    vm->metatable[kind] = luaL_ref(L, LUA_REGISTRYINDEX);
}

void udata_push_names(lua_State *L, const char *const *names)
{
    lua_newtable(L);
    for (int i = 1; names[i]; i++) {
        lua_pushinteger(L, i);
        lua_setfield(L, -2, names[i]);
    }
}

int udata_key(lua_State *L, int key)
{
    lua_pushvalue(L, key);
    lua_rawget(L, lua_upvalueindex(1));
    int number = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return number;
}

int udata_iterate(lua_State *L, lua_CFunction next)
{
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, next, 1);
    lua_pushvalue(L, 1);
    return 2;
}

lua_Integer udata_step(lua_State *L)
{
    lua_Integer at = lua_tointeger(L, lua_upvalueindex(1));
    lua_pushinteger(L, at + 1);
    lua_replace(L, lua_upvalueindex(1));
    return at;
}
