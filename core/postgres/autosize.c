/* autosize.c - climbs the hill of throughput over pool size, by letting two sizes take turns.
 *
 * DESIGN  How many statements a server runs at once with profit depends on what they wait for: a core, a disk, a lock, a neighbour. That
 *         cannot be known from here, but it can be tried. The world changes meanwhile, so a size is never judged by what was before it:
 *         slices of a tenth of a second at the size that is tried stand between slices at the old one (comparison.c). Each is followed by
 *         the old size at once, whatever it was like, so a bad one costs a tenth of a second. How many slices pass in between is diced:
 *         nothing that beats in time with a trial passes for its effect. So is how far a trial goes: near sizes find the top of the hill,
 *         far ones what is behind a dip.
 *         Better is: more done a second, and done sooner (waiting and being served), half each. When a fixed number of clients
 *         ask in turn both say the same; when requests come at their own pace all of them are served, and only the time tells.
 *         A trial that failed is repeated after twice the time, unless statements take much longer or shorter by then.
 *         When nobody waits the size follows what was in use at most in the last POSTGRES_AUTOSIZE_PEAKS half seconds.
 *           none -> more [somebody waits]    none -> fewer [all busy]    more, fewer -> none [judged, or the world has changed]
 * HOLDS   floor <= size <= kept <= ceiling after each step. Reads nothing but its arguments.
 * Path:   postgres/sizing > [postgres/autosize] > postgres/comparison
 */
#include "postgres/autosize.h"

#include <assert.h>
#include <math.h>

static const double wait_share = 0.05;     /* waiting longer than this part of the hold time is too long */
static const double wait_least_s = 0.0002; /* and never mind less than this */
static const double busy_share = 0.75;     /* of the connections in use: fewer may do as well, though nobody waits */
static const double eager_share = 0.6;     /* of a growth that makes the next one twice as large */
static const double far_least = 1.2, far_most = 2.4;  /* a size that is tried, in old sizes */
static const double slice_max_s = 2, slice_holds = 3; /* a slice lasts as long as some statements do, within reason */
static const double quiet_first_s = 2, quiet_max_s = 60;
static const double peak_s = 0.5;
static const double hold_share = 0.02; /* of a slice in the hold time of late */
enum { SETTLE_MAX = 10, PAIRS_DENSE = 6, BETWEEN_DENSE = 2, BETWEEN = 8 };

void postgres_autosize_init(struct postgres_autosize *autosize, unsigned size)
{
    *autosize = (struct postgres_autosize){
        .size = size,
        .kept = size,
        .is_eager = true,
        .more = { 0, quiet_first_s },
        .less = { 2 * quiet_first_s, quiet_first_s },
        .dice = 1,
    };
    postgres_comparison_init(&autosize->comparison);
}

const char *postgres_autosize_word(enum postgres_autosize_reason reason)
{
    static const char *const words[POSTGRES_SIZE_REASONS] = {
        [POSTGRES_SIZE_KEEP] = "keep",         [POSTGRES_SIZE_GROW] = "grow",
        [POSTGRES_SIZE_TRY_LESS] = "try_less", [POSTGRES_SIZE_COMPARE] = "compare",
        [POSTGRES_SIZE_GAIN] = "gain",         [POSTGRES_SIZE_NO_GAIN] = "no_gain",
        [POSTGRES_SIZE_LESS_DID] = "less_did", [POSTGRES_SIZE_LESS_LOST] = "less_lost",
        [POSTGRES_SIZE_UNCLEAR] = "unclear",   [POSTGRES_SIZE_IDLE] = "idle",
        [POSTGRES_SIZE_BOUNDS] = "bounds",
    };
    return words[reason];
}

static unsigned clamp(unsigned size, unsigned floor, unsigned ceiling)
{
    return size < floor ? floor : size > ceiling ? ceiling : size;
}

/* --- what is seen --------------------------------------------------------------------------------------------- */

static double hold_of(const struct postgres_autosize_sample *sample)
{
    return sample->leases > 0 ? sample->hold_s / sample->leases : 0;
}

static bool waits_too_long(const struct postgres_autosize_sample *sample)
{
    if (sample->leases <= 0)
        return sample->waiting > 0; /* not one has ended, and some wait */
    double wait_s = sample->wait_s / sample->leases;
    return wait_s > wait_least_s && wait_s > wait_share * hold_of(sample);
}

static bool is_busy(const struct postgres_autosize *autosize)
{
    const struct postgres_autosize_sample *slice = &autosize->slice;
    return waits_too_long(slice) || slice->hold_s >= busy_share * slice->seconds * autosize->size;
}

/* Differences of it are parts of throughput: 0.1 is a tenth more done, in a tenth less time. */
static double score_of(const struct postgres_autosize_sample *sample)
{
    double rate = fmax(sample->leases, 0.5) / sample->seconds;
    double spent_s = (sample->hold_s + sample->wait_s) / fmax(sample->leases, 0.5);
    return (log(rate) - log(spent_s > 0 ? spent_s : sample->seconds)) / 2;
}

/* The most that were in use lately; a trial's own slices count as well. */
static double peak_of(struct postgres_autosize *autosize, const struct postgres_autosize_sample *sample)
{
    autosize->peak_busy_s += sample->in_use * sample->seconds;
    autosize->peak_s += sample->seconds;
    if (autosize->peak_s >= peak_s) {
        autosize->peaks[autosize->at++ % POSTGRES_AUTOSIZE_PEAKS] = autosize->peak_busy_s / autosize->peak_s;
        autosize->peak_busy_s = autosize->peak_s = 0;
    }
    double peak = 0;
    for (unsigned i = 0; i < POSTGRES_AUTOSIZE_PEAKS; i++)
        peak = fmax(peak, autosize->peaks[i]);
    return peak;
}

static void begin_slice(struct postgres_autosize *autosize)
{
    autosize->slice = (struct postgres_autosize_sample){ 0 };
}

/* Is the slice long enough to tell something? */
static bool ends_slice(struct postgres_autosize *autosize, const struct postgres_autosize_sample *sample)
{
    struct postgres_autosize_sample *slice = &autosize->slice;
    slice->seconds += sample->seconds;
    slice->leases += sample->leases;
    slice->hold_s += sample->hold_s;
    slice->wait_s += sample->wait_s;
    slice->waiting = sample->waiting;
    return slice->seconds >= slice_max_s || (slice->leases > 0 && slice->seconds >= slice_holds * hold_of(slice));
}

/* A slice at the size that is in force when nothing is tried. */
static void rest(struct postgres_autosize *autosize)
{
    double hold_s = hold_of(&autosize->slice);
    postgres_comparison_rest(&autosize->comparison, score_of(&autosize->slice), autosize->slice.seconds);
    autosize->hold_s += (hold_s - autosize->hold_s) * (autosize->hold_s > 0 ? hold_share : 1);
}

/* Statements take much longer, or much less long, than at the last trial: what was learnt then holds no more. */
static bool forgets(struct postgres_autosize *autosize)
{
    if (autosize->hold_then_s <= 0 ||
        (autosize->hold_s < 2 * autosize->hold_then_s && autosize->hold_then_s < 2 * autosize->hold_s))
        return false;
    autosize->hold_then_s = 0;
    autosize->more = autosize->less = (struct postgres_autosize_quiet){ 0, quiet_first_s };
    return true;
}

/* --- trials: how they begin and end --------------------------------------------------------------------------- */

static void set_size(struct postgres_autosize *autosize, unsigned size)
{
    autosize->size = size;
    begin_slice(autosize);
}

static void settle_on(struct postgres_autosize *autosize, unsigned size)
{
    autosize->trial = 0;
    autosize->kept = size;
    set_size(autosize, size);
    postgres_comparison_pause(&autosize->comparison);
}

static enum postgres_autosize_reason begin_trial(struct postgres_autosize *autosize, int direction, unsigned size)
{
    autosize->trial = direction;
    autosize->hold_then_s = autosize->hold_s;
    autosize->size_before = autosize->size;
    autosize->size_tried = size;
    autosize->settling = direction > 0 ? SETTLE_MAX : 0;
    autosize->kept = direction > 0 ? size : autosize->size;
    postgres_comparison_begin(&autosize->comparison);
    set_size(autosize, size);
    return direction > 0 ? POSTGRES_SIZE_GROW : POSTGRES_SIZE_TRY_LESS;
}

static double dice(struct postgres_autosize *autosize, double end)
{
    autosize->dice = autosize->dice * 1664525u + 1013904223u;
    return autosize->dice / 4294967296.0 * end;
}

static double far(struct postgres_autosize *autosize)
{
    return far_least * exp(dice(autosize, log(far_most / far_least)));
}

static enum postgres_autosize_reason try_more(struct postgres_autosize *autosize, unsigned ceiling)
{
    unsigned size = (unsigned)ceil(autosize->size * (autosize->is_eager ? 2 : far(autosize))) + 1;
    return begin_trial(autosize, 1, clamp(size, autosize->size + 1, ceiling));
}

static enum postgres_autosize_reason try_less(struct postgres_autosize *autosize, unsigned floor)
{
    unsigned size = (unsigned)(autosize->size / (autosize->is_eager ? 2 : far(autosize)));
    return begin_trial(autosize, -1, clamp(size, floor, autosize->size - 1));
}

/* The other direction is tried no later than this one again. */
static enum postgres_autosize_reason take_back(struct postgres_autosize *autosize)
{
    bool was_more = autosize->trial > 0;
    struct postgres_autosize_quiet *same = was_more ? &autosize->more : &autosize->less;
    struct postgres_autosize_quiet *other = was_more ? &autosize->less : &autosize->more;
    same->left_s = same->next_s;
    same->next_s = fmin(same->next_s * 2, quiet_max_s);
    other->left_s = fmin(other->left_s, same->left_s);
    autosize->is_eager = false;
    autosize->hold_then_s = autosize->hold_s;
    settle_on(autosize, autosize->size_before);
    return was_more ? POSTGRES_SIZE_NO_GAIN : POSTGRES_SIZE_LESS_LOST;
}

/* Where this way was right the next step the same way comes at once, and the one back later. */
static enum postgres_autosize_reason keep_trial(struct postgres_autosize *autosize)
{
    bool was_more = autosize->trial > 0;
    struct postgres_autosize_quiet *same = was_more ? &autosize->more : &autosize->less;
    struct postgres_autosize_quiet *other = was_more ? &autosize->less : &autosize->more;
    *same = (struct postgres_autosize_quiet){ 0, quiet_first_s };
    *other = (struct postgres_autosize_quiet){ 2 * quiet_first_s, quiet_first_s };
    settle_on(autosize, autosize->size_tried);
    return was_more ? POSTGRES_SIZE_GAIN : POSTGRES_SIZE_LESS_DID;
}

static enum postgres_autosize_reason give_up(struct postgres_autosize *autosize)
{
    struct postgres_autosize_quiet *quiet = autosize->trial > 0 ? &autosize->more : &autosize->less;
    quiet->left_s = quiet->next_s;
    settle_on(autosize, autosize->size_before);
    return POSTGRES_SIZE_UNCLEAR;
}

/* --- trials: their turns -------------------------------------------------------------------------------------- */

/* Not before the connections that are tried are open. */
static bool is_settling(struct postgres_autosize *autosize, const struct postgres_autosize_sample *sample)
{
    if (autosize->settling == 0)
        return false;
    bool is_open = sample->in_use * 2 > autosize->size_before + autosize->size_tried;
    autosize->settling = is_open ? 0 : autosize->settling - 1;
    return true;
}

/* The size that is tried had its slice: the first ones follow each other closely, those of a draw are spread over time. */
static enum postgres_autosize_reason turn_back(struct postgres_autosize *autosize)
{
    bool is_dense = autosize->comparison.pairs < PAIRS_DENSE;
    postgres_comparison_try(&autosize->comparison, score_of(&autosize->slice), autosize->slice.seconds);
    autosize->slices_between = (unsigned)dice(autosize, is_dense ? BETWEEN_DENSE : BETWEEN);
    set_size(autosize, autosize->size_before);
    return POSTGRES_SIZE_COMPARE;
}

static enum postgres_autosize_reason turn_again(struct postgres_autosize *autosize)
{
    if (autosize->slices_between == 0) {
        set_size(autosize, autosize->size_tried);
        return POSTGRES_SIZE_COMPARE;
    }
    autosize->slices_between--;
    begin_slice(autosize);
    return POSTGRES_SIZE_KEEP;
}

static enum postgres_autosize_reason judge(struct postgres_autosize *autosize)
{
    struct postgres_comparison *comparison = &autosize->comparison;
    double growth = log((double)autosize->size_tried / autosize->size_before);
    enum postgres_verdict verdict = postgres_comparison_judge(comparison, growth);
    if (verdict == POSTGRES_VERDICT_OPEN)
        return postgres_comparison_is_over(comparison) ? give_up(autosize) : turn_again(autosize);
    autosize->is_eager = autosize->trial < 0 || postgres_comparison_mean(comparison) > eager_share * growth;
    return (verdict == POSTGRES_VERDICT_LARGER) == (autosize->trial > 0) ? keep_trial(autosize) : take_back(autosize);
}

/* A slice of a trial is over. While there are too few calls nothing can be learnt. */
static enum postgres_autosize_reason go_on(struct postgres_autosize *autosize)
{
    if (autosize->size == autosize->size_tried)
        return turn_back(autosize);
    bool is_full = autosize->trial > 0 ? waits_too_long(&autosize->slice) : is_busy(autosize);
    rest(autosize);
    if (forgets(autosize) || (!is_full && postgres_comparison_is_over(&autosize->comparison)))
        return give_up(autosize);
    if (is_full)
        return judge(autosize);
    postgres_comparison_pause(&autosize->comparison);
    begin_slice(autosize);
    return POSTGRES_SIZE_KEEP;
}

/* --- the step ------------------------------------------------------------------------------------------------- */

static enum postgres_autosize_reason follow_demand(struct postgres_autosize *autosize, double peak, unsigned floor)
{
    unsigned wanted = (unsigned)(peak * 1.25) + 1; /* some to spare: an average hides its crests */
    postgres_comparison_pause(&autosize->comparison);
    begin_slice(autosize);
    if (wanted < floor)
        wanted = floor;
    if (autosize->at < POSTGRES_AUTOSIZE_PEAKS || wanted >= autosize->size)
        return POSTGRES_SIZE_KEEP;
    settle_on(autosize, wanted);
    return POSTGRES_SIZE_IDLE;
}

static enum postgres_autosize_reason try_something(struct postgres_autosize *autosize, unsigned floor, unsigned ceiling)
{
    bool waits = waits_too_long(&autosize->slice);
    rest(autosize);
    autosize->more.left_s -= autosize->slice.seconds;
    autosize->less.left_s -= autosize->slice.seconds;
    begin_slice(autosize);
    (void)forgets(autosize);
    if (waits && autosize->more.left_s <= 0 && autosize->size < ceiling)
        return try_more(autosize, ceiling);
    if (autosize->less.left_s <= 0 && autosize->size > floor)
        return try_less(autosize, floor);
    return POSTGRES_SIZE_KEEP;
}

enum postgres_autosize_reason postgres_autosize_step(struct postgres_autosize *autosize,
                                                     const struct postgres_autosize_sample *sample, unsigned floor,
                                                     unsigned ceiling)
{
    assert(floor <= ceiling && sample->seconds > 0);
    double peak = peak_of(autosize, sample);
    if (autosize->size < floor || autosize->kept > ceiling) {
        settle_on(autosize, clamp(autosize->trial ? autosize->size_before : autosize->size, floor, ceiling));
        return POSTGRES_SIZE_BOUNDS;
    }
    if ((autosize->trial && is_settling(autosize, sample)) || !ends_slice(autosize, sample))
        return POSTGRES_SIZE_KEEP;
    if (autosize->trial)
        return go_on(autosize);
    return is_busy(autosize) ? try_something(autosize, floor, ceiling) : follow_demand(autosize, peak, floor);
}
