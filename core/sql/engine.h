/* engine.h - one interface to run statements, two engines behind it (postgres/engine.h, sqlite/engine.h).
 *
 * An engine serves all loops of the process. Calls are the caller's memory, embedded where the caller likes; from
 * submit to on_done they belong to the engine. on_done comes exactly once, on the loop that submitted, never from
 * within the submitting call, also after cancel, deadline and shutdown. The receiver owns call->rows then.
 *
 *   autocommit: sql_run(engine, call)
 *   session:    sql_begin(engine, lease) .. sql_session_run(session, call) .. sql_session_end(session)
 *
 * A session is one connection in one transaction: sql_begin sends BEGIN (with the first statement where the engine can);
 * COMMIT and ROLLBACK are calls of sql_session_run like any other. sql_session_end gives the connection back; if the
 * transaction is still open it is rolled back first, by the engine, whatever state the caller left.
 */
#ifndef SQL_ENGINE_H
#define SQL_ENGINE_H

#include "base/buf.h"
#include "base/fail.h"
#include "base/list.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "sql/error.h"
#include "sql/rows.h"
#include "sql/value.h"

struct sql_engine;
struct sql_session;
struct sql_copy_ops;   /* sql/copy.h */
struct sql_listen_ops; /* sql/listen.h */

struct sql_call {
    /* set by the caller; text and params are borrowed until on_done */
    struct str text;                       /* one statement, parameters as $1, $2 ... */
    const struct sql_value *params;
    unsigned param_count;
    unsigned timeout_ms;                   /* from submit to on_done, queueing included; 0: the engine's default */
    size_t bytes_max;                      /* a larger result ends with 54000; 0: 64 MiB */
    const char *holder;                    /* for people: who asks, such as the name of a route; lives until on_done, or NULL */
    bool read_only;                        /* declared: may be retried, batched, sent to a replica */
    bool idempotent;                       /* declared: to take effect twice is as good as once */
    bool alone;                            /* shares no round trip with others, however quick it is */
    bool shares_commit;                    /* one commit for those of a turn; each is run again alone if it fails */
    void (*on_done)(struct sql_call *call);
    void *arg;
    /* the outcome */
    enum fail fail;                        /* FAIL_OK, FAIL_SQL (error says why), FAIL_TIMEOUT, FAIL_CANCELLED, FAIL_FULL, FAIL_REFUSED.. */
    struct sql_error error;
    struct sql_rows *rows;                 /* set on FAIL_OK, also for statements without columns */
    /* the engine's */
    struct loop *loop;
    struct list node;
    struct loop_task task;
    struct timer timer;
    void *engine_data[4];
    uint64_t submitted_ns, queued_ns, started_ns;   /* queued: since when it waits for a connection, this time */
    int state;
};

/* Asks for a session. on_lease comes once: with session set on FAIL_OK. */
struct sql_lease {
    unsigned timeout_ms;
    const char *holder;                    /* as in a call; lives until sql_session_end */
    bool read_only;
    void (*on_lease)(struct sql_lease *lease);
    void *arg;
    enum fail fail;
    struct sql_error error;
    struct sql_session *session;
    struct loop *loop;
    struct list node;
    struct loop_task task;
    struct timer timer;
    void *engine_data[4];
    uint64_t submitted_ns;
    int state;
};

/* A look at the engine for people: JSON, made on the loops that know. */
enum { SQL_REPORT_BYTES_MAX = 4 << 20 };
struct sql_report {
    struct loop *loop;                     /* on_done comes here, exactly once, never from within */
    struct buf json;                       /* initialised by the caller, and theirs to clear */
    void (*on_done)(struct sql_report *report);
    void *arg;
    enum fail fail;
    struct loop_task task;                 /* the engine's */
};

struct sql_engine_ops {
    const char *dialect;                                              /* "postgres" or "sqlite" */
    void (*run)(struct sql_engine *engine, struct sql_call *call);
    /* The calls run in order on one connection, in one round trip where the engine can, as one implicit transaction when
     * atomic; each gets its own on_done, in order; after a failure the ones behind get 25P02-class errors when atomic. */
    void (*run_many)(struct sql_engine *engine, struct sql_call **calls, unsigned count, bool atomic);
    void (*cancel)(struct sql_call *call);                            /* on_done still comes */
    void (*begin)(struct sql_engine *engine, struct sql_lease *lease);
    void (*begin_cancel)(struct sql_lease *lease);                    /* on_lease still comes */
    void (*session_run)(struct sql_session *session, struct sql_call *call);
    void (*session_end)(struct sql_session *session);                 /* the session is gone for the caller at once */
    const struct sql_copy_ops *copy;                                  /* NULL: the engine has no COPY */
    const struct sql_listen_ops *listen;                              /* NULL: no LISTEN */
    /* For the metrics, on any of the engine's loops: a transaction was run again from its beginning, or is held too long. May be NULL. */
    void (*note_retry)(struct sql_engine *engine, const char *sqlstate, const char *outcome);
    void (*note_leak)(struct sql_engine *engine, const char *reason);
    /* A statement answered lately, or at least a connection is there: for /readyz. why is filled otherwise. */
    bool (*is_ready)(struct sql_engine *engine, char *why, size_t why_bytes);
    void (*report)(struct sql_engine *engine, struct sql_report *report);
    /* Asks running calls to end (cancelled after drain_ms), closes connections, ends threads. Call on the main thread
     * when all loops that used it still turn; on_closed posts to `loop`. */
    void (*close)(struct sql_engine *engine, struct loop *loop, unsigned drain_ms, void (*on_closed)(void *arg), void *arg);
};
struct sql_engine { const struct sql_engine_ops *ops; };             /* first member of the engine's own struct */
struct sql_session { struct sql_engine *engine; };                   /* likewise */

static inline void sql_run(struct sql_engine *engine, struct sql_call *call) { engine->ops->run(engine, call); }
static inline void sql_run_many(struct sql_engine *engine, struct sql_call **calls, unsigned count, bool atomic)
{
    engine->ops->run_many(engine, calls, count, atomic);
}
static inline void sql_cancel(struct sql_engine *engine, struct sql_call *call) { engine->ops->cancel(call); }
static inline void sql_begin(struct sql_engine *engine, struct sql_lease *lease) { engine->ops->begin(engine, lease); }
static inline void sql_session_run(struct sql_session *session, struct sql_call *call) { session->engine->ops->session_run(session, call); }
static inline void sql_session_end(struct sql_session *session) { session->engine->ops->session_end(session); }

#endif
