/* opening.h - when the pool opens connections, and when there is no hope of one. */
#ifndef POSTGRES_OPENING_H
#define POSTGRES_OPENING_H

#include "postgres/pool.h"

void postgres_opening_init(struct postgres_pool *pool);
/* Opens connections up to min_size, or for who waits. On the lane's loop. */
void postgres_opening_fill(struct postgres_lane *lane);
/* One more, in place of one that is about to end. False: there is no room for it, or one is being opened. */
bool postgres_opening_one(struct postgres_lane *lane);
/* There is no connection, and for now none is tried: waiting is in vain. Mutex held. */
bool postgres_opening_is_hopeless(struct postgres_pool *pool, uint64_t now_ms);
/* If so, everybody who waits on this lane is told the last error. */
void postgres_opening_end_waits(struct postgres_lane *lane);
/* OPEN: none is tried for now. HALF: one is, and shows whether others are. Mutex held. */
enum breaker_state postgres_opening_breaker(const struct postgres_pool *pool, uint64_t now_ms);
/* Until it is tried again; 0: at any time. Mutex held. */
uint64_t postgres_opening_retry_ms(const struct postgres_pool *pool, uint64_t now_ms);
/* Mutex held: one of ours has ended, so a server that had no place for more (53300) has one now. */
void postgres_opening_note_end(struct postgres_pool *pool);
/* Closing: ends the attempts of this lane that are under way. */
void postgres_opening_end(struct postgres_lane *lane);

#endif
