/* fail.h - the ways a call can fail that a caller can do something about.
 *
 * 0 is success, so `if (fail)` reads as it should. Functions that return one are MUST_USE.
 * Where a person needs words, the object that failed keeps them (see e.g. sql/error.h).
 */
#ifndef BASE_FAIL_H
#define BASE_FAIL_H

#define MUST_USE __attribute__((warn_unused_result))

enum fail {
    FAIL_OK = 0,
    FAIL_NOMEM,       /* memory, or a limit on it, is used up */
    FAIL_TIMEOUT,     /* a deadline passed */
    FAIL_CANCELLED,   /* the one who asked went away */
    FAIL_FULL,        /* a bounded queue or table is full */
    FAIL_CLOSED,      /* the peer or the object is closed */
    FAIL_REFUSED,     /* the peer said no, or the breaker is open */
    FAIL_INVALID,     /* bad input */
    FAIL_IO,          /* the system call failed */
    FAIL_MISSING,     /* no such thing */
    FAIL_SQL,         /* the database refused the statement: see struct sql_error */
    FAIL_COUNT
};

/* A short lower-case text such as "deadline passed"; never NULL. */
const char *fail_text(enum fail fail);

#endif
