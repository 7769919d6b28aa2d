/* request.c - where requests live while they are in hand.
 *
 * DESIGN  A slot is one request with its arena (about 4.5 KB): too much for each idle connection, so slots are lent from
 *         a free list and come back with the reply. A request parsed in the loop's read buffer points into it. Who
 *         replies within on_request never pays for a copy; for the others http_request_pin copies the head (and the body
 *         that came along) once and moves every slice by the same distance.
 *         FREE -> TAKEN [http_slot_take]   TAKEN -> PINNED [http_request_pin]   any -> FREE [http_slot_give]
 * HOLDS   The free list keeps at most HTTP_SLOTS_KEPT slots, each with at most one arena block.
 * Path:   http/conn > [http/request]
 */
#include "http/request.h"

#include "http/conn.h"

#include <assert.h>

struct http_slot *http_slot_take(struct http_server *server)
{
    struct list *node = list_pop_front(&server->slots);
    if (node) {
        server->slot_count--;
        return LIST_ENTRY(node, struct http_slot, node);
    }
    struct http_slot *slot = mem_zero(MEM_HTTP, sizeof *slot);
    if (!slot)
        return NULL;
    list_init(&slot->node);
    arena_init(&slot->request.arena, MEM_HTTP, 0);
    buf_init(&slot->body, MEM_HTTP, 0);
    buf_init(&slot->streaming.out, MEM_HTTP, 0);
    return slot;
}

void http_slot_free(struct http_slot *slot)
{
    arena_clear(&slot->request.arena);
    buf_clear(&slot->body);
    buf_clear(&slot->streaming.out);
    mem_free(slot);
}

void http_slot_give(struct http_server *server, struct http_slot *slot)
{
    if (server->slot_count >= HTTP_SLOTS_KEPT) {
        http_slot_free(slot);
        return;
    }
    arena_reset(&slot->request.arena);
    if (slot->body.data)
        buf_clear(&slot->body);
    list_push_front(&server->slots, &slot->node);
    server->slot_count++;
}

/* --- identity --- */

static bool id_is_valid(struct str id)
{
    if (id.len < 1 || id.len > 64)
        return false;
    for (size_t i = 0; i < id.len; i++) {
        char c = id.data[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-')
            return false;
    }
    return true;
}

/* 16 random digits of the server, '-', and a count: unique without asking anybody. */
static void make_id(struct http_server *server, struct http_request *request)
{
    enum { COUNT_DIGITS = 10 };
    uint64_t count = ++server->id_count;
    memcpy(request->id, server->id_prefix, sizeof server->id_prefix);
    char *at = request->id + sizeof server->id_prefix;
    *at++ = '-';
    for (unsigned i = COUNT_DIGITS; i-- > 0; count >>= 4)
        at[i] = "0123456789abcdef"[count & 15];
    request->id_len = sizeof server->id_prefix + 1 + COUNT_DIGITS;
    request->id[request->id_len] = '\0';
}

void http_request_start(struct http_slot *slot, struct http_conn *conn)
{
    struct http_request *request = &slot->request;
    request->conn = conn;
    request->body = STR_NONE;
    request->route = NULL;
    request->param_count = 0;
    request->aborted = request->replied = false;
    request->body_max = conn->server->settings.limits.body_bytes;
    request->started_ns = conn->read_ns;
    request->user = NULL;
    struct str given = request->head.known[HTTP_X_REQUEST_ID];
    if (given.data && id_is_valid(given)) {
        memcpy(request->id, given.data, given.len);
        request->id[given.len] = '\0';
        request->id_len = (uint8_t)given.len;
    } else {
        make_id(conn->server, request);
    }
}

/* --- out of the read buffer --- */

struct move {
    const char *from, *to;
    size_t len;
};

static void move_slice(struct str *slice, struct move move)
{
    if (slice->data >= move.from && slice->data <= move.from + move.len)
        slice->data = move.to + (slice->data - move.from);
}

static void move_head(struct http_head *head, struct move move)
{
    move_slice(&head->method_text, move);
    move_slice(&head->target, move);
    move_slice(&head->path, move);
    move_slice(&head->query, move);
    for (unsigned i = 0; i < HTTP_KNOWN; i++)
        move_slice(&head->known[i], move);
    for (unsigned i = 0; i < head->field_count; i++) {
        move_slice(&head->fields[i].name, move);
        move_slice(&head->fields[i].value, move);
    }
}

/* Without the memory nothing of it may be looked at any more. */
static void forget(struct http_request *request)
{
    memset(&request->head, 0, offsetof(struct http_head, fields));
    request->body = STR_NONE;
    request->param_count = 0;
}

bool http_request_pin(struct http_slot *slot)
{
    struct http_request *request = &slot->request;
    if (!slot->base)
        return true;
    bool has_body = request->body.len && request->body.data == slot->base + request->head.bytes;
    struct move move = { slot->base, NULL, request->head.bytes + (has_body ? request->body.len : 0) };
    slot->base = NULL;
    move.to = arena_dup(&request->arena, move.from, move.len);
    if (!move.to) {
        forget(request);
        return false;
    }
    move_head(&request->head, move);
    move_slice(&request->body, move);
    for (unsigned i = 0; i < request->param_count; i++)
        move_slice(&request->params[i].value, move);
    return true;
}

/* --- questions --- */

struct loop *http_request_loop(const struct http_request *request) { return request->conn->server->loop; }

void http_request_peer(const struct http_request *request, char *out, size_t bytes)
{
    const struct http_conn *conn = request->conn;
    assert(bytes >= 46);
    *out = '\0';
    if (conn->is_stream_gone)
        return;
    stream_peer(conn->stream, out, bytes);
    http_trust_find(&conn->server->settings.trust, &request->head, out, bytes);
}
