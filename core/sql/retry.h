/* retry.h - what may be run again, by whom, and how much of it: pure decisions for both engines and for cx.db:transaction.
 *
 * Three facts decide: what the SQLSTATE says has become of the statement, whether it may take effect twice (a declared read, or
 * declared idempotent), and whether a budget is left. The table is in retry.c.
 */
#ifndef SQL_RETRY_H
#define SQL_RETRY_H

#include "sql/error.h"

#include <stdint.h>

/* What has become of the work of which this is the error. */
enum sql_fate {
    SQL_FATE_REFUSED,       /* it has not taken place, and would not the next time: its author's business */
    SQL_FATE_UNDONE,        /* it has not taken place, and run again from its beginning it may */
    SQL_FATE_UNKNOWN        /* nobody knows: it may have taken place */
};
enum sql_fate sql_retry_fate(const struct sql_error *error);

enum { SQL_RETRY_RERUNS_MAX = 3, SQL_RETRY_WAIT_MS_MIN = 10, SQL_RETRY_WAIT_MS_MAX = 500 };

/* May a statement that stood alone be sent once more? repeatable: taking effect twice is as good as once. */
bool sql_retry_statement(const struct sql_error *error, bool repeatable);
/* May all of a transaction's work be run again? The answer to `reruns` so far is no from SQL_RETRY_RERUNS_MAX on. */
bool sql_retry_transaction(const struct sql_error *error, bool repeatable, unsigned reruns);
/* How long to wait before run number reruns + 2: full jitter under a bound that doubles. `chance` is any 64 random bits. */
unsigned sql_retry_wait_ms(unsigned reruns, uint64_t chance);

/* Of those who ask on one loop in the last 10 s: one in ten may be run again, and SQL_RETRY_FLOOR besides. Zeroed memory is fine. */
enum { SQL_RETRY_SECONDS = 10, SQL_RETRY_FLOOR = 50 };
struct sql_retry_budget {
    uint64_t second;                                 /* the newest that is counted */
    uint32_t asked[SQL_RETRY_SECONDS], again[SQL_RETRY_SECONDS];
};
void sql_retry_note(struct sql_retry_budget *budget, uint64_t now_ms);           /* somebody asks */
bool sql_retry_spend(struct sql_retry_budget *budget, uint64_t now_ms);          /* false: nothing is left */

/* The word for a metric's label: the state itself where it is in the table, else "other". */
const char *sql_retry_label(const char *sqlstate);
enum { SQL_RETRY_LABELS = 10 };
unsigned sql_retry_label_number(const char *sqlstate);
const char *sql_retry_label_at(unsigned number);

#endif
