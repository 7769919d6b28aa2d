/* worker.h - one thread that serves: a loop, a Lua VM, an HTTP listener, and the caches' way to Redis.
 *
 * OPEN (the loop turns) -> LOADED [worker_load]  LOADED -> SERVING [worker_serve]
 * SERVING -> DRAINING [worker_drain]  DRAINING -> QUIET [on_quiet]  QUIET -> gone [worker_close]
 * Between QUIET and gone the loop still turns, so that the database engines can take their connections home.
 */
#ifndef WORKER_H
#define WORKER_H

#include "cache/read.h"
#include "http/server.h"
#include "loop/loop.h"
#include "redis/redis.h"
#include "sql/engine.h"

#define WORKERS_MAX 256

struct worker;
struct worker_settings { /* borrowed for the worker's life */
    struct cache_store *store;
    struct cache_flights *flights;
    const struct redis_settings *redis; /* NULL: no L2 */
    struct str redis_prefix;
    struct http_settings http;
    struct str settings_json;
    size_t lua_memory;
};

/* Starts the thread and waits until its loop is there. */
MUST_USE enum fail worker_open(const struct worker_settings *settings, unsigned index, struct worker **out, char *why,
                               size_t why_bytes);
/* Opens the VM and loads the plugins; waits for it. FAIL_INVALID with why: the plugins do not load. */
MUST_USE enum fail worker_load(struct worker *worker, struct sql_engine *sql, char *why, size_t why_bytes);
/* Opens the listener; waits for it. port 0 picks one. */
MUST_USE enum fail worker_serve(struct worker *worker, int port, char *why, size_t why_bytes);
/* Runs the plugins' start functions; then on_started on `loop`, and worker_start_why says how it went. Again after a failure. */
void worker_start(struct worker *worker, struct loop *loop, void (*on_started)(void *arg), void *arg);
const char *worker_start_why(const struct worker *worker);   /* in on_started: "" when all went well, else what failed */
int worker_port(const struct worker *worker);
/* Stops accepting, ends what is under way within drain_ms, closes the VM; then on_quiet on `loop`. Once. */
void worker_drain(struct worker *worker, unsigned drain_ms, struct loop *loop, void (*on_quiet)(void *arg), void *arg);
/* Ends the thread. Only when QUIET or never served. NULL is fine. Returns the handles left open (0 is right). */
unsigned worker_close(struct worker *worker);
struct loop *worker_loop(struct worker *worker);
bool worker_redis_ready(struct worker *worker, char *why,
                        size_t why_bytes); /* any thread; true where there is no Redis */

#endif
