/* http_parse_fuzz.c - a head is judged alike however it is split; what is taken has nothing in it that another server could
 * read differently, and means the same when it is written anew. */
#include "http/parse.h"

#include <stdio.h>
#include <stdlib.h>

struct verdict {
    enum http_parse result;
    int status;
    struct http_head head;
};

#define CHECK(fact)                                                     \
    do {                                                                \
        if (!(fact)) {                                                  \
            fprintf(stderr, "not so: %s (line %d)\n", #fact, __LINE__); \
            abort();                                                    \
        }                                                               \
    } while (0)

/* In blocks of exactly the size that has come, so that reads beyond are seen. */
static void feed(struct str bytes, size_t step, const struct http_limits *limits, struct verdict *out)
{
    size_t scanned = 0, end = 0;
    do {
        end = bytes.len - end < step ? bytes.len : end + step;
        char *block = malloc(end ? end : 1);
        struct http_parse_error error = { 0, NULL };
        memcpy(block, bytes.data, end);
        out->result = http_parse_head(str_make(block, end), limits, &scanned, &out->head, &error);
        out->status = error.status;
        CHECK((out->result == HTTP_PARSE_BAD) == (error.why != NULL));
        free(block); /* the slices of this head are looked at by nobody */
    } while (end < bytes.len && out->result == HTTP_PARSE_MORE);
}

static bool is_in(struct str slice, struct str whole)
{
    return !slice.data || (slice.data >= whole.data && slice.data + slice.len <= whole.data + whole.len);
}

static void check_bytes(struct str head)
{
    for (size_t i = 0; i < head.len; i++) {
        unsigned char c = (unsigned char)head.data[i];
        CHECK(c != 127 && (c >= 32 || c == '\t' || c == '\r' || c == '\n'));
        CHECK(c != '\n' || (i > 0 && head.data[i - 1] == '\r'));
        CHECK(c != '\r' || head.data[i + 1] == '\n');
    }
}

static void check_framing(const struct http_head *head)
{
    unsigned hosts = 0, lengths = 0, codings = 0;
    for (unsigned i = 0; i < head->field_count; i++) {
        hosts += str_is_nocase(head->fields[i].name, STR("host"));
        lengths += str_is_nocase(head->fields[i].name, STR("content-length"));
        codings += str_is_nocase(head->fields[i].name, STR("transfer-encoding"));
    }
    CHECK(hosts <= 1 && (hosts == 1 || head->minor == 0));
    CHECK(lengths + codings <= 1);
    CHECK(head->has_length == (lengths == 1) && head->chunked == (codings == 1));
    CHECK(head->has_length || head->content_length == 0);
}

static void check_slices(const struct http_head *head, struct str whole)
{
    CHECK(is_in(head->target, whole) && is_in(head->method_text, whole) && is_in(head->query, whole));
    CHECK(is_in(head->path, whole) || str_is(head->path, STR("/")));
    CHECK(head->path.len > 0 && (head->path.data[0] == '/' || str_is(head->path, STR("*"))));
    for (unsigned i = 0; i < head->field_count; i++)
        CHECK(is_in(head->fields[i].name, whole) && is_in(head->fields[i].value, whole) && head->fields[i].name.len);
    for (unsigned i = 0; i < HTTP_KNOWN; i++)
        CHECK(is_in(head->known[i], whole));
}

static char anew[1 << 17];
static struct http_head head, again;

static void check_rewritten(const struct http_limits *limits)
{
    size_t len = (size_t)snprintf(anew, sizeof anew, "%.*s %.*s HTTP/1.%u\r\n", (int)head.method_text.len,
                                  head.method_text.data, (int)head.target.len, head.target.data, head.minor);
    for (unsigned i = 0; i < head.field_count; i++)
        len += (size_t)snprintf(anew + len, sizeof anew - len, "%.*s: %.*s\r\n", (int)head.fields[i].name.len,
                                head.fields[i].name.data, (int)head.fields[i].value.len, head.fields[i].value.data);
    len += (size_t)snprintf(anew + len, sizeof anew - len, "\r\n");
    struct http_limits wide = *limits;
    struct http_parse_error error;
    size_t scanned = 0;
    wide.line_bytes = wide.head_bytes = sizeof anew;
    CHECK(http_parse_head(str_make(anew, len), &wide, &scanned, &again, &error) == HTTP_PARSE_DONE);
    CHECK(again.bytes == len && again.method == head.method && again.keep_alive == head.keep_alive);
    CHECK(again.content_length == head.content_length && again.chunked == head.chunked);
    CHECK(str_is(again.path, head.path) && str_is(again.query, head.query));
    CHECK(again.field_count == head.field_count);
    for (unsigned i = 0; i < head.field_count; i++)
        CHECK(str_is(again.fields[i].value, head.fields[i].value));
}

/* The first byte chooses limits, the second how the rest is split. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct verdict whole, split;
    if (len < 2 || len > 40000)
        return 0;
    struct http_limits limits = { 8192, 32768, 100, 0 };
    if (data[0] & 1)
        limits = (struct http_limits){ 40, 120, 4, 0 };
    struct str bytes = str_make((const char *)data + 2, len - 2);
    feed(bytes, bytes.len + 1, &limits, &whole);
    feed(bytes, 1u + data[1] % 64u, &limits, &split);
    CHECK(whole.result == split.result && whole.status == split.status);
    if (whole.result != HTTP_PARSE_DONE)
        return 0;
    CHECK(whole.head.bytes == split.head.bytes && whole.head.bytes <= bytes.len);
    CHECK(whole.head.field_count == split.head.field_count);
    size_t scanned = 0;
    struct http_parse_error error;
    CHECK(http_parse_head(bytes, &limits, &scanned, &head, &error) == HTTP_PARSE_DONE);
    check_bytes(str_make(bytes.data, head.bytes));
    check_slices(&head, bytes);
    check_framing(&head);
    check_rewritten(&limits);
    return 0;
}
