/* bind_crypto.c - cx.crypto: digests, tokens, and passwords that are hashed where they block nobody.
 *
 * DESIGN  argon2id takes some 20 ms and 19 MiB, so it runs on a work thread while the coroutine waits. Parameters are the
 *         first choice of OWASP's password storage cheat sheet: 19 MiB, 2 passes, 1 lane. The password is wiped.
 * Path:   plugins > [script/bind_crypto] > loop/work
 */
#include "base/random.h"
#include "base/uuid.h"
#include "loop/work.h"
#include "script/failure.h"
#include "script/state.h"

#include <argon2.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

enum {
    MEMORY_KIB = 19456,
    PASSES = 2,
    MEMORY_KIB_MAX = 262144,
    PASSES_MAX = 20,
    LANES_MAX = 8,
    LANES = 1,
    SALT_LEN = 16,
    HASH_LEN = 32,
    ENCODED_MAX = 160,
    PASSWORD_MAX = 4096,
    TOKEN_MAX = 256
};

const char *crypto_version(void) { return OpenSSL_version(OPENSSL_VERSION_STRING); }

/* --- digests ------------------------------------------------------------------------------------------------------ */

static struct str check_str(lua_State *L, int index)
{
    struct str text = { NULL, 0 };
    text.data = luaL_checklstring(L, index, &text.len);
    return text;
}

static int push_hex(lua_State *L, const unsigned char *digest, unsigned len)
{
    char hex[2 * EVP_MAX_MD_SIZE];
    lua_pushlstring(L, hex, str_hex(digest, len, hex));
    return 1;
}

/* crypto.sha256_hex(s) */
static int sha256_hex(lua_State *L)
{
    struct str text = check_str(L, 2);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (!EVP_Digest(text.data, text.len, digest, &len, EVP_sha256(), NULL))
        return luaL_error(L, "sha256 failed");
    return push_hex(L, digest, len);
}

/* crypto.hmac_sha256_hex(key, s) */
static int hmac_sha256_hex(lua_State *L)
{
    struct str key = check_str(L, 2), text = check_str(L, 3);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (key.len > INT32_MAX ||
        !HMAC(EVP_sha256(), key.data, (int)key.len, (const unsigned char *)text.data, text.len, digest, &len))
        return luaL_error(L, "hmac failed");
    return push_hex(L, digest, len);
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

/* crypto.random_token(bytes) -> base64url text without padding */
static int random_token(lua_State *L)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    lua_Integer count = luaL_optinteger(L, 2, 32);
    luaL_argcheck(L, count >= 1 && count <= TOKEN_MAX, 2, "1 to 256 bytes");
    unsigned char bytes[TOKEN_MAX + 2] = { 0 };
    random_bytes(bytes, (size_t)count);
    char text[(TOKEN_MAX + 2) / 3 * 4];
    size_t len = 0;
    for (lua_Integer i = 0; i < count; i += 3) {
        unsigned three = (unsigned)bytes[i] << 16 | (unsigned)bytes[i + 1] << 8 | bytes[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            text[len++] = digits[three >> shift & 63];
    }
    lua_pushlstring(L, text, ((size_t)count * 4 + 2) / 3);
    return 1;
}

/* crypto.same(a, b): constant time */
static int same(lua_State *L)
{
    lua_pushboolean(L, str_same_secret(check_str(L, 2), check_str(L, 3)));
    return 1;
}

/* crypto.uuid() -> a new UUID, ordered by time (version 7) */
static int uuid(lua_State *L)
{
    char text[UUID_LEN + 1];
    uuid_v7(text);
    lua_pushlstring(L, text, UUID_LEN);
    return 1;
}

/* --- passwords ---------------------------------------------------------------------------------------------------- */

struct hashing {
    struct task_wait wait; /* first: the context of the continuation */
    struct task_held held;
    struct work work;
    enum fail fail;
    int result; /* of argon2 */
    bool verifies;
    size_t password_len;
    char encoded[ENCODED_MAX], password[];
};

static void hashing_free(struct hashing *hashing)
{
    task_let_go(&hashing->held);
    OPENSSL_cleanse(hashing->password, hashing->password_len);
    mem_free(hashing);
}

static void hashing_forgotten(struct task *task, struct task_held *held)
{
    (void)task;
    hashing_free(LIST_ENTRY(held, struct hashing, held));
}

/* The numbers in a stored hash decide what checking it costs: nobody's may cost more than ten of ours. */
static bool is_affordable(const char *encoded)
{
    unsigned version, memory_kib, passes, lanes;
    if (sscanf(encoded, "$argon2id$v=%u$m=%u,t=%u,p=%u$", &version, &memory_kib, &passes, &lanes) != 4)
        return false;
    return memory_kib <= MEMORY_KIB_MAX && passes <= PASSES_MAX && lanes <= LANES_MAX &&
           (uint64_t)memory_kib * passes <= (uint64_t)10 * MEMORY_KIB * PASSES;
}

/* On a work thread. */
static void hashing_run(struct work *work)
{
    struct hashing *hashing = LIST_ENTRY(work, struct hashing, work);
    if (hashing->verifies) {
        hashing->result = is_affordable(hashing->encoded)
                              ? argon2id_verify(hashing->encoded, hashing->password, hashing->password_len)
                              : ARGON2_VERIFY_MISMATCH;
        return;
    }
    unsigned char salt[SALT_LEN];
    random_bytes(salt, sizeof salt);
    hashing->result = argon2id_hash_encoded(PASSES, MEMORY_KIB, LANES, hashing->password, hashing->password_len, salt,
                                            sizeof salt, HASH_LEN, hashing->encoded, sizeof hashing->encoded);
}

static void on_hashed(struct work *work, enum fail fail)
{
    struct hashing *hashing = LIST_ENTRY(work, struct hashing, work);
    hashing->fail = fail;
    task_wake(&hashing->wait);
}

static void hashing_cancel(struct task_wait *wait)
{
    struct hashing *hashing = (struct hashing *)wait;
    (void)work_cancel(&hashing->work); /* where it runs already it ends in some milliseconds */
}

static int hashing_done(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct hashing *hashing = (struct hashing *)context;
    char encoded[ENCODED_MAX];
    memcpy(encoded, hashing->encoded, sizeof encoded);
    int result = hashing->result;
    bool verifies = hashing->verifies;
    enum fail fail = hashing->fail;
    hashing_free(hashing);
    task_check(L);
    if (fail)
        return failure_raise(L, fail, NULL);
    if (verifies) {
        lua_pushboolean(L, result == ARGON2_OK);
        return 1;
    }
    if (result != ARGON2_OK)
        return luaL_error(L, "argon2id: %s", argon2_error_message(result));
    lua_pushstring(L, encoded);
    return 1;
}

static int start_hashing(lua_State *L, const char *what, struct str password, struct str encoded, bool verifies)
{
    luaL_argcheck(L, password.len <= PASSWORD_MAX, verifies ? 3 : 2, "a password has at most 4096 bytes");
    struct task *task = task_may_wait(L, what);
    struct hashing *hashing = mem_zero(MEM_SCRIPT, sizeof *hashing + password.len + 1);
    if (!hashing)
        return luaL_error(L, "no memory");
    hashing->wait.cancel = hashing_cancel;
    hashing->verifies = verifies;
    hashing->password_len = password.len;
    memcpy(hashing->password, password.data, password.len);
    memcpy(hashing->encoded, encoded.data, encoded.len);
    hashing->work.run = hashing_run;
    hashing->work.on_done = on_hashed;
    list_init(&hashing->held.node);
    if (work_submit(task->vm->services.loop, &hashing->work)) {
        hashing_free(hashing);
        return failure_raise_told(L, FAIL_FULL, "too many passwords are being hashed",
                                  "too many passwords are being checked at the moment; try again");
    }
    task_hold(task, &hashing->held, hashing_forgotten);
    return task_await(L, &hashing->wait, hashing_done);
}

/* crypto.password_hash(password) -> "$argon2id$..." */
static int password_hash(lua_State *L)
{
    return start_hashing(L, "crypto.password_hash", check_str(L, 2), STR(""), /* verifies= */ false);
}

/* crypto.password_verify(hash, password) -> boolean; a hash that is none is never right */
static int password_verify(lua_State *L)
{
    struct str encoded = check_str(L, 2);
    if (encoded.len >= ENCODED_MAX)
        encoded.len = 0;
    return start_hashing(L, "crypto.password_verify", check_str(L, 3), encoded, /* verifies= */ true);
}

/* --- both ways: crypto.same(a, b) and crypto:same(a, b) ----------------------------------------------------------- */

/* The function is upvalue 1. Puts cx.crypto in front where it was called with a dot. */
static int either_way(lua_State *L)
{
    if (!udata_test(L, 1, UD_CRYPTO)) {
        lua_pushnil(L);
        lua_insert(L, 1);
    }
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

void bind_crypto_push(lua_State *L) { udata_new(L, UD_CRYPTO, 1, 0); }

void bind_crypto_open(lua_State *L)
{
    static const luaL_Reg none[] = { { NULL, NULL } };
    static const luaL_Reg functions[] = {
        { "sha256_hex", sha256_hex },
        { "hmac_sha256_hex", hmac_sha256_hex },
        { "random_token", random_token },
        { "same", same },
        { "uuid", uuid },
        { "password_hash", password_hash },
        { "password_verify", password_verify },
        { NULL, NULL },
    };
    udata_family(L, UD_CRYPTO, "cx.crypto", none, none);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->metatable[UD_CRYPTO]);
    lua_getfield(L, -1, "__index");
    for (const luaL_Reg *one = functions; one->name; one++) {
        lua_pushcfunction(L, one->func);
        lua_pushcclosure(L, either_way, 1);
        lua_setfield(L, -2, one->name);
    }
    lua_pop(L, 2);
}
