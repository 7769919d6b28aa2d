/* route_spec.c - which route answers a path. */
#include "support/spec.h"

#include "base/clock.h"
#include "http/route.h"

#include <stdio.h>
#include <stdlib.h>

static struct http_router *router;
static struct http_request *request;
static struct http_match_info info;
static char why[300];

static int open_router(void **state)
{
    (void)state;
    request = calloc(1, sizeof *request);
    return http_router_open(&router);
}

static int close_router(void **state)
{
    (void)state;
    http_router_close(router);
    free(request);
    return mem_live() ? -1 : 0;
}

/* Routes are known by the text given here. */
static enum fail add(enum http_method method, const char *pattern, const char *route)
{
    return http_router_add(router, method, str_of(pattern), route, why, sizeof why);
}

static enum http_match match(enum http_method method, const char *path)
{
    request->head.method = method;
    request->head.path = str_of(path);
    return http_router_match(router, request, &info);
}

static void assert_route(enum http_method method, const char *path, const char *route)
{
    if (match(method, path) != HTTP_MATCH_FOUND)
        fail_msg("%s is not found", path);
    assert_string_equal(request->route, route);
}

static void assert_param(unsigned at, const char *name, const char *value)
{
    assert_true(at < request->param_count);
    assert_text(request->params[at].name, name);
    assert_text(request->params[at].value, value);
}

#define UUID "0189dc05-2b1e-7e0e-9d3a-0123456789ab"

static void literals_stand_before_parameters(void **state)
{
    (void)state;
    assert_int_equal(add(HTTP_GET, "/services/{id}", "one"), FAIL_OK);
    assert_int_equal(add(HTTP_GET, "/services/new", "new"), FAIL_OK);
    assert_int_equal(add(HTTP_GET, "/services", "all"), FAIL_OK);
    assert_int_equal(add(HTTP_GET, "/", "root"), FAIL_OK);
    assert_route(HTTP_GET, "/services/new", "new");
    assert_int_equal(request->param_count, 0);
    assert_route(HTTP_GET, "/services/newer", "one");
    assert_param(0, "id", "newer");
    assert_route(HTTP_GET, "/services", "all");
    assert_route(HTTP_GET, "/", "root");
}

static void a_branch_that_leads_nowhere_is_left_again(void **state)
{
    (void)state;
    assert_int_equal(add(HTTP_GET, "/a/b/d", "literal"), FAIL_OK);
    assert_int_equal(add(HTTP_GET, "/a/{x}/c", "param"), FAIL_OK);
    assert_int_equal(add(HTTP_GET, "/a/{rest:path}", "rest"), FAIL_OK);
    assert_route(HTTP_GET, "/a/b/c", "param");
    assert_param(0, "x", "b");
    assert_route(HTTP_GET, "/a/b/d", "literal");
    assert_route(HTTP_GET, "/a/b/e", "rest");
    assert_param(0, "rest", "b/e");
    assert_int_equal(request->param_count, 1);
}

static void narrower_types_are_tried_first(void **state)
{
    (void)state;
    assert_int_equal(add(HTTP_GET, "/x/{a}", "string"), FAIL_OK);
    assert_int_equal(add(HTTP_GET, "/x/{b:int64}", "int64"), FAIL_OK);
    assert_int_equal(add(HTTP_GET, "/x/{c:uuid}", "uuid"), FAIL_OK);
    assert_route(HTTP_GET, "/x/" UUID, "uuid");
    assert_param(0, "c", UUID);
    assert_route(HTTP_GET, "/x/-9223372036854775808", "int64");
    assert_route(HTTP_GET, "/x/9223372036854775808", "string");
    assert_route(HTTP_GET, "/x/12a", "string");
}

static void names_belong_to_the_pattern(void **state)
{
    (void)state;
    assert_int_equal(add(HTTP_GET, "/s/{id:uuid}", "get"), FAIL_OK);
    assert_int_equal(add(HTTP_DELETE, "/s/{service:uuid}", "delete"), FAIL_OK);
    assert_int_equal(add(HTTP_GET, "/s/{owner:uuid}/logs/{line:int64}", "log"), FAIL_OK);
    assert_route(HTTP_DELETE, "/s/" UUID, "delete");
    assert_param(0, "service", UUID);
    assert_route(HTTP_GET, "/s/" UUID "/logs/7", "log");
    assert_param(0, "owner", UUID);
    assert_param(1, "line", "7");
}

static void a_wrong_type_is_told_from_a_path_nobody_has(void **state)
{
    (void)state;
    assert_int_equal(add(HTTP_GET, "/s/{id:uuid}/logs/{line:int64}", "log"), FAIL_OK);
    assert_int_equal(match(HTTP_GET, "/s/7/logs/7"), HTTP_MATCH_PARAM);
    assert_text(info.param, "id");
    assert_text(info.expected, "uuid");
    assert_int_equal(match(HTTP_GET, "/s/" UUID "/logs/x"), HTTP_MATCH_PARAM);
    assert_text(info.param, "line");
    assert_text(info.expected, "int64");
    assert_int_equal(match(HTTP_GET, "/s/7/lags/7"), HTTP_MATCH_NONE);
    assert_int_equal(match(HTTP_GET, "/s/" UUID), HTTP_MATCH_NONE);
    assert_int_equal(match(HTTP_GET, "/s/" UUID "/logs/7/x"), HTTP_MATCH_NONE);
    assert_null(request->route);
}

static void a_known_path_says_its_methods(void **state)
{
    (void)state;
    char allow[64];
    assert_int_equal(add(HTTP_GET, "/a", "get"), FAIL_OK);
    assert_int_equal(add(HTTP_POST, "/a", "post"), FAIL_OK);
    assert_int_equal(add(HTTP_DELETE, "/{any}", "delete"), FAIL_OK);
    assert_int_equal(match(HTTP_PATCH, "/a"), HTTP_MATCH_METHOD);
    http_allow_header(info.methods, allow);
    assert_string_equal(allow, "GET, HEAD, POST, DELETE, OPTIONS");
    assert_int_equal(match(HTTP_METHOD_OTHER, "/b"), HTTP_MATCH_METHOD);
    http_allow_header(info.methods, allow);
    assert_string_equal(allow, "DELETE, OPTIONS");
    assert_int_equal(match(HTTP_OPTIONS, "/a"), HTTP_MATCH_METHOD);
    http_allow_header(0xffffffffu, allow);
    assert_string_equal(allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    assert_route(HTTP_DELETE, "/a", "delete");
}

static void get_answers_head(void **state)
{
    (void)state;
    assert_int_equal(add(HTTP_GET, "/a", "get"), FAIL_OK);
    assert_int_equal(add(HTTP_GET, "/b", "get"), FAIL_OK);
    assert_int_equal(add(HTTP_HEAD, "/b", "head"), FAIL_OK);
    assert_route(HTTP_HEAD, "/a", "get");
    assert_route(HTTP_HEAD, "/b", "head");
    assert_route(HTTP_GET, "/b", "get");
}

static void paths_are_taken_by_the_letter(void **state)
{
    (void)state;
    assert_int_equal(add(HTTP_GET, "/a", "a"), FAIL_OK);
    assert_int_equal(add(HTTP_GET, "/b/", "b/"), FAIL_OK);
    assert_int_equal(add(HTTP_GET, "/b", "b"), FAIL_OK);
    assert_int_equal(match(HTTP_GET, "/a/"), HTTP_MATCH_NONE);
    assert_int_equal(match(HTTP_GET, "/A"), HTTP_MATCH_NONE);
    assert_int_equal(match(HTTP_GET, "//a"), HTTP_MATCH_NONE);
    assert_int_equal(match(HTTP_GET, "/"), HTTP_MATCH_NONE);
    assert_int_equal(match(HTTP_GET, ""), HTTP_MATCH_NONE);
    assert_route(HTTP_GET, "/b/", "b/");
    assert_route(HTTP_GET, "/b", "b");
}

static void the_asterisk_is_the_server_which_knows_every_method(void **state)
{
    (void)state;
    assert_int_equal(add(HTTP_GET, "/{all:path}", "all"), FAIL_OK);
    assert_int_equal(match(HTTP_OPTIONS, "*"), HTTP_MATCH_METHOD);
    char allow[64];
    http_allow_header(info.methods, allow);
    assert_string_equal(allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
}

static void dots_and_nothing_match_no_parameter(void **state)
{
    (void)state;
    assert_int_equal(add(HTTP_GET, "/a/{x}", "x"), FAIL_OK);
    assert_int_equal(add(HTTP_GET, "/f/{rest:path}", "rest"), FAIL_OK);
    static const char *const bad[] = { "",          ".",    "..", "%2e", "%2E%2e", ".%2e", "%2e.",       "x/..",
                                       "../secret", "x//y", "x/", "/x",  "./x",    "x/.",  "a/%2e%2E/b", "a/.%2E" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        char path[50];
        snprintf(path, sizeof path, "/f/%s", bad[i]);
        assert_int_equal(match(HTTP_GET, path), HTTP_MATCH_NONE);
        snprintf(path, sizeof path, "/a/%s", bad[i]);
        assert_int_equal(match(HTTP_GET, path), HTTP_MATCH_NONE);
    }
    assert_route(HTTP_GET, "/a/...", "x");
    assert_route(HTTP_GET, "/a/.a", "x");
    assert_route(HTTP_GET, "/a/%2e%2e%2e", "x");
    assert_route(HTTP_GET, "/f/..a/b..", "rest");
    assert_route(HTTP_GET, "/a/a%2Fb", "x");
    assert_param(0, "x", "a%2Fb");
}

static void bad_patterns_are_refused_in_words(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "a",
        "/a//b",
        "//",
        "/{}",
        "/{:uuid}",
        "/{1a}",
        "/{a-b}",
        "/{a:text}",
        "/{a:}",
        "/{a",
        "/a}",
        "/x{a}",
        "/{a}x",
        "/{a}/{a}",
        "/{a:path}/b",
        "/a b",
        "/a?b",
        "/a#b",
        "/\xc3\xa9",
        "/{a}{b}",
        "/{a:uuid:x}",
        "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        why[0] = '\0';
        if (add(HTTP_GET, bad[i], "bad") != FAIL_INVALID)
            fail_msg("%s is taken", bad[i]);
        assert_true(strlen(why) > 10);
    }
    assert_int_equal(add(HTTP_METHOD_OTHER, "/a", "bad"), FAIL_INVALID);
    assert_int_equal(add(HTTP_GET, "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}", "eight"), FAIL_OK);
    assert_route(HTTP_GET, "/1/2/3/4/5/6/7/8", "eight");
    assert_param(7, "h", "8");
}

static void one_shape_has_one_route_for_a_method(void **state)
{
    (void)state;
    assert_int_equal(add(HTTP_GET, "/s/{id:uuid}", "one"), FAIL_OK);
    assert_int_equal(add(HTTP_GET, "/s/{service:uuid}", "two"), FAIL_INVALID);
    assert_string_equal(why, "/s/{service:uuid}: GET is already answered by /s/{id:uuid}");
    assert_int_equal(add(HTTP_PUT, "/s/{service:uuid}", "three"), FAIL_OK);
    assert_route(HTTP_GET, "/s/" UUID, "one");
}

static void running_out_of_memory_leaves_a_router_that_works(void **state)
{
    (void)state;
    assert_int_equal(add(HTTP_GET, "/kept", "kept"), FAIL_OK);
    enum fail fail = FAIL_NOMEM;
    for (unsigned n = 1; fail == FAIL_NOMEM; n++) {
        mem_fail_after(n);
        fail = add(HTTP_GET, "/a/{b:uuid}/c", "late");
        mem_fail_after(0);
        assert_route(HTTP_GET, "/kept", "kept");
        assert_true(n < 100);
    }
    assert_int_equal(fail, FAIL_OK);
    assert_route(HTTP_GET, "/a/" UUID "/c", "late");
}

static void a_match_allocates_nothing_and_is_quick(void **state)
{
    (void)state;
    static const char *const groups[] = { "services", "health", "logs", "users", "overview", "login", "logout", "me" };
    char pattern[100];
    assert_int_equal(add(HTTP_GET, "/metrics", "metrics"), FAIL_OK);
    for (size_t i = 0; i < COUNT_OF(groups); i++) {
        snprintf(pattern, sizeof pattern, "/api/v1/%s", groups[i]);
        assert_int_equal(add(HTTP_GET, pattern, "list"), FAIL_OK);
        snprintf(pattern, sizeof pattern, "/api/v1/%s/{id:uuid}", groups[i]);
        assert_int_equal(add(HTTP_GET, pattern, "one"), FAIL_OK);
        snprintf(pattern, sizeof pattern, "/api/v1/%s/{id:uuid}/{rest:path}", groups[i]);
        assert_int_equal(add(HTTP_GET, pattern, "rest"), FAIL_OK);
    }
    enum { TIMES = 100000 };
    uint64_t begun = clock_thread_cpu_ns();
    mem_fail_after(1);
    for (unsigned i = 0; i < TIMES; i++)
        match(HTTP_GET, "/api/v1/users/" UUID);
    mem_fail_after(0);
    print_message("a match takes %.0f ns\n", (double)(clock_thread_cpu_ns() - begun) / TIMES);
    assert_string_equal(request->route, "one");
}

#define ROUTER_TEST(name) cmocka_unit_test_setup_teardown(name, open_router, close_router)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROUTER_TEST(literals_stand_before_parameters),
        ROUTER_TEST(a_branch_that_leads_nowhere_is_left_again),
        ROUTER_TEST(narrower_types_are_tried_first),
        ROUTER_TEST(names_belong_to_the_pattern),
        ROUTER_TEST(a_wrong_type_is_told_from_a_path_nobody_has),
        ROUTER_TEST(a_known_path_says_its_methods),
        ROUTER_TEST(get_answers_head),
        ROUTER_TEST(paths_are_taken_by_the_letter),
        ROUTER_TEST(the_asterisk_is_the_server_which_knows_every_method),
        ROUTER_TEST(dots_and_nothing_match_no_parameter),
        ROUTER_TEST(bad_patterns_are_refused_in_words),
        ROUTER_TEST(one_shape_has_one_route_for_a_method),
        ROUTER_TEST(running_out_of_memory_leaves_a_router_that_works),
        ROUTER_TEST(a_match_allocates_nothing_and_is_quick),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
