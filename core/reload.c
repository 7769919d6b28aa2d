/* reload.c - reads the configuration again, in a VM of its own that is gone afterwards.
 *
 * DESIGN  The words of the command line are run once more, with a hook in the place of serving: so the same checks are made as at the start,
 *         plugins included, and their mistakes are written as they are there. On the main thread, which serves nobody.
 *         Only sizes and times of the PostgreSQL pool change, and its password; a whole new VM for each worker is for later.
 * Path:   app > [reload] > script/vm > [reload] > database
 */
#include "reload.h"

#include "base/log.h"
#include "database.h"

#include <stdlib.h>
#include <string.h>

struct reloading {
    struct sql_engine *engine;
    bool is_told; /* the log has the outcome */
};

static int apply(void *arg, struct script_vm *vm, struct str settings_json)
{
    (void)settings_json;
    struct reloading *reloading = arg;
    char why[256] = "";
    reloading->is_told = true;
    if (database_apply(vm, reloading->engine, why, sizeof why) != FAIL_OK) {
        log_line(LOG_ERROR, "SIGHUP: nothing has changed", LOG_TEXT("why", why));
        return EXIT_FAILURE;
    }
    if (strcmp(reloading->engine->ops->dialect, "postgres") == 0)
        log_line(LOG_INFO, "SIGHUP: the pool follows the configuration; anything else is read at the start only");
    else
        log_line(
            LOG_INFO,
            "SIGHUP: the configuration has no mistakes; on SQLite it is read at the start only: restart to follow it");
    return EXIT_SUCCESS;
}

void reload(int argc, char **argv, struct sql_engine *engine)
{
    char why[2048] = "";
    struct script_vm *vm = NULL;
    struct script_services services = { 0 };
    struct reloading reloading = { .engine = engine };
    struct script_hooks hooks = { .serve = apply, .arg = &reloading };
    if (script_vm_open(&services, &vm, why, sizeof why) != FAIL_OK) {
        log_line(LOG_ERROR, "SIGHUP: nothing has changed", LOG_TEXT("why", why));
        return;
    }
    (void)script_vm_command(vm, argc, argv, &hooks);
    if (!reloading.is_told)
        log_line(LOG_ERROR, "SIGHUP: the configuration has mistakes, which are written above; nothing has changed");
    script_vm_close(vm);
}
