/* statement.h - what must be known of a statement's text without parsing it: its first word, how many parameters it
 * takes, and that it is one statement. */
#ifndef SQL_STATEMENT_H
#define SQL_STATEMENT_H

#include "base/fail.h"
#include "base/str.h"

/* Where the two disagree: PostgreSQL nests comments and knows E'\'' and $tag$..$tag$, SQLite knows `a` and [a]. */
enum sql_dialect { SQL_POSTGRES, SQL_SQLITE };

/* The first word, as far as somebody treats it apart. */
enum sql_verb {
    SQL_VERB_OTHER, SQL_VERB_SELECT, SQL_VERB_VALUES, SQL_VERB_TABLE, SQL_VERB_WITH, SQL_VERB_INSERT, SQL_VERB_UPDATE, SQL_VERB_DELETE,
    SQL_VERB_MERGE, SQL_VERB_REPLACE, SQL_VERB_BEGIN, SQL_VERB_START, SQL_VERB_COMMIT, SQL_VERB_END, SQL_VERB_ROLLBACK, SQL_VERB_ABORT,
    SQL_VERB_SAVEPOINT, SQL_VERB_RELEASE, SQL_VERB_PRAGMA, SQL_VERB_VACUUM, SQL_VERB_ATTACH, SQL_VERB_DETACH, SQL_VERB_EXPLAIN,
    SQL_VERB_SHOW, SQL_VERB_SET, SQL_VERB_COPY, SQL_VERB_CALL, SQL_VERB_DO, SQL_VERB_LISTEN, SQL_VERB_NOTIFY, SQL_VERB_LOCK,
    SQL_VERB_CREATE, SQL_VERB_ALTER, SQL_VERB_DROP, SQL_VERB_TRUNCATE, SQL_VERB_ANALYZE, SQL_VERB_REINDEX,
    SQL_VERB_RESET, SQL_VERB_DISCARD, SQL_VERB_DEALLOCATE
};

struct sql_statement {
    enum sql_verb verb;
    struct str keyword;        /* the first word as written, borrowed from the text */
    unsigned param_count;      /* the highest n of all $n; parameters may repeat, come in any order, and leave gaps */
    size_t len;                /* of the text without a trailing semicolon and what is blank around it */
    const char *why;           /* on FAIL_INVALID: a phrase for people .. */
    size_t at;                 /* .. and the byte it is about */
};

/* Reads the text once. FAIL_INVALID for: no statement at all, several joined by semicolons, an unfinished quote or comment,
 * a zero byte, $0, a number over 65535, $1 with letters right behind it. Allocates nothing. */
MUST_USE enum fail sql_statement_scan(struct str text, enum sql_dialect dialect, struct sql_statement *out);
/* The first word alone, past blanks, comments and opening parentheses; SQL_VERB_OTHER where there is none. */
enum sql_verb sql_statement_verb(struct str text, enum sql_dialect dialect);
/* The next token from *at on that is neither blank nor comment: a word, a number, quoted text with its quotes, a parameter, a sign.
 * False at the end, and where the text is broken. For who looks at words; it knows no grammar. */
bool sql_statement_next(struct str text, enum sql_dialect dialect, size_t *at, struct str *token);
/* SELECT, VALUES, TABLE, SHOW, and a WITH in which no word writes. What functions of a SELECT do is not known. `verb` is
 * that of the text. */
bool sql_statement_only_reads(struct str text, enum sql_dialect dialect, enum sql_verb verb);
static inline bool sql_verb_commits(enum sql_verb verb) { return verb == SQL_VERB_COMMIT || verb == SQL_VERB_END; }
/* BEGIN, COMMIT, ROLLBACK, SAVEPOINT and their like. */
bool sql_verb_is_transaction(enum sql_verb verb);

#endif
