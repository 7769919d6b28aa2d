/* json_keys.h - the keys of the objects a JSON reader is in, to find the one that comes twice. For json_read.c.
 *
 * A scope is one open object; scopes end in the reverse order they began. */
#ifndef BASE_JSON_KEYS_H
#define BASE_JSON_KEYS_H

#include "base/buf.h"
#include "base/fail.h"

#define JSON_KEYS_INSIDE 64u

struct json_key;
struct json_keys {
    const char *text;          /* the document; keys without escapes stay there */
    struct json_key *keys;     /* of all open scopes, those of the innermost on top */
    size_t count, cap;
    struct buf copies;         /* decoded keys, those with escapes */
    /* at: offset in text or copies; ends: the first and the last byte, which differ in most pairs of keys */
    struct json_key { size_t at; uint32_t len; uint16_t ends; bool is_copy; } inside[JSON_KEYS_INSIDE];
};
struct json_scope {
    uint32_t *index;           /* NULL while there are few keys; else positions in keys, plus one; 0 is empty */
    size_t index_cap;          /* a power of two */
    size_t keys_start, copies_start;
};

void json_keys_init(struct json_keys *keys, const char *text);
void json_keys_clear(struct json_keys *keys);   /* after all scopes have ended */
void json_scope_begin(const struct json_keys *keys, struct json_scope *scope);
void json_scope_end(struct json_keys *keys, struct json_scope *scope);
/* Notes a key of the innermost scope. FAIL_INVALID: it is there already. is_copy: key does not lie in the document. */
MUST_USE enum fail json_scope_add(struct json_keys *keys, struct json_scope *scope, struct str key, bool is_copy);

#endif
