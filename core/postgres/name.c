/* name.c - one table of names for the process, with who waits for which.
 *
 * DESIGN  UNKNOWN -> ASKED [ask, refresh: a thread of its own runs getaddrinfo]   ASKED -> KNOWN [end_flight: everyone who waits is told]
 *         KNOWN -> ASKED [older than the ttl, and asked for again]
 *         A name that is being asked about stays in the table even when nobody has it: a silent name server then costs one thread for
 *         each name, and not one for each attempt. That it has no address is remembered, too, but takes away none that were known:
 *         connections are not given up because a name server is, and new ones go where the last ones went unless the answer was that
 *         there is no such name.
 *         Considered: uv_getaddrinfo. Two look-ups that hang fill libuv's share for them, and a loop cannot be closed meanwhile.
 * HOLDS   holds counts the waits that have the name; a name without holds goes when it is stale, or with the last pool.
 *         Everything here is under the table's mutex, but for `losses`.
 * Path:   postgres/resolve, pool > [postgres/name] > loop/aside
 */
#include "postgres/name.h"

#include "base/clock.h"
#include "base/mem.h"
#include "loop/aside.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

struct postgres_name {
    struct list node, waits;
    unsigned holds, ttl_ms;
    bool is_asked;
    uint64_t answered_ms;                /* 0: never */
    const char *why;                     /* of the last answer; NULL: it was good */
    bool is_denied;                      /* it says that there is no such name, or that it has no address */
    struct postgres_addresses addresses; /* of the last good one */
    char host[POSTGRES_NAME_BYTES_MAX];
};

/* What a thread works on. */
struct flight {
    char host[POSTGRES_NAME_BYTES_MAX];
    bool is_denied;
    struct postgres_addresses addresses;
};

static struct {
    pthread_mutex_t mutex;
    struct list names;
    unsigned users;
    atomic_uint losses;
} table = { .mutex = PTHREAD_MUTEX_INITIALIZER, .names = { &table.names, &table.names } };

/* --- the table ------------------------------------------------------------------------------------------------ */

static struct postgres_name *find(const char *host)
{
    LIST_EACH(&table.names, node)
    {
        struct postgres_name *name = LIST_ENTRY(node, struct postgres_name, node);
        if (strcmp(name->host, host) == 0)
            return name;
    }
    return NULL;
}

static bool is_fresh(const struct postgres_name *name, unsigned ttl_ms)
{
    if (name->why && ttl_ms > POSTGRES_NAME_NEGATIVE_MS)
        ttl_ms = POSTGRES_NAME_NEGATIVE_MS;
    return name->answered_ms && clock_mono_ms() - name->answered_ms < ttl_ms;
}

/* Names nobody has: the stale ones, or all when no pool is left. */
static void sweep(void)
{
    LIST_EACH_SAFE(&table.names, node, after)
    {
        struct postgres_name *name = LIST_ENTRY(node, struct postgres_name, node);
        if (name->holds || name->is_asked || (table.users && is_fresh(name, name->ttl_ms)))
            continue;
        list_remove(&name->node);
        mem_free(name);
    }
}

static struct postgres_name *add(const char *host)
{
    struct postgres_name *name = mem_zero(MEM_POSTGRES, sizeof *name);
    if (!name)
        return NULL;
    memcpy(name->host, host, strlen(host) + 1);
    list_init(&name->waits);
    list_push_back(&table.names, &name->node);
    return name;
}

void postgres_name_open(void)
{
    pthread_mutex_lock(&table.mutex);
    table.users++;
    pthread_mutex_unlock(&table.mutex);
}

void postgres_name_close(void)
{
    pthread_mutex_lock(&table.mutex);
    table.users--;
    sweep();
    pthread_mutex_unlock(&table.mutex);
}

/* --- looking up ----------------------------------------------------------------------------------------------- */

static void run_wait(void *arg)
{
    struct postgres_name_wait *wait = arg;
    pthread_mutex_lock(&table.mutex);
    wait->is_posted = false;
    pthread_mutex_unlock(&table.mutex);
    wait->on_done(wait->arg);
}

static void tell_all(struct postgres_name *name)
{
    for (struct list *node; (node = list_pop_front(&name->waits));) {
        struct postgres_name_wait *wait = LIST_ENTRY(node, struct postgres_name_wait, node);
        wait->is_queued = false;
        wait->is_posted = true;
        loop_post(wait->loop, &wait->task);
    }
}

static bool is_among(const struct postgres_addresses *addresses, const char *address)
{
    for (unsigned i = 0; i < addresses->count; i++)
        if (strcmp(addresses->texts[i], address) == 0)
            return true;
    return false;
}

static void take_answer(struct postgres_name *name, const struct flight *flight)
{
    const struct postgres_addresses *answer = &flight->addresses;
    name->is_asked = false;
    name->answered_ms = clock_mono_ms();
    name->why = answer->count ? NULL : answer->why;
    name->is_denied = flight->is_denied;
    if (!answer->count)
        return;
    bool has_lost = false;
    for (unsigned i = 0; i < name->addresses.count; i++)
        has_lost |= !is_among(answer, name->addresses.texts[i]);
    name->addresses = *answer;
    if (has_lost)
        atomic_fetch_add(&table.losses, 1);
}

static void add_address(struct postgres_addresses *addresses, const struct addrinfo *info)
{
    char *text = addresses->texts[addresses->count];
    if (addresses->count < POSTGRES_NAME_ADDRESSES &&
        getnameinfo(info->ai_addr, info->ai_addrlen, text, POSTGRES_ADDRESS_BYTES, NULL, 0, NI_NUMERICHOST) == 0 &&
        !is_among(addresses, text))
        addresses->count++;
}

/* On a thread of its own, and it may take minutes. */
static void fly(void *arg)
{
    struct flight *flight = arg;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    int error = getaddrinfo(flight->host, NULL, &hints, &found);
    for (struct addrinfo *at = error ? NULL : found; at && flight->addresses.count < POSTGRES_NAME_ADDRESSES;
         at = at->ai_next)
        add_address(&flight->addresses, at);
    if (!error)
        freeaddrinfo(found);
    flight->is_denied = error == EAI_NONAME || error == EAI_NODATA;
    flight->addresses.why = gai_strerror(error ? error : EAI_NONAME);
    pthread_mutex_lock(&table.mutex);
    struct postgres_name *name = find(flight->host);
    if (name) {
        take_answer(name, flight);
        tell_all(name);
    }
    sweep();
    pthread_mutex_unlock(&table.mutex);
    mem_free(flight);
}

static void start_flight(struct postgres_name *name)
{
    struct flight *flight = mem_zero(MEM_POSTGRES, sizeof *flight);
    if (flight) {
        memcpy(flight->host, name->host, sizeof flight->host);
        name->is_asked = true;
        if (aside_start(fly, flight) == FAIL_OK)
            return;
    }
    mem_free(flight);
    name->is_asked = false;
    name->why = "too many other names are being looked up and get no answer";
    tell_all(name);
}

/* --- asking --------------------------------------------------------------------------------------------------- */

enum fail postgres_name_ask(struct postgres_name_wait *wait, struct loop *loop, struct str host, unsigned ttl_ms)
{
    char text[POSTGRES_NAME_BYTES_MAX];
    if (host.len == 0 || host.len >= sizeof text)
        return FAIL_INVALID;
    memcpy(text, host.data, host.len);
    text[host.len] = '\0';
    wait->loop = loop;
    wait->task = (struct loop_task){ .run = run_wait, .arg = wait };
    pthread_mutex_lock(&table.mutex);
    struct postgres_name *name = find(text);
    if (!name)
        name = add(text);
    wait->name = name;
    if (name) {
        name->holds++;
        name->ttl_ms = ttl_ms;
        wait->is_queued = true;
        list_push_back(&name->waits, &wait->node);
        if (is_fresh(name, ttl_ms))
            tell_all(name);
        else if (!name->is_asked)
            start_flight(name);
        sweep();
    }
    pthread_mutex_unlock(&table.mutex);
    return name ? FAIL_OK : FAIL_NOMEM;
}

bool postgres_name_leave(struct postgres_name_wait *wait)
{
    if (!wait->name)
        return true;
    pthread_mutex_lock(&table.mutex);
    bool is_posted = wait->is_posted;
    if (!is_posted) {
        if (wait->is_queued)
            list_remove(&wait->node);
        wait->is_queued = false;
        wait->name->holds--;
        wait->name = NULL;
        sweep();
    }
    pthread_mutex_unlock(&table.mutex);
    return !is_posted;
}

void postgres_name_read(const struct postgres_name_wait *wait, struct postgres_addresses *out)
{
    pthread_mutex_lock(&table.mutex);
    *out = wait->name->addresses;
    out->why = wait->name->why;
    if (wait->name->is_denied)
        out->count = 0;
    pthread_mutex_unlock(&table.mutex);
}

unsigned postgres_name_losses(void) { return atomic_load_explicit(&table.losses, memory_order_relaxed); }

bool postgres_name_has(const struct postgres_name_wait *wait, const char *address)
{
    pthread_mutex_lock(&table.mutex);
    bool has = is_among(&wait->name->addresses, address);
    pthread_mutex_unlock(&table.mutex);
    return has;
}

void postgres_name_refresh(unsigned ttl_ms)
{
    pthread_mutex_lock(&table.mutex);
    LIST_EACH(&table.names, node)
    {
        struct postgres_name *name = LIST_ENTRY(node, struct postgres_name, node);
        if (name->holds && !name->is_asked && !is_fresh(name, ttl_ms))
            start_flight(name);
    }
    pthread_mutex_unlock(&table.mutex);
}

bool postgres_name_is_number(const char *host, char address[POSTGRES_ADDRESS_BYTES])
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST }, *found = NULL;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return false;
    bool is_fine = getnameinfo(found->ai_addr, found->ai_addrlen, address, POSTGRES_ADDRESS_BYTES, NULL, 0,
                               NI_NUMERICHOST) == 0;
    freeaddrinfo(found);
    return is_fine;
}
