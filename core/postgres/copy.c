/* copy.c - streams bytes between a session's holder and the server, no faster than the slower of the two.
 *
 * DESIGN  libpq knows no COPY in pipeline mode, so a quiet connection leaves it, runs the one statement, and enters it again.
 *           SENT -> GIVES, TAKES [the server is ready]     SENT -> ENDS [it refused]
 *           GIVES -> ENDS [sql_copy_end, an error, nobody wants it: CopyDone or CopyFail is sent]
 *           TAKES -> ENDS [the last row was read]          ENDS -> gone [all results are read]
 *         In: a chunk goes to libpq in slices while its buffer empties; the holder is asked for more when all of it is with the
 *         kernel. Out: rows are gathered into a chunk only when the holder has asked; else the socket is not even watched, and the
 *         server waits. All of it happens from the loop: put, end and read only note what is wanted, and schedule step().
 *
 *         The simple protocol is used, for with the extended one an error that comes before the first byte was read leaves a second
 *         ReadyForQuery behind, which would be taken for the answer to a later Sync. It could carry several statements, so
 *         sql_copy_check has looked, and what its reading rests on (standard_conforming_strings) is looked up.
 *         In GIVES libpq takes in notices, but keeps an error back until the data has ended. Input of which nothing comes out for
 *         POSTGRES_COPY_DOUBT_MS is therefore an error: nothing more is sent, and the server's words become the outcome.
 * HOLDS   connection->copy exactly while pipeline mode is off. `wanted` and its engine_data point at each other, or are NULL both.
 * Path:   postgres/session > [postgres/copy] > postgres/connection
 */
#include "postgres/copy.h"

#include "base/mem.h"
#include "postgres/answer.h"
#include "postgres/cancel.h"
#include "postgres/dirt.h"
#include "postgres/error.h"
#include "postgres/rows.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

enum copy_state { COPY_SENT, COPY_GIVES, COPY_TAKES, COPY_ENDS };

struct postgres_copy {
    enum copy_state state;
    struct postgres_connection *connection;
    struct sql_copy *wanted; /* NULL: nobody waits for it any more */
    PGresult *result;        /* the first error, else the last */
    struct loop_task task;   /* of step */
    /* in */
    struct str left; /* of the holder's chunk */
    bool owes_room;  /* on_room is to come when there is */
    bool is_ended;   /* CopyDone is to be sent, or CopyFail .. */
    bool has_failed;
    char why[128]; /* .. with this text */
    unsigned notices_seen;
    struct timer doubt;
    /* out */
    struct buf chunk;
};

static void step(void *arg);

static void schedule(struct postgres_copy *copy)
{
    list_remove(&copy->task.node);
    loop_defer(copy->connection->loop, &copy->task);
}

/* --- the beginning -------------------------------------------------------------------------------------------- */

static enum fail refuse(struct sql_copy *wanted, const char *sqlstate, const char *text)
{
    sql_error_set(&wanted->call.error, sqlstate, "%s", text);
    return FAIL_SQL;
}

static enum fail send_text(struct postgres_connection *connection, struct sql_copy *wanted)
{
    char *text = mem_dup(MEM_POSTGRES, wanted->call.text.data, wanted->call.text.len);
    if (!text)
        return FAIL_NOMEM;
    bool is_sent = PQexitPipelineMode(connection->pg) && PQsendQuery(connection->pg, text);
    mem_free(text);
    if (is_sent)
        return FAIL_OK;
    const char *message = PQerrorMessage(connection->pg);
    sql_error_set(&wanted->call.error, "08006", "cannot send COPY: %.*s", (int)strcspn(message, "\n"), message);
    return PQenterPipelineMode(connection->pg) ? FAIL_SQL : FAIL_CLOSED;
}

enum fail postgres_copy_begin(struct postgres_connection *connection, struct sql_copy *wanted)
{
    if (connection->state != POSTGRES_OPEN) {
        wanted->call.error = connection->error;
        return FAIL_CLOSED;
    }
    const char *reading = PQparameterStatus(connection->pg, "standard_conforming_strings");
    if (!reading || strcmp(reading, "on") != 0)
        return refuse(wanted, "0A000", "COPY needs standard_conforming_strings = on; somebody has set it to off");
    struct postgres_copy *copy = mem_zero(MEM_POSTGRES, sizeof *copy);
    enum fail fail = copy ? send_text(connection, wanted) : FAIL_NOMEM;
    if (fail) {
        mem_free(copy);
        return fail;
    }
    *copy = (struct postgres_copy){ .connection = connection, .wanted = wanted };
    copy->task = (struct loop_task){ .run = step, .arg = copy };
    list_init(&copy->task.node);
    buf_init(&copy->chunk, MEM_POSTGRES, 0);
    wanted->engine_data = copy;
    connection->copy = copy;
    connection->dirt |= postgres_dirt_of(wanted->call.text);
    connection->result_bytes = 0;
    postgres_connection_flush(connection);
    return FAIL_OK;
}

/* --- the end -------------------------------------------------------------------------------------------------- */

static void free_copy(struct postgres_copy *copy)
{
    timer_stop(&copy->doubt);
    list_remove(&copy->task.node);
    copy->connection->copy = NULL;
    copy->connection->is_partial = false;
    PQclear(copy->result);
    buf_clear(&copy->chunk);
    mem_free(copy);
}

void postgres_copy_clear(struct postgres_connection *connection)
{
    if (connection->copy)
        free_copy(connection->copy);
}

/* From here on the holder's struct is its own. */
static struct sql_copy *let_go(struct postgres_copy *copy)
{
    struct sql_copy *wanted = copy->wanted;
    if (wanted)
        wanted->engine_data = NULL;
    copy->wanted = NULL;
    copy->left = STR_NONE;
    return wanted;
}

static enum fail give_rows(struct postgres_copy *copy, struct sql_call *call)
{
    struct postgres_shape *shape = postgres_shape_of(copy->result, /* types= */ NULL);
    if (!shape)
        return FAIL_NOMEM;
    call->rows = postgres_rows_open(copy->result, shape);
    copy->result = NULL;
    postgres_shape_release(shape);
    return call->rows ? FAIL_OK : FAIL_NOMEM;
}

static bool is_refused(const struct postgres_copy *copy)
{
    return copy->result && !postgres_answer_is_good(copy->result);
}

static void judge(struct postgres_copy *copy, struct sql_call *call)
{
    if (!copy->result || is_refused(copy)) {
        call->fail = FAIL_SQL;
        sql_error_set(&call->error, "08P01", "the server ended COPY without a result");
        if (copy->result)
            postgres_error_fill(&call->error, copy->result);
    } else {
        call->fail = give_rows(copy, call);
    }
}

/* All results are in: back to pipeline mode, then the outcome. */
static void finish(struct postgres_copy *copy)
{
    struct postgres_connection *connection = copy->connection;
    if (!PQenterPipelineMode(connection->pg)) {
        postgres_connection_turn_lost(connection);
        return;
    }
    struct sql_copy *wanted = let_go(copy);
    if (wanted)
        judge(copy, &wanted->call);
    free_copy(copy);
    postgres_connection_flush(connection);
    if (wanted)
        connection->user->on_call(connection, &wanted->call, POSTGRES_DONE);
    postgres_cancel_settle(connection);
    connection->user->on_quiet(connection);
}

void postgres_copy_lost(struct postgres_connection *connection)
{
    struct postgres_copy *copy = connection->copy;
    if (!copy)
        return;
    struct sql_copy *wanted = let_go(copy);
    if (wanted) {
        wanted->call.fail = FAIL_SQL;
        wanted->call.error = connection->error;
        if (is_refused(copy)) /* the server's last words */
            postgres_error_fill(&wanted->call.error, copy->result);
        wanted->call.error.sent = true;
    }
    free_copy(copy);
    if (wanted)
        connection->user->on_call(connection, &wanted->call, POSTGRES_GONE);
}

static void keep_result(struct postgres_copy *copy, PGresult *result)
{
    if (is_refused(copy)) {
        PQclear(result);
        return;
    }
    PQclear(copy->result);
    copy->result = result;
}

/* ENDS: reads results until there are no more. */
static void end(struct postgres_copy *copy)
{
    PGconn *pg = copy->connection->pg;
    while (!PQisBusy(pg)) {
        PGresult *result = PQgetResult(pg);
        if (!result) {
            finish(copy);
            return;
        }
        ExecStatusType status = PQresultStatus(result);
        keep_result(copy, result);
        bool is_astray = status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
        if (is_astray || PQstatus(pg) != CONNECTION_OK) {
            postgres_connection_turn_lost(copy->connection);
            return;
        }
    }
}

/* --- in ------------------------------------------------------------------------------------------------------- */

/* Some of the chunk; false: libpq has no room for more at the moment, or the turn's share has gone. */
static bool send_slices(struct postgres_copy *copy)
{
    PGconn *pg = copy->connection->pg;
    for (size_t sent = 0; copy->left.len && sent < POSTGRES_COPY_TURN_BYTES;) {
        size_t len = copy->left.len < POSTGRES_COPY_CHUNK_BYTES ? copy->left.len : POSTGRES_COPY_CHUNK_BYTES;
        if (PQputCopyData(pg, copy->left.data, (int)len) != 1)
            return false; /* no memory: once more when the socket is writable; a broken one is found by reading */
        copy->left = str_make(copy->left.data + len, copy->left.len - len);
        sent += len;
        if (PQflush(pg) == 1)
            return false;
    }
    return copy->left.len == 0 && PQflush(pg) != 1;
}

static void send_end(struct postgres_copy *copy)
{
    int sent = PQputCopyEnd(copy->connection->pg, copy->has_failed ? copy->why : NULL);
    if (sent == 0)
        return; /* no room: when the socket is writable */
    timer_stop(&copy->doubt);
    copy->state = COPY_ENDS;
}

static void give(struct postgres_copy *copy)
{
    bool has_room = copy->is_ended || send_slices(copy);
    if (copy->is_ended)
        send_end(copy);
    postgres_connection_flush(copy->connection);
    if (copy->state != COPY_GIVES || !has_room || !copy->owes_room || !copy->wanted)
        return;
    copy->owes_room = false;
    copy->wanted->on_room(copy->wanted);
}

static void end_giving(struct postgres_copy *copy, const char *why)
{
    if (copy->is_ended)
        return;
    copy->is_ended = true;
    copy->left = STR_NONE;
    copy->has_failed = why != NULL;
    snprintf(copy->why, sizeof copy->why, "%s", why ? why : "");
    schedule(copy);
}

static void on_doubt(void *arg) { end_giving(arg, "the server has ended it"); }

/* Bytes have come in while data goes out: notices and notifications, or an error. */
static void look_for_error(struct postgres_copy *copy)
{
    struct postgres_connection *connection = copy->connection;
    bool is_explained = PQisBusy(connection->pg) || connection->notices != copy->notices_seen;
    for (PGnotify *notify; (notify = PQnotifies(connection->pg)); PQfreemem(notify))
        is_explained = true;
    copy->notices_seen = connection->notices;
    if (is_explained)
        timer_stop(&copy->doubt);
    else /* the first part of a notice, perhaps */
        timer_start(connection->loop, &copy->doubt, POSTGRES_COPY_DOUBT_MS, on_doubt, copy);
}

/* --- out ------------------------------------------------------------------------------------------------------ */

/* Rows that are there go into the chunk, or nowhere when nobody wants them. 1: enough, 0: the next one is not whole yet, -1: that was all. */
static int gather(struct postgres_copy *copy)
{
    char *row;
    int len;
    for (size_t taken = 0; taken < POSTGRES_COPY_TURN_BYTES; taken += (size_t)len) {
        len = PQgetCopyData(copy->connection->pg, &row, /* async= */ 1);
        if (len <= 0)
            return len == 0 ? 0 : -1;
        bool is_too_long = copy->wanted && (size_t)len > postgres_answer_bytes_max(&copy->wanted->call);
        copy->connection->result_bytes = is_too_long ? (size_t)len : 0; /* libpq may read all of it at one go */
        if (copy->wanted && !is_too_long)
            buf_add(&copy->chunk, row, (size_t)len);
        PQfreemem(row);
        if (copy->chunk.len >= POSTGRES_COPY_CHUNK_BYTES || !buf_ok(&copy->chunk) || is_too_long)
            return 1;
    }
    return 1;
}

/* What the kernel holds already goes into the same chunk: libpq reads little at a time. When the socket is broken, the loop will say so. */
static bool read_more(struct postgres_copy *copy)
{
    int waiting = 0;
    PGconn *pg = copy->connection->pg;
    return ioctl(PQsocket(pg), FIONREAD, &waiting) == 0 && waiting > 0 && PQconsumeInput(pg);
}

/* The holder is told why, and the server is stopped. */
static void give_up(struct postgres_copy *copy, enum fail fail)
{
    struct postgres_connection *connection = copy->connection;
    struct sql_copy *wanted = let_go(copy);
    wanted->call.fail = fail;
    buf_reset(&copy->chunk);
    postgres_cancel(connection, POSTGRES_CANCEL_SIZE);
    postgres_connection_flush(connection);
    connection->user->on_call(connection, &wanted->call, POSTGRES_DONE);
}

static void deliver(struct postgres_copy *copy)
{
    if (!copy->chunk.len || !copy->wanted)
        return;
    copy->wanted->is_asked = false;
    copy->wanted->on_chunk(copy->wanted, str_make(copy->chunk.data, copy->chunk.len));
    buf_reset(&copy->chunk);
}

static void take(struct postgres_copy *copy)
{
    struct postgres_connection *connection = copy->connection;
    if (copy->wanted && !copy->wanted->is_asked) {
        postgres_connection_flush(connection); /* which stops watching */
        return;
    }
    int got;
    do
        got = gather(copy);
    while (got == 0 && copy->chunk.len && copy->chunk.len < POSTGRES_COPY_CHUNK_BYTES && read_more(copy));
    connection->is_partial = got == 0;
    if (got < 0)
        copy->state = COPY_ENDS;
    if (copy->wanted && !buf_ok(&copy->chunk)) {
        give_up(copy, FAIL_NOMEM);
    } else if (copy->wanted && connection->result_bytes > postgres_answer_bytes_max(&copy->wanted->call)) {
        postgres_answer_refuse_size(&copy->wanted->call);
        give_up(copy, FAIL_SQL);
    } else {
        deliver(copy);
    }
    if (got > 0 && !copy->wanted)
        schedule(copy); /* more may lie in libpq's buffer, of which the socket knows nothing */
    postgres_connection_flush(connection);
}

/* --- steps ---------------------------------------------------------------------------------------------------- */

/* SENT: the server takes or gives, or refuses. */
static void start(struct postgres_copy *copy)
{
    PGconn *pg = copy->connection->pg;
    if (PQisBusy(pg))
        return;
    PGresult *result = PQgetResult(pg);
    ExecStatusType status = result ? PQresultStatus(result) : PGRES_FATAL_ERROR;
    copy->state = status == PGRES_COPY_IN ? COPY_GIVES : status == PGRES_COPY_OUT ? COPY_TAKES : COPY_ENDS;
    if (copy->state == COPY_ENDS && result)
        keep_result(copy, result);
    else
        PQclear(result);
    copy->owes_room = true;
    copy->notices_seen = copy->connection->notices;
    if (copy->state == COPY_GIVES && !copy->wanted)
        end_giving(copy, "cancelled");
}

/* Goes on as far as it can. The connection may be gone after. */
static void step(void *arg)
{
    struct postgres_copy *copy = arg;
    if (copy->state == COPY_SENT)
        start(copy);
    if (copy->state == COPY_GIVES)
        give(copy);
    else if (copy->state == COPY_TAKES)
        take(copy);
    if (copy->state == COPY_ENDS)
        end(copy);
}

void postgres_copy_input(struct postgres_connection *connection)
{
    if (connection->copy->state == COPY_GIVES)
        look_for_error(connection->copy);
    step(connection->copy);
}

void postgres_copy_output(struct postgres_connection *connection)
{
    if (connection->copy->state == COPY_GIVES)
        step(connection->copy);
}

unsigned postgres_copy_events(const struct postgres_connection *connection)
{
    const struct postgres_copy *copy = connection->copy;
    bool is_paused = copy->state == COPY_TAKES && copy->wanted && !copy->wanted->is_asked;
    bool has_more = copy->state == COPY_GIVES && (copy->left.len || copy->is_ended);
    return (is_paused ? 0 : WATCH_READ) | (has_more ? WATCH_WRITE : 0);
}

/* --- the holder ----------------------------------------------------------------------------------------------- */

bool postgres_copy_detach(struct postgres_connection *connection, const struct sql_call *call)
{
    struct postgres_copy *copy = connection->copy;
    if (!copy || !copy->wanted || &copy->wanted->call != call)
        return false;
    (void)let_go(copy);
    if (copy->state == COPY_GIVES)
        end_giving(copy, "cancelled");
    else if (copy->state == COPY_TAKES)
        schedule(copy); /* the rest is read and dropped */
    postgres_connection_flush(connection);
    return true;
}

void postgres_copy_put(struct sql_copy *wanted, struct str chunk)
{
    struct postgres_copy *copy = wanted->engine_data;
    if (!copy || copy->is_ended)
        return; /* on_done is on its way */
    copy->left = chunk;
    copy->owes_room = true;
    schedule(copy);
}

void postgres_copy_end(struct sql_copy *wanted, const char *why)
{
    struct postgres_copy *copy = wanted->engine_data;
    if (copy && copy->state == COPY_GIVES)
        end_giving(copy, why);
}

void postgres_copy_read(struct sql_copy *wanted)
{
    struct postgres_copy *copy = wanted->engine_data;
    wanted->is_asked = true; /* it may not have begun yet */
    if (copy)
        schedule(copy);
}
