/* listen.h - notifications of a database to whoever subscribed to a channel, and the honest word when some may have been missed.
 *
 *   sql_listen -> on_gap (LISTEN holds from here on) -> on_note .. -> on_gap (the connection was lost, and holds again) -> on_note ..
 *
 * on_gap says: whatever was sent before this may have been missed, so drop what you keep. It comes once when the subscription begins to
 * hold, after each loss of the connection, and when the subscriber was so slow that its queue overflowed. Notes come in order.
 */
#ifndef SQL_LISTEN_H
#define SQL_LISTEN_H

#include "sql/engine.h"

struct sql_subscription;

/* Both come on the loop that subscribed, never from within. False: not now; the same comes again after sql_listen_resume. */
struct sql_listener {
    bool (*on_note)(void *arg, struct str payload, int pid);            /* pid: of the back end that notified */
    bool (*on_gap)(void *arg);
    void *arg;
};

typedef enum fail sql_listen_to(struct sql_engine *engine, struct str channel, const struct sql_listener *listener,
                                struct sql_subscription **out, struct sql_error *error);
struct sql_listen_ops {
    sql_listen_to *listen;
    void (*unlisten)(struct sql_subscription *subscription);
    void (*resume)(struct sql_subscription *subscription);
};
struct sql_subscription { struct sql_engine *engine; };                 /* first member of the engine's own struct */

/* Any loop of the engine. Succeeds also while the server is away: then on_gap comes when it is back. On failure `error` says why:
 * FAIL_INVALID (no name of a channel, or the engine has no LISTEN), FAIL_REFUSED (a pooler in between), FAIL_FULL, FAIL_CLOSED,
 * FAIL_NOMEM. */
static inline MUST_USE enum fail sql_listen(struct sql_engine *engine, struct str channel, const struct sql_listener *listener,
                                            struct sql_subscription **out, struct sql_error *error)
{
    if (engine->ops->listen)
        return engine->ops->listen->listen(engine, channel, listener, out, error);
    sql_error_set(error, "0A000", "%s has no LISTEN and NOTIFY; serve from PostgreSQL, or do without", engine->ops->dialect);
    return FAIL_INVALID;
}
/* On the loop that subscribed; nothing comes after it returns. To be called before the engine is closed. */
static inline void sql_unlisten(struct sql_subscription *subscription) { subscription->engine->ops->listen->unlisten(subscription); }
static inline void sql_listen_resume(struct sql_subscription *subscription) { subscription->engine->ops->listen->resume(subscription); }

#endif
