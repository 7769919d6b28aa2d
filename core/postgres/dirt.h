/* dirt.h - what a statement may leave behind on its connection for whoever uses it next. */
#ifndef POSTGRES_DIRT_H
#define POSTGRES_DIRT_H

#include "base/str.h"

enum postgres_dirt {
    POSTGRES_DIRT_STATE = 1,     /* settings, role, session locks, temporary tables, held cursors, LISTEN */
    POSTGRES_DIRT_PREPARED = 2,  /* a prepared statement of the plugin's own */
    POSTGRES_DIRT_UNTOLD = 4     /* DO and CALL: their text says nothing of what they do */
};

/* Bits of the above, 0 for most. Judged by the text alone: what a function does inside is not seen. Where it cannot be told, the answer is
 * that there is dirt: cleaning costs a round trip, and a tenant's setting in the next request costs more. */
unsigned postgres_dirt_of(struct str text);

#endif
