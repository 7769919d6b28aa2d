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
 *   stat                           ok open=N accepted=N up=BYTES down=BYTES armed=0|1
 *   quit
 *
 * DESIGN  One poll over all sockets. Each direction of a link is a queue of chunks with the time they are due; a chunk is sent in pieces as
 *         the rules allow. The wire (messages from the server) is followed as bytes are read, so a cut falls exactly where asked.
 *         OPENING -> OPEN [connected]   OPEN -> ENDING [a cut was met: what is before it is still sent]   any -> closed
 * HOLDS   It ends with the process that started it.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    LINKS = 512,
    CONTROLS = 4,
    QUEUE_BYTES = 256 << 10,
    READ_BYTES = 64 << 10,
    CHUNK_BYTES = 4 << 10,
    LINE_BYTES = 512
};
enum ending { NO_END, END_RST, END_FIN, END_DARK, END_HOLD, END_FATAL };

struct chunk {
    struct chunk *next;
    uint64_t due_ns;
    size_t len, at, cap;
    char data[];
};

struct flow {
    struct chunk *first, *last;
    size_t queued;
    uint64_t next_ns; /* of the next piece, where there is a rate */
    bool is_over;     /* its sender has closed */
};

/* Where in the server's stream of messages we are. */
struct wire {
    bool skips_byte; /* the one-byte answer to a request for TLS */
    bool has_begun;  /* the client's first packet has been looked at */
    unsigned char head[5];
    unsigned head_len, head_passed;
    size_t left; /* of the message's body */
};

struct link {
    int client, server; /* -1: none */
    bool is_dark;
    enum ending ending; /* once `down` is sent */
    uint64_t connect_at_ns;
    struct flow up, down;
    struct wire wire;
    unsigned seen;    /* messages of the armed type */
    size_t bytes;     /* since armed */
    size_t half_left; /* > 0: so much of the message is still to be passed on before the end */
};

static struct {
    unsigned connect_delay_ms, delay_ms, down_rate, up_rate, down_fragment, up_fragment, down_hold, up_hold, deaf;
} rules;

static struct {
    bool is_armed, is_half;
    char type; /* 0: bytes */
    unsigned nth;
    size_t bytes;
    enum ending ending;
} trap;

static struct link links[LINKS];
static int listener = -1, control_listener = -1, controls[CONTROLS] = { -1, -1, -1, -1 };
static char control_lines[CONTROLS][LINE_BYTES];
static size_t control_lens[CONTROLS];
static uint16_t port, server_port;
static unsigned accepted;
static unsigned long long up_bytes, down_bytes;
static bool is_ending;
static uint64_t turn_ns; /* when the last wait ended */

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

static int listen_on(uint16_t *number)
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
static void drop_packets(int fd)
{
    struct sock_filter nothing[] = { { .code = BPF_RET | BPF_K, .k = 0 } };
    struct sock_fprog program = { .len = 1, .filter = nothing };
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program))
        perror("fault_proxy: cannot drop packets");
}

/* --- flows and links ------------------------------------------------------------------------------------------ */

static struct chunk *add_chunk(struct flow *flow, uint64_t due, size_t len)
{
    size_t cap = len > CHUNK_BYTES ? len : CHUNK_BYTES;
    struct chunk *chunk = malloc(sizeof *chunk + cap);
    if (!chunk)
        abort();
    *chunk = (struct chunk){ .due_ns = due, .cap = cap };
    if (flow->last)
        flow->last->next = chunk;
    else
        flow->first = chunk;
    flow->last = chunk;
    return chunk;
}

/* What came in one turn goes together. */
static void enqueue(struct flow *flow, const void *data, size_t len)
{
    if (!len)
        return;
    uint64_t due = turn_ns + rules.delay_ms * UINT64_C(1000000);
    struct chunk *chunk = flow->last;
    if (!chunk || chunk->due_ns != due || chunk->cap - chunk->len < len)
        chunk = add_chunk(flow, due, len);
    memcpy(chunk->data + chunk->len, data, len);
    chunk->len += len;
    flow->queued += len;
}

static void drop_first(struct flow *flow)
{
    struct chunk *chunk = flow->first;
    flow->first = chunk->next;
    if (!flow->first)
        flow->last = NULL;
    free(chunk);
}

static void empty(struct flow *flow)
{
    while (flow->first)
        drop_first(flow);
    flow->queued = 0;
}

static bool is_used(const struct link *link) { return link->client >= 0; }

static void end_link(struct link *link, enum ending ending)
{
    if (ending == END_DARK)
        drop_packets(link->client);
    else if (ending == END_RST)
        close_with_reset(link->client);
    else
        close(link->client);
    if (link->server >= 0)
        close_with_reset(link->server);
    empty(&link->up);
    empty(&link->down);
    link->server = -1;
    link->is_dark = ending == END_DARK;
    if (!link->is_dark)
        link->client = -1;
}

static void end_all(enum ending ending)
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

/* --- the wire ------------------------------------------------------------------------------------------------- */

static void enqueue_fatal(struct flow *flow)
{
    static const char fields[] = "SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0";
    uint32_t len = htonl((uint32_t)sizeof fields + 4);
    enqueue(flow, "E", 1);
    enqueue(flow, &len, 4);
    enqueue(flow, fields, sizeof fields);
}

static void spring(struct link *link)
{
    trap.is_armed = false;
    link->ending = trap.ending;
    if (trap.ending == END_FATAL)
        enqueue_fatal(&link->down);
}

static void pass_head(struct link *link)
{
    struct wire *wire = &link->wire;
    enqueue(&link->down, wire->head + wire->head_passed, wire->head_len - wire->head_passed);
    wire->head_passed = wire->head_len;
}

/* A message's head is complete; where a type is trapped it has been kept back until here. */
static void take_head(struct link *link)
{
    struct wire *wire = &link->wire;
    uint32_t body;
    memcpy(&body, wire->head + 1, 4);
    wire->left = ntohl(body) - 4;
    bool is_trapped = trap.is_armed && trap.type && wire->head[0] == (unsigned char)trap.type &&
                      ++link->seen == trap.nth;
    if (is_trapped && !(trap.is_half && wire->left > 1)) {
        spring(link);
        return;
    }
    pass_head(link);
    wire->head_len = wire->head_passed = 0;
    if (is_trapped)
        link->half_left = wire->left / 2;
}

static size_t take_body(struct link *link, const char *data, size_t len)
{
    size_t part = len < link->wire.left ? len : link->wire.left;
    if (link->half_left && part > link->half_left)
        part = link->half_left;
    enqueue(&link->down, data, part);
    link->wire.left -= part;
    if (link->half_left && !(link->half_left -= part))
        spring(link);
    return part;
}

/* Bytes from the server, which are passed on up to the cut. */
static void take_down(struct link *link, const char *data, size_t len)
{
    bool counts = trap.is_armed && !trap.type, is_last = counts && len >= trap.bytes - link->bytes;
    if (is_last)
        len = trap.bytes - link->bytes;
    link->bytes += counts ? len : 0;
    struct wire *wire = &link->wire;
    for (size_t part; len && !link->ending; data += part, len -= part) {
        part = 1;
        if (wire->skips_byte) {
            wire->skips_byte = false;
            enqueue(&link->down, data, 1);
        } else if (wire->left) {
            part = take_body(link, data, len);
        } else {
            wire->head[wire->head_len++] = (unsigned char)*data;
            if (wire->head_len == sizeof wire->head)
                take_head(link);
        }
    }
    if (link->ending)
        return;
    if (!trap.is_armed || !trap.type)
        pass_head(link);
    if (is_last)
        spring(link);
}

/* Bytes from the client. Its first packet may ask for TLS, which is answered by one byte that is no message. */
static void take_up(struct link *link, const char *data, size_t len)
{
    static const unsigned char ask_tls[8] = { 0, 0, 0, 8, 4, 210, 22, 47 };
    if (!link->wire.has_begun)
        link->wire.skips_byte = len == sizeof ask_tls && memcmp(data, ask_tls, len) == 0;
    link->wire.has_begun = true;
    enqueue(&link->up, data, len);
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
        take_down(link, data, (size_t)bytes);
    else
        take_up(link, data, (size_t)bytes);
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
            drop_first(flow);
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

/* --- control -------------------------------------------------------------------------------------------------- */

static bool set_rule(const char *name, unsigned number)
{
    static const struct {
        const char *name;
        unsigned *value;
    } all[] = { { "connect_delay_ms", &rules.connect_delay_ms },
                { "delay_ms", &rules.delay_ms },
                { "down_rate", &rules.down_rate },
                { "up_rate", &rules.up_rate },
                { "down_fragment", &rules.down_fragment },
                { "up_fragment", &rules.up_fragment },
                { "down_hold", &rules.down_hold },
                { "up_hold", &rules.up_hold },
                { "deaf", &rules.deaf } };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i].name, name) == 0) {
            *all[i].value = number;
            return true;
        }
    return false;
}

static const char *set_rules(char *words)
{
    for (char *save, *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        char *value = strchr(word, '='), *end = NULL;
        if (!value)
            return "error: NAME=NUMBER";
        *value++ = '\0';
        unsigned long number = strtoul(value, &end, 10);
        if (end == value || *end || !set_rule(word, (unsigned)number))
            return "error: no such rule, or no number";
    }
    return "ok";
}

static enum ending ending_of(const char *word)
{
    static const char *const words[] = { "", "rst", "fin", "dark", "hold", "fatal" };
    for (int i = END_RST; i <= END_FATAL; i++)
        if (strcmp(words[i], word) == 0)
            return (enum ending)i;
    return NO_END;
}

static const char *set_trap(const char *words)
{
    char what[24], place[8], word[8];
    if (sscanf(words, "%23s %7s %7s", what, place, word) != 3 || ending_of(word) == NO_END)
        return "error: on WHAT PLACE END";
    const char *colon = strchr(what, ':');
    bool counts_bytes = strncmp(what, "bytes:", 6) == 0;
    if (!counts_bytes && !isgraph((unsigned char)what[0]))
        return "error: no such WHAT";
    trap.type = counts_bytes ? '\0' : what[0];
    trap.nth = colon ? (unsigned)atoi(colon + 1) : 1;
    trap.bytes = trap.nth;
    trap.is_half = strcmp(place, "half") == 0;
    trap.ending = ending_of(word);
    trap.is_armed = true;
    for (int i = 0; i < LINKS; i++)
        links[i].seen = 0, links[i].bytes = 0;
    return "ok";
}

static const char *stat_line(void)
{
    static char line[160];
    int open = 0;
    for (int i = 0; i < LINKS; i++)
        open += is_used(&links[i]) && !links[i].is_dark;
    snprintf(line, sizeof line, "ok open=%d accepted=%u up=%llu down=%llu armed=%d", open, accepted, up_bytes,
             down_bytes, trap.is_armed);
    return line;
}

static void stop_listening(void)
{
    if (listener >= 0)
        close(listener);
    listener = -1;
}

static const char *obey(char *line)
{
    if (strncmp(line, "set ", 4) == 0)
        return set_rules(line + 4);
    if (strncmp(line, "on ", 3) == 0)
        return set_trap(line + 3);
    if (strcmp(line, "stat") == 0)
        return stat_line();
    if (strcmp(line, "refuse") == 0)
        stop_listening();
    else if (strcmp(line, "listen") == 0)
        listener = listener >= 0 ? listener : listen_on(&port);
    else if (strcmp(line, "quit") == 0)
        is_ending = true;
    else if (strcmp(line, "rst") == 0 || strcmp(line, "fin") == 0 || strcmp(line, "dark") == 0)
        end_all(ending_of(line));
    else
        return "error: no such command";
    return "ok";
}

static void close_control(int i)
{
    close(controls[i]);
    controls[i] = -1;
    control_lens[i] = 0;
}

static void read_control(int i)
{
    ssize_t bytes = read(controls[i], control_lines[i] + control_lens[i], LINE_BYTES - 1 - control_lens[i]);
    if (bytes <= 0) {
        close_control(i);
        return;
    }
    control_lens[i] += (size_t)bytes;
    for (char *end; controls[i] >= 0 && (end = memchr(control_lines[i], '\n', control_lens[i]));) {
        *end++ = '\0';
        dprintf(controls[i], "%s\n", obey(control_lines[i]));
        control_lens[i] -= (size_t)(end - control_lines[i]);
        memmove(control_lines[i], end, control_lens[i]);
    }
}

static void accept_control(void)
{
    int fd = accept4(control_listener, NULL, NULL, SOCK_CLOEXEC), at = 0;
    while (at < CONTROLS - 1 && controls[at] >= 0)
        at++;
    if (controls[at] >= 0)
        close_control(at);
    controls[at] = fd;
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
            read_control(i);
    if (polls[1].revents)
        accept_control();
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
