/* admin.h - what operators' tools ask: /healthz (the process turns), /readyz (it can answer), /metrics, and what
 * the database pool is doing (/admin/pool).
 *
 * A listener of its own, on 127.0.0.1 unless configured otherwise. Checks are named and listed in the answer of /readyz.
 */
#ifndef SERVE_ADMIN_H
#define SERVE_ADMIN_H

#include "base/list.h"
#include "http/server.h"
#include "sql/engine.h"

struct serve_admin;
struct serve_check {                 /* one condition of readiness; lives in its owner */
    struct list node;
    const char *name;
    bool is_required;                /* false: shown, but a failure leaves the process ready (e.g. Redis) */
    bool (*is_ready)(void *arg, char *why, size_t why_bytes);
    void *arg;
};
MUST_USE enum fail serve_admin_open(struct loop *loop, const char *host, int port, struct serve_admin **out, char *why,
                                    size_t why_bytes);
void serve_admin_check(struct serve_admin *admin, struct serve_check *check);
/* /admin/pool is about this one. */
void serve_admin_engine(struct serve_admin *admin, struct sql_engine *engine);
void serve_admin_draining(struct serve_admin *admin);        /* /readyz says 503 from now on */
int serve_admin_port(const struct serve_admin *admin);
void serve_admin_close(struct serve_admin *admin, void (*on_closed)(void *arg), void *arg);

#endif
