/* db_spec.c - cx.db as plugins use it: values, failures, transactions, pipelines, and what is forgotten. */
#include "world.h"

static struct world world;

#define TABLE                                                                                                 \
    "route('POST', '/setup', function(req, cx) cx.db:exec('create table t(id integer primary key, name text " \
    "unique)') end)"                                                                                          \
    "route('GET', '/count', function(req, cx) return cx.db:one('select count(*) as n from t').n end)"

static void open_with_table(const char *chunk)
{
    char text[16384];
    snprintf(text, sizeof text, "%s %s", TABLE, chunk);
    world_open(&world, text);
    assert_answer(&world, "POST /setup", "", "204 ");
}

static void values_go_in_and_come_back(void **state)
{
    (void)state;
    world_open(
        &world,
        "route('GET', '/params', function(req, cx) local r = cx.db:one('select $1 as i, $2 as f, $3 as s, $4 as n, $5 "
        "as z, $6 as b, $7 as j', "
        "  9007199254740993, 1.5, 'x', nil, json.null, true, { a = { 1 } }) "
        "  return { r.i, math.type(r.i), r.f, r.s, r.n == nil, r.z == nil, r.b, r.j } end)"
        "route('GET', '/blob', function(req, cx) return cx.db:one('select $1 as b, typeof($1) as t', "
        "cx.db.blob('a\\0b')) end)"
        "route('GET', '/trailing', function(req, cx) return cx.db:one('select $2 as b', 1, nil) end)"
        "route('GET', '/row', function(req, cx) local r = cx.db:one('select 1 as a, null as b, 3 as c') local names = "
        "{} "
        "  for k, v in pairs(r) do names[#names + 1] = k .. tostring(v) end local t = r:table() "
        "  return { names, t, pcall(function() return r.d end), pcall(function() r.a = 1 end) } end)"
        "route('GET', '/rows', function(req, cx) local rs = cx.db:rows('select 1 as a union select 2 order by 1') "
        "local sum = 0 "
        "  for row in rs:each() do sum = sum + row.a end for i, row in ipairs(rs) do sum = sum + 10 * i * row.a end "
        "  return { #rs, sum, rs[1].a, rs[2], rs[3] == nil, rs:table() } end)"
        "route('GET', '/dialect', function(req, cx) return { cx.dialect, cx.db:one({ postgres = 'no', sqlite = 'select "
        "4 as n' }).n } end)"
        "route('GET', '/later', function(req, cx) KEPT = 1 end)");
    assert_answer(&world, "GET /params", NULL,
                  "200 [9007199254740993,\"integer\",1.5,\"x\",true,true,1,\"{\\\"a\\\":[1]}\"]");
    assert_has(world_ask(&world, "GET /blob", NULL), "\"t\":\"blob\"");
    assert_answer(&world, "GET /trailing", NULL, "200 {\"b\":null}");
    assert_has(world_ask(&world, "GET /row", NULL), "200 [[\"a1\",\"bnil\",\"c3\"],{\"a\":1,\"c\":3},false,");
    assert_answer(&world, "GET /rows", NULL, "200 [2,53,1,{\"a\":2},true,[{\"a\":1},{\"a\":2}]]");
    assert_answer(&world, "GET /dialect", NULL, "200 [\"sqlite\",4]");
    world_close(&world);
}

static void a_write_that_took_effect_is_never_taken_for_cancelled(void **state)
{
    (void)state;
    open_with_table("local known = 0 route('POST', '/add', function(req, cx) cx.db:exec([[insert into t(name) values "
                    "(hex(randomblob(16)))]]) known = known + 1 cx.sleep(1000) end)"
                    "route('GET', '/known', function() return known end)");
    for (int i = 0; i < 200; i++) {
        int fd = world_connect(&world);
        world_send(fd, "POST /add", "", "");
        if (i % 2)
            world_turn(&world, 0);
        shutdown(fd, SHUT_WR);
        close(fd);
        world_turn(&world, i % 3 ? 1 : 0);
    }
    while (script_vm_tasks(world.vm) > 0)
        world_turn(&world, 5);
    char count[64];
    snprintf(count, sizeof count, "%s", world_ask(&world, "GET /count", NULL));
    assert_answer(&world, "GET /known", NULL, count);
    world_close(&world);
}

static void a_write_without_end_is_cancelled_after_the_grace(void **state)
{
    (void)state;
    open_with_table(
        "route('POST', '/fill', function(req, cx) return cx.db:exec([[insert into t(name) select hex(i) from (with "
        "recursive n(i) as (select 1 union all select i + 1 from n) select i from n) where i < 0]]) end)");
    int fd = world_connect(&world);
    world_send(fd, "POST /fill", "", "");
    world_turn(&world, 50);
    uint64_t start = clock_mono_ms();
    close(fd);
    while (script_vm_tasks(world.vm) > 0 && clock_mono_ms() - start < WAIT_MS)
        world_turn(&world, 5);
    uint64_t took = clock_mono_ms() - start;
    assert_true(took >= 900 && took < 5000);
    world_close(&world);
}

static void what_is_committed_is_not_tried_again(void **state)
{
    (void)state;
    open_with_table(
        "local tries = 0 route('POST', '/again', function(req, cx) return cx.db:transaction(function(tx) tries = tries "
        "+ "
        "1 tx:exec([[insert into t(name) values ($1)]], tries) if tries < 2 then error({ sqlstate = '40001' }) end "
        "tx:after_commit(function() error({ sqlstate = '40001' }) end) end) end)");
    assert_has(world_ask(&world, "POST /again", ""), "500 ");
    assert_answer(&world, "GET /count", NULL, "200 1");
    world_close(&world);
}

static void a_refusal_is_a_failure_that_says_which(void **state)
{
    (void)state;
    open_with_table("route('POST', '/add', function(req, cx) return cx.created('/t', cx.db:one('insert into t(name) "
                    "values ($1) returning *', req.body)) end)"
                    "route('POST', '/caught', function(req, cx) local ok, e = pcall(cx.db.exec, cx.db, 'insert into "
                    "t(name) values ($1)', req.body) "
                    "  return { ok, e.kind, e.sqlstate, e.retry, e.status, tostring(e):sub(1, 9) } end)"
                    "route('GET', '/syntax', function(req, cx) return cx.db:one('selec 1') end)"
                    "route('GET', '/misuse', function(req, cx) return cx.db:one('select $1', print) end)");
    assert_answer(&world, "POST /add", "\"x\"", "201 {\"id\":1,\"name\":\"x\"}");
    const char *answer = world_ask(&world, "POST /add", "\"x\"");
    assert_has(answer, "409 {\"type\":\"urn:wick:problem:conflict\"");
    assert_null(strstr(answer, "insert"));
    assert_answer(&world, "POST /caught", "\"x\"", "200 [false,\"sql\",\"23505\",false,409,\"sql 23505\"]");
    answer = world_ask(&world, "GET /syntax", NULL);
    assert_has(answer, "500 ");
    assert_null(strstr(answer, "selec"));
    assert_has(world_log(&world), "selec");
    assert_has(world_ask(&world, "GET /misuse", NULL), "500 ");
    assert_has(world_log(&world), "parameter $1 is a function");
    world_close(&world);
}

static void a_transaction_commits_or_leaves_no_trace(void **state)
{
    (void)state;
    open_with_table("route('POST', '/commit', function(req, cx) local after = {} local tx <close> = cx.db:begin() "
                    "  tx:exec([[insert into t(name) values ('a')]]) tx:after_commit(function() cx.sleep(1) after[1] = "
                    "cx.db:one('select count(*) as n from t').n end) "
                    "  tx:after_commit(function() after[2] = 'second' end) tx:commit() return after end)"
                    "route('POST', '/error', function(req, cx) local tx <close> = cx.db:begin() tx:exec([[insert into "
                    "t(name) values ('b')]]) error('no') end)"
                    "route('POST', '/problem', function(req, cx) local tx <close> = cx.db:begin() tx:exec([[insert "
                    "into t(name) values ('c')]]) return cx.problem(409, 'no') end)"
                    "route('POST', '/rollback', function(req, cx) local tx <close> = cx.db:begin() tx:exec([[insert "
                    "into t(name) values ('d')]]) tx:rollback() return 1 end)"
                    "route('POST', '/failed', function(req, cx) local tx <close> = cx.db:begin() tx:exec([[insert into "
                    "t(name) values ('e')]]) "
                    "  local ok = pcall(tx.exec, tx, [[insert into t(name) values ('a')]]) local _, e = "
                    "pcall(tx.commit, tx) return { ok, e.sqlstate } end)"
                    "route('POST', '/over', function(req, cx) local tx <close> = cx.db:begin() tx:commit() "
                    "tx:exec('select 1') end)");
    assert_answer(&world, "POST /commit", "", "200 [1,\"second\"]");
    assert_has(world_ask(&world, "POST /error", ""), "500 ");
    assert_has(world_ask(&world, "POST /problem", ""), "409 ");
    assert_answer(&world, "POST /rollback", "", "200 1");
    assert_answer(&world, "POST /failed", "", "200 [false,\"25P02\"]");
    assert_answer(&world, "GET /count", NULL, "200 1");
    assert_has(world_ask(&world, "POST /over", ""), "500 ");
    assert_has(world_log(&world), "this transaction is over");
    world_close(&world);
}

static void a_forgotten_commit_is_told(void **state)
{
    (void)state;
    open_with_table("route('POST', '/leaked', function(req, cx) local tx = cx.db:begin()\n tx:exec([[insert into "
                    "t(name) values ('a')]]) return 1 end)"
                    "route('POST', '/closed', function(req, cx) local tx <close> = cx.db:begin() tx:exec([[insert into "
                    "t(name) values ('b')]]) return 1 end)"
                    "route('POST', '/collected', function(req, cx) for i = 1, 3 do local tx = cx.db:begin() "
                    "tx:exec([[insert into t(name) values ('c')]]) tx = nil "
                    "  collectgarbage() collectgarbage() end return 1 end)");
    assert_has(world_ask(&world, "POST /leaked", ""), "500 ");
    const char *log = world_log(&world);
    assert_has(log, "a transaction was still open when its request ended");
    assert_has(log, "begun=spec:1\n");
    assert_answer(&world, "POST /closed", "", "200 1");
    assert_has(world_log(&world), "is tx:commit() missing?");
    assert_has(world_ask(&world, "POST /collected", ""), "500 ");
    assert_answer(&world, "GET /count", NULL, "200 0");
    world_close(&world);
}

static void a_transaction_that_only_read_loses_nothing(void **state)
{
    (void)state;
    static const char *const reads[] = {
        "local tx = cx.db:begin { read_only = true } tx:exec('pragma user_version') return 1",
        "local tx = cx.db:begin() tx:one('with a as (select 1 as n) select n from a') return 1",
        "local tx = cx.db:begin() tx:one('/* why */ select 1') tx:one('-- why\\nselect 1') return 1",
    };
    for (size_t i = 0; i < COUNT_OF(reads); i++) {
        char route[1024];
        snprintf(route, sizeof route, "route('GET', '/read', function(req, cx) %s end)", reads[i]);
        open_with_table(route);
        assert_answer(&world, "GET /read", NULL, "200 1");
        assert_null(strstr(world_log(&world), "a transaction was still open"));
        world_close(&world);
    }
}

static void an_option_that_means_nothing_is_refused(void **state)
{
    (void)state;
    open_with_table("route('GET', '/begin', function(req, cx) return { pcall(cx.db.begin, cx.db, { isolation = "
                    "'serializable' }) } end)"
                    "route('GET', '/transaction', function(req, cx) "
                    "  return { pcall(cx.db.transaction, cx.db, function() end, { read_onyl = true }) } end)");
    assert_has(world_ask(&world, "GET /begin", NULL), "no option 'isolation'");
    assert_has(world_ask(&world, "GET /transaction", NULL), "no option 'read_onyl'");
    world_close(&world);
}

static void a_client_that_leaves_rolls_back(void **state)
{
    (void)state;
    open_with_table("local closed route('POST', '/slow', function(req, cx) local tx <close> = cx.db:begin() "
                    "tx:exec([[insert into t(name) values ('a')]]) "
                    "  local g <close> = setmetatable({}, { __close = function() closed = cx.shield(function() return "
                    "tx:one('select count(*) as n from t').n end) tx:rollback() end }) "
                    "  cx.sleep('10s') tx:commit() end)"
                    "route('GET', '/closed', function() return closed end)");
    int fd = world_connect(&world);
    world_send(fd, "POST /slow", "", "");
    world_turn(&world, 100);
    assert_int_equal(script_vm_tasks(world.vm), 1);
    close(fd);
    world_turn(&world, 200);
    assert_int_equal(script_vm_tasks(world.vm), 0);
    assert_answer(&world, "GET /closed", NULL, "200 1");
    assert_answer(&world, "GET /count", NULL, "200 0");
    world_close(&world);
}

static void a_function_runs_in_a_transaction(void **state)
{
    (void)state;
    open_with_table("route('POST', '/add', function(req, cx) local a, b, c = cx.db:transaction(function(tx) "
                    "tx:exec([[insert into t(name) values ('a')]]) return 1, nil, 3 end) return { a, b == nil, c } end)"
                    "route('POST', '/fail', function(req, cx) return cx.db:transaction(function(tx) tx:exec([[insert "
                    "into t(name) values ('b')]]) error('inside words') end) end)"
                    "route('POST', '/retry', function(req, cx) local n = 0 local ok, e = pcall(cx.db.transaction, "
                    "cx.db, function(tx) n = n + 1 "
                    "  error({ sqlstate = '40001' }) end) return { n, e.sqlstate } end)");
    assert_answer(&world, "POST /add", "", "200 [1,true,3]");
    assert_has(world_ask(&world, "POST /fail", ""), "500 ");
    assert_has(world_log(&world), "in local 'fn'");
    assert_answer(&world, "POST /retry", "", "200 [4,\"40001\"]");
    assert_answer(&world, "GET /count", NULL, "200 1");
    world_close(&world);
}

static void a_pipeline_gives_results_in_order(void **state)
{
    (void)state;
    open_with_table("route('GET', '/read', function(req, cx) return cx.db:pipeline(function(p) p:one('select $1 as a', "
                    "('x'):rep(3)) p:rows('select 2 as b') "
                    "  p:one('select 3 as c where false') end) end)"
                    "route('POST', '/write', function(req, cx) return cx.db:pipeline(function(p) for i = 1, 3 do "
                    "p:exec('insert into t(name) values ($1)', 'n' .. i) end end) end)"
                    "route('POST', '/fail', function(req, cx) return cx.db:pipeline(function(p) p:exec('insert into "
                    "t(name) values ($1)', 'new') "
                    "  p:exec('insert into t(name) values ($1)', 'n1') end) end)"
                    "route('GET', '/empty', function(req, cx) return #cx.db:pipeline(function() end) end)"
                    "route('GET', '/raises', function(req, cx) return cx.db:pipeline(function(p) p:one('select 1') "
                    "error('x') end) end)");
    assert_answer(&world, "GET /read", NULL, "200 [{\"a\":\"xxx\"},[{\"b\":2}],false]");
    assert_answer(&world, "POST /write", "", "200 [1,1,1]");
    assert_has(world_ask(&world, "POST /fail", ""), "409 ");
    assert_answer(&world, "GET /count", NULL, "200 3");
    assert_answer(&world, "GET /empty", NULL, "200 0");
    assert_has(world_ask(&world, "GET /raises", NULL), "500 ");
    world_close(&world);
}

static void a_pipeline_ends_with_its_request(void **state)
{
    (void)state;
    open_with_table("local co, empty local function leave(fill) local one = coroutine.create(function() return "
                    "cx.db:pipeline(fill) end) coroutine.resume(one) return one end "
                    "route('GET', '/leave', function(req, cx) "
                    "  co = leave(function(p) p:one('select 1 as a') coroutine.yield() end) "
                    "  empty = leave(function(p) coroutine.yield() p:one('select 1 as a') end) end)"
                    "local function again(one) local ok, why = coroutine.resume(one) return { ok, tostring(why) } end "
                    "route('GET', '/again', function(req, cx) return { cx.db:one('select 1 as a').a, again(co), "
                    "again(empty) } end)");
    assert_answer(&world, "GET /leave", NULL, "204 ");
    const char *answer = world_ask(&world, "GET /again", NULL); /* by the same task: it is used again */
    assert_has(answer, "200 [1,[false,\"spec:1: this pipeline belongs to another request\"],[false,");
    assert_has(answer, "[false,\"spec:1: this pipeline belongs to another request\"]]");
    world_close(&world);
}

static void results_outlive_their_request(void **state)
{
    (void)state;
    open_with_table(
        "local kept route('GET', '/keep', function(req, cx) kept = cx.db:rows('select 7 as a') return kept end)"
        "route('GET', '/kept', function() collectgarbage() return kept[1].a end)"
        "route('GET', '/big', function(req, cx) return #cx.db:rows([[with recursive n(i) as (select 1 union all select "
        "i + 1 from n where i < 20000) "
        "  select i, 'some text of some length' as t from n]]) end)");
    assert_answer(&world, "GET /keep", NULL, "200 [{\"a\":7}]");
    assert_answer(&world, "GET /kept", NULL, "200 7");
    for (int i = 0; i < 50; i++) {
        assert_answer(&world, "GET /big", NULL, "200 20000");
        assert_true(world.vm->external < 64u << 20);
    }
    world_close(&world);
}

static void passwords_are_hashed_beside_the_loop(void **state)
{
    (void)state;
    world_open(
        &world,
        "route('GET', '/hash', function(req, cx) local h = cx.crypto:password_hash('secret') return { h:sub(1, 30), "
        "  cx.crypto:password_verify(h, 'secret'), cx.crypto:password_verify(h, 'Secret'), "
        "cx.crypto:password_verify('none', 'x') } end)"
        "route('GET', '/digest', function(req, cx) return { cx.crypto.sha256_hex('abc'), "
        "cx.crypto:hmac_sha256_hex('key', 'text'), "
        "  #cx.crypto:random_token(32), cx.crypto.random_token(1) ~= cx.crypto.random_token(16), cx.crypto.same('a', "
        "'a'), cx.crypto:same('a', 'b'), #cx.crypto.uuid() } end)");
    assert_answer(&world, "GET /hash", NULL, "200 [\"$argon2id$v=19$m=19456,t=2,p=1\",true,false,false]");
    assert_answer(&world, "GET /digest", NULL,
                  "200 [\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\","
                  "\"6afa9046a9579cad143a384c1b564b9a250d27d6f6a63f9f20bf3a7594c9e2c6\",43,true,true,false,36]");
    world_close(&world);
}

static void what_is_full_is_named(void **state)
{
    (void)state;
    enum { ASKERS = 120 }; /* more than the queue of the work threads holds */
    world_open(&world, "route('GET', '/hash', function(req, cx) cx.crypto:password_hash('secret') return 1 end)");
    int fds[ASKERS], refused = 0;
    for (int i = 0; i < ASKERS; i++) {
        fds[i] = world_connect(&world);
        world_send(fds[i], "GET /hash", "", NULL);
    }
    for (int i = 0; i < ASKERS; i++) {
        const char *answer = world_receive(&world, fds[i]);
        if (!strstr(answer, " 503 "))
            continue;
        refused++;
        assert_has(answer, "too many passwords are being checked");
        assert_null(strstr(answer, "connections to the database"));
    }
    assert_true(refused > 0);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_go_in_and_come_back),
        cmocka_unit_test(a_write_that_took_effect_is_never_taken_for_cancelled),
        cmocka_unit_test(a_write_without_end_is_cancelled_after_the_grace),
        cmocka_unit_test(what_is_committed_is_not_tried_again),
        cmocka_unit_test(a_refusal_is_a_failure_that_says_which),
        cmocka_unit_test(a_transaction_commits_or_leaves_no_trace),
        cmocka_unit_test(a_forgotten_commit_is_told),
        cmocka_unit_test(a_transaction_that_only_read_loses_nothing),
        cmocka_unit_test(an_option_that_means_nothing_is_refused),
        cmocka_unit_test(a_client_that_leaves_rolls_back),
        cmocka_unit_test(a_function_runs_in_a_transaction),
        cmocka_unit_test(a_pipeline_gives_results_in_order),
        cmocka_unit_test(a_pipeline_ends_with_its_request),
        cmocka_unit_test(results_outlive_their_request),
        cmocka_unit_test(passwords_are_hashed_beside_the_loop),
        cmocka_unit_test(what_is_full_is_named),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
