/* app.h - the server as a whole: opens the parts in order, joins them, closes them in reverse. */
#ifndef APP_H
#define APP_H

#include "base/str.h"
#include "script/vm.h"

/* The command line, for when the configuration is read again. */
struct app_words {
    int argc;
    char **argv;
};

/* Serves with the settings kept by `vm` until SIGTERM or SIGINT. Returns the exit code. The hook of `wick serve`;
 * arg is a struct app_words. */
int app_serve(void *arg, struct script_vm *vm, struct str settings_json);

#endif
