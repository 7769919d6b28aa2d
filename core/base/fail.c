/* fail.c - the words for each kind of failure. */
#include "base/fail.h"

#include <stddef.h>

static const char *const texts[FAIL_COUNT] = {
    [FAIL_OK] = "success",
    [FAIL_NOMEM] = "out of memory",
    [FAIL_TIMEOUT] = "deadline passed",
    [FAIL_CANCELLED] = "cancelled",
    [FAIL_FULL] = "queue is full",
    [FAIL_CLOSED] = "closed",
    [FAIL_REFUSED] = "refused",
    [FAIL_INVALID] = "bad input",
    [FAIL_IO] = "system call failed",
    [FAIL_MISSING] = "not found",
    [FAIL_SQL] = "database refused the statement",
};

const char *fail_text(enum fail fail)
{
    size_t at = (size_t)fail;
    return at < FAIL_COUNT && texts[at] ? texts[at] : "unknown failure";
}
