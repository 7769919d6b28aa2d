/* chunk_spec.c - the chunked coding comes off, whatever the pieces; what frames the data badly is refused. */
#include "support/spec.h"

#include "core/http/cases.h"
#include "http/chunk.h"

#include <stdio.h>
#include <stdlib.h>

struct outcome {
    enum http_chunk_result result;
    char body[4096];
    size_t len, left;
};

/* Each piece lies in a block of exactly its size. */
static void feed(struct http_chunk *chunk, struct str piece, struct outcome *out)
{
    char *block = malloc(piece.len ? piece.len : 1);
    memcpy(block, piece.data, piece.len);
    struct str in = str_make(block, piece.len), data;
    do {
        out->result = http_chunk_next(chunk, &in, &data);
        if (out->result != HTTP_CHUNK_DATA)
            break;
        assert_true(data.len > 0 && data.data >= block && data.data + data.len <= block + piece.len);
        size_t room = sizeof out->body - out->len;
        size_t len = data.len < room ? data.len : room;
        memcpy(out->body + out->len, data.data, len);
        out->len += len;
    } while (true);
    out->left = in.len;
    free(block);
}

static struct str body_of(const struct http_case *c)
{
    const char *start = strstr(c->bytes.data, "\r\n\r\n") + 4;
    return str_make(start, c->bytes.len - (size_t)(start - c->bytes.data));
}

static bool is_chunked(const struct http_case *c)
{
    return strstr(c->bytes.data, "ransfer-Encoding") != NULL && c->status != 413;
}

static void assert_outcome(const struct http_case *c, const struct outcome *out)
{
    enum http_chunk_result expected = c->status ? HTTP_CHUNK_BAD : HTTP_CHUNK_END;
    if (out->result != expected)
        fail_msg("%s: result %d", c->name, (int)out->result);
    if (c->status)
        return;
    assert_int_equal(out->left, 0);
    if (out->len != 5 && !(out->len == 0 && strstr(c->name, "empty")))
        fail_msg("%s: %zu bytes of body", c->name, out->len);
    assert_memory_equal(out->body, "hello", out->len);
}

static void every_case_is_judged_right_however_it_is_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(http_bodies); i++) {
        if (!is_chunked(&http_bodies[i]))
            continue;
        struct str body = body_of(&http_bodies[i]);
        for (size_t split = 0; split <= body.len; split++) {
            struct http_chunk chunk = { 0 };
            struct outcome out = { 0 };
            feed(&chunk, str_make(body.data, split), &out);
            if (out.result == HTTP_CHUNK_MORE)
                feed(&chunk, str_make(body.data + split, body.len - split), &out);
            assert_outcome(&http_bodies[i], &out);
        }
    }
}

static void every_case_is_judged_right_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(http_bodies); i++) {
        struct http_chunk chunk = { 0 };
        struct outcome out = { 0 };
        if (!is_chunked(&http_bodies[i]))
            continue;
        struct str body = body_of(&http_bodies[i]);
        for (size_t at = 0; at < body.len && (at == 0 || out.result == HTTP_CHUNK_MORE); at++)
            feed(&chunk, str_make(body.data + at, 1), &out);
        assert_outcome(&http_bodies[i], &out);
    }
}

static void what_follows_the_body_is_left(void **state)
{
    (void)state;
    struct http_chunk chunk = { 0 };
    struct outcome out = { 0 };
    feed(&chunk, STR("1\r\na\r\n0\r\n\r\nGET /"), &out);
    assert_int_equal(out.result, HTTP_CHUNK_END);
    assert_int_equal(out.left, 5);
}

static void the_end_and_a_mistake_are_for_good(void **state)
{
    (void)state;
    struct http_chunk chunk = { 0 };
    struct outcome out = { 0 };
    feed(&chunk, STR("0\r\n\r\n"), &out);
    feed(&chunk, STR("5\r\n"), &out);
    assert_int_equal(out.result, HTTP_CHUNK_END);
    chunk = (struct http_chunk){ 0 };
    feed(&chunk, STR("x"), &out);
    feed(&chunk, STR("0\r\n\r\n"), &out);
    assert_int_equal(out.result, HTTP_CHUNK_BAD);
}

static char text[300000];

static enum http_chunk_result feed_text(size_t len)
{
    struct http_chunk chunk = { 0 };
    struct outcome out = { 0 };
    feed(&chunk, str_make(text, len), &out);
    return out.result;
}

static void a_line_is_bounded(void **state)
{
    (void)state;
    memset(text, 'a', sizeof text);
    memcpy(text, "1;", 2);
    memcpy(text + 200, "\r\nx\r\n0\r\n\r\n", 10);
    assert_int_equal(feed_text(210), HTTP_CHUNK_END);
    memset(text + 200, 'a', 10);
    memcpy(text + 300, "\r\nx\r\n0\r\n\r\n", 10);
    assert_int_equal(feed_text(310), HTTP_CHUNK_BAD);
}

static void trailers_are_bounded(void **state)
{
    (void)state;
    size_t len = (size_t)snprintf(text, sizeof text, "0\r\n");
    for (unsigned i = 0; i < 100; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "X-Trailer-%04u: value\r\n", i);
    assert_int_equal(feed_text(len), HTTP_CHUNK_MORE);
    for (unsigned i = 0; i < 300; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "X-Trailer-%04u: value\r\n", i);
    assert_int_equal(feed_text(len), HTTP_CHUNK_BAD);
}

static size_t chunks(const char *chunk, unsigned count)
{
    size_t len = strlen(chunk);
    for (unsigned i = 0; i < count; i++)
        memcpy(text + i * len, chunk, len);
    return len * count;
}

static void framing_is_bounded_by_the_data(void **state)
{
    (void)state;
    assert_int_equal(feed_text(chunks("1\r\na\r\n", 40000)), HTTP_CHUNK_MORE);
    assert_int_equal(feed_text(chunks("1;a=01234567890123456789\r\na\r\n", 10000)), HTTP_CHUNK_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_is_judged_right_however_it_is_split),
        cmocka_unit_test(every_case_is_judged_right_byte_by_byte),
        cmocka_unit_test(what_follows_the_body_is_left),
        cmocka_unit_test(the_end_and_a_mistake_are_for_good),
        cmocka_unit_test(a_line_is_bounded),
        cmocka_unit_test(trailers_are_bounded),
        cmocka_unit_test(framing_is_bounded_by_the_data),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
