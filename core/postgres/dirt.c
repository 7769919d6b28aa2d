/* dirt.c - tells by its words whether a statement leaves something on its connection that outlives the transaction.
 *
 * DESIGN  Asked once for each prepared text, so it may look at all of it; the tokens are statement.c's, so what stands in quotes and
 *         comments is not taken for words. What ends with the transaction by itself is clean: SET LOCAL, SET TRANSACTION,
 *         set_config(.., true), pg_advisory_xact_lock, a cursor without HOLD.
 * Path:   postgres/prepare > [postgres/dirt] > sql/statement
 */
#include "postgres/dirt.h"

#include "sql/statement.h"

#include <string.h>

struct words {
    struct str text;
    size_t at;
};

static struct str next(struct words *words)
{
    struct str token;
    return sql_statement_next(words->text, SQL_POSTGRES, &words->at, &token) ? token : STR_NONE;
}

static bool is(struct str token, const char *word) { return str_is_nocase(token, str_of(word)); }

/* "set_config" may be quoted; a quoted name is as it stands. */
static bool is_name(struct str token, const char *name)
{
    if (token.len > 2 && token.data[0] == '"')
        return str_is(str_make(token.data + 1, token.len - 2), str_of(name));
    return is(token, name);
}

static bool is_one_of(struct str token, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is_name(token, names[i]))
            return true;
    return false;
}

/* Behind the word SET. */
static unsigned dirt_of_set(struct words *words)
{
    struct str what = next(words);
    return is(what, "local") || is(what, "transaction") || is(what, "constraints") ? 0 : POSTGRES_DIRT_STATE;
}

static bool is_temporary(struct str token) { return is(token, "temp") || is(token, "temporary"); }

/* Behind CREATE or INTO: [or replace] [local | global] temp .. */
static bool makes_temporary(struct words words)
{
    for (int i = 0; i < 4; i++) {
        struct str token = next(&words);
        if (is_temporary(token))
            return true;
        if (!is(token, "or") && !is(token, "replace") && !is(token, "local") && !is(token, "global"))
            return false;
    }
    return false;
}

/* Behind set_config: is its last argument the word true and nothing else (not true), so that the setting ends with the transaction? */
static bool is_local_setting(struct words words)
{
    struct str before = STR_NONE, comma = STR_NONE;
    unsigned depth = 0;
    for (struct str token; (token = next(&words)).len; comma = before, before = token) {
        if (str_is(token, STR("(")))
            depth++;
        else if (str_is(token, STR(")")) && (depth == 0 || --depth == 0))
            return is(before, "true") && str_is(comma, STR(","));
    }
    return false;
}

/* U&"set\005fconfig" says a name in a way that only the server reads. */
static bool is_escaped(struct str token)
{
    return is(token, "uescape") || (token.len && token.data[0] == '"' && memchr(token.data, '\\', token.len));
}

static unsigned dirt_of_verb(struct str verb, struct words *words)
{
    if (is(verb, "set"))
        return dirt_of_set(words);
    if (is(verb, "listen") || is(verb, "load"))
        return POSTGRES_DIRT_STATE;
    if (is(verb, "prepare"))
        return POSTGRES_DIRT_PREPARED;
    if (is(verb, "do") || is(verb, "call"))
        return POSTGRES_DIRT_UNTOLD;
    if (is(verb, "create") && makes_temporary(*words))
        return POSTGRES_DIRT_STATE;
    return 0;
}

/* What is before it in the same text, and changes what a word means. */
struct before {
    bool declares, updates;
};

static unsigned dirt_of_word(struct str token, const struct words *words, struct before before)
{
    static const char *const locks[] = { "pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock",
                                         "pg_try_advisory_lock_shared" };
    if (is_name(token, "pg_temp") || is_escaped(token)) /* a table there is temporary, whatever CREATE calls it */
        return POSTGRES_DIRT_STATE;
    if (before.updates && is_name(token, "pg_settings")) /* an UPDATE of that view is a SET */
        return POSTGRES_DIRT_STATE;
    if (is_name(token, "set_config"))
        return is_local_setting(*words) ? 0 : POSTGRES_DIRT_STATE;
    if (is_one_of(token, locks, sizeof locks / sizeof *locks) || (before.declares && is(token, "hold")))
        return POSTGRES_DIRT_STATE;
    bool makes = is(token, "into") || is(token, "create"); /* EXPLAIN ANALYZE CREATE .. AS does create */
    return makes && makes_temporary(*words) ? POSTGRES_DIRT_STATE : 0;
}

unsigned postgres_dirt_of(struct str text)
{
    struct words words = { .text = text };
    struct str verb = next(&words);
    unsigned dirt = dirt_of_verb(verb, &words);
    struct before before = { .declares = is(verb, "declare"), .updates = is(verb, "update") };
    for (struct str token; (token = next(&words)).len; before.updates |= is(token, "update"))
        dirt |= dirt_of_word(token, &words, before);
    return dirt;
}
