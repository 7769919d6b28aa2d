/* subscription.h - what one subscriber has not heard yet, and its way to the subscriber's loop. For listen.c. */
#ifndef POSTGRES_SUBSCRIPTION_H
#define POSTGRES_SUBSCRIPTION_H

#include "postgres/listen.h"

struct postgres_subscription {
    struct sql_subscription base; /* first */
    struct postgres_listen *listen;
    struct postgres_channel *channel;
    struct list node; /* of channel->subscriptions */
    struct loop *loop;
    struct loop_task task; /* of deliver */
    struct sql_listener listener;
    struct list notes;
    unsigned note_count;
    size_t note_bytes;
    bool has_gap;
    bool is_held; /* the subscriber said: not now */
    bool is_posted, is_delivering, is_gone;
};

/* Under the mutex of listen: */
void postgres_subscription_note(struct postgres_subscription *subscription, struct str payload, int pid);
/* is_loss: something may really have been missed, not only that LISTEN holds for the first time. */
void postgres_subscription_gap(struct postgres_subscription *subscription, bool is_loss);
/* Frees it when it is gone and nothing is on its way to it; else whoever comes last does. */
void postgres_subscription_free_if_over(struct postgres_subscription *subscription);

/* On the subscriber's loop, without the mutex: */
void postgres_subscription_deliver(void *arg);
void postgres_subscription_resume(struct sql_subscription *subscription);

#endif
