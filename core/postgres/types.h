/* types.h - what the types are that somebody made: enums, domains, rows of tables, and arrays of them. One connection's knowledge.
 *
 * Built-in types are known. Of others the catalogue is asked (typing.h) when a result has the first column of such a type, on the
 * connection the result came on: so types of a transaction that is still open are found, and another server behind the same name is
 * asked anew. What a row is made of may be altered: it is known for POSTGRES_TYPE_KNOWN_MS, and until this process alters something.
 */
#ifndef POSTGRES_TYPES_H
#define POSTGRES_TYPES_H

#include "postgres/prepare.h"
#include "sql/error.h"
#include "sql/form.h"

#include <libpq-fe.h>

enum {
    POSTGRES_TEXT_OID = 25,
    POSTGRES_TYPE_KNOWN_MS = 30000,
    POSTGRES_TYPES_KEPT = 256,           /* on a connection, before they are all forgotten */
    POSTGRES_TYPE_PARTS_MAX = 4000       /* of which a type may be made, fields of fields included */
};

/* A type as a column's; immutable, counted, and shared by rows that may outlive the connection. */
struct postgres_type {
    enum sql_kind kind, element;         /* of cells .. */
    const struct sql_form *form;         /* .. unless this is set: then they are made into JSON by it */
    bool has_fields;                     /* a row is in it */
    bool is_built_in;                    /* .. and never forgotten */
};
struct postgres_learned;

enum postgres_types_state {
    POSTGRES_TYPES_RESTING,
    POSTGRES_TYPES_PROBING,              /* whether we may read the catalogue is being asked */
    POSTGRES_TYPES_ASKING                /* what the types in `wanted` are is being asked */
};

struct postgres_types {
    struct postgres_learned **known;
    unsigned count, cap;
    uint64_t learned_ns;                 /* when the oldest that has fields was */
    unsigned alterations;                /* of the pool, by then */
    /* typing.c */
    enum postgres_types_state state;
    bool is_readable, is_unreadable;     /* the catalogue is; neither: not known */
    bool is_fresh;                       /* what the unit that is being judged lacked has just been learned */
    unsigned at, tries;                  /* the step that lacked it */
    struct buf wanted;                   /* 16400,16500 */
    struct sql_error why;                /* it could not be learned */
};

void postgres_types_init(struct postgres_types *types);
void postgres_types_clear(struct postgres_types *types);

/* Of a type each PostgreSQL has; NULL: it is none of those that are known to all. */
const struct postgres_type *postgres_built_in(Oid oid);
/* Of a type's OID. NULL: it is neither built in nor known. It lives as long as `types` knows it; hold it for longer. */
const struct postgres_type *postgres_types_find(const struct postgres_types *types, Oid oid);
const struct postgres_type *postgres_type_hold(const struct postgres_type *type);
void postgres_type_release(const struct postgres_type *type);

/* Appends the OIDs of the result's columns that are not known. */
void postgres_types_add_missing(const struct postgres_types *types, const PGresult *result, struct buf *out);
/* The question about `wanted`; its answer is for postgres_types_learn. */
void postgres_types_add_question(struct buf *out, struct str wanted);
/* Takes in the answer about `wanted`; OIDs it says nothing of are text. FAIL_FULL: one is made of too much; FAIL_NOMEM. */
MUST_USE enum fail postgres_types_learn(struct postgres_types *types, const PGresult *answer, struct str wanted, uint64_t now_ns,
                                        unsigned alterations);
/* Those that have fields are to be asked for again. */
void postgres_types_forget_rows(struct postgres_types *types);
/* Too many are known: all are to be asked for again. Before it is looked what is missing. */
void postgres_types_trim(struct postgres_types *types);

#endif
