/* main.c - argv in, exit code out: every command is a Lua file; `wick serve` comes back to app.c. */
#include "app.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* Where a standard file is closed, the next one opened would take its number: a database, and then the log is written to
 * it. Writing to what takes its place fails. */
static void hold_standard_files(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDONLY) != fd)
            _Exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
    char why[2048] = "";
    struct script_vm *vm = NULL;
    struct script_services services = { 0 };
    struct app_words words = { argc, argv };
    struct script_hooks hooks = { .serve = app_serve, .arg = &words };
    hold_standard_files();
    signal(SIGHUP, SIG_IGN); /* until a server has something to reload; other commands are over in a moment */
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
