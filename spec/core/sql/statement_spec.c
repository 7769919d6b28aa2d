/* statement_spec.c - what the scanner sees in a statement, and what it must not be fooled by. */
#include "support/spec.h"

#include "sql/statement.h"

struct one {
    const char *text;
    unsigned param_count;
    enum sql_verb verb;
};

static void scans_as(enum sql_dialect dialect, const struct one *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct sql_statement out;
        if (sql_statement_scan(str_of(cases[i].text), dialect, &out))
            fail_msg("%s: %s", cases[i].text, out.why);
        if (out.param_count != cases[i].param_count || out.verb != cases[i].verb)
            fail_msg("%s: %u parameters, verb %d", cases[i].text, out.param_count, out.verb);
        assert_int_equal(sql_statement_verb(str_of(cases[i].text), dialect), cases[i].verb);
    }
}

static void is_refused(enum sql_dialect dialect, const char *const *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct sql_statement out;
        if (sql_statement_scan(str_of(cases[i]), dialect, &out) != FAIL_INVALID || !out.why ||
            out.at > strlen(cases[i]))
            fail_msg("%s was taken", cases[i]);
    }
}

static void parameters_are_counted_where_they_are_real(void **state)
{
    (void)state;
    static const struct one both[] = {
        { "select 1", 0, SQL_VERB_SELECT },
        { "  -- a $1\n/* $2 */ SELECT $3", 3, SQL_VERB_SELECT },
        { "insert into t values ($2, $1, $2)", 2, SQL_VERB_INSERT },
        { "update t set a = '$1' where b = \"$2\" and c=$1", 1, SQL_VERB_UPDATE },
        { "select a$1, 'it''s $4', $65535", 65535, SQL_VERB_SELECT },
        { "select 'a\\', $1 as \"b\\\"", 1, SQL_VERB_SELECT },
        { "with x as (select $1) select * from x;", 1, SQL_VERB_WITH },
        { "delete from t where a=$1 ; -- bye\n /* really */ ", 1, SQL_VERB_DELETE },
        { "select 1--$1", 0, SQL_VERB_SELECT },
        { "select $1::int4", 1, SQL_VERB_SELECT },
        { "(select 1)", 0, SQL_VERB_SELECT },
        { "( /* a */ ( -- b\n SELECT 1))", 0, SQL_VERB_SELECT },
        { "'a' select", 0, SQL_VERB_OTHER },
        { ") select", 0, SQL_VERB_OTHER },
        { "frobnicate", 0, SQL_VERB_OTHER },
        { "select 1e5, 0x1F, 1.5$2", 0, SQL_VERB_SELECT },
        { "\xc3\xa4$1", 0, SQL_VERB_OTHER },
    };
    static const struct one postgres[] = {
        { "select E'\\'$1', $2", 2, SQL_VERB_SELECT },
        { "select E'a'\n  '\\'$1', $2", 2, SQL_VERB_SELECT },
        { "select 'a' '$1', e''''", 0, SQL_VERB_SELECT },
        { "select $$ $1 ; ' $$, $2", 2, SQL_VERB_SELECT },
        { "select $tag$ $$ $1 $ta$ $tag$, $1", 1, SQL_VERB_SELECT },
        { "do $_$ begin; end; $_$", 0, SQL_VERB_DO },
        { "/* a /* b */ $1 */ select $2", 2, SQL_VERB_SELECT },
        { "select a[$1:$2]", 2, SQL_VERB_SELECT },
        { "select 1 -- a\r, $1", 1, SQL_VERB_SELECT },
        { "select type'\\', $1", 1, SQL_VERB_SELECT },
        { "select U&'\\0441', $1", 1, SQL_VERB_SELECT },
        { "start transaction", 0, SQL_VERB_START },
    };
    static const struct one sqlite[] = {
        { "select E'\\', $1", 1, SQL_VERB_SELECT }, /* no escapes there */
        { "select [a $1], `b $2`, $3", 3, SQL_VERB_SELECT },
        { "select x'00', $1", 1, SQL_VERB_SELECT },
        { "pragma table_info(t)", 0, SQL_VERB_PRAGMA },
    };
    scans_as(SQL_POSTGRES, both, COUNT_OF(both));
    scans_as(SQL_SQLITE, both, COUNT_OF(both));
    scans_as(SQL_POSTGRES, postgres, COUNT_OF(postgres));
    scans_as(SQL_SQLITE, sqlite, COUNT_OF(sqlite));
}

static bool only_reads(const char *text, enum sql_dialect dialect)
{
    return sql_statement_only_reads(str_of(text), dialect, sql_statement_verb(str_of(text), dialect));
}

static void a_read_is_told_from_a_write(void **state)
{
    (void)state;
    static const char *const reads[] = {
        "select 1",
        "-- a\nselect 1",
        "/* insert */ (select 1)",
        "values (1)",
        "with a as (select 1) select * from a",
        "with a as (select 'update', \"delete\" from t /* insert */) select * from a",
    };
    static const char *const writes[] = {
        "insert into t values (1)",
        "-- select\ndelete from t",
        "with a as (select 1) insert into t select * from a",
        "WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a",
        "explain analyze delete from t",
        "with a as (select '",
        "",
        "selects",
    };
    for (size_t i = 0; i < COUNT_OF(reads); i++)
        if (!only_reads(reads[i], SQL_POSTGRES) || !only_reads(reads[i], SQL_SQLITE))
            fail_msg("%s: taken for a write", reads[i]);
    for (size_t i = 0; i < COUNT_OF(writes); i++)
        if (only_reads(writes[i], SQL_POSTGRES) || only_reads(writes[i], SQL_SQLITE))
            fail_msg("%s: taken for a read", writes[i]);
    assert_true(only_reads("/* a /* b */ insert */ select 1", SQL_POSTGRES)); /* there they nest */
    assert_false(only_reads("/* a /* b */ insert into t values (1)", SQL_SQLITE));
}

static void what_is_not_one_statement_is_refused(void **state)
{
    (void)state;
    static const char *const both[] = {
        "",
        "   ",
        "-- only this",
        "/* and this */",
        ";",
        "select 1;;",
        "select 1; select 2",
        "select 1;--\n;",
        "select '",
        "select 'a''",
        "select \"x",
        "select /* 1",
        "select $0",
        "select $1from t",
        "select $1$a$",
        "select $65536",
        "select $99999999999999999999",
        "select ''';drop table t",
        "; select 1",
    };
    static const char *const postgres[] = { "select $$ a", "select $a$ $b$", "select E'\\'", "/* a /* b */ select 1",
                                            "select E'a'\n'\\'" };
    static const char *const sqlite[] = { "select [a", "select `a" };
    is_refused(SQL_POSTGRES, both, COUNT_OF(both));
    is_refused(SQL_SQLITE, both, COUNT_OF(both));
    is_refused(SQL_POSTGRES, postgres, COUNT_OF(postgres));
    is_refused(SQL_SQLITE, sqlite, COUNT_OF(sqlite));
    struct sql_statement out;
    assert_int_equal(sql_statement_scan(STR("select 1\0; drop table t"), SQL_POSTGRES, &out), FAIL_INVALID);
    assert_int_equal(out.at, 8);
}

static void a_trigger_of_sqlite_has_semicolons_of_its_own(void **state)
{
    (void)state;
    static const char *const one[] = {
        "create trigger t after insert on a begin insert into b values (new.x); end",
        "create temp trigger if not exists t after insert on a begin select case when 1 then 2 end; delete from b; "
        "end;",
        "CREATE TRIGGER t AFTER UPDATE ON a BEGIN UPDATE b SET x = 'end;'; END -- done",
    };
    static const char *const several[] = {
        "create trigger t after insert on a begin delete from b; end; drop table a",
        "create table trigger_log (a); drop table a",
        "select trigger; drop table a",
    };
    struct sql_statement statement;
    for (size_t i = 0; i < COUNT_OF(one); i++) {
        assert_int_equal(sql_statement_scan(str_of(one[i]), SQL_SQLITE, &statement), FAIL_OK);
        assert_int_equal(sql_statement_scan(str_of(one[i]), SQL_POSTGRES, &statement), FAIL_INVALID);
    }
    for (size_t i = 0; i < COUNT_OF(several); i++)
        assert_int_equal(sql_statement_scan(str_of(several[i]), SQL_SQLITE, &statement), FAIL_INVALID);
}

static void the_statement_ends_before_its_semicolon(void **state)
{
    (void)state;
    struct sql_statement out;
    struct str text = STR(" /* x */ Select 1 /* y */ ; -- z");
    assert_int_equal(sql_statement_scan(text, SQL_POSTGRES, &out), FAIL_OK);
    assert_text(str_make(text.data, out.len), " /* x */ Select 1");
    assert_text(out.keyword, "Select");
}

static void some_verbs_are_about_transactions(void **state)
{
    (void)state;
    assert_true(sql_verb_is_transaction(SQL_VERB_BEGIN));
    assert_true(sql_verb_is_transaction(SQL_VERB_RELEASE));
    assert_false(sql_verb_is_transaction(SQL_VERB_SELECT));
    assert_false(sql_verb_is_transaction(SQL_VERB_OTHER));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_counted_where_they_are_real),
        cmocka_unit_test(a_read_is_told_from_a_write),
        cmocka_unit_test(what_is_not_one_statement_is_refused),
        cmocka_unit_test(a_trigger_of_sqlite_has_semicolons_of_its_own),
        cmocka_unit_test(the_statement_ends_before_its_semicolon),
        cmocka_unit_test(some_verbs_are_about_transactions),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
