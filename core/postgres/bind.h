/* bind.h - values on their way to a statement, as libpq wants them: NUL-terminated text, bytes as bytes, no types. */
#ifndef POSTGRES_BIND_H
#define POSTGRES_BIND_H

#include "base/buf.h"
#include "sql/error.h"
#include "sql/value.h"

enum { POSTGRES_BIND_INLINE = 32 };

struct postgres_bind {
    const char *const *values;           /* what PQsendQueryPrepared takes */
    const int *lengths, *formats;
    const char *value_room[POSTGRES_BIND_INLINE];
    int length_room[POSTGRES_BIND_INLINE], format_room[POSTGRES_BIND_INLINE];
    void *block;                         /* for more than that many */
};

/* `texts` is emptied and holds the copies until the next bind. FAIL_SQL with error set when the server could not hold a value
 * (a zero byte in text: 22021); FAIL_NOMEM. */
MUST_USE enum fail postgres_bind(struct postgres_bind *bind, struct buf *texts, const struct sql_value *params, unsigned count,
                                 struct sql_error *error);
void postgres_bind_clear(struct postgres_bind *bind);

#endif
