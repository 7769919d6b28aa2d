/* octet.h - what each byte may be in HTTP: one table of 256 answers. Private to core/http. */
#ifndef HTTP_OCTET_H
#define HTTP_OCTET_H

#include "base/str.h"

enum http_octet {
    HTTP_OCTET_TOKEN = 1,    /* tchar (RFC 9110 5.6.2): methods and field names */
    HTTP_OCTET_VALUE = 2,    /* field-vchar, space, tab, obs-text (RFC 9110 5.5) */
    HTTP_OCTET_PATH = 4,     /* pchar and '/' (RFC 3986 3.3); '%' is looked at by its reader */
    HTTP_OCTET_QUERY = 8,    /* the same, '?', and what browsers leave as it is in a query: [ ] { } | \ ^ ` */
    HTTP_OCTET_HOST = 16,    /* reg-name and what is within [ ] (RFC 3986 3.2.2) */
    HTTP_OCTET_HEX = 32
};
extern const uint8_t http_octets[256];

static inline bool http_octet_is(char c, enum http_octet kind) { return (http_octets[(unsigned char)c] & kind) != 0; }
/* How many bytes from the start on are of this kind. */
size_t http_octet_span(const char *data, size_t len, enum http_octet kind);
/* The same for HTTP_OCTET_VALUE, 16 at a time where the machine can. */
size_t http_octet_span_value(const char *data, size_t len);

#endif
