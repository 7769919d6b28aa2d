/* sql_form_fuzz.c - whatever is of a form comes out as JSON; whatever is not leaves nothing behind. The first byte chooses the form. */
#include "base/json.h"
#include "sql/form.h"

#include <stdlib.h>

#define VALUE(name, its_kind) static const struct sql_form name = { .shape = SQL_FORM_VALUE, .kind = its_kind }
VALUE(number, SQL_KIND_INT);
VALUE(text, SQL_KIND_TEXT);
VALUE(truth, SQL_KIND_BOOL);
VALUE(real, SQL_KIND_FLOAT);
VALUE(json, SQL_KIND_JSON);
VALUE(instant, SQL_KIND_TIMESTAMPTZ);
VALUE(bytes, SQL_KIND_BYTES);

static const struct sql_form numbers = { .shape = SQL_FORM_ARRAY, .delimiter = ',', .element = &number };
static const struct sql_form vector = { .shape = SQL_FORM_VECTOR, .element = &number };
static const struct sql_field row_fields[] = { { { "\"a\":", 4 }, &number },  { { "\"b\":", 4 }, &text },
                                               { { "\"c\":", 4 }, &numbers }, { { "\"d\":", 4 }, &json },
                                               { { "\"e\":", 4 }, &instant }, { { "\"f\":", 4 }, &vector } };
static const struct sql_form row = { .shape = SQL_FORM_ROW, .field_count = 6, .fields = row_fields };
static const struct sql_form rows = { .shape = SQL_FORM_ARRAY, .delimiter = ';', .element = &row };
static const struct sql_field nest_fields[] = { { { "\"r\":", 4 }, &row }, { { "\"s\":", 4 }, &rows } };
static const struct sql_form nest = { .shape = SQL_FORM_ROW, .field_count = 2, .fields = nest_fields };
static const struct sql_form nests = { .shape = SQL_FORM_ARRAY, .delimiter = ',', .element = &nest };
static const struct sql_field one_field[] = { { { "\"n\":", 4 }, &nests } };
static const struct sql_form one = { .shape = SQL_FORM_ROW, .field_count = 1, .fields = one_field };
static const struct sql_form none = { .shape = SQL_FORM_ROW };
static const struct sql_form *const forms[] = { &number, &text, &truth, &real, &json,  &instant, &bytes, &numbers,
                                                &vector, &row,  &rows,  &nest, &nests, &one,     &none };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct json_sink sink;
    static const struct json_limits limits = { .depth_max = 200 };
    if (len == 0)
        return 0;
    struct str input = str_make((const char *)data + 1, len - 1);
    if (!str_utf8(input))
        return 0;
    struct buf out;
    struct json_where where;
    buf_init(&out, MEM_SQL, 0);
    buf_add_char(&out, ' ');
    bool is_good = sql_form_add_json(&out, input, forms[data[0] % (sizeof forms / sizeof *forms)], false);
    if (is_good ? json_read(str_make(out.data, out.len), &limits, &sink, NULL, &where) != FAIL_OK : out.len != 1)
        abort();
    buf_clear(&out);
    return 0;
}
