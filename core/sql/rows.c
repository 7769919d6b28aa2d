/* rows.c - what all results share, whichever engine made them. */
#include "sql/rows.h"

int sql_rows_find(const struct sql_rows *rows, struct str name)
{
    for (unsigned i = 0; i < rows->column_count; i++)
        if (str_is(rows->columns[i].name, name))
            return (int)i;
    return -1;
}

void sql_rows_free(struct sql_rows *rows)
{
    if (rows)
        rows->ops->free(rows);
}
