/* str.h - a borrowed piece of bytes, and the small questions one asks of it. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str { const char *data; size_t len; };

#define STR(literal) ((struct str){ "" literal, sizeof literal - 1 })
#define STR_NONE ((struct str){ NULL, 0 })

static inline struct str str_of(const char *text) { return (struct str){ text, text ? strlen(text) : 0 }; }
static inline struct str str_make(const char *data, size_t len) { return (struct str){ data, len }; }
static inline bool str_is(struct str a, struct str b) { return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0); }

bool str_is_nocase(struct str a, struct str b);              /* ASCII only */
bool str_starts(struct str text, struct str prefix);
struct str str_trim(struct str text);                        /* spaces and tabs, both ends */
/* Splits at the first `at`: returns what stands before, leaves the rest in *text (empty when none left). */
struct str str_split(struct str *text, char at);
/* Whole text as a number; false when empty, malformed or out of range. */
bool str_int64(struct str text, int64_t *out);               /* [-]digits */
bool str_uint64(struct str text, uint64_t *out);             /* digits */
bool str_utf8(struct str text);                              /* valid UTF-8 (RFC 3629: no surrogates, no overlong) */
size_t str_utf8_prefix(struct str text);                     /* how many bytes from the start on are valid UTF-8 */
/* Percent-decodes into `out` (text.len bytes suffice; may be text.data itself); '+' becomes a space if asked.
 * Returns the length, or -1 for a broken escape. */
ptrdiff_t str_percent_decode(struct str text, bool plus_is_space, char *out);
bool str_same_secret(struct str a, struct str b);            /* constant time in the bytes; differing lengths are unequal */
size_t str_hex(const void *data, size_t len, char *out);     /* lower-case, 2*len chars, no NUL; returns 2*len */

#endif
