/* connection.c - opens a connection without ever waiting in libpq, then carries bytes for query.c.
 *
 * DESIGN  RESOLVING -> CONNECTING [on_resolved]  CONNECTING -> OPEN [PQconnectPoll says OK, and the first question is answered]
 *         any -> LOST [refused, deadline, EOF, reset]; a LOST one only waits to be closed by its owner.
 *         While connecting, libpq may close its socket and open another under the same number (several addresses, TLS refused), so
 *         the watch is closed before each PQconnectPoll and made anew after. Once open the socket stays the same.
 *         READ is armed as long as the connection is open: an idle one that the server ends is noticed at once. WRITE is armed only
 *         while libpq holds back bytes.
 *         A failure to write is not acted upon: the server's last words are still to be read, and reading finds the end.
 *         But when libpq finds the end while it writes, it closes the socket at once: then the watch goes, and `broken` is posted.
 * HOLDS   pg is there from CONNECTING on until close; the watch while CONNECTING or OPEN, but not between two loops, and not once broken.
 *         on_open comes at most once.
 * Path:   postgres/pool > [postgres/connection] > libpq, loop/watch
 */
#include "postgres/connection.h"

#include "base/log.h"
#include "base/mem.h"
#include "postgres/cancel.h"
#include "postgres/copy.h"
#include "postgres/error.h"
#include "postgres/pooler.h"
#include "postgres/query.h"
#include "postgres/refusal.h"

#include <assert.h>
#include <errno.h>
#include <linux/tcp.h> /* tcpi_bytes_received, which the C library's own lacks */
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static void on_connect_ready(void *arg, unsigned events, bool broken);
static void on_ready(void *arg, unsigned events, bool broken);
static bool read_some(struct postgres_connection *connection);
static void on_broken(void *arg);

static void drop_watch(struct postgres_connection *connection)
{
    if (connection->watch)
        watch_close(connection->watch);
    connection->watch = NULL;
}

/* The owner closes it from within, so nothing may be touched after. */
static void fail_to_open(struct postgres_connection *connection)
{
    timer_stop(&connection->deadline);
    drop_watch(connection);
    connection->state = POSTGRES_LOST;
    connection->on_open(connection, /* is_open= */ false);
}

/* --- notices -------------------------------------------------------------------------------------------------- */

/* May not call libpq on the connection. A FATAL one is why an idle connection is about to end. */
static void on_notice(void *arg, const PGresult *result)
{
    struct postgres_connection *connection = arg;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    bool is_end = postgres_error_is_told(result) && postgres_error_is_end(result);
    connection->notices++;
    bool is_warning = is_end || (severity && strcmp(severity, "WARNING") == 0);
    if (is_end && !connection->error.sqlstate[0]) /* the first one says why */
        sql_error_set(&connection->error, sqlstate ? sqlstate : "08006", "%s",
                      text ? text : "the server ended the connection");
    log_line(is_warning ? LOG_WARN : LOG_DEBUG, "notice from postgres",
             LOG_TEXT("pool", connection->target.settings->name), LOG_INT("pid", connection->pid),
             LOG_TEXT("sqlstate", sqlstate ? sqlstate : ""), LOG_TEXT("text", text ? text : ""));
}

/* --- opening -------------------------------------------------------------------------------------------------- */

static enum fail watch_socket(struct postgres_connection *connection, watch_on_ready *on_socket, unsigned events)
{
    enum fail fail = watch_open(connection->loop, PQsocket(connection->pg), on_socket, connection, &connection->watch);
    if (!fail)
        watch_set(connection->watch, events);
    return fail;
}

/* As name.c writes it, so that the two compare. */
static void note_address(struct postgres_connection *connection)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    connection->name = postgres_target_name(&connection->target, PQhost(connection->pg));
    connection->name_losses = postgres_name_losses() - 1; /* so that the first look compares */
    if (connection->name && (getpeername(PQsocket(connection->pg), (struct sockaddr *)&peer, &len) != 0 ||
                             getnameinfo((struct sockaddr *)&peer, len, connection->address, sizeof connection->address,
                                         NULL, 0, NI_NUMERICHOST) != 0))
        connection->name = NULL;
}

static void finish_opening(struct postgres_connection *connection)
{
    PQsetErrorVerbosity(connection->pg, PQERRORS_DEFAULT);
    if (PQenterPipelineMode(connection->pg) != 1 || watch_socket(connection, on_ready, WATCH_READ) != FAIL_OK) {
        sql_error_set(&connection->error, "08001", "no memory for a connection");
        fail_to_open(connection);
        return;
    }
    timer_stop(&connection->deadline);
    connection->pid = PQbackendPID(connection->pg);
    note_address(connection);
    connection->quiet_since_ms = connection->heard_ms = loop_now_ms(connection->loop);
    connection->state = POSTGRES_OPEN;
    connection->on_open(connection, /* is_open= */ true);
}

static void note_pooled(struct postgres_connection *connection, bool is_pooled)
{
    struct postgres_settings *settings = connection->target.settings;
    if (is_pooled && !postgres_settings_is_pooled(settings))
        log_line(LOG_INFO, "a pooler is between wick and the database: statements are not prepared, LISTEN is refused",
                 LOG_TEXT("pool", settings->name));
    postgres_settings_note_pooled(settings, is_pooled);
}

static void judge_answer(struct postgres_connection *connection, const PGresult *result)
{
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        postgres_error_fill(&connection->error, result);
        return;
    }
    enum postgres_pooler_answer answer = postgres_pooler_judge(connection->pg, result, &connection->error);
    connection->is_pooled = answer == POSTGRES_POOLER_THERE ||
                            connection->target.settings->front == POSTGRES_FRONT_PGBOUNCER;
    if (answer != POSTGRES_POOLER_UNFIT)
        note_pooled(connection, connection->is_pooled);
}

static void end_opening(struct postgres_connection *connection)
{
    drop_watch(connection);
    if (connection->error.sqlstate[0])
        fail_to_open(connection);
    else
        finish_opening(connection);
}

/* Something of the answer to the first question. */
static void on_answer(void *arg, unsigned events, bool broken)
{
    struct postgres_connection *connection = arg;
    (void)events, (void)broken;
    if (!read_some(connection)) {
        if (!connection->error.sqlstate[0])
            postgres_refusal_fill(&connection->error, PQerrorMessage(connection->pg));
        end_opening(connection);
        return;
    }
    watch_set(connection->watch, PQflush(connection->pg) == 1 ? WATCH_READ | WATCH_WRITE : WATCH_READ);
    while (!PQisBusy(connection->pg)) {
        PGresult *result = PQgetResult(connection->pg);
        if (result) {
            judge_answer(connection, result);
            PQclear(result);
            continue;
        }
        end_opening(connection);
        return;
    }
}

/* Logged in. */
static void ask_first(struct postgres_connection *connection)
{
    PGconn *pg = connection->pg;
    connection->ssl = PQsslInUse(pg) ? PQsslStruct(pg, "OpenSSL") : NULL;
    if (PQsetnonblocking(pg, 1) == 0 && postgres_pooler_ask(pg) &&
        watch_socket(connection, on_answer, PQflush(pg) == 1 ? WATCH_READ | WATCH_WRITE : WATCH_READ) == FAIL_OK)
        return;
    postgres_refusal_fill(&connection->error, PQerrorMessage(pg));
    fail_to_open(connection);
}

static void start_connecting(struct postgres_connection *connection);

/* The pooler does not take our `options`: once more without, in what is left of the deadline. */
static bool connects_bare(struct postgres_connection *connection)
{
    if (connection->is_bare || connection->target.settings->front != POSTGRES_FRONT_AUTO ||
        !postgres_pooler_refuses_options(PQerrorMessage(connection->pg)))
        return false;
    note_pooled(connection, true);
    postgres_target_drop_options(&connection->target);
    PQfinish(connection->pg);
    connection->pg = NULL;
    start_connecting(connection);
    return true;
}

static void follow_poll(struct postgres_connection *connection, PostgresPollingStatusType poll)
{
    enum fail fail = FAIL_OK;
    switch (poll) {
    case PGRES_POLLING_OK: ask_first(connection); return;
    case PGRES_POLLING_READING: fail = watch_socket(connection, on_connect_ready, WATCH_READ); break;
    case PGRES_POLLING_WRITING: fail = watch_socket(connection, on_connect_ready, WATCH_WRITE); break;
    default:
        if (connects_bare(connection))
            return;
        postgres_refusal_fill(&connection->error, PQerrorMessage(connection->pg));
        fail_to_open(connection);
        return;
    }
    if (fail) {
        sql_error_set(&connection->error, "08001", "cannot watch the connection's socket: %s", fail_text(fail));
        fail_to_open(connection);
    }
}

static void on_connect_ready(void *arg, unsigned events, bool broken)
{
    struct postgres_connection *connection = arg;
    (void)events, (void)broken; /* libpq finds out itself */
    drop_watch(connection);
    follow_poll(connection, PQconnectPoll(connection->pg));
}

static void on_deadline(void *arg)
{
    struct postgres_connection *connection = arg;
    sql_error_set(&connection->error, "08001",
                  "no connection within %u ms (%s); is PostgreSQL running there? It is tried again",
                  connection->target.settings->connect_timeout_ms,
                  connection->state == POSTGRES_RESOLVING ? "looking up its name" : "server does not answer");
    fail_to_open(connection);
}

static void free_connection(struct postgres_connection *connection)
{
    postgres_target_clear(&connection->target);
    postgres_settings_release(connection->target.settings);
    postgres_copy_clear(connection);
    postgres_query_clear(connection);
    postgres_prepare_clear(&connection->prepared);
    postgres_types_clear(&connection->types);
    mem_free(connection);
}

/* The addresses are known, or there are none. */
static void on_resolved(struct postgres_target *target, enum fail fail)
{
    struct postgres_connection *connection = target->arg;
    connection->is_resolving = false;
    if (connection->is_buried) {
        free_connection(connection);
        return;
    }
    assert(connection->state == POSTGRES_RESOLVING);
    connection->state = POSTGRES_CONNECTING;
    if (fail) {
        sql_error_set(&connection->error, "08001", "%s", target->why);
        fail_to_open(connection);
        return;
    }
    start_connecting(connection);
}

static void start_connecting(struct postgres_connection *connection)
{
    const struct postgres_target *target = &connection->target;
    connection->is_bare = target->is_bare;
    connection->pg = PQconnectStartParams(target->keys, target->values, /* expand_dbname= */ 0);
    if (!connection->pg || PQstatus(connection->pg) == CONNECTION_BAD) {
        postgres_refusal_fill(&connection->error, connection->pg ? PQerrorMessage(connection->pg) : "out of memory");
        fail_to_open(connection);
        return;
    }
    PQsetErrorVerbosity(connection->pg, PQERRORS_VERBOSE);
    PQsetNoticeReceiver(connection->pg, on_notice, connection);
    follow_poll(connection, PGRES_POLLING_WRITING);
}

enum fail postgres_connection_open(struct loop *loop, struct postgres_settings *settings, const char *application_name,
                                   void (*on_open)(struct postgres_connection *connection, bool is_open), void *arg,
                                   struct postgres_connection **out)
{
    struct postgres_connection *connection = mem_zero(MEM_POSTGRES, sizeof *connection);
    if (!connection)
        return FAIL_NOMEM;
    connection->loop = loop;
    connection->on_open = on_open;
    connection->on_open_arg = arg;
    connection->place = POSTGRES_OUTSIDE;
    list_init(&connection->node);
    list_init(&connection->all_node);
    list_init(&connection->broken.node);
    connection->broken.run = on_broken;
    connection->broken.arg = connection;
    postgres_prepare_init(&connection->prepared, settings->statements_max);
    postgres_types_init(&connection->types);
    connection->target.settings = postgres_settings_hold(settings);
    connection->target.application_name = application_name;
    enum fail fail = postgres_query_init(connection);
    if (!fail)
        fail = postgres_target_resolve(loop, &connection->target, on_resolved, connection);
    if (fail) {
        free_connection(connection);
        return fail;
    }
    timer_start(loop, &connection->deadline, settings->connect_timeout_ms, on_deadline, connection);
    connection->is_resolving = true;
    *out = connection;
    return FAIL_OK;
}

void postgres_connection_close(struct postgres_connection *connection)
{
    if (!connection)
        return;
    timer_stop(&connection->deadline);
    list_remove(&connection->broken.node);
    postgres_cancel_forget(connection);
    drop_watch(connection);
    if (connection->pg)
        PQfinish(connection->pg);
    connection->pg = NULL;
    if (connection->is_resolving && !postgres_target_leave(&connection->target))
        connection->is_buried = true; /* on_resolved frees it */
    else
        free_connection(connection);
}

/* --- open ----------------------------------------------------------------------------------------------------- */

static void note_broken(struct postgres_connection *connection)
{
    if (!connection->watch)
        return;
    drop_watch(connection);
    loop_defer(connection->loop, &connection->broken);
}

void postgres_connection_flush(struct postgres_connection *connection)
{
    if (connection->state != POSTGRES_OPEN)
        return;
    bool is_held_back = PQflush(connection->pg) == 1;
    if (PQsocket(connection->pg) <
        0) { /* libpq read while it wrote, found the end, and closed the socket under the watch */
        note_broken(connection);
        return;
    }
    unsigned events = connection->copy ? postgres_copy_events(connection) : WATCH_READ;
    watch_set(connection->watch, events | (is_held_back ? WATCH_WRITE : 0));
}

static uint64_t waiting_bytes(struct postgres_connection *connection)
{
    int waiting = 0;
    return ioctl(PQsocket(connection->pg), FIONREAD, &waiting) == 0 ? (uint64_t)waiting : 0;
}

/* How many bytes libpq has taken off the socket, all in all: what has arrived less what still waits there. What arrives between the two
 * questions is counted too early, never twice. 0: not known. */
static uint64_t taken_bytes(struct postgres_connection *connection)
{
    struct tcp_info info = { .tcpi_state = 0 };
    socklen_t len = sizeof info;
    uint64_t waiting = waiting_bytes(connection);
    if (getsockopt(PQsocket(connection->pg), IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return 0;
    return info.tcpi_bytes_received - waiting;
}

/* A result that comes in over many reads is measured as it grows. On a unix socket, of which the system does not count the bytes, what
 * has arrived during the read is left out. */
static void measure(struct postgres_connection *connection, uint64_t waited)
{
    if (!connection->is_partial) {
        connection->taken_bytes = 0;
        return;
    }
    uint64_t taken = taken_bytes(connection), waits = taken ? 0 : waiting_bytes(connection);
    if (taken > connection->taken_bytes) {
        connection->result_bytes += connection->taken_bytes ? taken - connection->taken_bytes : 0;
        connection->taken_bytes = taken;
    } else if (!taken && waits < waited) {
        connection->result_bytes += waited - waits;
    }
}

static bool read_some(struct postgres_connection *connection)
{
    uint64_t waited = connection->is_partial ? waiting_bytes(connection) : 0;
    if (!PQconsumeInput(connection->pg))
        return false;
    /* OpenSSL may hold decrypted bytes of which poll knows nothing. */
    while (connection->ssl && SSL_pending(connection->ssl) > 0)
        if (!PQconsumeInput(connection->pg))
            return false;
    measure(connection, waited);
    return PQstatus(connection->pg) == CONNECTION_OK;
}

/* The reason the server gave last, as a notice or in a result, says more than libpq's words about the socket. */
static void set_lost_error(struct postgres_connection *connection)
{
    if (connection->error.sqlstate[0])
        return;
    const char *message = PQerrorMessage(connection->pg);
    int len = (int)strcspn(message, "\n");
    if (len)
        sql_error_set(&connection->error, "08006", "%.*s", len, message);
    else
        sql_error_set(&connection->error, "08006", "the server closed the connection");
}

bool postgres_connection_is_alive(struct postgres_connection *connection)
{
    char byte;
    for (int looks = 0; looks < 16; looks++) {
        ssize_t bytes = recv(PQsocket(connection->pg), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (bytes < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return true;
        if (bytes <= 0 || !read_some(connection))
            break;
        (void)PQisBusy(connection->pg); /* takes in a notice, perhaps the one that says why */
    }
    set_lost_error(connection);
    return false;
}

bool postgres_connection_has_moved(struct postgres_connection *connection)
{
    unsigned losses = postgres_name_losses();
    if (!connection->name || losses == connection->name_losses || connection->state != POSTGRES_OPEN)
        return false;
    bool has_moved = !postgres_name_has(connection->name, connection->address);
    if (!has_moved)
        connection->name_losses = losses;
    return has_moved;
}

void postgres_connection_turn_lost(struct postgres_connection *connection)
{
    set_lost_error(connection);
    connection->state = POSTGRES_LOST;
    list_remove(&connection->broken.node);
    drop_watch(connection);
    postgres_query_lost(connection);
}

static void on_broken(void *arg) { postgres_connection_turn_lost(arg); }

static void on_ready(void *arg, unsigned events, bool broken)
{
    struct postgres_connection *connection = arg;
    if ((events & WATCH_READ) || broken) {
        if (!read_some(connection)) {
            postgres_connection_turn_lost(connection);
            return;
        }
        postgres_connection_flush(
            connection); /* also arms a watch that the loop disarmed because the socket is in error */
        if (connection->copy)
            postgres_copy_input(connection);
        else
            postgres_query_input(connection);
        return; /* it may be gone */
    }
    postgres_connection_flush(connection);
    if (connection->copy)
        postgres_copy_output(connection);
}

/* --- moving house --------------------------------------------------------------------------------------------- */

void postgres_connection_leave(struct postgres_connection *connection)
{
    assert(!timer_is_set(&connection->deadline) && !timer_is_set(&connection->cancel_deadline));
    drop_watch(connection);
    connection->loop = NULL;
}

enum fail postgres_connection_enter(struct postgres_connection *connection, struct loop *loop)
{
    connection->loop = loop;
    return watch_socket(connection, on_ready, WATCH_READ);
}
