/* process.c - what the kernel knows of this process, under the names every Prometheus client library uses; and what its log lost.
 *
 * A value that cannot be read is left out. Reads /proc only, which does not block.
 * Path:   metrics/exposition > [metrics/process]
 */
#include "base/log.h"
#include "metrics/inner.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void write_one(struct buf *out, const char *name, const char *kind, const char *help, double value)
{
    if (value >= 0)
        buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, kind, name, value);
}

/* The file as text, or "". */
static void read_file(const char *path, char *out, size_t bytes)
{
    out[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t len = read(fd, out, bytes - 1);
    out[len > 0 ? len : 0] = '\0';
    close(fd);
}

static double cpu_seconds(void)
{
    struct timespec used;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) != 0)
        return -1;
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static double resident_bytes(void)
{
    char text[128];
    long long pages;
    read_file("/proc/self/statm", text, sizeof text);
    return sscanf(text, "%*s %lld", &pages) == 1 ? (double)pages * (double)sysconf(_SC_PAGESIZE) : -1;
}

/* Since Linux 6.2 the directory's size is the number of its entries; before, they are counted. */
static double open_fds(void)
{
    struct stat info;
    if (stat("/proc/self/fd", &info) == 0 && info.st_size > 0)
        return (double)info.st_size;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return -1;
    unsigned count = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count - 1; /* less the directory's own */
}

static double max_fds(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (double)limit.rlim_cur : -1;
}

/* Field 22 of /proc/self/stat: clock ticks from boot to our start. Field 2, the program's name, may hold anything; it
 * ends at the last ')'. */
static double start_seconds(void)
{
    char text[1024];
    unsigned long long ticks;
    read_file("/proc/self/stat", text, sizeof text);
    const char *rest = strrchr(text, ')');
    if (!rest || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                        &ticks) != 1)
        return -1;
    struct timespec wall, boot;
    if (clock_gettime(CLOCK_REALTIME, &wall) != 0 || clock_gettime(CLOCK_BOOTTIME, &boot) != 0)
        return -1;
    double booted = (double)(wall.tv_sec - boot.tv_sec) + (double)(wall.tv_nsec - boot.tv_nsec) / 1e9;
    return booted + (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

void process_write(struct buf *out)
{
    /* Asked once: the wall clock is set now and then, and the start does not move with it. */
    static _Atomic double started = 0;
    if (started == 0)
        started = start_seconds();
    write_one(out, "process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.",
              cpu_seconds());
    write_one(out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", resident_bytes());
    write_one(out, "process_open_fds", "gauge", "Number of open file descriptors.", open_fds());
    write_one(out, "process_max_fds", "gauge", "Maximum number of open file descriptors.", max_fds());
    write_one(out, "process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.",
              started);
    write_one(out, "wick_log_lost_total", "counter", "Lines of the log that nobody read in time.", (double)log_lost());
}
