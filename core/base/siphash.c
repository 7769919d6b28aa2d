/* siphash.c - SipHash-1-3: one round for each eight bytes, three at the end.
 *
 * DESIGN  As in Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), with c = 1 and d = 3, the choice
 *         of Rust's and Ruby's tables: enough against chosen keys where the hash itself is never shown.
 *         Bytes are read as little-endian words.
 */
#include "base/siphash.h"

#include "base/random.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are read as they lie");

static struct siphash_key process_key;
static bool has_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static inline uint64_t rotate(uint64_t x, unsigned bits) { return (x << bits) | (x >> (64 - bits)); }

struct state {
    uint64_t v0, v1, v2, v3;
};

static inline void sip_round(struct state *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 = rotate(s->v2, 32);
}

/* The last 0 to 7 bytes, and the length modulo 256 on top. */
static inline uint64_t last_word(const unsigned char *p, size_t len)
{
    uint64_t word = (uint64_t)len << 56;
    size_t left = len & 7;
    if (left >= 4) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + left - 4, 4); /* may overlap low; the shared bytes are the same */
        word |= low | (uint64_t)high << (left - 4) * 8;
    } else if (left) {
        word |= p[0] | (uint64_t)p[left / 2] << left / 2 * 8 | (uint64_t)p[left - 1] << (left - 1) * 8;
    }
    return word;
}

uint64_t siphash13(struct siphash_key key, const void *data, size_t len)
{
    struct state s = {
        .v0 = key.k0 ^ 0x736f6d6570736575u,
        .v1 = key.k1 ^ 0x646f72616e646f6du,
        .v2 = key.k0 ^ 0x6c7967656e657261u,
        .v3 = key.k1 ^ 0x7465646279746573u,
    };
    const unsigned char *p = data;
    uint64_t word;
    for (size_t words = len / 8; words; words--, p += 8) {
        memcpy(&word, p, 8);
        s.v3 ^= word;
        sip_round(&s);
        s.v0 ^= word;
    }
    word = last_word(p, len);
    s.v3 ^= word;
    sip_round(&s);
    s.v0 ^= word;
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

static void make_key(void)
{
    process_key = (struct siphash_key){ random_u64(), random_u64() };
    __atomic_store_n(&has_key, true, __ATOMIC_RELEASE);
}

uint64_t siphash(const void *data, size_t len)
{
    if (__builtin_expect(!__atomic_load_n(&has_key, __ATOMIC_ACQUIRE), 0))
        pthread_once(&once, make_key);
    return siphash13(process_key, data, len);
}
