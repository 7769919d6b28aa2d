/* fault_proxy.c - stands between wick and a server on loopback and does to the bytes what networks do.
 *
 *   fault_proxy SERVER_PORT        prints "port=N control=N": connect to port, say what shall go wrong on control
 *
 * Commands, one a line, each answered by one line that begins with "ok" or "error":
 *   set NAME=NUMBER ..             for all connections, those there are and those to come; 0 turns it off again:
 *       connect_delay_ms               a new connection reaches the server so much later
 *       delay_ms                       bytes arrive so much later, in both directions
 *       down_rate, up_rate             bytes a second from the server, to the server
 *       down_fragment, up_fragment     at most so many bytes in one piece
 *       down_hold, up_hold             1: nothing is passed on; what comes is acknowledged
 *       deaf                           1: no connection is accepted; the system's queue establishes them all the same
 *   refuse | listen                nobody listens on the port any more, or again
 *   rst | fin | dark               every connection there is ends so. dark: packets of the client are dropped, so it sees neither
 *                                  an answer nor an end, and not even its bytes acknowledged: half open
 *   on WHAT PLACE END              once, on the first connection where it happens:
 *       WHAT   TYPE[:NTH]              the NTH message of that type from the server, such as D (a row), C (a command ended), Z (ready)
 *              bytes:N                 N more bytes from the server
 *       PLACE  before | half           nothing of the message is passed on, or half of it
 *       END    rst | fin | dark | hold | fatal    fatal: FATAL 57P01 instead of it, and the end
 *   stat                           ok open=N accepted=N up=BYTES down=BYTES armed=0|1 darkens=0|1
 *                                  darkens=0: this user may drop no packets, and dark is refused
 *   quit
 *
 * DESIGN  One poll over all sockets. Each direction of a link is a queue of chunks with the time they are due; a chunk is sent in pieces as
 *         the rules allow. The wire (messages from the server) is followed as bytes are read, so a cut falls exactly where asked.
 *         OPENING -> OPEN [connected]   OPEN -> ENDING [a cut was met: what is before it is still sent]   any -> closed
 * HOLDS   It ends with the process that started it.
 */
#include "fault_proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { QUEUE_BYTES = 256 << 10, READ_BYTES = 64 << 10 };

struct rules rules;
struct link links[LINKS];
uint64_t turn_ns;
unsigned accepted;
unsigned long long up_bytes, down_bytes;
bool is_ending;
static int listener = -1, control_listener = -1;
static uint16_t port, server_port;

static uint64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

/* --- sockets -------------------------------------------------------------------------------------------------- */

static struct sockaddr_in loopback(uint16_t number)
{
    return (struct sockaddr_in){ .sin_family = AF_INET,
                                 .sin_port = htons(number),
                                 .sin_addr = { .s_addr = htonl(INADDR_LOOPBACK) } };
}

int listen_on(uint16_t *number)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = loopback(*number);
    socklen_t len = sizeof address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 128) ||
        getsockname(fd, (struct sockaddr *)&address, &len)) {
        perror("fault_proxy: cannot listen");
        exit(1);
    }
    *number = ntohs(address.sin_port);
    return fd;
}

static void close_with_reset(int fd)
{
    struct linger linger = { .l_onoff = 1 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
}

/* Every packet that comes in is dropped before TCP sees it. */
static bool drop_packets(int fd)
{
    struct sock_filter nothing[] = { { .code = BPF_RET | BPF_K, .k = 0 } };
    struct sock_fprog program = { .len = 1, .filter = nothing };
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}

bool can_darken(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool can = fd >= 0 && drop_packets(fd);
    close(fd);
    return can;
}

void stop_listening(void)
{
    if (listener >= 0)
        close(listener);
    listener = -1;
}

void listen_again(void)
{
    if (listener < 0)
        listener = listen_on(&port);
}

/* --- links ---------------------------------------------------------------------------------------------------- */

static void end_link(struct link *link, enum ending ending)
{
    if (ending == END_DARK)
        (void)drop_packets(link->client); /* which it may: nobody gets here otherwise */
    else if (ending == END_RST)
        close_with_reset(link->client);
    else
        close(link->client);
    if (link->server >= 0)
        close_with_reset(link->server);
    flow_empty(&link->up);
    flow_empty(&link->down);
    link->server = -1;
    link->is_dark = ending == END_DARK;
    if (!link->is_dark)
        link->client = -1;
}

void end_all(enum ending ending)
{
    for (int i = 0; i < LINKS; i++)
        if (is_used(&links[i]) && !links[i].is_dark)
            end_link(&links[i], ending);
}

/* What is before the cut has been sent. */
static void meet_end(struct link *link)
{
    if (link->ending != END_HOLD)
        end_link(link, link->ending == END_FATAL ? END_FIN : link->ending);
}

/* --- moving bytes --------------------------------------------------------------------------------------------- */

/* False: the sender is gone. */
static bool receive(struct link *link, bool is_down)
{
    static char data[READ_BYTES];
    ssize_t bytes = recv(is_down ? link->server : link->client, data, sizeof data, MSG_DONTWAIT);
    if (bytes < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (bytes <= 0)
        return false;
    *(is_down ? &down_bytes : &up_bytes) += (unsigned long long)bytes;
    if (is_down)
        wire_take_down(link, data, (size_t)bytes);
    else
        wire_take_up(link, data, (size_t)bytes);
    return true;
}

static size_t piece_of(const struct chunk *chunk, unsigned fragment, unsigned rate)
{
    size_t piece = chunk->len - chunk->at;
    if (fragment && piece > fragment)
        piece = fragment;
    if (rate && piece > rate / 100 + 1)
        piece = rate / 100 + 1;
    return piece;
}

/* When the flow can next be sent; UINT64_MAX: nothing is to be sent. */
static uint64_t due_ns(const struct flow *flow, bool is_held)
{
    if (!flow->first || is_held)
        return UINT64_MAX;
    return flow->first->due_ns > flow->next_ns ? flow->first->due_ns : flow->next_ns;
}

/* Sends what is due: one piece where pieces are small, so that they go one by one. False: the receiver is gone. */
static bool forward(struct flow *flow, int fd, unsigned fragment, unsigned rate, bool is_held)
{
    while (due_ns(flow, is_held) <= turn_ns) {
        struct chunk *chunk = flow->first;
        size_t piece = piece_of(chunk, fragment, rate);
        ssize_t bytes = send(fd, chunk->data + chunk->at, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (bytes < 0)
            return errno == EAGAIN || errno == EINTR;
        chunk->at += (size_t)bytes;
        flow->queued -= (size_t)bytes;
        if (rate)
            flow->next_ns = turn_ns + (uint64_t)bytes * 1000000000u / rate;
        if (chunk->at == chunk->len)
            flow_drop_first(flow);
        if (fragment || rate)
            return true;
    }
    return true;
}

static void connect_link(struct link *link)
{
    struct sockaddr_in address = loopback(server_port);
    int on = 1;
    link->server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link->server < 0 || connect(link->server, (struct sockaddr *)&address, sizeof address)) {
        end_link(link, END_RST); /* as if there were nobody behind us, which is true */
        return;
    }
    setsockopt(link->server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void accept_link(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), on = 1;
    struct link *link = links;
    while (link < links + LINKS && is_used(link))
        link++;
    if (fd < 0 || link == links + LINKS) {
        if (fd >= 0)
            close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    accepted++;
    *link = (struct link){ .client = fd, .server = -1 };
    link->connect_at_ns = now_ns() + rules.connect_delay_ms * UINT64_C(1000000);
}

/* A closed sender closes the other side, once what it had sent has been passed on. */
static void pass_end_on(struct link *link)
{
    bool is_down_over = link->down.is_over && !link->down.first && !rules.down_hold;
    bool is_up_over = link->up.is_over && !link->up.first && !rules.up_hold;
    if (is_used(link) && !link->is_dark && (is_down_over || is_up_over))
        end_link(link, END_FIN);
}

static void turn_link(struct link *link, short client_events, short server_events)
{
    static const short readable = POLLIN | POLLHUP | POLLERR;
    if (link->server < 0) {
        if (turn_ns >= link->connect_at_ns)
            connect_link(link);
        return;
    }
    if ((client_events & readable) && !receive(link, /* is_down= */ false))
        link->up.is_over = true;
    if ((server_events & readable) && !link->ending && !receive(link, /* is_down= */ true))
        link->down.is_over = true;
    if (!forward(&link->up, link->server, rules.up_fragment, rules.up_rate, rules.up_hold))
        link->down.is_over = true;
    if (!forward(&link->down, link->client, rules.down_fragment, rules.down_rate, rules.down_hold))
        link->up.is_over = true;
    if (link->ending && !link->down.first)
        meet_end(link);
    pass_end_on(link);
}

/* --- turning -------------------------------------------------------------------------------------------------- */

enum { POLLS = 2 + CONTROLS + 2 * LINKS, FIRST_LINK = 2 + CONTROLS };
static struct pollfd polls[POLLS];

static struct pollfd poll_for(int fd, bool reads, bool writes)
{
    bool is_wanted = fd >= 0 && (reads || writes);
    return (struct pollfd){ .fd = is_wanted ? fd : -1,
                            .events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0)) };
}

static uint64_t earlier(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Asks for what the link needs next; when it needs a turn by itself. */
static uint64_t prepare(const struct link *link, struct pollfd *client, struct pollfd *server)
{
    *client = *server = (struct pollfd){ .fd = -1 };
    if (!is_used(link) || link->is_dark)
        return UINT64_MAX;
    if (link->server < 0)
        return link->connect_at_ns;
    uint64_t up_ns = due_ns(&link->up, rules.up_hold), down_ns = due_ns(&link->down, rules.down_hold);
    *client = poll_for(link->client, !link->up.is_over && link->up.queued < QUEUE_BYTES, down_ns <= turn_ns);
    *server = poll_for(link->server, !link->down.is_over && !link->ending && link->down.queued < QUEUE_BYTES,
                       up_ns <= turn_ns);
    uint64_t next_ns = up_ns > turn_ns ? up_ns : UINT64_MAX;
    return earlier(next_ns, down_ns > turn_ns ? down_ns : UINT64_MAX);
}

static int ms_until(uint64_t next_ns)
{
    if (next_ns == UINT64_MAX)
        return 10000;
    uint64_t now = now_ns();
    return next_ns > now ? (int)((next_ns - now + 999999) / 1000000) : 0;
}

/* All links there are: the first so many of the table. */
static int count_links(void)
{
    int count = LINKS;
    while (count && !is_used(&links[count - 1]))
        count--;
    return count;
}

static void turn(void)
{
    uint64_t next_ns = UINT64_MAX;
    int count = count_links();
    turn_ns = now_ns();
    polls[0] = poll_for(rules.deaf ? -1 : listener, true, false);
    polls[1] = poll_for(control_listener, true, false);
    for (int i = 0; i < CONTROLS; i++)
        polls[2 + i] = poll_for(controls[i], true, false);
    for (int i = 0; i < count; i++)
        next_ns = earlier(next_ns, prepare(&links[i], &polls[FIRST_LINK + 2 * i], &polls[FIRST_LINK + 2 * i + 1]));
    if (poll(polls, (nfds_t)(FIRST_LINK + 2 * count), ms_until(next_ns)) < 0)
        return;
    turn_ns = now_ns();
    for (int i = 0; i < count; i++)
        if (is_used(&links[i]) && !links[i].is_dark)
            turn_link(&links[i], polls[FIRST_LINK + 2 * i].revents, polls[FIRST_LINK + 2 * i + 1].revents);
    for (int i = 0; i < CONTROLS; i++)
        if (controls[i] >= 0 && polls[2 + i].revents)
            control_read(i);
    if (polls[1].revents)
        control_accept(control_listener);
    if (polls[0].revents && listener >= 0)
        accept_link();
}

int main(int argc, char **argv)
{
    if (argc != 2 || atoi(argv[1]) <= 0) {
        fputs("usage: fault_proxy SERVER_PORT\n", stderr);
        return 2;
    }
    pid_t parent = getppid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        return 1;
    signal(SIGPIPE, SIG_IGN);
    server_port = (uint16_t)atoi(argv[1]);
    uint16_t control_port = 0;
    for (int i = 0; i < LINKS; i++)
        links[i].client = links[i].server = -1;
    listener = listen_on(&port);
    control_listener = listen_on(&control_port);
    printf("port=%u control=%u\n", port, control_port);
    fflush(stdout);
    while (!is_ending)
        turn();
    end_all(END_FIN);
    return 0;
}
