/* listen.h - the channels a VM's plugins listen to: each note runs a handler as a task of its own, one at a time for each channel. */
#ifndef SCRIPT_LISTEN_H
#define SCRIPT_LISTEN_H

#include "script/task.h"

struct script_vm;

int listen_add(lua_State *L);              /* native.listen(plugin, channel, cx, note, gap or nil): takes effect with script_vm_listen */
void listen_free(struct script_vm *vm);    /* after the tasks and before Lua's end */

#endif
