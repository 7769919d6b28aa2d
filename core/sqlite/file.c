/* file.c - from a path to a connection that can be trusted, or to a sentence that says what to do.
 *
 * DESIGN  In order: is there a file, open, is it a database (the first read finds out), the settings, functions, and last
 *         the authorizer, so that our own PRAGMAs pass. Journal mode is a property of the file: only the writer, opened
 *         first, sets it. foreign_keys, synchronous and query_only belong to the connection.
 *         The authorizer runs while a statement is prepared, never while it runs.
 * Path:   sqlite/engine > [sqlite/file] > sqlite/functions
 */
#include "sqlite/file.h"

#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>

#define WAL_BYTES_MAX (64 * 1024 * 1024) /* a longer log is cut back to this after a checkpoint */
#define OPEN_BUSY_MS 1000u               /* for a lock at start; the engine's own waits come later */

/* SQLite's own memory statistics take a lock of the process for every allocation. Must come before all else. */
static void configure(void) { sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); }

/* --- what a statement may not do --- */

/* PRAGMAs that may have an argument: they ask, or change the file and not the connection. */
static const char *const open_pragmas[] = {
    "table_info",       "table_xinfo",       "table_list",         "index_list",  "index_info",     "index_xinfo",
    "foreign_key_list", "foreign_key_check", "integrity_check",    "quick_check", "wal_checkpoint", "optimize",
    "user_version",     "application_id",    "incremental_vacuum", "auto_vacuum", "max_page_count", "data_version",
};

static int authorize(void *arg, int action, const char *first, const char *second, const char *database,
                     const char *via)
{
    (void)arg, (void)database, (void)via;
    if (action == SQLITE_ATTACH) /* VACUUM attaches a file without a name; that is not VACUUM INTO 'file' */
        return first && first[0] ? SQLITE_DENY : SQLITE_OK;
    if (action == SQLITE_DETACH)
        return SQLITE_DENY;
    if (action != SQLITE_PRAGMA || !second)
        return SQLITE_OK;
    for (size_t i = 0; i < sizeof open_pragmas / sizeof *open_pragmas; i++)
        if (strcasecmp(first, open_pragmas[i]) == 0)
            return SQLITE_OK;
    return SQLITE_DENY;
}

/* --- opening --- */

static enum fail look_for_file(const struct sqlite_settings *settings, char *why, size_t why_bytes)
{
    struct stat st;
    const char *path = settings->path;
    if (!path || !path[0] || strcmp(path, ":memory:") == 0) {
        snprintf(why, why_bytes, "the path must name a file: each connection would have a memory of its own");
        return FAIL_INVALID;
    }
    if (stat(path, &st) == 0) {
        if (S_ISREG(st.st_mode))
            return FAIL_OK;
        snprintf(why, why_bytes, "%s is not a file: name the SQLite file itself", path);
        return FAIL_INVALID;
    }
    if (errno == ENOENT && settings->create)
        return FAIL_OK;
    if (errno == ENOENT)
        snprintf(why, why_bytes, "%s does not exist: correct the path, or let it be created", path);
    else
        snprintf(why, why_bytes, "%s: %s: check the permissions of the file and its folders", path, strerror(errno));
    return errno == ENOENT ? FAIL_MISSING : FAIL_IO;
}

static enum fail explain(const char *path, struct sqlite3 *db, int code, char *why, size_t why_bytes)
{
    switch (code & 0xff) {
    case SQLITE_NOTADB:
        snprintf(why, why_bytes, "%s is not an SQLite database (or is encrypted): name another file", path);
        return FAIL_INVALID;
    case SQLITE_CORRUPT:
        snprintf(why, why_bytes, "%s is damaged: restore a backup, or try sqlite3 %s .recover", path, path);
        return FAIL_INVALID;
    case SQLITE_NOMEM: snprintf(why, why_bytes, "out of memory"); return FAIL_NOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        snprintf(why, why_bytes, "%s is locked by another process: end its transaction and start again", path);
        return FAIL_IO;
    case SQLITE_CANTOPEN:
        snprintf(why, why_bytes,
                 "%s cannot be opened: the folder must exist and be writable, for the log stands beside the file",
                 path);
        return FAIL_IO;
    default:
        snprintf(why, why_bytes, "%s: %s (%s)", path, db ? sqlite3_errmsg(db) : sqlite3_errstr(code),
                 sqlite3_errstr(code));
        return FAIL_IO;
    }
}

static int run(struct sqlite3 *db, const char *text) { return sqlite3_exec(db, text, NULL, NULL, NULL); }

static int take_word(void *arg, int count, char **values, char **names)
{
    (void)count, (void)names;
    snprintf(arg, 16, "%s", values[0] ? values[0] : "");
    return 0;
}

/* A file that stays in another mode works, too: readers and the writer then wait for each other. */
static void set_wal(struct sqlite3 *db, const char *path)
{
    char mode[16] = "";
    sqlite3_exec(db, "pragma journal_mode", take_word, mode, NULL);
    if (strcmp(mode, "wal") == 0 || sqlite3_db_readonly(db, "main") == 1)
        return;
    int code = sqlite3_exec(db, "pragma journal_mode = wal", take_word, mode, NULL);
    if (strcmp(mode, "wal") != 0)
        log_line(LOG_WARN, "sqlite file stays out of WAL mode: reads wait for writes", LOG_TEXT("path", path),
                 LOG_TEXT("mode", mode), LOG_TEXT("why", code ? sqlite3_errmsg(db) : "refused"));
}

static int set_up(struct sqlite3 *db, const struct sqlite_settings *settings, bool is_reader)
{
    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_timeout(db, (int)(settings->busy_ms < OPEN_BUSY_MS ? settings->busy_ms : OPEN_BUSY_MS));
    int code = run(db, "select count(*) from sqlite_schema");
    if (code)
        return code;
    if (!is_reader && !settings->keep_journal)
        set_wal(db, settings->path);
    char text[160];
    snprintf(text, sizeof text,
             "pragma foreign_keys = on; pragma synchronous = %s; pragma journal_size_limit = %d;"
             "pragma query_only = %s",
             settings->sync_normal ? "normal" : "full", WAL_BYTES_MAX, is_reader ? "on" : "off");
    code = run(db, text);
    return code ? code : sqlite3_set_authorizer(db, authorize, NULL);
}

enum fail sqlite_file_open(const struct sqlite_settings *settings, bool is_reader, struct sqlite_clock *clock,
                           struct sqlite3 **out, char *why, size_t why_bytes)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, configure);
    *out = NULL;
    enum fail fail = look_for_file(settings, why, why_bytes);
    if (fail)
        return fail;
    struct sqlite3 *db = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (settings->create ? SQLITE_OPEN_CREATE : 0);
    int code = sqlite3_open_v2(settings->path, &db, flags, NULL);
    if (code == SQLITE_OK)
        code = set_up(db, settings, is_reader);
    if (code != SQLITE_OK)
        fail = explain(settings->path, db, code, why, why_bytes);
    else if (sqlite_functions_add(db, clock))
        fail = explain(settings->path, NULL, SQLITE_NOMEM, why, why_bytes);
    if (fail) {
        sqlite3_close(db);
        return fail;
    }
    *out = db;
    return FAIL_OK;
}
