/* session.c - transactions: BEGIN leaves together with the first statement, whatever is open at the end is rolled back.
 *
 * DESIGN  To wait for its connection a session puts a call of its own into the queue (`waiter`), so sessions and autocommit calls are
 *         served in one order. Its calls then run one at a time.
 *           WAITING -> LEASED [postgres_session_lease]   LEASED -> BEGUN [first statement]   any -> BROKEN [lost, idle too long]
 *           any -> gone [postgres_session_end]: the connection goes to reset.c, the struct goes at once
 *         BROKEN keeps the reason in `why`; every later call gets it. A connection that is lost before a COMMIT was sent takes the transaction
 *         with it, so all of it may be run again (error.again); afterwards it must not.
 *         What becomes of a COMMIT whose answer is lost is for outcome.c to find out. It needs the transaction's number, which is asked for
 *         in the round trip of each statement that may have written, until there is one. Where only reads were sent (a function may
 *         write all the same) it is asked for in front of COMMIT, and sent at once, before the server begins to commit.
 * HOLDS   running is not NULL exactly while a call of the session is on the connection and wanted.
 * Path:   postgres/engine > [postgres/session] > postgres/lane, query, reset
 */
#include "postgres/session.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "postgres/copy.h"
#include "postgres/lane.h"
#include "postgres/outcome.h"
#include "postgres/query.h"
#include "postgres/reset.h"
#include "sql/statement.h"

struct postgres_session {
    struct sql_session base;
    struct postgres_lane *lane;
    struct postgres_connection *connection; /* NULL: waiting or broken */
    struct sql_lease *lease;
    struct sql_call waiter;
    struct list calls;
    struct sql_call *running;
    struct timer idle;
    struct sql_error why;
    const char *holder;
    bool has_begun, is_read_only;
    bool has_sent_commit; /* from then on nobody may run the transaction again without knowing what became of it */
};
static const int xid_version_min = 130000; /* of the server, for pg_current_xact_id_if_assigned */

/* --- waiting -------------------------------------------------------------------------------------------------- */

/* The wait is over, one way or the other. */
static void on_waited(struct sql_call *waiter)
{
    struct postgres_session *session = waiter->arg;
    struct sql_lease *lease = session->lease;
    lease->engine_data[0] = NULL;
    lease->fail = waiter->fail;
    if (waiter->fail)
        lease->error = waiter->error;
    lease->session = waiter->fail ? NULL : &session->base;
    if (waiter->fail) {
        session->lane->sessions--;
        mem_free(session);
    }
    lease->on_lease(lease);
}

static void on_no_memory(void *arg)
{
    struct sql_lease *lease = arg;
    lease->on_lease(lease);
}

void postgres_session_begin(struct postgres_lane *lane, struct sql_engine *engine, struct sql_lease *lease)
{
    lease->session = NULL;
    lease->loop = lane->loop;
    sql_error_clear(&lease->error);
    struct postgres_session *session = mem_zero(MEM_POSTGRES, sizeof *session);
    lease->engine_data[0] = session;
    if (!session) {
        lease->fail = FAIL_NOMEM;
        lease->task = (struct loop_task){ .run = on_no_memory, .arg = lease };
        loop_defer(lane->loop, &lease->task);
        return;
    }
    session->base.engine = engine;
    session->lane = lane;
    session->lease = lease;
    session->is_read_only = lease->read_only;
    session->holder = lease->holder;
    list_init(&session->calls);
    lane->sessions++;
    session->waiter.text = STR("BEGIN");
    session->waiter.timeout_ms = lease->timeout_ms;
    session->waiter.on_done = on_waited;
    session->waiter.arg = session;
    postgres_lane_adopt(lane, &session->waiter);
    postgres_lane_submit(lane, &session->waiter, POSTGRES_CALL_LEASE);
}

void postgres_session_cancel(struct sql_lease *lease)
{
    struct postgres_session *session = lease->engine_data[0];
    if (session)
        postgres_lane_abandon(&session->waiter, FAIL_CANCELLED);
}

/* --- its connection ------------------------------------------------------------------------------------------- */

static void go_on(struct postgres_session *session);

static void fail_calls(struct postgres_session *session)
{
    for (struct list *node; (node = list_pop_front(&session->calls));) {
        struct sql_call *call = LIST_ENTRY(node, struct sql_call, node);
        call->error = session->why;
        postgres_lane_finish(session->lane, call, FAIL_SQL);
    }
}

static void break_off(struct postgres_session *session)
{
    timer_stop(&session->idle);
    session->connection->holder = NULL;
    session->connection = NULL;
    fail_calls(session);
}

/* The holder has sent nothing for too long, and others may need the connection, or the rows it has locked. */
static void on_idle(void *arg)
{
    struct postgres_session *session = arg;
    struct postgres_connection *connection = session->connection;
    unsigned ms = session->lane->pool->settings->idle_in_transaction_ms;
    log_line(LOG_WARN, "transaction idle for too long, rolled back",
             LOG_TEXT("pool", session->lane->pool->settings->name), LOG_INT("pid", connection->pid),
             LOG_INT("idle_ms", ms));
    sql_error_set(&session->why, "25P03", "the transaction was rolled back: nothing was sent in it for %u ms", ms);
    break_off(session);
    postgres_lane_give_back(connection);
}

static void watch_idle(struct postgres_session *session)
{
    unsigned ms = session->lane->pool->settings->idle_in_transaction_ms;
    if (ms)
        timer_start(session->lane->loop, &session->idle, ms, on_idle, session);
}

bool postgres_session_is_commit(const struct sql_call *call)
{
    return sql_verb_commits(sql_statement_verb(call->text, SQL_POSTGRES));
}

static bool may_write(const struct sql_call *call)
{
    switch (sql_statement_verb(call->text, SQL_POSTGRES)) {
    case SQL_VERB_SELECT:
    case SQL_VERB_VALUES:
    case SQL_VERB_TABLE:
    case SQL_VERB_SHOW:
    case SQL_VERB_SET:
    case SQL_VERB_SAVEPOINT:
    case SQL_VERB_RELEASE:
    case SQL_VERB_ROLLBACK:
    case SQL_VERB_ABORT:
    case SQL_VERB_COMMIT:
    case SQL_VERB_END: return false;
    default: return true;
    }
}

/* The connection is gone, and with it the answer. True: the call is taken care of. */
static bool resolve_commit(struct postgres_session *session, struct sql_call *call)
{
    struct postgres_xid xid = session->connection->xid;
    if (xid.state == POSTGRES_XID_KNOWN) {
        postgres_outcome_resolve(session->lane, call, &xid);
        return true;
    }
    postgres_outcome_say_unknown(&call->error);
    return false;
}

static void on_call(struct postgres_connection *connection, struct sql_call *call, int outcome)
{
    struct postgres_session *session = connection->user_data;
    session->running = NULL;
    if (outcome == POSTGRES_BEHIND) {
        call->fail = FAIL_SQL;
        sql_error_set(&call->error, "25P02", "it did not run: the transaction had failed");
    } else if (outcome == POSTGRES_GONE && postgres_session_is_commit(call) && !call->error.again) {
        if (resolve_commit(session, call))
            return;
    } else if (outcome == POSTGRES_GONE) {
        call->error.again |= !session->has_sent_commit;
    }
    postgres_lane_finish(session->lane, call, call->fail);
}

static void on_quiet(struct postgres_connection *connection)
{
    struct postgres_session *session = connection->user_data;
    if (connection->is_cancelling)
        return;
    watch_idle(session);
    go_on(session);
}

static void on_lost(struct postgres_connection *connection)
{
    struct postgres_session *session = connection->user_data;
    session->why = connection->error;
    session->why.again = !session->has_sent_commit; /* also for a COMMIT that comes now: it is not sent */
    break_off(session);
    postgres_pool_drop(connection, POSTGRES_END_LOST);
}

static const struct postgres_user session_user = { on_call, on_quiet, on_lost };

void postgres_session_lease(struct postgres_connection *connection, struct sql_call *waiter)
{
    struct postgres_session *session = waiter->arg;
    session->connection = connection;
    connection->user = &session_user;
    connection->xid = (struct postgres_xid){ .state = POSTGRES_XID_UNKNOWN };
    connection->user_data = session;
    connection->holder = session->holder;
    watch_idle(session);
    metric_observe(session->lane->pool->meter.acquire, connection->leased_ns - waiter->submitted_ns);
    postgres_lane_finish(session->lane, waiter, FAIL_OK);
}

/* --- its calls ------------------------------------------------------------------------------------------------ */

/* When it cannot be sent the connection is broken, and the call behind it learns of that. */
static void ask_xid(struct postgres_session *session, bool now)
{
    struct postgres_connection *connection = session->connection;
    bool is_known = connection->xid.state == POSTGRES_XID_KNOWN || session->is_read_only;
    bool has_failed = postgres_query_transaction(connection) == PQTRANS_INERROR;
    if (!is_known && !has_failed && PQserverVersion(connection->pg) >= xid_version_min)
        (void)!postgres_query_add_xid(connection, now);
}

static enum fail send_begin(struct postgres_session *session)
{
    return postgres_query_add_text(session->connection, session->is_read_only ? "BEGIN READ ONLY" : "BEGIN");
}

/* BEGIN rides along with the first statement. */
static enum fail add(struct postgres_session *session, struct sql_call *call)
{
    struct postgres_connection *connection = session->connection;
    if (session->has_begun && postgres_query_transaction(connection) == PQTRANS_IDLE) {
        sql_error_set(&call->error, "25P01", "the transaction of this session has ended; begin another");
        return FAIL_SQL;
    }
    enum fail fail = FAIL_OK;
    if (!session->has_begun)
        fail = send_begin(session);
    session->has_begun |= !fail;
    if (fail)
        sql_error_set(&call->error, "08006", "cannot send BEGIN: the connection is lost");
    if (!fail && (call->state & POSTGRES_CALL_COPY))
        return postgres_copy_begin(connection, (struct sql_copy *)call);
    if (!fail && postgres_session_is_commit(call))
        ask_xid(session, /* now= */ true);
    if (!fail)
        fail = postgres_query_add(connection, call, postgres_call_hash(call));
    if (!fail && may_write(call))
        ask_xid(session, /* now= */ false);
    call->error.again |= fail == FAIL_CLOSED && !session->has_sent_commit;
    session->has_sent_commit |= !fail && postgres_session_is_commit(call);
    return fail;
}

/* A COPY cannot share a round trip, so BEGIN goes first and alone; on_quiet goes on. False: that is not needed. */
static bool begin_first(struct postgres_session *session, struct sql_call *call)
{
    struct postgres_connection *connection = session->connection;
    if (session->has_begun || !(call->state & POSTGRES_CALL_COPY))
        return false;
    if (send_begin(session) != FAIL_OK)
        return false; /* the connection is no good; add finds that, too, and says so */
    session->has_begun = true;
    timer_stop(&session->idle);
    postgres_query_end_unit(connection);
    list_push_front(&session->calls, &call->node);
    return true;
}

static bool is_free(const struct postgres_session *session)
{
    struct postgres_connection *connection = session->connection;
    return connection && !session->running && !connection->is_hit && postgres_query_is_quiet(connection);
}

static void go_on(struct postgres_session *session)
{
    while (is_free(session) && !list_is_empty(&session->calls)) {
        struct sql_call *call = LIST_ENTRY(list_pop_front(&session->calls), struct sql_call, node);
        if (begin_first(session, call))
            return;
        enum fail fail = add(session, call);
        if (!fail) {
            timer_stop(&session->idle);
            session->running = call;
            call->started_ns = clock_mono_ns();
            call->engine_data[1] = session->connection;
            postgres_call_set(call, POSTGRES_CALL_RUNNING);
        } else {
            postgres_lane_finish(session->lane, call, fail == FAIL_CLOSED ? FAIL_SQL : fail);
        }
        if (session->connection->step_count)
            postgres_query_end_unit(session->connection);
    }
}

static void submit(struct postgres_session *session, struct sql_call *call, int flags)
{
    postgres_lane_adopt(session->lane, call);
    call->engine_data[3] = session;
    call->state = flags | POSTGRES_CALL_FRESH;
    if (!session->connection) {
        call->error = session->why;
        postgres_lane_finish(session->lane, call, FAIL_SQL);
        return;
    }
    postgres_call_set(call, POSTGRES_CALL_SESSION);
    list_push_back(&session->calls, &call->node);
    postgres_lane_watch(call);
    go_on(session);
}

void postgres_session_run(struct sql_session *session, struct sql_call *call)
{
    submit((struct postgres_session *)session, call, 0);
}

void postgres_session_copy(struct sql_session *session, struct sql_copy *copy)
{
    submit((struct postgres_session *)session, &copy->call, POSTGRES_CALL_COPY);
}

void postgres_session_lost_call(struct postgres_session *session, const struct sql_call *call)
{
    if (session->running == call)
        session->running = NULL;
}

/* --- the end -------------------------------------------------------------------------------------------------- */

static void abandon_calls(struct postgres_session *session)
{
    for (struct list *node; (node = list_pop_front(&session->calls));)
        postgres_lane_finish_early(session->lane, LIST_ENTRY(node, struct sql_call, node), FAIL_CANCELLED);
    if (!session->running)
        return;
    postgres_query_detach(session->connection, session->running);
    postgres_lane_finish_early(session->lane, session->running, FAIL_CANCELLED);
}

void postgres_session_end(struct sql_session *base)
{
    struct postgres_session *session = (struct postgres_session *)base;
    struct postgres_lane *lane = session->lane;
    struct postgres_connection *connection = session->connection;
    timer_stop(&session->idle);
    abandon_calls(session);
    mem_free(session);
    lane->sessions--;
    if (!connection)
        return;
    connection->holder = NULL;
    if (postgres_query_is_quiet(connection) && !connection->is_cancelling)
        postgres_lane_give_back(connection);
    else
        postgres_reset(connection);
}
