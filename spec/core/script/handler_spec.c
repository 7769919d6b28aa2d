/* handler_spec.c - from request to handler and back: what is matched, what is answered, what is refused, what is logged. */
#include "world.h"

static struct world world;

static void a_table_becomes_json(void **state)
{
    (void)state;
    world_open(&world,
               "route('GET', '/hello/{name}', function(req) return { hello = req.params.name, list = { 1, 2.5, 'x' }, "
               "none = json.array {}, empty = {} } end)");
    assert_answer(&world, "GET /hello/w%C3%B6rld", NULL,
                  "200 {\"empty\":{},\"hello\":\"w\xc3\xb6rld\",\"list\":[1,2.5,\"x\"],\"none\":[]}");
    world_close(&world);
}

static void what_is_not_there_is_a_problem(void **state)
{
    (void)state;
    world_open(&world, "route('GET', '/a/{id:uuid}', function() return 1 end)"
                       "route('DELETE', '/a/{id:uuid}', function() end)");
    assert_has(world_ask(&world, "GET /b", NULL), "404 {\"type\":\"urn:wick:problem:not-found\"");
    assert_has(world_ask(&world, "GET /a/7", NULL), "400 {\"type\":\"urn:wick:problem:invalid-parameter\"");
    const char *answer = world_ask_with(&world, "POST /a/123e4567-e89b-12d3-a456-426614174000", "", NULL);
    assert_has(answer, "405");
    assert_has(answer, "Allow: GET, HEAD, DELETE, OPTIONS\r\n");
    answer = world_ask_with(&world, "OPTIONS /a/123e4567-e89b-12d3-a456-426614174000", "", NULL);
    assert_has(answer, "HTTP/1.1 204");
    assert_has(answer, "Allow: GET, HEAD, DELETE, OPTIONS\r\n");
    assert_answer(&world, "DELETE /a/123e4567-e89b-12d3-a456-426614174000", NULL, "204 ");
    world_close(&world);
}

static void the_server_as_a_whole_says_what_it_knows(void **state)
{
    (void)state;
    world_open(&world, "route('GET', '/{all:path}', function() return 1 end)");
    const char *answer = world_ask_with(&world, "OPTIONS *", "", NULL);
    assert_has(answer, "HTTP/1.1 204");
    assert_has(answer, "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
    assert_has(world_ask_with(&world, "GET *", "", NULL), "HTTP/1.1 400");
    world_close(&world);
}

static void every_kind_of_value_is_an_answer(void **state)
{
    (void)state;
    world_open(
        &world,
        "route('GET', '/string', function() return 'a\"b' end)"
        "route('GET', '/number', function() return 9007199254740993 end)"
        "route('GET', '/false', function() return false end)"
        "route('GET', '/null', function() return json.null end)"
        "route('GET', '/nil', function() return nil end)"
        "route('GET', '/row', function(req, cx) return cx.db:one('select 1 as a, null as b') end)"
        "route('GET', '/rows', function(req, cx) return cx.db:rows('select 1 as a union select 2 order by 1') end)"
        "route('GET', '/in', function(req, cx) return { items = cx.db:rows('select 1 as a'), n = 1 } end)"
        "route('GET', '/none', function(req, cx) return cx.db:one('select 1 where false') end)"
        "route('GET', '/problem', function(req, cx) return cx.problem(418, 'tea', { detail = 'short', cups = 2 }) end)"
        "route('GET', '/raised', function(req, cx) error(cx.problem(409, 'taken')) end)"
        "route('POST', '/created', function(req, cx) return cx.created('/x/1', { id = 1 }) end)"
        "route('GET', '/raw', function(req, cx) return cx.reply { type = 'text/css', body = 'a{}', headers = { ['X-A'] "
        "= 'b' } } end)"
        "route('GET', '/gone', function(req, cx) return cx.no_content() end)");
    assert_answer(&world, "GET /string", NULL, "200 \"a\\\"b\"");
    assert_answer(&world, "GET /number", NULL, "200 9007199254740993");
    assert_answer(&world, "GET /false", NULL, "200 false");
    assert_answer(&world, "GET /null", NULL, "200 null");
    assert_answer(&world, "GET /nil", NULL, "204 ");
    assert_answer(&world, "GET /row", NULL, "200 {\"a\":1,\"b\":null}");
    assert_answer(&world, "GET /rows", NULL, "200 [{\"a\":1},{\"a\":2}]");
    assert_answer(&world, "GET /in", NULL, "200 {\"items\":[{\"a\":1}],\"n\":1}");
    assert_answer(&world, "GET /none", NULL, "204 ");
    const char *answer = world_ask(&world, "GET /problem", NULL);
    assert_has(answer, "418 {\"type\":\"urn:wick:problem:tea\"");
    assert_has(answer, "\"detail\":\"short\"");
    assert_has(answer, "\"cups\":2");
    assert_has(world_ask(&world, "GET /raised", NULL), "409 {\"type\":\"urn:wick:problem:taken\"");
    answer = world_ask_with(&world, "POST /created", "", "{}");
    assert_has(answer, "201 Created");
    assert_has(answer, "Location: /x/1\r\n");
    answer = world_ask_with(&world, "GET /raw", "", NULL);
    assert_has(answer, "Content-Type: text/css\r\n");
    assert_has(answer, "X-A: b\r\n");
    assert_has(answer, "\r\n\r\na{}");
    assert_answer(&world, "GET /gone", NULL, "204 ");
    world_close(&world);
}

static void what_cannot_be_sent_is_500_and_a_log_line(void **state)
{
    (void)state;
    world_open(
        &world,
        "route('GET', '/function', function() return print end, { name = 'gives_function' })"
        "route('GET', '/deep', function() local t = {} t.t = t return t end)"
        "route('GET', '/mixed', function() return { 1, a = 2 } end)"
        "route('GET', '/bytes', function() return { name = '\\xff' } end)"
        "route('GET', '/header', function(req, cx) return cx.reply { headers = { ['X-A'] = 'a\\r\\nB: c' } } end)"
        "route('GET', '/twice', function(req, cx) return cx.problem(409, 'busy', { status = 'running' }) end)");
    assert_has(world_ask(&world, "GET /twice", NULL), "500 ");
    assert_has(world_log(&world), "a problem has its own 'status'; give this member another name");
    assert_has(world_ask(&world, "GET /function", NULL), "500 {\"type\":\"urn:wick:problem:internal\"");
    assert_has(world_log(&world), "route=gives_function");
    assert_has(world_ask(&world, "GET /deep", NULL), "500 ");
    assert_has(world_ask(&world, "GET /mixed", NULL), "500 ");
    assert_has(world_ask(&world, "GET /bytes", NULL), "500 ");
    assert_has(world_log(&world), "value.name: this string is not valid UTF-8");
    assert_has(world_ask(&world, "GET /header", NULL), "500 ");
    world_close(&world);
}

static void an_error_is_500_without_leaking_and_a_traceback_in_the_log(void **state)
{
    (void)state;
    world_open(
        &world,
        "local function inner() error('secret words') end\n"
        "local function outer() inner() return 1 end\n"
        "route('GET', '/direct', function() outer() return 1 end)\n"
        "route('GET', '/child', function(req, cx) local co = coroutine.wrap(function() cx.sleep(1) outer() end)\n"
        "co() return 1 end)\n"
        "route('GET', '/loader', function(req, cx) return cx.cache:get('k', {}, function() outer() end) end)\n"
        "route('GET', '/global', function() return undeclared end)");
    const char *answer = world_ask_with(&world, "GET /direct", "", NULL);
    assert_has(answer, "500 Internal Server Error");
    assert_null(strstr(answer, "secret"));
    const char *log = world_log(&world);
    assert_has(log, "secret words");
    assert_has(log, "in upvalue 'inner'");
    assert_int_equal(ftruncate(world.log_fd, 0), 0);
    assert_has(world_ask(&world, "GET /child", NULL), "500 ");
    log = world_log(&world);
    assert_has(log, "in upvalue 'inner'");
    assert_has(log, "resumed by");
    assert_int_equal(ftruncate(world.log_fd, 0), 0);
    assert_has(world_ask(&world, "GET /loader", NULL), "500 ");
    assert_has(world_log(&world), "in upvalue 'inner'");
    assert_has(world_ask(&world, "GET /global", NULL), "500 ");
    assert_has(world_log(&world), "spec:7: undeclared global 'undeclared' is read");
    world_close(&world);
}

static void strange_ends_are_500_and_the_next_request_is_fine(void **state)
{
    (void)state;
    world_open(&world,
               "local routes = { recursion = function() local function f() return 1 + f() end return f() end,"
               " nil_error = function() error(nil) end, table_error = function() error({}) end,"
               " object_error = function() error(setmetatable({}, { __tostring = function() error('again') end })) end,"
               " close_error = function() local g <close> = setmetatable({}, { __close = function() error('in close') "
               "end }) error('first') end,"
               " coroutines = function() local function nest() return coroutine.wrap(nest)() end return nest() end,"
               " child_keeps = function(req, cx) local co = coroutine.wrap(function() local tx <close> = cx.db:begin() "
               "   tx:exec('create table x(a)') coroutine.yield(1) end) return co() end,"
               " metatable = function() getmetatable('').__index = nil end, cx_set = function(req, cx) cx.db = 1 end,"
               " cx_get = function(req, cx) return cx.bd end, big = function() return ('x'):rep(1 << 40) end,"
               " sparse = function() return { 1, nil, 3 } end, gc = function() setmetatable({}, { __gc = function() "
               "error('gc') end }) collectgarbage() error('x') end }"
               "for name, f in pairs(routes) do route('GET', '/' .. name, f, { name = name }) end "
               "route('GET', '/fine', function() return 1 end)");
    static const char *const names[] = { "recursion",  "nil_error",   "table_error", "object_error", "close_error",
                                         "coroutines", "child_keeps", "metatable",   "cx_set",       "cx_get",
                                         "big",        "sparse",      "gc" };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char line[64];
        snprintf(line, sizeof line, "GET /%s", names[i]);
        assert_has(world_ask(&world, line, NULL), "500 {\"type\":\"urn:wick:problem:internal\"");
        assert_answer(&world, "GET /fine", NULL, "200 1");
        assert_has(world_log(&world), names[i]);
    }
    assert_int_equal(script_vm_tasks(world.vm), 0);
    world_close(&world);
}

static void a_request_says_what_it_is(void **state)
{
    (void)state;
    world_open(
        &world,
        "route('GET', '/p/{id:int64}/{rest:path}', function(req) return { math.type(req.params.id), req.params.id, "
        "req.params.rest, req.method, req.path, req.target, req.route, req.query.a, req.query.b, req.headers['x-Y'] or "
        "'-', "
        "req.headers['no'] == nil, req.has_query, #req.id > 0, req.peer } end, { name = 'shown' })"
        "route('POST', '/body', function(req) return { req.body, req.raw_body } end)"
        "route('POST', '/state', function(req) req.user = 7 req.state.x = 1 req.body = { req.user, req.state.x } "
        "return req.body end)"
        "route('GET', '/typo', function(req) return req.paths end)"
        "local kept route('GET', '/keep', function(req) kept = req return 1 end)"
        "route('GET', '/kept', function(req) return kept.path end)");
    assert_has(world_ask_with(&world, "GET /p/-7/x/y?a=1%202&b=%C3%BC&a=2", "X-Y: z\r\n", NULL),
               "[\"integer\",-7,\"x/y\",\"GET\",\"/p/-7/x/y\",\"/p/-7/x/"
               "y?a=1%202&b=%C3%BC&a=2\",\"shown\",[\"1 2\",\"2\"],\"\xc3\xbc\",\"z\",true,true,true,"
               "\"127.0.0.1");
    assert_answer(&world, "POST /body", "{\"a\":[1,null,{}]}", "200 [{\"a\":[1,null,{}]},\"{\\\"a\\\":[1,null,{}]}\"]");
    assert_has(world_ask(&world, "POST /body", "{\"a\":"), "400 {\"type\":\"urn:wick:problem:invalid-json\"");
    assert_has(world_ask(&world, "POST /body", "{\"a\":12345678901234567890}"),
               "an integer beyond 64 bits at byte 5 of the body");
    assert_has(world_ask(&world, "POST /body", ""), "400 {\"type\":\"urn:wick:problem:missing-body\"");
    assert_has(world_ask_with(&world, "POST /body", "Content-Length: 2\r\nContent-Type: text/plain\r\n\r\n{}", NULL),
               "415 ");
    assert_answer(&world, "POST /state", "{}", "200 [7,1]");
    assert_has(world_ask(&world, "GET /typo", NULL), "500 ");
    assert_answer(&world, "GET /keep", NULL, "200 1");
    assert_has(world_ask(&world, "GET /kept", NULL), "500 ");
    assert_has(world_log(&world), "this request is over");
    world_close(&world);
}

static void what_was_expected_is_named(void **state)
{
    (void)state;
    world_open(&world, "route('GET', '/x', function(req, cx) local out = {} for i, call in ipairs { cx.cache.delete, "
                       "cx.log.info, cx.db.one } do local _, why = pcall(call, {}, 'x') "
                       "out[i] = why:match('%(?(cx%.%a+) expected') end return out end)");
    assert_answer(&world, "GET /x", NULL, "200 [\"cx.cache\",\"cx.log\",\"cx.db\"]");
    world_close(&world);
}

static void equal_answers_are_not_sent_twice(void **state)
{
    (void)state;
    world_open(&world, "route('GET', '/x', function() return { b = 1, a = 2 } end)");
    const char *answer = world_ask_with(&world, "GET /x", "", NULL), *tag = strstr(answer, "ETag: ");
    assert_non_null(tag);
    char field[64];
    snprintf(field, sizeof field, "If-None-Match: %.18s\r\n", tag + 6);
    assert_has(world_ask_with(&world, "GET /x", field, NULL), "HTTP/1.1 304");
    answer = world_ask_with(&world, "HEAD /x", "", NULL);
    assert_has(answer, "Content-Length: 13\r\n");
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
    world_close(&world);
}

static void a_route_with_a_cache_is_answered_without_its_handler(void **state)
{
    (void)state;
    world_open(&world, "local n = 0 route('GET', '/n', function(req, cx) n = n + 1 cx.sleep(30) return n end, "
                       "{ cache = { ttl_ms = 60000, stale_ms = 0, tags = { 't' }, vary = {} } })"
                       "route('POST', '/drop', function(req, cx) cx.cache:drop_tag('t') end)");
    int first = world_connect(&world), second = world_connect(&world), left = world_connect(&world);
    world_send(first, "GET /n", "", NULL);
    world_send(second, "GET /n", "", NULL);
    world_send(left, "GET /n", "", NULL);
    world_turn(&world, 10);
    close(left);
    assert_has(world_receive(&world, first), "X-Cache: MISS");
    assert_has(world_receive(&world, second), "\r\n\r\n1");
    assert_has(world_ask_with(&world, "GET /n", "", NULL), "X-Cache: HIT");
    assert_answer(&world, "GET /n", NULL, "200 1");
    assert_answer(&world, "POST /drop", "", "204 ");
    assert_answer(&world, "GET /n", NULL, "200 2");
    world_close(&world);
}

static void requests_are_counted_by_route_method_and_code(void **state)
{
    (void)state;
    world_open(&world, "route('GET', '/a', function() return 1 end, { name = 'a_get' })");
    world_ask(&world, "GET /a", NULL);
    world_ask(&world, "GET /a", NULL);
    world_ask(&world, "GET /nothing", NULL);
    struct buf text;
    buf_init(&text, MEM_BASE, 0);
    metrics_write(&text);
    buf_add_char(&text, '\0');
    assert_has(text.data, "wick_http_requests_total{route=\"a_get\",method=\"GET\",code=\"200\"} 2");
    assert_has(text.data, "wick_http_requests_total{route=\"none\",method=\"GET\",code=\"404\"} 1");
    assert_has(text.data, "wick_http_request_duration_seconds_count{route=\"a_get\"} 2");
    assert_has(text.data, "wick_http_requests_in_flight 0");
    buf_clear(&text);
    world_close(&world);
}

static void a_body_as_deep_as_may_be_fits_into_an_answer(void **state)
{
    (void)state;
    world_open(&world, "route('POST', '/echo', function(req) return { data = { req.body } } end)");
    char body[2 * 65 + 1] = "", expected[200];
    memset(body, '[', 64);
    memset(body + 64, ']', 64);
    snprintf(expected, sizeof expected, "200 {\"data\":[%s]}", body);
    assert_answer(&world, "POST /echo", body, expected);
    memset(body, '[', 65);
    memset(body + 65, ']', 65);
    assert_has(world_ask(&world, "POST /echo", body), "400 ");
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_becomes_json),
        cmocka_unit_test(a_body_as_deep_as_may_be_fits_into_an_answer),
        cmocka_unit_test(what_is_not_there_is_a_problem),
        cmocka_unit_test(the_server_as_a_whole_says_what_it_knows),
        cmocka_unit_test(every_kind_of_value_is_an_answer),
        cmocka_unit_test(what_cannot_be_sent_is_500_and_a_log_line),
        cmocka_unit_test(an_error_is_500_without_leaking_and_a_traceback_in_the_log),
        cmocka_unit_test(strange_ends_are_500_and_the_next_request_is_fine),
        cmocka_unit_test(a_request_says_what_it_is),
        cmocka_unit_test(what_was_expected_is_named),
        cmocka_unit_test(equal_answers_are_not_sent_twice),
        cmocka_unit_test(a_route_with_a_cache_is_answered_without_its_handler),
        cmocka_unit_test(requests_are_counted_by_route_method_and_code),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
