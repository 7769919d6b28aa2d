/* route.c - finds who answers a path.
 *
 * DESIGN  A tree with one level for each segment. Below a node stand its literals, then at most one child for each type of
 *         parameter, tried in the order uuid, int64, string, path: the narrower first. A branch that leads nowhere is
 *         left again, so /a/{x}/c is found for /a/b/c although /a/b/d exists. As a node has one parent, each is visited
 *         at most once for a path, whatever the path.
 *         Names of parameters belong to the pattern, not to the node: /s/{id:uuid} and /s/{service:uuid}/logs share it.
 *         Only when nothing matches is the tree searched again with types waived, to say which parameter was wrong.
 * HOLDS   The router owns its nodes and copies of its patterns; matching allocates nothing.
 * Path:   serve/response > [http/route]
 */
#include "http/route.h"

#include "base/uuid.h"
#include "http/octet.h"

#include <stdio.h>

enum param_type { TYPE_UUID, TYPE_INT64, TYPE_STRING, TYPE_PATH, TYPES, TYPE_NONE = TYPES };
static const char *const type_names[TYPES] = { "uuid", "int64", "string", "path" };

struct endpoint {
    const void *route;
    char *pattern;
    unsigned name_count;
    struct str names[HTTP_PARAMS_MAX]; /* into pattern */
};

struct node {
    struct str text;       /* of a literal: into the pattern that made it */
    struct str param_name; /* of a parameter: by the pattern that made it */
    struct node **literals;
    unsigned literal_count;
    struct node *typed[TYPES];
    unsigned methods;
    struct endpoint *endpoints[HTTP_METHODS];
};

struct http_router {
    struct node root;
    char **patterns; /* all of them: texts and names point here */
    unsigned pattern_count;
};

/* --- opening and closing --- */

MUST_USE enum fail http_router_open(struct http_router **out)
{
    *out = mem_zero(MEM_HTTP, sizeof **out);
    return *out ? FAIL_OK : FAIL_NOMEM;
}

static void clear_node(struct node *node)
{
    for (unsigned i = 0; i < node->literal_count; i++) {
        clear_node(node->literals[i]);
        mem_free(node->literals[i]);
    }
    for (unsigned type = 0; type < TYPES; type++) {
        if (!node->typed[type])
            continue;
        clear_node(node->typed[type]);
        mem_free(node->typed[type]);
    }
    for (unsigned method = 0; method < HTTP_METHODS; method++)
        mem_free(node->endpoints[method]);
    mem_free(node->literals);
}

void http_router_close(struct http_router *router)
{
    if (!router)
        return;
    clear_node(&router->root);
    for (unsigned i = 0; i < router->pattern_count; i++)
        mem_free(router->patterns[i]);
    mem_free(router->patterns);
    mem_free(router);
}

/* --- reading a pattern --- */

struct segment {
    enum param_type type; /* TYPE_NONE: a literal */
    struct str text;      /* the literal, or the name */
};

static const char *read_name(struct str name)
{
    if (name.len == 0)
        return "a parameter has no name";
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!is_letter && (i == 0 || c < '0' || c > '9'))
            return "a parameter's name is made of letters, digits and _";
    }
    return NULL;
}

/* Returns what is wrong, or NULL. */
static const char *read_segment(struct str text, struct segment *out)
{
    *out = (struct segment){ TYPE_NONE, text };
    if (text.len < 2 || text.data[0] != '{' || text.data[text.len - 1] != '}') {
        bool is_plain = http_octet_span(text.data, text.len, HTTP_OCTET_PATH) == text.len;
        return is_plain ? NULL : "a segment is a literal of URL characters or one {parameter}";
    }
    struct str type = str_make(text.data + 1, text.len - 2);
    out->text = str_split(&type, ':');
    out->type = TYPE_STRING;
    if (out->text.len < text.len - 2) {
        out->type = TYPES;
        for (unsigned t = 0; t < TYPES; t++)
            if (str_is(type, str_of(type_names[t])))
                out->type = (enum param_type)t;
        if (out->type == TYPES)
            return "a parameter's type is uuid, int64, string or path";
    }
    return read_name(out->text);
}

struct pattern_reader {
    struct str rest;
    bool is_over;
    struct endpoint *endpoint;
};

static const char *note_param(struct endpoint *endpoint, struct str name)
{
    for (unsigned i = 0; i < endpoint->name_count; i++)
        if (str_is(endpoint->names[i], name))
            return "two parameters have one name";
    if (endpoint->name_count == HTTP_PARAMS_MAX)
        return "there are more than 8 parameters";
    endpoint->names[endpoint->name_count++] = name;
    return NULL;
}

static const char *next_segment(struct pattern_reader *reader, struct segment *out)
{
    const char *slash = reader->rest.len ? memchr(reader->rest.data, '/', reader->rest.len) : NULL;
    struct str text = slash ? str_make(reader->rest.data, (size_t)(slash - reader->rest.data)) : reader->rest;
    reader->is_over = !slash;
    if (slash)
        reader->rest = str_make(slash + 1, reader->rest.len - text.len - 1);
    if (text.len == 0 && slash)
        return "there is an empty segment";
    const char *wrong = read_segment(text, out);
    if (wrong || out->type == TYPE_NONE)
        return wrong;
    if (out->type == TYPE_PATH && slash)
        return "a parameter of type path is the last segment";
    return note_param(reader->endpoint, out->text);
}

/* --- adding --- */

static struct node *literal_of(const struct node *node, struct str text)
{
    for (unsigned i = 0; i < node->literal_count; i++)
        if (str_is(node->literals[i]->text, text))
            return node->literals[i];
    return NULL;
}

static struct node *add_literal(struct node *node, struct str text)
{
    struct node *child = mem_zero(MEM_HTTP, sizeof *child);
    struct node **grown = child ? mem_grow(MEM_HTTP, node->literals, (node->literal_count + 1) * sizeof *grown) : NULL;
    if (!grown) {
        mem_free(child);
        return NULL;
    }
    child->text = text;
    node->literals = grown;
    node->literals[node->literal_count++] = child;
    return child;
}

/* The child for a segment, made where there is none; NULL when out of memory. */
static struct node *child_for(struct node *node, const struct segment *segment)
{
    if (segment->type == TYPE_NONE) {
        struct node *child = literal_of(node, segment->text);
        return child ? child : add_literal(node, segment->text);
    }
    struct node **child = &node->typed[segment->type];
    if (!*child && (*child = mem_zero(MEM_HTTP, sizeof **child)))
        (*child)->param_name = segment->text;
    return *child;
}

static bool keep_pattern(struct http_router *router, char *pattern)
{
    char **grown = mem_grow(MEM_HTTP, router->patterns, (router->pattern_count + 1) * sizeof *grown);
    if (!grown)
        return false;
    router->patterns = grown;
    router->patterns[router->pattern_count++] = pattern;
    return true;
}

static enum fail invalid(struct str pattern, const char *wrong, char *why, size_t why_bytes)
{
    if (why)
        snprintf(why, why_bytes, "%.*s: %s", (int)pattern.len, pattern.data, wrong);
    return FAIL_INVALID;
}

static enum fail place(struct http_router *router, enum http_method method, struct str pattern,
                       struct endpoint *endpoint, char *why, size_t why_bytes)
{
    struct pattern_reader reader = { .rest = { endpoint->pattern + 1, pattern.len - 1 }, .endpoint = endpoint };
    struct node *node = &router->root;
    struct segment segment;
    while (!reader.is_over) {
        const char *wrong = next_segment(&reader, &segment);
        if (wrong)
            return invalid(pattern, wrong, why, why_bytes);
        if (!(node = child_for(node, &segment)))
            return FAIL_NOMEM;
    }
    if (node->endpoints[method]) {
        char wrong[300];
        snprintf(wrong, sizeof wrong, "%s is already answered by %s", http_method_name(method),
                 node->endpoints[method]->pattern);
        return invalid(pattern, wrong, why, why_bytes);
    }
    node->endpoints[method] = endpoint;
    node->methods |= 1u << method;
    return FAIL_OK;
}

MUST_USE enum fail http_router_add(struct http_router *router, enum http_method method, struct str pattern,
                                   const void *route, char *why, size_t why_bytes)
{
    if ((unsigned)method >= HTTP_METHODS)
        return invalid(pattern, "the method is not one that routes can have", why, why_bytes);
    if (pattern.len == 0 || pattern.data[0] != '/' || memchr(pattern.data, '\0', pattern.len))
        return invalid(pattern, "a pattern begins with /", why, why_bytes);
    struct endpoint *endpoint = mem_zero(MEM_HTTP, sizeof *endpoint);
    if (!endpoint)
        return FAIL_NOMEM;
    endpoint->route = route;
    endpoint->pattern = mem_dup(MEM_HTTP, pattern.data, pattern.len);
    enum fail fail = FAIL_NOMEM;
    if (!endpoint->pattern || !keep_pattern(router, endpoint->pattern)) {
        mem_free(endpoint->pattern);
    } else {
        fail = place(router, method, pattern, endpoint, why, why_bytes);
    }
    if (fail)
        mem_free(endpoint); /* the pattern stays: nodes made on the way may point into it */
    return fail;
}

/* --- matching --- */

struct search {
    const char *end;
    enum http_method method;
    bool waives_types;
    const struct node *wrong; /* the first parameter whose type was waived */
    enum param_type wrong_type;
    unsigned methods; /* of all nodes the whole path leads to */
    unsigned count;
    struct str values[HTTP_PARAMS_MAX];
};

/* "." and "..", also escaped: whoever resolves them later would see another path than we did. */
static bool is_dots(struct str segment)
{
    unsigned dots = 0;
    for (size_t i = 0; i < segment.len; dots++) {
        struct str rest = str_make(segment.data + i, segment.len - i);
        if (rest.data[0] == '.')
            i++;
        else if (rest.len >= 3 && str_is_nocase(str_make(rest.data, 3), STR("%2e")))
            i += 3;
        else
            return false;
        if (dots == 2)
            return false;
    }
    return dots == 1 || dots == 2;
}

static bool can_be_param(struct str segment) { return segment.len && !is_dots(segment); }

static bool is_of_type(struct str segment, enum param_type type)
{
    int64_t number;
    switch (type) {
    case TYPE_UUID: return uuid_is(segment);
    case TYPE_INT64: return str_int64(segment, &number);
    default: return true;
    }
}

static bool all_can_be_param(struct str path)
{
    for (;;) {
        const char *slash = memchr(path.data, '/', path.len);
        size_t len = slash ? (size_t)(slash - path.data) : path.len;
        if (!can_be_param(str_make(path.data, len)))
            return false;
        if (!slash)
            return true;
        path = str_make(slash + 1, path.len - len - 1);
    }
}

/* The path ends at this node. */
static const struct endpoint *arrive(struct search *search, const struct node *node)
{
    search->methods |= node->methods;
    if (search->waives_types || search->method == HTTP_METHOD_OTHER)
        return NULL;
    const struct endpoint *found = node->endpoints[search->method];
    return !found && search->method == HTTP_HEAD ? node->endpoints[HTTP_GET] : found;
}

static const struct endpoint *walk(struct search *search, const struct node *node, const char *at);

static const struct endpoint *go_on(struct search *search, const struct node *node, const char *segment_end)
{
    return segment_end == search->end ? arrive(search, node) : walk(search, node, segment_end + 1);
}

static const struct endpoint *try_param(struct search *search, const struct node *node, enum param_type type,
                                        struct str value)
{
    bool fits = is_of_type(value, type);
    if (!fits && !search->waives_types)
        return NULL;
    bool is_first_wrong = !fits && !search->wrong;
    if (is_first_wrong) {
        search->wrong = node;
        search->wrong_type = type;
    }
    search->values[search->count++] = value;
    const struct endpoint *found = go_on(search, node, value.data + value.len);
    if (found)
        return found;
    search->count--;
    if (is_first_wrong && !search->methods)
        search->wrong = NULL;
    return NULL;
}

/* `at` is where a segment starts. With types waived it stops at the first node the path leads to. */
static const struct endpoint *walk(struct search *search, const struct node *node, const char *at)
{
    const char *slash = memchr(at, '/', (size_t)(search->end - at));
    const char *segment_end = slash ? slash : search->end;
    struct str segment = str_make(at, (size_t)(segment_end - at));
    const struct node *literal = literal_of(node, segment);
    const struct endpoint *found = literal ? go_on(search, literal, segment_end) : NULL;
    if (found || (search->waives_types && search->methods) || !can_be_param(segment))
        return found;
    for (unsigned type = 0; type < TYPE_PATH; type++) {
        if (!node->typed[type])
            continue;
        found = try_param(search, node->typed[type], (enum param_type)type, segment);
        if (found || (search->waives_types && search->methods))
            return found;
    }
    struct str rest = str_make(at, (size_t)(search->end - at));
    if (node->typed[TYPE_PATH] && all_can_be_param(rest))
        return try_param(search, node->typed[TYPE_PATH], TYPE_PATH, rest);
    return NULL;
}

static void fill(struct http_request *request, const struct endpoint *found, const struct search *search)
{
    request->route = found->route;
    request->param_count = search->count;
    for (unsigned i = 0; i < search->count; i++)
        request->params[i] = (struct http_param){ found->names[i], search->values[i] };
}

/* Nothing matches: would something, if types did not matter? */
static enum http_match explain(const struct http_router *router, struct str path, struct http_match_info *info)
{
    struct search search = { .end = path.data + path.len, .method = HTTP_METHOD_OTHER, .waives_types = true };
    walk(&search, &router->root, path.data + 1);
    if (!search.methods || !search.wrong)
        return HTTP_MATCH_NONE;
    info->methods = search.methods;
    info->param = search.wrong->param_name;
    info->expected = str_of(type_names[search.wrong_type]);
    return HTTP_MATCH_PARAM;
}

enum http_match http_router_match(const struct http_router *router, struct http_request *request,
                                  struct http_match_info *info)
{
    struct str path = request->head.path;
    *info = (struct http_match_info){ 0 };
    request->route = NULL;
    request->param_count = 0;
    if (str_is(path, STR("*"))) {
        info->methods = (1u << HTTP_METHODS) - 1;
        return HTTP_MATCH_METHOD;
    }
    if (path.len == 0 || path.data[0] != '/')
        return HTTP_MATCH_NONE;
    struct search search = { .end = path.data + path.len, .method = request->head.method };
    const struct endpoint *found = walk(&search, &router->root, path.data + 1);
    info->methods = search.methods;
    if (found) {
        fill(request, found, &search);
        return HTTP_MATCH_FOUND;
    }
    return search.methods ? HTTP_MATCH_METHOD : explain(router, path, info);
}

void http_allow_header(unsigned methods, char out[64])
{
    if (methods & 1u << HTTP_GET)
        methods |= 1u << HTTP_HEAD;
    methods |= 1u << HTTP_OPTIONS;
    size_t len = 0;
    for (unsigned method = 0; method < HTTP_METHODS; method++)
        if (methods & 1u << method)
            len += (size_t)snprintf(out + len, 64 - len, "%s%s", len ? ", " : "",
                                    http_method_name((enum http_method)method));
}
