/* check_url.c - whether what will connect can read a URL, asked before anything connects.
 *
 * Path:   lua/wick/settings.lua > [script/check_url] > redis/settings, postgres/settings
 */
#include "postgres/settings.h"
#include "redis/redis.h"
#include "script/state.h"
#include "script/value.h"

/* native.check_url("redis" | "postgres", url) -> true | nil, why; why shows nothing of a password */
int check_url(lua_State *L)
{
    static const char *const kinds[] = { "redis", "postgres", NULL };
    int kind = luaL_checkoption(L, 1, NULL, kinds);
    const char *url = luaL_checkstring(L, 2);
    struct redis_settings settings;
    char why[256] = "";
    enum fail fail = kind == 0 ? redis_settings_read(value_str(L, 2), &settings, why, sizeof why)
                               : postgres_settings_check_url(url, why, sizeof why);
    if (!fail) {
        lua_pushboolean(L, true);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, why[0] ? why : fail_text(fail));
    return 2;
}
