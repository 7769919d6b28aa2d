/* log.h - one line for each event, logfmt or JSON, to standard error. Only the edge logs; inner code returns.
 *
 * A line is written with one write(2); values are escaped, so a value cannot forge a line. Thread-safe. Never waits for who reads
 * it: a line that there is no room for is lost, and the next one says how many were.
 *   log_line(LOG_WARN, "redis unreachable", LOG_STR("host", host), LOG_INT("retry_ms", 250));
 * -> time=2026-11-23T14:02:22.123Z level=warn msg="redis unreachable" host=127.0.0.1 retry_ms=250
 * Secrets are never passed to it: settings print themselves redacted.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_LOGFMT, LOG_JSON };

struct log_field { const char *name; enum { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_DOUBLE, LOG_FIELD_BOOL } kind;
                   struct str text; int64_t number; double real; };

#define LOG_STR(n, v) ((struct log_field){ .name = (n), .kind = LOG_FIELD_STR, .text = (v) })
#define LOG_TEXT(n, v) ((struct log_field){ .name = (n), .kind = LOG_FIELD_STR, .text = str_of(v) })
#define LOG_INT(n, v) ((struct log_field){ .name = (n), .kind = LOG_FIELD_INT, .number = (int64_t)(v) })
#define LOG_DOUBLE(n, v) ((struct log_field){ .name = (n), .kind = LOG_FIELD_DOUBLE, .real = (v) })
#define LOG_BOOL(n, v) ((struct log_field){ .name = (n), .kind = LOG_FIELD_BOOL, .number = (v) })

void log_setup(enum log_level least, enum log_format format, int fd);  /* before threads start; default: info, logfmt, 2 */
bool log_wants(enum log_level level);
uint64_t log_lost(void);                                               /* lines so far */
void log_fields(enum log_level level, const char *message, const struct log_field *fields, size_t count);
#define log_line(level, message, ...) \
    log_fields((level), (message), (struct log_field[]){ {0}, __VA_ARGS__ } + 1, \
               sizeof((struct log_field[]){ {0}, __VA_ARGS__ }) / sizeof(struct log_field) - 1)

#endif
