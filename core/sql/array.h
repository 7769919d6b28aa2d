/* array.h - PostgreSQL's text syntax of arrays, {1,NULL,"a,b",{..}}, as JSON.
 * https://www.postgresql.org/docs/15/arrays.html#ARRAYS-IO */
#ifndef SQL_ARRAY_H
#define SQL_ARRAY_H

#include "sql/rows.h"

/* Appends the array as to_json writes it. The delimiter is the comma. False when text is no
 * array: then nothing was appended. */
bool sql_array_add_json(struct buf *out, struct str text, enum sql_kind element);

/* The same of a form with the shape SQL_FORM_ARRAY: of whatever its elements are, and its delimiter. */
struct sql_form;
bool sql_array_add_json_of(struct buf *out, struct str text, const struct sql_form *array, bool trusts_json);

#endif
