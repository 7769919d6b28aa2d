/* siphash.h - SipHash-1-3 (Aumasson, Bernstein 2012) with a key made at start, for tables that strangers can fill. */
#ifndef BASE_SIPHASH_H
#define BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key { uint64_t k0, k1; };

uint64_t siphash13(struct siphash_key key, const void *data, size_t len);
uint64_t siphash(const void *data, size_t len);   /* with the process's own random key */

#endif
