/* json_keys.c - finds the key that comes twice, in objects of any size.
 *
 * DESIGN  Up to FEW_KEYS of an object are compared one by one; beyond, the object gets a hash index, at most half full
 *         (SipHash with the process's key, so nobody can choose collisions). Both take constant time a key.
 *         What a scope added to keys and copies is dropped when it ends: they are as large as the open objects are.
 * HOLDS   All of scope->keys_start .. count are keys of the innermost scope. Small documents allocate nothing.
 */
#include "base/json_keys.h"

#include "base/siphash.h"

#define FEW_KEYS 16u
#define INDEX_MIN 64u

void json_keys_init(struct json_keys *keys, const char *text)
{
    keys->text = text; /* `inside` needs no zeroing */
    keys->keys = keys->inside;
    keys->cap = JSON_KEYS_INSIDE;
    keys->count = 0;
    buf_init(&keys->copies, MEM_BASE, 0);
}

void json_keys_clear(struct json_keys *keys)
{
    if (keys->keys != keys->inside)
        mem_free(keys->keys);
    buf_clear(&keys->copies);
}

void json_scope_begin(const struct json_keys *keys, struct json_scope *scope)
{
    *scope = (struct json_scope){ .keys_start = keys->count, .copies_start = keys->copies.len };
}

void json_scope_end(struct json_keys *keys, struct json_scope *scope)
{
    keys->count = scope->keys_start;
    keys->copies.len = scope->copies_start;
    mem_free(scope->index);
    scope->index = NULL;
}

static inline struct str key_text(const struct json_keys *keys, const struct json_key *key)
{
    return str_make((key->is_copy ? keys->copies.data : keys->text) + key->at, key->len);
}

/* The place in the index for the text: that of an equal key, or an empty one. */
static uint32_t *index_find(const struct json_keys *keys, const struct json_scope *scope, struct str text)
{
    size_t mask = scope->index_cap - 1;
    for (size_t i = siphash(text.data, text.len) & mask;; i = (i + 1) & mask) {
        uint32_t *place = &scope->index[i];
        if (*place == 0 || str_is(key_text(keys, &keys->keys[*place - 1]), text))
            return place;
    }
}

/* Makes or doubles the index. */
static enum fail index_grow(const struct json_keys *keys, struct json_scope *scope)
{
    size_t cap = scope->index ? scope->index_cap * 2 : INDEX_MIN;
    uint32_t *index = mem_zero(MEM_BASE, cap * sizeof *index);
    if (!index)
        return FAIL_NOMEM;
    mem_free(scope->index);
    scope->index = index;
    scope->index_cap = cap;
    for (size_t i = scope->keys_start; i < keys->count; i++)
        *index_find(keys, scope, key_text(keys, &keys->keys[i])) = (uint32_t)i + 1;
    return FAIL_OK;
}

static enum fail keys_grow(struct json_keys *keys)
{
    bool is_inside = keys->keys == keys->inside;
    struct json_key *grown = mem_grow(MEM_BASE, is_inside ? NULL : keys->keys, 2 * keys->cap * sizeof *grown);
    if (!grown)
        return FAIL_NOMEM;
    if (is_inside)
        memcpy(grown, keys->inside, sizeof keys->inside);
    keys->keys = grown;
    keys->cap *= 2;
    return FAIL_OK;
}

static inline uint16_t ends_of(struct str text)
{
    if (text.len == 0)
        return 0;
    return (uint16_t)((unsigned char)text.data[0] | (unsigned)(unsigned char)text.data[text.len - 1] << 8);
}

static enum fail keys_push(struct json_keys *keys, struct str text, bool is_copy)
{
    if (keys->count == keys->cap) {
        enum fail failed = keys_grow(keys);
        if (failed)
            return failed;
    }
    struct json_key key = { .len = (uint32_t)text.len, .ends = ends_of(text), .is_copy = is_copy };
    if (is_copy) {
        key.at = keys->copies.len;
        buf_add_str(&keys->copies, text);
        if (!buf_ok(&keys->copies))
            return FAIL_NOMEM;
    } else {
        key.at = (size_t)(text.data - keys->text);
    }
    keys->keys[keys->count++] = key;
    return FAIL_OK;
}

static enum fail add_to_few(struct json_keys *keys, const struct json_scope *scope, struct str text, bool is_copy)
{
    uint16_t ends = ends_of(text);
    for (const struct json_key *key = keys->keys + scope->keys_start; key < keys->keys + keys->count; key++)
        if (key->len == text.len && key->ends == ends && str_is(key_text(keys, key), text))
            return FAIL_INVALID;
    return keys_push(keys, text, is_copy);
}

enum fail json_scope_add(struct json_keys *keys, struct json_scope *scope, struct str key, bool is_copy)
{
    size_t count = keys->count - scope->keys_start;
    if (count < FEW_KEYS)
        return add_to_few(keys, scope, key, is_copy);
    if (!scope->index || count * 2 >= scope->index_cap) {
        enum fail failed = index_grow(keys, scope);
        if (failed)
            return failed;
    }
    uint32_t *place = index_find(keys, scope, key);
    if (*place)
        return FAIL_INVALID;
    enum fail failed = keys_push(keys, key, is_copy);
    if (!failed)
        *place = (uint32_t)keys->count;
    return failed;
}
