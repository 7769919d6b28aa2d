/* log.c - lines for the operator.
 *
 * DESIGN  A line is put together on the stack and leaves in one write under a lock, so lines of threads never mix. What
 *         is too long is cut and marked `truncated=true`; what there is no room for (its reader stalls, base/sink) is
 *         counted, and the next line that gets through says `lost=3`: no loop ever waits for who reads the log.
 *         Both formats escape alike, as JSON does: ", \, control characters (C1 and U+2028/9 too, terminals and
 *         viewers act on them); bytes that are not UTF-8 become U+FFFD.
 * HOLDS   Nothing a caller passes can end the line or the value it is in.
 * Path:   everywhere > [base/log] > base/sink
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/sink.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define LINE_BYTES 8192u
#define TAIL_BYTES 64u

struct line {
    char text[LINE_BYTES + TAIL_BYTES];
    size_t len;
    bool is_full; /* from now on nothing is added */
};

static const char *const level_names[] = { "debug", "info", "warn", "error" };
static enum log_level least_level = LOG_INFO;
static enum log_format line_format = LOG_LOGFMT;
static struct sink sink = SINK_OF(STDERR_FILENO);
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned lines_lost; /* under lock, as is_torn */
static bool is_torn;        /* the last line left in part */
static _Atomic uint64_t lines_lost_ever;

void log_setup(enum log_level least, enum log_format format, int fd)
{
    least_level = least;
    line_format = format;
    sink_close(&sink);
    sink = sink_open(fd);
}

uint64_t log_lost(void) { return atomic_load_explicit(&lines_lost_ever, memory_order_relaxed); }

bool log_wants(enum log_level level) { return level >= least_level; }

static void put(struct line *line, const char *data, size_t len)
{
    if (line->is_full || len > LINE_BYTES - line->len) {
        line->is_full = true;
        return;
    }
    memcpy(line->text + line->len, data, len);
    line->len += len;
}

static void put_text(struct line *line, const char *text) { put(line, text, strlen(text)); }

static void put_number(struct line *line, int64_t number)
{
    char text[24];
    put(line, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)number));
}

static void put_unicode_escape(struct line *line, unsigned code)
{
    char text[8];
    put(line, text, (size_t)snprintf(text, sizeof text, "\\u%04x", code));
}

static void put_ascii(struct line *line, char c)
{
    static const char named[] = "\"\"\\\\\nn\rr\tt\bb\ff"; /* character, then its letter */
    for (size_t i = 0; i < sizeof named - 1; i += 2) {
        if (named[i] == c) {
            put(line, (char[]){ '\\', named[i + 1] }, 2);
            return;
        }
    }
    if ((unsigned char)c < 0x20 || c == 0x7f)
        put_unicode_escape(line, (unsigned char)c);
    else
        put(line, &c, 1);
}

static size_t sequence_len(unsigned char lead) { return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4; }

/* One character beyond ASCII that is known to be well-formed. */
static void put_wide(struct line *line, const unsigned char *p, size_t len)
{
    if (len == 2 && p[0] == 0xC2 && p[1] < 0xA0)
        put_unicode_escape(line, p[1]);
    else if (len == 3 && p[0] == 0xE2 && p[1] == 0x80 && (p[2] == 0xA8 || p[2] == 0xA9))
        put_unicode_escape(line, 0x2000u + (p[2] & 0x3fu));
    else
        put(line, (const char *)p, len);
}

static void put_escaped(struct line *line, struct str text)
{
    while (text.len && !line->is_full) {
        size_t good = str_utf8_prefix(text);
        for (size_t i = 0; i < good && !line->is_full;) {
            unsigned char c = (unsigned char)text.data[i];
            size_t len = c < 0x80 ? 1 : sequence_len(c);
            if (len == 1)
                put_ascii(line, text.data[i]);
            else
                put_wide(line, (const unsigned char *)text.data + i, len);
            i += len;
        }
        if (good < text.len) {
            put_text(line, "\xEF\xBF\xBD");
            good++;
        }
        text = str_make(text.data + good, text.len - good);
    }
}

/* May a logfmt value stand without quotes? */
static bool is_plain(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\')
            return false;
    }
    return text.len > 0;
}

/* Names may come from outside, as keys of a table that a plugin logs: one cannot forge a field or a line either. */
static void put_plain(struct line *line, const char *name)
{
    for (; *name; name++) {
        char c = *name;
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("_-.", c);
        put(line, is_plain ? &c : "_", 1);
    }
}

static void put_name(struct line *line, const char *name)
{
    bool is_first = line->len == 0;
    if (line_format == LOG_JSON) {
        put_text(line, is_first ? "{\"" : ",\"");
        put_plain(line, name);
        put_text(line, "\":");
    } else {
        put_text(line, is_first ? "" : " ");
        put_plain(line, name);
        put_text(line, "=");
    }
}

/* A name and a text. When the line fills up within the text, the quote is still closed (the tail has room). */
static void put_str(struct line *line, const char *name, struct str text)
{
    size_t before = line->len;
    bool has_quotes = line_format == LOG_JSON || !is_plain(text);
    put_name(line, name);
    if (has_quotes)
        put_text(line, "\"");
    if (line->is_full) {
        line->len = before;
        return;
    }
    put_escaped(line, text);
    if (has_quotes)
        line->text[line->len++] = '"';
}

/* A name and a text of ours that needs no escape: all of it, or nothing. */
static void put_bare(struct line *line, const char *name, const char *text)
{
    size_t before = line->len;
    put_name(line, name);
    put_text(line, text);
    if (line->is_full)
        line->len = before;
}

static void put_int(struct line *line, const char *name, int64_t number)
{
    size_t before = line->len;
    put_name(line, name);
    put_number(line, number);
    if (line->is_full)
        line->len = before;
}

static void put_real(struct line *line, const char *name, double real)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%.6g", real);
    if (isfinite(real))
        put_bare(line, name, text);
    else
        put_str(line, name, str_make(text, (size_t)len)); /* JSON has no number for it */
}

static void put_field(struct line *line, const struct log_field *field)
{
    switch (field->kind) {
    case LOG_FIELD_STR: put_str(line, field->name, field->text); break;
    case LOG_FIELD_INT: put_int(line, field->name, field->number); break;
    case LOG_FIELD_DOUBLE: put_real(line, field->name, field->real); break;
    case LOG_FIELD_BOOL: put_bare(line, field->name, field->number ? "true" : "false"); break;
    }
}

static void put_head(struct line *line, enum log_level level, const char *message)
{
    char iso[CLOCK_ISO_LEN + 1];
    clock_iso(clock_wall_us(), iso);
    memcpy(iso + 23, "Z", 2); /* milliseconds will do */
    put_str(line, "time", str_of(iso));
    put_str(line, "level", str_of(level_names[level]));
    put_str(line, "msg", str_of(message));
}

/* The tail is there for what follows, so is_full no longer counts. */
static void put_end(struct line *line)
{
    const char *mark = line_format == LOG_JSON ? ",\"truncated\":true" : " truncated=true";
    size_t len = line->is_full ? strlen(mark) : 0;
    memcpy(line->text + line->len, mark, len);
    line->len += len;
    if (line_format == LOG_JSON)
        line->text[line->len++] = '}';
    line->text[line->len++] = '\n';
}

/* Under lock. */
static void lose_line(void)
{
    lines_lost++;
    atomic_fetch_add_explicit(&lines_lost_ever, 1, memory_order_relaxed);
}

/* Under lock. */
static void write_line(const struct line *line)
{
    if (is_torn && sink_write(&sink, "\n", 1) != 1) {
        lose_line();
        return;
    }
    size_t wrote = sink_write(&sink, line->text, line->len);
    is_torn = wrote > 0 && wrote < line->len;
    if (wrote == line->len)
        lines_lost = 0;
    else
        lose_line();
}

void log_fields(enum log_level level, const char *message, const struct log_field *fields, size_t count)
{
    if (!log_wants(level))
        return;
    int saved = errno;
    struct line line;
    line.len = 0;
    line.is_full = false;
    put_head(&line, level, message);
    for (size_t i = 0; i < count; i++)
        put_field(&line, &fields[i]);
    pthread_mutex_lock(&lock);
    if (lines_lost)
        put_int(&line, "lost", lines_lost);
    put_end(&line);
    write_line(&line);
    pthread_mutex_unlock(&lock);
    errno = saved;
}
