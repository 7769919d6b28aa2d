/* value.h - a value on its way to a statement. Text and bytes are borrowed until the call is done. */
#ifndef SQL_VALUE_H
#define SQL_VALUE_H

#include "base/str.h"

enum sql_type { SQL_NULL, SQL_BOOL, SQL_INT, SQL_DOUBLE, SQL_TEXT, SQL_BLOB, SQL_JSON };

struct sql_value {
    enum sql_type type;
    union {
        bool truth;
        int64_t integer;
        double real;
        struct str text;   /* SQL_TEXT, SQL_BLOB, SQL_JSON */
    };
};

const char *sql_type_name(enum sql_type type);

#endif
