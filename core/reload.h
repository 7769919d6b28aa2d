/* reload.h - SIGHUP: the configuration is read again, and what can change while serving does. */
#ifndef RELOAD_H
#define RELOAD_H

#include "sql/engine.h"

/* Reads the configuration as the command line names it. With a mistake in it nothing changes, and the log says which. */
void reload(int argc, char **argv, struct sql_engine *engine);

#endif
