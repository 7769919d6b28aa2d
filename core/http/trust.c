/* trust.c - who asks, where load balancers stand between.
 *
 * DESIGN  Each proxy adds the address it was asked from at the end of X-Forwarded-For. So the list is read from its end, as long as
 *         whoever wrote the element is trusted: what a client wrote itself stands before the first address that is not, and is never
 *         looked at. Addresses are compared as 16 bytes, IPv4 mapped into IPv6, and written as the system writes them, so the same
 *         client is the same text. Elements are strict: an address and nothing else, no port, no brackets, no names.
 * Path:   http/request > [http/trust]
 */
#include "http/trust.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

static bool read_address(struct str text, uint8_t out[HTTP_ADDRESS_BYTES])
{
    char copy[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.data, '\0', text.len))
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    if (inet_pton(AF_INET6, copy, out) == 1)
        return true;
    memcpy(out, mapped, sizeof mapped);
    return inet_pton(AF_INET, copy, out + sizeof mapped) == 1;
}

static bool is_mapped(const uint8_t address[HTTP_ADDRESS_BYTES]) { return memcmp(address, mapped, sizeof mapped) == 0; }

static void write_address(const uint8_t address[HTTP_ADDRESS_BYTES], char *out, size_t bytes)
{
    bool is_v4 = is_mapped(address);
    if (!inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? address + sizeof mapped : address, out, (socklen_t)bytes))
        *out = '\0';
}

static bool covers(const struct http_net *net, const uint8_t address[HTTP_ADDRESS_BYTES])
{
    unsigned whole = net->bits / 8, rest = net->bits % 8;
    if (memcmp(net->address, address, whole) != 0)
        return false;
    return rest == 0 || (net->address[whole] ^ address[whole]) >> (8 - rest) == 0;
}

static bool is_trusted(const struct http_trust *trust, const uint8_t address[HTTP_ADDRESS_BYTES])
{
    for (unsigned i = 0; i < trust->count; i++)
        if (covers(&trust->nets[i], address))
            return true;
    return false;
}

/* Nothing but zeros behind the prefix: "10.1.0.0/8" is more likely a slip than a wish. */
static bool is_net(const struct http_net *net)
{
    for (unsigned bit = net->bits; bit < HTTP_ADDRESS_BYTES * 8; bit++)
        if (net->address[bit / 8] >> (7 - bit % 8) & 1)
            return false;
    return true;
}

enum fail http_trust_add(struct http_trust *trust, struct str text)
{
    struct http_net net = { .bits = HTTP_ADDRESS_BYTES * 8 };
    if (str_is(text, STR("unix"))) {
        trust->has_unix = true;
        return FAIL_OK;
    }
    struct str rest = text, address = str_split(&rest, '/');
    if (!read_address(address, net.address))
        return FAIL_INVALID;
    if (address.len < text.len) {
        unsigned before = memchr(address.data, ':', address.len) ? 0 : sizeof mapped * 8;
        int64_t bits;
        if (rest.len == 0 || *rest.data == '-' || !str_int64(rest, &bits) ||
            bits > HTTP_ADDRESS_BYTES * 8 - (int64_t)before)
            return FAIL_INVALID;
        net.bits = (uint8_t)(before + bits);
    }
    if (!is_net(&net))
        return FAIL_INVALID;
    if (trust->count == HTTP_TRUST_MAX)
        return FAIL_FULL;
    trust->nets[trust->count++] = net;
    return FAIL_OK;
}

/* Cuts the last element off the list. */
static struct str last_of(struct str *list)
{
    size_t at = list->len;
    while (at > 0 && list->data[at - 1] != ',')
        at--;
    struct str element = str_trim(str_make(list->data + at, list->len - at));
    list->len = at > 0 ? at - 1 : 0;
    return element;
}

/* The elements of one line, from the last one. True: go on with the line before. */
static bool walk(const struct http_trust *trust, struct str list, char *peer, size_t bytes)
{
    while (list.len > 0) {
        uint8_t address[HTTP_ADDRESS_BYTES];
        if (!read_address(last_of(&list), address))
            return false;
        write_address(address, peer, bytes);
        if (!is_trusted(trust, address))
            return false;
    }
    return true;
}

static bool trusts_peer(const struct http_trust *trust, struct str peer)
{
    uint8_t address[HTTP_ADDRESS_BYTES];
    if (str_is(peer, STR("unix")))
        return trust->has_unix;
    return read_address(peer, address) && is_trusted(trust, address);
}

void http_trust_find(const struct http_trust *trust, const struct http_head *head, char *peer, size_t bytes)
{
    if (!trusts_peer(trust, str_of(peer)))
        return;
    for (unsigned i = head->field_count; i > 0; i--) {
        const struct http_field *field = &head->fields[i - 1];
        if (str_is_nocase(field->name, STR("x-forwarded-for")) && !walk(trust, field->value, peer, bytes))
            return;
    }
}
