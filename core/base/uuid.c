/* uuid.c - UUIDs of version 4 and 7 (RFC 9562 sections 5.4, 5.7).
 *
 * DESIGN  Version 7: the 48 bits of milliseconds and the 12 bits after the version are one clock of 60 bits, the
 *         lower ones the fraction of the millisecond (section 6.2, method 3). A thread that asks again within one
 *         tick, or after the wall clock was set back, gets its last value plus one: its UUIDs only ever grow.
 */
#include "base/uuid.h"

#include "base/clock.h"
#include "base/random.h"

static bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

static bool is_dash_place(size_t at) { return at == 8 || at == 13 || at == 18 || at == 23; }

bool uuid_is(struct str text)
{
    if (text.len != UUID_LEN)
        return false;
    for (size_t i = 0; i < UUID_LEN; i++)
        if (is_dash_place(i) ? text.data[i] != '-' : !is_hex(text.data[i]))
            return false;
    return true;
}

static void write_text(uint64_t high, uint64_t low, char out[UUID_LEN + 1])
{
    high = __builtin_bswap64(high);
    low = __builtin_bswap64(low);
    char hex[32];
    str_hex(&high, 8, hex);
    str_hex(&low, 8, hex + 16);
    memcpy(out, hex, 8);
    memcpy(out + 9, hex + 8, 4);
    memcpy(out + 14, hex + 12, 4);
    memcpy(out + 19, hex + 16, 4);
    memcpy(out + 24, hex + 20, 12);
    out[8] = out[13] = out[18] = out[23] = '-';
    out[UUID_LEN] = '\0';
}

static uint64_t with_variant(uint64_t low) { return (low & 0x3fffffffffffffffu) | 0x8000000000000000u; }

void uuid_v4(char out[UUID_LEN + 1])
{
    uint64_t bits[2];
    random_bytes(bits, sizeof bits);
    write_text((bits[0] & ~(uint64_t)0xf000) | 0x4000, with_variant(bits[1]), out);
}

void uuid_v7(char out[UUID_LEN + 1])
{
    static __thread uint64_t last;
    int64_t wall_us = clock_wall_us();
    uint64_t now_us = wall_us > 0 ? (uint64_t)wall_us : 0;
    uint64_t tick = now_us / 1000 << 12 | now_us % 1000 * 4096 / 1000;
    if (tick <= last)
        tick = last + 1;
    last = tick;
    uint64_t high = (tick >> 12) << 16 | 0x7000 | (tick & 0xfff);
    write_text(high, with_variant(random_u64()), out);
}
