/* reply_value.h - what cx.problem, cx.created, cx.reply and cx.no_content return: an answer that may be returned or raised. */
#ifndef SCRIPT_REPLY_VALUE_H
#define SCRIPT_REPLY_VALUE_H

#include "base/buf.h"
#include "http/reply.h"
#include "script/failure.h"
#include "serve/response.h"

#include <lua.h>

struct script_vm;

/* The answer on its way: http.fields and http.body point into the bufs, or the body into an entry whose release is set. */
struct reply_out {
    struct http_reply http;
    struct buf fields, body;
    struct str label;                  /* X-Cache of a cached value, a line; not sent by a response cache, which has a word of its own */
};
void reply_out_init(struct reply_out *out);
void reply_out_reset(struct reply_out *out);   /* lets an entry go */
void reply_out_clear(struct reply_out *out);

/* Makes the answer of any value a handler returns. False: it cannot be one, why is filled. [-0, +0] */
bool reply_from_value(lua_State *L, int index, const struct http_request *request, struct reply_out *out, char *why, size_t why_bytes);
void reply_from_failure(const struct failure *failure, const struct http_request *request, struct reply_out *out);
void reply_from_status(int status, const char *slug, const char *detail, const struct http_request *request, struct reply_out *out);

/* Raises a problem. */
int reply_raise(lua_State *L, int status, const char *slug, const char *detail);
int reply_problem(lua_State *L);      /* cx.problem(status, slug, members) */
int reply_created(lua_State *L);      /* cx.created(location, value) */
int reply_any(lua_State *L);          /* cx.reply{...} */
int reply_no_content(lua_State *L);   /* cx.no_content() */

#endif
