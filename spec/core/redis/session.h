/* session.h - what the specs of core/redis share: one loop, one redis, and questions that wait for their answer. */
#ifndef SPEC_REDIS_SESSION_H
#define SPEC_REDIS_SESSION_H

#include "support/spec.h"

#include "base/clock.h"
#include "loop/loop.h"
#include "redis/redis.h"

static struct loop *loop;
static struct redis *redis;

static inline void session_open(const char *url)
{
    struct redis_settings settings;
    char why[200];
    if (redis_settings_read(str_of(url), &settings, why, sizeof why))
        fail_msg("%s", why);
    assert_int_equal(redis_open(loop, &settings, &redis), FAIL_OK);
}

static inline void session_open_port(int port)
{
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", port);
    session_open(url);
}

static inline void on_session_closed(void *arg) { *(bool *)arg = true; }

static inline void session_close(void)
{
    bool is_closed = false;
    if (!redis)
        return;
    redis_close(redis, on_session_closed, &is_closed);
    assert_false(is_closed);
    loop_turn(loop, 1000, &is_closed);
    assert_true(is_closed);
    redis = NULL;
}

/* Turns until it is ready; how long that took, or -1. */
static inline int64_t session_wait_ready(unsigned ms_max)
{
    uint64_t start_ms = clock_mono_ms();
    while (!redis_is_ready(redis)) {
        if (clock_mono_ms() - start_ms > slow_ms(ms_max))
            return -1;
        loop_turn(loop, 2, NULL);
    }
    return (int64_t)(clock_mono_ms() - start_ms);
}

struct question {
    struct redis_call call;
    unsigned told;
    bool is_done;
    enum redis_type type;
    int64_t integer;
    size_t count;
    char text[256];
};

static inline void on_answer(struct redis_call *call)
{
    struct question *question = call->arg;
    question->told++;
    question->is_done = true;
    if (call->fail)
        return;
    question->type = call->reply->type;
    question->integer = call->reply->integer;
    question->count = call->reply->count;
    size_t len = call->reply->text.len < sizeof question->text - 1 ? call->reply->text.len : sizeof question->text - 1;
    if (len > 0)
        memcpy(question->text, call->reply->text.data, len);
    question->text[len] = '\0';
}

static inline void start_words(struct question *question, unsigned timeout_ms, const struct str *words, unsigned count)
{
    *question = (struct question){ .call = { .words = words,
                                             .word_count = count,
                                             .timeout_ms = timeout_ms,
                                             .on_reply = on_answer,
                                             .arg = question } };
    redis_run(redis, &question->call);
    assert_int_equal(question->told, 0);
}

/* Words are separated by one space. */
static inline void start_question(struct question *question, unsigned timeout_ms, const char *command)
{
    struct str words[16], rest = str_of(command);
    unsigned count = 0;
    while (rest.len > 0)
        words[count++] = str_split(&rest, ' ');
    start_words(question, timeout_ms, words, count);
}

static inline enum fail wait_for(struct question *question)
{
    loop_turn(loop, 5000, &question->is_done);
    assert_int_equal(question->told, 1);
    return question->call.fail;
}

static inline enum fail ask(struct question *question, unsigned timeout_ms, const char *command)
{
    start_question(question, timeout_ms, command);
    return wait_for(question);
}

static inline void assert_answer(const char *command, enum redis_type type, const char *text)
{
    struct question question;
    assert_int_equal(ask(&question, 2000, command), FAIL_OK);
    assert_int_equal(question.type, type);
    assert_string_equal(question.text, text);
}

static inline int open_loop(void **state)
{
    (void)state;
    return loop_open("spec", &loop);
}

static inline int close_loop(void **state)
{
    (void)state;
    session_close();
    assert_int_equal(loop_close(loop, 500), 0);
    return mem_live() == 0 ? 0 : -1;
}

#endif
