/* spec.h - what every C spec starts with: cmocka, its prerequisites in order, and the last test of each spec. */
#ifndef SUPPORT_SPEC_H
#define SUPPORT_SPEC_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"

/* An upper bound of time, which holds on a quiet machine; WICK_SLOW says how many times longer things may take here. Under
 * tools/test that is 3, and 10 with sanitizers; lower bounds and the order of events hold everywhere. */
static inline unsigned slow_ms(unsigned ms)
{
    const char *times = getenv("WICK_SLOW");
    return times && atoi(times) > 1 ? ms * (unsigned)atoi(times) : ms;
}

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* Compares a struct str or the bytes of a struct buf with a C string. */
#define assert_text(piece, text) \
    do { \
        __typeof__(piece) piece_ = (piece); \
        assert_int_equal(piece_.len, strlen(text)); \
        if (piece_.len) \
            assert_memory_equal(piece_.data, text, piece_.len); \
    } while (0)

/* The last test of each spec. */
static inline void all_memory_is_given_back(void **state)
{
    (void)state;
    mem_report(stderr);
    assert_int_equal(mem_live(), 0);
}

#endif
