/* pooler.c - the first question, and what may not be said behind a pooler.
 *
 * DESIGN  A back end knows its pid; a pooler tells its clients numbers of its own. So one question on each new connection tells them apart,
 *         whatever the pooler is called, and also when one is put in between, or taken away, while wick runs. It is asked in the background
 *         of opening, a round trip after the five or so of the log-in. The same answer holds the settings that JSON relies on and that cannot
 *         be sent through a pooler; where they are not the defaults of PostgreSQL 12 and later, the connection is refused in words.
 *         Considered: a probe for each pool only (a pooler put in between later is not seen until something breaks), and SET on each new
 *         connection (it stays on a back end that belongs to others, too).
 * Path:   postgres/connection, query > [postgres/pooler] > libpq
 */
#include "postgres/pooler.h"

#include "postgres/dirt.h"
#include "sql/statement.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set_environment(void)
{
    setenv("PGDATESTYLE", "ISO, MDY", /* overwrite= */ 1);
    setenv("PGTZ", "UTC", /* overwrite= */ 1);
}

void postgres_pooler_set_environment(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_environment);
}

/* --- the first question --------------------------------------------------------------------------------------- */

static const struct {
    const char *name, *value;
} wanted[] = { { "DateStyle", "ISO, MDY" }, { "TimeZone", "UTC" },         { "IntervalStyle", "postgres" },
               { "bytea_output", "hex" },   { "client_encoding", "UTF8" }, { "extra_float_digits", "1" } };

/* Of extra_float_digits any number above 0 means the same. */
static bool is_fit(const char *value, const char *wanted_value)
{
    return strcmp(value, wanted_value) == 0 || (strcmp(wanted_value, "1") == 0 && atoi(value) > 0);
}

bool postgres_pooler_ask(PGconn *pg)
{
    return PQsendQueryParams(
               pg,
               "select pg_catalog.pg_backend_pid(), pg_catalog.current_setting('DateStyle'), "
               "pg_catalog.current_setting('TimeZone'), pg_catalog.current_setting('IntervalStyle'), "
               "pg_catalog.current_setting('bytea_output'), pg_catalog.current_setting('client_encoding'), "
               "pg_catalog.current_setting('extra_float_digits')",
               0, NULL, NULL, NULL, NULL, /* resultFormat= */ 0) == 1;
}

enum postgres_pooler_answer postgres_pooler_judge(PGconn *pg, const PGresult *result, struct sql_error *error)
{
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const char *value = PQgetvalue(result, 0, (int)i + 1);
        if (is_fit(value, wanted[i].value))
            continue;
        sql_error_set(error, "28000",
                      "%s is \"%.40s\" on the server, and a pooler in between does not let it be set for a connection; "
                      "make it \"%s\" "
                      "with ALTER ROLE .. SET",
                      wanted[i].name, value, wanted[i].value);
        return POSTGRES_POOLER_UNFIT;
    }
    return atoi(PQgetvalue(result, 0, 0)) == PQbackendPID(pg) ? POSTGRES_POOLER_NONE : POSTGRES_POOLER_THERE;
}

bool postgres_pooler_refuses_options(const char *message)
{
    return strstr(message, "unsupported startup parameter: options") != NULL;
}

const char *postgres_pooler_sqlstate(const char *message)
{
    static const struct {
        const char *words, *sqlstate;
    } known[] = { { "authentication failed", "28P01" },
                  { "no such user", "28P01" },
                  { "no such database", "3D000" },
                  { "no more connections allowed", "53300" } };
    for (size_t i = 0; strstr(message, "08P01") && i < sizeof known / sizeof *known; i++)
        if (strstr(message, known[i].words))
            return known[i].sqlstate;
    return NULL;
}

/* --- what may not be said ------------------------------------------------------------------------------------- */

bool postgres_pooler_forbids(struct str text, unsigned dirt, struct sql_error *error)
{
    static const char *const lasting[] = { "reset", "discard", "deallocate", "unlisten" };
    struct str verb = STR_NONE;
    size_t at = 0;
    (void)sql_statement_next(text, SQL_POSTGRES, &at, &verb);
    bool is_forbidden = (dirt & ~(unsigned)POSTGRES_DIRT_UNTOLD) != 0;
    for (size_t i = 0; i < sizeof lasting / sizeof *lasting; i++)
        is_forbidden |= str_is_nocase(verb, str_of(lasting[i]));
    if (!is_forbidden)
        return false;
    if (str_is_nocase(verb, STR("listen")))
        sql_error_set(error, "0A000",
                      "LISTEN does not work through a pooler in transaction mode, such as PgBouncer: notifications "
                      "come on a connection "
                      "that is kept; give wick the address of PostgreSQL itself");
    else
        sql_error_set(error, "0A000",
                      "this %.*s would outlive its transaction, on a back end that others use through the same pooler; "
                      "use what ends "
                      "with the transaction: SET LOCAL, set_config(.., true), pg_advisory_xact_lock",
                      (int)(verb.len < 20 ? verb.len : 20), verb.data);
    return true;
}
