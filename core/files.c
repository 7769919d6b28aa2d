/* files.c - whether files that cannot be opened any more are why something fails.
 *
 * DESIGN  Who fails for want of a descriptor says so in its own words ("the file cannot be opened"), or in none, and has
 *         undone its part. So some are opened on trial: where that many are not left, nothing could have started.
 * Path:   app > [files]
 */
#include "files.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LEAST = 8 }; /* more than any step of the start opens: a loop has 6, a SQLite connection 4, a listener 2 */

static bool can_open(unsigned count)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno != EMFILE && errno != ENFILE;
    bool can = count <= 1 || can_open(count - 1);
    close(fd);
    return can;
}

static bool are_used_up(char *fix, size_t fix_bytes)
{
    struct rlimit limit;
    if (can_open(LEAST) || getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return false;
    snprintf(fix, fix_bytes,
             "raise the limit of open files, which is %llu and reached (ulimit -n; LimitNOFILE= of systemd), above "
             "http.connections_max",
             (unsigned long long)limit.rlim_cur);
    return true;
}

void files_log_failure(const char *what, const char *why)
{
    char fix[256] = "";
    bool has_fix = are_used_up(fix, sizeof fix);
    struct log_field fields[] = { LOG_TEXT("why", why), LOG_TEXT("fix", fix) };
    log_fields(LOG_ERROR, what, fields, has_fix ? 2 : 1);
}
