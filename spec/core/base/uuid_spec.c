/* uuid_spec.c - UUIDs as text, and the random bytes below them. */
#include "support/spec.h"

#include "base/clock.h"
#include "base/random.h"
#include "base/uuid.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void only_the_36_character_form_is_one(void **state)
{
    (void)state;
    assert_true(uuid_is(STR("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")));
    assert_true(uuid_is(STR("F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6")));
    assert_true(uuid_is(STR("00000000-0000-0000-0000-000000000000")));
    assert_false(uuid_is(STR("f81d4fae7dec11d0a76500a0c91e6bf6")));
    assert_false(uuid_is(STR("f81d4fae-7dec-11d0-a765-00a0c91e6bf")));
    assert_false(uuid_is(STR("f81d4fae-7dec-11d0-a765-00a0c91e6bf66")));
    assert_false(uuid_is(STR("f81d4fae-7dec-11d0-a765-00a0c91e6bfg")));
    assert_false(uuid_is(STR("f81d4fae-7dec-11d0-a76-500a0c91e6bf6")));
    assert_false(uuid_is(STR("{81d4fae-7dec-11d0-a765-00a0c91e6bf}")));
    assert_false(uuid_is(STR_NONE));
}

static void version_4_is_random_but_for_six_bits(void **state)
{
    (void)state;
    char a[UUID_LEN + 1], b[UUID_LEN + 1];
    for (unsigned i = 0; i < 1000; i++) {
        uuid_v4(a);
        uuid_v4(b);
        assert_true(uuid_is(str_of(a)));
        assert_int_equal(a[14], '4');
        assert_non_null(strchr("89ab", a[19]));
        assert_string_not_equal(a, b);
    }
}

static void version_7_starts_with_the_time(void **state)
{
    (void)state;
    char text[UUID_LEN + 1];
    clock_fake(1, 1645557742000000); /* RFC 9562 appendix A.6, 2022-02-22 19:22:22 */
    uuid_v7(text);
    clock_fake(0, 0);
    assert_true(uuid_is(str_of(text)));
    assert_memory_equal(text, "017f22e2-79b0-7000-", 19);
    assert_non_null(strchr("89ab", text[19]));
}

static void version_7_grows_even_when_the_clock_does_not(void **state)
{
    (void)state;
    char before[UUID_LEN + 1], after[UUID_LEN + 1];
    uuid_v7(before);
    for (unsigned i = 0; i < 20000; i++) {
        if (i == 5000)
            clock_fake(1, clock_wall_us());
        if (i == 10000)
            clock_fake(1, 1000); /* set back to 1970 */
        if (i == 15000)
            clock_fake(0, 0);
        uuid_v7(after);
        assert_true(strcmp(before, after) < 0);
        memcpy(before, after, sizeof before);
    }
}

static void *take_random(void *arg)
{
    *(uint64_t *)arg = random_u64();
    return NULL;
}

static void threads_and_children_get_random_bytes_of_their_own(void **state)
{
    (void)state;
    uint64_t here = random_u64(), there, child;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, take_random, &there), 0);
    pthread_join(thread, NULL);
    assert_true(here != there);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        child = random_u64();
        _exit(write(ends[1], &child, sizeof child) != sizeof child);
    }
    here = random_u64();
    assert_int_equal(read(ends[0], &child, sizeof child), sizeof child);
    assert_true(here != child);
    waitpid(pid, NULL, 0);
    close(ends[0]);
    close(ends[1]);
}

static void any_number_of_random_bytes_can_be_had(void **state)
{
    (void)state;
    static unsigned char bytes[5000];
    for (size_t len = 0; len < sizeof bytes; len = len * 2 + 1) {
        memset(bytes, 0, sizeof bytes);
        random_bytes(bytes, len);
        size_t zeros = 0;
        for (size_t i = 0; i < len; i++)
            zeros += bytes[i] == 0;
        assert_true(zeros <= len / 20 + 3);
        assert_int_equal(bytes[len], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_36_character_form_is_one),
        cmocka_unit_test(version_4_is_random_but_for_six_bits),
        cmocka_unit_test(version_7_starts_with_the_time),
        cmocka_unit_test(version_7_grows_even_when_the_clock_does_not),
        cmocka_unit_test(threads_and_children_get_random_bytes_of_their_own),
        cmocka_unit_test(any_number_of_random_bytes_can_be_had),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
