/* queue.h - who waits for a connection, oldest first, each in the list of its own lane. All of it under the pool's mutex. */
#ifndef POSTGRES_QUEUE_H
#define POSTGRES_QUEUE_H

#include "postgres/lane.h"

struct sql_call *postgres_queue_oldest(const struct postgres_lane *lane);   /* NULL: nobody waits there */
void postgres_queue_push(struct postgres_lane *lane, struct sql_call *call, bool at_front);
/* Takes a waiting call out; it is in `state` then. */
void postgres_queue_pop(struct postgres_lane *lane, struct sql_call *call, enum postgres_call_state state);
/* Who gets a connection that is free at `home`: the one that came first of all, but the first of `home` if that came at most
 * POSTGRES_ORDER_SLACK_MS later. Stays in the queue. */
struct sql_call *postgres_queue_next(struct postgres_lane *home);
/* The lanes where somebody waits (but not `but`) look at their queue soon: there is room for a connection, or no hope of one. */
void postgres_queue_kick(struct postgres_pool *pool, const struct postgres_lane *but);
void postgres_queue_kick_lane(struct postgres_lane *lane);

#endif
