/* sql_statement_fuzz.c - what the scanner takes for one statement is one: cut where it says it scans the same, and with
 * another statement behind it it is refused. */
#include "base/buf.h"
#include "sql/statement.h"

#include <stdlib.h>

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void scan(struct str text, enum sql_dialect dialect)
{
    struct sql_statement whole, cut, more;
    if (sql_statement_scan(text, dialect, &whole)) {
        check(whole.why && whole.at <= text.len);
        return;
    }
    check(whole.len > 0 && whole.len <= text.len);
    check(sql_statement_verb(text, dialect) == whole.verb);
    struct buf buf;
    buf_init(&buf, MEM_SQL, 0);
    buf_add(&buf, text.data, whole.len);
    check(sql_statement_scan(str_make(buf.data, buf.len), dialect, &cut) == FAIL_OK);
    check(cut.len == whole.len && cut.param_count == whole.param_count && cut.verb == whole.verb);
    buf_add_str(&buf, STR("\n;select 1"));
    check(sql_statement_scan(str_make(buf.data, buf.len), dialect, &more) == FAIL_INVALID);
    buf_clear(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct str text = str_make((const char *)data, len);
    scan(text, SQL_POSTGRES);
    scan(text, SQL_SQLITE);
    return 0;
}
