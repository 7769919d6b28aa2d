/* memory_spec.c - the heap of a state: counted, limited, recycled; and what happens when there is none left. */
#include "world.h"

#include "script/memory.h"

static void blocks_keep_their_bytes_through_every_resize(void **state)
{
    (void)state;
    static const size_t sizes[] = { 1, 16, 17, 40, 100, 256, 257, 300, 5000, 256, 255, 33, 16, 1, 250, 260, 15 };
    struct script_memory memory = { .bytes_max = 1 << 20 };
    unsigned char *blocks[50] = { 0 };
    size_t olds[50] = { 0 };
    for (size_t round = 0; round < COUNT_OF(sizes); round++)
        for (size_t i = 0; i < 50; i++) {
            size_t bytes = sizes[(round + i) % COUNT_OF(sizes)], kept = bytes < olds[i] ? bytes : olds[i];
            blocks[i] = memory_allocate(&memory, blocks[i], olds[i], bytes);
            assert_non_null(blocks[i]);
            for (size_t k = 0; k < kept; k++)
                assert_int_equal(blocks[i][k], (unsigned char)(i + k));
            for (size_t k = 0; k < bytes; k++)
                blocks[i][k] = (unsigned char)(i + k);
            olds[i] = bytes;
        }
    size_t total = 0;
    for (size_t i = 0; i < 50; i++)
        total += olds[i];
    assert_int_equal(memory.bytes, total);
    for (size_t i = 0; i < 50; i++)
        memory_allocate(&memory, blocks[i], olds[i], 0);
    assert_int_equal(memory.bytes, 0);
    memory_clear(&memory);
}

static void the_limit_holds_unless_it_is_lifted(void **state)
{
    (void)state;
    struct script_memory memory = { .bytes_max = 1000 };
    void *block = memory_allocate(&memory, NULL, 0, 900);
    assert_non_null(block);
    assert_null(memory_allocate(&memory, NULL, 5, 101));
    assert_null(memory_allocate(&memory, block, 900, 1001));
    memory.unlimited = true;
    void *other = memory_allocate(&memory, NULL, 0, 500);
    assert_non_null(other);
    memory.unlimited = false;
    memory_allocate(&memory, other, 500, 0);
    block = memory_allocate(&memory, block, 900, 10);
    assert_int_equal(memory.bytes, 10);
    memory_allocate(&memory, block, 10, 0);
    memory_clear(&memory);
}

static void a_vm_that_cannot_be_opened_leaves_nothing(void **state)
{
    (void)state;
    assert_int_equal(metrics_open(100), FAIL_OK);
    struct script_services services = { .loop = NULL };
    for (unsigned n = 1; n <= 300; n++) {
        char why[256] = "";
        struct script_vm *vm = NULL;
        mem_fail_after(n);
        enum fail fail = script_vm_open(&services, &vm, why, sizeof why);
        mem_fail_after(0);
        if (fail)
            assert_int_not_equal(why[0], 0);
        else
            script_vm_close(vm);
        assert_int_equal(mem_live_tag(MEM_LUA), 0);
        assert_int_equal(mem_live_tag(MEM_SCRIPT), 0);
    }
    metrics_close();
}

static void a_request_without_memory_fails_alone(void **state)
{
    (void)state;
    static struct world world;
    world_open(
        &world,
        "route('GET', '/all/{id:int64}', function(req, cx) local tx <close> = cx.db:begin() "
        "  local row = tx:one('select $1 as a, $2 as b', req.params.id, { x = req.query.q }) tx:commit() "
        "  local v = cx.cache:get('k' .. req.params.id, { ttl = '1m', tags = { 't' } }, function() return row end) "
        "  local p = cx.db:pipeline(function(p) p:one('select 1 as n') p:rows('select 2 as n') end) "
        "  return { v, row, p, req.headers['host'], ('x'):rep(10000) } end)"
        "route('GET', '/fine', function() return 1 end)");
    unsigned fine = 0;
    for (unsigned n = 1; n <= 120; n++) {
        char line[64];
        snprintf(line, sizeof line, "GET /all/%u?q=%u", n, n);
        int fd = world_connect(&world);
        world_send(fd, line, "", NULL);
        mem_fail_after(n);
        const char *answer = world_receive(&world, fd);
        mem_fail_after(0);
        fine += strstr(answer, "HTTP/1.1 200") != NULL;
        assert_answer(&world, "GET /fine", NULL, "200 1");
        assert_int_equal(script_vm_tasks(world.vm), 0);
    }
    assert_true(fine > 0);
    world_close(&world);
}

static void what_lua_keeps_counts(void **state)
{
    (void)state;
    static struct world world;
    world_open_with(
        &world,
        "local kept = {} local function big(cx) return cx.db:one('select hex(zeroblob(500000)) as t') end "
        "route('GET', '/keep', function(req, cx) for i = 1, 20 do kept[i] = big(cx) end return #kept end)"
        "route('GET', '/piped', function(req, cx) for i = 1, 20 do kept[i] = cx.db:pipeline(function(p) "
        "  p:rows('select hex(zeroblob(500000)) as t') end) end return #kept end)"
        "route('GET', '/shared', function(req, cx) local values = {} for i = 1, 50 do values[i] = "
        "  cx.cache:get('k', { ttl = '1m' }, function() return ('x'):rep(100000) end) end return #values end)"
        "route('GET', '/loose', function(req, cx) for i = 1, 20 do kept[i] = " /* too large for a shard of the cache */
        "  cx.cache:get('l', { ttl = '1m' }, function() return ('x'):rep(500000) end) end return #kept end)"
        "route('GET', '/drop', function(req, cx) kept = {} for i = 1, 20 do kept[1] = big(cx) end return #kept end)",
        4 << 20);
    static const char *const lines[] = { "GET /keep", "GET /piped", "GET /loose" };
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        assert_has(world_ask(&world, lines[i], NULL), "500 ");
        assert_true(world.vm->results < 5 << 20);
        assert_has(world_log(&world), "not enough memory: the results of statements and loaders that Lua");
        assert_answer(&world, "GET /drop", NULL, "200 1");
    }
    assert_answer(&world, "GET /shared", NULL, "200 50"); /* one entry, and the cache's */
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_keep_their_bytes_through_every_resize),
        cmocka_unit_test(the_limit_holds_unless_it_is_lifted),
        cmocka_unit_test(a_vm_that_cannot_be_opened_leaves_nothing),
        cmocka_unit_test(a_request_without_memory_fails_alone),
        cmocka_unit_test(what_lua_keeps_counts),
        cmocka_unit_test(all_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
