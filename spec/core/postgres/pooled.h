/* pooled.h - a private PgBouncer in transaction mode in front of the server of the run. Included by world.h.
 *
 * Built with SPEC_POOLED, a spec program lets its engines go through it; the admin stays with the server itself. That is how the whole
 * pool suite runs once more, as postgres_pooled_*. `skip_pooled` names the sentences that are not true there, and why.
 */
#ifndef SPEC_POSTGRES_POOLED_H
#define SPEC_POSTGRES_POOLED_H

#include "support/servers.h"

#include <libpq-fe.h>

struct pooler {
    char folder[200], url[256];
    PGconn *console;
};

/* `port` is the server's; settings as servers.sh takes them. */
static inline void start_pooler(struct pooler *pooler, int port, const char *settings)
{
    char arguments[512];
    if (!pooler->folder[0])
        servers_folder(pooler->folder, sizeof pooler->folder, "pooler");
    snprintf(arguments, sizeof arguments, "pgbouncer start %s --server=%d %s", pooler->folder, port, settings);
    servers_run(arguments, "url", pooler->url, sizeof pooler->url);
}

/* How many clients it has, of the database and the user wick. */
static inline int pooler_clients(struct pooler *pooler)
{
    char url[300];
    int clients = 0;
    if (!pooler->console) {
        snprintf(url, sizeof url, "%.*s/pgbouncer", (int)(strrchr(pooler->url, '/') - pooler->url), pooler->url);
        pooler->console = PQconnectdb(url);
    }
    PGresult *result = PQexec(pooler->console, "show pools");
    assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
    for (int i = 0; i < PQntuples(result); i++)
        if (strcmp(PQgetvalue(result, i, 0), "wick") == 0)
            clients += atoi(PQgetvalue(result, i, PQfnumber(result, "cl_active"))) +
                       atoi(PQgetvalue(result, i, PQfnumber(result, "cl_waiting")));
    PQclear(result);
    return clients;
}

static inline void stop_pooler(struct pooler *pooler)
{
    PQfinish(pooler->console);
    if (pooler->folder[0])
        servers_stop("pgbouncer", pooler->folder);
    *pooler = (struct pooler){ .url = "" };
}

static inline int port_of(const char *url)
{
    const char *colon = strrchr(url, ':');
    return colon ? atoi(colon + 1) : 5432;
}

#ifdef SPEC_POOLED
static struct pooler the_pooler;
#define skip_pooled(why) \
    do { \
        fprintf(stderr, "skipped behind a pooler: %s\n", why); \
        skip(); \
    } while (0)
#else
#define skip_pooled(why) ((void)0)
#endif

#endif
