/* settings.c - the validated settings, kept in the VM and asked for by path. */
#include "script/state.h"
#include "script/value.h"
#include "script/vm.h"

void settings_keep(lua_State *L)
{
    struct script_vm *vm = vm_of(L);
    luaL_unref(L, LUA_REGISTRYINDEX, vm->settings);
    vm->settings = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* Pushes the value at "a.b.c", nil when there is none. Raw accesses: never raises, but for memory. [-0, +1] */
static void push_setting(struct script_vm *vm, const char *path)
{
    lua_State *L = vm->L;
    vm->memory.unlimited = true;
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->settings);
    struct str rest = str_of(path);
    while (rest.len && lua_istable(L, -1)) {
        struct str name = str_split(&rest, '.');
        int64_t place = 0;
        if (str_int64(name, &place)) {
            lua_rawgeti(L, -1, place);
        } else {
            lua_pushlstring(L, name.data, name.len);
            lua_rawget(L, -2);
        }
        lua_remove(L, -2);
    }
    if (rest.len) {
        lua_pop(L, 1);
        lua_pushnil(L);
    }
    vm->memory.unlimited = false;
}

bool script_setting_text(struct script_vm *vm, const char *path, struct str *out)
{
    push_setting(vm, path);
    bool found = lua_type(vm->L, -1) == LUA_TSTRING;
    if (found)
        *out = value_str(vm->L, -1); /* anchored by the settings */
    lua_pop(vm->L, 1);
    return found;
}

bool script_setting_int(struct script_vm *vm, const char *path, int64_t *out)
{
    push_setting(vm, path);
    int is_integer = 0;
    lua_Integer number = lua_type(vm->L, -1) == LUA_TNUMBER ? lua_tointegerx(vm->L, -1, &is_integer) : 0;
    if (is_integer)
        *out = number;
    lua_pop(vm->L, 1);
    return is_integer;
}

bool script_setting_bool(struct script_vm *vm, const char *path)
{
    push_setting(vm, path);
    bool truth = lua_toboolean(vm->L, -1);
    lua_pop(vm->L, 1);
    return truth;
}

size_t script_setting_count(struct script_vm *vm, const char *path)
{
    push_setting(vm, path);
    size_t count = lua_istable(vm->L, -1) ? (size_t)lua_rawlen(vm->L, -1) : 0;
    lua_pop(vm->L, 1);
    return count;
}
