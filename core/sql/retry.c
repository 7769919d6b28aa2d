/* retry.c - the table of what may be run again, and the budget that keeps retries from making bad times worse.
 *
 * DESIGN  state    what it says                                     statement alone            transaction (the whole closure)
 *         40001    rolled back: not serializable                    again, once                again, 3 times
 *         40P01    rolled back: a deadlock                          again, once                again, 3 times
 *         40000    rolled back: a lost COMMIT that was aborted      -                          again, 3 times
 *         0A000, 26000, 42P05 with error.again: a stale plan        again, once (unseen)       again, 3 times
 *         08*, 57P01, 57P02: the connection was lost                reads and idempotent once  with error.again: before COMMIT
 *         08007    COMMIT was sent, and its outcome is unknown      -                          if declared idempotent
 *         57014    cancelled, or the deadline                       never                      never
 *         others   the author's business, or the server is full     never                      never
 *         "Nothing was sent" is no error of this table: the lane takes another connection at once. Errors of opening a connection
 *         (53300, 57P03, 28*) are the pool's, which waits and backs off for all.
 *         A function may raise 40001 whenever it is called, so what is run again is bounded three times: by count, by the deadline of
 *         who asks, and by the budget. PostgreSQL 15 manual, 13.5: the whole transaction must be run again, with what decided on it.
 * HOLDS   budget->asked and again of the last SQL_RETRY_SECONDS seconds are what was noted in them; older ones are zero.
 * Path:   postgres/lane, script/bind_retry > [sql/retry]
 */
#include "sql/retry.h"

#include <string.h>

struct rule {
    const char *state; /* whole, or its class */
    enum sql_fate fate;
};

static const struct rule rules[] = {
    { "40001", SQL_FATE_UNDONE },  { "40P01", SQL_FATE_UNDONE },  { "40000", SQL_FATE_UNDONE },
    { "57P01", SQL_FATE_UNKNOWN }, { "57P02", SQL_FATE_UNKNOWN }, { "08", SQL_FATE_UNKNOWN },
};

enum sql_fate sql_retry_fate(const struct sql_error *error)
{
    if (error->again)
        return SQL_FATE_UNDONE;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (sql_error_is(error, rules[i].state))
            return rules[i].fate;
    return SQL_FATE_REFUSED;
}

bool sql_retry_statement(const struct sql_error *error, bool repeatable)
{
    switch (sql_retry_fate(error)) {
    case SQL_FATE_UNDONE: return true;
    case SQL_FATE_UNKNOWN: return repeatable;
    case SQL_FATE_REFUSED: break;
    }
    return false;
}

bool sql_retry_transaction(const struct sql_error *error, bool repeatable, unsigned reruns)
{
    return reruns < SQL_RETRY_RERUNS_MAX && sql_retry_statement(error, repeatable);
}

unsigned sql_retry_wait_ms(unsigned reruns, uint64_t chance)
{
    unsigned bound_ms = SQL_RETRY_WAIT_MS_MIN;
    while (reruns-- && bound_ms < SQL_RETRY_WAIT_MS_MAX)
        bound_ms *= 4;
    if (bound_ms > SQL_RETRY_WAIT_MS_MAX)
        bound_ms = SQL_RETRY_WAIT_MS_MAX;
    return (unsigned)(chance % bound_ms) + 1;
}

/* --- the budget ----------------------------------------------------------------------------------------------- */

/* The number of this second's counts, those of seconds gone by made zero. */
static unsigned advance(struct sql_retry_budget *budget, uint64_t now_ms)
{
    uint64_t second = now_ms / 1000;
    uint64_t gone = second > budget->second ? second - budget->second : 0;
    for (uint64_t i = 1; i <= gone && i <= SQL_RETRY_SECONDS; i++) {
        unsigned at = (unsigned)((budget->second + i) % SQL_RETRY_SECONDS);
        budget->asked[at] = budget->again[at] = 0;
    }
    budget->second += gone;
    return (unsigned)(budget->second % SQL_RETRY_SECONDS);
}

void sql_retry_note(struct sql_retry_budget *budget, uint64_t now_ms) { budget->asked[advance(budget, now_ms)]++; }

bool sql_retry_spend(struct sql_retry_budget *budget, uint64_t now_ms)
{
    uint64_t asked = 0, again = 0;
    unsigned at = advance(budget, now_ms);
    for (unsigned i = 0; i < SQL_RETRY_SECONDS; i++) {
        asked += budget->asked[i];
        again += budget->again[i];
    }
    if (again >= SQL_RETRY_FLOOR + asked / 10)
        return false;
    budget->again[at]++;
    return true;
}

/* --- names ---------------------------------------------------------------------------------------------------- */

static const char *const labels[SQL_RETRY_LABELS] = { "40001", "40P01", "40000", "0A000", "26000",
                                                      "42P05", "57P01", "57P02", "08006", "other" };

unsigned sql_retry_label_number(const char *sqlstate)
{
    unsigned number = 0;
    while (number < SQL_RETRY_LABELS - 1 && strcmp(labels[number], sqlstate) != 0)
        number++;
    return number;
}

const char *sql_retry_label_at(unsigned number)
{
    return labels[number < SQL_RETRY_LABELS ? number : SQL_RETRY_LABELS - 1];
}
const char *sql_retry_label(const char *sqlstate) { return labels[sql_retry_label_number(sqlstate)]; }
