/* engine.h - SQLite behind sql/engine.h: one writer thread, several reader threads, results posted to the loops.
 *
 * Statements are written for PostgreSQL as far as both can: parameters are $1, $2 ..; `$1::type` is taken as $1, for SQLite
 * types values and not columns. Functions that SQLite lacks are in functions.h. A session behaves as PostgreSQL's: after a
 * failed statement the others get 25P02 until ROLLBACK or ROLLBACK TO, and COMMIT rolls back and says so.
 *
 * Refused, because they would hold on one of several connections only: ATTACH, DETACH, and PRAGMAs that set what belongs to a
 * connection (42501). BEGIN and its like belong into a session (25001).
 */
#ifndef SQLITE_ENGINE_H
#define SQLITE_ENGINE_H

#include "sql/engine.h"

struct sqlite_settings {           /* 0 everywhere gives the defaults in brackets */
    const char *path;              /* of the file; copied */
    unsigned readers;              /* reader threads [2] */
    unsigned queue_max;            /* calls waiting for the writer, and again for the readers; more end with FAIL_FULL [4096] */
    unsigned busy_ms;              /* waiting for another process's lock; past it the call ends with 55P03 [5000] */
    unsigned timeout_ms;           /* deadline of calls and leases that name none [30000] */
    unsigned idle_ms;              /* a session that asks nothing for so long is rolled back: 25P03 [10000] */
    unsigned statement_cache;      /* prepared statements kept per connection [256] */
    unsigned group_max;            /* writes that share one commit [256] */
    bool create;                   /* make the file where there is none */
    bool keep_journal;             /* leave the journal mode as it is; else the file is put into WAL mode */
    bool sync_normal;              /* sync at checkpoints only: a power loss may take the last commits. Else every commit is synced */
};

/* Opens the file and starts the threads. Blocks (call before the loops run). On failure `why` says what to do. FAIL_MISSING: no
 * such file. FAIL_INVALID: not a database, or settings that cannot be. FAIL_IO: not to be opened. FAIL_NOMEM. */
MUST_USE enum fail sqlite_engine_open(const struct sqlite_settings *settings, struct sql_engine **out, char *why, size_t why_bytes);

/* What it did since it was opened. commits <= writes tells how many writes shared a commit. */
struct sqlite_stats { uint64_t reads, writes, commits, busy, sessions; };
struct sqlite_stats sqlite_engine_stats(struct sql_engine *engine);

#endif
