/* refusal.c - makes an error with a SQLSTATE and an advice of what libpq says when a connection cannot be had.
 *
 * DESIGN  The server's own SQLSTATE where there is one; else a pooler's reason told by its text, 28000 where it is about certificates, which
 *         no second attempt mends, and 08001 for all the rest.
 * Path:   postgres/connection > [postgres/refusal] > postgres/pooler
 */
#include "postgres/refusal.h"

#include "postgres/pooler.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Connection errors come as text only; asked to be verbose, libpq puts the SQLSTATE behind the severity: "FATAL:  28P01: ..". */
static const char *find_sqlstate(const char *message)
{
    for (const char *at = message; (at = strstr(at, ":  ")); at++) {
        size_t len = strspn(at + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
        if (len == 5 && at[8] == ':' && at[9] == ' ')
            return at + 3;
    }
    return NULL;
}

/* Trying again does not help until somebody has acted, as with a wrong password. */
static bool is_about_certificates(const char *message)
{
    static const char *const words[] = { "certificate verify failed",       "does not match host name",
                                         "root certificate file",           "SSL error: tlsv1 alert",
                                         "could not read certificate file", "could not load private key file",
                                         "server does not support SSL" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(message, words[i]))
            return true;
    return false;
}

static const char *advice_for(const char *sqlstate, const char *message)
{
    if (is_about_certificates(message))
        return "check sslmode, sslrootcert and the host name in database.postgres against the server's certificate";
    if (postgres_pooler_refuses_options(message))
        return "the pooler in between takes no options: leave them out of database.postgres, and use ALTER ROLE .. SET";
    if (strncmp(sqlstate, "28", 2) == 0)
        return "check user and password in database.postgres";
    if (strcmp(sqlstate, "3D000") == 0)
        return "create the database, or correct its name in database.postgres";
    if (strncmp(sqlstate, "53", 2) == 0)
        return "raise max_connections of the server, or lower pool.max_size";
    if (strncmp(sqlstate, "57P", 3) == 0)
        return "the server is starting or stopping; it is tried again";
    return "is PostgreSQL running there? It is tried again";
}

void postgres_refusal_fill(struct sql_error *error, const char *message)
{
    const char *sqlstate = find_sqlstate(message);
    char state[6] = "08001", text[256];
    if (sqlstate)
        memcpy(state, sqlstate, 5);
    size_t before = sqlstate ? (size_t)(sqlstate - message) : strlen(message);
    const char *after = sqlstate ? sqlstate + 7 : "";
    if (!sqlstate && is_about_certificates(message))
        memcpy(state, "28000", 5);
    if (postgres_pooler_sqlstate(message))
        memcpy(state, postgres_pooler_sqlstate(message), 5);
    /* One line: libpq adds hints and, being verbose, the place in the server's source. */
    snprintf(text, sizeof text, "%.*s%.*s",
             (int)strcspn(message, "\n") < (int)before ? (int)strcspn(message, "\n") : (int)before, message,
             (int)strcspn(after, "\n"), after);
    sql_error_set(error, state, "%s; %s", text, advice_for(state, message));
}
