/* bind_cache.c - cx.cache: values by key out of memory, Redis or a loader; and the cached value itself.
 *
 *   start -> HIT, STALE            [the entry is handed out, nothing waits]
 *         -> WAIT                  [task_await; then as below]
 *         -> LOAD, STALE must_load [the loader runs; its value fills the cache and wakes who waits for the same key]
 *         -> FAILED                [the leader's loader failed: its failure, or an own try where it was a mistake]
 *
 * DESIGN  The key is built in the operation, which comes from a free list: a hit allocates one small userdata and nothing else.
 *         A handler that returns the cached value has it written from the entry, without a copy. Where a refresh fails
 *         because the world refuses, the stale value is served.
 * HOLDS   A read that leads is ended by fill, fail or cancel, also when the coroutine forgets it: the task holds it.
 *         A loader may lie in a coroutine that outlives the request: its operation is lost, and comes back only when that
 *         coroutine goes on.
 *         Whoever waits while others wait for him does so for LEADER_WAIT_MS only, then loads on his own: no circle lasts longer.
 * Path:   plugins > [script/bind_cache] > cache/read
 */
#include "cache/read.h"

#include "script/cache_options.h"
#include "script/cached.h"
#include "script/failure.h"
#include "script/reply_value.h"
#include "script/state.h"
#include "script/value.h"

enum { KEY_HERE = 256, KIND_JSON = 0 };
/* Of one whom others wait for: two loaders may want each other's value, on whatever worker. */
enum { LEADER_WAIT_MS = 1000 };

struct cache_op {
    struct task_wait wait; /* first: the context of continuations */
    struct task_held held;
    struct list node; /* of vm->reads */
    struct script_vm *vm;
    struct cache_read read;
    struct loop_task later;
    bool cancelled, loading; /* loading: the loader runs, `loaded` will come */
    bool lost;               /* its request ended while the loader was suspended */
    char *key, here[KEY_HERE];
};

/* --- ops ---------------------------------------------------------------------------------------------------------- */

static void op_give(struct cache_op *op)
{
    task_let_go(&op->held);
    cache_entry_unref(op->read.entry);
    op->read.entry = NULL;
    if (op->key != op->here)
        mem_free(op->key);
    op->key = op->here;
    list_push_front(&op->vm->reads, &op->node);
}

static void op_forgotten(struct task *task, struct task_held *held)
{
    (void)task;
    struct cache_op *op = LIST_ENTRY(held, struct cache_op, held);
    cache_read_cancel(&op->read);
    if (!op->loading) {
        op_give(op);
        return;
    }
    op->lost = true;
    list_push_back(&op->vm->lost_reads, &op->node);
}

void bind_cache_free(struct script_vm *vm)
{
    for (struct list *node; (node = list_pop_front(&vm->reads)) != NULL;)
        mem_free(LIST_ENTRY(node, struct cache_op, node));
    for (struct list *node; (node = list_pop_front(&vm->lost_reads)) != NULL;) {
        struct cache_op *op = LIST_ENTRY(node, struct cache_op, node);
        cache_entry_unref(op->read.entry);
        if (op->key != op->here)
            mem_free(op->key);
        mem_free(op);
    }
}

static void on_later(void *arg)
{
    struct cache_op *op = arg;
    task_wake(&op->wait);
}

static void op_cancel(struct task_wait *wait)
{
    struct cache_op *op = (struct cache_op *)wait;
    op->cancelled = true;
    cache_read_cancel(&op->read); /* on_ready will not come any more */
    op->later = (struct loop_task){ .run = on_later, .arg = op };
    loop_defer(op->vm->services.loop, &op->later);
}

static void on_ready(struct cache_read *read)
{
    struct cache_op *op = read->arg;
    task_wake(&op->wait);
}

static struct cache_op *op_take(lua_State *L, struct task *task)
{
    struct script_vm *vm = task->vm;
    struct list *node = list_pop_front(&vm->reads);
    struct cache_op *op = node ? LIST_ENTRY(node, struct cache_op, node) : mem_zero(MEM_SCRIPT, sizeof *op);
    if (!op)
        luaL_error(L, "no memory");
    if (!node) {
        list_init(&op->node);
        op->vm = vm;
        op->key = op->here;
        op->read.cache = vm->services.cache;
        op->read.on_ready = on_ready;
        op->read.arg = op;
    }
    op->wait = (struct task_wait){ .task = task, .cancel = op_cancel };
    op->cancelled = op->loading = op->lost = false;
    op->read.state = CACHE_READ_FAILED; /* nothing to cancel yet */
    op->read.leads = false;
    op->read.entry = NULL;
    task_hold(task, &op->held, op_forgotten);
    return op;
}

/* --- get ---------------------------------------------------------------------------------------------------------- */

static int outcome(lua_State *L, struct cache_op *op);

/* The entry goes to a cached value; the op back. [-0, +1] */
static int hand_out(lua_State *L, struct cache_op *op, bool stale)
{
    struct cached *cached = cached_push(L);
    cached->entry = op->read.entry;
    cached->source = op->read.source;
    cached->stale = stale;
    op->read.entry = NULL;
    op_give(op);
    cached_hold(L, cached);
    return 1;
}

static enum fail fail_of_error(lua_State *L)
{
    const struct failure *failure = failure_test(L, -1);
    return failure ? failure->fail : FAIL_INVALID;
}

/* The loader raised; the error is on top. Its failure is for all who wait; a stale value is better than none. */
static int load_failed(lua_State *L, struct cache_op *op)
{
    enum fail fail = fail_of_error(L);
    bool may_serve = fail != FAIL_INVALID && op->read.entry && !task_stops(task_of(L)) &&
                     cache_store_is_current(op->read.cache->store, op->read.entry);
    if (op->read.leads || op->read.must_load)
        cache_read_fail(&op->read, fail);
    if (may_serve)
        return hand_out(L, op, /* stale= */ true);
    op_give(op);
    return lua_error(L);
}

/* Puts the loader's value, on top, into the cache. */
static int fill(lua_State *L, struct cache_op *op)
{
    struct buf *json = &vm_of(L)->out;
    struct value_why why;
    buf_reset(json);
    if (!value_add_json(L, -1, json, &why)) {
        cache_read_fail(&op->read, FAIL_INVALID);
        op_give(op);
        return luaL_error(L, "the loader's value cannot be cached: value%s", why.text);
    }
    struct cached *cached = cached_push(L);
    if (cache_read_fill(&op->read, STR_NONE, str_make(json->data, json->len), &cached->entry)) {
        op_give(op);
        return failure_raise(L, FAIL_NOMEM, NULL);
    }
    cached->source = CACHE_FROM_LOADER;
    op_give(op);
    cached_hold(L, cached);
    return 1;
}

static void forget(struct cache_op *op)
{
    if (op->read.skip_layer)
        cache_store_remove(op->read.cache->store, op->read.key);
    else
        cache_remove(op->read.cache, op->read.key);
}

static int loaded(lua_State *L, int status, lua_KContext context)
{
    struct cache_op *op = (struct cache_op *)context;
    op->loading = false;
    if (op->lost) {
        list_remove(&op->node);
        op_give(op);
        return luaL_error(L, "the request that asked the cache for this value is over");
    }
    if (status != LUA_OK && status != LUA_YIELD)
        return load_failed(L, op);
    if (!lua_isnil(L, -1))
        return fill(L, op);
    if (op->read.entry) /* a refresh: nil is an answer, and what was there is no longer true */
        forget(op);
    cache_read_fail(&op->read, FAIL_MISSING);
    op_give(op);
    return 1;
}

static int load(lua_State *L, struct cache_op *op)
{
    if (lua_isnoneornil(L, 4)) { /* only looked: who waits may have a loader */
        cache_read_cancel(&op->read);
        op_give(op);
        lua_pushnil(L);
        return 1;
    }
    lua_pushcfunction(L, task_traceback);
    int handler = lua_gettop(L);
    lua_pushvalue(L, 4);
    op->loading = true;
    return loaded(L, lua_pcallk(L, 0, 1, handler, (lua_KContext)op, loaded), (lua_KContext)op);
}

/* The operation of this task that `held` is, while its loader runs and others wait for its value; else NULL. */
static const struct cache_op *leading(const struct task_held *held)
{
    if (held->release != op_forgotten)
        return NULL;
    const struct cache_op *op = LIST_ENTRY(held, struct cache_op, held);
    return op->loading && op->read.leads ? op : NULL;
}

static bool leads_others(const struct task *task)
{
    LIST_EACH(&task->held, node)
    if (leading(LIST_ENTRY(node, struct task_held, node)))
        return true;
    return false;
}

/* Another request led and failed. A mistake there need not be one here; what the world refused is refused here as well. */
static int follow_failed(lua_State *L, struct cache_op *op)
{
    enum fail fail = op->read.fail;
    if (fail == FAIL_INVALID || fail == FAIL_CANCELLED)
        return load(L, op);
    if (fail == FAIL_TIMEOUT && leads_others(op->wait.task)) /* maybe for each other */
        return load(L, op);
    op_give(op);
    if (fail == FAIL_MISSING) {
        lua_pushnil(L);
        return 1;
    }
    if (fail == FAIL_TIMEOUT)
        return failure_raise_told(L, fail, "the value was being loaded by another request: deadline passed",
                                  "the value is still being loaded for another request; try again");
    if (fail == FAIL_FULL)
        return failure_raise_told(L, fail, "too many requests wait for values of the cache",
                                  "too many requests wait for the same data at the moment; try again");
    return failure_raisef(L, fail, "the value was being loaded by another request: %s", fail_text(fail));
}

static int waited(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct cache_op *op = (struct cache_op *)context;
    if (op->cancelled || task_stops(task_of(L))) {
        cache_read_cancel(&op->read);
        op_give(op);
        task_check(L);
        return failure_raise(L, FAIL_CANCELLED, NULL);
    }
    return outcome(L, op);
}

/* Whether the read waits for a loader of its own task, which in turn waits for the read: neither would ever end. */
static bool waits_for_itself(const struct cache_op *op)
{
    if (op->read.state != CACHE_READ_WAIT || op->read.leads)
        return false;
    LIST_EACH(&op->wait.task->held, node)
    {
        const struct cache_op *outer = leading(LIST_ENTRY(node, struct task_held, node));
        if (outer && str_is(outer->read.key, op->read.key))
            return true;
    }
    return false;
}

/* The key is at 2. */
static int refuse_itself(lua_State *L, struct cache_op *op)
{
    cache_read_cancel(&op->read);
    op_give(op);
    return luaL_error(
        L,
        "cx.cache:get: the loader of the key '%s' asks the cache for this key itself and would wait for ever; "
        "let the loader make the value, or take another key for what it needs",
        lua_tostring(L, 2));
}

static int outcome(lua_State *L, struct cache_op *op)
{
    switch (op->read.state) {
    case CACHE_READ_HIT: return hand_out(L, op, /* stale= */ false);
    case CACHE_READ_STALE:
        if (op->read.must_load && !lua_isnoneornil(L, 4))
            return load(L, op);
        cache_read_cancel(&op->read);
        return hand_out(L, op, /* stale= */ true);
    case CACHE_READ_WAIT: return task_await(L, &op->wait, waited);
    case CACHE_READ_LOAD: return load(L, op);
    case CACHE_READ_FAILED: break;
    }
    return follow_failed(L, op);
}

static struct cache_ud *check_cache(lua_State *L)
{
    struct cache_ud *ud = udata_check(L, 1, UD_CACHE);
    if (!vm_of(L)->services.cache)
        luaL_error(L, "cx.cache: there is no cache in this VM");
    return ud;
}

/* Key and tags become the op's own: somebody may change the table of options while the read waits. */
static void keep_texts(lua_State *L, struct cache_op *op, const struct cache_ud *ud, size_t key_len,
                       const struct cache_options *options)
{
    struct cache_read *read = &op->read;
    size_t len = key_len;
    for (unsigned i = 0; i < options->tag_count; i++)
        len += options->tags[i].len;
    if (len > KEY_HERE && !(op->key = mem_alloc(MEM_SCRIPT, len))) {
        op->key = op->here;
        luaL_error(L, "no memory");
    }
    read->key = cache_key_write(L, ud, op->key);
    char *at = op->key + key_len;
    for (unsigned i = 0; i < options->tag_count; at += options->tags[i++].len) {
        memcpy(at, options->tags[i].data, options->tags[i].len);
        read->tags[i] = str_make(at, options->tags[i].len);
    }
    read->tag_count = options->tag_count;
}

/* cx.cache:get(key, { ttl=, memory_ttl=, stale=, tags=, memory_only= }, loader) -> cached value | nil
 * Raises where it would wait for the loader it is called from. */
static int cache_get(lua_State *L)
{
    struct cache_ud *ud = check_cache(L);
    size_t len = cache_key_check(L, ud);
    if (lua_isfunction(L, 3)) { /* get(key, loader) */
        lua_settop(L, 3);
        lua_pushnil(L);
        lua_insert(L, 3);
    }
    lua_settop(L, 4);
    struct cache_options options;
    cache_options_read(L, 3, &options);
    struct task *task = task_may_wait(L, "cx.cache:get");
    struct cache_op *op = op_take(L, task);
    keep_texts(L, op, ud, len, &options);
    struct cache_read *read = &op->read;
    read->kind = KIND_JSON;
    read->ttl_ms = options.ttl_ms;
    read->stale_ms = options.stale_ms;
    read->memory_ms = options.memory_ms;
    read->timeout_ms = task_left_ms(task, leads_others(task) ? LEADER_WAIT_MS : 0);
    read->skip_layer = options.memory_only;
    cache_read_start(read);
    return waits_for_itself(op) ? refuse_itself(L, op) : outcome(L, op);
}

/* --- set, delete, drop_tag ---------------------------------------------------------------------------------------- */

/* cx.cache:set(key, value [, options]) */
static int cache_set(lua_State *L)
{
    struct cache_ud *ud = check_cache(L);
    size_t len = cache_key_check(L, ud);
    luaL_argcheck(L, !lua_isnoneornil(L, 3), 3, "nil cannot be cached; use delete");
    struct cache_options options;
    cache_options_read(L, 4, &options);
    if (options.memory_ms)
        return luaL_error(L, "cx.cache: memory_ttl is an option of get; set keeps a value for ttl in memory and below");
    char *key = len > KEY_HERE ? lua_newuserdatauv(L, len, 0) : (char[KEY_HERE]){ 0 };
    struct cache *cache = vm_of(L)->services.cache;
    struct buf *json = &vm_of(L)->out;
    struct value_why why;
    buf_reset(json);
    if (!value_add_json(L, 3, json, &why))
        return luaL_error(L, "this value cannot be cached: value%s", why.text);
    struct cache_put put = { .key = cache_key_write(L, ud, key),
                             .value = str_make(json->data, json->len),
                             .kind = KIND_JSON,
                             .ttl_ms = options.ttl_ms,
                             .stale_ms = options.stale_ms,
                             .tag_count = options.tag_count };
    memcpy(put.tags, options.tags, sizeof put.tags);
    if (!options.memory_only)
        cache_write(cache, &put);
    else if (cache_store_put(cache->store, &put, loop_now_ms(cache->loop), NULL))
        cache_store_remove(cache->store, put.key);
    return 0;
}

/* cx.cache:delete(key): from memory and the layer below */
static int cache_delete(lua_State *L)
{
    struct cache_ud *ud = check_cache(L);
    size_t len = cache_key_check(L, ud);
    char *key = len > KEY_HERE ? lua_newuserdatauv(L, len, 0) : (char[KEY_HERE]){ 0 };
    cache_remove(vm_of(L)->services.cache, cache_key_write(L, ud, key));
    return 0;
}

/* cx.cache:drop_tag(tag): every entry with it is gone, of all plugins and routes */
static int cache_drop_tag(lua_State *L)
{
    check_cache(L);
    struct str tag = { NULL, 0 };
    tag.data = luaL_checklstring(L, 2, &tag.len);
    cache_store_drop_tag(vm_of(L)->services.cache->store, tag);
    return 0;
}

void bind_cache_push(lua_State *L, const char *plugin)
{
    struct cache_ud *ud = udata_new(L, UD_CACHE, sizeof *ud, 0);
    size_t len = strlen(plugin);
    if (len > CACHE_PREFIX_MAX - 1)
        luaL_error(L, "the name of plugin %s is too long", plugin);
    memcpy(ud->prefix, plugin, len);
    ud->prefix[len] = ':';
    ud->prefix_len = len + 1;
}

void bind_cache_open(lua_State *L)
{
    static const luaL_Reg none[] = { { NULL, NULL } };
    static const luaL_Reg methods[] = {
        { "get", cache_get },           { "set", cache_set }, { "delete", cache_delete },
        { "drop_tag", cache_drop_tag }, { NULL, NULL },
    };
    udata_family(L, UD_CACHE, "cx.cache", none, methods);
    cached_open(L);
}
