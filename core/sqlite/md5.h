/* md5.h - MD5 (RFC 1321) as hex digits, for SQL's md5(); good for grouping and ETags, for nothing secret. */
#ifndef SQLITE_MD5_H
#define SQLITE_MD5_H

#include <stddef.h>

void sqlite_md5_hex(const void *data, size_t len, char out[33]);

#endif
