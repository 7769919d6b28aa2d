/* error.c - what an error result says: to the call it belongs to, and of the connection it came on.
 *
 * DESIGN  The severity decides whether the connection has ended, never the SQLSTATE, which triggers, foreign servers and RAISE choose
 *         as they like.
 * Path:   postgres/answer, connection, copy, typing > [postgres/error]
 */
#include "postgres/error.h"

#include <string.h>

static void copy_field(char *out, size_t bytes, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    if (len >= bytes)
        for (len = bytes - 1; len && ((unsigned char)text[len] & 0xc0) == 0x80;) /* not through a character */
            len--;
    if (len)
        memcpy(out, text, len);
    out[len] = '\0';
}

static bool is_last_word(const PGresult *result)
{
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (!severity)
        severity = PQresultErrorField(result, PG_DIAG_SEVERITY); /* older protocols, and poolers */
    return severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

bool postgres_error_is_told(const PGresult *result) { return PQresultErrorField(result, PG_DIAG_SQLSTATE) != NULL; }
bool postgres_error_is_end(const PGresult *result) { return is_last_word(result) || !postgres_error_is_told(result); }

/* 08P01 of a statement is a mistake in the call (too few parameters). PgBouncer says the same, FATAL, when it gives up a connection
 * because its server has gone. */
static const char *sqlstate_of(const PGresult *result)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (!sqlstate)
        return "08006";
    return is_last_word(result) && strcmp(sqlstate, "08P01") == 0 ? "08006" : sqlstate;
}

void postgres_error_fill(struct sql_error *error, const PGresult *result)
{
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *name = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
    if (!name)
        name = PQresultErrorField(result, PG_DIAG_COLUMN_NAME);
    if (!text)
        text = PQresultErrorMessage(result);
    sql_error_set(error, sqlstate_of(result), "%s", "");
    copy_field(error->text, sizeof error->text, text);
    copy_field(error->detail, sizeof error->detail, PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL));
    copy_field(error->constraint, sizeof error->constraint, name);
    size_t len = strlen(error->text);
    if (len && error->text[len - 1] == '\n')
        error->text[len - 1] = '\0';
    error->sent = true;
}
