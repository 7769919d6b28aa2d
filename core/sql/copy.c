/* copy.c - which COPY is one between client and server, told by its text; the rest is the engine's.
 *
 * DESIGN  FROM and TO are reserved words of PostgreSQL, so the first of them that is neither quoted nor in parentheses says which way the
 *         data goes, and the word behind it where to. What follows are options, which the server judges.
 * Path:   script/bind_copy, move > [sql/copy] > postgres/copy
 */
#include "sql/copy.h"

#include "sql/statement.h"

/* Moves *at behind the word FROM or TO. */
static bool find_way(struct str text, size_t *at, enum sql_copy_way *way)
{
    int depth = 0;
    for (struct str token; sql_statement_next(text, SQL_POSTGRES, at, &token);) {
        if (token.len == 1)
            depth += (token.data[0] == '(') - (token.data[0] == ')');
        bool is_in = str_is_nocase(token, STR("from"));
        if (depth == 0 && (is_in || str_is_nocase(token, STR("to")))) {
            *way = is_in ? SQL_COPY_IN : SQL_COPY_OUT;
            return true;
        }
    }
    return false;
}

enum fail sql_copy_check(struct str text, enum sql_copy_way *way, const char **why)
{
    struct sql_statement statement;
    struct str target;
    size_t at = 0;
    enum fail fail = sql_statement_scan(text, SQL_POSTGRES, &statement);
    if (fail) {
        *why = statement.why;
        return fail;
    }
    if (statement.verb != SQL_VERB_COPY || !find_way(text, &at, way))
        *why = "this is no COPY .. FROM STDIN and no COPY .. TO STDOUT";
    else if (statement.param_count)
        *why = "COPY takes no parameters";
    else if (!sql_statement_next(text, SQL_POSTGRES, &at, &target) ||
             !str_is_nocase(target, *way == SQL_COPY_IN ? STR("stdin") : STR("stdout")))
        *why = "files and programs of the server are out of reach: COPY goes FROM STDIN or TO STDOUT";
    else
        return FAIL_OK;
    return FAIL_INVALID;
}

enum fail sql_copy_start(struct sql_session *session, struct sql_copy *copy)
{
    const struct sql_copy_ops *ops = session->engine->ops->copy;
    const char *why = "";
    sql_error_clear(&copy->call.error);
    if (!ops) {
        sql_error_set(&copy->call.error, "0A000", "%s has no COPY; insert the rows, or serve from PostgreSQL",
                      session->engine->ops->dialect);
        return FAIL_INVALID;
    }
    if (sql_copy_check(copy->call.text, &copy->way, &why)) {
        sql_error_set(&copy->call.error, "42601", "%s", why);
        return FAIL_INVALID;
    }
    copy->ops = ops;
    copy->engine_data = NULL;
    copy->is_asked = false;
    ops->start(session, copy);
    return FAIL_OK;
}

void sql_copy_put(struct sql_copy *copy, struct str chunk) { copy->ops->put(copy, chunk); }
void sql_copy_end(struct sql_copy *copy, const char *why) { copy->ops->end(copy, why); }
void sql_copy_read(struct sql_copy *copy) { copy->ops->read(copy); }
