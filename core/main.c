/* main.c - argv in, exit code out: every command is a Lua file; `wick serve` comes back to app.c. */
#include "app.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    char why[2048] = "";
    struct script_vm *vm = NULL;
    struct script_services services = { 0 };
    struct script_hooks hooks = { .serve = app_serve };
    if (script_vm_open(&services, &vm, why, sizeof why) != FAIL_OK) {
        fprintf(stderr, "wick: cannot start Lua: %s\n", why);
        return EXIT_FAILURE;
    }
    int exit_code = script_vm_command(vm, argc, argv, &hooks);
    script_vm_close(vm);
    if (mem_live() > 0) {
        fprintf(stderr, "wick: memory was left at the end:\n");
        mem_report(stderr);
        return exit_code ? exit_code : EXIT_FAILURE;
    }
    return exit_code;
}
