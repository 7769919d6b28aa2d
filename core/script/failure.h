/* failure.h - what the world refused, as a Lua value that is raised: fields kind, text, sqlstate, constraint, detail, retry,
 * again (its transaction was undone through no fault of its own), status.
 *
 * Uncaught it becomes a problem: its SQLSTATE decides the status (sql/error.h), the other kinds are 503 or 504.
 */
#ifndef SCRIPT_FAILURE_H
#define SCRIPT_FAILURE_H

#include "sql/error.h"

#include <lua.h>

struct failure {
    enum fail fail;
    bool overdue;              /* the deadline of the request is what passed */
    const char *told;          /* what a consumer is told of it, when it is 503; a literal, or NULL: by SQLSTATE and kind */
    struct sql_error error;    /* text is set for every kind */
};
/* [-0, +1] */
struct failure *failure_push(lua_State *L, enum fail fail, const struct sql_error *error);
/* Pushes it and raises. */
int failure_raise(lua_State *L, enum fail fail, const struct sql_error *error);
int failure_raisef(lua_State *L, enum fail fail, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same for what the database has no part in: `text` is for the log, `told` for the consumer. Literals, both. */
int failure_raise_told(lua_State *L, enum fail fail, const char *text, const char *told);
struct failure *failure_test(lua_State *L, int index);
const char *failure_kind(const struct failure *failure);
int failure_status(const struct failure *failure);
unsigned failure_retry_s(const struct failure *failure);   /* for Retry-After; 0: none */
bool failure_may_retry(const struct failure *failure);
/* Any error value in words, without raising; borrowed while it is on the stack. [-0, +0] */
const char *failure_words(lua_State *L, int index);

#endif
