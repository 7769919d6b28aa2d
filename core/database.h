/* database.h - the engine the settings name, opened. */
#ifndef DATABASE_H
#define DATABASE_H

#include "script/vm.h"
#include "worker.h"

/* SQLite where there is a file in the settings, else PostgreSQL, for the main loop and those of the workers. Blocks (call before
 * the loops serve). `why` says in words what is wrong. The owner ends it with its ops' close. */
MUST_USE enum fail database_open(struct script_vm *vm, struct loop *main_loop, struct worker *const *workers, unsigned worker_count,
                                 struct sql_engine **out, char *why, size_t why_bytes);

/* What can change while serving holds from now on, as the settings of this VM have it: sizes and times of the pool. */
MUST_USE enum fail database_apply(struct script_vm *vm, struct sql_engine *engine, char *why, size_t why_bytes);

#endif
