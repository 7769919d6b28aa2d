/* cache_spec.c - cx.cache: one loads and the others wait, what is kept and what not, stale values, cached values as data. */
#include "world.h"

static struct world world;

static void a_value_is_loaded_once(void **state)
{
    (void)state;
    world_open(&world, "local loads = 0 route('GET', '/v/{k}', function(req, cx) return cx.cache:get(req.params.k, { "
                       "ttl = '1m' }, function() "
                       "  loads = loads + 1 cx.sleep(20) return cx.db:one('select $1 as v, $2 as n', 9007199254740993, "
                       "loads) end) end)");
    int fds[5];
    for (int i = 0; i < 5; i++) {
        fds[i] = world_connect(&world);
        world_send(fds[i], "GET /v/a", "", NULL);
    }
    int misses = 0;
    for (int i = 0; i < 5; i++) {
        const char *answer = world_receive(&world, fds[i]);
        assert_has(answer, "\r\n\r\n{\"v\":9007199254740993,\"n\":1}");
        misses += strstr(answer, "X-Cache: MISS") != NULL;
    }
    assert_int_equal(misses, 1);
    assert_has(world_ask_with(&world, "GET /v/a", "", NULL), "X-Cache: HIT; layer=l1\r\n");
    assert_has(world_ask(&world, "GET /v/b", NULL), "\"n\":2");
    world_close(&world);
}

static void nil_and_errors_are_not_kept(void **state)
{
    (void)state;
    world_open(
        &world,
        "local n = 0 route('GET', '/nil', function(req, cx) return cx.cache:get('nil', {}, function() n = n + 1 "
        "cx.sleep(5) return nil end) or { n = n } end)"
        "route('GET', '/problem', function(req, cx) return cx.cache:get('p', {}, function() cx.sleep(10) "
        "error(cx.problem(404, 'no-such')) end) end)"
        "route('GET', '/sql', function(req, cx) return cx.cache:get('s', {}, function() cx.sleep(10) return "
        "cx.db:one('select * from nothing') end) end)"
        "route('GET', '/function', function(req, cx) return cx.cache:get('f', {}, function() return print end) end)");
    assert_answer(&world, "GET /nil", NULL, "200 {\"n\":1}");
    assert_answer(&world, "GET /nil", NULL, "200 {\"n\":2}");
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = world_connect(&world);
        world_send(fds[i], "GET /problem", "", NULL);
    }
    for (int i = 0; i < 3; i++)
        assert_has(world_receive(&world, fds[i]), "urn:wick:problem:no-such");
    assert_has(world_ask(&world, "GET /sql", NULL), "500 ");
    assert_has(world_ask(&world, "GET /function", NULL), "500 ");
    assert_has(world_log(&world), "the loader's value cannot be cached: value: a function");
    world_close(&world);
}

static void a_leader_that_leaves_hands_the_load_on(void **state)
{
    (void)state;
    world_open(&world, "local n = 0 route('GET', '/v', function(req, cx) return cx.cache:get('v', {}, function() n = n "
                       "+ 1 cx.sleep(50) return n end) end)");
    int leader = world_connect(&world), follower = world_connect(&world), leaver = world_connect(&world);
    world_send(leader, "GET /v", "", NULL);
    world_turn(&world, 10);
    world_send(follower, "GET /v", "", NULL);
    world_send(leaver, "GET /v", "", NULL);
    world_turn(&world, 10);
    close(leaver);
    close(leader);
    assert_has(world_receive(&world, follower), "\r\n\r\n2");
    world_close(&world);
}

static void stale_values_are_served_while_one_refreshes(void **state)
{
    (void)state;
    world_open(&world,
               "local n, broken = 0 route('GET', '/v', function(req, cx) return cx.cache:get('v', { ttl = '30ms', "
               "stale = '1m' }, function() "
               "  n = n + 1 cx.sleep(30) if broken then cx.db:one('select * from nothing') end return n end) end)"
               "route('POST', '/break', function() broken = true end)");
    assert_answer(&world, "GET /v", NULL, "200 1");
    world_turn(&world, 50);
    int first = world_connect(&world), second = world_connect(&world);
    world_send(first, "GET /v", "", NULL);
    world_turn(&world, 10);
    world_send(second, "GET /v", "", NULL);
    const char *answer = world_receive(&world, second);
    assert_has(answer, "X-Cache: STALE");
    assert_has(answer, "\r\n\r\n1");
    assert_has(world_receive(&world, first), "\r\n\r\n2");
    assert_answer(&world, "POST /break", "", "204 ");
    world_turn(&world, 50);
    answer = world_ask_with(&world, "GET /v", "", NULL);
    assert_has(answer, "X-Cache: STALE");
    assert_has(answer, "\r\n\r\n2");
    world_close(&world);
}

static void a_loader_that_asks_for_its_own_key_is_a_mistake_said_at_once(void **state)
{
    (void)state;
    world_open(&world,
               "route('GET', '/self', function(req, cx) return cx.cache:get('me', {}, function() return "
               "cx.cache:get('me') end) end)"
               "route('GET', '/round', function(req, cx) return cx.cache:get('a', {}, function() return "
               "cx.cache:get('b', {}, function() return cx.cache:get('a', {}, function() return 1 end) end) end) end)"
               "route('GET', '/caught', function(req, cx) return cx.cache:get('c', {}, function() local ok, why = "
               "pcall(cx.cache.get, cx.cache, 'c') return { ok, why } end) end)"
               "route('GET', '/set', function(req, cx) return cx.cache:get('s', {}, function() cx.cache:set('s', 7) "
               "return cx.cache:get('s') end) end)"
               "route('GET', '/others', function(req, cx) return cx.cache:get('o', {}, function() return { "
               "cx.cache:get('other') == nil, cx.cache:get('other', {}, function() return 5 end) } end) end)");
    uint64_t begun_ms = clock_mono_ms();
    assert_has(world_ask(&world, "GET /self", NULL), "500 {\"type\":\"urn:wick:problem:internal\"");
    assert_has(world_log(&world), "the loader of the key 'me' asks the cache for this key itself");
    assert_has(world_ask(&world, "GET /round", NULL), "500 ");
    assert_has(world_log(&world), "the loader of the key 'a' asks");
    assert_has(world_ask(&world, "GET /caught", NULL), "200 [false,\"cx.cache:get: the loader of the key 'c' asks");
    assert_true(clock_mono_ms() - begun_ms < slow_ms(1000));
    assert_answer(&world, "GET /set", NULL, "200 7");
    assert_answer(&world, "GET /others", NULL, "200 [true,5]");
    assert_has(world_ask(&world, "GET /self", NULL), "500 "); /* nobody waits for what was given up */
    world_close(&world);
}

static void a_loader_may_look_at_the_stale_value_it_replaces(void **state)
{
    (void)state;
    world_open(&world, "local n = 0 route('GET', '/v', function(req, cx) return cx.cache:get('v', { ttl = '30ms', "
                       "stale = '1m' }, function() local old = n > 0 and cx.cache:get('v') or nil n = n + 1 return { "
                       "n = n, old = old } end) end)");
    assert_answer(&world, "GET /v", NULL, "200 {\"n\":1}");
    world_turn(&world, 50);
    assert_answer(&world, "GET /v", NULL, "200 {\"n\":2,\"old\":{\"n\":1}}");
    world_close(&world);
}

static void what_a_refresh_does_not_find_is_gone(void **state)
{
    (void)state;
    world_open(&world, "local gone route('GET', '/v', function(req, cx) return cx.cache:get('v', { ttl = '20ms', stale "
                       "= '1m' }, function() if not gone then return 1 end end) or 'none' end)"
                       "route('GET', '/look', function(req, cx) return cx.cache:get('v') or 'none' end)"
                       "route('POST', '/delete', function() gone = true end)");
    assert_answer(&world, "GET /v", NULL, "200 1");
    assert_answer(&world, "POST /delete", "", "204 ");
    world_turn(&world, 30);
    assert_answer(&world, "GET /v", NULL, "200 \"none\"");
    assert_answer(&world, "GET /look", NULL, "200 \"none\"");
    world_close(&world);
}

static void values_are_set_deleted_and_dropped_by_tag(void **state)
{
    (void)state;
    world_open(&world, "route('POST', '/set', function(req, cx) cx.cache:set('a', { x = { 1, 2 } }, { tags = { 't' } "
                       "}) cx.cache:set('b', 5) end)"
                       "route('GET', '/get/{k}', function(req, cx) return cx.cache:get(req.params.k) or 'none' end)"
                       "route('POST', '/delete', function(req, cx) cx.cache:delete('b') end)"
                       "route('POST', '/drop', function(req, cx) cx.cache:drop_tag('t') end)"
                       "route('GET', '/long', function(req, cx) local k = ('k'):rep(1000) cx.cache:set(k, 1) local v = "
                       "cx.cache:get(k) cx.cache:delete(k) "
                       "  return { v, cx.cache:get(k) == nil, pcall(cx.cache.get, cx.cache, ('k'):rep(5000)) } end)");
    assert_answer(&world, "POST /set", "", "204 ");
    assert_answer(&world, "GET /get/a", NULL, "200 {\"x\":[1,2]}");
    assert_answer(&world, "GET /get/b", NULL, "200 5");
    assert_answer(&world, "POST /delete", "", "204 ");
    assert_answer(&world, "GET /get/b", NULL, "200 \"none\"");
    assert_answer(&world, "POST /drop", "", "204 ");
    assert_answer(&world, "GET /get/a", NULL, "200 \"none\"");
    assert_has(world_ask(&world, "GET /long", NULL), "200 [1,true,false,");
    world_close(&world);
}

static void tags_hold_whatever_becomes_of_their_table(void **state)
{
    (void)state;
    world_open(
        &world,
        "local options = { ttl = '1m' }"
        "route('GET', '/v/{k}', function(req, cx) options.tags = { ('tag of '):rep(20) .. req.params.k } "
        "  return cx.cache:get(req.params.k, options, function() options.tags = nil collectgarbage() cx.sleep(5) "
        "  collectgarbage() return { at = cx.now() } end) end)"
        "route('POST', '/drop/{k}', function(req, cx) cx.cache:drop_tag(('tag of '):rep(20) .. req.params.k) end)");
    char before[128];
    snprintf(before, sizeof before, "%s", world_ask(&world, "GET /v/a", NULL));
    assert_answer(&world, "POST /drop/b", "", "204 ");
    assert_answer(&world, "GET /v/a", NULL, before);
    assert_answer(&world, "POST /drop/a", "", "204 ");
    assert_string_not_equal(world_ask(&world, "GET /v/a", NULL), before);
    world_close(&world);
}

static void a_value_whose_tag_was_dropped_is_not_served_stale(void **state)
{
    (void)state;
    world_open(&world,
               "local broken route('GET', '/v', function(req, cx) return cx.cache:get('v', { ttl = '20ms', stale = "
               "'1m', tags = { 't' } }, function() if broken then cx.cache:drop_tag('t') cx.db:one('select * from "
               "nothing') end return 1 end) end)"
               "route('POST', '/break', function() broken = true end)");
    assert_answer(&world, "GET /v", NULL, "200 1");
    world_turn(&world, 30);
    assert_answer(&world, "POST /break", "", "204 ");
    assert_has(world_ask(&world, "GET /v", NULL), "500 ");
    world_close(&world);
}

static void an_option_that_does_not_exist_is_refused(void **state)
{
    (void)state;
    world_open(
        &world,
        "route('GET', '/typo', function(req, cx) local fine, why = pcall(cx.cache.get, cx.cache, 'k', { tll = "
        "'1s' }, function() return 1 end) return why end)"
        "route('GET', '/set', function(req, cx) return select(2, pcall(cx.cache.set, cx.cache, 'k', 1, { memory_ttl = "
        "'1s' })) end)"
        "route('GET', '/unit', function(req, cx) local fine, why = pcall(cx.cache.set, cx.cache, 'k', 1, { ttl "
        "= '1y' }) return why end)");
    assert_has(world_ask(&world, "GET /typo", NULL), "no option 'tll'");
    assert_has(world_ask(&world, "GET /set", NULL), "memory_ttl is an option of get");
    assert_has(world_ask(&world, "GET /unit", NULL), "ttl is milliseconds or a duration");
    world_close(&world);
}

static void two_loaders_may_want_each_others_value(void **state)
{
    (void)state;
    world_open(&world,
               "local function nested(outer, inner) return function(req, cx) return cx.cache:get(outer, {}, function() "
               "cx.sleep(100) return outer .. cx.cache:get(inner, {}, function() return inner end)() end)() end end "
               "route('GET', '/a', nested('k1', 'k2'), { timeout_ms = 10000 })"
               "route('GET', '/b', nested('k2', 'k1'), { timeout_ms = 10000 })");
    int first = world_connect(&world), second = world_connect(&world);
    world_send(first, "GET /a", "", NULL);
    world_send(second, "GET /b", "", NULL);
    assert_has(world_receive(&world, first), "\"k1k2");
    assert_has(world_receive(&world, second), "\"k2k1");
    world_close(&world);
}

static void a_cached_value_is_data(void **state)
{
    (void)state;
    world_open(&world,
               "route('GET', '/v', function(req, cx) local v = cx.cache:get('v', {}, function() return { a = { 1, { b "
               "= 2 } }, value = 3, list = {} } end) "
               "  local names = {} for k in pairs(v) do names[#names + 1] = k end table.sort(names) "
               "  return { v.a[2].b, v.value, v().a[1], names, v.nothing == nil, pcall(function() v.a = 1 end) } end)"
               "route('GET', '/list', function(req, cx) local v = cx.cache:get('l', {}, function() return { 5, 6 } "
               "end) local sum = 0 "
               "  for i, x in ipairs(v) do sum = sum + i * x end return { #v, v[2], sum, #v:value(), v } end)");
    for (int i = 0; i < 2; i++) {
        assert_has(world_ask(&world, "GET /v", NULL), "200 [2,3,1,[\"a\",\"list\",\"value\"],true,false,");
        assert_answer(&world, "GET /list", NULL, "200 [2,6,17,2,[5,6]]");
    }
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_loaded_once),
        cmocka_unit_test(nil_and_errors_are_not_kept),
        cmocka_unit_test(a_leader_that_leaves_hands_the_load_on),
        cmocka_unit_test(stale_values_are_served_while_one_refreshes),
        cmocka_unit_test(a_loader_that_asks_for_its_own_key_is_a_mistake_said_at_once),
        cmocka_unit_test(a_loader_may_look_at_the_stale_value_it_replaces),
        cmocka_unit_test(what_a_refresh_does_not_find_is_gone),
        cmocka_unit_test(values_are_set_deleted_and_dropped_by_tag),
        cmocka_unit_test(tags_hold_whatever_becomes_of_their_table),
        cmocka_unit_test(a_value_whose_tag_was_dropped_is_not_served_stale),
        cmocka_unit_test(an_option_that_does_not_exist_is_refused),
        cmocka_unit_test(two_loaders_may_want_each_others_value),
        cmocka_unit_test(a_cached_value_is_data),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
