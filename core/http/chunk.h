/* chunk.h - the chunked transfer coding (RFC 9112 section 7.1), decoded in place by a small state machine. */
#ifndef HTTP_CHUNK_H
#define HTTP_CHUNK_H

#include "base/str.h"

/* Zeroed memory is a decoder at the start of a body. */
struct http_chunk { int state; uint64_t left, data_bytes; unsigned line_bytes, overhead, trailer_bytes; };
enum http_chunk_result { HTTP_CHUNK_MORE, HTTP_CHUNK_DATA, HTTP_CHUNK_END, HTTP_CHUNK_BAD };

/* Takes bytes from *in (advancing it). DATA: *data is the next piece of the body, inside the input. MORE: the input is used up.
 * END: the body and its trailers are over. BAD: 400 and close. Trailers are checked and thrown away. */
enum http_chunk_result http_chunk_next(struct http_chunk *chunk, struct str *in, struct str *data);

#endif
