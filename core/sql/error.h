/* error.h - what the database said no to, kept apart from what may be shown to a consumer.
 *
 * sqlstate is PostgreSQL's five characters; the SQLite engine maps its codes to the same (23505 for UNIQUE, 23503, 23502,
 * 23514, 55P03 for busy, 53100 for full, 25006 for read-only, 42601 for syntax, 57014 for interrupt), so policies read one language.
 * Connection failures carry 08000-class states, or 57P03 and so on as the server sent them.
 */
#ifndef SQL_ERROR_H
#define SQL_ERROR_H

#include "base/fail.h"
#include "base/str.h"

struct sql_error {
    char sqlstate[6];          /* "" when nothing went wrong */
    char text[256];            /* primary message, for the log */
    char detail[256];
    char constraint[64];       /* name of the constraint, or column, where known */
    bool again;                /* nothing of its transaction has taken place, and run again from the beginning it may succeed */
    bool sent;                 /* the statement may have reached the server: its outcome is unknown on connection loss */
};

/* Nothing went wrong. It writes five bytes, not all 590: errors are cleared with each call. */
static inline void sql_error_clear(struct sql_error *error)
{
    error->sqlstate[0] = error->text[0] = error->detail[0] = error->constraint[0] = '\0';
    error->again = error->sent = false;
}
void sql_error_set(struct sql_error *error, const char *sqlstate, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool sql_error_is(const struct sql_error *error, const char *sqlstate);       /* whole, or a class such as "23" */
/* HTTP status for it (design.md section 6): 409, 422, 503, 403, 504, else 500. */
int sql_error_status(const struct sql_error *error);
bool sql_error_is_transient(const struct sql_error *error);                   /* 40001, 40P01, 53*, 57P*, 08*, 55P03 */

#endif
