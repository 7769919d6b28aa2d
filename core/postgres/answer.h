/* answer.h - whose answer each result of a unit is, and what it says. For query.c and unit.c, which own the steps. */
#ifndef POSTGRES_ANSWER_H
#define POSTGRES_ANSWER_H

#include "postgres/query.h"

enum postgres_step_kind {
    POSTGRES_STEP_PARSE,
    POSTGRES_STEP_CALL,
    POSTGRES_STEP_TEXT,
    POSTGRES_STEP_XID,
    POSTGRES_STEP_CLOSE,
    POSTGRES_STEP_TYPES, /* typing.c */
    POSTGRES_STEP_SYNC
};

struct postgres_step {
    enum postgres_step_kind kind;
    struct sql_call *call; /* NULL: not wanted any more */
    struct postgres_prepared *prepared;
    PGresult *result;
};

static inline struct postgres_step *postgres_step_at(const struct postgres_connection *connection, unsigned at)
{
    return &connection->steps[(connection->step_first + at) & (connection->step_cap - 1)];
}

/* query.c: empties it. */
void postgres_step_clear(struct postgres_step *step);
/* query.c: appends a statement of ours, without parameters, as the step it is to be. */
MUST_USE enum fail postgres_query_add_own(struct postgres_connection *connection, const char *text, struct postgres_step step);

struct postgres_unit {
    unsigned steps;        /* the SYNC included; they are the first of the ring */
    const PGresult *error; /* of the first step that failed */
    unsigned error_at;
    bool is_end;           /* .. and the connection ended with it */
    unsigned calls, statements; /* those that somebody waits for, and all */
    bool is_stale;    /* the error is about a prepared statement, not about what it says */
    bool is_answered; /* false: the connection was lost before its SYNC was answered */
};

bool postgres_answer_is_good(const PGresult *result);
/* Of a CLOSE: the server still has the statement, for it was cancelled, or one before it was. */
bool postgres_answer_is_kept(const PGresult *result);
/* Takes in what a CALL that went well has done to the connection. */
void postgres_answer_note(struct postgres_connection *connection, const struct postgres_step *step);
/* Looks over the first `steps` of the ring. */
struct postgres_unit postgres_answer_unit(struct postgres_connection *connection, unsigned steps, bool is_answered);
/* Fills the call at `at` with its outcome; on FAIL_OK the rows take the step's result. */
enum postgres_outcome postgres_answer_judge(struct postgres_connection *connection, const struct postgres_unit *unit, unsigned at);
/* What the pool has counted of them by now. */
static inline unsigned postgres_alterations(const struct postgres_connection *connection)
{
    const struct postgres_plans *plans = connection->prepared.plans;
    return plans ? atomic_load_explicit(&plans->alterations, memory_order_relaxed) : 0;
}
struct postgres_xid postgres_answer_xid(const PGresult *result);
size_t postgres_answer_bytes_max(const struct sql_call *call);
void postgres_answer_refuse_size(struct sql_call *call);

#endif
