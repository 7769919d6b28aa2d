/* COPY both ways: no faster than the slower side, no deadlock when it fails, and the connection is as good as before. */
#include "world.h"

#include "sql/copy.h"

#include <signal.h>
#include <unistd.h>

static int set_up(void **state)
{
    (void)state;
    if (!server_url())
        return 0;
    struct postgres_settings settings = settings_for(server_url());
    settings.max_size = 2;
    open_world_with(settings);
    world.admin = open_admin(server_url());
    outside("drop table if exists copy_spec; create table copy_spec(i int primary key, t text)");
    return 0;
}

static unsigned pid_of(const char *name)
{
    (void)name;
    return (unsigned)outside_int("select pid from pg_stat_activity where query ilike 'copy%' and " OURS);
}
static const char *state_of_ours(void)
{
    return outside("select string_agg(state, ' ') from pg_stat_activity where state <> 'idle' and " OURS);
}

/* --- a holder that copies --- */

struct copying {
    struct sql_copy copy;
    bool is_done, is_paused, fails, has_moved;
    unsigned chunks, rooms, chunks_max; /* in: how many to put */
    uint64_t bytes;
    char text[256], chunk[1 << 17];
    size_t chunk_len;
    void (*fill)(struct copying *copying);
    struct buf all;
};

static void on_copied(struct sql_call *call)
{
    struct copying *copying = call->arg;
    assert_false(copying->is_done);
    copying->is_done = copying->has_moved = true;
}

static void on_room(struct sql_copy *copy)
{
    struct copying *copying = copy->call.arg;
    assert_false(copying->is_done);
    copying->rooms++;
    if (copying->is_paused)
        return;
    if (copying->chunks == copying->chunks_max) {
        sql_copy_end(copy, copying->fails ? "enough of it" : NULL);
        return;
    }
    copying->chunks++;
    copying->fill(copying);
    copying->bytes += copying->chunk_len;
    sql_copy_put(copy, str_make(copying->chunk, copying->chunk_len));
}

static void on_chunk(struct sql_copy *copy, struct str chunk)
{
    struct copying *copying = copy->call.arg;
    assert_false(copying->is_done);
    copying->has_moved = true;
    copying->chunks++;
    copying->bytes += chunk.len;
    if (copying->all.bytes_max)
        buf_add_str(&copying->all, chunk);
    if (!copying->is_paused)
        sql_copy_read(copy);
}

static struct copying *copying_of(const char *text)
{
    static struct copying copying;
    buf_clear(&copying.all);
    copying = (struct copying){ .chunks_max = 1 };
    snprintf(copying.text, sizeof copying.text, "%s", text);
    copying.copy = (struct sql_copy){ .call = { .text = str_of(copying.text), .on_done = on_copied, .arg = &copying },
                                      .on_room = on_room,
                                      .on_chunk = on_chunk };
    return &copying;
}

static void start(struct sql_session *session, struct copying *copying)
{
    assert_int_equal(sql_copy_start(session, &copying->copy), FAIL_OK);
    assert_false(copying->is_done);
    if (copying->copy.way == SQL_COPY_OUT && !copying->is_paused)
        sql_copy_read(&copying->copy);
}

static void end_ok(struct copying *copying, int64_t rows)
{
    turn_until(60000, copying->is_done);
    if (copying->copy.call.fail)
        fail_msg("%s %s", copying->copy.call.error.sqlstate, copying->copy.call.error.text);
    assert_int_equal(copying->copy.call.rows->changed, rows);
    sql_rows_free(copying->copy.call.rows);
}

static void end_error(struct copying *copying, enum fail fail, const char *sqlstate)
{
    turn_until(10000, copying->is_done);
    assert_string_equal(copying->copy.call.error.sqlstate, sqlstate);
    assert_int_equal(copying->copy.call.fail, fail);
    assert_null(copying->copy.call.rows);
}

/* Ten thousand rows of about 100 bytes in each chunk, which ends in the middle of one. */
static void fill_rows(struct copying *copying)
{
    static unsigned row;
    static char line[128];
    static size_t line_at, line_len;
    if (copying->chunks == 1)
        row = 0, line_at = line_len = 0;
    copying->chunk_len = 0;
    while (copying->chunk_len < sizeof copying->chunk) {
        if (line_at == line_len) {
            if (copying->chunks == copying->chunks_max && copying->chunk_len > sizeof copying->chunk - 200)
                break;
            line_len = (size_t)snprintf(line, sizeof line, "%u\t%080u\n", row, row);
            row++;
            line_at = 0;
        }
        size_t len = line_len - line_at, room = sizeof copying->chunk - copying->chunk_len;
        len = len < room ? len : room;
        memcpy(copying->chunk + copying->chunk_len, line + line_at, len);
        copying->chunk_len += len;
        line_at += len;
    }
}

/* Rows that fit; the one numbered 1,000 is no number. */
static void fill_bad(struct copying *copying)
{
    copying->chunk_len = 0;
    static unsigned row;
    if (copying->chunks == 1)
        row = 0;
    while (copying->chunk_len < sizeof copying->chunk - 200) {
        row++;
        copying->chunk_len += (size_t)snprintf(copying->chunk + copying->chunk_len, 200,
                                               row == 1000 ? "x%u\t%080u\n" : "%u\t%080u\n", row, row);
    }
}

static void fill_few(struct copying *copying)
{
    copying->chunk_len = (size_t)snprintf(copying->chunk, sizeof copying->chunk, "%u\tone\n", copying->chunks);
}

/* The session of a COPY that failed takes a rollback, and its connection serves others. */
static void all_is_well(struct sql_session *session)
{
    struct asked asked = { .is_done = false };
    ask_in(session, &asked, "select 1");
    expect_error(&asked, FAIL_SQL, "25P02");
    run_in(session, "rollback");
    sql_session_end(session);
    for (int i = 0; i < 5; i++)
        assert_string_equal(run("select 3"), "3");
    turn_until(3000, state_of_ours()[0] == '\0');
    assert_int_equal(outside_int("select count(*) from copy_spec"), 0);
}

/* --- what goes well --- */

static void rows_go_in_and_come_out_in_the_transaction_of_the_session(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct sql_session *session = begin(&leased);
    struct copying *copying = copying_of("copy copy_spec from stdin");
    copying->chunks_max = 20;
    copying->fill = fill_few;
    start(session, copying);
    end_ok(copying, 20);
    assert_int_equal(outside_int("select count(*) from copy_spec"), 0);
    copying = copying_of("copy (select i, t from copy_spec where i <= 3 order by i) to stdout (format csv)");
    buf_init(&copying->all, MEM_SQL, 1 << 20);
    start(session, copying);
    end_ok(copying, 3);
    assert_text(str_make(copying->all.data, copying->all.len), "1,one\n2,one\n3,one\n");
    buf_clear(&copying->all);
    run_in(session, "insert into copy_spec values (100, 'behind')"); /* pipeline mode is on again */
    run_in(session, "commit");
    sql_session_end(session);
    assert_int_equal(outside_int("select count(*) from copy_spec"), 21);
    assert_int_equal(outside_int("select count(*) from pg_stat_activity where state like 'idle in%' and " OURS), 0);
}

static void a_copy_takes_its_turn_among_the_calls_of_its_session(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct asked before = { .is_done = false }, after = { .is_done = false };
    struct sql_session *session = begin(&leased);
    struct copying *copying = copying_of("copy copy_spec from stdin");
    copying->fill = fill_few;
    ask_in(session, &before, "select count(*) from copy_spec");
    start(session, copying);
    ask_in(session, &after, "select count(*) from copy_spec");
    expect_ok(&after);
    assert_true(before.is_done && copying->is_done);
    assert_int_equal(sql_rows_cell(before.call.rows, 0, 0).integer, 0);
    assert_int_equal(sql_rows_cell(after.call.rows, 0, 0).integer, 1);
    drop_rows(&before);
    drop_rows(&after);
    end_ok(copying, 1);
    sql_session_end(session);
}

static void binary_goes_through_as_it_is(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    skip_pooled("its temporary table is refused there");
    struct leased leased;
    struct sql_session *session = begin(&leased);
    run_in(session, "insert into copy_spec select g, repeat('z', g) from generate_series(1, 1000) g");
    struct copying *copying = copying_of("copy copy_spec to stdout (format binary)");
    buf_init(&copying->all, MEM_SQL, 8 << 20);
    start(session, copying);
    end_ok(copying, 1000);
    assert_memory_equal(copying->all.data, "PGCOPY\n\377\r\n", 11);
    run_in(session, "create temp table copy_spec_2(i int, t text) on commit drop");
    struct buf all = copying->all;
    copying->all = (struct buf){ 0 };
    copying = copying_of("copy copy_spec_2 from stdin (format binary)");
    copying->is_paused = true;
    start(session, copying);
    turn_until(2000, copying->rooms == 1);
    sql_copy_put(&copying->copy, str_make(all.data, all.len)); /* one chunk of half a megabyte */
    turn_until(2000, copying->rooms == 2);
    sql_copy_end(&copying->copy, NULL);
    end_ok(copying, 1000);
    buf_clear(&all);
    struct asked asked = { .is_done = false };
    ask_in(session, &asked, "select count(*) from copy_spec_2 natural join copy_spec");
    expect_ok(&asked);
    assert_int_equal(sql_rows_cell(asked.call.rows, 0, 0).integer, 1000);
    drop_rows(&asked);
    sql_session_end(session);
}

/* --- back-pressure --- */

static long rss_kb(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &pages, &resident), 2);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void a_slow_reader_of_200_megabytes_costs_no_memory(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct sql_session *session = begin(&leased);
    struct copying *copying = copying_of(
        "copy (select repeat('x', 999) from (select generate_series(1, 210000)) g) to stdout");
    copying->is_paused = true;
    copying->copy.call.timeout_ms = 300 * 1000;
    start(session, copying);
    turn(200); /* the server would have sent megabytes */
    assert_int_equal(copying->chunks, 0);
    long before_kb = rss_kb(), most_kb = 0;
    size_t live = mem_live();
    while (!copying->is_done) {
        unsigned chunks = copying->chunks;
        copying->has_moved = false;
        sql_copy_read(&copying->copy);
        loop_turn(world.loop, 5000, &copying->has_moved);
        assert_true(copying->has_moved);
        assert_true(copying->chunks <= chunks + 1);
        if (copying->chunks % 200 == 10)
            turn(20); /* nothing may pile up meanwhile */
        long kb = rss_kb() - before_kb;
        most_kb = kb > most_kb ? kb : most_kb;
        assert_true(mem_live() < live + (1 << 20));
    }
    end_ok(copying, 210000);
    assert_int_equal(copying->bytes, 210000000);
    if (!getenv("WICK_TEST_SANITIZE") || !*getenv("WICK_TEST_SANITIZE"))
        assert_in_range(most_kb, 0, 8 * 1024);
    sql_session_end(session);
}

static void a_server_that_takes_nothing_holds_up_the_giver(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    outside(
        "drop table if exists copy_spec_slow; create table copy_spec_slow(i int, t text); create or replace function "
        "copy_spec_wait() returns trigger language plpgsql as $$ begin perform pg_sleep(0.4); return null; end $$; "
        "create "
        "trigger w before insert on copy_spec_slow for each row when (new.i = 500) execute function copy_spec_wait()");
    struct sql_session *session = begin(&leased);
    struct copying *copying = copying_of("copy copy_spec_slow from stdin");
    copying->chunks_max = 2000; /* 260 MB, if they were taken */
    copying->fill = fill_rows;
    size_t live = mem_live();
    start(session, copying);
    turn_until(2000, copying->chunks > 0);
    turn(300);
    unsigned chunks = copying->chunks;
    assert_true(chunks < 400); /* what fits into the kernel */
    turn(30);
    assert_true(mem_live() < live + (1 << 20));
    sql_session_end(session); /* in the middle of it */
    turn_until(4000, copying->is_done);
    assert_int_equal(copying->copy.call.fail, FAIL_CANCELLED);
    turn_until(5000, state_of_ours()[0] == '\0');
    outside("drop table copy_spec_slow");
    assert_string_equal(run("select 3"), "3");
}

/* --- what goes wrong --- */

static void an_error_in_row_1000_ends_a_copy_of_many_without_sending_the_rest(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct sql_session *session = begin(&leased);
    struct copying *copying = copying_of("copy copy_spec from stdin");
    copying->chunks_max = 1000000; /* 130 GB */
    copying->fill = fill_bad;
    start(session, copying);
    end_error(copying, FAIL_SQL, "22P02");
    assert_true(copying->chunks < 100000);
    all_is_well(session);
}

static void an_error_before_the_first_byte_leaves_no_answer_too_many(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    outside("drop view if exists copy_spec_view; create view copy_spec_view as select 1 as i");
    for (int round = 0; round < 5; round++) {
        struct leased leased;
        struct sql_session *session = begin(&leased);
        struct copying *copying = copying_of(
            "copy copy_spec_view from stdin"); /* refused after "ready to take" was said */
        copying->chunks_max = (unsigned)round;
        copying->fill = fill_few;
        start(session, copying);
        end_error(copying, FAIL_SQL, "42809");
        all_is_well(session);
    }
    outside("drop view copy_spec_view");
}

static void a_statement_the_server_refuses_is_an_error_of_the_copy(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct sql_session *session = begin(&leased);
    struct copying *copying = copying_of("copy no_such_table to stdout");
    start(session, copying);
    end_error(copying, FAIL_SQL, "42P01");
    all_is_well(session);
    session = begin(&leased);
    copying = copying_of("copy copy_spec from '/etc/passwd'");
    assert_int_equal(sql_copy_start(session, &copying->copy), FAIL_INVALID);
    assert_string_equal(copying->copy.call.error.sqlstate, "42601");
    run_in(session, "set local standard_conforming_strings = off");
    copying = copying_of("copy copy_spec from stdin");
    start(session, copying);
    end_error(copying, FAIL_SQL, "0A000");
    sql_session_end(session);
}

static void the_giver_can_fail_it(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct sql_session *session = begin(&leased);
    struct copying *copying = copying_of("copy copy_spec from stdin");
    copying->chunks_max = 3;
    copying->fill = fill_few;
    copying->fails = true;
    start(session, copying);
    end_error(copying, FAIL_SQL, "57014");
    assert_non_null(strstr(copying->copy.call.error.text, "enough of it"));
    all_is_well(session);
}

static void notices_in_the_middle_are_no_error(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    skip_pooled("LISTEN is refused there");
    outside("create or replace function copy_spec_say() returns trigger language plpgsql as $$ begin raise notice 'row "
            "%', new.i; "
            "return new; end $$; create trigger s before insert on copy_spec for each row execute function "
            "copy_spec_say()");
    struct leased leased;
    struct sql_session *session = begin(&leased);
    run_in(session, "listen copy_spec");
    struct copying *copying = copying_of("copy copy_spec from stdin");
    copying->is_paused = true;
    start(session, copying);
    turn_until(2000, copying->rooms == 1);
    static char rows[300 << 10];
    size_t len = 0;
    for (int i = 0; len < sizeof rows - 100; i++)
        len += (size_t)snprintf(rows + len, 100, "%d\t%050d\n", i, i);
    sql_copy_put(&copying->copy, str_make(rows, len));
    turn_until(2000, copying->rooms == 2);
    turn(200); /* time enough to become suspicious */
    assert_false(copying->is_done);
    sql_copy_end(&copying->copy, NULL);
    turn_until(5000, copying->is_done);
    assert_int_equal(copying->copy.call.fail, FAIL_OK);
    sql_rows_free(copying->copy.call.rows);
    sql_session_end(session);
}

static void a_deadline_ends_it_either_way(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char *const texts[] = { "copy copy_spec from stdin",
                                         "copy (select generate_series(1, 10000000), repeat('x', 999)) to stdout",
                                         "copy (select pg_sleep(30)) to stdout" };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct leased leased;
        struct sql_session *session = begin(&leased);
        struct copying *copying = copying_of(texts[i]);
        copying->is_paused = i == 0; /* it gives nothing */
        copying->copy.call.timeout_ms = 200;
        start(session, copying);
        end_error(copying, FAIL_TIMEOUT, "57014");
        all_is_well(session);
    }
}

static void a_cancel_ends_it_either_way(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char *const texts[] = { "copy copy_spec from stdin",
                                         "copy (select generate_series(1, 10000000), repeat('x', 999)) to stdout" };
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        for (unsigned ms = 0; ms < 60; ms += 15) {
            struct leased leased;
            struct sql_session *session = begin(&leased);
            struct copying *copying = copying_of(texts[i]);
            copying->is_paused = ms % 2;
            copying->chunks_max = 1000000;
            copying->fill = fill_rows;
            start(session, copying);
            turn(ms);
            sql_cancel(world.engine, &copying->copy.call);
            end_error(copying, FAIL_CANCELLED, "57014");
            sql_session_end(session);
            assert_string_equal(run("select 3"), "3");
        }
    turn_until(3000, state_of_ours()[0] == '\0');
}

static void a_back_end_that_is_ended_ends_it_either_way(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char *const texts[] = { "copy copy_spec from stdin",
                                         "copy (select generate_series(1, 10000000), repeat('x', 999)) to stdout" };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct leased leased;
        struct sql_session *session = begin(&leased);
        struct copying *copying = copying_of(texts[i]);
        copying->chunks_max = 1000000;
        copying->fill = fill_rows;
        start(session, copying);
        turn_until(3000, copying->chunks > 3);
        outside("select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'copy%' and " OURS);
        turn_until(10000, copying->is_done);
        assert_int_equal(copying->copy.call.fail, FAIL_SQL);
        assert_true(sql_error_is(&copying->copy.call.error, "57P01") || sql_error_is(&copying->copy.call.error, "08"));
        assert_true(copying->copy.call.error.sent);
        sql_session_end(session);
        assert_string_equal(run("select 3"), "3");
    }
    assert_int_equal(outside_int("select count(*) from copy_spec"), 0);
}

static void a_server_that_stands_still_is_given_up_at_the_deadline(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char *const texts[] = { "copy copy_spec from stdin",
                                         "copy (select generate_series(1, 10000000), repeat('x', 999)) to stdout" };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct leased leased;
        struct sql_session *session = begin(&leased);
        struct copying *copying = copying_of(texts[i]);
        copying->chunks_max = 1000000;
        copying->fill = fill_rows;
        copying->copy.call.timeout_ms = slow_ms(400);
        start(session, copying);
        turn_until(3000, copying->chunks > 3);
        int pid = (int)pid_of("copy");
        assert_true(pid > 0);
        assert_int_equal(kill(pid, SIGSTOP), 0);
        uint64_t stopped_ms = clock_mono_ms();
        turn_until(3000, copying->is_done);
        assert_true(clock_mono_ms() - stopped_ms < 2 * slow_ms(400));
        assert_int_equal(copying->copy.call.fail, FAIL_TIMEOUT);
        sql_session_end(session);
        assert_string_equal(run("select 3"), "3"); /* on another connection */
        turn(2500);                                /* the stopped one is closed by now */
        assert_int_equal(kill(pid, SIGCONT), 0);
        turn_until(5000, state_of_ours()[0] == '\0');
    }
    assert_int_equal(outside_int("select count(*) from copy_spec"), 0);
}

static void a_holder_that_leaves_ends_it_either_way(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    static const char *const texts[] = { "copy copy_spec from stdin",
                                         "copy (select generate_series(1, 10000000), repeat('x', 999)) to stdout" };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct leased leased;
        struct sql_session *session = begin(&leased);
        struct copying *copying = copying_of(texts[i]);
        copying->is_paused = true;
        start(session, copying);
        turn(50);
        sql_session_end(session);
        end_error(copying, FAIL_CANCELLED, "57014");
        turn_until(3000, state_of_ours()[0] == '\0');
        assert_string_equal(run("select 3"), "3");
    }
}

static void a_row_larger_than_it_may_be_is_not_waited_for(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    struct leased leased;
    struct sql_session *session = begin(&leased);
    struct copying *copying = copying_of("copy (select repeat('x', 100000000)) to stdout");
    copying->copy.call.bytes_max = 1 << 20;
    start(session, copying);
    size_t live = mem_live();
    end_error(copying, FAIL_SQL, "54000");
    assert_true(mem_live() < live + (2 << 20));
    sql_session_end(session);
    assert_string_equal(run("select 3"), "3");
    turn_until(5000, state_of_ours()[0] == '\0');
}

int main(void)
{
#define SPEC(test) cmocka_unit_test_setup_teardown(test, set_up, close_world)
    const struct CMUnitTest tests[] = {
        SPEC(rows_go_in_and_come_out_in_the_transaction_of_the_session),
        SPEC(a_copy_takes_its_turn_among_the_calls_of_its_session),
        SPEC(binary_goes_through_as_it_is),
        SPEC(a_slow_reader_of_200_megabytes_costs_no_memory),
        SPEC(a_server_that_takes_nothing_holds_up_the_giver),
        SPEC(an_error_in_row_1000_ends_a_copy_of_many_without_sending_the_rest),
        SPEC(an_error_before_the_first_byte_leaves_no_answer_too_many),
        SPEC(a_statement_the_server_refuses_is_an_error_of_the_copy),
        SPEC(the_giver_can_fail_it),
        SPEC(notices_in_the_middle_are_no_error),
        SPEC(a_deadline_ends_it_either_way),
        SPEC(a_cancel_ends_it_either_way),
        SPEC(a_back_end_that_is_ended_ends_it_either_way),
        SPEC(a_server_that_stands_still_is_given_up_at_the_deadline),
        SPEC(a_holder_that_leaves_ends_it_either_way),
        SPEC(a_row_larger_than_it_may_be_is_not_waited_for),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_process, NULL);
}
