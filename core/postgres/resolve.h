/* resolve.h - what libpq is told to connect to, with every host name already turned into addresses.
 *
 * libpq looks names up inside PQconnectPoll, which would block the loop, unless it is given `hostaddr`. So names are looked up
 * before (name.h), anew for each attempt once an answer is older than dns_ttl, and a host with several addresses is listed once for each.
 */
#ifndef POSTGRES_RESOLVE_H
#define POSTGRES_RESOLVE_H

#include "postgres/name.h"
#include "postgres/settings.h"

enum { POSTGRES_PARAMS_MAX = 64, POSTGRES_HOSTS_MAX = 16 };

struct postgres_host {
    struct postgres_target *target;
    struct str name, port;
    bool is_waiting;                                 /* wait's on_done is to come */
    struct postgres_name_wait wait;                  /* of a host that is a name */
    char address[POSTGRES_ADDRESS_BYTES];            /* of one that is a number; "" for a socket's folder */
};

struct postgres_target {
    struct postgres_settings *settings;
    const char *application_name;
    const char *keys[POSTGRES_PARAMS_MAX + 1], *values[POSTGRES_PARAMS_MAX + 1];   /* for PQconnectStartParams, once resolved */
    /* private to resolve.c */
    struct postgres_host hosts[POSTGRES_HOSTS_MAX];
    unsigned host_count, waiting;
    bool is_due, is_left;
    bool is_bare;                                    /* our `options` are dropped */
    struct loop_task task;
    char *host_list, *port_list, *address_list, *options;   /* owned texts some of `values` point to */
    void *parsed, *defaults;                         /* libpq's PQconninfoOption arrays, the others do */
    char why[256];
    void (*on_done)(struct postgres_target *target, enum fail fail);
    void *arg;
};

/* on_done comes once, on the loop, never from within; FAIL_MISSING with `why` in words when no name has an address, FAIL_CANCELLED.
 * When this returns a failure it does not come. The target lives until then and ends with postgres_target_clear. */
MUST_USE enum fail postgres_target_resolve(struct loop *loop, struct postgres_target *target,
                                           void (*on_done)(struct postgres_target *target, enum fail fail), void *arg);
/* True: on_done does not come any more. False: it comes very soon. */
bool postgres_target_leave(struct postgres_target *target);
/* The server does not take what we add to `options` (pooler.h): from now on keys and values are without. */
void postgres_target_drop_options(struct postgres_target *target);
/* The name behind a host, as PQhost gives it; NULL where it is no name. Up to date as long as the target is there. */
const struct postgres_name_wait *postgres_target_name(const struct postgres_target *target, const char *host);
void postgres_target_clear(struct postgres_target *target);

#endif
