/* comparison.c - which of two sizes is better, from slices at either that took turns.
 *
 * DESIGN  A slice at the size that is tried stands against the mean of those before and after it at the old size: a world that gets better
 *         or worse by itself cancels out. Where those two differ by more than slices commonly do, the world has jumped, and the three
 *         tell nothing. What slices commonly differ by is followed all the time, as a quantile, which a jump now and then leaves alone.
 *         The mean of the differences weighs each by what was done meanwhile: the sum of it is what is to grow.
 *         A verdict needs a mean that is clear by the spread that was seen, or patience: a draw is a draw when it has lasted for as
 *         long as what comes and goes is likely to do both. The larger size must be better by gain_slope for each e-fold of size (2 % for
 *         a doubling), whichever of the two is the one that is tried, so the smaller one wins a draw.
 * Path:   postgres/autosize > [postgres/comparison]
 */
#include "postgres/comparison.h"

#include <assert.h>
#include <math.h>

static const double gain_slope = 0.03;
static const double noise_first = 0.08, noise_min = 0.01, noise_max = 0.5;
static const double noise_up = 1.06, noise_down = 1.09; /* two in five differences are below the noise */
static const double changed = 4.5;      /* noises that the old size differs from itself by: the world has */
static const double usual_error = 1.65; /* of one pair, in noises, when slices differ by accident alone */
static const double clear = 2.5;        /* mean errors that are no accident */
static const double less_clear =
    1.2; /* times that against the larger size: what is lost by an error comes back slowly */
static const double draw_share = 0.7; /* of a mean error that growth must show after all the patience */
static const double error_wanted = 0.025, patience_s = 12, seconds_max = 30;
enum { PAIRS_MIN = 3, PRIOR_PAIRS = 4 }; /* fewer pairs must be twice as clear; the usual error counts as so many */

void postgres_comparison_init(struct postgres_comparison *comparison)
{
    *comparison = (struct postgres_comparison){ .noise = noise_first };
}

void postgres_comparison_begin(struct postgres_comparison *comparison)
{
    *comparison = (struct postgres_comparison){ .noise = comparison->noise, .last = comparison->last };
}

void postgres_comparison_pause(struct postgres_comparison *comparison)
{
    comparison->last = 0;
    comparison->is_unanswered = false;
}

void postgres_comparison_try(struct postgres_comparison *comparison, double score, double seconds)
{
    comparison->tried = score;
    comparison->is_unanswered = comparison->last != 0;
    comparison->seconds += seconds;
}

static void add_pair(struct postgres_comparison *comparison, double level)
{
    double difference = comparison->tried - level;
    double weight = exp((2 * level + comparison->tried) /
                        3); /* of all three slices: their accidents must not sway it */
    comparison->pairs++;
    comparison->weight += weight;
    comparison->square_weight += weight * weight;
    comparison->sum += weight * difference;
    comparison->square_sum += weight * difference * difference;
}

void postgres_comparison_rest(struct postgres_comparison *comparison, double score, double seconds)
{
    double drift = fabs(score - comparison->last), level = (score + comparison->last) / 2;
    bool is_first = comparison->last == 0;
    comparison->last = score;
    comparison->seconds += seconds;
    if (is_first)
        return;
    double noise = comparison->noise * (drift > comparison->noise ? noise_up : 1 / noise_down);
    comparison->noise = fmin(fmax(noise, noise_min), noise_max);
    if (comparison->is_unanswered && drift <= changed * comparison->noise)
        add_pair(comparison, level);
    comparison->is_unanswered = false;
}

/* The standard error of the mean; a few pairs that happen to agree do not make it small. */
static double error_of(const struct postgres_comparison *comparison)
{
    double usual = usual_error * comparison->noise, mean = postgres_comparison_mean(comparison);
    double n = comparison->weight * comparison->weight / comparison->square_weight;
    double squares = n * (comparison->square_sum / comparison->weight - mean * mean);
    return sqrt((PRIOR_PAIRS * usual * usual + squares) / (PRIOR_PAIRS + n - 1) / n);
}

bool postgres_comparison_is_over(const struct postgres_comparison *comparison)
{
    return comparison->seconds >= seconds_max;
}

enum postgres_verdict postgres_comparison_judge(const struct postgres_comparison *comparison, double growth)
{
    assert(growth != 0);
    if (comparison->pairs == 0)
        return POSTGRES_VERDICT_OPEN;
    double error = error_of(comparison), mean = postgres_comparison_mean(comparison);
    double gain = growth > 0 ? mean : -mean; /* of the larger size */
    double surplus = gain - gain_slope * fabs(growth);
    double enough = clear * error * (comparison->pairs >= PAIRS_MIN ? 1 : 2);
    if (surplus > enough)
        return POSTGRES_VERDICT_LARGER;
    if (gain < -less_clear * enough)
        return POSTGRES_VERDICT_SMALLER;
    bool is_draw = comparison->seconds >= patience_s && error <= error_wanted;
    if (!is_draw && !postgres_comparison_is_over(comparison))
        return POSTGRES_VERDICT_OPEN;
    return surplus > (growth > 0 ? draw_share * error : 0) ? POSTGRES_VERDICT_LARGER : POSTGRES_VERDICT_SMALLER;
}
