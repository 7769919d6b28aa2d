/* parse.c - decides whether bytes are the head of a request, and what it says.
 *
 * DESIGN  Two passes. find_end looks for the blank line and remembers how far it came, so a head that drips in byte by
 *         byte costs O(n); whatever can be refused before the head is whole is refused at the same byte however the
 *         bytes were split. The second pass sees the whole head once and fills slices; nothing is copied.
 *         There are no lenient switches. Who needs a byte that RFC 9112 forbids needs another server: two servers that
 *         read one request differently are how requests get smuggled.
 * HOLDS   After find_end each LF of the head has a CR before it; a CR anywhere else is in no alphabet of octet.c.
 *         How long the body is, is decided in decide_framing and nowhere else.
 * Path:   http/conn > [http/parse] > http/octet
 */
#include "http/parse.h"

#include "http/octet.h"

/* What the second pass carries along. */
struct reader {
    const char *at, *end;
    const struct http_limits *limits;
    struct http_head *head;
    struct http_parse_error *error;
    bool says_close, says_keep_alive;
};

static enum http_parse refuse(struct http_parse_error *error, int status, const char *why)
{
    error->status = status;
    error->why = why;
    return HTTP_PARSE_BAD;
}

static bool bad(struct reader *reader, const char *why)
{
    refuse(reader->error, 400, why);
    return false;
}

/* --- the end of the head --- */

/* One empty line before the request is passed over (RFC 9112 2.2). */
static size_t lead(struct str bytes)
{
    return bytes.len >= 2 && bytes.data[0] == '\r' && bytes.data[1] == '\n' ? 2 : 0;
}

/* Refuses what cannot begin a request, e.g. a TLS greeting, without waiting for its end. */
static bool begins_badly(struct str bytes)
{
    size_t skip = lead(bytes);
    if (bytes.len == skip || (bytes.len == 1 && bytes.data[0] == '\r'))
        return false;
    return !http_octet_is(bytes.data[skip], HTTP_OCTET_TOKEN);
}

static enum http_parse find_end(struct str bytes, const struct http_limits *limits, size_t *scanned, size_t *end,
                                struct http_parse_error *error)
{
    const char *data = bytes.data;
    if (*scanned < 3 && begins_badly(bytes))
        return refuse(error, 400, "a request begins with a method");
    size_t line_end = lead(bytes) + limits->line_bytes;
    if (*scanned < line_end && bytes.len >= line_end && !memchr(data + lead(bytes), '\n', limits->line_bytes))
        return refuse(error, 414, "the request line is too long");

    size_t window = bytes.len < limits->head_bytes ? bytes.len : limits->head_bytes;
    const char *at = data + *scanned, *stop = data + window;
    while (at < stop && (at = memchr(at, '\n', (size_t)(stop - at)))) {
        if (at == data || at[-1] != '\r')
            return refuse(error, 400, "a line ends with LF alone");
        if (at - data >= 3 && at[-2] == '\n') {
            *end = (size_t)(at + 1 - data);
            return HTTP_PARSE_DONE;
        }
        at++;
    }
    *scanned = window;
    if (bytes.len >= limits->head_bytes)
        return refuse(error, 431, "the header fields are too long");
    return HTTP_PARSE_MORE;
}

/* --- the request line --- */

static const char *const method_names[] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS" };

const char *http_method_name(enum http_method method)
{
    return (unsigned)method < HTTP_METHODS ? method_names[method] : "OTHER";
}

static enum http_method method_of(struct str text)
{
    for (unsigned m = 0; m < HTTP_METHODS; m++)
        if (str_is(text, str_of(method_names[m])))
            return (enum http_method)m;
    return HTTP_METHOD_OTHER;
}

static bool digit(char c) { return c >= '0' && c <= '9'; }

static bool read_version(struct reader *reader, struct str text)
{
    if (text.len != 8 || memcmp(text.data, "HTTP/", 5) != 0 || !digit(text.data[5]) || text.data[6] != '.' ||
        !digit(text.data[7]))
        return bad(reader, "the request line does not end with an HTTP version");
    if (text.data[5] != '1') {
        refuse(reader->error, 505, "this server speaks HTTP/1.1");
        return false;
    }
    reader->head->minor = (unsigned)(text.data[7] - '0');
    return true;
}

/* Each '%' is followed by two hex digits. */
static bool escapes_are_whole(struct str text)
{
    for (const char *at = text.data, *end = text.data + text.len;
         at < end && (at = memchr(at, '%', (size_t)(end - at))); at += 3)
        if (end - at < 3 || !http_octet_is(at[1], HTTP_OCTET_HEX) || !http_octet_is(at[2], HTTP_OCTET_HEX))
            return false;
    return true;
}

static bool read_path_and_query(struct reader *reader, struct str text)
{
    struct http_head *head = reader->head;
    size_t path_len = http_octet_span(text.data, text.len, HTTP_OCTET_PATH);
    head->path = str_make(text.data, path_len);
    head->query = STR_NONE;
    if (path_len < text.len) {
        if (text.data[path_len] != '?')
            return bad(reader, "the path has a byte that must be escaped");
        head->query = str_make(text.data + path_len + 1, text.len - path_len - 1);
        if (http_octet_span(head->query.data, head->query.len, HTTP_OCTET_QUERY) < head->query.len)
            return bad(reader, "the query has a byte that must be escaped");
    }
    if (!escapes_are_whole(text))
        return bad(reader, "an escape in the request target is broken");
    return true;
}

/* uri-host [ ":" port ] (RFC 9110 7.2). */
static bool host_is_valid(struct str host)
{
    size_t at = 0;
    if (host.len && host.data[0] == '[') {
        at = 1;
        while (at < host.len && (http_octet_is(host.data[at], HTTP_OCTET_HOST) || host.data[at] == ':'))
            at++;
        if (at < 3 || at == host.len || host.data[at] != ']')
            return false;
        at++;
    } else {
        at = http_octet_span(host.data, host.len, HTTP_OCTET_HOST);
        if (!escapes_are_whole(str_make(host.data, at)))
            return false;
    }
    if (at == host.len)
        return true;
    if (host.data[at] != ':' || host.len - at - 1 > 5)
        return false;
    unsigned port = 0;
    for (at++; at < host.len; at++) {
        if (!digit(host.data[at]))
            return false;
        port = 10 * port + (unsigned)(host.data[at] - '0');
    }
    return port <= 65535;
}

/* http://host/path?query: what it says about the host stands above the Host field (RFC 9112 3.2.2). */
static bool read_absolute(struct reader *reader, struct str text)
{
    struct http_head *head = reader->head;
    struct str rest = str_make(text.data + 7, text.len - 7);
    size_t host_len = 0;
    while (host_len < rest.len && rest.data[host_len] != '/' && rest.data[host_len] != '?')
        host_len++;
    struct str host = str_make(rest.data, host_len);
    if (host_len == 0 || host.data[0] == ':' || !host_is_valid(host))
        return bad(reader, "the request target has no valid host");
    if (!read_path_and_query(reader, str_make(rest.data + host_len, rest.len - host_len)))
        return false;
    if (head->path.len == 0)
        head->path = STR("/");
    head->known[HTTP_HOST] = host;
    return true;
}

static bool read_target(struct reader *reader)
{
    struct http_head *head = reader->head;
    struct str target = head->target;
    if (target.data[0] == '/')
        return read_path_and_query(reader, target);
    if (str_is(target, STR("*"))) {
        if (head->method != HTTP_OPTIONS)
            return bad(reader, "the target * is for OPTIONS alone");
        head->path = target;
        head->query = STR_NONE;
        return true;
    }
    if (target.len > 7 && str_is_nocase(str_make(target.data, 7), STR("http://")))
        return read_absolute(reader, target);
    return bad(reader, "the request target begins neither with / nor with http://");
}

/* method SP request-target SP HTTP-version, with exactly these two spaces (RFC 9112 3). */
static bool read_request_line(struct reader *reader, struct str line)
{
    struct http_head *head = reader->head;
    size_t method_len = http_octet_span(line.data, line.len, HTTP_OCTET_TOKEN);
    if (method_len == 0 || method_len == line.len || line.data[method_len] != ' ')
        return bad(reader, "the request line has no method followed by one space");
    const char *target = line.data + method_len + 1, *end = line.data + line.len;
    const char *space = memchr(target, ' ', (size_t)(end - target));
    if (!space || space == target)
        return bad(reader, "the request line has no target between single spaces");
    head->method_text = str_make(line.data, method_len);
    head->method = method_of(head->method_text);
    head->target = str_make(target, (size_t)(space - target));
    if (!read_version(reader, str_make(space + 1, (size_t)(end - space - 1))))
        return false;
    if (str_is(head->method_text, STR("CONNECT"))) {
        refuse(reader->error, 501, "this server opens no tunnels");
        return false;
    }
    return read_target(reader);
}

/* --- header fields --- */

/* In groups of one length, so that a name is compared with the few it could be. */
static const struct {
    uint8_t len, known;
    char text[20];
} known_names[] = {
    { 4, HTTP_HOST, "host" },
    { 5, HTTP_RANGE, "range" },
    { 6, HTTP_ACCEPT, "accept" },
    { 6, HTTP_EXPECT, "expect" },
    { 6, HTTP_COOKIE, "cookie" },
    { 7, HTTP_UPGRADE, "upgrade" },
    { 8, HTTP_IF_MATCH, "if-match" },
    { 10, HTTP_CONNECTION, "connection" },
    { 11, HTTP_TRACEPARENT, "traceparent" },
    { 12, HTTP_CONTENT_TYPE, "content-type" },
    { 12, HTTP_X_REQUEST_ID, "x-request-id" },
    { 13, HTTP_AUTHORIZATION, "authorization" },
    { 13, HTTP_IF_NONE_MATCH, "if-none-match" },
    { 13, HTTP_CACHE_CONTROL, "cache-control" },
    { 14, HTTP_CONTENT_LENGTH, "content-length" },
    { 15, HTTP_ACCEPT_ENCODING, "accept-encoding" },
    { 15, HTTP_IDEMPOTENCY_KEY, "idempotency-key" },
    { 17, HTTP_TRANSFER_ENCODING, "transfer-encoding" },
};
#define KNOWN_NAMES (sizeof known_names / sizeof known_names[0])
/* Where the group of each length starts in known_names. */
static const uint8_t known_start[19] = { 0, 0, 0, 0, 0, 1, 2, 5, 6, 7, 7, 8, 9, 11, 14, 15, 17, 17, 18 };

static int known_of(struct str name)
{
    if (name.len >= sizeof known_start)
        return -1;
    for (size_t i = known_start[name.len]; i < KNOWN_NAMES && known_names[i].len == name.len; i++) {
        size_t at = 0;
        /* Among token bytes only letters change with 0x20 into a letter, and only '-' into '-'. */
        while (at < name.len && (name.data[at] | 0x20) == known_names[i].text[at])
            at++;
        if (at == name.len)
            return known_names[i].known;
    }
    return -1;
}

static void read_connection(struct reader *reader, struct str value)
{
    while (value.len) {
        struct str option = str_trim(str_split(&value, ','));
        if (str_is_nocase(option, STR("close")))
            reader->says_close = true;
        else if (str_is_nocase(option, STR("keep-alive")))
            reader->says_keep_alive = true;
    }
}

/* What is refused twice has one meaning only where it stands once (RFC 9110 5.3), and a proxy may have judged the other one.
 * A list may come in several lines, and the first counts here: for If-None-Match that is a 200 where 304 would have done. */
static bool note_known(struct reader *reader, enum http_known known, struct str value)
{
    struct str *first = &reader->head->known[known];
    if (known == HTTP_CONNECTION)
        read_connection(reader, value);
    if (!first->data) {
        *first = value;
        return true;
    }
    switch (known) {
    case HTTP_HOST: return bad(reader, "there is more than one Host");
    case HTTP_CONTENT_LENGTH: return bad(reader, "there is more than one Content-Length");
    case HTTP_TRANSFER_ENCODING: return bad(reader, "there is more than one Transfer-Encoding");
    case HTTP_AUTHORIZATION: return bad(reader, "there is more than one Authorization");
    case HTTP_CONTENT_TYPE: return bad(reader, "there is more than one Content-Type");
    case HTTP_EXPECT: refuse(reader->error, 417, "there is more than one expectation"); return false;
    default: return true;
    }
}

static bool read_field(struct reader *reader, const char *line_end)
{
    struct http_head *head = reader->head;
    const char *name = reader->at;
    size_t name_len = http_octet_span(name, (size_t)(line_end - name), HTTP_OCTET_TOKEN);
    const char *colon = name + name_len;
    if (name_len == 0 && (*name == ' ' || *name == '\t'))
        return bad(reader, "a header field is folded over two lines");
    if (name_len == 0 || colon == line_end)
        return bad(reader, "a header line has no name or no colon");
    if (*colon != ':')
        return bad(reader, *colon == ' ' || *colon == '\t' ? "there is a space before a colon"
                                                           : "a header name has a byte that it may not have");
    struct str value = str_make(colon + 1, (size_t)(line_end - colon - 1));
    if (http_octet_span_value(value.data, value.len) < value.len)
        return bad(reader, "a header value has a control character");
    value = str_trim(value);
    if (head->field_count == HTTP_FIELDS_MAX || head->field_count == reader->limits->fields_max) {
        refuse(reader->error, 431, "there are too many header fields");
        return false;
    }
    struct http_field *field = &head->fields[head->field_count++];
    field->name = str_make(name, name_len);
    field->value = value;
    int known = known_of(field->name);
    return known < 0 || note_known(reader, (enum http_known)known, value);
}

static bool read_fields(struct reader *reader)
{
    for (;;) {
        const char *line_end = (const char *)memchr(reader->at, '\n', (size_t)(reader->end - reader->at)) - 1;
        if (line_end == reader->at)
            return true;
        if (!read_field(reader, line_end))
            return false;
        reader->at = line_end + 2;
    }
}

/* --- what the fields mean together --- */

static bool decide_host(struct reader *reader, struct str from_target)
{
    struct http_head *head = reader->head;
    struct str host = head->known[HTTP_HOST];
    if (!host.data && head->minor >= 1)
        return bad(reader, "there is no Host");
    if (host.data && !host_is_valid(host))
        return bad(reader, "Host is not a host");
    if (from_target.data)
        head->known[HTTP_HOST] = from_target;
    return true;
}

/* "gzip, chunked" is well-formed and merely unknown here: 501. What does not end in one chunked cannot be framed: 400
 * (RFC 9112 6.1, 6.3). Both end the connection. */
static bool refuse_coding(struct reader *reader, struct str value)
{
    struct str coding = STR_NONE;
    unsigned chunked = 0;
    while (value.len) {
        coding = str_trim(str_split(&value, ','));
        chunked += str_is_nocase(coding, STR("chunked"));
        if (http_octet_span(coding.data, coding.len, HTTP_OCTET_TOKEN) < coding.len || coding.len == 0)
            return bad(reader, "Transfer-Encoding is malformed");
    }
    if (chunked != 1 || !str_is_nocase(coding, STR("chunked")))
        return bad(reader, "Transfer-Encoding does not end with one chunked");
    refuse(reader->error, 501, "this server knows no transfer coding but chunked");
    return false;
}

static bool decide_framing(struct reader *reader)
{
    struct http_head *head = reader->head;
    struct str coding = head->known[HTTP_TRANSFER_ENCODING], length = head->known[HTTP_CONTENT_LENGTH];
    if (coding.data && length.data)
        return bad(reader, "there are both Content-Length and Transfer-Encoding");
    if (coding.data && head->minor == 0)
        return bad(reader, "HTTP/1.0 knows no Transfer-Encoding");
    if (coding.data && !str_is_nocase(coding, STR("chunked")))
        return refuse_coding(reader, coding);
    if (length.data && (length.len > 19 || !str_uint64(length, &head->content_length)))
        return bad(reader, "Content-Length is not a number");
    head->chunked = coding.data != NULL;
    head->has_length = length.data != NULL;
    return true;
}

static bool decide_expect(struct reader *reader)
{
    struct http_head *head = reader->head;
    struct str expect = head->known[HTTP_EXPECT];
    if (!expect.data || head->minor == 0)
        return true;
    head->expects_continue = str_is_nocase(expect, STR("100-continue"));
    if (head->expects_continue)
        return true;
    refuse(reader->error, 417, "this server meets no expectation but 100-continue");
    return false;
}

static bool read_head(struct reader *reader)
{
    struct http_head *head = reader->head;
    const char *line_end = (const char *)memchr(reader->at, '\n', (size_t)(reader->end - reader->at)) - 1;
    if (!read_request_line(reader, str_make(reader->at, (size_t)(line_end - reader->at))))
        return false;
    struct str host = head->known[HTTP_HOST];
    head->known[HTTP_HOST] = STR_NONE;
    reader->at = line_end + 2;
    if (!read_fields(reader) || !decide_host(reader, host) || !decide_framing(reader) || !decide_expect(reader))
        return false;
    head->keep_alive = !reader->says_close && (head->minor >= 1 || reader->says_keep_alive);
    return true;
}

enum http_parse http_parse_head(struct str bytes, const struct http_limits *limits, size_t *scanned,
                                struct http_head *head, struct http_parse_error *error)
{
    size_t end = 0;
    enum http_parse found = find_end(bytes, limits, scanned, &end, error);
    if (found != HTTP_PARSE_DONE)
        return found;
    memset(head, 0, offsetof(struct http_head, fields));
    head->bytes = end;
    struct reader reader = {
        .at = bytes.data + lead(bytes), .end = bytes.data + end, .limits = limits, .head = head, .error = error
    };
    return read_head(&reader) ? HTTP_PARSE_DONE : HTTP_PARSE_BAD;
}

struct str http_head_field(const struct http_head *head, struct str name)
{
    int known = known_of(name);
    if (known >= 0)
        return head->known[known];
    for (unsigned i = 0; i < head->field_count; i++)
        if (str_is_nocase(head->fields[i].name, name))
            return head->fields[i].value;
    return STR_NONE;
}
