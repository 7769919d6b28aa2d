/* writer.c - the one thread that writes: many waiting writes, one commit.
 *
 * DESIGN  A sync costs far more than a statement, so the writes that wait are run in one transaction and answered after
 *         its COMMIT (group commit). SQLite undoes a failed statement by itself and leaves the rest of the transaction;
 *         one with RETURNING can fail after its change is made (a result too large), so it gets a savepoint.
 *         Where the whole transaction is lost, by a full disk, an interrupt or ON CONFLICT ROLLBACK, or its COMMIT is
 *         refused by a deferred constraint, the one at fault is answered, and the others, of which nothing was promised
 *         yet, run once more, each in a transaction of its own.
 * HOLDS   No call of a group is answered before COMMIT worked or failed. A group ends after group_max calls or 2 ms.
 * Path:   sqlite/lane > [sqlite/writer] > sqlite/connection
 */
#include "base/clock.h"
#include "sqlite/inner.h"

#define GROUP_NS_MAX 2000000u

struct group {
    struct sqlite_worker *worker;
    struct list calls; /* GROUPED, in order */
    unsigned count;
};

/* --- one statement --- */

/* It has an effect and then may still fail: with a way back to before it. */
static void run_with_savepoint(struct sqlite_connection *connection, struct sqlite_statement *statement,
                               struct sql_call *call)
{
    call->fail = sqlite_connection_command(connection, SQLITE_COMMAND_SAVEPOINT, &call->error);
    if (call->fail)
        return;
    sqlite_connection_run(connection, statement, call);
    if (!sqlite_connection_in_transaction(connection))
        return;
    struct sql_error ignored = { 0 };
    enum fail fail = FAIL_OK;
    /* A deadline or cancel was for the statement: the way back is not to be stopped by it. */
    sqlite_connection_begin_call(connection, 0);
    if (call->fail)
        fail = sqlite_connection_command(connection, SQLITE_COMMAND_ROLLBACK_TO, &ignored);
    if (!fail)
        fail = sqlite_connection_command(connection, SQLITE_COMMAND_RELEASE, &ignored);
    if (fail)
        sqlite_connection_rollback(connection); /* the group is lost, and knows what to do */
}

static void run_one(struct sqlite_worker *worker, struct sql_call *call, bool in_group)
{
    struct sqlite_connection *connection = &worker->connection;
    struct sqlite_statement *statement;
    sqlite_connection_set_clock(connection);
    call->fail = sqlite_statements_get(&connection->statements, call->text, &statement, &call->error);
    if (call->fail == FAIL_NOMEM)
        sql_error_set(&call->error, "53200", "out of memory");
    if (call->fail)
        return;
    if (in_group && statement->shape->count && !statement->is_readonly)
        run_with_savepoint(connection, statement, call);
    else
        sqlite_connection_run(connection, statement, call);
}

/* --- the group --- */

/* Nothing of it was kept: all run again, alone. Under the lock. */
static void requeue(struct group *group, struct list *done)
{
    struct sqlite_engine *engine = group->worker->engine;
    for (struct list *node; (node = list_pop_front(&group->calls));) {
        struct sql_call *call = LIST_ENTRY(node, struct sql_call, node);
        sql_rows_free(call->rows);
        call->rows = NULL;
        sql_error_clear(&call->error);
        call->fail = FAIL_OK;
        if (engine->is_forced) {
            call->fail = sqlite_stop_set(SQLITE_STOP_CLOSE, &call->error);
            call->state = STATE_DONE;
            list_push_back(done, &call->node);
        } else {
            sqlite_lane_push(&engine->writes, call);
        }
    }
    engine->writes_alone += group->count;
    group->count = 0;
}

static void answer_all(struct group *group, enum fail fail, const struct sql_error *error, struct list *done)
{
    for (struct list *node; (node = list_pop_front(&group->calls));) {
        struct sql_call *call = LIST_ENTRY(node, struct sql_call, node);
        if (fail) {
            sql_rows_free(call->rows);
            call->rows = NULL;
            call->fail = fail;
            call->error = *error;
        }
        sqlite_engine_note(group->worker->engine, call);
        call->state = STATE_DONE;
        list_push_back(done, &call->node);
    }
}

/* The next call that may join, or NULL: a session, a batch or a call that must run alone came before it. */
static struct sql_call *next_member(const struct sqlite_engine *engine)
{
    const struct sqlite_lane *lane = &engine->writes;
    if (sqlite_lane_next(lane, /* may_lease= */ true) != ITEM_CALL)
        return NULL;
    struct sql_call *call = sqlite_lane_first(lane);
    return sqlite_class(call->engine_data) == CLASS_ALONE ? NULL : call;
}

/* The call ran and the transaction is gone with all that the group did. A constraint may have clashed with a member that
 * is now undone, so its call runs again as well; every other failure is its own. */
static void on_lost(struct group *group, struct sql_call *call, struct list *done)
{
    if (sql_error_is(&call->error, "23") && group->count > 0) {
        call->state = STATE_GROUPED;
        list_push_back(&group->calls, &call->node);
        group->count++;
    } else {
        if (!call->fail) {
            sql_rows_free(call->rows);
            call->rows = NULL;
            call->fail = FAIL_SQL;
            sql_error_set(&call->error, "40000", "the transaction was rolled back");
        }
        call->state = STATE_DONE;
        sqlite_engine_note(group->worker->engine, call);
        list_push_back(done, &call->node);
    }
    requeue(group, done);
}

/* Runs members one after the other. False: the transaction was lost. Under the lock. */
static bool fill(struct group *group, struct list *done)
{
    struct sqlite_worker *worker = group->worker;
    struct sqlite_engine *engine = worker->engine;
    unsigned count_max = engine->writes_alone ? 1 : engine->settings.group_max;
    uint64_t until_ns = clock_mono_ns() + GROUP_NS_MAX;
    for (struct sql_call *call; group->count < count_max && (call = next_member(engine));) {
        sqlite_lane_remove(&engine->writes, call);
        sqlite_call_start(worker, call);
        pthread_mutex_unlock(&engine->lock);
        run_one(worker, call, /* in_group= */ true);
        bool is_lost = !sqlite_connection_in_transaction(&worker->connection);
        pthread_mutex_lock(&engine->lock);
        sqlite_call_leave(worker, call, STATE_GROUPED);
        if (engine->writes_alone)
            engine->writes_alone--;
        if (is_lost) {
            on_lost(group, call, done);
            return false;
        }
        list_push_back(&group->calls, &call->node);
        group->count++;
        if (clock_mono_ns() > until_ns)
            break;
    }
    return true;
}

/* COMMIT, and what follows from it. Under the lock at both ends. */
static void finish(struct group *group, struct list *done)
{
    struct sqlite_engine *engine = group->worker->engine;
    struct sqlite_connection *connection = &group->worker->connection;
    struct sql_error error = { 0 };
    pthread_mutex_unlock(&engine->lock);
    sqlite_connection_begin_call(connection, 0);
    enum fail fail = sqlite_connection_command(connection, SQLITE_COMMAND_COMMIT, &error);
    sqlite_connection_rollback(connection);
    pthread_mutex_lock(&engine->lock);
    if (fail && sql_error_is(&error, "23") && group->count > 1) {
        requeue(group, done);
        return;
    }
    engine->stats.writes += group->count;
    engine->stats.commits += group->count > 0;
    answer_all(group, fail, &error, done);
}

/* The lock of the file was not to be had: all that waited as long as we did get that answer. Under the lock. */
static void refuse_all(struct sqlite_engine *engine, uint64_t before, enum fail fail, const struct sql_error *error,
                       struct list *done)
{
    if (sql_error_is(error, "55P03"))
        engine->stats.busy++;
    for (struct sql_call *call; (call = next_member(engine)) && sqlite_order(call->engine_data) < before;) {
        sqlite_lane_remove(&engine->writes, call);
        call->fail = fail;
        call->error = *error;
        call->state = STATE_DONE;
        sqlite_engine_note(engine, call);
        list_push_back(done, &call->node);
    }
}

static void serve_group(struct sqlite_worker *worker)
{
    struct sqlite_engine *engine = worker->engine;
    struct group group = { .worker = worker };
    struct sql_error error = { 0 };
    struct list done;
    list_init(&group.calls);
    list_init(&done);
    uint64_t before = engine->next_order;
    sqlite_connection_begin_call(&worker->connection, 0);
    pthread_mutex_unlock(&engine->lock);
    enum fail fail = sqlite_connection_command(&worker->connection, SQLITE_COMMAND_BEGIN_WRITE, &error);
    pthread_mutex_lock(&engine->lock);
    if (fail)
        refuse_all(engine, before, fail, &error, &done);
    else if (fill(&group, &done))
        finish(&group, &done);
    pthread_mutex_unlock(&engine->lock);
    sqlite_calls_post(&done);
    pthread_mutex_lock(&engine->lock);
}

/* --- alone --- */

static void serve_alone(struct sqlite_worker *worker, struct sql_call *call)
{
    struct sqlite_engine *engine = worker->engine;
    sqlite_lane_remove(&engine->writes, call);
    sqlite_call_start(worker, call);
    pthread_mutex_unlock(&engine->lock);
    run_one(worker, call, /* in_group= */ false);
    sqlite_connection_rollback(&worker->connection);
    pthread_mutex_lock(&engine->lock);
    sqlite_call_leave(worker, call, STATE_DONE);
    engine->stats.writes++;
    engine->stats.commits++;
    sqlite_engine_note(engine, call);
    pthread_mutex_unlock(&engine->lock);
    sqlite_call_post(call);
    pthread_mutex_lock(&engine->lock);
}

void sqlite_writer_run(struct sqlite_worker *worker)
{
    struct sqlite_engine *engine = worker->engine;
    struct sqlite_lane *lane = &engine->writes;
    for (;;) {
        switch (sqlite_lane_next(lane, /* may_lease= */ true)) {
        case ITEM_CALL:
            if (next_member(engine))
                serve_group(worker);
            else
                serve_alone(worker, sqlite_lane_first(lane));
            break;
        case ITEM_LEASE: sqlite_session_serve(worker, sqlite_lane_first_lease(lane)); break;
        case ITEM_BATCH: sqlite_batch_serve(worker, sqlite_lane_first_batch(lane)); break;
        case ITEM_NONE:
            if (engine->is_closing && engine->readers_alive == 0)
                return;
            sqlite_lane_wait(lane, &engine->lock);
            break;
        }
    }
}
