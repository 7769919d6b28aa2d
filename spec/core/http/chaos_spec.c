/* chaos_spec.c - clients that send in random pieces, pipeline, read late, half-close and vanish, while the server replies now,
 * later, in pieces and large. Whatever arrives is right and in order, and at the end nothing is left. */
#include "core/http/rig.h"

#include "loop/timer.h"

#include <stdatomic.h>
#include <time.h>

enum { THREADS = 6, MS = 1500, KINDS = 5, BIG = 300000 };

static struct rig rig;
static _Atomic unsigned answers, vanished, owed;

/* --- the server: /KIND/NUMBER is answered with the number, in the way of its kind --- */

struct job {
    struct timer timer;
    struct http_request *request;
    struct http_streaming *streaming;
    struct loop *loop;
    unsigned left;
    char text[100];
};

static void on_release(void *owner)
{
    owed--;
    mem_free(owner);
}

static void reply_text(struct http_request *request, const char *text)
{
    struct http_reply reply = { .status = 200, .body = str_of(text) };
    http_reply_send(request, &reply);
}

static void reply_big(struct http_request *request, const char *text)
{
    char *body = mem_zero(MEM_HTTP, BIG);
    strcpy(body, text);
    owed++;
    struct http_reply reply = { .status = 200, .body = str_make(body, BIG), .release = on_release, .owner = body };
    http_reply_send(request, &reply);
}

static void end(struct job *job, bool is_whole)
{
    timer_stop(&job->timer);
    http_reply_end(job->streaming, is_whole);
    owed--;
    mem_free(job);
}

static void go_on(void *arg)
{
    struct job *job = arg;
    while (job->left) {
        char piece[3000] = { 0 };
        if (job->left-- == 3)
            snprintf(piece, sizeof piece, "%s", job->text);
        enum fail fail = http_reply_piece(job->streaming, str_make(piece, sizeof piece));
        if (fail == FAIL_FULL)
            return;
        if (fail) {
            end(job, false);
            return;
        }
        if (job->left == 1) {
            timer_start(job->loop, &job->timer, 1, go_on, job);
            return;
        }
    }
    end(job, true);
}

static void on_room(void *arg, enum fail fail)
{
    if (fail)
        end(arg, false);
    else
        go_on(arg);
}

static void on_late(void *arg)
{
    struct job *job = arg;
    reply_text(job->request, job->text);
    owed--;
    mem_free(job);
}

static void on_request(void *arg, struct http_request *request)
{
    (void)arg;
    char text[100];
    snprintf(text, sizeof text, "%.*s", (int)request->head.path.len - 3, request->head.path.data + 3);
    if (request->body.len && !str_is(request->body, str_of(text))) {
        reply_text(request, "the body is not the path");
        return;
    }
    char kind = request->head.path.data[1];
    if (kind == 'n') {
        reply_text(request, text);
        return;
    }
    if (kind == 'b') {
        reply_big(request, text);
        return;
    }
    struct job *job = mem_zero(MEM_HTTP, sizeof *job);
    owed++;
    job->request = request;
    job->loop = http_request_loop(request);
    strcpy(job->text, text);
    struct http_reply head = { .status = 200 };
    if (kind == 's' && !http_reply_begin(request, &head, on_room, job, &job->streaming)) {
        job->left = 3;
        go_on(job);
    } else {
        timer_start(job->loop, &job->timer, kind == 'l' ? 1 : 3, on_late, job);
    }
}

/* --- the clients --- */

struct player {
    pthread_t thread;
    unsigned seed, count;
    const char *wrong;
};

static unsigned dice(struct player *player, unsigned sides) { return (unsigned)rand_r(&player->seed) % sides; }

static size_t write_request(struct player *player, char *out, size_t room, unsigned number)
{
    char kind = "nlsbm"[dice(player, KINDS)];
    switch (dice(player, 3)) {
    case 0: return (size_t)snprintf(out, room, "GET /%c/%u HTTP/1.1\r\nHost: a\r\n\r\n", kind, number);
    case 1: {
        char body[20];
        snprintf(body, sizeof body, "%u", number);
        return (size_t)snprintf(out, room, "POST /%c/%u HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n%s", kind,
                                number, strlen(body), body);
    }
    default: {
        char body[20];
        snprintf(body, sizeof body, "%u", number);
        return (size_t)snprintf(out, room,
                                "PUT /%c/%u HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\r\n%zx;x=y\r\n%s\r\n"
                                "0\r\nX-T: 1\r\n\r\n",
                                kind, number, strlen(body), body);
    }
    }
}

static void send_in_pieces(struct player *player, struct client *client, const char *text, size_t len)
{
    while (len) {
        size_t piece = 1 + dice(player, (unsigned)len);
        if (!client_send(client, text, piece))
            return;
        text += piece;
        len -= piece;
        if (dice(player, 3) == 0)
            usleep(dice(player, 500));
    }
}

static void check(struct player *player, struct client *client, unsigned first, unsigned count)
{
    for (unsigned number = first; number < first + count; number++) {
        struct answer answer = client_read(client, false);
        if (answer.status != 200 || !answer.is_whole || (unsigned)atoi(answer.body) != number)
            player->wrong = answer.status == 200 ? "an answer is out of order or cut" : "an answer is missing";
        free(answer.body);
        answers++;
    }
}

static void play_once(struct player *player)
{
    struct client client;
    client_open_small(&client, rig.port, dice(player, 4) == 0 ? 32768 : 0);
    for (unsigned round = dice(player, 4) + 1; round > 0 && !player->wrong; round--) {
        char text[4096];
        size_t len = 0;
        unsigned count = 1 + dice(player, 8), first = player->count + 1;
        for (unsigned i = 0; i < count; i++)
            len += write_request(player, text + len, sizeof text - len, ++player->count);
        bool vanishes = dice(player, 5) == 0;
        send_in_pieces(player, &client, text, vanishes ? dice(player, (unsigned)len) : len);
        if (vanishes) {
            vanished++;
            usleep(dice(player, 3000));
            if (dice(player, 2))
                client_reset(&client);
            else
                client_close(&client);
            return;
        }
        check(player, &client, first, count);
    }
    client_close(&client);
}

static void *play(void *arg)
{
    struct player *player = arg;
    struct timespec begun;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    while (!player->wrong && ms_since(&begun) < MS)
        play_once(player);
    return NULL;
}

static void whatever_clients_do_answers_are_right_and_nothing_is_left(void **state)
{
    (void)state;
    static struct player players[THREADS];
    unsigned seed = (unsigned)time(NULL);
    print_message("seed %u\n", seed);
    rig_init(&rig, on_request);
    rig_open(&rig);
    for (unsigned i = 0; i < THREADS; i++) {
        players[i].seed = seed * THREADS + i;
        assert_int_equal(pthread_create(&players[i].thread, NULL, play, &players[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(players[i].thread, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        if (players[i].wrong)
            fail_msg("%s", players[i].wrong);
    usleep(50000);
    struct http_stats stats = rig_stats(&rig);
    print_message("%u answers, %u clients vanished\n", (unsigned)answers, (unsigned)vanished);
    assert_int_equal(stats.open, 0);
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(stats.bad, 0);
    assert_int_equal(owed, 0);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_clients_do_answers_are_right_and_nothing_is_left),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
