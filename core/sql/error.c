/* error.c - what a SQLSTATE means to those who must act on it: a consumer, a retry, a log.
 *
 * DESIGN  Rules are classes (two characters) or whole states (five), looked up from the most exact to the least:
 *         the first rule that is a prefix of the state wins. The table is design.md section 6.
 * Path:   postgres, sqlite > [sql/error] > serve/problem
 */
#include "sql/error.h"

#include <stdarg.h>
#include <stdio.h>

struct rule {
    const char *state; /* whole, or its beginning */
    int status;
    bool is_transient;
};

static const struct rule rules[] = {
    { "23505", 409, false }, /* unique_violation */
    { "23503", 409, false }, /* foreign_key_violation */
    { "23P01", 409, false }, /* exclusion_violation */
    { "23502", 422, false }, /* not_null_violation */
    { "23514", 422, false }, /* check_violation */
    { "22", 422, false },    /* data exceptions; the caller makes 22P02 of a path parameter a 400 */
    { "25006", 503, false }, /* read_only_sql_transaction: the wrong host, or a file that cannot be written */
    { "40000", 503, true },  /* transaction_rollback: a COMMIT whose answer was lost, and which was aborted */
    { "40001", 503, true },  /* serialization_failure */
    { "40P01", 503, true },  /* deadlock_detected */
    { "42501", 403, false }, /* insufficient_privilege */
    { "53", 503, true },     /* insufficient resources: disk, memory, connections */
    { "55P03", 503, true },  /* lock_not_available */
    { "57014", 504, false }, /* query_canceled, by the deadline; a cancel by the consumer is answered to nobody */
    { "57P", 503, true },    /* the server goes away, is starting up .. */
    { "58", 503, true },     /* system errors outside of the database: files that cannot be read or written */
    { "08P01", 500, false }, /* protocol_violation: a statement with too few parameters */
    { "08", 503, true },     /* the connection broke */
};

static const struct rule *rule_of(const struct sql_error *error)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (sql_error_is(error, rules[i].state))
            return &rules[i];
    return NULL;
}

void sql_error_set(struct sql_error *error, const char *sqlstate, const char *format, ...)
{
    bool sent = error->sent;
    *error = (struct sql_error){ .sent = sent };
    snprintf(error->sqlstate, sizeof error->sqlstate, "%s", sqlstate);
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
}

bool sql_error_is(const struct sql_error *error, const char *sqlstate)
{
    return error->sqlstate[0] && strncmp(error->sqlstate, sqlstate, strlen(sqlstate)) == 0;
}

int sql_error_status(const struct sql_error *error)
{
    const struct rule *rule = rule_of(error);
    if (error->again)
        return 503; /* a stale plan in a transaction that nobody ran again */
    return rule ? rule->status : 500;
}

bool sql_error_is_transient(const struct sql_error *error)
{
    const struct rule *rule = rule_of(error);
    return error->again || (rule && rule->is_transient);
}
