/* settings.h - what an operator can say about a PostgreSQL host and the pool in front of it. */
#ifndef POSTGRES_SETTINGS_H
#define POSTGRES_SETTINGS_H

#include "base/fail.h"

#include <stdbool.h>
#include <stddef.h>

/* What stands between us and the server. AUTO: each new connection finds out. */
enum postgres_front { POSTGRES_FRONT_AUTO, POSTGRES_FRONT_PGBOUNCER };

struct postgres_settings {
    const char *conninfo;                /* URL or keyword=value, as libpq documents it (PostgreSQL 15, 34.1.1) */
    const char *name;                    /* label of logs and metrics, "primary" */
    const char *application_name;        /* seen in pg_stat_activity, "wick" */
    unsigned min_size, max_size;         /* connections for the whole process; those that open, are reset or cancelled count, too */
    bool autosize;                       /* the size is found by trying, from min_size to max_size and the share (autosize.h) */
    unsigned share_percent;              /* of the server's max_connections that autosize may use */
    unsigned connecting_limit;           /* attempts to connect at a time; 1 after a failure, doubling with each success */
    unsigned max_uses;                   /* a connection is replaced after so many leases; 0: never */
    unsigned max_waiting;                /* calls in the queue; one more is refused */
    unsigned idle_timeout_ms;            /* above min_size only; 0: never */
    unsigned max_lifetime_ms;            /* minus up to 10 %, so that they do not end together; 0: never */
    unsigned keepalive_ms;               /* an idle connection is asked whether its server is there after so long; 0: never .. */
    unsigned ping_timeout_ms;            /* .. and closed when it does not answer within this */
    unsigned acquire_timeout_ms;         /* in the queue */
    unsigned connect_timeout_ms;         /* names, TCP, TLS and password together */
    unsigned statement_timeout_ms;       /* of calls that name none */
    unsigned idle_in_transaction_ms;     /* a session that sends nothing for so long is rolled back */
    unsigned listen_ping_ms;             /* a listening connection that hears nothing is asked after so long whether it lives */
    unsigned statements_max;             /* prepared ones kept on each connection */
    bool batches;                        /* quick reads of one loop turn share a pipeline and a Sync (batch.h) */
    enum postgres_front front;
    unsigned dns_ttl_ms;                 /* the addresses of a host name serve so long (name.h) */
    struct postgres_settings *older;     /* no setting: private to pool.c */
};

/* 5 to 20 connections, 2 connecting, 1,000 waiting, idle 30 s, life 30 min, keepalive 30 s, ping 1 s, acquire 5 s, connect 5 s, statements
 * 30 s, idle in transaction 10 s, names 15 s. */
struct postgres_settings postgres_settings_default(void);

/* FAIL_INVALID and why (nothing of a password) for what would never connect: libpq does not read it, a port that is none, a service. */
MUST_USE enum fail postgres_settings_check_url(const char *conninfo, char *why, size_t why_bytes);
/* A checked copy with one reference, for any thread to hold and release. FAIL_INVALID with `why` in words: libpq's, or about the sizes. */
MUST_USE enum fail postgres_settings_copy(const struct postgres_settings *settings, struct postgres_settings **out, char *why,
                                          size_t why_bytes);
/* Two connection strings that differ in their passwords at most. False, too, where libpq does not read one of them. */
bool postgres_settings_lead_to_one(const char *one, const char *other);
struct postgres_settings *postgres_settings_hold(struct postgres_settings *settings);
void postgres_settings_release(struct postgres_settings *settings);   /* NULL is fine */

/* Of a copy: a pooler is in between, as far as is known, because `front` says so or a connection has found out. Any thread. */
bool postgres_settings_is_pooled(const struct postgres_settings *settings);
void postgres_settings_note_pooled(struct postgres_settings *settings, bool is_pooled);

#endif
