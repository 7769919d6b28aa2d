/* comparison.h - which of two sizes is better, from slices at either that took turns.
 *
 * Pure: scores in, a verdict out. A score is a logarithm: 0.1 more of it is a tenth more done, or done in a tenth less time.
 */
#ifndef POSTGRES_COMPARISON_H
#define POSTGRES_COMPARISON_H

#include <stdbool.h>

enum postgres_verdict { POSTGRES_VERDICT_OPEN, POSTGRES_VERDICT_LARGER, POSTGRES_VERDICT_SMALLER };

struct postgres_comparison {
    double noise;                        /* how far two slices at one size differ, commonly; outlives a comparison */
    double last;                         /* score of the slice at the old size before this one; 0: there was none */
    /* of this comparison */
    double tried;                        /* score of the last slice at the size that is tried */
    bool is_unanswered;                  /* which has none after it yet */
    unsigned pairs;                      /* slices that were tried, and counted: the world around them had not changed */
    double weight, square_weight;        /* of them: what was done meanwhile */
    double sum, square_sum;              /* of their differences, with it */
    double seconds;                      /* of all slices */
};

void postgres_comparison_init(struct postgres_comparison *comparison);
void postgres_comparison_begin(struct postgres_comparison *comparison);
/* A slice at the size that is tried, and one at the old size: also when nothing is tried, for the noise. Never 0. */
void postgres_comparison_try(struct postgres_comparison *comparison, double score, double seconds);
void postgres_comparison_rest(struct postgres_comparison *comparison, double score, double seconds);
/* The next slice has nothing to do with the last. */
void postgres_comparison_pause(struct postgres_comparison *comparison);
/* growth: log of the size that is tried over the old one; below 0: fewer are tried. */
enum postgres_verdict postgres_comparison_judge(const struct postgres_comparison *comparison, double growth);
/* Of the scores; of pairs there must be one at least. */
static inline double postgres_comparison_mean(const struct postgres_comparison *comparison) { return comparison->sum / comparison->weight; }
/* It has taken as long as it may. */
bool postgres_comparison_is_over(const struct postgres_comparison *comparison);

#endif
