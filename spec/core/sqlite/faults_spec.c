/* faults_spec.c - files that cannot be opened, written or locked, and a program that is killed: nothing acknowledged is lost. */
#include "support/sqlite_world.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

static void refuses(struct world *world, enum fail fail, const char *words)
{
    assert_int_equal(sqlite_engine_open(&world->settings, &world->engine, world->why, sizeof world->why), fail);
    assert_null(world->engine);
    if (!strstr(world->why, words))
        fail_msg("\"%s\" does not say \"%s\"", world->why, words);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void a_file_that_cannot_be_says_what_to_do(void **state)
{
    (void)state;
    struct world world;
    char nowhere[160];
    world_fill(&world);
    world.settings.create = false;
    refuses(&world, FAIL_MISSING, "does not exist: correct the path");
    write_file(
        world.path,
        "This is a letter, long enough to be read, and by no means a database. Yours sincerely, the writer of it all.");
    refuses(&world, FAIL_INVALID, "is not an SQLite database");
    world.settings.path = world.dir;
    refuses(&world, FAIL_INVALID, "is not a file");
    world.settings.path = ":memory:";
    refuses(&world, FAIL_INVALID, "must name a file");
    world.settings.path = NULL;
    refuses(&world, FAIL_INVALID, "must name a file");
    snprintf(nowhere, sizeof nowhere, "%s/no/such/folder.db", world.dir);
    world.settings.path = nowhere;
    world.settings.create = true;
    refuses(&world, FAIL_IO, "folder must exist and be writable");
    world.settings.path = world.path;
    world.settings.readers = 1000;
    refuses(&world, FAIL_INVALID, "too many");
    world_close(&world);
}

static void a_damaged_file_is_named_so(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    ask(&world, "create table t(a)", "");
    for (int i = 0; i < 20; i++)
        ask(&world, "insert into t select hex(randomblob(2000))", "");
    world_stop(&world, 1000);
    int fd = open(world.path, O_WRONLY);
    char junk[4096];
    memset(junk, 0xa5, sizeof junk);
    assert_int_equal(pwrite(fd, junk, sizeof junk, 4096), sizeof junk); /* the table's root page */
    close(fd);
    world_start(&world);
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "XX001");
    char why[128];
    assert_false(world.engine->ops->is_ready(world.engine, why, sizeof why));
    assert_string_equal(ask(&world, "select 1 as x", ""), "[{\"x\":1}]");
    assert_true(world.engine->ops->is_ready(world.engine, why, sizeof why));
    world_close(&world);
}

static void a_lock_held_by_another_program_is_waited_for(void **state)
{
    (void)state;
    struct world world;
    struct answer answers[3];
    world_open(&world);
    ask(&world, "create table t(a)", "");
    sqlite3 *other = outsider(&world);
    assert_int_equal(sqlite3_exec(other, "begin immediate; insert into t values (0)", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < 3; i++)
        answer_set(&answers[i], "insert into t values (1)", "");
    run_each(&world, answers, 3);
    loop_turn(world.loop, 100, NULL);
    assert_false(answers[0].is_done);
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "[{\"n\":0}]"); /* reads go on */
    assert_int_equal(sqlite3_exec(other, "commit", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < 3; i++) {
        answer_wait(&world, &answers[i]);
        assert_int_equal(answers[i].call.fail, FAIL_OK);
        answer_free(&answers[i]);
    }
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "[{\"n\":4}]");
    sqlite3_close(other);
    world_close(&world);
}

static void a_lock_held_too_long_is_an_error_for_all_that_waited(void **state)
{
    (void)state;
    struct world world;
    struct answer answers[3];
    struct wish wish = { 0 };
    world_fill(&world);
    world.settings.busy_ms = 80;
    world_start(&world);
    ask(&world, "create table t(a)", "");
    sqlite3 *other = outsider(&world);
    assert_int_equal(sqlite3_exec(other, "begin immediate", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < 3; i++)
        answer_set(&answers[i], "insert into t values (1)", "");
    uint64_t from_ms = clock_mono_ms();
    run_each(&world, answers, 3);
    for (int i = 0; i < 3; i++) {
        answer_wait(&world, &answers[i]);
        assert_string_equal(answers[i].call.error.sqlstate, "55P03");
        assert_non_null(strstr(answers[i].call.error.text, "locked by another process"));
    }
    assert_in_range(clock_mono_ms() - from_ms, 79, 1000);
    wish_start(&world, &wish, false);
    wish_wait(&world, &wish);
    assert_string_equal(wish.lease.error.sqlstate, "55P03");
    answer_set(&answers[0], "insert into t values (1)", "");
    run(&world, &answers[0]);
    loop_turn(world.loop, 20, NULL);
    sql_cancel(world.engine, &answers[0].call); /* also while it waits for the lock */
    answer_wait(&world, &answers[0]);
    assert_int_equal(answers[0].call.fail, FAIL_CANCELLED);
    sqlite3_exec(other, "rollback", NULL, NULL, NULL);
    sqlite3_close(other);
    assert_string_equal(ask(&world, "insert into t values (1)", ""), "[]");
    assert_true(sqlite_engine_stats(world.engine).busy >= 2);
    world_close(&world);
}

static void a_file_out_of_wal_mode_works_and_stays_so(void **state)
{
    (void)state;
    struct world world;
    world_fill(&world);
    world.settings.keep_journal = true;
    world_start(&world);
    ask(&world, "create table t(a)", "");
    assert_string_equal(ask(&world, "pragma journal_mode", ""), "[{\"journal_mode\":\"delete\"}]");
    assert_string_equal(ask(&world, "insert into t values (1) returning a", ""), "[{\"a\":1}]");
    assert_string_equal(ask(&world, "select a from t", ""), "[{\"a\":1}]");
    world_close(&world);
}

static void a_file_in_use_keeps_its_journal_and_is_served(void **state)
{
    (void)state;
    struct world world;
    world_fill(&world);
    sqlite3 *other = outsider(&world);
    assert_int_equal(
        sqlite3_exec(other, "create table t(a); insert into t values (1); begin; select * from t", NULL, NULL, NULL),
        SQLITE_OK);
    world.settings.busy_ms = 50;
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    world_start(&world);
    assert_string_equal(ask(&world, "select a from t", ""), "[{\"a\":1}]");
    assert_string_equal(ask(&world, "insert into t values (2)", ""),
                        "55P03"); /* its COMMIT would have to wait for the reader */
    sqlite3_exec(other, "commit", NULL, NULL, NULL);
    assert_string_equal(ask(&world, "insert into t values (2)", ""), "[]");
    assert_string_equal(ask(&world, "pragma journal_mode", ""), "[{\"journal_mode\":\"delete\"}]");
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), "[{\"n\":2}]");
    sqlite3_close(other);
    world_close(&world);
}

static void a_full_file_loses_nothing_and_recovers(void **state)
{
    (void)state;
    enum { COUNT = 100 };
    struct world world;
    static struct answer answers[COUNT];
    world_open(&world);
    ask(&world, "create table t(id integer primary key, a)", "");
    ask(&world, "pragma max_page_count = 60", "");
    for (unsigned i = 0; i < COUNT; i++)
        answer_set(&answers[i], "insert into t(a) values (zeroblob(3000))", "");
    run_each(&world, answers, COUNT);
    unsigned kept = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        answer_wait(&world, &answers[i]);
        if (answers[i].call.fail)
            assert_string_equal(answers[i].call.error.sqlstate, "53100");
        else
            kept++;
        answer_free(&answers[i]);
    }
    assert_in_range(kept, 20, 60);
    char expected[64];
    snprintf(expected, sizeof expected, "[{\"n\":%u}]", kept);
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), expected);
    ask(&world, "pragma max_page_count = 100000", "");
    assert_string_equal(ask(&world, "insert into t(a) values (1)", ""), "[]");
    world_close(&world);
}

/* A real full disk, where we may mount one. */
static void a_full_disk_loses_nothing_and_recovers(void **state)
{
    (void)state;
    struct world world;
    char command[256], path[128], ballast[128];
    world_fill(&world);
    snprintf(command, sizeof command, "mkdir %s/disk && mount -t tmpfs -o size=1m none %s/disk 2>/dev/null", world.dir,
             world.dir);
    if (system(command) != 0) {
        print_message("skipped: no disk can be mounted here\n");
        world_close(&world);
        skip();
    }
    snprintf(path, sizeof path, "%s/disk/a.db", world.dir);
    snprintf(ballast, sizeof ballast, "%s/disk/ballast", world.dir);
    world.settings.path = path;
    world_start(&world);
    ask(&world, "create table t(a)", "");
    unsigned kept = 0;
    for (unsigned i = 0; i < 1000; i++) {
        const char *text = ask(&world, "insert into t values (randomblob(8000))", "");
        if (strcmp(text, "[]") != 0) {
            assert_string_equal(text, "53100");
            break;
        }
        kept++;
    }
    assert_in_range(kept, 10, 200);
    char expected[64];
    snprintf(expected, sizeof expected, "[{\"n\":%u}]", kept);
    assert_string_equal(ask(&world, "select count(*) as n from t", ""), expected);
    snprintf(command, sizeof command, "mount -o remount,size=8m %s/disk", world.dir);
    assert_int_equal(system(command), 0);
    assert_string_equal(ask(&world, "insert into t values (1)", ""), "[]");
    world_stop(&world, 1000);
    snprintf(command, sizeof command, "umount %s/disk", world.dir);
    assert_int_equal(system(command), 0);
    world_close(&world);
}

/* Runs the test in a process that is not root, for root may write everything. */
static void a_read_only_file_reads_and_refuses_writes(void **state)
{
    (void)state;
    struct world world;
    world_fill(&world);
    world.settings.keep_journal = true;
    world_start(&world);
    ask(&world, "create table t(a)", "");
    ask(&world, "insert into t values (1)", "");
    world_stop(&world, 1000);
    assert_int_equal(chmod(world.path, 0444), 0);
    assert_int_equal(chmod(world.dir, 0555), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (loop_open("child", &world.loop)) /* the parent's is not to be shared */
            _exit(10);
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(9);
        world.settings.create = false;
        world.settings.keep_journal = false;
        if (sqlite_engine_open(&world.settings, &world.engine, world.why, sizeof world.why))
            _exit(8);
        bool reads = strcmp(ask(&world, "select a from t", ""), "[{\"a\":1}]") == 0;
        bool refuses_write = strcmp(ask(&world, "insert into t values (2)", ""), "25006") == 0;
        struct wish wish = { 0 };
        wish_start(&world, &wish, false);
        wish_wait(&world, &wish);
        bool refuses_session = strcmp(wish.lease.error.sqlstate, "25006") == 0;
        world_stop(&world, 1000);
        _exit(!reads + 2 * !refuses_write + 4 * !refuses_session);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(chmod(world.dir, 0755), 0);
    world_close(&world);
}

/* --- kill -9 --- */

struct writer {
    struct world *world;
    struct answer answer;
    int64_t id;
    int fd;
};

static void on_written(struct sql_call *call)
{
    struct writer *writer = call->arg;
    if (call->fail)
        _exit(7);
    sql_rows_free(call->rows);
    if (write(writer->fd, &writer->id, sizeof writer->id) != sizeof writer->id)
        _exit(6);
    writer->id += 64;
    writer->answer.params[0].integer = writer->id;
    sql_run(writer->world->engine, call);
}

/* 64 writers in flight; each id goes down the pipe once its insert was acknowledged. Ends by being killed. */
static void write_until_killed(struct world *world, int64_t first, int fd)
{
    static struct writer writers[64];
    static struct answer *answers[64];
    if (loop_open("child", &world->loop) ||
        sqlite_engine_open(&world->settings, &world->engine, world->why, sizeof world->why))
        _exit(8);
    for (int i = 0; i < 64; i++) {
        writers[i] = (struct writer){ .world = world, .id = first + i, .fd = fd };
        answers[i] = &writers[i].answer;
        answer_set(answers[i], "insert into t values ($1)", "i", writers[i].id);
        answers[i]->call.on_done = on_written;
        answers[i]->call.arg = &writers[i];
        run(world, answers[i]);
    }
    loop_turn(world->loop, 60000, NULL);
    _exit(5);
}

/* Reads what was acknowledged, kills the writer after a while and reads the rest. */
static unsigned collect(int fd, pid_t child, unsigned ms, unsigned char *acknowledged, int64_t count_max)
{
    unsigned count = 0;
    uint64_t kill_ms = clock_mono_ms() + ms;
    bool is_killed = false;
    for (;;) {
        if (!is_killed && clock_mono_ms() >= kill_ms) {
            kill(child, SIGKILL);
            is_killed = true;
        }
        struct pollfd wait = { .fd = fd, .events = POLLIN };
        if (poll(&wait, 1, 1) <= 0)
            continue;
        int64_t ids[512];
        ssize_t len = read(fd, ids, sizeof ids);
        if (len <= 0)
            return count;
        for (size_t i = 0; i < (size_t)len / sizeof *ids; i++, count++) {
            assert_in_range(ids[i], 0, count_max - 1);
            acknowledged[ids[i]] = 1;
        }
    }
}

static void no_acknowledged_write_is_lost_by_kill_9(void **state)
{
    (void)state;
    enum { ROUNDS = 8, IDS = 4000000 };
    struct world world;
    unsigned char *acknowledged = calloc(1, IDS);
    world_open(&world);
    ask(&world, "create table t(id integer primary key)", "");
    world_stop(&world, 1000);
    unsigned total = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            close(ends[0]);
            write_until_killed(&world, (int64_t)round * (IDS / ROUNDS), ends[1]);
        }
        close(ends[1]);
        total += collect(ends[0], child, 60 + 37 * (unsigned)round, acknowledged, IDS);
        close(ends[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        sqlite3 *other = outsider(&world);
        sqlite3_stmt *stmt;
        assert_int_equal(sqlite3_prepare_v2(other, "select id from t order by id", -1, &stmt, NULL), SQLITE_OK);
        unsigned found = 0;
        while (sqlite3_step(stmt) == SQLITE_ROW)
            found += acknowledged[sqlite3_column_int64(stmt, 0)];
        sqlite3_finalize(stmt);
        sqlite3_close(other);
        assert_int_equal(found, total);
    }
    assert_true(total > 100);
    print_message("%u acknowledged writes, %d kills, all there\n", total, ROUNDS);
    free(acknowledged);
    world_close(&world);
}

int main(void)
{
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_cannot_be_says_what_to_do),
        cmocka_unit_test(a_damaged_file_is_named_so),
        cmocka_unit_test(a_lock_held_by_another_program_is_waited_for),
        cmocka_unit_test(a_lock_held_too_long_is_an_error_for_all_that_waited),
        cmocka_unit_test(a_file_out_of_wal_mode_works_and_stays_so),
        cmocka_unit_test(a_file_in_use_keeps_its_journal_and_is_served),
        cmocka_unit_test(a_full_file_loses_nothing_and_recovers),
        cmocka_unit_test(a_full_disk_loses_nothing_and_recovers),
        cmocka_unit_test(a_read_only_file_reads_and_refuses_writes),
        cmocka_unit_test(no_acknowledged_write_is_lost_by_kill_9),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
