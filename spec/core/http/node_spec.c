/* node_spec.c - asks Node's HTTP server about each request of cases.h. Where it thinks otherwise than we do, the case says
 * why we do not (`differs`, by RFC section); a difference that is not on that list fails, as does one that is gone.
 * The list is about Node 20: other versions judge some requests otherwise, and are not asked. */
#include "core/http/rig.h"

#include "core/http/cases.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

static pid_t node;
static int port;

static int start_node(void **state)
{
    (void)state;
    int out[2];
    if (system("node -p 'process.version' 2>/dev/null | grep -q '^v20[.]'") != 0)
        return 0;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    node = fork();
    if (node == 0) {
        dup2(out[1], 1);
        execlp("node", "node", "spec/core/http/node_server.js", (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    char text[20] = "";
    ssize_t got = read(out[0], text, sizeof text - 1);
    close(out[0]);
    port = got > 0 ? atoi(text) : 0;
    return 0;
}

static int stop_node(void **state)
{
    (void)state;
    if (node > 0) {
        kill(node, SIGKILL);
        waitpid(node, NULL, 0);
    }
    return 0;
}

static bool node_takes(const struct http_case *c)
{
    struct client client;
    client_open(&client, port);
    client_send(&client, c->bytes.data, c->bytes.len);
    shutdown(client.fd, SHUT_WR);
    while (client_more(&client))
        ;
    bool is_taken = client.len > 12 && memcmp(client.data, "HTTP/1.1 200", 12) == 0;
    client_close(&client);
    return is_taken;
}

static unsigned compare(const struct http_case *cases, size_t count)
{
    unsigned surprises = 0;
    for (size_t i = 0; i < count; i++) {
        const struct http_case *c = &cases[i];
        bool agrees = node_takes(c) == (c->status == 0);
        if (agrees == (c->differs == NULL))
            continue;
        surprises++;
        print_error("%s: we %s it, Node %s\n", c->name, c->status ? "refuse" : "take",
                    agrees ? "does the same, though the list says otherwise" : "does not");
    }
    return surprises;
}

static void we_differ_from_node_only_where_we_say_why(void **state)
{
    (void)state;
    if (!port) {
        print_message("Node 20 is not here: skipped\n");
        skip();
    }
    assert_int_equal(compare(http_heads, COUNT_OF(http_heads)) + compare(http_bodies, COUNT_OF(http_bodies)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(we_differ_from_node_only_where_we_say_why),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, start_node, stop_node);
}
