/* model_spec.c - the pool against a model of forty lines: random acquires, releases, cancels, expiries and losses end in the same state.
 *
 * DESIGN  An actor is a session, a quick call, or a slow call that lasts until it is cancelled. The model knows who waits, in order, and who
 *         holds: grant() gives free connections to the head of the queue. After each step the pool is turned until it agrees, or the
 *         spec fails and names the seed: WICK_SEED=N runs the same steps again. While it turns, what must hold at any time is checked.
 *         The clock stands, and is moved by multiples of TICK_MS only, so that it is never in doubt whose wait is over.
 */
#include "wire.h"

enum { ACTORS = 14, MAX = 3, MAX_WAITING = 6, TICK_MS = 28, ACQUIRE_MS = 1000, EXPIRE_TICKS = 36 };
enum kind { SESSION, QUICK, SLOW };
enum state { FREE, WAITING, HOLDING, BROKEN, ENDED }; /* BROKEN: a session whose connection was lost */

static struct actor {
    enum kind kind;
    enum state state;
    enum fail fail; /* how an ENDED one is to have ended */
    struct leased leased;
    struct asked asked;
    int pid;
    unsigned since; /* when it began to wait, in ticks */
    unsigned turn;  /* its place among those that came */
} actors[ACTORS];

static struct {
    uint64_t seed, random;
    unsigned steps, step, ticks, came, granted[3], expired, refused, cancelled, lost;
    struct actor *queue[ACTORS];
    unsigned queued, holding;
    struct postgres_pool *pool;
    unsigned last_lease; /* `turn` of the session that got a connection last */
} model;

static uint32_t next_random(uint32_t below)
{
    model.random = model.random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(model.random >> 33) % below;
}

#define agree(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fail_msg("WICK_SEED=%llu, step %u: %s", (unsigned long long)model.seed, model.step, #condition); \
    } while (0)

/* --- the model ------------------------------------------------------------------------------------------------ */

static void end_as(struct actor *actor, enum fail fail)
{
    actor->state = ENDED;
    actor->fail = fail;
}

static void leave_queue(struct actor *actor)
{
    unsigned at = 0;
    while (model.queue[at] != actor)
        at++;
    model.queued--;
    memmove(&model.queue[at], &model.queue[at + 1], (model.queued - at) * sizeof *model.queue);
}

static void grant(void)
{
    while (model.queued && model.holding < MAX) {
        struct actor *actor = model.queue[0];
        leave_queue(actor);
        model.granted[actor->kind]++;
        if (actor->kind == QUICK) {
            end_as(actor, FAIL_OK);
        } else {
            actor->state = HOLDING;
            model.holding++;
        }
    }
}

static void expire(void)
{
    while (model.queued && (model.ticks - model.queue[0]->since) * TICK_MS >= ACQUIRE_MS) {
        end_as(model.queue[0], FAIL_TIMEOUT);
        leave_queue(model.queue[0]);
        model.expired++;
    }
}

static void come(struct actor *actor)
{
    actor->since = model.ticks;
    actor->turn = ++model.came;
    actor->state = WAITING;
    if (model.queued >= MAX_WAITING) {
        end_as(actor, FAIL_FULL);
        model.refused++;
    } else {
        model.queue[model.queued++] = actor;
    }
}

/* --- the pool ------------------------------------------------------------------------------------------------- */

static bool is_running(const struct actor *actor)
{
    return postgres_call_state(&actor->asked.call) == POSTGRES_CALL_RUNNING;
}

static bool agrees(const struct actor *actor)
{
    bool is_session = actor->kind == SESSION, is_done = is_session ? actor->leased.is_done : actor->asked.is_done;
    switch (actor->state) {
    case FREE:
    case BROKEN: return true;
    case WAITING: return !is_done && (is_session || !is_running(actor));
    case HOLDING: return is_session ? is_done : !is_done && is_running(actor);
    case ENDED: return is_done;
    }
    return false;
}

static unsigned length(const struct list *list)
{
    unsigned count = 0;
    LIST_EACH(list, node)
    count++;
    return count;
}

/* At any time. */
static void check_always(void)
{
    struct postgres_pool *pool = model.pool;
    struct postgres_lane *lane = &pool->lanes[0];
    unsigned idle = length(&lane->idle), waiting = length(&lane->waiters);
    agree(pool->total <= MAX);
    agree(pool->opening <= pool->total);
    agree(idle + pool->opening <= pool->total);
    agree(waiting == atomic_load(&pool->waiting));
    agree(waiting <= MAX_WAITING);
    agree(idle == 0 || waiting == 0);
    agree(length(&lane->all) == pool->total);
}

/* All connections that nobody holds are idle or opening. */
static bool is_settled(void)
{
    struct postgres_pool *pool = model.pool;
    for (int i = 0; i < ACTORS; i++)
        if (!agrees(&actors[i]))
            return false;
    return length(&pool->lanes[0].idle) + pool->opening + model.holding == pool->total;
}

static void describe(void)
{
    static const char *const kinds[] = { "session", "quick", "slow" };
    static const char *const states[] = { "free", "waiting", "holding", "broken", "ended" };
    struct postgres_pool *pool = model.pool;
    fprintf(stderr, "the pool: total %u, opening %u, idle %u, waiting %u; the model: holding %u, queued %u\n",
            pool->total, pool->opening, length(&pool->lanes[0].idle), length(&pool->lanes[0].waiters), model.holding,
            model.queued);
    for (int i = 0; i < ACTORS; i++)
        if (!agrees(&actors[i]))
            fprintf(stderr, "%s %u should be %s; call state %d, lease %d, fail %d %s\n", kinds[actors[i].kind],
                    actors[i].turn, states[actors[i].state], postgres_call_state(&actors[i].asked.call),
                    actors[i].leased.is_done, actors[i].asked.call.fail, actors[i].asked.call.error.text);
}

static void settle(void)
{
    uint64_t end_s = (uint64_t)time(NULL) + slow_ms(4); /* our own clock stands */
    while (!is_settled() && (uint64_t)time(NULL) < end_s) {
        turn(1);
        check_always();
    }
    if (!is_settled())
        describe();
    agree(is_settled());
    check_always();
}

static void pass(unsigned ticks)
{
    model.ticks += ticks;
    clock_fake(UINT64_C(1000000000) * 3600 + model.ticks * (uint64_t)TICK_MS * 1000000, 0);
    turn(0);
    turn(0);
}

/* --- steps ---------------------------------------------------------------------------------------------------- */

static struct actor *any_in(enum state state)
{
    unsigned start = next_random(ACTORS);
    for (unsigned i = 0; i < ACTORS; i++)
        if (actors[(start + i) % ACTORS].state == state)
            return &actors[(start + i) % ACTORS];
    return NULL;
}

static void on_actor_leased(struct sql_lease *lease)
{
    struct actor *actor = LIST_ENTRY((struct leased *)lease->arg, struct actor, leased);
    actor->leased.is_done = true;
    if (lease->fail)
        return;
    agree(actor->turn > model.last_lease); /* in the order they came */
    model.last_lease = actor->turn;
}

static void acquire(void)
{
    static const char *const texts[] = { "", "select 1", "select pg_sleep(60)" };
    struct actor *actor = any_in(FREE);
    if (!actor)
        return;
    *actor = (struct actor){ .kind = (enum kind)next_random(3) };
    come(actor);
    if (actor->kind == SESSION) {
        actor->leased.lease = (struct sql_lease){ .on_lease = on_actor_leased, .arg = &actor->leased };
        sql_begin(world.engine, &actor->leased.lease);
    } else {
        ask(&actor->asked, texts[actor->kind], false);
    }
    turn(0);
}

/* A cancel that overtakes its statement on the way finds an idle back end, and the statement then runs for its 60 s. */
static void wait_until_at_work(const struct actor *actor)
{
    const struct postgres_connection *connection = actor->asked.call.engine_data[1];
    char text[128];
    snprintf(text, sizeof text, "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and pid = %d",
             connection->pid);
    for (unsigned i = 0; i < slow_ms(2000) && outside_int(text) == 0; i++)
        turn(1);
}

/* A session ends, a slow call is cancelled; after the grace its connection is free. */
static void release(void)
{
    struct actor *actor = any_in(next_random(4) ? HOLDING : BROKEN);
    if (!actor)
        return;
    model.holding -= actor->state == HOLDING;
    if (actor->kind == SESSION) {
        sql_session_end(actor->leased.lease.session);
        actor->state = FREE;
        return;
    }
    wait_until_at_work(actor);
    sql_cancel(world.engine, &actor->asked.call);
    end_as(actor, FAIL_CANCELLED);
    pass(1);
    expire();
}

static void cancel(void)
{
    struct actor *actor = any_in(WAITING);
    if (!actor)
        return;
    leave_queue(actor);
    end_as(actor, FAIL_CANCELLED);
    model.cancelled++;
    if (actor->kind == SESSION)
        world.engine->ops->begin_cancel(&actor->leased.lease);
    else
        sql_cancel(world.engine, &actor->asked.call);
}

static void wait_too_long(void)
{
    pass(EXPIRE_TICKS);
    expire();
}

/* Statements in a held session; no other session may see its back end. */
static void use(void)
{
    struct actor *actor = any_in(HOLDING);
    if (!actor || actor->kind != SESSION)
        return;
    struct asked asked = { .is_done = false };
    ask_in(actor->leased.lease.session, &asked, "select pg_backend_pid() as n");
    expect_ok(&asked);
    int pid = (int)sql_rows_cell(asked.call.rows, 0, 0).integer;
    drop_rows(&asked);
    agree(!actor->pid || actor->pid == pid);
    actor->pid = pid;
    for (int i = 0; i < ACTORS; i++)
        agree(&actors[i] == actor || actors[i].state != HOLDING || actors[i].pid != pid);
}

static uint64_t lost_connections(void)
{
    return metric_counter_value(metric_counter("wick_pg_pool_reconnects_total",
                                               "Connections that had to be replaced, or could not be opened.",
                                               "pool=\"primary\",reason=\"lost\""));
}

/* Returns when the pool has noticed. */
static void kill_back_end(int pid)
{
    char text[80];
    uint64_t lost = lost_connections();
    snprintf(text, sizeof text, "select pg_terminate_backend(%d)", pid);
    outside(text);
    for (unsigned i = 0; i < slow_ms(2000) && lost_connections() == lost; i++)
        turn(1);
    agree(lost_connections() == lost + 1);
    model.lost++;
}

/* The connection of a session is lost; the session is no good any more, its place is free. */
static void lose_held(void)
{
    struct actor *actor = any_in(HOLDING);
    if (!actor || actor->kind != SESSION)
        return;
    struct asked asked = { .is_done = false };
    ask_in(actor->leased.lease.session, &asked, "select pg_backend_pid() as n");
    expect_ok(&asked);
    int pid = (int)sql_rows_cell(asked.call.rows, 0, 0).integer;
    drop_rows(&asked);
    actor->state = BROKEN;
    model.holding--;
    kill_back_end(pid);
}

static void lose_idle(void)
{
    struct list *node = list_peek(&model.pool->lanes[0].idle);
    if (node)
        kill_back_end(LIST_ENTRY(node, struct postgres_connection, node)->pid);
}

static void sweep(void)
{
    for (int i = 0; i < ACTORS; i++) {
        struct actor *actor = &actors[i];
        if (actor->state != ENDED)
            continue;
        agree((actor->kind == SESSION ? actor->leased.lease.fail : actor->asked.call.fail) == actor->fail);
        drop_rows(&actor->asked);
        actor->state = FREE;
    }
}

static void take_step(void)
{
    static void (*const steps[])(void) = { acquire, acquire, acquire, acquire,       acquire,   release,  release,
                                           release, cancel,  use,     wait_too_long, lose_held, lose_idle };
    uint32_t choice = next_random(16 * COUNT_OF(steps));
    if (choice / 16 >= 10 && choice % 4) /* these make a clean sweep, so they are rare */
        choice = 0;
    steps[choice / 16]();
    grant();
    settle();
    sweep();
}

static void end_all(void)
{
    while (any_in(HOLDING) || any_in(BROKEN) || any_in(WAITING)) {
        cancel();
        settle();
        release();
        grant();
        settle();
        sweep();
    }
}

static uint64_t seed_of_run(void)
{
    const char *given = getenv("WICK_SEED");
    return given ? strtoull(given, NULL, 10) : clock_mono_ns() % 1000000;
}

static void the_pool_does_what_a_small_model_of_it_does(void **state)
{
    (void)state;
    if (!needs_server())
        skip();
    memset(&model, 0, sizeof model);
    memset(actors, 0, sizeof actors);
    model.seed = seed_of_run();
    model.random = model.seed * 0x9e3779b97f4a7c15u + 1;
    model.steps = getenv("WICK_MODEL_STEPS") ? (unsigned)atoi(getenv("WICK_MODEL_STEPS")) : 4000;
    clock_fake(UINT64_C(1000000000) * 3600, 0);
    wire_settings.min_size = 0;
    wire_settings.max_size = MAX;
    wire_settings.max_waiting = MAX_WAITING;
    wire_settings.acquire_timeout_ms = ACQUIRE_MS;
    wire_settings.idle_timeout_ms = wire_settings.max_lifetime_ms = wire_settings.idle_in_transaction_ms = 0;
    wire_settings.keepalive_ms = 0;
    wire_settings.statement_timeout_ms = 3600 * 1000;
    open_wire("");
    model.pool = pool_of();
    for (; model.step < model.steps; model.step++)
        take_step();
    end_all();
    printf("WICK_SEED=%llu: %u steps; %u sessions, %u quick and %u slow calls had a connection; %u waited in vain, %u "
           "were "
           "refused, %u left, %u connections were lost\n",
           (unsigned long long)model.seed, model.steps, model.granted[SESSION], model.granted[QUICK],
           model.granted[SLOW], model.expired, model.refused, model.cancelled, model.lost);
    assert_true(model.granted[SESSION] && model.granted[QUICK] && model.granted[SLOW] && model.expired &&
                model.refused && model.cancelled && model.lost);
}

static int close_model(void **state)
{
    clock_fake(0, 0);
    return close_wire(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_pool_does_what_a_small_model_of_it_does, set_up_wire, close_model),
        cmocka_unit_test(everything_is_given_back),
    };
    return cmocka_run_group_tests(tests, set_up_wire_group, NULL);
}
