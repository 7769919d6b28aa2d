/* json_double.c - a double as the shortest decimal that reads back equal, laid out as PostgreSQL's float8out does.
 *
 * DESIGN  Schubfach: Raffaello Giulietti, "The Schubfach way to render doubles" (2021). The value, and the two points
 *         half-way to its neighbours, are scaled by one power of ten so that the shortest decimal between those points
 *         is one of four integers. PostgreSQL does not take a decimal that lies right on a half-way point, though it
 *         would read back: 9.999999999999999e+22, not 1e+23. Neither do we.
 *         The powers of ten, 128 bits each, rounded up, are computed once, with 384 bits, on first use.
 *         Layout: plain from 0.0001 to below 1e15, else d.ddde+XX.
 */
#include "base/json.h"

#include <math.h>
#include <pthread.h>

#define POWER_MIN (-292)
#define POWER_MAX 324
#define LIMBS 6
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1075

typedef unsigned __int128 uint128;

/* 10^k is (a little less than) high:low times a power of two, with the top bit of high set. */
struct power {
    uint64_t high, low;
};
static struct power powers[POWER_MAX - POWER_MIN + 1];
static bool has_powers;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* --- the table. A wide number is 384 bits, the top one set, the most significant limb first; powers of two are
 *     left out. --- */

static bool top_bit(const uint64_t wide[LIMBS]) { return wide[0] >> 63; }

static void wide_times_5(uint64_t wide[LIMBS])
{
    uint64_t carry = 0;
    for (unsigned i = LIMBS; i-- > 0;) {
        uint128 product = (uint128)wide[i] * 5 + carry;
        wide[i] = (uint64_t)product;
        carry = (uint64_t)(product >> 64);
    }
    for (; carry; carry >>= 1) { /* make room for it at the top */
        for (unsigned i = LIMBS; i-- > 1;)
            wide[i] = wide[i] >> 1 | wide[i - 1] << 63;
        wide[0] = wide[0] >> 1 | carry << 63;
    }
}

static void wide_by_5(uint64_t wide[LIMBS])
{
    uint128 rest = 0;
    for (unsigned i = 0; i < LIMBS; i++) {
        rest = rest << 64 | wide[i];
        wide[i] = (uint64_t)(rest / 5);
        rest %= 5;
    }
    while (!top_bit(wide)) {
        for (unsigned i = 0; i + 1 < LIMBS; i++)
            wide[i] = wide[i] << 1 | wide[i + 1] >> 63;
        rest <<= 1; /* the bits that come in below are those of the division */
        wide[LIMBS - 1] = wide[LIMBS - 1] << 1 | (rest >= 5);
        rest %= 5;
    }
}

static struct power power_of(const uint64_t wide[LIMBS])
{
    uint64_t rest = 0;
    for (unsigned i = 2; i < LIMBS; i++)
        rest |= wide[i];
    uint128 top = ((uint128)wide[0] << 64 | wide[1]) + (rest != 0);
    return (struct power){ .high = (uint64_t)(top >> 64), .low = (uint64_t)top };
}

static void make_powers(void)
{
    uint64_t wide[LIMBS] = { (uint64_t)1 << 63 };
    for (int k = 0; k <= POWER_MAX; k++, wide_times_5(wide))
        powers[k - POWER_MIN] = power_of(wide);
    memset(wide, 0, sizeof wide);
    wide[0] = (uint64_t)1 << 63;
    for (int k = 0; k >= POWER_MIN; k--, wide_by_5(wide))
        powers[k - POWER_MIN] = power_of(wide);
    __atomic_store_n(&has_powers, true, __ATOMIC_RELEASE);
}

/* --- the shortest decimal --- */

/* value = digits * 10^exponent */
struct decimal {
    uint64_t digits;
    int exponent;
};

static inline int floor_log2_pow10(int e) { return e * 1741647 >> 19; }

/* power * c / 2^128, and a lowest bit that tells whether something was cut off (section 9.3, "round to odd"). */
static inline uint64_t scale(struct power power, uint64_t c)
{
    uint128 low = (uint128)power.low * c;
    uint128 high = (uint128)power.high * c + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

/* Of c * 2^q. is_irregular: the neighbour below is nearer than that above. */
static struct decimal shortest(uint64_t c, int q, bool is_irregular)
{
    int k = (q * 1262611 - (is_irregular ? 524031 : 0)) >> 22;
    int h = q + floor_log2_pow10(-k) + 1;
    struct power power = powers[-k - POWER_MIN];
    uint64_t lower = scale(power, (4 * c - 2 + is_irregular) << h) + 1; /* + 1, - 1: the half-way points are out */
    uint64_t v = scale(power, 4 * c << h);
    uint64_t upper = scale(power, (4 * c + 2) << h) - 1;

    uint64_t s = v / 4;
    if (s >= 10) { /* one digit less? */
        uint64_t tens = s / 10;
        bool has_below = lower <= 40 * tens, has_above = 40 * tens + 40 <= upper;
        if (has_below != has_above)
            return (struct decimal){ tens + has_above, k + 1 };
    }
    bool has_below = lower <= 4 * s, has_above = 4 * s + 4 <= upper;
    if (has_below != has_above)
        return (struct decimal){ s + has_above, k };
    uint64_t middle = 4 * s + 2;
    bool is_up = v > middle || (v == middle && (s & 1));
    return (struct decimal){ s + is_up, k };
}

/* Of the bits of a finite double above zero. */
static struct decimal decimal_of(uint64_t bits)
{
    uint64_t mantissa = bits & (((uint64_t)1 << MANTISSA_BITS) - 1);
    int exponent = (int)(bits >> MANTISSA_BITS & 0x7ff);
    if (exponent == 0)
        return shortest(mantissa, 1 - EXPONENT_BIAS, /* is_irregular= */ false);
    uint64_t c = mantissa | (uint64_t)1 << MANTISSA_BITS;
    int q = exponent - EXPONENT_BIAS;
    if (q <= 0 && q >= -MANTISSA_BITS && (c & (((uint64_t)1 << -q) - 1)) == 0)
        return (struct decimal){ c >> -q, 0 };
    return shortest(c, q, mantissa == 0 && exponent > 1);
}

/* --- the text --- */

/* value = 0.digits times 10^point, no zero at the end of the digits. */
struct layout {
    char digits[20];
    int count, point;
};

static struct layout layout_of(struct decimal decimal)
{
    struct layout layout;
    char text[20], *at = text + sizeof text;
    for (uint64_t rest = decimal.digits; rest; rest /= 10)
        *--at = (char)('0' + rest % 10);
    layout.count = (int)(text + sizeof text - at);
    layout.point = layout.count + decimal.exponent;
    memcpy(layout.digits, at, (size_t)layout.count);
    while (layout.count > 1 && layout.digits[layout.count - 1] == '0')
        layout.count--;
    return layout;
}

static char *put(char *at, const char *digits, int count)
{
    memcpy(at, digits, (size_t)count);
    return at + count;
}

static char *put_zeros(char *at, int count)
{
    memset(at, '0', (size_t)count);
    return at + count;
}

static char *put_plain(char *at, const struct layout *layout)
{
    int count = layout->count, point = layout->point;
    if (point <= 0) {
        at = put_zeros(put(at, "0.", 2), -point);
        return put(at, layout->digits, count);
    }
    if (point >= count)
        return put_zeros(put(at, layout->digits, count), point - count);
    at = put(at, layout->digits, point);
    *at++ = '.';
    return put(at, layout->digits + point, count - point);
}

static char *put_scientific(char *at, const struct layout *layout)
{
    int exponent = layout->point - 1;
    *at++ = layout->digits[0];
    if (layout->count > 1) {
        *at++ = '.';
        at = put(at, layout->digits + 1, layout->count - 1);
    }
    *at++ = 'e';
    *at++ = exponent < 0 ? '-' : '+';
    exponent = exponent < 0 ? -exponent : exponent;
    if (exponent >= 100)
        *at++ = (char)('0' + exponent / 100);
    *at++ = (char)('0' + exponent / 10 % 10);
    *at++ = (char)('0' + exponent % 10);
    return at;
}

static char *put_finite(char *at, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (bits >> 63)
        *at++ = '-';
    bits &= ~((uint64_t)1 << 63);
    if (bits == 0) {
        *at++ = '0';
        return at;
    }
    struct layout layout = layout_of(decimal_of(bits));
    return layout.point >= -3 && layout.point <= 15 ? put_plain(at, &layout) : put_scientific(at, &layout);
}

void json_add_double(struct buf *out, double value)
{
    if (!isfinite(value)) {
        buf_add_str(out, isnan(value) ? STR("\"NaN\"") : value < 0 ? STR("\"-Infinity\"") : STR("\"Infinity\""));
        return;
    }
    if (__builtin_expect(!__atomic_load_n(&has_powers, __ATOMIC_ACQUIRE), 0))
        pthread_once(&once, make_powers);
    if (buf_room(out, 32))
        out->len = (size_t)(put_finite(out->data + out->len, value) - out->data);
}
