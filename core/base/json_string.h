/* json_string.h - a string in a JSON text: where it ends, and what it says (RFC 8259 section 7). For json_read.c.
 *
 * Both functions return NULL, or a phrase that says what is wrong at *at. */
#ifndef BASE_JSON_STRING_H
#define BASE_JSON_STRING_H

#include "base/str.h"

/* Goes from after the opening quote (*at) to after the closing one; *raw is what lies between, known to be UTF-8
 * without control characters. Escapes are looked at by json_string_decode only. */
const char *json_string_scan(const char **at, const char *end, struct str *raw, bool *has_escape);

/* Decodes the escapes. `to` has room for raw.len bytes: no escape is shorter than what it stands for. */
const char *json_string_decode(struct str raw, char *to, size_t *len, const char **at);

#endif
