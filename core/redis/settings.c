/* settings.c - where Redis is, out of one URL (the forms redis-cli -u takes, and unix://).
 *
 * HOLDS   `why` never repeats a piece of the URL that may hold the password.
 * Path:   app > [redis/settings]
 */
#include "redis/redis.h"

#include <stdio.h>
#include <sys/un.h>

enum { PORT_DEFAULT = 6379, PORT_MAX = 65535, DATABASE_MAX = 1000000 };

struct reading {
    struct redis_settings *out;
    char *why;
    size_t why_bytes;
};

static bool say(const struct reading *reading, const char *what)
{
    if (reading->why_bytes > 0)
        snprintf(reading->why, reading->why_bytes, "%s", what);
    return false;
}

/* Percent-decoded into `to`, NUL-terminated. */
static bool copy(const struct reading *reading, struct str text, char *to, size_t bytes, const char *what)
{
    char decoded[1024];
    if (text.len >= sizeof decoded)
        return say(reading, what);
    ptrdiff_t len = str_percent_decode(text, /* plus_is_space= */ false, decoded);
    if (len < 0 || (size_t)len >= bytes || memchr(decoded, '\0', (size_t)len))
        return say(reading, what);
    memcpy(to, decoded, (size_t)len);
    to[len] = '\0';
    return true;
}

static bool read_number(const struct reading *reading, struct str text, uint64_t max, int *out, const char *what)
{
    uint64_t value;
    if (!str_uint64(text, &value) || value > max)
        return say(reading, what);
    *out = (int)value;
    return true;
}

static bool read_database(const struct reading *reading, struct str text)
{
    return read_number(reading, text, DATABASE_MAX, &reading->out->database, "the database must be a number from 0");
}

/* [user[:password]@]: everything before the last '@'. */
static bool read_login(const struct reading *reading, struct str *rest)
{
    size_t at = rest->len;
    while (at > 0 && rest->data[at - 1] != '@')
        at--;
    if (at == 0)
        return true;
    struct str password = str_make(rest->data, at - 1);
    *rest = str_make(rest->data + at, rest->len - at);
    struct str user = str_split(&password, ':');
    struct redis_settings *out = reading->out;
    if (!copy(reading, user, out->user, sizeof out->user, "the user is too long or has a broken %-escape") ||
        !copy(reading, password, out->password, sizeof out->password,
              "the password is too long or has a broken %-escape"))
        return false;
    return out->password[0] ||
           say(reading, "a user or ':' before '@' needs a password, as in redis://user:password@host");
}

/* host[:port], with an IPv6 address in brackets. */
static bool read_host(const struct reading *reading, struct str text)
{
    struct redis_settings *out = reading->out;
    struct str host = text, port = STR_NONE;
    const char *end = NULL;
    bool has_port = false;
    if (text.len > 0 && text.data[0] == '[') {
        end = memchr(text.data, ']', text.len);
        if (!end)
            return say(reading, "the address misses its ']'");
        host = str_make(text.data + 1, (size_t)(end - text.data) - 1);
        port = str_make(end + 1, text.len - host.len - 2);
        has_port = port.len > 0;
        if (has_port && port.data[0] != ':')
            return say(reading, "after ']' comes ':port' or nothing");
        if (has_port)
            port = str_make(port.data + 1, port.len - 1);
    } else if ((end = memchr(text.data, ':', text.len))) {
        host = str_make(text.data, (size_t)(end - text.data));
        port = str_make(end + 1, text.len - host.len - 1);
        has_port = true;
    }
    if (host.len == 0 || host.data[0] == '/')
        return say(reading, "the host is missing: redis://[user:password@]host[:port][/database]");
    if (!copy(reading, host, out->host, sizeof out->host, "the host is too long"))
        return false;
    return !has_port || (read_number(reading, port, PORT_MAX, &out->port, "the port must be a number up to 65535") &&
                         (out->port > 0 || say(reading, "the port must not be 0")));
}

static bool read_tcp(const struct reading *reading, struct str rest)
{
    size_t at = 0;
    while (at < rest.len && rest.data[at] != '/' && rest.data[at] != '?')
        at++;
    struct str place = str_make(rest.data, at), path = str_make(rest.data + at, rest.len - at);
    if (!read_login(reading, &place) || !read_host(reading, place))
        return false;
    if (path.len > 0 && path.data[0] == '?')
        return say(reading, "redis:// takes no options after '?'");
    return path.len <= 1 || read_database(reading, str_make(path.data + 1, path.len - 1));
}

static bool read_unix(const struct reading *reading, struct str rest)
{
    struct redis_settings *out = reading->out;
    struct str path = str_split(&rest, '?');
    out->port = 0;
    if (path.len == 0 || path.data[0] != '/')
        return say(reading, "the socket's path must start with '/', as in unix:///run/redis.sock");
    struct sockaddr_un address;
    if (!copy(reading, path, out->host, sizeof address.sun_path,
              "the socket's path is too long: 107 bytes are possible"))
        return false;
    if (rest.len == 0)
        return true;
    if (!str_starts(rest, STR("db=")))
        return say(reading, "unix:// knows one option: db=NUMBER");
    return read_database(reading, str_make(rest.data + 3, rest.len - 3));
}

enum fail redis_settings_read(struct str url, struct redis_settings *out, char *why, size_t why_bytes)
{
    struct reading reading = { out, why, why_bytes };
    bool is_read;
    *out = (struct redis_settings){
        .port = PORT_DEFAULT, .connect_ms = 250, .command_ms = 20, .pending_max = 10000, .reply_bytes_max = 16u << 20
    };
    if (why_bytes > 0)
        why[0] = '\0';
    if (str_starts(url, STR("redis://")))
        is_read = read_tcp(&reading, str_make(url.data + 8, url.len - 8));
    else if (str_starts(url, STR("unix://")))
        is_read = read_unix(&reading, str_make(url.data + 7, url.len - 7));
    else if (str_starts(url, STR("rediss://")))
        is_read = say(&reading, "rediss:// (TLS) is not spoken: end TLS in front of Redis, e.g. with stunnel on this "
                                "machine, and use redis://");
    else
        is_read = say(&reading, "a Redis URL starts with redis:// or unix://");
    return is_read ? FAIL_OK : FAIL_INVALID;
}
