/* typing.h - a result has columns of types that are not known: the catalogue is asked, on the same connection, before its unit is judged.
 *
 *   end_unit: [call] [call, UNTYPED] ..  -> ask; the unit stays where it is    -> settle [the answer has come]: it is judged on
 *
 * For unit.c, which owns the units, and answer.c, which finds that something is missing.
 */
#ifndef POSTGRES_TYPING_H
#define POSTGRES_TYPING_H

#include "postgres/answer.h"

/* Sends the question, for the step at `at` of the ring. False: it cannot be sent, or has been answered without success. */
bool postgres_typing_ask(struct postgres_connection *connection, unsigned at);
/* A question is on its way, and nothing is judged. */
static inline bool postgres_typing_is_asking(const struct postgres_connection *connection)
{
    return connection->types.state != POSTGRES_TYPES_RESTING;
}
/* A Sync was answered. True: the question is over, one way or the other, and what waited is judged on, from postgres_typing_at. */
bool postgres_typing_settle(struct postgres_connection *connection);
/* The connection is lost, and the question with it. */
void postgres_typing_give_up(struct postgres_connection *connection);
/* The unit is over. */
static inline void postgres_typing_end_unit(struct postgres_connection *connection)
{
    connection->types.at = 0;
    connection->types.is_fresh = false;
}
/* What its types are cannot be known: fills the call. It has run all the same. */
enum postgres_outcome postgres_typing_refuse(struct postgres_connection *connection, struct sql_call *call);

#endif
