/* autosize.h - how many connections are worth having, found by trying.
 *
 * Pure: figures of an interval in, a size and the reason for it out. autosize = true makes the pool follow it.
 */
#ifndef POSTGRES_AUTOSIZE_H
#define POSTGRES_AUTOSIZE_H

#include <stdbool.h>
#include <stdint.h>

enum { POSTGRES_AUTOSIZE_MS = 500, POSTGRES_AUTOSIZE_PEAKS = 60 };

enum postgres_autosize_reason {
    POSTGRES_SIZE_KEEP,        /* nobody waits, and nothing is idle for long */
    POSTGRES_SIZE_GROW,        /* calls wait for connections: more are tried */
    POSTGRES_SIZE_NO_GAIN,     /* more connections did not get more done: as before */
    POSTGRES_SIZE_TRY_LESS,    /* all are busy: fewer are tried, for the server may do the same with them */
    POSTGRES_SIZE_LESS_LOST,   /* fewer got less done: as before */
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

struct postgres_autosize {
    unsigned size;
    /* a trial: the size before it, and what was got done a second then */
    int trial;                       /* 1: more, -1: fewer, 0: none */
    unsigned size_before;
    double rate_before, hold_before_s;
    double rate;                     /* what is got done a second at this size, smoothed; 0: not known */
    unsigned intervals_left;         /* of the trial, before it is judged */
    bool is_eager;                   /* the last growth came out as throughput nearly whole: the next one doubles */
    double leases, seconds;          /* of the trial so far */
    unsigned more_left, more_quiet;  /* intervals until more are tried again, doubling with each trial that failed */
    unsigned less_left, less_quiet;  /* the same for fewer */
    double hold_s;                   /* how long a connection was held when a trial failed last: another world makes trying worth while */
    double peaks[POSTGRES_AUTOSIZE_PEAKS];   /* in use, of the last intervals */
    unsigned at;
};

void postgres_autosize_init(struct postgres_autosize *autosize, unsigned size);
/* The size from now on is autosize->size, from floor to ceiling. */
enum postgres_autosize_reason postgres_autosize_step(struct postgres_autosize *autosize, const struct postgres_autosize_sample *sample,
                                                     unsigned floor, unsigned ceiling);
const char *postgres_autosize_word(enum postgres_autosize_reason reason);

#endif
