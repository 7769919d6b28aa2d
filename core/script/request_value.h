/* request_value.h - the request as handlers see it: req. */
#ifndef SCRIPT_REQUEST_VALUE_H
#define SCRIPT_REQUEST_VALUE_H

#include "http/request.h"

#include <lua.h>

struct request_ud {
    struct http_request *request; /* NULL: it is over */
    struct str unkeyed; /* what the handler read first of all that the key of its cached answer does not hold */
};
/* [-0, +1] */
struct request_ud *request_push(lua_State *L, struct http_request *request);

#endif
