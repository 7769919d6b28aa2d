/* trust_spec.c - who asks, through which proxies; and what a client may not make us believe. */
#include "support/spec.h"

#include "http/trust.h"

#include <stdio.h>

static const char *asked_by(const struct http_trust *trust, const char *peer, const char *first, const char *second)
{
    static char out[64];
    static struct http_head head;
    head.field_count = 0;
    head.fields[head.field_count++] = (struct http_field){ STR("Host"), STR("h") };
    if (first)
        head.fields[head.field_count++] = (struct http_field){ STR("X-Forwarded-For"), str_of(first) };
    if (second)
        head.fields[head.field_count++] = (struct http_field){ STR("x-forwarded-for"), str_of(second) };
    snprintf(out, sizeof out, "%s", peer);
    http_trust_find(trust, &head, out, sizeof out);
    return out;
}

static struct http_trust trust_of(const char *const *texts, size_t count)
{
    struct http_trust trust = { .count = 0 };
    for (size_t i = 0; i < count; i++)
        assert_int_equal(http_trust_add(&trust, str_of(texts[i])), FAIL_OK);
    return trust;
}

static void the_last_address_that_is_not_trusted_asks(void **state)
{
    (void)state;
    static const char *const texts[] = { "10.0.0.0/8", "192.168.1.128/25", "2001:db8::/33", "::1" };
    struct http_trust trust = trust_of(texts, COUNT_OF(texts));
    assert_string_equal(asked_by(&trust, "10.0.0.7", "203.0.113.9", NULL), "203.0.113.9");
    assert_string_equal(asked_by(&trust, "10.0.0.7", "1.1.1.1, 203.0.113.9 ,\t10.1.2.3", NULL), "203.0.113.9");
    assert_string_equal(asked_by(&trust, "10.0.0.7", "1.1.1.1,203.0.113.9", "10.1.2.3"), "203.0.113.9");
    assert_string_equal(asked_by(&trust, "::1", "2001:DB8:8000::1, 2001:db8::5", NULL), "2001:db8:8000::1");
    assert_string_equal(asked_by(&trust, "192.168.1.200", "192.168.1.127", NULL), "192.168.1.127");
    assert_string_equal(asked_by(&trust, "10.0.0.7", "::ffff:9.9.9.9", NULL), "9.9.9.9");
    assert_string_equal(asked_by(&trust, "10.0.0.7", "10.0.0.1, 10.0.0.2", NULL), "10.0.0.1"); /* all are ours */
    assert_string_equal(asked_by(&trust, "10.0.0.7", NULL, NULL), "10.0.0.7");
}

static void a_client_cannot_make_itself_another(void **state)
{
    (void)state;
    static const char *const texts[] = { "10.0.0.0/8" };
    struct http_trust trust = trust_of(texts, COUNT_OF(texts)), none = { .count = 0 };
    assert_string_equal(asked_by(&none, "10.0.0.7", "1.1.1.1", NULL), "10.0.0.7");
    assert_string_equal(asked_by(&trust, "11.0.0.7", "1.1.1.1", NULL), "11.0.0.7");
    assert_string_equal(asked_by(&trust, "unix", "1.1.1.1", NULL), "unix");
    assert_string_equal(asked_by(&trust, "", "1.1.1.1", NULL), "");
    static const char *const odd[] = { "",       "1.1.1.1:80",   "[::1]",     "unknown", "1.1.1.1;", "010.1.1.1",
                                       "1.1.1 ", "1.1.1.1, x y", "1.1.1.1, ", "::g",     "_hidden" };
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        assert_string_equal(asked_by(&trust, "10.0.0.7", odd[i], NULL), "10.0.0.7");
        assert_string_equal(asked_by(&trust, "10.0.0.7", odd[i], "10.2.2.2"), "10.2.2.2"); /* who let it through */
    }
}

static void who_comes_through_the_socket_may_be_trusted(void **state)
{
    (void)state;
    static const char *const texts[] = { "unix" };
    struct http_trust trust = trust_of(texts, COUNT_OF(texts));
    assert_string_equal(asked_by(&trust, "unix", "2.2.2.2, 1.1.1.1", NULL), "1.1.1.1");
    assert_string_equal(asked_by(&trust, "127.0.0.1", "1.1.1.1", NULL), "127.0.0.1");
}

static void only_addresses_and_nets_are_taken(void **state)
{
    (void)state;
    static const char *const odd[] = {
        "",        "10.0.0",         "10.0.0.0/33", "10.0.0.0/",   "10.1.0.0/8", "::/129", "10.0.0.0/-0",
        "a.b.c.d", "2001:db8::1/32", "/8",          "10.0.0.0/8/8"
    };
    struct http_trust trust = { .count = 0 };
    for (size_t i = 0; i < COUNT_OF(odd); i++)
        if (http_trust_add(&trust, str_of(odd[i])) != FAIL_INVALID)
            fail_msg("%s was taken", odd[i]);
    assert_int_equal(trust.count, 0);
    for (unsigned i = 0; i < HTTP_TRUST_MAX; i++)
        assert_int_equal(http_trust_add(&trust, STR("0.0.0.0/0")), FAIL_OK);
    assert_int_equal(http_trust_add(&trust, STR("::1")), FAIL_FULL);
    assert_string_equal(asked_by(&trust, "10.0.0.7", "1.1.1.1", NULL), "1.1.1.1");
    assert_string_equal(asked_by(&trust, "::1", "1.1.1.1", NULL), "::1"); /* all of IPv4 is not all of IPv6 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_address_that_is_not_trusted_asks),
        cmocka_unit_test(a_client_cannot_make_itself_another),
        cmocka_unit_test(who_comes_through_the_socket_may_be_trusted),
        cmocka_unit_test(only_addresses_and_nets_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
