/* options.h - the settings a VM keeps, as the C types that openers want. Durations are ms, sizes are bytes. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "script/vm.h"

static inline int64_t option_int(struct script_vm *vm, const char *path, int64_t missing)
{
    int64_t value;
    return script_setting_int(vm, path, &value) ? value : missing;
}

static inline unsigned option_unsigned(struct script_vm *vm, const char *path)
{
    return (unsigned)option_int(vm, path, 0);
}

static inline struct str option_text(struct script_vm *vm, const char *path)
{
    struct str text;
    return script_setting_text(vm, path, &text) ? text : STR_NONE;
}

#endif
