/* etag.c - the name of a body is a digest of its bytes.
 *
 * DESIGN  Every answer to a GET is digested, so it must be cheap: products of 64 by 64 bits folded to 64, as wyhash does
 *         it, in two lanes of 16 bytes a step. Nobody gains by finding two bodies of one name, so no secret is needed.
 * Path:   serve/response > [serve/etag]
 */
#include "serve/etag.h"

#include <string.h>

enum { STEP = 32 };

/* Any odd numbers with their bits well mixed; these are the fractions of the square roots of 2, 3, 5 and 7. */
static const uint64_t salt[4] = { 0x6a09e667f3bcc909u, 0xbb67ae8584caa73bu, 0x3c6ef372fe94f82bu, 0xa54ff53a5f1d36f1u };

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline void take_step(uint64_t lanes[2], const char *bytes)
{
    uint64_t words[STEP / 8];
    memcpy(words, bytes, STEP);
    lanes[0] = fold(words[0] ^ salt[0], words[1] ^ lanes[0]);
    lanes[1] = fold(words[2] ^ salt[1], words[3] ^ lanes[1]);
}

static uint64_t digest(struct str body)
{
    uint64_t lanes[2] = { salt[2], salt[3] };
    size_t at = 0;
    for (; body.len - at >= STEP; at += STEP)
        take_step(lanes, body.data + at);
    if (at < body.len) { /* zeros behind the rest; the length tells them from the body's own */
        char last[STEP] = { 0 };
        memcpy(last, body.data + at, body.len - at);
        take_step(lanes, last);
    }
    return fold(fold(lanes[0] ^ salt[0], lanes[1] ^ body.len), salt[1]);
}

void serve_etag(struct str body, char out[SERVE_ETAG_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t name = digest(body);
    out[0] = out[17] = '"';
    for (int i = 0; i < 16; i++)
        out[1 + i] = digits[name >> (60 - 4 * i) & 15];
    out[18] = '\0';
}

static struct str without_weak(struct str etag)
{
    return str_starts(etag, STR("W/")) ? str_make(etag.data + 2, etag.len - 2) : etag;
}

bool serve_etag_matches(struct str list, struct str etag)
{
    struct str wanted = without_weak(etag);
    while (list.len > 0) {
        struct str one = str_trim(str_split(&list, ','));
        if (str_is(one, STR("*")))
            return true;
        if (str_is(without_weak(one), wanted))
            return true;
    }
    return false;
}
