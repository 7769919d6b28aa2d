/* engine.h - PostgreSQL behind sql/engine.h: one pool for the process, a lane for each loop.
 *
 * Beyond what sql/engine.h promises: an atomic sql_run_many has taken place only if every call of it is FAIL_OK; to cancel one call of a
 * sql_run_many ends all of it that is not finished; a session's calls run in order. A call whose connection is lost runs once more on
 * another one if it is a read (call->read_only), is idempotent, or was never sent; anything else ends with the server's reason, or 08006,
 * and error.sent. retry.c says what else runs again.
 */
#ifndef POSTGRES_ENGINE_H
#define POSTGRES_ENGINE_H

#include "loop/loop.h"
#include "postgres/settings.h"
#include "sql/engine.h"

/* The loops are those that will submit calls, all of them; they need not turn yet, and must outlive the engine. Connects in
 * the background: a server that is absent is no failure here, is_ready tells. The settings are copied.
 * The first call of the process sets PGDATESTYLE and PGTZ in the environment, so make it before threads that read that are started.
 * FAIL_INVALID: `why` says what is wrong with them. */
MUST_USE enum fail postgres_engine_open(const struct postgres_settings *settings, struct loop *const *loops, unsigned loop_count,
                                        struct sql_engine **out, char *why, size_t why_bytes);

/* Sizes and times of the pool hold as given here from now on, without a connection being lost in use: too many are closed as they become
 * idle, and so are those whose idle guard is another one. What says where the server is, and the names, stay as they
 * were. From any thread. FAIL_INVALID as above, and nothing has changed. */
MUST_USE enum fail postgres_engine_apply(struct sql_engine *engine, const struct postgres_settings *settings, char *why, size_t why_bytes);

#endif
