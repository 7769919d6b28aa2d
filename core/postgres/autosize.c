/* autosize.c - climbs the hill of throughput over pool size, one trial at a time.
 *
 * DESIGN  How many statements a server runs at once with profit depends on what they wait for: a core, a disk, a lock, a neighbour. That
 *         cannot be known from here, but it can be tried. While calls wait, half as many connections more are tried for a moment;
 *         they stay if at least an eighth of that growth came out as throughput (a server that is out of cores gives nothing for them,
 *         and its latency grows instead: the gradient of Netflix' concurrency-limits, measured by work done), and where nearly all
 *         of it did, the next trial doubles. A trial that
 *         failed is taken back, and the next one waits twice as long. While all stay busy, now and then a quarter fewer are tried:
 *         they are kept unless work is lost, so a neighbour that came, or a pool grown in a storm, is noticed.
 *         When nobody waits the size follows what was in use at most in the last POSTGRES_AUTOSIZE_PEAKS intervals.
 *           none -> more [somebody waits]    more -> none [judged: kept or taken back]
 *           none -> fewer [busy for long]    fewer -> none [judged]
 * HOLDS   floor <= size <= ceiling after each step. Reads nothing but its arguments.
 * Path:   postgres/sizing > [postgres/autosize]
 */
#include "postgres/autosize.h"

#include <assert.h>

static const double wait_share = 0.05;     /* waiting longer than this part of the hold time is too long */
static const double wait_least_s = 0.0002; /* and never mind less than this */
static const double gain_share = 0.12;     /* of the growth that has to come out as throughput */
static const double eager_share = 0.7;     /* of it that makes the next growth twice as large */
static const double loss_share = 0.03;     /* of throughput that fewer connections may cost */
enum { TRIAL_INTERVALS = 2, QUIET_MIN = 4, LESS_MIN = 16, QUIET_MAX = 120 };

void postgres_autosize_init(struct postgres_autosize *autosize, unsigned size)
{
    *autosize = (struct postgres_autosize){
        .size = size, .more_quiet = QUIET_MIN, .less_left = LESS_MIN, .less_quiet = LESS_MIN
    };
}

const char *postgres_autosize_word(enum postgres_autosize_reason reason)
{
    static const char *const words[POSTGRES_SIZE_REASONS] = {
        [POSTGRES_SIZE_KEEP] = "keep",           [POSTGRES_SIZE_GROW] = "grow",
        [POSTGRES_SIZE_NO_GAIN] = "no_gain",     [POSTGRES_SIZE_TRY_LESS] = "try_less",
        [POSTGRES_SIZE_LESS_LOST] = "less_lost", [POSTGRES_SIZE_IDLE] = "idle",
        [POSTGRES_SIZE_BOUNDS] = "bounds",
    };
    return words[reason];
}

static bool waits_too_long(const struct postgres_autosize_sample *sample)
{
    if (sample->leases <= 0)
        return sample->waiting > 0; /* not one has ended, and some wait */
    double wait_s = sample->wait_s / sample->leases, hold_s = sample->hold_s / sample->leases;
    return sample->waiting > 0 && wait_s > wait_least_s && wait_s > wait_share * hold_s;
}

static unsigned clamp(unsigned size, unsigned floor, unsigned ceiling)
{
    return size < floor ? floor : size > ceiling ? ceiling : size;
}

/* The most that were in use lately; a trial's own intervals count as well. */
static double peak_of(struct postgres_autosize *autosize, double in_use)
{
    autosize->peaks[autosize->at++ % POSTGRES_AUTOSIZE_PEAKS] = in_use;
    double peak = 0;
    for (unsigned i = 0; i < POSTGRES_AUTOSIZE_PEAKS; i++)
        if (autosize->peaks[i] > peak)
            peak = autosize->peaks[i];
    return peak;
}

/* --- trials --------------------------------------------------------------------------------------------------- */

static double hold_of(const struct postgres_autosize_sample *sample)
{
    return sample->leases > 0 ? sample->hold_s / sample->leases : 0;
}

static void begin_trial(struct postgres_autosize *autosize, int direction, unsigned size,
                        const struct postgres_autosize_sample *sample)
{
    autosize->trial = direction;
    autosize->size_before = autosize->size;
    autosize->rate_before = autosize->rate;
    autosize->hold_before_s = hold_of(sample);
    autosize->size = size;
    autosize->intervals_left = TRIAL_INTERVALS + 1; /* the first one still sees connections being opened */
    autosize->leases = autosize->seconds = 0;
}

static void back_off(unsigned *left, unsigned *quiet)
{
    *left = *quiet;
    *quiet = *quiet * 2 > QUIET_MAX ? QUIET_MAX : *quiet * 2;
}

static enum postgres_autosize_reason take_back(struct postgres_autosize *autosize)
{
    autosize->size = autosize->size_before;
    autosize->rate = autosize->rate_before;
    autosize->is_eager = false;
    autosize->hold_s = autosize->hold_before_s;
    if (autosize->trial > 0) {
        back_off(&autosize->more_left, &autosize->more_quiet);
        return POSTGRES_SIZE_NO_GAIN;
    }
    back_off(&autosize->less_left, &autosize->less_quiet);
    return POSTGRES_SIZE_LESS_LOST;
}

static enum postgres_autosize_reason keep_trial(struct postgres_autosize *autosize)
{
    autosize->rate = autosize->leases / autosize->seconds;
    if (autosize->trial > 0)
        autosize->more_quiet = QUIET_MIN;
    else
        autosize->less_left = autosize->less_quiet = LESS_MIN;
    return POSTGRES_SIZE_KEEP;
}

static bool is_worth_it(struct postgres_autosize *autosize)
{
    double gain = autosize->rate_before > 0 ? autosize->leases / autosize->seconds / autosize->rate_before : 2;
    double growth = (double)autosize->size / autosize->size_before;
    autosize->is_eager = autosize->trial > 0 && gain >= 1 + eager_share * (growth - 1);
    return autosize->trial > 0 ? gain >= 1 + gain_share * (growth - 1) : gain >= 1 - loss_share;
}

/* One interval of a trial is over. */
static enum postgres_autosize_reason judge(struct postgres_autosize *autosize,
                                           const struct postgres_autosize_sample *sample)
{
    if (autosize->intervals_left-- <= TRIAL_INTERVALS) {
        autosize->leases += sample->leases;
        autosize->seconds += sample->seconds;
    }
    if (autosize->intervals_left > 0)
        return POSTGRES_SIZE_KEEP;
    enum postgres_autosize_reason reason = is_worth_it(autosize) ? keep_trial(autosize) : take_back(autosize);
    autosize->trial = 0;
    return reason;
}

/* --- the step ------------------------------------------------------------------------------------------------- */

static enum postgres_autosize_reason try_more(struct postgres_autosize *autosize,
                                              const struct postgres_autosize_sample *sample, unsigned ceiling)
{
    unsigned more = autosize->is_eager ? autosize->size : (autosize->size + 1) / 2;
    begin_trial(autosize, 1, clamp(autosize->size + more, autosize->size, ceiling), sample);
    return POSTGRES_SIZE_GROW;
}

static enum postgres_autosize_reason try_less(struct postgres_autosize *autosize,
                                              const struct postgres_autosize_sample *sample, unsigned floor)
{
    unsigned size = clamp(autosize->size - (autosize->size + 3) / 4, floor, autosize->size);
    autosize->less_left = autosize->less_quiet;
    if (size == autosize->size)
        return POSTGRES_SIZE_KEEP;
    begin_trial(autosize, -1, size, sample);
    return POSTGRES_SIZE_TRY_LESS;
}

/* Statements take much longer, or much less long, than when a trial failed: what was learnt then holds no more. */
static void forget_if_changed(struct postgres_autosize *autosize, const struct postgres_autosize_sample *sample)
{
    double hold_s = hold_of(sample);
    if (autosize->hold_s <= 0 || (hold_s < 2 * autosize->hold_s && autosize->hold_s < 2 * hold_s))
        return;
    autosize->hold_s = 0;
    autosize->more_left = 0;
    autosize->more_quiet = QUIET_MIN;
    autosize->less_left = autosize->less_quiet = LESS_MIN;
}

static enum postgres_autosize_reason follow_demand(struct postgres_autosize *autosize, double peak, unsigned floor)
{
    unsigned wanted = (unsigned)(peak * 1.25) + 1; /* some to spare: an average hides its crests */
    if (wanted < floor)
        wanted = floor;
    if (autosize->at < POSTGRES_AUTOSIZE_PEAKS || wanted >= autosize->size)
        return POSTGRES_SIZE_KEEP;
    autosize->size = wanted;
    autosize->rate = 0;
    return POSTGRES_SIZE_IDLE;
}

enum postgres_autosize_reason postgres_autosize_step(struct postgres_autosize *autosize,
                                                     const struct postgres_autosize_sample *sample, unsigned floor,
                                                     unsigned ceiling)
{
    assert(floor <= ceiling && sample->seconds > 0);
    double peak = peak_of(autosize, sample->in_use);
    unsigned bounded = clamp(autosize->size, floor, ceiling);
    if (bounded != autosize->size) {
        autosize->size = bounded;
        autosize->rate = 0;
        autosize->trial = 0;
        return POSTGRES_SIZE_BOUNDS;
    }
    if (autosize->trial)
        return judge(autosize, sample);
    double rate = sample->leases / sample->seconds;
    autosize->rate = autosize->rate > 0 ? (autosize->rate + rate) / 2 : rate;
    if (!waits_too_long(sample))
        return follow_demand(autosize, peak, floor);
    forget_if_changed(autosize, sample);
    if (autosize->less_left > 0)
        autosize->less_left--;
    if (autosize->more_left > 0)
        autosize->more_left--;
    if (autosize->more_left == 0 && autosize->size < ceiling)
        return try_more(autosize, sample, ceiling);
    return autosize->less_left == 0 ? try_less(autosize, sample, floor) : POSTGRES_SIZE_KEEP;
}
