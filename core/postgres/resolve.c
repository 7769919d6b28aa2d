/* resolve.c - host names to addresses on a work thread, and the list of parameters libpq is started with.
 *
 * DESIGN  Parsing the connection string, getaddrinfo and building the lists all happen in one piece of work: names need a thread
 *         anyway, and libpq's service file and environment look-ups are then off the loop as well.
 *         Parameters of ours win over the operator's where the code depends on them: gssencmode (its credential search blocks),
 *         client_encoding, the formats of dates and intervals and the time zone (JSON is built from the text form). Keep-alives
 *         only fill a gap.
 * Path:   postgres/connection > [postgres/resolve] > loop/work
 */
#include "postgres/resolve.h"

#include "base/buf.h"
#include "base/mem.h"

#include <libpq-fe.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

struct lists {
    struct buf hosts, addresses, ports;
    bool needs_addresses; /* at least one is a name or an address, not a socket's folder */
};

static const char *option_of(const PQconninfoOption *options, const char *keyword)
{
    for (; options && options->keyword; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val && options->val[0] ? options->val : NULL;
    return NULL;
}

static void add_one(struct lists *lists, struct str host, const char *address, struct str port)
{
    if (lists->hosts.len || lists->ports.len || lists->addresses.len) {
        buf_add_char(&lists->hosts, ',');
        buf_add_char(&lists->addresses, ',');
        buf_add_char(&lists->ports, ',');
    }
    buf_add_str(&lists->hosts, host);
    buf_add(&lists->addresses, address, strlen(address));
    buf_add_str(&lists->ports, port);
}

static enum fail add_addresses(struct postgres_target *target, struct lists *lists, struct str host, struct str port)
{
    char name[256];
    if (host.len == 0 || host.len >= sizeof name) {
        snprintf(target->why, sizeof target->why, "a host of the connection string is empty or too long");
        return FAIL_MISSING;
    }
    memcpy(name, host.data, host.len);
    name[host.len] = '\0';
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    int error = getaddrinfo(name, NULL, &hints, &found);
    if (error) {
        snprintf(target->why, sizeof target->why, "host name \"%.120s\" has no address: %.80s", name,
                 gai_strerror(error));
        return FAIL_MISSING;
    }
    lists->needs_addresses = true;
    for (struct addrinfo *at = found; at; at = at->ai_next) {
        char address[INET6_ADDRSTRLEN + 16];
        if (getnameinfo(at->ai_addr, at->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST) == 0)
            add_one(lists, host, address, port);
    }
    freeaddrinfo(found);
    return FAIL_OK;
}

/* The comma-separated hosts of the connection string, each with its port; one port serves all. */
static enum fail resolve_hosts(struct postgres_target *target, struct lists *lists, const char *host_list,
                               const char *port_list)
{
    struct str hosts = str_of(host_list), ports = str_of(port_list ? port_list : "5432");
    bool one_port = !memchr(ports.data, ',', ports.len);
    do {
        struct str host = str_split(&hosts, ',');
        struct str port = one_port ? ports : str_split(&ports, ',');
        enum fail fail = FAIL_OK;
        if (host.len && (host.data[0] == '/' || host.data[0] == '@'))
            add_one(lists, host, "", port);
        else
            fail = add_addresses(target, lists, host, port);
        if (fail)
            return fail;
    } while (hosts.len);
    return FAIL_OK;
}

static void set_param(struct postgres_target *target, unsigned *count, const char *key, const char *value)
{
    for (unsigned i = 0; i < *count; i++)
        if (strcmp(target->keys[i], key) == 0) {
            target->values[i] = value;
            return;
        }
    if (*count < POSTGRES_PARAMS_MAX) {
        target->keys[*count] = key;
        target->values[(*count)++] = value;
    }
}

static enum fail make_options(struct postgres_target *target, const char *own)
{
    struct buf options;
    buf_init(&options, MEM_POSTGRES, 8192);
    buf_addf(&options,
             "%s%s-c datestyle=ISO,MDY -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=1 -c "
             "bytea_output=hex",
             own ? own : "", own ? " " : "");
    if (target->settings
            ->idle_in_transaction_ms) /* behind our own guard, for the case that this process stands still */
        buf_addf(&options, " -c idle_in_transaction_session_timeout=%u",
                 target->settings->idle_in_transaction_ms + 5000);
    buf_add_char(&options, '\0');
    if (!buf_ok(&options)) {
        buf_clear(&options);
        return FAIL_NOMEM;
    }
    size_t len;
    target->options = buf_take(&options, &len);
    return target->options ? FAIL_OK : FAIL_NOMEM;
}

static void add_default(struct postgres_target *target, unsigned *count, const char *key, const char *value)
{
    if (!option_of(target->parsed, key))
        set_param(target, count, key, value);
}

static void make_params(struct postgres_target *target, const struct lists *lists)
{
    unsigned count = 0;
    for (const PQconninfoOption *at = target->parsed; at->keyword; at++)
        if (at->val && at->val[0] && strcmp(at->keyword, "connect_timeout") != 0)
            set_param(target, &count, at->keyword, at->val);
    add_default(target, &count, "keepalives_idle", "30");
    add_default(target, &count, "keepalives_interval", "10");
    add_default(target, &count, "keepalives_count", "3");
    add_default(target, &count, "tcp_user_timeout", "15000");
    if (target->hosts) {
        set_param(target, &count, "host", target->hosts);
        set_param(target, &count, "port", target->ports);
    }
    if (lists->needs_addresses)
        set_param(target, &count, "hostaddr", target->addresses);
    set_param(target, &count, "application_name", target->application_name);
    set_param(target, &count, "gssencmode", "disable");
    set_param(target, &count, "client_encoding", "UTF8");
    set_param(target, &count, "options", target->options);
    target->keys[count] = target->values[count] = NULL;
}

static char *take_text(struct buf *buf)
{
    size_t len;
    buf_add_char(buf, '\0');
    return buf_ok(buf) ? buf_take(buf, &len) : NULL;
}

static enum fail take_lists(struct postgres_target *target, struct lists *lists)
{
    target->hosts = take_text(&lists->hosts);
    target->addresses = take_text(&lists->addresses);
    target->ports = take_text(&lists->ports);
    return target->hosts && target->addresses && target->ports ? FAIL_OK : FAIL_NOMEM;
}

static const char *from_environment(const PQconninfoOption *defaults, const void *parsed, const char *keyword)
{
    const char *value = option_of(parsed, keyword);
    return value ? value : option_of(defaults, keyword);
}

static enum fail look_up(struct postgres_target *target, struct lists *lists)
{
    PQconninfoOption *defaults = PQconndefaults();
    const char *host = from_environment(defaults, target->parsed, "host");
    enum fail fail = FAIL_OK;
    if (host && !option_of(target->parsed, "hostaddr")) {
        fail = resolve_hosts(target, lists, host, from_environment(defaults, target->parsed, "port"));
        if (!fail)
            fail = take_lists(target, lists);
    }
    PQconninfoFree(defaults);
    return fail;
}

/* On a work thread; nobody else touches the target meanwhile. */
static enum fail resolve(struct postgres_target *target)
{
    struct lists lists = { .needs_addresses = false };
    buf_init(&lists.hosts, MEM_POSTGRES, 4096);
    buf_init(&lists.addresses, MEM_POSTGRES, 4096);
    buf_init(&lists.ports, MEM_POSTGRES, 4096);
    target->parsed = PQconninfoParse(target->settings->conninfo, NULL);
    enum fail fail = target->parsed ? look_up(target, &lists) : FAIL_NOMEM;
    if (!fail)
        fail = make_options(target, option_of(target->parsed, "options"));
    if (!fail)
        make_params(target, &lists);
    buf_clear(&lists.hosts);
    buf_clear(&lists.addresses);
    buf_clear(&lists.ports);
    return fail;
}

static void run(struct work *work)
{
    struct postgres_target *target = LIST_ENTRY(work, struct postgres_target, work);
    enum fail fail = resolve(target);
    if (fail && !target->why[0])
        snprintf(target->why, sizeof target->why, "%s", fail_text(fail));
    if (fail)
        target->keys[0] = NULL;
}

static void on_work_done(struct work *work, enum fail fail)
{
    struct postgres_target *target = LIST_ENTRY(work, struct postgres_target, work);
    if (!fail && !target->keys[0])
        fail = FAIL_MISSING;
    target->on_done(target, fail);
}

enum fail postgres_target_resolve(struct loop *loop, struct postgres_target *target,
                                  void (*on_done)(struct postgres_target *target, enum fail fail), void *arg)
{
    target->on_done = on_done;
    target->arg = arg;
    target->work = (struct work){ .run = run, .on_done = on_work_done };
    return work_submit(loop, &target->work);
}

void postgres_target_clear(struct postgres_target *target)
{
    mem_free(target->hosts);
    mem_free(target->addresses);
    mem_free(target->ports);
    mem_free(target->options);
    PQconninfoFree(target->parsed);
    target->hosts = target->addresses = target->ports = target->options = NULL;
    target->parsed = NULL;
    target->why[0] = '\0';
}
