/* random.h - random bytes from the kernel (getrandom), buffered per thread. Never fails: aborts where there is no entropy. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *out, size_t len);
uint64_t random_u64(void);

#endif
