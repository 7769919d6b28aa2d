/* resolve.c - the hosts of a connection string to addresses, and the list of parameters libpq is started with.
 *
 * DESIGN  The hosts are asked for at once, and waited for together; one whose name has no address is left out as long as another has
 *         one. Then the lists are built for libpq, which tries them in order.
 *         Parameters of ours win over the operator's where the code depends on them: gssencmode (its credential search blocks),
 *         client_encoding, the formats of dates and intervals and the time zone (JSON is built from the text form). Keep-alives
 *         only fill a gap. A pooler does not take `options`; what must hold there is in pooler.h.
 * HOLDS   waiting counts the names whose on_done is to come; is_due: on_done of the target is deferred.
 * Path:   postgres/connection > [postgres/resolve] > postgres/name
 */
#include "postgres/resolve.h"

#include "base/buf.h"
#include "base/mem.h"

#include <libpq-fe.h>
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

static void make_params(struct postgres_target *target, bool needs_addresses)
{
    unsigned count = 0;
    for (const PQconninfoOption *at = target->parsed; at->keyword; at++)
        if (at->val && at->val[0] && strcmp(at->keyword, "connect_timeout") != 0)
            set_param(target, &count, at->keyword, at->val);
    add_default(target, &count, "keepalives_idle", "30");
    add_default(target, &count, "keepalives_interval", "10");
    add_default(target, &count, "keepalives_count", "3");
    add_default(target, &count, "tcp_user_timeout", "15000");
    if (target->host_count) {
        set_param(target, &count, "host", target->host_list);
        set_param(target, &count, "port", target->port_list);
    }
    if (needs_addresses)
        set_param(target, &count, "hostaddr", target->address_list);
    set_param(target, &count, "application_name", target->application_name);
    set_param(target, &count, "gssencmode", "disable");
    set_param(target, &count, "client_encoding", "UTF8");
    set_param(target, &count, "options", target->options);
    target->keys[count] = target->values[count] = NULL;
    if (postgres_settings_is_pooled(target->settings))
        postgres_target_drop_options(target);
}

void postgres_target_drop_options(struct postgres_target *target)
{
    const char *own = option_of(target->parsed, "options");
    target->is_bare = true;
    for (unsigned i = 0; target->keys[i]; i++)
        if (strcmp(target->keys[i], "options") == 0)
            target->values[i] = own ? own : "";
}

static char *take_text(struct buf *buf)
{
    size_t len;
    buf_add_char(buf, '\0');
    return buf_ok(buf) ? buf_take(buf, &len) : NULL;
}

static enum fail take_lists(struct postgres_target *target, struct lists *lists)
{
    target->host_list = take_text(&lists->hosts);
    target->address_list = take_text(&lists->addresses);
    target->port_list = take_text(&lists->ports);
    return target->host_list && target->address_list && target->port_list ? FAIL_OK : FAIL_NOMEM;
}

/* --- the end: names are known --------------------------------------------------------------------------------- */

static bool is_folder(struct str host) { return host.len && (host.data[0] == '/' || host.data[0] == '@'); }

/* False: it has no address. */
static bool add_host(struct postgres_target *target, struct lists *lists, const struct postgres_host *host)
{
    struct postgres_addresses addresses;
    if (is_folder(host->name) || host->address[0]) {
        lists->needs_addresses |= host->address[0] != '\0';
        add_one(lists, host->name, host->address, host->port);
        return true;
    }
    if (!host->wait.name)
        return false; /* why is said already */
    postgres_name_read(&host->wait, &addresses);
    if (!addresses.count)
        snprintf(target->why, sizeof target->why, "host name \"%.*s\" has no address: %.80s", (int)host->name.len,
                 host->name.data, addresses.why);
    for (unsigned i = 0; i < addresses.count; i++)
        add_one(lists, host->name, addresses.texts[i], host->port);
    lists->needs_addresses |= addresses.count > 0;
    return addresses.count > 0;
}

static enum fail build(struct postgres_target *target)
{
    struct lists lists = { .needs_addresses = false };
    buf_init(&lists.hosts, MEM_POSTGRES, 8192);
    buf_init(&lists.addresses, MEM_POSTGRES, 8192);
    buf_init(&lists.ports, MEM_POSTGRES, 8192);
    bool has_any = target->host_count == 0;
    for (unsigned i = 0; i < target->host_count; i++)
        has_any |= add_host(target, &lists, &target->hosts[i]);
    enum fail fail = has_any ? take_lists(target, &lists) : FAIL_MISSING;
    if (!fail)
        fail = make_options(target, option_of(target->parsed, "options"));
    if (!fail)
        make_params(target, lists.needs_addresses);
    buf_clear(&lists.hosts);
    buf_clear(&lists.addresses);
    buf_clear(&lists.ports);
    return fail;
}

static void finish(void *arg)
{
    struct postgres_target *target = arg;
    target->is_due = false;
    enum fail fail = target->is_left ? FAIL_CANCELLED : build(target);
    if (fail && !target->why[0])
        snprintf(target->why, sizeof target->why, "%s", fail_text(fail));
    target->on_done(target, fail);
}

static void on_name(void *arg)
{
    struct postgres_host *host = arg;
    struct postgres_target *target = host->target;
    host->is_waiting = false;
    if (--target->waiting == 0)
        finish(target);
}

/* --- the beginning -------------------------------------------------------------------------------------------- */

static void ask_for(struct postgres_target *target, struct loop *loop, struct postgres_host *host)
{
    char name[POSTGRES_NAME_BYTES_MAX];
    if (is_folder(host->name))
        return;
    if (host->name.len == 0 || host->name.len >= sizeof name) {
        snprintf(target->why, sizeof target->why, "a host of the connection string is empty or too long");
        return;
    }
    memcpy(name, host->name.data, host->name.len);
    name[host->name.len] = '\0';
    if (postgres_name_is_number(name, host->address))
        return;
    host->wait.on_done = on_name;
    host->wait.arg = host;
    host->is_waiting = postgres_name_ask(&host->wait, loop, host->name, target->settings->dns_ttl_ms) == FAIL_OK;
    if (host->is_waiting)
        target->waiting++;
    else
        snprintf(target->why, sizeof target->why, "no memory to look up a host name");
}

/* The comma-separated hosts of the connection string, each with its port; one port serves all. */
static enum fail split_hosts(struct postgres_target *target, const char *host_list, const char *port_list)
{
    struct str hosts = str_of(host_list), ports = str_of(port_list ? port_list : "5432");
    bool one_port = !memchr(ports.data, ',', ports.len);
    do {
        if (target->host_count == POSTGRES_HOSTS_MAX) {
            snprintf(target->why, sizeof target->why, "the connection string has more than %d hosts",
                     POSTGRES_HOSTS_MAX);
            return FAIL_INVALID;
        }
        struct postgres_host *host = &target->hosts[target->host_count++];
        *host = (struct postgres_host){ .target = target, .name = str_split(&hosts, ',') };
        host->port = one_port ? ports : str_split(&ports, ',');
    } while (hosts.len);
    return FAIL_OK;
}

static const char *from_environment(const struct postgres_target *target, const char *keyword)
{
    const char *value = option_of(target->parsed, keyword);
    return value ? value : option_of(target->defaults, keyword);
}

static enum fail read_hosts(struct postgres_target *target)
{
    target->parsed = PQconninfoParse(target->settings->conninfo, NULL);
    target->defaults = PQconndefaults();
    if (!target->parsed)
        return FAIL_NOMEM;
    const char *host = from_environment(target, "host");
    if (!host || option_of(target->parsed, "hostaddr"))
        return FAIL_OK;
    return split_hosts(target, host, from_environment(target, "port"));
}

enum fail postgres_target_resolve(struct loop *loop, struct postgres_target *target,
                                  void (*on_done)(struct postgres_target *target, enum fail fail), void *arg)
{
    target->on_done = on_done;
    target->arg = arg;
    target->task = (struct loop_task){ .run = finish, .arg = target };
    enum fail fail = read_hosts(target);
    if (fail)
        return fail;
    for (unsigned i = 0; i < target->host_count; i++)
        ask_for(target, loop, &target->hosts[i]);
    if (target->waiting == 0) {
        target->is_due = true;
        loop_defer(loop, &target->task);
    }
    return FAIL_OK;
}

bool postgres_target_leave(struct postgres_target *target)
{
    target->is_left = true;
    for (unsigned i = 0; i < target->host_count; i++) {
        struct postgres_host *host = &target->hosts[i];
        if (!postgres_name_leave(&host->wait) || !host->is_waiting)
            continue;
        host->is_waiting = false;
        target->waiting--;
    }
    return target->waiting == 0 && !target->is_due;
}

const struct postgres_name_wait *postgres_target_name(const struct postgres_target *target, const char *host)
{
    for (unsigned i = 0; host && i < target->host_count; i++)
        if (target->hosts[i].wait.name && str_is(target->hosts[i].name, str_of(host)))
            return &target->hosts[i].wait;
    return NULL;
}

void postgres_target_clear(struct postgres_target *target)
{
    for (unsigned i = 0; i < target->host_count; i++)
        (void)!postgres_name_leave(&target->hosts[i].wait);
    mem_free(target->host_list);
    mem_free(target->address_list);
    mem_free(target->port_list);
    mem_free(target->options);
    PQconninfoFree(target->parsed);
    PQconninfoFree(target->defaults);
    *target = (struct postgres_target){ .settings = target->settings };
}
