/* problem.c - says what went wrong in the one shape that consumers can rely on (RFC 9457).
 *
 * DESIGN  Written into a buffer of its own and handed to the reply, which copies short bodies and releases at once.
 *         When there is no memory for the words, the status goes out alone: an error must not be lost to an error.
 * Path:   http/conn, serve/response, script/handler > [http/problem] > http/reply
 */
#include "http/problem.h"

#include "base/json.h"
#include "http/reply.h"
#include "http/route.h"

#include <stdio.h>

static void add_member(struct buf *out, const char *name, struct str text)
{
    buf_add_str(out, STR(",\""));
    buf_add_str(out, str_of(name));
    buf_add_str(out, STR("\":"));
    json_add_string(out, str_make(text.data, str_utf8_prefix(text)));
}

static void add_type(struct buf *out, struct str slug)
{
    buf_add_str(out, STR("{\"type\":\""));
    if (slug.len) {
        buf_add_str(out, STR("urn:wick:problem:"));
        buf_add_str(out, slug);
    } else {
        buf_add_str(out, STR("about:blank"));
    }
    buf_add_char(out, '"');
}

void http_problem_write(struct buf *out, const struct http_problem *problem, const struct http_request *request)
{
    add_type(out, problem->type);
    add_member(out, "title", problem->title.len ? problem->title : str_of(http_status_text(problem->status)));
    buf_add_str(out, STR(",\"status\":"));
    buf_add_int(out, problem->status);
    if (problem->detail.len)
        add_member(out, "detail", problem->detail);
    if (request && request->head.path.len)
        add_member(out, "instance", request->head.path);
    if (request && request->id_len)
        add_member(out, "request_id", str_make(request->id, request->id_len));
    if (problem->members.len) {
        buf_add_char(out, ',');
        buf_add_str(out, problem->members);
    }
    buf_add_char(out, '}');
}

/* The caller's fields and Retry-After, in the request's arena; only the caller's where there is no memory. */
static struct str with_retry_after(struct http_request *request, const struct http_problem *problem)
{
    if (!problem->retry_after_s)
        return problem->fields;
    struct buf fields;
    buf_init(&fields, MEM_HTTP, 0);
    buf_addf(&fields, "Retry-After: %u\r\n", problem->retry_after_s);
    buf_add_str(&fields, problem->fields);
    struct str all = STR_NONE;
    if (buf_ok(&fields))
        all = arena_str(&request->arena, str_make(fields.data, fields.len));
    buf_clear(&fields);
    return all.data ? all : problem->fields;
}

void http_problem_send(struct http_request *request, const struct http_problem *problem)
{
    struct buf text;
    size_t len = 0;
    buf_init(&text, MEM_HTTP, 0);
    http_problem_write(&text, problem, request);
    char *body = buf_take(&text, &len);
    struct http_reply reply = {
        .status = problem->status,
        .type = STR("application/problem+json"),
        .fields = with_retry_after(request, problem),
        .body = str_make(body, body ? len : 0),
        .release = body ? mem_free : NULL,
        .owner = body,
        .close = problem->close,
    };
    buf_clear(&text);
    http_reply_send(request, &reply);
}

void http_problem_method(struct http_request *request, unsigned methods)
{
    char allow[64], line[80];
    http_allow_header(methods, allow);
    struct str field = { line, (size_t)snprintf(line, sizeof line, "Allow: %s\r\n", allow) };
    if (request->head.method == HTTP_OPTIONS) {
        http_reply_send(request, &(struct http_reply){ .status = 204, .fields = field });
        return;
    }
    http_problem_send(request, &(struct http_problem){
                                   .status = 405,
                                   .type = STR("method-not-allowed"),
                                   .detail = STR("this path does not know the method; Allow names those it knows"),
                                   .fields = field });
}
