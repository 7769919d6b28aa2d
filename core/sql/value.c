/* value.c - names of the types a parameter can have, for messages. */
#include "sql/value.h"

const char *sql_type_name(enum sql_type type)
{
    switch (type) {
    case SQL_NULL: return "null";
    case SQL_BOOL: return "boolean";
    case SQL_INT: return "integer";
    case SQL_DOUBLE: return "double";
    case SQL_TEXT: return "text";
    case SQL_BLOB: return "bytes";
    case SQL_JSON: return "json";
    }
    return "unknown";
}
