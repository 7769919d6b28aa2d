/* world.h - what the specs of core/postgres share: an engine on one loop against the server WICK_TEST_POSTGRES names, calls that are waited
 * for, and a blocking connection of the spec's own (the admin) that looks at the server from outside.
 *
 * Without WICK_TEST_POSTGRES the specs that need a server are skipped, with a line that says so.
 */
#ifndef SPEC_POSTGRES_WORLD_H
#define SPEC_POSTGRES_WORLD_H

#include "base/clock.h"
#include "base/log.h"
#include "loop/work.h"
#include "metrics/metrics.h"
#include "pooled.h"
#include "postgres/engine.h"
#include "support/spec.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

struct world {
    struct loop *loop;
    struct sql_engine *engine;
    PGconn *admin;
    struct postgres_settings settings;
    bool is_closed;
};
static struct world world;

struct asked {
    struct sql_call call;
    struct sql_value params[8];
    bool is_done;
    unsigned order;                      /* of on_done, over all */
};
struct leased {
    struct sql_lease lease;
    bool is_done;
};

static unsigned orders;

/* --- the server from outside --- */

static inline const char *server_url(void) { return getenv("WICK_TEST_POSTGRES"); }

/* Where engines connect to: the same, or the pooler in front of it. */
static inline const char *front_url(void)
{
#ifdef SPEC_POOLED
    return server_url() ? the_pooler.url : NULL;
#else
    return server_url();
#endif
}

static inline int needs_server(void)
{
    if (server_url())
        return 1;
    fprintf(stderr, "skipped: WICK_TEST_POSTGRES names no server\n");
    return 0;
}

static inline PGconn *open_admin(const char *url)
{
    PGconn *admin = PQconnectdb(url);
    if (PQstatus(admin) != CONNECTION_OK)
        fprintf(stderr, "%s", PQerrorMessage(admin));
    assert_int_equal(PQstatus(admin), CONNECTION_OK);
    PQclear(PQexec(admin, "set client_min_messages = warning; set time zone 'UTC'"));
    return admin;
}

/* The first cell of the answer, valid until the next call; "" for none. */
static inline const char *outside(const char *text)
{
    static char cell[1 << 16];
    PGresult *result = PQexec(world.admin, text);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        fail_msg("%s: %s", text, PQresultErrorMessage(result));
    snprintf(cell, sizeof cell, "%s", status == PGRES_TUPLES_OK && PQntuples(result) ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return cell;
}
static inline int outside_int(const char *text) { return atoi(outside(text)); }

#define OURS "datname = current_database() and application_name = 'wick spec'"

/* How many connections of ours the server has, or the pooler. */
static inline int front_connections(void)
{
#ifdef SPEC_POOLED
    return pooler_clients(&the_pooler);
#else
    return outside_int("select count(*) from pg_stat_activity where " OURS);
#endif
}

/* --- an engine and its loop --- */

static inline void turn(unsigned ms) { loop_turn(world.loop, ms, NULL); }

/* Turns until the condition holds, at most `ms`. */
#define turn_until(ms, condition) \
    do { \
        uint64_t end_ms_ = clock_mono_ms() + slow_ms(ms); \
        bool is_so_; /* asked once a turn: the condition may do something, and come out otherwise the next time */ \
        while (!(is_so_ = (condition)) && clock_mono_ms() < end_ms_) \
            turn(2); \
        _assert_true(is_so_, #condition, __FILE__, __LINE__); \
    } while (0)

static inline struct postgres_settings settings_for(const char *url)
{
    struct postgres_settings settings = postgres_settings_default();
    settings.conninfo = url == server_url() ? front_url() : url;
    settings.application_name = "wick spec";
    settings.min_size = 1;
    settings.max_size = 4;
    return settings;
}

static inline void open_world_with(struct postgres_settings settings)
{
    char why[256] = "";
    world = (struct world){ .settings = settings };
    assert_int_equal(loop_open("spec", &world.loop), FAIL_OK);
    enum fail fail = postgres_engine_open(&settings, &world.loop, 1, &world.engine, why, sizeof why);
    assert_string_equal(why, "");
    assert_int_equal(fail, FAIL_OK);
}

/* And the admin with it. */
static inline void open_world_and_admin(struct postgres_settings settings)
{
    open_world_with(settings);
    world.admin = open_admin(server_url());
}

static inline void on_world_closed(void *arg) { *(bool *)arg = true; }

static inline void close_engine(void)
{
    world.is_closed = false;
    world.engine->ops->close(world.engine, world.loop, /* drain_ms= */ 500, on_world_closed, &world.is_closed);
    turn_until(5000, world.is_closed);
    world.engine = NULL;
}

static inline int close_world(void **state)
{
    (void)state;
    if (!world.loop)
        return 0;
    if (world.engine)
        close_engine();
    PQfinish(world.admin);
    work_close(); /* a look-up may still be under way, and posts to the loop */
    assert_int_equal(work_open(2, 64), FAIL_OK);
    assert_int_equal(loop_close(world.loop, 1000), 0);
    world.loop = NULL;
    return 0;
}

/* --- asking --- */

static inline void on_asked(struct sql_call *call)
{
    struct asked *asked = call->arg;
    assert_false(asked->is_done);
    asked->is_done = true;
    asked->order = ++orders;
}

static inline void prepare_call(struct asked *asked, const char *text, unsigned param_count)
{
    asked->is_done = false;
    asked->call = (struct sql_call){ .text = str_of(text),
                                     .params = asked->params,
                                     .param_count = param_count,
                                     .on_done = on_asked,
                                     .arg = asked };
}

static inline void ask(struct asked *asked, const char *text, bool read_only)
{
    prepare_call(asked, text, 0);
    asked->call.read_only = read_only;
    sql_run(world.engine, &asked->call);
    assert_false(asked->is_done);
}

static inline void wait_for(struct asked *asked)
{
    if (!asked->is_done)
        loop_turn(world.loop, 20000, &asked->is_done);
    assert_true(asked->is_done);
}

static inline void drop_rows(struct asked *asked)
{
    sql_rows_free(asked->call.rows);
    asked->call.rows = NULL;
}

static inline void expect_ok(struct asked *asked)
{
    wait_for(asked);
    if (asked->call.fail)
        fail_msg("%.*s: %s %s %s", (int)asked->call.text.len, asked->call.text.data, fail_text(asked->call.fail),
                 asked->call.error.sqlstate, asked->call.error.text);
}

static inline void expect_error(struct asked *asked, enum fail fail, const char *sqlstate)
{
    wait_for(asked);
    assert_string_equal(asked->call.error.sqlstate, sqlstate);
    assert_int_equal(asked->call.fail, fail);
    assert_null(asked->call.rows);
}

/* Runs one statement to its end; the text of the first cell, valid until the next call. */
static inline const char *run(const char *text)
{
    static char cell[1 << 16];
    struct asked asked = { .is_done = false };
    ask(&asked, text, false);
    expect_ok(&asked);
    cell[0] = '\0';
    if (asked.call.rows->row_count && asked.call.rows->column_count) {
        struct sql_cell first = sql_rows_cell(asked.call.rows, 0, 0);
        snprintf(cell, sizeof cell, "%.*s", (int)first.text.len, first.text.data ? first.text.data : "");
    }
    drop_rows(&asked);
    return cell;
}

static inline void on_leased(struct sql_lease *lease) { ((struct leased *)lease->arg)->is_done = true; }

static inline void ask_session(struct leased *leased, bool read_only)
{
    leased->is_done = false;
    leased->lease = (struct sql_lease){ .read_only = read_only, .on_lease = on_leased, .arg = leased };
    sql_begin(world.engine, &leased->lease);
    assert_false(leased->is_done);
}

static inline struct sql_session *begin(struct leased *leased)
{
    ask_session(leased, false);
    loop_turn(world.loop, 20000, &leased->is_done);
    assert_int_equal(leased->lease.fail, FAIL_OK);
    assert_non_null(leased->lease.session);
    return leased->lease.session;
}

static inline void ask_in(struct sql_session *session, struct asked *asked, const char *text)
{
    prepare_call(asked, text, 0);
    sql_session_run(session, &asked->call);
    assert_false(asked->is_done);
}

static inline void run_in(struct sql_session *session, const char *text)
{
    struct asked asked = { .is_done = false };
    ask_in(session, &asked, text);
    expect_ok(&asked);
    drop_rows(&asked);
}

/* --- each spec program --- */

static inline int set_up_process(void **state)
{
    (void)state;
    log_setup(getenv("SPEC_LOG") ? LOG_DEBUG : LOG_ERROR, LOG_LOGFMT, 2);
    assert_int_equal(metrics_open(1000), FAIL_OK);
    assert_int_equal(work_open(2, 64), FAIL_OK);
#ifdef SPEC_POOLED
    if (server_url())
        start_pooler(&the_pooler, port_of(server_url()), "");
#endif
    return 0;
}

/* With the last test, which looks at the memory, so that nothing is left to a tear-down nobody sees. */
static inline void everything_is_given_back(void **state)
{
    work_close();
    metrics_close();
#ifdef SPEC_POOLED
    stop_pooler(&the_pooler);
#endif
    all_memory_is_given_back(state);
}

#endif
