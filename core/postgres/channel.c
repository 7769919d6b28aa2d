/* channel.c - keeps the channels of the one listening connection.
 *
 * DESIGN  NEW -> HOLDS [LISTEN was answered]    HOLDS -> NEW [the connection was lost]
 *         and gone when nobody is left and UNLISTEN was answered, or there is no connection.
 * Path:   postgres/listen > [postgres/channel] > postgres/subscription
 */
#include "postgres/channel.h"

#include "base/mem.h"
#include "postgres/subscription.h"

#include <string.h>

struct postgres_channel *postgres_channel_find(struct postgres_listen *listen, struct str name)
{
    struct postgres_channel *channel = map_get(&listen->channels, name);
    if (channel)
        return channel;
    channel = mem_zero(MEM_POSTGRES, sizeof *channel + name.len + 1);
    if (!channel)
        return NULL;
    list_init(&channel->subscriptions);
    channel->len = name.len;
    memcpy(channel->name, name.data, name.len);
    if (map_set(&listen->channels, name, channel) != FAIL_OK) {
        mem_free(channel);
        return NULL;
    }
    metric_gauge_add(listen->meter->channels, 1);
    return channel;
}

const char *postgres_channel_verb(const struct postgres_channel *channel)
{
    bool is_wanted = !list_is_empty(&channel->subscriptions);
    if (is_wanted == channel->holds)
        return NULL;
    return is_wanted ? "LISTEN" : "UNLISTEN";
}

static void remove_channel(struct postgres_listen *listen, struct postgres_channel *channel)
{
    (void)map_remove(&listen->channels, str_make(channel->name, channel->len));
    metric_gauge_add(listen->meter->channels, -1);
    mem_free(channel);
}

/* The map may not change while it is walked. */
void postgres_channel_sweep(struct postgres_listen *listen)
{
    for (bool is_found = true; is_found;) {
        size_t at = 0;
        struct str name;
        void *value;
        is_found = false;
        while (!is_found && map_next(&listen->channels, &at, &name, &value)) {
            struct postgres_channel *channel = value;
            is_found = list_is_empty(&channel->subscriptions) && !channel->holds && !channel->is_asked;
            if (is_found)
                remove_channel(listen, channel);
        }
    }
}

void postgres_channel_forget_all(struct postgres_listen *listen)
{
    size_t at = 0;
    struct str name;
    void *value;
    while (map_next(&listen->channels, &at, &name, &value)) {
        struct postgres_channel *channel = value;
        channel->holds = channel->is_asked = false;
    }
}

static void settle(struct postgres_channel *channel)
{
    if (!channel->is_asked)
        return;
    channel->is_asked = false;
    channel->holds = !channel->holds;
    if (!channel->holds)
        return;
    LIST_EACH(&channel->subscriptions, node)
    postgres_subscription_gap(LIST_ENTRY(node, struct postgres_subscription, node), channel->has_held);
    channel->has_held = true;
}

void postgres_channel_settle_all(struct postgres_listen *listen)
{
    size_t at = 0;
    struct str name;
    void *value;
    while (map_next(&listen->channels, &at, &name, &value))
        settle(value);
}
