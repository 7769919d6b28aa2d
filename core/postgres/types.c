/* types.c - from OIDs, and from rows of pg_type and pg_attribute, to kinds and forms.
 *
 * DESIGN  What a value is to to_json follows json_categorize_type (PostgreSQL 15, json.c): domains are what they are over, an array is what has
 *         elements and no fixed length, a row what has fields, and all else is its text.
 *         The server walks from the types of the columns to all they are made of, and tells each once; here each column's type becomes a
 *         tree of its own, in one arena, so that nothing but the whole is counted. A type cannot contain itself.
 * HOLDS   A tree has at most POSTGRES_TYPE_PARTS_MAX nodes and is SQL_FORM_DEPTH_MAX deep.
 * Path:   postgres/rows, typing > [postgres/types] > sql/form
 */
#include "postgres/types.h"

#include "base/arena.h"
#include "base/json.h"

#include <stdlib.h>

struct postgres_learned {
    struct postgres_type type; /* first: what others see of it */
    atomic_uint references;
    Oid oid;
    struct arena arena;
};

/* --- known -------------------------------------------------------------------------------------------------------- */

const struct postgres_type *postgres_type_hold(const struct postgres_type *type)
{
    if (!type->is_built_in)
        atomic_fetch_add_explicit(&((struct postgres_learned *)type)->references, 1, memory_order_relaxed);
    return type;
}

void postgres_type_release(const struct postgres_type *type)
{
    struct postgres_learned *learned = (struct postgres_learned *)type;
    if (!type || type->is_built_in || atomic_fetch_sub_explicit(&learned->references, 1, memory_order_acq_rel) > 1)
        return;
    arena_clear(&learned->arena);
    mem_free(learned);
}

void postgres_types_init(struct postgres_types *types)
{
    *types = (struct postgres_types){ .state = POSTGRES_TYPES_RESTING };
    buf_init(&types->wanted, MEM_POSTGRES, 0);
}

static void forget(struct postgres_types *types, bool only_rows)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < types->count; i++) {
        struct postgres_learned *learned = types->known[i];
        if (only_rows && !learned->type.has_fields)
            types->known[kept++] = learned;
        else
            postgres_type_release(&learned->type);
    }
    types->count = kept;
}

void postgres_types_forget_rows(struct postgres_types *types) { forget(types, /* only_rows= */ true); }

void postgres_types_trim(struct postgres_types *types)
{
    if (types->count > POSTGRES_TYPES_KEPT)
        forget(types, /* only_rows= */ false);
}

void postgres_types_clear(struct postgres_types *types)
{
    forget(types, /* only_rows= */ false);
    mem_free(types->known);
    types->known = NULL;
    types->cap = 0;
    buf_clear(&types->wanted);
}

const struct postgres_type *postgres_types_find(const struct postgres_types *types, Oid oid)
{
    const struct postgres_type *built_in = postgres_built_in(oid);
    for (unsigned i = 0; !built_in && i < types->count; i++)
        if (types->known[i]->oid == oid)
            return &types->known[i]->type;
    return built_in || !types->is_unreadable ? built_in : postgres_built_in(POSTGRES_TEXT_OID);
}

/* --- the question ------------------------------------------------------------------------------------------------- */

/* Of "16400,16500". */
static Oid next_wanted(struct str wanted, size_t *at)
{
    Oid oid = 0;
    while (*at < wanted.len && wanted.data[*at] != ',')
        oid = oid * 10 + (Oid)(wanted.data[(*at)++] - '0');
    ++*at;
    return oid;
}

static bool is_mentioned(struct str list, Oid oid)
{
    for (size_t at = 0; at < list.len;)
        if (next_wanted(list, &at) == oid)
            return true;
    return false;
}

void postgres_types_add_missing(const struct postgres_types *types, const PGresult *result, struct buf *out)
{
    for (int i = 0; i < PQnfields(result); i++) {
        Oid oid = PQftype(result, i);
        if (postgres_types_find(types, oid) || is_mentioned(str_make(out->data, out->len), oid))
            continue;
        if (out->len)
            buf_add_char(out, ',');
        buf_add_uint(out, oid);
    }
}

/* From the types that are wanted to what those are over, the elements and the fields, and so on. */
static const char question[] =
    "with recursive reached(oid) as (select pg_catalog.unnest('{%.*s}'::pg_catalog.oid[])"
    " union select part.oid from reached join pg_catalog.pg_type t on t.oid = reached.oid cross join lateral ("
    "select t.typbasetype as oid where t.typtype = 'd'"
    " union all select t.typelem where t.typtype = 'b' and t.typlen = -1 and t.typelem <> 0"
    " union all select a.atttypid from pg_catalog.pg_attribute a where t.typtype = 'c' and a.attrelid = t.typrelid"
    " and a.attnum > 0 and not a.attisdropped) part)"
    " select t.oid, t.typtype, case when t.typtype = 'd' then t.typbasetype when t.typtype = 'b' and t.typlen = -1"
    " then t.typelem else 0 end, t.typdelim, a.attname, a.atttypid"
    " from reached join pg_catalog.pg_type t on t.oid = reached.oid"
    " left join pg_catalog.pg_attribute a on t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0"
    " and not a.attisdropped order by t.oid, a.attnum limit %d";

void postgres_types_add_question(struct buf *out, struct str wanted)
{
    buf_addf(out, question, (int)wanted.len, wanted.data, POSTGRES_TYPE_PARTS_MAX + 1);
    buf_add_char(out, '\0');
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

enum column { COLUMN_OID, COLUMN_TYPTYPE, COLUMN_OF, COLUMN_DELIMITER, COLUMN_NAME, COLUMN_FIELD, COLUMNS };

struct builder {
    const PGresult *answer;
    struct arena *arena;
    unsigned parts;
    bool has_fields;
    enum fail fail;
};

static Oid oid_at(const PGresult *answer, int row, enum column column)
{
    return (Oid)strtoul(PQgetvalue(answer, row, column), NULL, 10);
}

/* The first row of a type, or -1. They are in order. */
static int find_row(const PGresult *answer, Oid oid)
{
    int least = 0, end = PQntuples(answer);
    while (least < end) {
        int middle = least + (end - least) / 2;
        if (oid_at(answer, middle, COLUMN_OID) < oid)
            least = middle + 1;
        else
            end = middle;
    }
    return least < PQntuples(answer) && oid_at(answer, least, COLUMN_OID) == oid ? least : -1;
}

static void *take(struct builder *builder, size_t bytes)
{
    void *memory = arena_alloc(builder->arena, bytes);
    if (!memory)
        builder->fail = FAIL_NOMEM;
    else
        memset(memory, 0, bytes);
    return memory;
}

/* NULL, too, where the memory for what it is made of was missing already. */
static struct sql_form *take_form(struct builder *builder, struct sql_form form)
{
    bool lacks_element = form.shape == SQL_FORM_ARRAY && !form.element;
    struct sql_form *taken = lacks_element ? NULL : take(builder, sizeof *taken);
    if (taken)
        *taken = form;
    return taken;
}

static const struct sql_form *form_of(struct builder *builder, Oid oid, unsigned depth);

static struct str json_key_of(struct builder *builder, const char *name)
{
    struct buf key;
    buf_init(&key, MEM_POSTGRES, 0);
    json_add_string(&key, str_of(name));
    buf_add_char(&key, ':');
    struct str copy = buf_ok(&key) ? arena_str(builder->arena, str_make(key.data, key.len)) : STR_NONE;
    if (!copy.data)
        builder->fail = FAIL_NOMEM;
    buf_clear(&key);
    return copy;
}

static int count_fields(const PGresult *answer, int row)
{
    int end = row;
    while (end < PQntuples(answer) && oid_at(answer, end, COLUMN_OID) == oid_at(answer, row, COLUMN_OID))
        end++;
    return PQgetisnull(answer, row, COLUMN_NAME) ? 0 : end - row; /* a row may have no fields at all */
}

static const struct sql_form *row_form(struct builder *builder, int row, unsigned depth)
{
    int count = count_fields(builder->answer, row);
    struct sql_field *fields = take(builder, ((size_t)count + 1) * sizeof *fields);
    builder->has_fields = true;
    for (int i = 0; i < count && !builder->fail; i++) {
        fields[i].json_key = json_key_of(builder, PQgetvalue(builder->answer, row + i, COLUMN_NAME));
        fields[i].form = form_of(builder, oid_at(builder->answer, row + i, COLUMN_FIELD), depth + 1);
    }
    return take_form(builder,
                     (struct sql_form){ .shape = SQL_FORM_ROW, .field_count = (unsigned)count, .fields = fields });
}

static const struct sql_form *array_form(struct builder *builder, Oid element, char delimiter, unsigned depth)
{
    const struct sql_form *form = form_of(builder, element, depth + 1);
    return take_form(builder, (struct sql_form){ .shape = SQL_FORM_ARRAY, .delimiter = delimiter, .element = form });
}

static const struct sql_form *built_in_form(struct builder *builder, const struct postgres_type *type)
{
    if (type->form)
        return type->form;
    bool is_array = type->kind == SQL_KIND_ARRAY;
    enum sql_kind kind = is_array ? type->element : type->kind;
    const struct sql_form *value = take_form(builder, (struct sql_form){ .shape = SQL_FORM_VALUE, .kind = kind });
    if (!is_array)
        return value;
    return take_form(builder, (struct sql_form){ .shape = SQL_FORM_ARRAY, .delimiter = ',', .element = value });
}

/* NULL: builder->fail says why. */
static const struct sql_form *form_of(struct builder *builder, Oid oid, unsigned depth)
{
    const struct postgres_type *built_in = postgres_built_in(oid);
    if (depth >= SQL_FORM_DEPTH_MAX || ++builder->parts > POSTGRES_TYPE_PARTS_MAX)
        builder->fail = FAIL_FULL;
    if (builder->fail)
        return NULL;
    int row = built_in ? -1 : find_row(builder->answer, oid);
    if (row < 0)
        return built_in_form(builder, built_in ? built_in : postgres_built_in(POSTGRES_TEXT_OID));
    Oid of = oid_at(builder->answer, row, COLUMN_OF);
    switch (PQgetvalue(builder->answer, row, COLUMN_TYPTYPE)[0]) {
    case 'c': return row_form(builder, row, depth);
    case 'd': return form_of(builder, of, depth + 1);
    default:
        if (of)
            return array_form(builder, of, PQgetvalue(builder->answer, row, COLUMN_DELIMITER)[0], depth);
        return built_in_form(builder, postgres_built_in(POSTGRES_TEXT_OID));
    }
}

/* As a kind where a kind says it all: such cells are looked at when they are asked for, and not before. */
static struct postgres_type type_of(const struct sql_form *form, bool has_fields)
{
    if (form->shape == SQL_FORM_VALUE)
        return (struct postgres_type){ .kind = form->kind };
    if (form->shape == SQL_FORM_ARRAY && form->delimiter == ',' && form->element->shape == SQL_FORM_VALUE)
        return (struct postgres_type){ .kind = SQL_KIND_ARRAY, .element = form->element->kind };
    return (struct postgres_type){ .kind = SQL_KIND_JSON, .form = form, .has_fields = has_fields };
}

static enum fail learn_one(struct postgres_types *types, const PGresult *answer, Oid oid)
{
    struct postgres_learned *learned = mem_zero(MEM_POSTGRES, sizeof *learned);
    if (!learned)
        return FAIL_NOMEM;
    arena_init(&learned->arena, MEM_POSTGRES, 0);
    atomic_init(&learned->references, 1);
    learned->oid = oid;
    struct builder builder = { .answer = answer, .arena = &learned->arena };
    const struct sql_form *form = form_of(&builder, oid, 0);
    if (!form || builder.fail) {
        postgres_type_release(&learned->type);
        return builder.fail ? builder.fail : FAIL_NOMEM;
    }
    learned->type = type_of(form, builder.has_fields);
    if (!learned->type.form)
        arena_clear(&learned->arena);
    types->known[types->count++] = learned;
    return FAIL_OK;
}

static enum fail make_room(struct postgres_types *types, unsigned more)
{
    if (types->count + more <= types->cap)
        return FAIL_OK;
    struct postgres_learned **known = mem_alloc(MEM_POSTGRES, (types->count + more) * sizeof *known);
    if (!known)
        return FAIL_NOMEM;
    for (unsigned i = 0; i < types->count; i++)
        known[i] = types->known[i];
    mem_free(types->known);
    types->known = known;
    types->cap = types->count + more;
    return FAIL_OK;
}

enum fail postgres_types_learn(struct postgres_types *types, const PGresult *answer, struct str wanted, uint64_t now_ns,
                               unsigned alterations)
{
    unsigned count = 1;
    for (size_t i = 0; i < wanted.len; i++)
        count += wanted.data[i] == ',';
    if (PQnfields(answer) != COLUMNS || PQntuples(answer) > POSTGRES_TYPE_PARTS_MAX)
        return FAIL_FULL;
    enum fail fail = make_room(types, count);
    bool has_rows = false;
    for (unsigned i = 0; i < types->count; i++)
        has_rows |= types->known[i]->type.has_fields;
    if (!has_rows) {
        types->learned_ns = now_ns;
        types->alterations = alterations;
    }
    for (size_t at = 0; !fail && at < wanted.len;)
        fail = learn_one(types, answer, next_wanted(wanted, &at));
    return fail;
}
