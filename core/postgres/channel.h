/* channel.h - the channels somebody listens to, and what the server knows of them. All of it under the mutex of listen.h. */
#ifndef POSTGRES_CHANNEL_H
#define POSTGRES_CHANNEL_H

#include "postgres/listen.h"

struct postgres_channel {
    struct list subscriptions;
    bool holds;    /* LISTEN was answered on this connection */
    bool has_held; /* on some connection: its next LISTEN is a gap */
    bool is_asked; /* LISTEN or UNLISTEN is on its way */
    size_t len;
    char name[];
};

/* The channel of that name, made where there is none; NULL: no memory. */
struct postgres_channel *postgres_channel_find(struct postgres_listen *listen, struct str name);
/* "LISTEN", "UNLISTEN", or NULL: in this round, it has nothing to be asked. */
const char *postgres_channel_verb(const struct postgres_channel *channel);
/* What was asked has been answered: it holds now, or no longer. Subscribers are told. */
void postgres_channel_settle_all(struct postgres_listen *listen);
/* The server has forgotten all of them. What was queued is still true, and is told unless the gap comes first. */
void postgres_channel_forget_all(struct postgres_listen *listen);
/* Frees those that nobody wants, and the server does not know. */
void postgres_channel_sweep(struct postgres_listen *listen);

#endif
