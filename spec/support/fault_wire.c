/* fault_wire.c - the bytes of a link: queues of what is to be passed on, and PostgreSQL's messages, where a trap may close.
 *
 * HOLDS   While a type is trapped a message's head is kept back until it is whole, so that nothing of a trapped message gets out.
 */
#include "fault_proxy.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 4 << 10 };

struct trap trap;

/* --- flows ---------------------------------------------------------------------------------------------------- */

static struct chunk *add_chunk(struct flow *flow, uint64_t due, size_t len)
{
    size_t cap = len > CHUNK_BYTES ? len : CHUNK_BYTES;
    struct chunk *chunk = malloc(sizeof *chunk + cap);
    if (!chunk)
        abort();
    *chunk = (struct chunk){ .due_ns = due, .cap = cap };
    if (flow->last)
        flow->last->next = chunk;
    else
        flow->first = chunk;
    flow->last = chunk;
    return chunk;
}

/* What came in one turn goes together. */
void flow_enqueue(struct flow *flow, const void *data, size_t len)
{
    if (!len)
        return;
    uint64_t due = turn_ns + rules.delay_ms * UINT64_C(1000000);
    struct chunk *chunk = flow->last;
    if (!chunk || chunk->due_ns != due || chunk->cap - chunk->len < len)
        chunk = add_chunk(flow, due, len);
    memcpy(chunk->data + chunk->len, data, len);
    chunk->len += len;
    flow->queued += len;
}

void flow_drop_first(struct flow *flow)
{
    struct chunk *chunk = flow->first;
    flow->first = chunk->next;
    if (!flow->first)
        flow->last = NULL;
    free(chunk);
}

void flow_empty(struct flow *flow)
{
    while (flow->first)
        flow_drop_first(flow);
    flow->queued = 0;
}

/* --- the wire ------------------------------------------------------------------------------------------------- */

static void enqueue_fatal(struct flow *flow)
{
    static const char fields[] = "SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0";
    uint32_t len = htonl((uint32_t)sizeof fields + 4);
    flow_enqueue(flow, "E", 1);
    flow_enqueue(flow, &len, 4);
    flow_enqueue(flow, fields, sizeof fields);
}

static void spring(struct link *link)
{
    trap.is_armed = false;
    link->ending = trap.ending;
    if (trap.ending == END_FATAL)
        enqueue_fatal(&link->down);
}

static void pass_head(struct link *link)
{
    struct wire *wire = &link->wire;
    flow_enqueue(&link->down, wire->head + wire->head_passed, wire->head_len - wire->head_passed);
    wire->head_passed = wire->head_len;
}

/* A message's head is complete; where a type is trapped it has been kept back until here. */
static void take_head(struct link *link)
{
    struct wire *wire = &link->wire;
    uint32_t body;
    memcpy(&body, wire->head + 1, 4);
    wire->left = ntohl(body) - 4;
    bool is_trapped = trap.is_armed && trap.type && wire->head[0] == (unsigned char)trap.type &&
                      ++link->seen == trap.nth;
    if (is_trapped && !(trap.is_half && wire->left > 1)) {
        spring(link);
        return;
    }
    pass_head(link);
    wire->head_len = wire->head_passed = 0;
    if (is_trapped)
        link->half_left = wire->left / 2;
}

static size_t take_body(struct link *link, const char *data, size_t len)
{
    size_t part = len < link->wire.left ? len : link->wire.left;
    if (link->half_left && part > link->half_left)
        part = link->half_left;
    flow_enqueue(&link->down, data, part);
    link->wire.left -= part;
    if (link->half_left && !(link->half_left -= part))
        spring(link);
    return part;
}

/* Bytes from the server, which are passed on up to the cut. */
void wire_take_down(struct link *link, const char *data, size_t len)
{
    bool counts = trap.is_armed && !trap.type, is_last = counts && len >= trap.bytes - link->bytes;
    if (is_last)
        len = trap.bytes - link->bytes;
    link->bytes += counts ? len : 0;
    struct wire *wire = &link->wire;
    for (size_t part; len && !link->ending; data += part, len -= part) {
        part = 1;
        if (wire->skips_byte) {
            wire->skips_byte = false;
            flow_enqueue(&link->down, data, 1);
        } else if (wire->left) {
            part = take_body(link, data, len);
        } else {
            wire->head[wire->head_len++] = (unsigned char)*data;
            if (wire->head_len == sizeof wire->head)
                take_head(link);
        }
    }
    if (link->ending)
        return;
    if (!trap.is_armed || !trap.type)
        pass_head(link);
    if (is_last)
        spring(link);
}

/* Bytes from the client. Its first packet may ask for TLS, which is answered by one byte that is no message. */
void wire_take_up(struct link *link, const char *data, size_t len)
{
    static const unsigned char ask_tls[8] = { 0, 0, 0, 8, 4, 210, 22, 47 };
    if (!link->wire.has_begun)
        link->wire.skips_byte = len == sizeof ask_tls && memcmp(data, ask_tls, len) == 0;
    link->wire.has_begun = true;
    flow_enqueue(&link->up, data, len);
}
