/* settings.c - defaults, and the check that finds what is wrong before the first connection is tried.
 *
 * HOLDS   A copy is one block: the struct with its strings behind it, and never changes but for is_pooled. It is counted because each
 *         connection reads those it was opened with, on whichever loop it is, also when others are in force.
 * Path:   app > [postgres/settings] > libpq
 */
#include "postgres/settings.h"

#include "base/mem.h"
#include "base/str.h"
#include "postgres/prepare.h"

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct counted {
    struct postgres_settings settings; /* first: what the world sees */
    atomic_uint references;
    atomic_bool is_pooled;
};

struct postgres_settings postgres_settings_default(void)
{
    return (struct postgres_settings){
        .conninfo = "",
        .name = "primary",
        .application_name = "wick",
        .min_size = 5,
        .max_size = 20,
        .share_percent = 80,
        .connecting_limit = 2,
        .max_waiting = 1000,
        .idle_timeout_ms = 30 * 1000,
        .max_lifetime_ms = 30 * 60 * 1000,
        .keepalive_ms = 30 * 1000,
        .ping_timeout_ms = 1000,
        .acquire_timeout_ms = 5 * 1000,
        .connect_timeout_ms = 5 * 1000,
        .statement_timeout_ms = 30 * 1000,
        .idle_in_transaction_ms = 10 * 1000,
        .listen_ping_ms = 10 * 1000,
        .statements_max = POSTGRES_PREPARED_MAX,
        .batches = true,
        .dns_ttl_ms = 15 * 1000,
    };
}

/* What its file says is read by libpq alone, which would then look the host's name up on the loop. PGSERVICE is among the defaults that
 * resolve.c asks libpq for, so that host is known. */
static bool names_service(const PQconninfoOption *options)
{
    for (; options->keyword; options++)
        if (strcmp(options->keyword, "service") == 0)
            return options->val && options->val[0];
    return false;
}

/* One, or as many as there are hosts with commas between; an empty one is the default. libpq looks only when it connects. */
static bool are_ports(struct str ports)
{
    while (ports.len > 0) {
        struct str port = str_split(&ports, ',');
        uint64_t number = 1;
        if (port.len > 0 && (!str_uint64(port, &number) || number < 1 || number > 65535))
            return false;
    }
    return true;
}

static bool has_bad_port(const PQconninfoOption *options)
{
    for (; options->keyword; options++)
        if (strcmp(options->keyword, "port") == 0)
            return options->val && !are_ports(str_of(options->val));
    return false;
}

/* A port that is none may be the rest of a password, so it is not shown. */
static const char *mistake_of(const PQconninfoOption *options)
{
    if (names_service(options))
        return "the connection string names a service: write host, port and the rest into it, or set PGSERVICE";
    if (has_bad_port(options))
        return "the port must be a number from 1 to 65535 (in a password, write : as %3A, / as %2F and @ as %40)";
    return NULL;
}

enum fail postgres_settings_check_url(const char *conninfo, char *why, size_t why_bytes)
{
    char *error = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &error);
    if (options) {
        const char *mistake = mistake_of(options);
        PQconninfoFree(options);
        snprintf(why, why_bytes, "%s", mistake ? mistake : "");
        return mistake ? FAIL_INVALID : FAIL_OK;
    }
    /* libpq may quote what it did not understand, and that may be a password: only its first words are safe. */
    size_t len = error ? strcspn(error, "\"\n") : 0;
    while (len > 0 && (error[len - 1] == ' ' || error[len - 1] == ':'))
        len--;
    snprintf(why, why_bytes, "the connection string is not one libpq reads: %.*s", (int)len, error ? error : "");
    PQfreemem(error);
    return FAIL_INVALID;
}

/* libpq gives all that it knows, in one order. */
static bool is_same_but_password(const PQconninfoOption *one, const PQconninfoOption *other)
{
    for (; one->keyword && other->keyword; one++, other++) {
        bool is_secret = strcmp(one->keyword, "password") == 0 || strcmp(one->keyword, "sslpassword") == 0;
        if (!is_secret && strcmp(one->val ? one->val : "", other->val ? other->val : "") != 0)
            return false;
    }
    return true;
}

bool postgres_settings_lead_to_one(const char *one, const char *other)
{
    PQconninfoOption *options = PQconninfoParse(one, NULL), *others = PQconninfoParse(other, NULL);
    bool is_same = options && others && is_same_but_password(options, others);
    PQconninfoFree(options);
    PQconninfoFree(others);
    return is_same;
}

static enum fail check_sizes(const struct postgres_settings *settings, char *why, size_t why_bytes)
{
    if (settings->max_size == 0) {
        snprintf(why, why_bytes, "max_size is 0: a pool needs at least one connection");
        return FAIL_INVALID;
    }
    if (settings->min_size > settings->max_size) {
        snprintf(why, why_bytes, "min_size %u is above max_size %u", settings->min_size, settings->max_size);
        return FAIL_INVALID;
    }
    if (settings->connecting_limit == 0 || (settings->keepalive_ms && settings->ping_timeout_ms == 0)) {
        snprintf(why, why_bytes, "connecting_limit and ping_timeout must be above 0");
        return FAIL_INVALID;
    }
    if (settings->statements_max == 0) {
        snprintf(why, why_bytes, "statement_cache is 0: a connection keeps at least one prepared statement");
        return FAIL_INVALID;
    }
    if (settings->acquire_timeout_ms == 0 || settings->connect_timeout_ms == 0 || settings->statement_timeout_ms == 0) {
        snprintf(why, why_bytes,
                 "acquire_timeout, connect_timeout and statement_timeout must be above 0: no wait is without end");
        return FAIL_INVALID;
    }
    return FAIL_OK;
}

static const char *put(char **at, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = memcpy(*at, text, bytes);
    *at += bytes;
    return copy;
}

enum fail postgres_settings_copy(const struct postgres_settings *settings, struct postgres_settings **out, char *why,
                                 size_t why_bytes)
{
    enum fail fail = postgres_settings_check_url(settings->conninfo, why, why_bytes);
    if (!fail)
        fail = check_sizes(settings, why, why_bytes);
    if (fail)
        return fail;
    size_t bytes = strlen(settings->conninfo) + strlen(settings->name) + strlen(settings->application_name) + 3;
    struct counted *counted = mem_alloc(MEM_POSTGRES, sizeof *counted + bytes);
    if (!counted) {
        snprintf(why, why_bytes, "no memory for the settings of the pool");
        return FAIL_NOMEM;
    }
    atomic_init(&counted->references, 1);
    atomic_init(&counted->is_pooled, settings->front == POSTGRES_FRONT_PGBOUNCER);
    struct postgres_settings *copy = &counted->settings;
    char *at = (char *)(counted + 1);
    *copy = *settings;
    copy->conninfo = put(&at, settings->conninfo);
    copy->name = put(&at, settings->name);
    copy->application_name = put(&at, settings->application_name);
    *out = copy;
    return FAIL_OK;
}

struct postgres_settings *postgres_settings_hold(struct postgres_settings *settings)
{
    atomic_fetch_add_explicit(&((struct counted *)settings)->references, 1, memory_order_relaxed);
    return settings;
}

void postgres_settings_release(struct postgres_settings *settings)
{
    struct counted *counted = (struct counted *)settings;
    if (counted && atomic_fetch_sub_explicit(&counted->references, 1, memory_order_acq_rel) == 1)
        mem_free(counted);
}

bool postgres_settings_is_pooled(const struct postgres_settings *settings)
{
    return atomic_load_explicit(&((const struct counted *)settings)->is_pooled, memory_order_relaxed);
}

void postgres_settings_note_pooled(struct postgres_settings *settings, bool is_pooled)
{
    if (settings->front == POSTGRES_FRONT_AUTO)
        atomic_store_explicit(&((struct counted *)settings)->is_pooled, is_pooled, memory_order_relaxed);
}
