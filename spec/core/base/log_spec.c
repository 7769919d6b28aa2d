/* log_spec.c - lines for the operator, read back from a pipe. */
#include "support/spec.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#define THREADS 4
#define LINES 500

static int ends[2];
static char got[4 << 20];

static int open_pipe(void **state)
{
    (void)state;
    clock_fake(1, 1795442542123456);
    return pipe(ends);
}

static int close_pipe(void **state)
{
    (void)state;
    clock_fake(0, 0);
    log_setup(LOG_INFO, LOG_LOGFMT, 2);
    close(ends[0]);
    close(ends[1]);
    return 0;
}

/* What has arrived in the pipe so far, as a C string. */
static char *read_all(void)
{
    size_t len = 0;
    struct pollfd fd = { .fd = ends[0], .events = POLLIN };
    while (poll(&fd, 1, 0) == 1 && fd.revents & POLLIN) {
        ssize_t n = read(ends[0], got + len, sizeof got - 1 - len);
        assert_true(n > 0);
        len += (size_t)n;
    }
    got[len] = '\0';
    return got;
}

static void a_line_has_time_level_message_and_fields(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_LOGFMT, ends[1]);
    log_line(LOG_WARN, "redis unreachable", LOG_TEXT("host", "127.0.0.1"), LOG_INT("retry_ms", 250),
             LOG_DOUBLE("load", 0.25), LOG_BOOL("is_new", true), LOG_STR("none", STR_NONE));
    log_line(LOG_ERROR, "stop");
    assert_string_equal(read_all(), "time=2026-11-23T14:02:22.123Z level=warn msg=\"redis unreachable\" host=127.0.0.1 "
                                    "retry_ms=250 load=0.25 is_new=true none=\"\"\n"
                                    "time=2026-11-23T14:02:22.123Z level=error msg=stop\n");
}

static void json_lines_hold_the_same(void **state)
{
    (void)state;
    log_setup(LOG_DEBUG, LOG_JSON, ends[1]);
    log_line(LOG_DEBUG, "a \"b\"", LOG_INT("n", INT64_MIN), LOG_DOUBLE("nan", NAN), LOG_BOOL("no", false),
             LOG_TEXT("path", "C:\\x\n"));
    assert_string_equal(read_all(),
                        "{\"time\":\"2026-11-23T14:02:22.123Z\",\"level\":\"debug\",\"msg\":\"a \\\"b\\\"\","
                        "\"n\":-9223372036854775808,\"nan\":\"nan\",\"no\":false,\"path\":\"C:\\\\x\\n\"}\n");
}

static void levels_below_the_least_are_not_written(void **state)
{
    (void)state;
    log_setup(LOG_WARN, LOG_LOGFMT, ends[1]);
    assert_false(log_wants(LOG_INFO));
    assert_true(log_wants(LOG_ERROR));
    log_line(LOG_INFO, "nothing");
    assert_string_equal(read_all(), "");
}

static void a_value_cannot_forge_a_line_or_a_field(void **state)
{
    (void)state;
    static const struct {
        const char *value, *written;
    } cases[] = {
        { "a\ntime=0 level=error msg=forged", "\"a\\ntime=0 level=error msg=forged\"" },
        { "x\" level=error", "\"x\\\" level=error\"" },
        { "a=b", "\"a=b\"" },
        { "\\", "\"\\\\\"" },
        { "\x1b[2J\x7f", "\"\\u001b[2J\\u007f\"" },
        { "\xC2\x85\xC2\x9B\xC2\xA0", "\"\\u0085\\u009b\xC2\xA0\"" },
        { "\xE2\x80\xA8\xE2\x80\xA9\xE2\x80\xAA", "\"\\u2028\\u2029\xE2\x80\xAA\"" },
        { "\xFF\xC3(", "\"\xEF\xBF\xBD\xEF\xBF\xBD(\"" },
        { "gr\xC3\xBC\xC3\x9F \xF0\x9F\x95\xAF", "\"gr\xC3\xBC\xC3\x9F \xF0\x9F\x95\xAF\"" },
        { "\r\t\b\f", "\"\\r\\t\\b\\f\"" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        log_setup(LOG_INFO, LOG_LOGFMT, ends[1]);
        log_line(LOG_INFO, "m", LOG_TEXT("v", cases[i].value));
        char expected[200];
        snprintf(expected, sizeof expected, "time=2026-11-23T14:02:22.123Z level=info msg=m v=%s\n", cases[i].written);
        assert_string_equal(read_all(), expected);
        log_setup(LOG_INFO, LOG_JSON, ends[1]);
        log_line(LOG_INFO, "m", LOG_TEXT("v", cases[i].value));
        assert_non_null(strstr(read_all(), cases[i].written));
        assert_ptr_equal(strchr(got, '\n'), got + strlen(got) - 1);
    }
}

static void a_name_cannot_either(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_LOGFMT, ends[1]);
    log_line(LOG_INFO, "m", LOG_TEXT("a\nlevel=error b\"", "v"));
    assert_string_equal(read_all(), "time=2026-11-23T14:02:22.123Z level=info msg=m a_level_error_b_=v\n");
    log_setup(LOG_INFO, LOG_JSON, ends[1]);
    log_line(LOG_INFO, "m", LOG_TEXT("a\":1,\"b", "v"));
    assert_non_null(strstr(read_all(), "\"a__1__b\":\"v\""));
}

static void lines_too_long_are_cut_and_say_so(void **state)
{
    (void)state;
    static char text[20000];
    for (size_t len = 7900; len < 8300; len++) {
        memset(text, len % 3 ? 'x' : '\n', len);
        text[len] = '\0';
        log_setup(LOG_INFO, len % 2 ? LOG_JSON : LOG_LOGFMT, ends[1]);
        log_line(LOG_INFO, "m", LOG_TEXT("v", text), LOG_INT("n", 1), LOG_TEXT("w", "y"));
        char *line = read_all();
        size_t end = strlen(line);
        assert_true(end <= 8192 + 64);
        assert_ptr_equal(strchr(line, '\n'), line + end - 1);
        bool is_cut = strstr(line, "truncated") != NULL;
        assert_int_equal(is_cut, strstr(line, len % 2 ? "\"w\":\"y\"" : "w=y") == NULL);
        const char *tail = len % 2 ? (is_cut ? "\"truncated\":true}\n" : "\"w\":\"y\"}\n")
                                   : (is_cut ? " truncated=true\n" : " w=y\n");
        assert_string_equal(line + end - strlen(tail), tail);
    }
}

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES; i++)
        log_line(LOG_INFO, "thread", LOG_TEXT("name", arg), LOG_INT("i", i));
    return NULL;
}

static void *drain(void *arg)
{
    size_t len = 0;
    for (ssize_t n; (n = read(ends[0], got + len, sizeof got - len)) > 0;)
        len += (size_t)n;
    *(size_t *)arg = len;
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_LOGFMT, ends[1]);
    static char names[THREADS][300];
    pthread_t threads[THREADS], reader;
    size_t len;
    assert_int_equal(pthread_create(&reader, NULL, drain, &len), 0);
    for (int i = 0; i < THREADS; i++) {
        memset(names[i], 'a' + i, sizeof names[i] - 1);
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    log_setup(LOG_INFO, LOG_LOGFMT, 2); /* which had opened the pipe once more */
    close(ends[1]);
    pthread_join(reader, NULL);
    int next[THREADS] = { 0 };
    struct str rest = str_make(got, len);
    while (rest.len) {
        struct str line = str_split(&rest, '\n');
        char name;
        int i;
        char copy[600];
        assert_true(line.len < sizeof copy);
        memcpy(copy, line.data, line.len);
        copy[line.len] = '\0';
        assert_int_equal(sscanf(copy, "time=2026-11-23T14:02:22.123Z level=info msg=thread name=%c%*s i=%d", &name, &i),
                         2);
        assert_int_equal(next[name - 'a']++, i);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(next[i], LINES);
    ends[1] = -1;
}

static void a_reader_that_stalls_loses_lines_but_blocks_nobody(void **state)
{
    (void)state;
    uint64_t lost_before = log_lost();
    log_setup(LOG_INFO, LOG_LOGFMT, ends[1]);
    static char text[3000];
    memset(text, 'x', sizeof text - 1);
    alarm(60); /* which ends this program where it waits */
    for (unsigned i = 0; i < 1000; i++) {
        errno = 1234;
        log_line(LOG_INFO, "m", LOG_TEXT("v", text));
        assert_int_equal(errno, 1234);
    }
    alarm(0);
    assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
    unsigned got_through = 0;
    for (const char *at = read_all(); (at = strstr(at, "msg=m v=")); at++)
        got_through++;
    uint64_t lost = log_lost() - lost_before;
    assert_int_equal(got_through + lost, 1000);
    assert_true(got_through > 10 && lost > 10);
    char expected[60];
    snprintf(expected, sizeof expected, "msg=again lost=%llu\n", (unsigned long long)lost);
    log_line(LOG_INFO, "again");
    assert_non_null(strstr(read_all(), expected));
    log_line(LOG_INFO, "more");
    assert_string_equal(read_all(), "time=2026-11-23T14:02:22.123Z level=info msg=more\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_has_time_level_message_and_fields, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(json_lines_hold_the_same, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(levels_below_the_least_are_not_written, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(a_value_cannot_forge_a_line_or_a_field, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(a_name_cannot_either, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(lines_too_long_are_cut_and_say_so, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(lines_of_threads_do_not_mix, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(a_reader_that_stalls_loses_lines_but_blocks_nobody, open_pipe, close_pipe),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
