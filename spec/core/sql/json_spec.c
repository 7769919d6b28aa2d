/* json_spec.c - cells and rows as JSON, with PostgreSQL itself as the judge.
 *
 * Where a PostgreSQL can be had (WICK_TEST_POSTGRES holds its URL, or the server's programs are installed) it prints each
 * value as text and by to_json; our JSON of the text must be its JSON, to the byte. */
#include "support/spec.h"

#include "sql/rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- by hand --- */

static void writes(struct sql_cell cell, const char *json)
{
    struct buf out;
    buf_init(&out, MEM_SQL, 0);
    sql_cell_add_json(&out, cell);
    assert_text(out, json);
    buf_clear(&out);
}

static void cells_are_written_by_their_kind(void **state)
{
    (void)state;
    writes((struct sql_cell){ .kind = SQL_KIND_NULL }, "null");
    writes((struct sql_cell){ .kind = SQL_KIND_BOOL, .integer = 1 }, "true");
    writes((struct sql_cell){ .kind = SQL_KIND_BOOL }, "false");
    writes((struct sql_cell){ .kind = SQL_KIND_INT, .integer = INT64_MIN }, "-9223372036854775808");
    writes((struct sql_cell){ .kind = SQL_KIND_INT, .integer = 7, .text = STR("123456789012345678") },
           "123456789012345678");
    writes((struct sql_cell){ .kind = SQL_KIND_FLOAT, .real = 1e-7 }, "1e-07");
    writes((struct sql_cell){ .kind = SQL_KIND_FLOAT, .text = STR("NaN") }, "\"NaN\"");
    writes((struct sql_cell){ .kind = SQL_KIND_NUMERIC, .text = STR("-0.10") }, "-0.10");
    writes((struct sql_cell){ .kind = SQL_KIND_TEXT, .text = STR("a\"\\\n\x01") }, "\"a\\\"\\\\\\n\\u0001\"");
    writes((struct sql_cell){ .kind = SQL_KIND_TEXT }, "\"\"");
    writes((struct sql_cell){ .kind = SQL_KIND_JSON, .text = STR("{ \"a\": [] }") }, "{ \"a\": [] }");
    writes((struct sql_cell){ .kind = SQL_KIND_BYTES, .text = STR("\\x00ff") }, "\"\\\\x00ff\"");
}

struct pair_rows {
    struct sql_rows base;
    struct sql_column columns[2];
};

static struct sql_cell pair_cell(const struct sql_rows *rows, size_t row, unsigned column)
{
    (void)rows;
    return column ? (struct sql_cell){ .kind = SQL_KIND_TEXT, .text = STR("x") }
                  : (struct sql_cell){ .kind = SQL_KIND_INT, .integer = (int64_t)row };
}

static void pair_free(struct sql_rows *rows) { rows->row_count = 99; }

static void rows_are_objects_in_an_array(void **state)
{
    (void)state;
    static const struct sql_rows_ops ops = { .cell = pair_cell, .free = pair_free };
    struct pair_rows rows = { .columns = { { .name = STR("a"), .json_key = STR("\"a\":") },
                                           { .name = STR("b"), .json_key = STR("\"b\":") } } };
    rows.base = (struct sql_rows){ .ops = &ops, .columns = rows.columns, .column_count = 2, .row_count = 2 };
    struct buf out;
    buf_init(&out, MEM_SQL, 0);
    sql_rows_add_json(&out, &rows.base);
    assert_text(out, "[{\"a\":0,\"b\":\"x\"},{\"a\":1,\"b\":\"x\"}]");
    buf_reset(&out);
    rows.base.row_count = 0;
    sql_rows_add_json(&out, &rows.base);
    assert_text(out, "[]");
    assert_int_equal(sql_rows_find(&rows.base, STR("b")), 1);
    assert_int_equal(sql_rows_find(&rows.base, STR("c")), -1);
    sql_rows_free(NULL);
    sql_rows_free(&rows.base);
    assert_int_equal(rows.base.row_count, 99);
    buf_clear(&out);
}

static void a_limit_on_the_buffer_is_kept(void **state)
{
    (void)state;
    static const enum sql_kind kinds[] = { SQL_KIND_TEXT, SQL_KIND_JSON, SQL_KIND_BYTES, SQL_KIND_TIMESTAMPTZ,
                                           SQL_KIND_NUMERIC };
    for (size_t limit = 0; limit < 30; limit++)
        for (size_t i = 0; i < COUNT_OF(kinds); i++) {
            struct buf out;
            buf_init(&out, MEM_SQL, limit ? limit : 1);
            sql_cell_add_json(&out, (struct sql_cell){ .kind = kinds[i], .text = STR("\\x0001 02 03 04 05 06+00") });
            assert_true(out.len <= (limit ? limit : 1));
            buf_clear(&out);
        }
}

/* --- by PostgreSQL --- */

struct type {
    const char *name;
    enum sql_kind kind, element;
    const char *values[16];
};

static const struct type types[] = {
    { "boolean", SQL_KIND_BOOL, SQL_KIND_NULL, { "'t'", "'f'", "null" } },
    { "smallint", SQL_KIND_INT, SQL_KIND_NULL, { "-32768", "0", "32767" } },
    { "bigint", SQL_KIND_INT, SQL_KIND_NULL, { "9007199254740993", "-9223372036854775808", "123456789012345678" } },
    { "real", SQL_KIND_FLOAT, SQL_KIND_NULL, { "'0.1'", "'NaN'", "'-Infinity'", "'1e20'", "'-0'" } },
    { "double precision",
      SQL_KIND_FLOAT,
      SQL_KIND_NULL,
      { "'1e-7'", "'0.1'", "'1e15'", "'123456.789'", "'NaN'", "'Infinity'", "'-0'", "'2.2250738585072014e-308'" } },
    { "numeric",
      SQL_KIND_NUMERIC,
      SQL_KIND_NULL,
      { "'1.50'", "'-0.000000000000000000001'", "'NaN'", "'Infinity'", "'123456789012345678901234567890.5'",
        "'1e100'" } },
    { "text",
      SQL_KIND_TEXT,
      SQL_KIND_NULL,
      { "''", "'a\"b\\c/d'", "E'\\b\\f\\n\\r\\t\\x01\\x1f\\x7f'", "'\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80'", "'null'",
        "E'\\u2028'" } },
    { "char(5)", SQL_KIND_TEXT, SQL_KIND_NULL, { "'ab'" } },
    { "uuid", SQL_KIND_TEXT, SQL_KIND_NULL, { "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'" } },
    { "json",
      SQL_KIND_JSON,
      SQL_KIND_NULL,
      { "'{ \"a\" : [1, 2.50 ] }'", "'null'", "'\"x\"'", "'{\"a\":1,\"a\":2}'" } },
    { "jsonb", SQL_KIND_JSON, SQL_KIND_NULL, { "'{\"b\":1,\"a\":[1e3,{}]}'", "'[]'", "'\"\\u00e4\"'" } },
    { "bytea", SQL_KIND_BYTES, SQL_KIND_NULL, { "'\\x00ff'", "''", "'abc'" } },
    { "date", SQL_KIND_TEXT, SQL_KIND_NULL, { "'2024-02-29'", "'infinity'", "'0044-03-15 BC'", "'12024-01-01'" } },
    { "time", SQL_KIND_TEXT, SQL_KIND_NULL, { "'12:00:00.5'" } },
    { "timetz", SQL_KIND_TEXT, SQL_KIND_NULL, { "'12:00:00+02'" } },
    { "interval", SQL_KIND_TEXT, SQL_KIND_NULL, { "'1 day 02:03:04'" } },
    { "timestamp",
      SQL_KIND_TIMESTAMP,
      SQL_KIND_NULL,
      { "'2024-02-29 12:00:00'", "'2024-02-29 12:00:00.123456'", "'infinity'", "'-infinity'",
        "'0044-03-15 01:02:03 BC'", "'12024-01-01 00:00:00.1'" } },
    { "timestamptz",
      SQL_KIND_TIMESTAMPTZ,
      SQL_KIND_NULL,
      { "'2024-02-29 12:00:00+00'", "'2024-07-01 12:00:00.5+05:30'", "'infinity'", "'0044-03-15 01:02:03+00 BC'",
        "'1850-01-01 00:00:00+00'", "'12024-01-01 00:00:00+00'" } },
    { "int[]",
      SQL_KIND_ARRAY,
      SQL_KIND_INT,
      { "'{}'", "'{1,NULL,3}'", "'{{1,2},{3,4}}'", "'[0:1]={7,8}'", "'[-1:0][2:3]={{1,2},{3,4}}'", "null" } },
    { "boolean[]", SQL_KIND_ARRAY, SQL_KIND_BOOL, { "'{t,f,NULL}'" } },
    { "float8[]", SQL_KIND_ARRAY, SQL_KIND_FLOAT, { "'{1e-7,NaN,-Infinity,0.1,NULL}'" } },
    { "numeric[]", SQL_KIND_ARRAY, SQL_KIND_NUMERIC, { "'{1.50,NaN}'" } },
    { "text[]",
      SQL_KIND_ARRAY,
      SQL_KIND_TEXT,
      { "array['a','NULL',null,'','x y','q\"b\\s','{','}',',',E'\\n','null','[0:1]=']", "array[['a,b'],['\xc3\xa4']]",
        "array[' a ',E'\\t']" } },
    { "json[]", SQL_KIND_ARRAY, SQL_KIND_JSON, { "array['{\"a\": [1,\"x\\\\y\"]}'::json, 'null', null, '1']" } },
    { "jsonb[]", SQL_KIND_ARRAY, SQL_KIND_JSON, { "array['{\"a\": [1]}'::jsonb, '\"s\"']" } },
    { "timestamp[]", SQL_KIND_ARRAY, SQL_KIND_TIMESTAMP, { "'{2024-02-29 12:00:00,infinity,NULL}'" } },
    { "timestamptz[]",
      SQL_KIND_ARRAY,
      SQL_KIND_TIMESTAMPTZ,
      { "'{2024-02-29 12:00:00+00,0044-03-15 01:02:03+00 BC}'" } },
    { "date[]", SQL_KIND_ARRAY, SQL_KIND_TEXT, { "'{2024-02-29,0044-03-15 BC}'" } },
    { "bytea[]", SQL_KIND_ARRAY, SQL_KIND_BYTES, { "array['\\x00ff'::bytea, '', null]" } },
    { "uuid[]", SQL_KIND_ARRAY, SQL_KIND_TEXT, { "'{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}'" } },
};

static const char *const zones[] = { "UTC", "Asia/Kolkata", "America/New_York", "Europe/Paris" };

static char server_dir[64];

/* The URL of a server we may ask, or NULL. */
static const char *find_server(void)
{
    static char url[256];
    const char *given = getenv("WICK_TEST_POSTGRES");
    if (given && given[0])
        return given;
    if (access("spec/support/servers.sh", X_OK) != 0 || access("/usr/lib/postgresql/15/bin/postgres", X_OK) != 0)
        return NULL;
    snprintf(server_dir, sizeof server_dir, "/tmp/wick-json-XXXXXX");
    assert_non_null(mkdtemp(server_dir));
    char command[256];
    snprintf(command, sizeof command, "chmod 755 %s; spec/support/servers.sh postgres start %s/pg | sed -n s/^url=//p",
             server_dir, server_dir);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    bool has_line = fgets(url, sizeof url, pipe) != NULL;
    assert_int_equal(pclose(pipe), 0);
    assert_true(has_line);
    url[strcspn(url, "\n")] = '\0';
    return url;
}

static void stop_server(void)
{
    char command[256];
    if (!server_dir[0])
        return;
    snprintf(command, sizeof command, "spec/support/servers.sh postgres stop %s/pg; rm -rf %s", server_dir, server_dir);
    assert_int_equal(system(command), 0);
    server_dir[0] = '\0';
}

/* One line for each value and zone: the type's number, the text, the JSON, with \x02 between and a zero byte behind. */
static void write_queries(const char *path)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (size_t z = 0; z < COUNT_OF(zones); z++) {
        fprintf(file, "set timezone = '%s';\n", zones[z]);
        for (size_t i = 0; i < COUNT_OF(types); i++)
            for (size_t k = 0; k < COUNT_OF(types[i].values) && types[i].values[k]; k++)
                fprintf(file,
                        "select %zu, v is null, format('%%s', v), coalesce(to_json(v)::text, 'null') from (select "
                        "(%s)::%s as v) "
                        "as x;\n",
                        i, types[i].values[k], types[i].name);
    }
    fclose(file);
}

static char *next_field(char **at, char end)
{
    char *from = *at, *stop = strchr(from, end);
    if (!stop)
        return NULL;
    *stop = '\0';
    *at = stop + 1;
    return from;
}

static unsigned compare_all(char *text)
{
    unsigned count = 0;
    for (char *number; (number = next_field(&text, '\x02')); count++) {
        const struct type *type = &types[atoi(number)];
        char *is_null = next_field(&text, '\x02'), *value = next_field(&text, '\x02'), *json = next_field(&text, '\0');
        assert_non_null(json);
        struct sql_cell cell = { .kind = type->kind, .element = type->element, .text = str_of(value) };
        if (type->kind == SQL_KIND_BOOL)
            cell.integer = value[0] == 't';
        if (is_null[0] == 't')
            cell = (struct sql_cell){ .kind = SQL_KIND_NULL };
        struct buf out;
        buf_init(&out, MEM_SQL, 0);
        sql_cell_add_json(&out, cell);
        if (out.len != strlen(json) || memcmp(out.data, json, out.len) != 0)
            fail_msg("%s %s: %.*s, and to_json says %s", type->name, value, (int)out.len, out.data, json);
        buf_clear(&out);
    }
    return count;
}

static void json_is_what_to_json_of_postgresql_makes(void **state)
{
    (void)state;
    static char text[1 << 20];
    const char *url = find_server();
    if (!url) {
        print_message("skipped: no PostgreSQL here\n");
        skip();
    }
    char path[64] = "/tmp/wick-json-queries-XXXXXX", command[512];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_queries(path);
    snprintf(command, sizeof command, "psql -XAtq -v ON_ERROR_STOP=1 -F \"$(printf '\\002')\" -0 -f %s '%s'", path,
             url);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t len = fread(text, 1, sizeof text - 1, pipe);
    assert_int_equal(pclose(pipe), 0);
    text[len] = '\0';
    unlink(path);
    stop_server();
    unsigned count = compare_all(text);
    print_message("%u values compared with to_json\n", count);
    assert_true(count > 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_are_written_by_their_kind), cmocka_unit_test(rows_are_objects_in_an_array),
        cmocka_unit_test(a_limit_on_the_buffer_is_kept),   cmocka_unit_test(json_is_what_to_json_of_postgresql_makes),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
