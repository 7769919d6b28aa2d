/* renewal.h - replaces connections whose max_lifetime is over, without anybody having to wait for it. */
#ifndef POSTGRES_RENEWAL_H
#define POSTGRES_RENEWAL_H

#include "postgres/pool.h"

enum { POSTGRES_RENEWAL_LEAD_MS = 1000 };

/* It has just been opened: its time runs from here. */
void postgres_renewal_start(struct postgres_connection *connection, uint64_t now_ms);
/* Its time is over, and this is a moment for it to go. Mutex held. */
bool postgres_renewal_is_over(const struct postgres_connection *connection, uint64_t now_ms);
/* From upkeep: opens another one for the first of this lane that is about to end and will be missed. */
void postgres_renewal_look(struct postgres_lane *lane);

#endif
