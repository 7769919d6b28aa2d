/* settings_spec.c - what a Redis URL may say, and how it is told what it may not. */
#include "redis/redis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct redis_settings settings;
static char why[200];

static void assert_reads(const char *url, const char *host, int port, const char *user, const char *password, int db)
{
    assert_int_equal(redis_settings_read(str_of(url), &settings, why, sizeof why), FAIL_OK);
    assert_string_equal(settings.host, host);
    assert_int_equal(settings.port, port);
    assert_string_equal(settings.user, user);
    assert_string_equal(settings.password, password);
    assert_int_equal(settings.database, db);
    assert_string_equal(why, "");
}

static void urls_of_every_form_are_read(void **state)
{
    (void)state;
    assert_reads("redis://localhost", "localhost", 6379, "", "", 0);
    assert_reads("redis://localhost/", "localhost", 6379, "", "", 0);
    assert_reads("redis://10.0.0.1:7000/3", "10.0.0.1", 7000, "", "", 3);
    assert_reads("redis://:secret@h", "h", 6379, "", "secret", 0);
    assert_reads("redis://app:se%3Acr%40et@h:1/0", "h", 1, "app", "se:cr@et", 0);
    assert_reads("redis://app:a@b@h", "h", 6379, "app", "a@b", 0);
    assert_reads("redis://[::1]:6380/1", "::1", 6380, "", "", 1);
    assert_reads("redis://[fe80::1]", "fe80::1", 6379, "", "", 0);
    assert_reads("unix:///run/redis.sock", "/run/redis.sock", 0, "", "", 0);
    assert_reads("unix:///run/redis.sock?db=4", "/run/redis.sock", 0, "", "", 4);
}

static void what_the_url_does_not_say_has_defaults(void **state)
{
    (void)state;
    assert_reads("redis://h", "h", 6379, "", "", 0);
    assert_int_equal(settings.connect_ms, 250);
    assert_int_equal(settings.command_ms, 20);
    assert_int_equal(settings.pending_max, 10000);
    assert_int_equal(settings.reply_bytes_max, 16 << 20);
}

static void assert_refused(const char *url, const char *part)
{
    assert_int_equal(redis_settings_read(str_of(url), &settings, why, sizeof why), FAIL_INVALID);
    if (!strstr(why, part))
        fail_msg("%s: %s", url, why);
    assert_null(strstr(why, "hunter2"));
}

static void what_is_wrong_is_said_without_the_password(void **state)
{
    (void)state;
    assert_refused("rediss://h", "TLS");
    assert_refused("http://h", "redis://");
    assert_refused("", "redis://");
    assert_refused("redis://", "host is missing");
    assert_refused("redis://:hunter2@", "host is missing");
    assert_refused("redis://h:0", "port");
    assert_refused("redis://h:65536", "port");
    assert_refused("redis://h:", "port");
    assert_refused("redis://h:x", "port");
    assert_refused("redis://h/x", "database");
    assert_refused("redis://h/-1", "database");
    assert_refused("redis://h?db=1", "options");
    assert_refused("redis://[::1", "]");
    assert_refused("redis://[::1]x", ":port");
    assert_refused("redis://app@h", "password");
    assert_refused("redis://app:hunter2%4@h", "%-escape");
    assert_refused("redis://app:hunter2%00@h", "%-escape");
    assert_refused("unix://run/redis.sock", "start with '/'");
    assert_refused("unix:///run/redis.sock?x=1", "db=");
}

static void what_is_too_long_is_refused(void **state)
{
    (void)state;
    char url[4096], many[2000];
    memset(many, 'a', sizeof many);
    snprintf(url, sizeof url, "redis://%.300s", many);
    assert_refused(url, "too long");
    snprintf(url, sizeof url, "redis://:%.300s@h", many);
    assert_refused(url, "too long");
    snprintf(url, sizeof url, "redis://:%.1999s@h", many);
    assert_refused(url, "too long");
    snprintf(url, sizeof url, "unix:///%.107s", many);
    assert_refused(url, "too long: 107 bytes");
    snprintf(url, sizeof url, "unix:///%.106s", many);
    assert_int_equal(redis_settings_read(str_of(url), &settings, why, sizeof why), FAIL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_of_every_form_are_read),
        cmocka_unit_test(what_the_url_does_not_say_has_defaults),
        cmocka_unit_test(what_is_wrong_is_said_without_the_password),
        cmocka_unit_test(what_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
