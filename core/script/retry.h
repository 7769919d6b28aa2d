/* retry.h - may a transaction's function be run again? For lua/wick/transaction.lua, by way of wick.native. */
#ifndef SCRIPT_RETRY_H
#define SCRIPT_RETRY_H

#include "script/state.h"

/* native.rerun(sqlstate or nil, again, reruns so far, repeatable) -> ms to wait first, or nothing: no. Spends budget. [-0, +1] */
int retry_rerun(lua_State *L);
/* native.rerun_ended(sqlstate that was the reason, whether it went well at last) [-0, +0] */
int retry_ended(lua_State *L);

#endif
