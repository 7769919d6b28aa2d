/* resolve.h - what libpq is told to connect to, with every host name already turned into addresses.
 *
 * libpq looks names up inside PQconnectPoll, which would block the loop, unless it is given `hostaddr`. So names are looked up
 * on a work thread, anew for each attempt (an address may move), and a host with several addresses is listed once for each.
 */
#ifndef POSTGRES_RESOLVE_H
#define POSTGRES_RESOLVE_H

#include "loop/work.h"
#include "postgres/settings.h"

enum { POSTGRES_PARAMS_MAX = 64 };

struct postgres_target {
    struct work work;                                /* private to resolve.c */
    struct postgres_settings *settings;
    const char *application_name;
    const char *keys[POSTGRES_PARAMS_MAX + 1], *values[POSTGRES_PARAMS_MAX + 1];   /* for PQconnectStartParams, once resolved */
    char *hosts, *addresses, *ports, *options;       /* owned texts some of `values` point to */
    void *parsed;                                    /* libpq's PQconninfoOption array, the others do */
    char why[256];
    void (*on_done)(struct postgres_target *target, enum fail fail);
    void *arg;
};

/* on_done comes once, on the loop, never from within; FAIL_MISSING with `why` in words when a name has no address, FAIL_CANCELLED.
 * When this returns a failure it does not come. The target lives until then and ends with postgres_target_clear. */
MUST_USE enum fail postgres_target_resolve(struct loop *loop, struct postgres_target *target,
                                           void (*on_done)(struct postgres_target *target, enum fail fail), void *arg);
void postgres_target_clear(struct postgres_target *target);

#endif
