/* report.c - asks each lane what its connections are doing, and makes one JSON text of the answers.
 *
 * DESIGN  What a connection does is known to its home loop alone, so the question goes round: a task on the first lane's loop writes that
 *         lane's part and posts itself to the next, and from the last to the loop that asked. Nothing is locked for longer than
 *         counting takes, and the hot path pays one store for each lease.
 * HOLDS   The report is on one loop at a time. Nothing here keeps the pool: who asks waits for the report before the engine is closed, as
 *         serve/admin does.
 * Path:   serve/admin > [postgres/report] > postgres/pool
 */
#include "postgres/report.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "postgres/answer.h"
#include "postgres/lane.h"
#include "postgres/ping.h"
#include "postgres/query.h"

enum { STATEMENT_BYTES = 120 };

/* What a connection is doing, as operators see it. */
enum postgres_state {
    POSTGRES_STATE_IDLE,
    POSTGRES_STATE_USED,
    POSTGRES_STATE_CONNECTING,
    POSTGRES_STATE_RESETTING,
    POSTGRES_STATE_CANCELLING,
    POSTGRES_STATE_PINGING,
    POSTGRES_STATE_MOVING,
    POSTGRES_STATES
};

struct round {
    struct sql_report *report;
    struct postgres_pool *pool;
    struct loop_task task;
    unsigned lane;
    struct buf connections; /* JSON objects, separated by commas */
    unsigned states[POSTGRES_STATES];
    uint64_t longest_hold_ms;
    enum fail fail;
};

static const char *const state_names[POSTGRES_STATES] = {
    [POSTGRES_STATE_IDLE] = "idle",
    [POSTGRES_STATE_USED] = "used",
    [POSTGRES_STATE_CONNECTING] = "connecting",
    [POSTGRES_STATE_RESETTING] = "resetting",
    [POSTGRES_STATE_CANCELLING] = "cancelling",
    [POSTGRES_STATE_PINGING] = "pinging",
    [POSTGRES_STATE_MOVING] = "moving",
};

/* On the connection's home loop; its place is read under the mutex. */
static enum postgres_state state_of(const struct postgres_connection *connection, enum postgres_place place)
{
    if (place == POSTGRES_OPENING)
        return POSTGRES_STATE_CONNECTING;
    if (place == POSTGRES_IDLE)
        return POSTGRES_STATE_IDLE;
    if (place == POSTGRES_MOVING)
        return POSTGRES_STATE_MOVING;
    if (connection->care != POSTGRES_CARE_NONE)
        return connection->care == POSTGRES_CARE_RESET ? POSTGRES_STATE_RESETTING : POSTGRES_STATE_CANCELLING;
    return connection->user == &postgres_ping_user ? POSTGRES_STATE_PINGING : POSTGRES_STATE_USED;
}

/* The first call under way says who uses the connection, and for what. */
static const struct sql_call *call_of(const struct postgres_connection *connection)
{
    for (unsigned i = 0; i < connection->step_count; i++) {
        const struct postgres_step *step = postgres_step_at(connection, i);
        if (step->kind == POSTGRES_STEP_CALL && step->call)
            return step->call;
    }
    return NULL;
}

static void add_user(struct buf *out, const struct postgres_connection *connection)
{
    const struct sql_call *call = call_of(connection);
    const char *holder = connection->holder ? connection->holder : call ? call->holder : NULL;
    if (holder) {
        buf_add_str(out, STR(",\"holder\":"));
        json_add_string(out, str_of(holder));
    }
    if (call) {
        size_t len = call->text.len < STATEMENT_BYTES ? call->text.len : STATEMENT_BYTES;
        buf_add_str(out, STR(",\"statement\":"));
        json_add_string(out, str_make(call->text.data, str_utf8_prefix(str_make(call->text.data, len))));
    }
}

static void add_connection(struct round *round, const struct postgres_connection *connection, enum postgres_place place)
{
    struct buf *out = &round->connections;
    enum postgres_state state = state_of(connection, place);
    bool is_held = place == POSTGRES_LEASED && connection->leased_ns;
    uint64_t since_ms = is_held ? connection->leased_ns / 1000000u : connection->quiet_since_ms;
    uint64_t now_ms = is_held ? clock_mono_ms() : loop_now_ms(connection->lane->loop);
    uint64_t for_ms = since_ms && now_ms > since_ms ? now_ms - since_ms : 0;
    round->states[state]++;
    if (is_held && for_ms > round->longest_hold_ms)
        round->longest_hold_ms = for_ms;
    buf_addf(out, "%s{\"pid\":%d,\"state\":\"%s\",\"for_ms\":%llu,\"uses\":%u,\"loop\":\"%s\"", out->len ? "," : "",
             connection->pid, state_names[state], (unsigned long long)for_ms, connection->uses,
             loop_name(connection->lane->loop));
    if (is_held)
        add_user(out, connection);
    buf_add_char(out, '}');
}

static void add_lane(struct round *round, struct postgres_lane *lane)
{
    LIST_EACH(&lane->all, node)
    {
        const struct postgres_connection *connection = LIST_ENTRY(node, struct postgres_connection, all_node);
        postgres_pool_lock(round->pool);
        enum postgres_place place = connection->place;
        postgres_pool_unlock(round->pool);
        add_connection(round, connection, place);
    }
}

/* --- the whole ------------------------------------------------------------------------------------------------ */

static void add_states(struct buf *out, const struct round *round)
{
    buf_add_str(out, STR(",\"states\":{"));
    for (unsigned i = 0; i < POSTGRES_STATES; i++)
        buf_addf(out, "%s\"%s\":%u", i ? "," : "", state_names[i], round->states[i]);
    buf_add_char(out, '}');
}

static void add_error(struct buf *out, const struct sql_error *error)
{
    if (!error->sqlstate[0])
        return;
    buf_add_str(out, STR(",\"error\":"));
    json_add_string(out, str_of(error->text));
}

static void write_report(struct round *round)
{
    struct buf *out = &round->report->json;
    struct postgres_pool *pool = round->pool;
    const struct postgres_settings *settings = pool->settings;
    struct postgres_counts counts;
    static const char *const breakers[] = {
        [BREAKER_CLOSED] = "closed", [BREAKER_OPEN] = "open", [BREAKER_HALF] = "half"
    };
    postgres_pool_count(pool, &counts);
    buf_add_str(out, STR("{\"engine\":\"postgres\",\"pool\":"));
    json_add_string(out, str_of(settings->name));
    buf_addf(out,
             ",\"min_size\":%u,\"max_size\":%u,\"total\":%u,\"waiting\":%u,"
             "\"oldest_wait_ms\":%llu,\"longest_hold_ms\":%llu,\"breaker\":\"%s\",\"retry_ms\":%llu",
             settings->min_size, settings->max_size, counts.total, counts.waiting,
             (unsigned long long)counts.oldest_wait_ms, (unsigned long long)round->longest_hold_ms,
             breakers[counts.breaker], (unsigned long long)counts.retry_ms);
    add_error(out, &counts.error);
    add_states(out, round);
    buf_add_str(out, STR(",\"connections\":["));
    buf_add_str(out, str_make(round->connections.data, round->connections.len));
    buf_add_str(out, STR("]}"));
}

/* On the loop that asked. */
static void finish(void *arg)
{
    struct round *round = arg;
    struct sql_report *report = round->report;
    write_report(round);
    report->fail = buf_ok(&round->connections) && buf_ok(&report->json) ? FAIL_OK : FAIL_NOMEM;
    buf_clear(&round->connections);
    mem_free(round);
    report->on_done(report);
}

/* On the lane's loop. */
static void visit(void *arg)
{
    struct round *round = arg;
    add_lane(round, &round->pool->lanes[round->lane]);
    bool is_last = ++round->lane == round->pool->lane_count;
    round->task.run = is_last ? finish : visit;
    loop_post(is_last ? round->report->loop : round->pool->lanes[round->lane].loop, &round->task);
}

static void fail_soon(void *arg)
{
    struct sql_report *report = arg;
    report->on_done(report);
}

void postgres_report_pool(struct postgres_pool *pool, struct sql_report *report)
{
    struct round *round = mem_zero(MEM_POSTGRES, sizeof *round);
    report->fail = FAIL_NOMEM;
    if (!round) {
        report->task = (struct loop_task){ .run = fail_soon, .arg = report };
        loop_post(report->loop, &report->task);
        return;
    }
    round->report = report;
    round->pool = pool;
    buf_init(&round->connections, MEM_POSTGRES, SQL_REPORT_BYTES_MAX);
    round->task = (struct loop_task){ .run = visit, .arg = round };
    loop_post(pool->lanes[0].loop, &round->task);
}
