/* statement.c - a cache of prepared statements, and how parameters get into them.
 *
 * DESIGN  Text -> statement in a map; a list in order of use says whom to throw out. SQLite reads $1 as a name and
 *         numbers names as they come; slots[] maps its numbers to ours once, at prepare. SQLite takes $1::uuid for a name
 *         as well: the cast of a parameter means nothing where values carry their types, so it counts as $1.
 * HOLDS   count <= count_max; every statement is in the map and in the list, or in neither (freed).
 * Path:   sqlite/connection > [sqlite/statement] > sqlite/rows
 */
#include "sqlite/statement.h"

#include <math.h>
#include <sqlite3.h>
#include <stdlib.h>

#include "sqlite/failure.h"

enum fail sqlite_statements_init(struct sqlite_statements *statements, struct sqlite3 *db, unsigned count_max)
{
    *statements = (struct sqlite_statements){ .db = db, .count_max = count_max };
    list_init(&statements->by_use);
    return map_init(&statements->by_text, MEM_SQLITE);
}

static void statement_free(struct sqlite_statement *statement)
{
    sqlite3_finalize(statement->stmt);
    sqlite_shape_release(statement->shape);
    mem_free(statement->slots);
    mem_free(statement->text);
    mem_free(statement);
}

void sqlite_statements_drop(struct sqlite_statements *statements, struct sqlite_statement *statement)
{
    map_remove(&statements->by_text, str_make(statement->text, statement->text_len));
    list_remove(&statement->node);
    statements->count--;
    statement_free(statement);
}

void sqlite_statements_clear(struct sqlite_statements *statements)
{
    if (!statements->by_use.next)
        return;
    LIST_EACH_SAFE(&statements->by_use, node, after)
    sqlite_statements_drop(statements, LIST_ENTRY(node, struct sqlite_statement, node));
    map_clear(&statements->by_text);
}

/* The n of $n or $n::type; 0 for every other spelling. */
static unsigned number_of(const char *name)
{
    if (!name || name[0] != '$')
        return 0;
    char *end;
    unsigned long number = strtoul(name + 1, &end, 10);
    bool is_whole = end > name + 1 && name[1] != '-' && name[1] != '+' && name[1] != ' ';
    bool has_end = *end == '\0' || strncmp(end, "::", 2) == 0;
    return is_whole && has_end && number <= UINT16_MAX ? (unsigned)number : 0;
}

static enum fail map_params(struct sqlite_statement *statement, struct sql_error *error)
{
    statement->slot_count = (unsigned)sqlite3_bind_parameter_count(statement->stmt);
    if (statement->slot_count == 0)
        return FAIL_OK;
    statement->slots = mem_alloc(MEM_SQLITE, statement->slot_count * sizeof *statement->slots);
    if (!statement->slots)
        return FAIL_NOMEM;
    for (unsigned i = 0; i < statement->slot_count; i++) {
        const char *name = sqlite3_bind_parameter_name(statement->stmt, (int)i + 1);
        unsigned number = number_of(name);
        if (number == 0) {
            sql_error_set(error, "42P02", "parameters are written $1, $2 ..: this one is %s", name ? name : "?");
            return FAIL_SQL;
        }
        statement->slots[i] = (uint16_t)(number - 1);
        if (number > statement->param_count)
            statement->param_count = number;
    }
    return FAIL_OK;
}

static enum fail scan(struct sqlite_statement *statement, struct str text, struct sql_error *error)
{
    struct sql_statement scanned;
    if (sql_statement_scan(text, SQL_SQLITE, &scanned)) {
        sql_error_set(error, "42601", "%s (at byte %zu)", scanned.why, scanned.at);
        return FAIL_SQL;
    }
    statement->verb = scanned.verb;
    if (scanned.verb == SQL_VERB_ATTACH || scanned.verb == SQL_VERB_DETACH) {
        sql_error_set(error, "42501", "not allowed: another file would be attached to one of several connections");
        return FAIL_SQL;
    }
    return FAIL_OK;
}

static enum fail prepare(struct sqlite_statements *statements, struct sqlite_statement *statement, struct str text,
                         struct sql_error *error)
{
    enum fail fail = scan(statement, text, error);
    if (fail)
        return fail;
    statement->text = mem_dup(MEM_SQLITE, text.data, text.len);
    if (!statement->text)
        return FAIL_NOMEM;
    statement->text_len = text.len;
    int code = sqlite3_prepare_v3(statements->db, statement->text, (int)text.len + 1, SQLITE_PREPARE_PERSISTENT,
                                  &statement->stmt, NULL);
    if (code != SQLITE_OK) {
        sqlite_failure_set(error, statements->db, code);
        return FAIL_SQL;
    }
    if (!statement->stmt) {
        sql_error_set(error, "42601", "the statement is empty");
        return FAIL_SQL;
    }
    statement->is_readonly = sqlite3_stmt_readonly(statement->stmt) != 0;
    statement->shape = sqlite_shape_make(statement->stmt);
    return statement->shape ? map_params(statement, error) : FAIL_NOMEM;
}

static void make_room(struct sqlite_statements *statements)
{
    while (statements->count >= statements->count_max)
        sqlite_statements_drop(statements, LIST_ENTRY(statements->by_use.prev, struct sqlite_statement, node));
}

enum fail sqlite_statements_get(struct sqlite_statements *statements, struct str text, struct sqlite_statement **out,
                                struct sql_error *error)
{
    struct sqlite_statement *statement = map_get(&statements->by_text, text);
    if (statement) {
        list_remove(&statement->node);
        list_push_front(&statements->by_use, &statement->node);
        *out = statement;
        return FAIL_OK;
    }
    *out = NULL;
    make_room(statements);
    statement = mem_zero(MEM_SQLITE, sizeof *statement);
    if (!statement)
        return FAIL_NOMEM;
    enum fail fail = prepare(statements, statement, text, error);
    if (!fail)
        fail = map_set(&statements->by_text, text, statement);
    if (fail) {
        statement_free(statement);
        return fail;
    }
    list_push_front(&statements->by_use, &statement->node);
    statements->count++;
    *out = statement;
    return FAIL_OK;
}

/* SQLite would make NULL of NaN, and store bytes that are no text for text; PostgreSQL refuses the second as 22021. */
static bool is_holdable(const struct sql_value *value, unsigned number, struct sql_error *error)
{
    bool is_text = value->type == SQL_TEXT || value->type == SQL_JSON;
    if (is_text && value->text.len && !str_utf8(value->text)) {
        sql_error_set(error, "22021",
                      "parameter $%u is not UTF-8, which a text must be: give bytes as cx.db.blob(bytes)", number);
        return false;
    }
    if (value->type == SQL_DOUBLE && isnan(value->real)) {
        sql_error_set(error, "22003",
                      "parameter $%u is NaN, which SQLite does not have: give a number, or nil for NULL", number);
        return false;
    }
    return true;
}

static int bind(struct sqlite3_stmt *stmt, int slot, const struct sql_value *value)
{
    switch (value->type) {
    case SQL_NULL: return sqlite3_bind_null(stmt, slot);
    case SQL_BOOL: return sqlite3_bind_int(stmt, slot, value->truth);
    case SQL_INT: return sqlite3_bind_int64(stmt, slot, value->integer);
    case SQL_DOUBLE: return sqlite3_bind_double(stmt, slot, value->real);
    case SQL_TEXT:
    case SQL_JSON:
        return sqlite3_bind_text64(stmt, slot, value->text.len ? value->text.data : "", value->text.len, SQLITE_STATIC,
                                   SQLITE_UTF8);
    case SQL_BLOB:
        return sqlite3_bind_blob64(stmt, slot, value->text.len ? value->text.data : "", value->text.len, SQLITE_STATIC);
    }
    return SQLITE_MISUSE;
}

enum fail sqlite_statement_bind(struct sqlite_statement *statement, const struct sql_value *params, unsigned count,
                                struct sql_error *error)
{
    if (count != statement->param_count) {
        sql_error_set(error, "42P02", "the statement takes %u parameters, %u were given", statement->param_count,
                      count);
        return FAIL_SQL;
    }
    for (unsigned i = 0; i < statement->slot_count; i++) {
        unsigned number = statement->slots[i];
        if (!is_holdable(&params[number], number + 1, error))
            return FAIL_SQL;
        int code = bind(statement->stmt, (int)i + 1, &params[number]);
        if (code != SQLITE_OK) {
            sqlite_failure_set(error, sqlite3_db_handle(statement->stmt), code);
            return FAIL_SQL;
        }
    }
    return FAIL_OK;
}

enum fail sqlite_statement_refresh(struct sqlite_statement *statement)
{
    int reprepares = sqlite3_stmt_status(statement->stmt, SQLITE_STMTSTATUS_REPREPARE, /* reset= */ 0);
    if (reprepares == statement->reprepares)
        return FAIL_OK;
    struct sqlite_shape *shape = sqlite_shape_make(statement->stmt);
    if (!shape)
        return FAIL_NOMEM;
    sqlite_shape_release(statement->shape);
    statement->shape = shape;
    statement->reprepares = reprepares;
    return FAIL_OK;
}

void sqlite_statement_reset(struct sqlite_statement *statement)
{
    sqlite3_reset(statement->stmt);
    if (statement->slot_count)
        sqlite3_clear_bindings(statement->stmt);
}
