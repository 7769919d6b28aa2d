/* json.h - JSON in and out (RFC 8259), strict, integers exact.
 *
 * Writer: appends to a buf; the caller keeps the commas right by asking json_* in order; strings are escaped as
 * PostgreSQL's to_json does: only ", \ and control characters (\b \f \n \r \t, else \u00XX), UTF-8 as it is.
 *
 * Reader: one pass, no recursion, callbacks in document order; numbers arrive as their exact text together with the
 * integer value when they are one. Depth, bytes and keys are limited. Invalid UTF-8, lone surrogates, duplicate
 * keys are errors ("\u0000" is decoded; who cannot hold it refuses it).
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buf.h"
#include "base/fail.h"

void json_add_string(struct buf *out, struct str text);       /* with quotes; text must be valid UTF-8 */
/* The shortest text that reads back equal; NaN and infinities as strings "NaN", "Infinity", "-Infinity" (as to_json). */
void json_add_double(struct buf *out, double value);

struct json_sink {
    /* Each may be NULL: not of interest. Each returns false to stop the reader (json_read gives FAIL_CANCELLED).
     * Strings are decoded and live only for the call. */
    bool (*on_null)(void *arg);
    bool (*on_bool)(void *arg, bool value);
    bool (*on_int)(void *arg, int64_t value);                 /* no fraction, no exponent, fits int64 */
    bool (*on_number)(void *arg, struct str text);            /* every other number, exact text */
    bool (*on_string)(void *arg, struct str text);
    bool (*on_key)(void *arg, struct str text);
    bool (*on_object)(void *arg);
    bool (*on_object_end)(void *arg);
    bool (*on_array)(void *arg);
    bool (*on_array_end)(void *arg);
};
struct json_limits { unsigned depth_max; unsigned values_max; };   /* 0: 64 levels, 1,000,000 values */
struct json_where { size_t offset; const char *why; };            /* of the error: byte offset and a phrase for people */

/* Reads one whole document. FAIL_INVALID with *where filled for bad input; FAIL_NOMEM; FAIL_CANCELLED by a sink. */
MUST_USE enum fail json_read(struct str text, const struct json_limits *limits, const struct json_sink *sink, void *arg,
                             struct json_where *where);

#endif
