/* group.c - a pipeline a caller asked for.
 *
 * DESIGN  Atomic: one unit, so one implicit transaction; it has taken place only if every call of it is FAIL_OK, and the calls behind one that
 *         failed get 25P02. Otherwise: a unit for each, all sent before the first answer is read.
 *         An atomic one that met a stale plan is sent once more: nothing of it has taken place, and its texts are what they were.
 *         Like a session, a group waits with a call of its own. It is over when its connection is quiet.
 * HOLDS   left counts the calls that are not finished; the group lives until that is 0 and it has no connection.
 * Path:   postgres/engine > [postgres/group] > postgres/lane, query
 */
#include "postgres/group.h"

#include "base/clock.h"
#include "base/mem.h"
#include "postgres/lane.h"
#include "postgres/query.h"
#include "postgres/retry.h"

#include <string.h>

struct postgres_group {
    struct postgres_lane *lane;
    struct postgres_connection *connection;
    struct sql_call waiter;
    bool is_atomic, is_renewed, is_due_again;
    unsigned count;
    struct sql_call *calls[]; /* NULL when finished */
};

static void close_group(struct postgres_group *group)
{
    group->lane->groups--;
    mem_free(group);
}

static void forget(struct postgres_group *group, const struct sql_call *call)
{
    for (unsigned i = 0; i < group->count; i++)
        if (group->calls[i] == call)
            group->calls[i] = NULL;
}

static void finish(struct postgres_group *group, struct sql_call *call, enum fail fail)
{
    forget(group, call);
    postgres_lane_finish(group->lane, call, fail);
}

/* It got no connection. */
static void on_waited(struct sql_call *waiter)
{
    struct postgres_group *group = waiter->arg;
    for (unsigned i = 0; i < group->count; i++)
        if (group->calls[i]) {
            group->calls[i]->error = waiter->error;
            postgres_lane_finish(group->lane, group->calls[i], waiter->fail);
        }
    close_group(group);
}

void postgres_group_run(struct postgres_lane *lane, struct sql_call **calls, unsigned count, bool atomic)
{
    struct postgres_group *group = mem_zero(MEM_POSTGRES, sizeof *group + count * sizeof *calls);
    for (unsigned i = 0; i < count; i++) {
        postgres_lane_adopt(lane, calls[i]);
        calls[i]->state = POSTGRES_CALL_GROUPED | POSTGRES_CALL_FRESH;
        calls[i]->engine_data[3] = group;
        if (!group)
            postgres_lane_finish(lane, calls[i], FAIL_NOMEM);
        else
            postgres_lane_watch(calls[i]);
    }
    if (!group)
        return;
    group->lane = lane;
    group->is_atomic = atomic;
    group->count = count;
    memcpy(group->calls, calls, count * sizeof *calls);
    lane->groups++;
    group->waiter = (struct sql_call){ .text = STR("BEGIN"), .on_done = on_waited, .arg = group };
    postgres_lane_adopt(lane, &group->waiter);
    postgres_lane_submit(lane, &group->waiter, POSTGRES_CALL_GROUP);
}

/* --- its connection ------------------------------------------------------------------------------------------- */

static void run_apart(struct postgres_group *group, struct sql_call *call, int flags)
{
    forget(group, call);
    postgres_lane_resubmit(group->lane, call, flags);
}

static bool run_again(struct postgres_connection *connection, struct sql_call *call, int outcome)
{
    struct postgres_group *group = connection->user_data;
    int again = group->is_atomic ? 0 : postgres_retry_flags(connection, call, (enum postgres_outcome)outcome);
    if (again)
        run_apart(group, call, again);
    return again != 0;
}

static void forget_outcome(struct sql_call *call)
{
    sql_rows_free(call->rows);
    call->rows = NULL;
    call->fail = FAIL_OK;
    sql_error_clear(&call->error);
}

static void say_behind(struct sql_call *call)
{
    call->fail = FAIL_SQL;
    sql_error_set(&call->error, "25P02", "it did not run: a statement before it in the pipeline had failed");
}

static void on_call(struct postgres_connection *connection, struct sql_call *call, int outcome)
{
    struct postgres_group *group = connection->user_data;
    if (run_again(connection, call, outcome))
        return;
    if (group->is_atomic && connection->unit_is_stale && !group->is_renewed) {
        group->is_due_again = true;
        forget_outcome(call);
        call->state |= POSTGRES_CALL_RENEWED | POSTGRES_CALL_REASON * (int)sql_retry_label_number("0A000");
        return;
    }
    if (outcome == POSTGRES_BEHIND)
        say_behind(call);
    finish(group, call, call->fail);
}

static void add_calls(struct postgres_group *group, struct postgres_connection *connection);

static void on_quiet(struct postgres_connection *connection)
{
    struct postgres_group *group = connection->user_data;
    if (connection->is_cancelling)
        return;
    if (group->is_due_again) {
        group->is_due_again = false;
        group->is_renewed = true;
        add_calls(group, connection);
        if (!postgres_query_is_quiet(connection))
            return;
    }
    close_group(group);
    postgres_lane_give_back(connection);
}

/* Those that were to be sent again have an error all the same. */
static void on_lost(struct postgres_connection *connection)
{
    struct postgres_group *group = connection->user_data;
    for (unsigned i = 0; i < group->count; i++)
        if (group->calls[i]) {
            group->calls[i]->error = connection->error;
            finish(group, group->calls[i], FAIL_SQL);
        }
    close_group(group);
    postgres_pool_drop(connection, POSTGRES_END_LOST);
}

static const struct postgres_user group_user = { on_call, on_quiet, on_lost };

/* Adds all that can be sent. A call that cannot be (a value with a zero byte) takes an atomic group down with it. */
static void add_calls(struct postgres_group *group, struct postgres_connection *connection)
{
    bool has_failed = false;
    for (unsigned i = 0; i < group->count; i++) {
        struct sql_call *call = group->calls[i];
        if (!call)
            continue;
        if (has_failed) {
            say_behind(call);
            finish(group, call, call->fail);
            continue;
        }
        enum fail fail = postgres_query_add(connection, call, postgres_call_hash(call));
        if (fail == FAIL_CLOSED && !group->is_atomic) { /* nothing of it was sent, so even a write may try again */
            run_apart(group, call, POSTGRES_CALL_RETRIED);
        } else if (fail) {
            finish(group, call, fail == FAIL_CLOSED ? FAIL_SQL : fail);
            has_failed = group->is_atomic;
        } else {
            call->started_ns = clock_mono_ns();
        }
        if (!group->is_atomic && !postgres_query_is_quiet(connection))
            postgres_query_end_unit(connection);
    }
    if (has_failed && !postgres_query_is_quiet(connection))
        (void)!postgres_query_add_text(connection, "ROLLBACK");
    if (group->is_atomic && !postgres_query_is_quiet(connection))
        postgres_query_end_unit(connection);
}

void postgres_group_start(struct postgres_connection *connection, struct sql_call *waiter)
{
    struct postgres_group *group = waiter->arg;
    timer_stop(&waiter->timer);
    postgres_call_set(waiter, POSTGRES_CALL_FINISHED);
    metric_observe(group->lane->pool->meter.acquire, connection->leased_ns - waiter->submitted_ns);
    group->connection = connection;
    connection->user = &group_user;
    connection->user_data = group;
    add_calls(group, connection);
    if (postgres_query_is_quiet(connection))
        on_quiet(connection);
}

void postgres_group_abandon(struct postgres_group *group, enum fail fail)
{
    for (unsigned i = 0; i < group->count; i++) {
        struct sql_call *call = group->calls[i];
        group->calls[i] = NULL;
        if (!call)
            continue;
        if (group->connection)
            postgres_query_detach(group->connection, call);
        postgres_lane_finish_early(group->lane, call, fail);
    }
    if (group->connection)
        postgres_cancel(group->connection, fail == FAIL_TIMEOUT ? POSTGRES_CANCEL_DEADLINE : POSTGRES_CANCEL_CLIENT);
    else
        postgres_lane_abandon(&group->waiter, fail); /* which ends the group */
}
