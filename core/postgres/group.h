/* group.h - several calls on one connection in one round trip: sql_run_many. */
#ifndef POSTGRES_GROUP_H
#define POSTGRES_GROUP_H

#include "postgres/connection.h"

struct postgres_group;

void postgres_group_run(struct postgres_lane *lane, struct sql_call **calls, unsigned count, bool atomic);
/* For lane.c: the group's turn has come; one of its calls was given up, and so all of them that are not finished. */
void postgres_group_start(struct postgres_connection *connection, struct sql_call *waiter);
void postgres_group_abandon(struct postgres_group *group, enum fail fail);

#endif
