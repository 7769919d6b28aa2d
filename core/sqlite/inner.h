/* inner.h - what the files of the engine share: the queues, the threads, and the life of a call between them.
 *
 * LOCK   One mutex, engine->lock, guards every field here that is not said to belong to a thread. Held for a few steps,
 *        never while SQLite runs or a loop is posted to.
 * CALL   NEW -> QUEUED [submit]            QUEUED -> RUNNING [a thread takes it]   RUNNING -> QUEUED [reader hands over to writer]
 *        RUNNING -> GROUPED [ran, waits for COMMIT]   GROUPED -> QUEUED [the group was rolled back: once more, alone]
 *        QUEUED, RUNNING, GROUPED -> DONE  The thread that makes it DONE posts or delivers it; after that it is the loop's.
 *        QUEUED -> STOPPED [cancelled in a batch that has begun: its turn will come]   STOPPED -> DONE
 */
#ifndef SQLITE_INNER_H
#define SQLITE_INNER_H

#include "sqlite/connection.h"

#include <assert.h>
#include <pthread.h>
#include <sys/types.h>

enum sqlite_state { STATE_NEW, STATE_QUEUED, STATE_RUNNING, STATE_GROUPED, STATE_STOPPED, STATE_DONE };
/* READ goes to the readers. WRITE shares a commit with others. ALONE cannot run inside a transaction: PRAGMA, VACUUM. */
enum sqlite_class { CLASS_READ, CLASS_WRITE, CLASS_ALONE };
enum { DATA_ENGINE, DATA_WHERE, DATA_BATCH, DATA_ORDER };   /* of engine_data: see the functions below */

struct sqlite_lane {                     /* what waits for the same threads, in order of arrival */
    struct list calls, leases, batches;
    unsigned count;                      /* calls in calls and batches, and leases */
    unsigned idle;                       /* threads waiting on cond */
    pthread_cond_t cond;
};

struct sqlite_engine;
struct sqlite_worker {
    struct sqlite_engine *engine;
    struct sqlite_connection connection; /* the thread's own, but for connection.stop */
    pthread_t thread;
    bool is_writer, has_thread;
    struct sql_call *running;
    struct sqlite_session *session;      /* that it serves */
};

struct sqlite_batch {
    struct list node, calls;
    uint64_t order;
    struct sqlite_lane *lane;
    bool is_atomic, has_begun;
};

struct sqlite_session {
    struct sql_session base;
    struct sqlite_lane lane;             /* calls only */
    struct sqlite_worker *worker;
    bool is_ended;                       /* by the caller: the thread frees it */
    bool is_over;                        /* the thread has left it: the caller's end frees it */
    bool has_failed;                     /* the thread's: a statement failed, only ROLLBACK helps */
    struct sql_error over;               /* what calls get once it is over */
};

struct sqlite_engine {
    struct sql_engine base;
    struct sqlite_settings settings;
    char *path;
    dev_t device;                        /* of the file that was opened */
    ino_t inode;
    pthread_mutex_t lock;
    struct sqlite_lane reads, writes;
    struct sqlite_worker *workers;       /* the first is the writer */
    unsigned worker_count, alive, readers_alive, read_sessions;
    uint64_t next_order;
    unsigned writes_alone;               /* so many of the next writes get a transaction of their own: their group was lost */
    struct map with;                     /* texts that begin with WITH and write */
    struct sqlite_stats stats;
    char trouble[128];                   /* of the file itself (I/O, damage), until something works again; for is_ready */
    bool is_closing, is_forced;
    _Atomic unsigned refs;               /* the threads (together one), calls, leases and sessions */
    struct loop *close_loop;
    struct loop_task close_task;
    struct timer close_timer;
    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

/* --- call.c --- */
static inline uint64_t sqlite_order(void *const data[4]) { return (uintptr_t)data[DATA_ORDER] >> 2; }
static inline enum sqlite_class sqlite_class(void *const data[4]) { return (enum sqlite_class)((uintptr_t)data[DATA_ORDER] & 3); }
static inline void sqlite_order_set(void *data[4], uint64_t order, enum sqlite_class class)
{
    data[DATA_ORDER] = (void *)(uintptr_t)(order << 2 | class);
}

void sqlite_call_prepare(struct sqlite_engine *engine, struct sql_call *call);
/* Starts the deadline; after the call was queued. */
void sqlite_call_watch(struct sql_call *call);
/* Ends a call that was never queued: on_done comes in this turn of its loop. */
void sqlite_call_refuse(struct sql_call *call, enum fail fail, const char *sqlstate, const char *text);
void sqlite_call_cancel(struct sql_call *call);
uint64_t sqlite_deadline_ns(const struct sqlite_engine *engine, uint64_t submitted_ns, unsigned timeout_ms);
/* Under the lock: the worker has it now, and may be stopped for it. / It no longer has it. */
void sqlite_call_start(struct sqlite_worker *worker, struct sql_call *call);
void sqlite_call_leave(struct sqlite_worker *worker, struct sql_call *call, enum sqlite_state state);
/* Without the lock, on a thread: sends those that are DONE to their loops, in order. */
void sqlite_calls_post(struct list *calls);
void sqlite_call_post(struct sql_call *call);
void sqlite_lease_begin(struct sql_engine *engine, struct sql_lease *lease);
void sqlite_lease_cancel(struct sql_lease *lease);

/* --- lane.c, all under the lock --- */
enum sqlite_item { ITEM_NONE, ITEM_CALL, ITEM_LEASE, ITEM_BATCH };
void sqlite_lane_init(struct sqlite_lane *lane);
void sqlite_lane_destroy(struct sqlite_lane *lane);
void sqlite_lane_push(struct sqlite_lane *lane, struct sql_call *call);           /* at the place its order gives it */
void sqlite_lane_remove(struct sqlite_lane *lane, struct sql_call *call);
struct sql_call *sqlite_lane_first(const struct sqlite_lane *lane);
struct sql_lease *sqlite_lane_first_lease(const struct sqlite_lane *lane);
struct sqlite_batch *sqlite_lane_first_batch(const struct sqlite_lane *lane);
enum sqlite_item sqlite_lane_next(const struct sqlite_lane *lane, bool may_lease); /* which came first */
void sqlite_lane_wake(struct sqlite_lane *lane);
void sqlite_lane_wait(struct sqlite_lane *lane, pthread_mutex_t *lock);
/* Ends everything that waits; calls and leases are DONE and on the lists. */
void sqlite_lane_drain(struct sqlite_lane *lane, const struct sql_error *error, struct list *calls, struct list *leases);

/* --- the threads --- */
void sqlite_reader_run(struct sqlite_worker *worker);              /* reader.c; under the lock at both ends, as all below */
void sqlite_writer_run(struct sqlite_worker *worker);              /* writer.c */
void sqlite_session_serve(struct sqlite_worker *worker, struct sql_lease *lease);   /* session.c */
void sqlite_batch_serve(struct sqlite_worker *worker, struct sqlite_batch *batch);  /* batch.c */

void sqlite_session_run(struct sql_session *session, struct sql_call *call);
void sqlite_session_end(struct sql_session *session);
void sqlite_batch_run(struct sql_engine *engine, struct sql_call **calls, unsigned count, bool atomic);
/* Takes the call out of its batch, with all others if it is atomic: those that are DONE by it are on `taken`. */
void sqlite_batch_stop(struct sql_call *call, enum sqlite_stop why, struct list *taken);

/* --- engine.c --- */
void sqlite_engine_run(struct sql_engine *base, struct sql_call *call);
/* Queues a call that was prepared; false: refused, on_done comes. Takes the lock. */
bool sqlite_engine_submit(struct sqlite_engine *engine, struct sql_call *call, struct sqlite_lane *lane, enum sqlite_class class);
void sqlite_engine_learn(struct sqlite_engine *engine, struct str text);                /* under the lock: it writes */
void sqlite_engine_note(struct sqlite_engine *engine, const struct sql_call *call);     /* under the lock: for is_ready */
void sqlite_engine_hold(struct sqlite_engine *engine);
void sqlite_engine_release(struct sqlite_engine *engine);

#endif
