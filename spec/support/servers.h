/* servers.h - starts and stops private servers from C specs; spec/support/servers.sh tells what there is. */
#ifndef SUPPORT_SERVERS_H
#define SUPPORT_SERVERS_H

#include "support/spec.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static inline bool servers_are_there(void) { return access("spec/support/servers.sh", X_OK) == 0; }

/* Runs servers.sh; the value of NAME= in what it prints, where a name is given. */
static inline void servers_run(const char *arguments, const char *name, char *value, size_t bytes)
{
    char command[1024], line[512];
    snprintf(command, sizeof command, "spec/support/servers.sh %s", arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    while (fgets(line, sizeof line, pipe)) {
        size_t len = name ? strlen(name) : 0;
        if (len && strncmp(line, name, len) == 0 && line[len] == '=') {
            line[strcspn(line, "\n")] = '\0';
            assert_true((size_t)snprintf(value, bytes, "%s", line + len + 1) < bytes);
        }
    }
    assert_int_equal(pclose(pipe), 0);
}

/* A folder for one: below the run's own, so that it is swept when a spec dies. */
static inline void servers_folder(char *out, size_t bytes, const char *name)
{
    const char *tmp = getenv("WICK_TEST_TMP");
    snprintf(out, bytes, "%s/wick-%s-%d", tmp ? tmp : "/tmp", name, (int)getpid());
}

static inline void servers_stop(const char *kind, const char *folder)
{
    char arguments[300];
    snprintf(arguments, sizeof arguments, "%s stop %s", kind, folder);
    servers_run(arguments, NULL, NULL, 0);
    snprintf(arguments, sizeof arguments, "rm -rf %s", folder);
    assert_int_equal(system(arguments), 0);
}

/* To the postmaster alone: a back end would take SIGINT for a cancel. */
static inline void servers_signal_postmaster(const char *folder, int number)
{
    char path[300], line[128];
    snprintf(path, sizeof path, "%s/server", folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "pid=", 4) == 0)
            assert_int_equal(kill(atoi(line + 4), number), 0);
    fclose(file);
}

#endif
