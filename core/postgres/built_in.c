/* built_in.c - the types each PostgreSQL has from the beginning, by their OIDs, which never change.
 *
 * DESIGN  Kinds follow json_categorize_type (PostgreSQL 15, json.c): only there is a number written without quotes.
 * Path:   postgres/types > [postgres/built_in]
 */
#include "postgres/types.h"

static const struct entry {
    Oid type, array;
    enum sql_kind kind;
} built_in[] = {
    { 16, 1000, SQL_KIND_BOOL },        /* bool */
    { 17, 1001, SQL_KIND_BYTES },       /* bytea */
    { 20, 1016, SQL_KIND_INT },         /* int8 */
    { 21, 1005, SQL_KIND_INT },         /* int2 */
    { 23, 1007, SQL_KIND_INT },         /* int4 */
    { 700, 1021, SQL_KIND_FLOAT },      /* float4 */
    { 701, 1022, SQL_KIND_FLOAT },      /* float8 */
    { 1700, 1231, SQL_KIND_NUMERIC },   /* numeric */
    { 114, 199, SQL_KIND_JSON },        /* json */
    { 3802, 3807, SQL_KIND_JSON },      /* jsonb */
    { 1114, 1115, SQL_KIND_TIMESTAMP }, /* timestamp */
    { 1184, 1185, SQL_KIND_TIMESTAMPTZ },
    /* What follows is text to to_json; listed for the arrays, and so that nobody asks. */
    { 18, 1002, SQL_KIND_TEXT },   /* "char" */
    { 19, 1003, SQL_KIND_TEXT },   /* name */
    { 25, 1009, SQL_KIND_TEXT },   /* text */
    { 26, 1028, SQL_KIND_TEXT },   /* oid */
    { 1042, 1014, SQL_KIND_TEXT }, /* bpchar */
    { 1043, 1015, SQL_KIND_TEXT }, /* varchar */
    { 1082, 1182, SQL_KIND_TEXT }, /* date: ISO as it is */
    { 1083, 1183, SQL_KIND_TEXT }, /* time */
    { 1266, 1270, SQL_KIND_TEXT }, /* timetz */
    { 1186, 1187, SQL_KIND_TEXT }, /* interval */
    { 2950, 2951, SQL_KIND_TEXT }, /* uuid */
    { 869, 1041, SQL_KIND_TEXT },  /* inet */
    { 650, 651, SQL_KIND_TEXT },   /* cidr */
    { 829, 1040, SQL_KIND_TEXT },  /* macaddr */
    { 774, 775, SQL_KIND_TEXT },   /* macaddr8 */
    { 142, 143, SQL_KIND_TEXT },   /* xml */
    { 790, 791, SQL_KIND_TEXT },   /* money */
    { 1560, 1561, SQL_KIND_TEXT }, /* bit */
    { 1562, 1563, SQL_KIND_TEXT }, /* varbit */
    { 600, 1017, SQL_KIND_TEXT },  /* point */
    { 601, 1018, SQL_KIND_TEXT },  /* lseg */
    { 602, 1019, SQL_KIND_TEXT },  /* path */
    { 604, 1027, SQL_KIND_TEXT },  /* polygon */
    { 628, 629, SQL_KIND_TEXT },   /* line */
    { 718, 719, SQL_KIND_TEXT },   /* circle */
    { 603, 0, SQL_KIND_TEXT },     /* box, whose arrays have another delimiter */
    { 24, 1008, SQL_KIND_TEXT },   /* regproc */
    { 2202, 2207, SQL_KIND_TEXT }, /* regprocedure */
    { 2205, 2210, SQL_KIND_TEXT }, /* regclass */
    { 2206, 2211, SQL_KIND_TEXT }, /* regtype */
    { 4089, 4090, SQL_KIND_TEXT }, /* regnamespace */
    { 4096, 4097, SQL_KIND_TEXT }, /* regrole */
    { 3614, 3643, SQL_KIND_TEXT }, /* tsvector */
    { 3615, 3645, SQL_KIND_TEXT }, /* tsquery */
    { 4072, 4073, SQL_KIND_TEXT }, /* jsonpath */
    { 27, 1010, SQL_KIND_TEXT },   /* tid */
    { 28, 1011, SQL_KIND_TEXT },   /* xid */
    { 29, 1012, SQL_KIND_TEXT },   /* cid */
    { 5069, 271, SQL_KIND_TEXT },  /* xid8 */
    { 3220, 3221, SQL_KIND_TEXT }, /* pg_lsn */
    { 2970, 2949, SQL_KIND_TEXT }, /* txid_snapshot */
    { 5038, 5039, SQL_KIND_TEXT }, /* pg_snapshot */
    { 1790, 2201, SQL_KIND_TEXT }, /* refcursor */
    { 1033, 1034, SQL_KIND_TEXT }, /* aclitem */
    { 194, 0, SQL_KIND_TEXT },     /* pg_node_tree */
    { 3904, 3905, SQL_KIND_TEXT }, /* int4range */
    { 3926, 3927, SQL_KIND_TEXT }, /* int8range */
    { 3906, 3907, SQL_KIND_TEXT }, /* numrange */
    { 3908, 3909, SQL_KIND_TEXT }, /* tsrange */
    { 3910, 3911, SQL_KIND_TEXT }, /* tstzrange */
    { 3912, 3913, SQL_KIND_TEXT }, /* daterange */
    { 4451, 6150, SQL_KIND_TEXT }, /* int4multirange */
    { 4536, 6157, SQL_KIND_TEXT }, /* int8multirange */
    { 4532, 6151, SQL_KIND_TEXT }, /* nummultirange */
    { 4533, 6152, SQL_KIND_TEXT }, /* tsmultirange */
    { 4534, 6153, SQL_KIND_TEXT }, /* tstzmultirange */
    { 4535, 6155, SQL_KIND_TEXT }, /* datemultirange */
    { 705, 0, SQL_KIND_TEXT },     /* unknown */
    { 2275, 1263, SQL_KIND_TEXT }, /* cstring */
    { 2278, 0, SQL_KIND_TEXT },    /* void */
    { 2249, 0, SQL_KIND_TEXT },    /* record: only the server knows what is in it */
    { 2287, 0, SQL_KIND_TEXT },    /* record[]: likewise */
    { 2277, 0, SQL_KIND_TEXT },    /* anyarray: likewise */
};
enum { BUILT_IN = sizeof built_in / sizeof *built_in };

static const struct sql_form int_form = { .shape = SQL_FORM_VALUE, .kind = SQL_KIND_INT };
static const struct sql_form text_form = { .shape = SQL_FORM_VALUE, .kind = SQL_KIND_TEXT };
static const struct sql_form int2vector_form = { .shape = SQL_FORM_VECTOR, .element = &int_form };
static const struct sql_form oidvector_form = { .shape = SQL_FORM_VECTOR, .element = &text_form };
static const struct sql_form int2vectors_form = { .shape = SQL_FORM_ARRAY,
                                                  .delimiter = ',',
                                                  .element = &int2vector_form };
static const struct sql_form oidvectors_form = { .shape = SQL_FORM_ARRAY,
                                                 .delimiter = ',',
                                                 .element = &oidvector_form };
static const struct sql_form boxes_form = { .shape = SQL_FORM_ARRAY, .delimiter = ';', .element = &text_form };

/* Those that are more than a kind. */
static const struct form_entry {
    Oid oid;
    struct postgres_type type;
} built_in_forms[] = {
    { 22, { SQL_KIND_JSON, SQL_KIND_NULL, &int2vector_form, false, true } },
    { 1006, { SQL_KIND_JSON, SQL_KIND_NULL, &int2vectors_form, false, true } },
    { 30, { SQL_KIND_JSON, SQL_KIND_NULL, &oidvector_form, false, true } },
    { 1013, { SQL_KIND_JSON, SQL_KIND_NULL, &oidvectors_form, false, true } },
    { 1020, { SQL_KIND_JSON, SQL_KIND_NULL, &boxes_form, false, true } },
};
enum { BUILT_IN_FORMS = sizeof built_in_forms / sizeof *built_in_forms };

/* Of each kind, and of arrays of each. */
#define PLAIN(kind) [kind] = { kind, SQL_KIND_NULL, NULL, false, true }
static const struct postgres_type plain[SQL_KIND_ARRAY] = { PLAIN(SQL_KIND_BOOL),      PLAIN(SQL_KIND_INT),
                                                            PLAIN(SQL_KIND_FLOAT),     PLAIN(SQL_KIND_NUMERIC),
                                                            PLAIN(SQL_KIND_TEXT),      PLAIN(SQL_KIND_JSON),
                                                            PLAIN(SQL_KIND_TIMESTAMP), PLAIN(SQL_KIND_TIMESTAMPTZ),
                                                            PLAIN(SQL_KIND_BYTES) };
#undef PLAIN
#define ARRAY_OF(kind) [kind] = { SQL_KIND_ARRAY, kind, NULL, false, true }
static const struct postgres_type arrays[SQL_KIND_ARRAY] = {
    ARRAY_OF(SQL_KIND_BOOL),      ARRAY_OF(SQL_KIND_INT),         ARRAY_OF(SQL_KIND_FLOAT),
    ARRAY_OF(SQL_KIND_NUMERIC),   ARRAY_OF(SQL_KIND_TEXT),        ARRAY_OF(SQL_KIND_JSON),
    ARRAY_OF(SQL_KIND_TIMESTAMP), ARRAY_OF(SQL_KIND_TIMESTAMPTZ), ARRAY_OF(SQL_KIND_BYTES)
};
#undef ARRAY_OF

const struct postgres_type *postgres_built_in(Oid oid)
{
    for (size_t i = 0; i < BUILT_IN; i++) {
        if (built_in[i].type == oid)
            return &plain[built_in[i].kind];
        if (built_in[i].array == oid && oid)
            return &arrays[built_in[i].kind];
    }
    for (size_t i = 0; i < BUILT_IN_FORMS; i++)
        if (built_in_forms[i].oid == oid)
            return &built_in_forms[i].type;
    return NULL;
}
