/* failure.c - what SQLite says, in the words policies know.
 *
 * DESIGN  The extended code decides; only SQLITE_ERROR, which SQLite uses for all that is wrong with a statement, is told
 *         apart by its message. The messages are those of 3.40, unchanged since 3.7; an unknown one is XX000.
 *         "UNIQUE constraint failed: users.email" gives constraint "users.email": SQLite names columns, not constraints.
 * Path:   sqlite/connection > [sqlite/failure]
 */
#include "sqlite/failure.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>

struct code_rule {
    int code;
    const char *state;
};

/* Extended codes first, then what is left of them. */
static const struct code_rule code_rules[] = {
    { SQLITE_CONSTRAINT_UNIQUE, "23505" },
    { SQLITE_CONSTRAINT_PRIMARYKEY, "23505" },
    { SQLITE_CONSTRAINT_ROWID, "23505" },
    { SQLITE_CONSTRAINT_FOREIGNKEY, "23503" },
    { SQLITE_CONSTRAINT_NOTNULL, "23502" },
    { SQLITE_CONSTRAINT_CHECK, "23514" },
    { SQLITE_CONSTRAINT_DATATYPE, "22P02" },
    { SQLITE_CONSTRAINT_TRIGGER, "P0001" },
    { SQLITE_BUSY_SNAPSHOT, "40001" },
    { SQLITE_CONSTRAINT, "23000" },
    { SQLITE_BUSY, "55P03" },
    { SQLITE_LOCKED, "55P03" },
    { SQLITE_PROTOCOL, "55P03" },
    { SQLITE_FULL, "53100" },
    { SQLITE_READONLY, "25006" },
    { SQLITE_NOMEM, "53200" },
    { SQLITE_IOERR, "58030" },
    { SQLITE_CANTOPEN, "58P01" },
    { SQLITE_CORRUPT, "XX001" },
    { SQLITE_NOTADB, "XX001" },
    { SQLITE_INTERRUPT, "57014" },
    { SQLITE_ABORT, "57014" },
    { SQLITE_PERM, "42501" },
    { SQLITE_AUTH, "42501" },
    { SQLITE_TOOBIG, "54000" },
    { SQLITE_MISMATCH, "22P02" },
    { SQLITE_RANGE, "42P02" },
    { SQLITE_SCHEMA, "40001" },
};

struct text_rule {
    const char *part, *state;
};

static const struct text_rule text_rules[] = {
    { "syntax error", "42601" },
    { "unrecognized token", "42601" },
    { "incomplete input", "42601" },
    { "no such table", "42P01" },
    { "no such view", "42P01" },
    { "no such column", "42703" },
    { "has no column named", "42703" },
    { "ambiguous column", "42702" },
    { "no such function", "42883" },
    { "wrong number of arguments", "42883" },
    { "already exists", "42P07" },
    { "no such index", "42704" },
    { "no such trigger", "42704" },
    { "no such collation", "42704" },
    { "no such savepoint", "3B001" },
    { "cannot start a transaction within", "25001" },
    { "cannot VACUUM from within", "25001" },
    { "no transaction is active", "25P01" },
    { "integer overflow", "22003" },
    { "malformed JSON", "22P02" },
    { "JSON path", "22P02" },
    { "values for", "42601" },
    { "values were supplied", "42601" },
    { "too many", "54000" },
    { "not authorized", "42501" },
};

static const char *state_of_text(const char *text)
{
    for (size_t i = 0; i < sizeof text_rules / sizeof *text_rules; i++)
        if (strstr(text, text_rules[i].part))
            return text_rules[i].state;
    return "XX000";
}

static const char *state_of(int code, const char *text)
{
    for (size_t i = 0; i < sizeof code_rules / sizeof *code_rules; i++)
        if (code_rules[i].code == code || code_rules[i].code == (code & 0xff))
            return code_rules[i].state;
    return state_of_text(text);
}

/* What to do, where the message of SQLite leaves a person alone. */
static const char *advice_for(int code)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return "another process holds the file's lock: end its transaction, or raise busy_timeout";
    case SQLITE_FULL: return "the disk or the file's page limit is full: nothing of this statement was kept";
    case SQLITE_READONLY: return "the file, its folder or the session is read-only: check the permissions of both";
    case SQLITE_IOERR: return "the operating system refused to read or write the file: see its own log";
    case SQLITE_CORRUPT: return "the file is damaged: restore a backup, or try sqlite3 FILE .recover";
    default: return "";
    }
}

/* Behind "... constraint failed: "; an index is named as: index 'name'. */
static void set_constraint(struct sql_error *error)
{
    const char *name = strstr(error->text, "failed: ");
    if (!name)
        return;
    name += strlen("failed: ");
    size_t len = strlen(name);
    if (strncmp(name, "index '", 7) == 0 && len > 8) {
        name += 7;
        len -= 8;
    }
    snprintf(error->constraint, sizeof error->constraint, "%.*s", (int)(len < 63 ? len : 63), name);
}

/* SQLite calls only ENOSPC a full disk; to those who write, a quota and a limit of file size are the same. We are right behind the
 * write that failed, on its thread; sqlite3_system_errno does not hear of those in a COMMIT. */
static bool is_full(int code) { return code == SQLITE_IOERR_WRITE && (errno == EDQUOT || errno == EFBIG); }

void sqlite_failure_set(struct sql_error *error, struct sqlite3 *db, int code)
{
    if (is_full(code)) {
        code = SQLITE_FULL;
        db = NULL; /* its message is not about this */
    }
    const char *text = db ? sqlite3_errmsg(db) : sqlite3_errstr(code);
    sql_error_set(error, state_of(code, text), "%s", text);
    snprintf(error->detail, sizeof error->detail, "%s", advice_for(code));
    if ((code & 0xff) == SQLITE_CONSTRAINT)
        set_constraint(error);
}
