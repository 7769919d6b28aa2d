/* statement.c - a scanner that skips what is quoted, so that what it does look at is really there.
 *
 * DESIGN  next_token() cuts the text into blanks, words, parameters, semicolons and the rest; quoted text and comments
 *         are swallowed whole. It follows scan.l of PostgreSQL 15 (standard_conforming_strings on) and tokenize.c of
 *         SQLite 3.40 in all that decides where a quote ends, and is blind to grammar.
 * HOLDS   Every token is at least one byte and ends within the text, so a scan ends.
 * Path:   postgres/query, sqlite/statement > [sql/statement]
 */
#include "sql/statement.h"

#define PARAM_MAX 65535

enum token { TOKEN_END, TOKEN_BLANK, TOKEN_WORD, TOKEN_PARAM, TOKEN_SEMICOLON, TOKEN_OTHER, TOKEN_BAD };

struct scanner {
    struct str text;
    enum sql_dialect dialect;
    size_t from, at; /* the token is text[from .. at) */
    unsigned param;  /* of a TOKEN_PARAM */
    const char *why; /* of a TOKEN_BAD */
};

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_word_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_word(char c) { return is_word_start(c) || is_digit(c) || c == '$'; }

static char peek(const struct scanner *scanner, size_t ahead)
{
    return scanner->at + ahead < scanner->text.len ? scanner->text.data[scanner->at + ahead] : '\0';
}

static enum token bad(struct scanner *scanner, const char *why)
{
    scanner->why = why;
    return TOKEN_BAD;
}

/* After the opening quote. A doubled quote is one inside; with escapes a backslash covers the next byte. */
static enum token skip_quoted(struct scanner *scanner, char quote, bool has_escapes, const char *why)
{
    while (scanner->at < scanner->text.len) {
        char c = scanner->text.data[scanner->at++];
        if (has_escapes && c == '\\') {
            if (scanner->at < scanner->text.len)
                scanner->at++;
        } else if (c == quote) {
            if (peek(scanner, 0) != quote)
                return TOKEN_OTHER;
            scanner->at++;
        }
    }
    return bad(scanner, why);
}

/* E'a' <newline> 'b\'' is one literal: the second part has escapes, too. Leaves `at` behind the opening quote. */
static bool continues_on_next_line(struct scanner *scanner)
{
    size_t at = scanner->at;
    bool has_newline = false;
    while (at < scanner->text.len && is_blank(scanner->text.data[at]))
        has_newline |= scanner->text.data[at] == '\n' || scanner->text.data[at] == '\r', at++;
    if (!has_newline || at >= scanner->text.len || scanner->text.data[at] != '\'')
        return false;
    scanner->at = at + 1;
    return true;
}

static enum token skip_escape_string(struct scanner *scanner)
{
    enum token token;
    do
        token = skip_quoted(scanner, '\'', /* has_escapes= */ true, "a string is not closed");
    while (token == TOKEN_OTHER && continues_on_next_line(scanner));
    return token;
}

static enum token skip_line_comment(struct scanner *scanner)
{
    while (scanner->at < scanner->text.len) {
        char c = scanner->text.data[scanner->at++];
        if (c == '\n' || (c == '\r' && scanner->dialect == SQL_POSTGRES))
            break;
    }
    return TOKEN_BLANK;
}

/* PostgreSQL's nest, SQLite's do not, and SQLite lets one run to the end of the text: we do not. */
static enum token skip_block_comment(struct scanner *scanner)
{
    unsigned depth = 1;
    scanner->at += 2;
    while (scanner->at < scanner->text.len) {
        if (peek(scanner, 0) == '*' && peek(scanner, 1) == '/') {
            scanner->at += 2;
            if (--depth == 0)
                return TOKEN_BLANK;
        } else if (scanner->dialect == SQL_POSTGRES && peek(scanner, 0) == '/' && peek(scanner, 1) == '*') {
            scanner->at += 2;
            depth++;
        } else {
            scanner->at++;
        }
    }
    return bad(scanner, "a comment is not closed");
}

/* $1. What may follow is no letter and no digit: PostgreSQL 15 would begin a word there, SQLite go on with the name. */
static enum token read_param(struct scanner *scanner)
{
    unsigned number = 0;
    scanner->at++;
    while (is_digit(peek(scanner, 0)) && number <= PARAM_MAX)
        number = number * 10 + (unsigned)(scanner->text.data[scanner->at++] - '0');
    if (number == 0 || number > PARAM_MAX)
        return bad(scanner, "parameters are $1 to $65535");
    if (is_word(peek(scanner, 0)))
        return bad(scanner, "a parameter runs into the next word");
    scanner->param = number;
    return TOKEN_PARAM;
}

/* $$..$$ or $tag$..$tag$. A $ that opens neither is some other token. */
static enum token skip_dollar_quoted(struct scanner *scanner)
{
    size_t end = scanner->at + 1;
    const char *data = scanner->text.data;
    if (end < scanner->text.len && is_word_start(data[end]))
        while (end < scanner->text.len && is_word(data[end]) && data[end] != '$')
            end++;
    if (end >= scanner->text.len || data[end] != '$') {
        scanner->at++;
        return TOKEN_OTHER;
    }
    const char *tag = data + scanner->at;
    size_t tag_len = end + 1 - scanner->at, rest = scanner->text.len - (end + 1);
    const char *close = memmem(data + end + 1, rest, tag, tag_len);
    if (!close)
        return bad(scanner, "a dollar-quoted string is not closed");
    scanner->at = (size_t)(close - data) + tag_len;
    return TOKEN_OTHER;
}

static enum token read_word(struct scanner *scanner)
{
    while (is_word(peek(scanner, 0)) && scanner->at < scanner->text.len)
        scanner->at++;
    bool is_e = scanner->at - scanner->from == 1 && (scanner->text.data[scanner->from] | 0x20) == 'e';
    if (is_e && peek(scanner, 0) == '\'' && scanner->dialect == SQL_POSTGRES) {
        scanner->at++;
        return skip_escape_string(scanner);
    }
    return TOKEN_WORD;
}

static enum token skip_bracketed(struct scanner *scanner)
{
    const char *close = memchr(scanner->text.data + scanner->at, ']', scanner->text.len - scanner->at);
    if (!close)
        return bad(scanner, "a name in brackets is not closed");
    scanner->at = (size_t)(close - scanner->text.data) + 1;
    return TOKEN_OTHER;
}

static enum token skip_number(struct scanner *scanner)
{
    while (scanner->at < scanner->text.len && (is_word(peek(scanner, 0)) || peek(scanner, 0) == '.'))
        scanner->at++;
    return TOKEN_OTHER;
}

static enum token next_other(struct scanner *scanner, char c)
{
    bool is_sqlite = scanner->dialect == SQL_SQLITE;
    if (c == '\'' || c == '"' || (c == '`' && is_sqlite)) {
        scanner->at++;
        return skip_quoted(scanner, c, false, c == '\'' ? "a string is not closed" : "a quoted name is not closed");
    }
    if (c == '[' && is_sqlite)
        return skip_bracketed(scanner);
    if (c == '$' && is_digit(peek(scanner, 1)))
        return read_param(scanner);
    if (c == '$' && !is_sqlite)
        return skip_dollar_quoted(scanner);
    if (c == '\0')
        return bad(scanner, "the text holds a zero byte");
    scanner->at++;
    return c == ';' ? TOKEN_SEMICOLON : TOKEN_OTHER;
}

static enum token next_token(struct scanner *scanner)
{
    scanner->from = scanner->at;
    if (scanner->at >= scanner->text.len)
        return TOKEN_END;
    char c = scanner->text.data[scanner->at];
    if (is_blank(c)) {
        while (scanner->at < scanner->text.len && is_blank(scanner->text.data[scanner->at]))
            scanner->at++;
        return TOKEN_BLANK;
    }
    if (c == '-' && peek(scanner, 1) == '-')
        return skip_line_comment(scanner);
    if (c == '/' && peek(scanner, 1) == '*')
        return skip_block_comment(scanner);
    if (is_word_start(c))
        return read_word(scanner);
    if (is_digit(c))
        return skip_number(scanner);
    return next_other(scanner, c);
}

static enum sql_verb verb_of(struct str word)
{
    static const struct {
        struct str word;
        enum sql_verb verb;
    } verbs[] = {
#define VERB(name) { { #name, sizeof #name - 1 }, SQL_VERB_##name }
        VERB(SELECT),  VERB(VALUES),    VERB(TABLE),   VERB(WITH),       VERB(INSERT), VERB(UPDATE),   VERB(DELETE),
        VERB(MERGE),   VERB(REPLACE),   VERB(BEGIN),   VERB(START),      VERB(COMMIT), VERB(END),      VERB(ROLLBACK),
        VERB(ABORT),   VERB(SAVEPOINT), VERB(RELEASE), VERB(PRAGMA),     VERB(VACUUM), VERB(ATTACH),   VERB(DETACH),
        VERB(EXPLAIN), VERB(SHOW),      VERB(SET),     VERB(COPY),       VERB(CALL),   VERB(DO),       VERB(LISTEN),
        VERB(NOTIFY),  VERB(LOCK),      VERB(CREATE),  VERB(ALTER),      VERB(DROP),   VERB(TRUNCATE), VERB(ANALYZE),
        VERB(REINDEX), VERB(RESET),     VERB(DISCARD), VERB(DEALLOCATE),
#undef VERB
    };
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (str_is_nocase(word, verbs[i].word))
            return verbs[i].verb;
    return SQL_VERB_OTHER;
}

static struct str word_at(const struct scanner *scanner)
{
    return str_make(scanner->text.data + scanner->from, scanner->at - scanner->from);
}

bool sql_statement_next(struct str text, enum sql_dialect dialect, size_t *at, struct str *token)
{
    struct scanner scanner = { .text = text, .dialect = dialect, .at = *at };
    enum token kind;
    do
        kind = next_token(&scanner);
    while (kind == TOKEN_BLANK);
    *at = scanner.at;
    *token = word_at(&scanner);
    return kind != TOKEN_END && kind != TOKEN_BAD;
}

/* Past blanks, comments, and the parentheses of "(select ..) union ..". Empty where something else comes first. */
static struct str first_word(struct scanner *scanner)
{
    enum token token;
    do
        token = next_token(scanner);
    while (token == TOKEN_BLANK || (token == TOKEN_OTHER && scanner->text.data[scanner->from] == '('));
    return token == TOKEN_WORD ? word_at(scanner) : STR("");
}

enum sql_verb sql_statement_verb(struct str text, enum sql_dialect dialect)
{
    struct scanner scanner = { .text = text, .dialect = dialect };
    return verb_of(first_word(&scanner));
}

static bool is_write(enum sql_verb verb)
{
    return verb == SQL_VERB_INSERT || verb == SQL_VERB_UPDATE || verb == SQL_VERB_DELETE || verb == SQL_VERB_MERGE ||
           verb == SQL_VERB_REPLACE;
}

/* WITH .. may write at its end and, in PostgreSQL, in each of its parts: then one of these words is there, unquoted. A
 * column of that name makes a read look like a write, which is the safe way to be wrong. */
static bool has_write_word(struct str text, enum sql_dialect dialect)
{
    struct scanner scanner = { .text = text, .dialect = dialect };
    for (enum token token; (token = next_token(&scanner)) != TOKEN_END;)
        if (token == TOKEN_BAD || (token == TOKEN_WORD && is_write(verb_of(word_at(&scanner)))))
            return true;
    return false;
}

bool sql_statement_only_reads(struct str text, enum sql_dialect dialect, enum sql_verb verb)
{
    switch (verb) {
    case SQL_VERB_SELECT:
    case SQL_VERB_VALUES:
    case SQL_VERB_TABLE:
    case SQL_VERB_SHOW: return true;
    case SQL_VERB_WITH: return !has_write_word(text, dialect);
    default: return false;
    }
}

bool sql_verb_is_transaction(enum sql_verb verb)
{
    switch (verb) {
    case SQL_VERB_BEGIN:
    case SQL_VERB_START:
    case SQL_VERB_COMMIT:
    case SQL_VERB_END:
    case SQL_VERB_ROLLBACK:
    case SQL_VERB_ABORT:
    case SQL_VERB_SAVEPOINT:
    case SQL_VERB_RELEASE: return true;
    default: return false;
    }
}

static enum fail invalid(struct sql_statement *out, const char *why, size_t at)
{
    out->why = why;
    out->at = at;
    return FAIL_INVALID;
}

/* Takes one token that is not blank into what is known so far. */
static void learn(struct sql_statement *out, const struct scanner *scanner, enum token token)
{
    if (token == TOKEN_PARAM && scanner->param > out->param_count)
        out->param_count = scanner->param;
    out->len = scanner->at;
}

/* CREATE TRIGGER of SQLite: its body has semicolons of its own, and is over at an END that follows one (as in
 * sqlite3_complete). */
struct trigger {
    unsigned words;
    bool is_one, after_semicolon, is_over;
};

static void follow_trigger(struct trigger *trigger, const struct scanner *scanner, enum token token)
{
    struct str word = word_at(scanner);
    if (token == TOKEN_WORD && ++trigger->words <= 3 && scanner->dialect == SQL_SQLITE &&
        str_is_nocase(word, STR("trigger")))
        trigger->is_one = true;
    trigger->is_over = trigger->is_one && trigger->after_semicolon && token == TOKEN_WORD &&
                       str_is_nocase(word, STR("end"));
    trigger->after_semicolon = token == TOKEN_SEMICOLON;
}

enum fail sql_statement_scan(struct str text, enum sql_dialect dialect, struct sql_statement *out)
{
    *out = (struct sql_statement){ 0 };
    struct scanner scanner = { .text = text, .dialect = dialect };
    struct trigger trigger = { 0 };
    bool has_ended = false;
    struct scanner start = scanner;
    out->keyword = first_word(&start);
    out->verb = verb_of(out->keyword);
    for (enum token token; (token = next_token(&scanner)) != TOKEN_END;) {
        if (token == TOKEN_BAD)
            return invalid(out, scanner.why, scanner.from);
        if (token == TOKEN_BLANK)
            continue;
        bool in_trigger = trigger.is_one && out->verb == SQL_VERB_CREATE && !trigger.is_over;
        follow_trigger(&trigger, &scanner, token);
        if (token == TOKEN_SEMICOLON && !in_trigger) {
            if (out->len == 0)
                return invalid(out, "a semicolon stands where a statement should begin", scanner.from);
            if (has_ended)
                return invalid(out, "one statement at a time: there is a second semicolon", scanner.from);
            has_ended = true;
            continue;
        }
        if (has_ended)
            return invalid(out, "one statement at a time: there is more after the semicolon", scanner.from);
        learn(out, &scanner, token);
    }
    return out->len ? FAIL_OK : invalid(out, "the statement is empty", 0);
}
