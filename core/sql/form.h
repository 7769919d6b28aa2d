/* form.h - PostgreSQL's text of values that have parts, (1,"a b",), {"(1,x)",NULL} and 1 2 3, as the JSON to_json makes of them.
 *
 * A form says what the parts are, for the text alone does not. Forms are the caller's, and are at most SQL_FORM_DEPTH_MAX deep.
 * https://www.postgresql.org/docs/15/rowtypes.html#ROWTYPES-IO-SYNTAX
 */
#ifndef SQL_FORM_H
#define SQL_FORM_H

#include "sql/rows.h"

enum { SQL_FORM_DEPTH_MAX = 32 };

enum sql_form_shape {
    SQL_FORM_VALUE,                      /* one value, of `kind` */
    SQL_FORM_ARRAY,                      /* {1,2}, elements of `element` with `delimiter` between them */
    SQL_FORM_VECTOR,                     /* 1 2, as int2vector and oidvector are written */
    SQL_FORM_ROW                         /* (1,2), an object of `fields` */
};
struct sql_form {
    enum sql_form_shape shape;
    enum sql_kind kind;
    char delimiter;
    const struct sql_form *element;
    unsigned field_count;
    const struct sql_field *fields;
};
struct sql_field {
    struct str json_key;                 /* "name": */
    const struct sql_form *form;
};

/* Appends the JSON. False when the text is not of this form, then nothing was appended. Where that may be because the form is no longer
 * what it was, do not trust json: what is to be JSON is then read, and refused if cx.json would; trusted, it is taken as it is. */
bool sql_form_add_json(struct buf *out, struct str text, const struct sql_form *form, bool trusts_json);

/* Whether JSON could hold the text as a number. */
bool sql_is_json_number(struct str text);

#endif
