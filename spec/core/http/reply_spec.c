/* reply_spec.c - what may go into a head, and problems as JSON. */
#include "support/spec.h"

#include "http/problem.h"
#include "http/reply.h"

#include <stdlib.h>

static void only_a_token_is_a_safe_name(void **state)
{
    (void)state;
    assert_true(http_field_is_safe(STR("X-One"), STR("")));
    assert_true(http_field_is_safe(STR("!#$%&'*+-.^_`|~09azAZ"), STR("x")));
    static const char *const bad[] = { "", "a b", "a:", "a\r\nb", "a\n", "(a)", "\xc3\xa9", "a\t" };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(http_field_is_safe(str_of(bad[i]), STR("x")));
    assert_false(http_field_is_safe(STR("a\0b"), STR("x")));
}

static void no_control_is_a_safe_value(void **state)
{
    (void)state;
    char value[40];
    for (size_t at = 0; at < sizeof value; at++)
        for (unsigned byte = 0; byte < 256; byte++) {
            memset(value, 'x', sizeof value);
            value[at] = (char)byte;
            bool is_control = (byte < 32 && byte != '\t') || byte == 127;
            assert_int_equal(http_field_is_safe(STR("A"), str_make(value, sizeof value)), !is_control);
        }
}

static void every_status_has_a_text(void **state)
{
    (void)state;
    assert_string_equal(http_status_text(200), "OK");
    assert_string_equal(http_status_text(404), "Not Found");
    assert_string_equal(http_status_text(422), "Unprocessable Content");
    assert_string_equal(http_status_text(431), "Request Header Fields Too Large");
    assert_string_equal(http_status_text(599), "Unknown");
    assert_string_equal(http_status_text(-1), "Unknown");
}

static void assert_problem(const struct http_problem *problem, const struct http_request *request, const char *expected)
{
    struct buf out;
    buf_init(&out, MEM_HTTP, 0);
    http_problem_write(&out, problem, request);
    assert_true(buf_ok(&out));
    assert_text(out, expected);
    buf_clear(&out);
}

static void a_problem_says_what_it_has_and_no_more(void **state)
{
    (void)state;
    assert_problem(&(struct http_problem){ .status = 404 }, NULL,
                   "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404}");
    struct http_request *request = calloc(1, sizeof *request);
    request->head.path = STR("/a%20b");
    memcpy(request->id, "id-1", 4);
    request->id_len = 4;
    assert_problem(&(struct http_problem){ .status = 422,
                                           .type = STR("validation-failed"),
                                           .title = STR("Two values are wrong"),
                                           .detail = STR("line\nbreak \\ \"quotes\""),
                                           .members = STR("\"errors\":[{\"pointer\":\"/a\"}]") },
                   request,
                   "{\"type\":\"urn:wick:problem:validation-failed\",\"title\":\"Two values are wrong\",\"status\":422,"
                   "\"detail\":\"line\\nbreak \\\\ \\\"quotes\\\"\",\"instance\":\"/a%20b\",\"request_id\":\"id-1\","
                   "\"errors\":[{\"pointer\":\"/a\"}]}");
    free(request);
}

static void a_detail_that_is_no_text_is_cut_where_it_breaks(void **state)
{
    (void)state;
    assert_problem(&(struct http_problem){ .status = 400, .detail = STR("good \xff bad") }, NULL,
                   "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"detail\":\"good \"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_token_is_a_safe_name),
        cmocka_unit_test(no_control_is_a_safe_value),
        cmocka_unit_test(every_status_has_a_text),
        cmocka_unit_test(a_problem_says_what_it_has_and_no_more),
        cmocka_unit_test(a_detail_that_is_no_text_is_cut_where_it_breaks),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
