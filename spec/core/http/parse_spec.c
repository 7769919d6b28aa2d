/* parse_spec.c - which heads are taken, which are refused, and that it does not matter how the bytes come. */
#include "support/spec.h"

#include "core/http/cases.h"
#include "http/parse.h"

#include <stdio.h>
#include <stdlib.h>

static const struct http_limits limits = { 8192, 32768, 100, 1 << 20 };

struct verdict {
    enum http_parse result;
    int status;
    size_t bytes;
    struct http_head head;
};

/* Feeds the bytes up to each of the given ends in turn, each time in a block of exactly that size, so that a sanitizer
 * sees every read beyond it. */
static void feed(struct str bytes, const struct http_limits *lim, const size_t *ends, size_t count, struct verdict *out)
{
    size_t scanned = 0;
    for (size_t i = 0; i < count; i++) {
        struct http_parse_error error = { 0, NULL };
        char *block = malloc(ends[i] ? ends[i] : 1);
        memcpy(block, bytes.data, ends[i]);
        out->result = http_parse_head(str_make(block, ends[i]), lim, &scanned, &out->head, &error);
        out->status = error.status;
        out->bytes = out->result == HTTP_PARSE_DONE ? out->head.bytes : 0;
        free(block);
        if (out->result == HTTP_PARSE_BAD)
            assert_non_null(error.why);
        if (out->result != HTTP_PARSE_MORE)
            return;
    }
}

static void assert_verdict(const struct http_case *c, const struct verdict *verdict)
{
    enum http_parse expected = c->status ? HTTP_PARSE_BAD : HTTP_PARSE_DONE;
    if (verdict->result != expected || verdict->status != c->status)
        fail_msg("%s: result %d, status %d instead of %d", c->name, (int)verdict->result, verdict->status, c->status);
}

static void every_case_is_judged_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(http_heads); i++) {
        struct verdict verdict;
        feed(http_heads[i].bytes, &limits, &http_heads[i].bytes.len, 1, &verdict);
        assert_verdict(&http_heads[i], &verdict);
    }
}

static void a_split_at_any_byte_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(http_heads); i++)
        for (size_t split = 0; split < http_heads[i].bytes.len; split++) {
            struct verdict verdict;
            size_t ends[] = { split, http_heads[i].bytes.len };
            feed(http_heads[i].bytes, &limits, ends, 2, &verdict);
            assert_verdict(&http_heads[i], &verdict);
        }
}

static void byte_by_byte_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(http_heads); i++) {
        struct verdict verdict;
        size_t ends[512];
        for (size_t k = 0; k < http_heads[i].bytes.len; k++)
            ends[k] = k + 1;
        feed(http_heads[i].bytes, &limits, ends, http_heads[i].bytes.len, &verdict);
        assert_verdict(&http_heads[i], &verdict);
    }
}

static void half_a_head_is_not_judged(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(http_heads); i++)
        for (size_t len = 0; http_heads[i].status == 0 && len < http_heads[i].bytes.len; len++) {
            struct verdict verdict;
            feed(http_heads[i].bytes, &limits, &len, 1, &verdict);
            assert_int_equal(verdict.result, HTTP_PARSE_MORE);
        }
}

/* Whatever byte replaces another, splits change nothing, and what is taken is free of what must not be in a head. */
static void one_wrong_byte_anywhere_is_judged_alike_however_split(void **state)
{
    (void)state;
    static const char base[] = "POST /a%20b?c=d HTTP/1.1\r\nHost: a:80\r\nX-A: b c\r\nContent-Length: 3\r\n\r\n";
    char text[sizeof base];
    for (size_t at = 0; at < sizeof base - 1; at++)
        for (unsigned byte = 0; byte < 256; byte++) {
            struct verdict whole, split;
            size_t len = sizeof base - 1, ends[sizeof base];
            memcpy(text, base, sizeof base);
            text[at] = (char)byte;
            for (size_t k = 0; k < len; k++)
                ends[k] = k + 1;
            feed(str_make(text, len), &limits, &len, 1, &whole);
            feed(str_make(text, len), &limits, ends, len, &split);
            assert_int_equal(whole.result, split.result);
            assert_int_equal(whole.status, split.status);
            assert_int_equal(whole.bytes, split.bytes);
            bool is_control = byte < 32 || byte == 127;
            if (is_control && byte != '\t' && base[at] != (char)byte)
                assert_int_not_equal(whole.result, HTTP_PARSE_DONE);
        }
}

static struct http_head head;

static void take(const char *text)
{
    size_t scanned = 0;
    struct http_parse_error error = { 0, NULL };
    if (http_parse_head(str_of(text), &limits, &scanned, &head, &error) != HTTP_PARSE_DONE)
        fail_msg("refused: %d %s", error.status, error.why);
}

static void a_head_says_what_it_said(void **state)
{
    (void)state;
    const char *text = "PATCH /a/b%20c?d=e&f HTTP/1.1\r\nhost: example.org:80\r\nX-One: 1\r\nx-one: 2\r\n"
                       "Content-Type:  application/json \r\nContent-Length: 12\r\n\r\nnext";
    take(text);
    assert_int_equal(head.method, HTTP_PATCH);
    assert_text(head.method_text, "PATCH");
    assert_text(head.target, "/a/b%20c?d=e&f");
    assert_text(head.path, "/a/b%20c");
    assert_text(head.query, "d=e&f");
    assert_int_equal(head.minor, 1);
    assert_int_equal(head.field_count, 5);
    assert_text(head.fields[1].name, "X-One");
    assert_text(head.fields[2].value, "2");
    assert_text(head.known[HTTP_HOST], "example.org:80");
    assert_text(head.known[HTTP_CONTENT_TYPE], "application/json");
    assert_null(head.known[HTTP_ACCEPT].data);
    assert_true(head.has_length && head.content_length == 12 && !head.chunked && head.keep_alive);
    assert_int_equal(head.bytes, strlen(text) - 4);
    assert_ptr_equal(head.path.data, text + 6);
}

static void a_field_is_found_in_any_case_the_first_one_first(void **state)
{
    (void)state;
    take("GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-one: 2\r\nACCEPT: b\r\nEmpty:\r\n\r\n");
    assert_text(http_head_field(&head, STR("x-ONE")), "1");
    assert_text(http_head_field(&head, STR("accept")), "b");
    assert_non_null(http_head_field(&head, STR("empty")).data);
    assert_null(http_head_field(&head, STR("x-two")).data);
    assert_null(http_head_field(&head, STR("")).data);
}

static void every_known_field_is_found_by_its_number(void **state)
{
    (void)state;
    static const struct {
        enum http_known known;
        const char *name;
    } fields[] = { { HTTP_HOST, "Host" },
                   { HTTP_CONNECTION, "Connection" },
                   { HTTP_CONTENT_TYPE, "Content-Type" },
                   { HTTP_ACCEPT, "Accept" },
                   { HTTP_ACCEPT_ENCODING, "Accept-Encoding" },
                   { HTTP_AUTHORIZATION, "Authorization" },
                   { HTTP_IF_NONE_MATCH, "If-None-Match" },
                   { HTTP_IF_MATCH, "If-Match" },
                   { HTTP_X_REQUEST_ID, "X-Request-Id" },
                   { HTTP_COOKIE, "Cookie" },
                   { HTTP_IDEMPOTENCY_KEY, "Idempotency-Key" },
                   { HTTP_TRACEPARENT, "Traceparent" },
                   { HTTP_CACHE_CONTROL, "Cache-Control" },
                   { HTTP_UPGRADE, "Upgrade" },
                   { HTTP_RANGE, "Range" } };
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        char text[200];
        snprintf(text, sizeof text, "GET / HTTP/1.0\r\n%s: v%zu\r\n\r\n", fields[i].name, i);
        char value[10];
        snprintf(value, sizeof value, "v%zu", i);
        take(text);
        for (unsigned known = 0; known < HTTP_KNOWN; known++)
            assert_true((head.known[known].data != NULL) == (known == fields[i].known));
        assert_text(head.known[fields[i].known], value);
    }
    take("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Ie: x\r\nHos: x\r\nHostt: x\r\nConnectioo: close\r\n\r\n");
    assert_null(head.known[HTTP_X_REQUEST_ID].data);
    assert_true(head.keep_alive);
}

static void the_host_of_the_target_stands_above_the_field(void **state)
{
    (void)state;
    take("GET http://b:81?q HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_text(head.known[HTTP_HOST], "b:81");
    assert_text(head.path, "/");
    assert_text(head.query, "q");
    take("GET http://b/x/y HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_text(head.path, "/x/y");
}

static void connections_are_kept_by_version_and_option(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool keeps;
    } cases[] = { { "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true },
                  { "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false },
                  { "GET / HTTP/1.1\r\nHost: a\r\nConnection: x , ClOsE\r\n\r\n", false },
                  { "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false },
                  { "GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", true },
                  { "GET / HTTP/1.0\r\n\r\n", false },
                  { "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true },
                  { "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        take(cases[i].text);
        assert_int_equal(head.keep_alive, cases[i].keeps);
    }
}

static void an_expectation_counts_from_1_1_on(void **state)
{
    (void)state;
    take("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n");
    assert_true(head.expects_continue);
    take("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    assert_false(head.expects_continue);
}

/* --- limits --- */

static char big[80000];

static size_t fill(const char *before, char c, size_t count, const char *after)
{
    size_t len = strlen(before);
    memcpy(big, before, len);
    memset(big + len, c, count);
    memcpy(big + len + count, after, strlen(after));
    return len + count + strlen(after);
}

static void assert_status(size_t len, const struct http_limits *lim, int status)
{
    static size_t ends[sizeof big];
    struct verdict verdict;
    feed(str_make(big, len), lim, &len, 1, &verdict);
    assert_int_equal(verdict.status, status);
    assert_int_equal(verdict.result, status ? HTTP_PARSE_BAD : HTTP_PARSE_DONE);
    size_t count = 0;
    for (size_t end = 1; end <= len; end += end < 8100 || end > 8300 ? 97 : 1)
        ends[count++] = end;
    ends[count++] = len;
    feed(str_make(big, len), lim, ends, count, &verdict);
    assert_int_equal(verdict.status, status);
}

static void a_request_line_too_long_is_414(void **state)
{
    (void)state;
    size_t around = strlen("GET / HTTP/1.1\r\n");
    assert_status(fill("GET /", 'a', 8192 - around, " HTTP/1.1\r\nHost: a\r\n\r\n"), &limits, 0);
    assert_status(fill("GET /", 'a', 8193 - around, " HTTP/1.1\r\nHost: a\r\n\r\n"), &limits, 414);
    assert_status(fill("GET /", 'a', 60000, " HTTP/1.1\r\nHost: a\r\n\r\n"), &limits, 414);
    assert_status(fill("\r\nGET /", 'a', 8192 - around, " HTTP/1.1\r\nHost: a\r\n\r\n"), &limits, 0);
    assert_status(fill("\r\nGET /", 'a', 8193 - around, " HTTP/1.1\r\nHost: a\r\n\r\n"), &limits, 414);
}

static void a_head_too_long_is_431(void **state)
{
    (void)state;
    const char *before = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    size_t around = strlen(before) + 4;
    assert_status(fill(before, 'a', 32768 - around, "\r\n\r\n"), &limits, 0);
    assert_status(fill(before, 'a', 32769 - around, "\r\n\r\n"), &limits, 431);
    assert_status(fill(before, 'a', 70000, "\r\n\r\n"), &limits, 431);
}

static void too_many_fields_are_431(void **state)
{
    (void)state;
    struct http_limits few = limits;
    few.fields_max = 3;
    assert_status(fill("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: ", 'd', 1, "\r\n\r\n"), &few, 0);
    assert_status(fill("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\nE: ", 'f', 1, "\r\n\r\n"), &few, 431);
    size_t len = fill("GET / HTTP/1.1\r\nHost: a", 'a', 0, "\r\n");
    for (unsigned i = 0; i < 100; i++)
        len += (size_t)snprintf(big + len, sizeof big - len, "a: b\r\n");
    len += (size_t)snprintf(big + len, sizeof big - len, "\r\n");
    assert_status(len, &(struct http_limits){ 8192, 32768, 5000, 0 }, 431);
}

static void a_long_head_by_single_bytes_is_linear(void **state)
{
    (void)state;
    size_t scanned = 0, len = fill("GET / HTTP/1.1\r\nHost: a\r\nX: ", 'a', 32000, "\r\n\r\n");
    struct http_parse_error error;
    for (size_t end = 1; end < len; end++) {
        assert_int_equal(http_parse_head(str_make(big, end), &limits, &scanned, &head, &error), HTTP_PARSE_MORE);
        assert_int_equal(scanned, end);
    }
    assert_int_equal(http_parse_head(str_make(big, len), &limits, &scanned, &head, &error), HTTP_PARSE_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_is_judged_right),
        cmocka_unit_test(a_split_at_any_byte_changes_nothing),
        cmocka_unit_test(byte_by_byte_changes_nothing),
        cmocka_unit_test(half_a_head_is_not_judged),
        cmocka_unit_test(one_wrong_byte_anywhere_is_judged_alike_however_split),
        cmocka_unit_test(a_head_says_what_it_said),
        cmocka_unit_test(a_field_is_found_in_any_case_the_first_one_first),
        cmocka_unit_test(every_known_field_is_found_by_its_number),
        cmocka_unit_test(the_host_of_the_target_stands_above_the_field),
        cmocka_unit_test(connections_are_kept_by_version_and_option),
        cmocka_unit_test(an_expectation_counts_from_1_1_on),
        cmocka_unit_test(a_request_line_too_long_is_414),
        cmocka_unit_test(a_head_too_long_is_431),
        cmocka_unit_test(too_many_fields_are_431),
        cmocka_unit_test(a_long_head_by_single_bytes_is_linear),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
