/* Answers that come late, or in pieces, to those that hold a connection: sessions, COPY and pipelines. */
#include "wire.h"

#include "sql/copy.h"

/* --- sessions ------------------------------------------------------------------------------------------------- */

static void behind_a_commit_of_unknown_outcome_nothing_says_that_it_may_run_again(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct asked commit = { .is_done = false }, behind = { .is_done = false };
    open_wire("");
    outside("drop table if exists slow_spec; create table slow_spec(i int)");
    struct sql_session *session = begin(&leased);
    run_in(session, "insert into slow_spec values (1)");
    proxy_tell(&proxy, "set down_hold=1"); /* it takes place, and nobody hears of it */
    prepare_call(&commit, "commit", 0);
    commit.call.timeout_ms = 200;
    sql_session_run(session, &commit.call);
    expect_error(&commit, FAIL_TIMEOUT, "57014");
    assert_int_equal(outside_int("select count(*) from slow_spec"), 1);
    ask_in(session, &behind, "insert into slow_spec values (2)");
    proxy_tell(&proxy, "rst");
    proxy_tell(&proxy, "set down_hold=0");
    wait_for(&behind);
    assert_int_equal(behind.call.fail, FAIL_SQL);
    assert_false(behind.call.error.again);
    struct asked late = { .is_done = false };
    ask_in(session, &late, "select 1");
    wait_for(&late);
    assert_false(late.call.error.again);
    sql_session_end(session);
    all_is_well();
}

struct copying {
    struct sql_copy copy;
    bool is_done;
    unsigned rooms;
};

static void on_copied(struct sql_call *call) { ((struct copying *)call->arg)->is_done = true; }
static void on_room(struct sql_copy *copy) { ((struct copying *)copy->call.arg)->rooms++; }
static void on_chunk(struct sql_copy *copy, struct str chunk)
{
    (void)chunk;
    sql_copy_read(copy);
}

static void start_copy(struct sql_session *session, struct copying *copying, const char *text)
{
    *copying = (struct copying){ .copy = { .call = { .text = str_of(text), .on_done = on_copied, .arg = copying },
                                           .on_room = on_room,
                                           .on_chunk = on_chunk } };
    assert_int_equal(sql_copy_start(session, &copying->copy), FAIL_OK);
}

static void expect_copied(struct copying *copying)
{
    turn_until(10000, copying->is_done);
    if (copying->copy.call.fail)
        fail_msg("%s %s", copying->copy.call.error.sqlstate, copying->copy.call.error.text);
    sql_rows_free(copying->copy.call.rows);
}

static void a_copy_for_which_the_transaction_is_begun_just_in_time_is_not_taken_for_silence(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct copying copying;
    wire_settings.idle_in_transaction_ms = 1000;
    open_wire("");
    run("select 1");
    struct sql_session *session = begin(&leased);
    proxy_tell(&proxy, "set delay_ms=250");
    turn(700);
    start_copy(session, &copying, "copy (select 1) to stdout");
    sql_copy_read(&copying.copy);
    expect_copied(&copying);
    proxy_tell(&proxy, "set delay_ms=0");
    sql_session_end(session);
}

/* --- COPY ----------------------------------------------------------------------------------------------------- */

static void a_notice_in_pieces_does_not_end_a_copy(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct copying copying;
    open_wire("");
    outside("drop table if exists slow_spec; create table slow_spec(i int);"
            "create or replace function slow_spec_say() returns trigger language plpgsql as $$ begin raise notice "
            "'row %', new.i; return new; end $$; create trigger s before insert on slow_spec for each row execute "
            "function slow_spec_say()");
    struct sql_session *session = begin(&leased);
    start_copy(session, &copying, "copy slow_spec from stdin");
    turn_until(2000, copying.rooms == 1);
    proxy_tell(&proxy, "set down_fragment=20 down_rate=200"); /* a piece each tenth of a second */
    static char rows[80 << 10];                               /* more than the server reads at a time */
    size_t len = (size_t)snprintf(rows, sizeof rows, "1\n");
    memset(rows + len, '0', sizeof rows - len - 2);
    memcpy(rows + sizeof rows - 2, "2\n", 2);
    sql_copy_put(&copying.copy, str_make(rows, sizeof rows));
    turn_until(3000, copying.rooms == 2);
    turn(1500);
    assert_false(copying.is_done);
    proxy_tell(&proxy, "set down_fragment=0 down_rate=0");
    sql_copy_end(&copying.copy, NULL);
    expect_copied(&copying);
    sql_session_end(session);
}

/* --- pipelines ------------------------------------------------------------------------------------------------ */

enum { GROUP = 5, READS = 2 };
static struct asked group[GROUP];

static void cut_off(void *arg)
{
    (void)arg;
    proxy_tell(&proxy, "rst");
    usleep(10000); /* it is here, and the loop does not know yet */
}

static void ask_group(struct sql_call *call)
{
    static struct loop_task cut = { .run = cut_off };
    static struct sql_call *calls[GROUP];
    on_asked(call);
    for (unsigned i = 0; i < GROUP; i++) {
        prepare_call(&group[i], i < READS ? "select $1::int" : "insert into slow_spec values ($1)", 1);
        group[i].params[0] = (struct sql_value){ .type = SQL_INT, .integer = i };
        group[i].call.read_only = i < READS;
        calls[i] = &group[i].call;
    }
    loop_defer(world.loop, &cut); /* it runs just before the pipeline gets its connection */
    sql_run_many(world.engine, calls, GROUP, /* atomic= */ false);
}

/* The connection was lost while they were put on it. libpq notices with the second: as far as it knows these two were sent, which a read may
 * be twice. */
static void statements_of_a_pipeline_that_were_never_sent_go_out_on_another_connection(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct asked first = { .is_done = false };
    wire_settings.max_size = 1;
    open_wire("");
    outside("drop table if exists slow_spec; create table slow_spec(i int primary key)");
    run("select 1");
    prepare_call(&first, "select 1", 0);
    first.call.on_done = ask_group;
    sql_run(world.engine, &first.call);
    expect_ok(&first);
    drop_rows(&first);
    for (unsigned i = 0; i < GROUP; i++) {
        expect_ok(&group[i]);
        drop_rows(&group[i]);
    }
    assert_int_equal(outside_int("select count(*) from slow_spec"), GROUP - READS);
    all_is_well();
}

/* --- opening -------------------------------------------------------------------------------------------------- */

static void a_back_end_that_ends_while_it_greets_is_not_followed_by_another_at_once(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    wire_settings.min_size = 2;
    open_wire("");
    unsigned before = proxy_stat(&proxy, "accepted");
    for (uint64_t begin_ms = clock_mono_ms(); clock_mono_ms() - begin_ms < 1000;) {
        proxy_tell(&proxy, "on R before fatal");
        turn(1);
    }
    unsigned attempts = proxy_stat(&proxy, "accepted") - before;
    assert_in_range(attempts, 2, 8); /* one each 200 ms, and what was under way */
    while (proxy_stat(&proxy, "armed"))
        turn(20);
    turn_until(2000, pool_total() == 2);
    all_is_well();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WIRE_TEST(behind_a_commit_of_unknown_outcome_nothing_says_that_it_may_run_again),
        WIRE_TEST(a_copy_for_which_the_transaction_is_begun_just_in_time_is_not_taken_for_silence),
        WIRE_TEST(a_notice_in_pieces_does_not_end_a_copy),
        WIRE_TEST(statements_of_a_pipeline_that_were_never_sent_go_out_on_another_connection),
        WIRE_TEST(a_back_end_that_ends_while_it_greets_is_not_followed_by_another_at_once),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_wire_group, NULL);
}
