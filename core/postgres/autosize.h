/* autosize.h - how many connections are worth having, found by trying.
 *
 * Pure: figures of an interval in, a size and the reason for it out. autosize = true makes the pool follow it.
 */
#ifndef POSTGRES_AUTOSIZE_H
#define POSTGRES_AUTOSIZE_H

#include "postgres/comparison.h"

#include <stdbool.h>
#include <stdint.h>

enum { POSTGRES_AUTOSIZE_MS = 100, POSTGRES_AUTOSIZE_PEAKS = 60 };

enum postgres_autosize_reason {
    POSTGRES_SIZE_KEEP,        /* nothing is tried, and nothing is idle for long; or a size that is tried is still measured */
    POSTGRES_SIZE_GROW,        /* calls wait for connections: more are tried */
    POSTGRES_SIZE_TRY_LESS,    /* all are busy: fewer are tried, for the server may do the same with them */
    POSTGRES_SIZE_COMPARE,     /* from the size that is tried back to the one before, or again to the one that is tried */
    POSTGRES_SIZE_GAIN,        /* more got more done, or sooner: they stay */
    POSTGRES_SIZE_NO_GAIN,     /* they did not: as before */
    POSTGRES_SIZE_LESS_DID,    /* fewer did as well: that is enough */
    POSTGRES_SIZE_LESS_LOST,   /* fewer got less done: as before */
    POSTGRES_SIZE_UNCLEAR,     /* the load or the server changed too much to compare two sizes: as before */
    POSTGRES_SIZE_IDLE,        /* more than were in use at any time lately */
    POSTGRES_SIZE_BOUNDS,      /* min_size, max_size or the server's max_connections have changed */
    POSTGRES_SIZE_REASONS
};

struct postgres_autosize_sample {    /* of one interval */
    double seconds;
    double leases;                   /* that ended */
    double hold_s, wait_s;           /* of all of them together: connection held, connection waited for */
    double in_use;                   /* connections in use on average (Little: leases a second times hold) */
    unsigned waiting;                /* calls in the queue at its end */
};

struct postgres_autosize_quiet {     /* between two trials of one direction */
    double left_s, next_s;           /* until the next one; after it, should that fail, too */
};

struct postgres_autosize {
    unsigned size;                   /* that may be in use from now on */
    unsigned kept;                   /* connections worth keeping open: the larger one of two sizes that are compared, else size */
    struct postgres_autosize_sample slice;   /* what has been seen at this size since the last slice */
    struct postgres_comparison comparison;
    double hold_s, hold_then_s;      /* how long a connection is held: of late, and at the last trial (0: all is new) */
    struct postgres_autosize_quiet more, less;
    bool is_eager;                   /* the last trial was so right that the next one doubles, or halves */
    /* a trial */
    int trial;                       /* 1: more, -1: fewer, 0: none */
    unsigned size_before, size_tried;
    unsigned settling;               /* intervals more that connections may take to be opened */
    unsigned slices_between;         /* at the size before, until the other one's turn */
    uint32_t dice;
    /* demand */
    double peaks[POSTGRES_AUTOSIZE_PEAKS];   /* in use, of each of the last half seconds */
    double peak_busy_s, peak_s;      /* of the one that is not over */
    unsigned at;
};

void postgres_autosize_init(struct postgres_autosize *autosize, unsigned size);
/* The size from now on is autosize->size, from floor to ceiling. */
enum postgres_autosize_reason postgres_autosize_step(struct postgres_autosize *autosize, const struct postgres_autosize_sample *sample,
                                                     unsigned floor, unsigned ceiling);
const char *postgres_autosize_word(enum postgres_autosize_reason reason);

#endif
