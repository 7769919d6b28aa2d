/* name.h - the addresses of host names: looked up aside, remembered for a while, by all pools of the process together.
 *
 * libpq looks names up while it connects and blocks the loop meanwhile, unless it is given addresses. An answer serves for dns_ttl,
 * that there is none for POSTGRES_NAME_NEGATIVE_MS at most; getaddrinfo does not tell what the name server said about that. A name
 * is asked about once at a time, however many wait, and one that gets no answer holds up no other.
 */
#ifndef POSTGRES_NAME_H
#define POSTGRES_NAME_H

#include "base/str.h"
#include "loop/loop.h"

enum { POSTGRES_NAME_NEGATIVE_MS = 5000, POSTGRES_NAME_ADDRESSES = 16, POSTGRES_ADDRESS_BYTES = 64, POSTGRES_NAME_BYTES_MAX = 254 };

struct postgres_name;

/* A place in the queue for an answer, and after it the name, which is kept up to date as long as somebody has it. Zeroed: none. */
struct postgres_name_wait {
    void (*on_done)(void *arg);          /* set by the caller */
    void *arg;
    struct postgres_name *name;          /* private to name.c, like what follows */
    struct list node;
    struct loop *loop;
    struct loop_task task;
    bool is_queued, is_posted;
};

struct postgres_addresses {
    char texts[POSTGRES_NAME_ADDRESSES][POSTGRES_ADDRESS_BYTES];
    unsigned count;                      /* 0: why says it */
    const char *why;
};

/* Each pool opens the table while it is there; what nobody has any more is forgotten with the last one. */
void postgres_name_open(void);
void postgres_name_close(void);

/* on_done comes once, on the loop, never from within, unless the wait is left before. */
MUST_USE enum fail postgres_name_ask(struct postgres_name_wait *wait, struct loop *loop, struct str host, unsigned ttl_ms);
/* Lets go of the name; fine for a zeroed wait. False: on_done is on its way and comes, the wait must live until then. */
bool postgres_name_leave(struct postgres_name_wait *wait);
/* What is known once on_done has come: the last good answer, also when there was none now. */
void postgres_name_read(const struct postgres_name_wait *wait, struct postgres_addresses *out);

/* How often any name has lost an address so far: cheap, so that has() need be asked only when it has grown. */
unsigned postgres_name_losses(void);
/* Is the address still among the name's? True while its name server is out of reach. */
bool postgres_name_has(const struct postgres_name_wait *wait, const char *address);
/* Looks up again what somebody has and is older than ttl_ms. Cheap; any thread, now and then. */
void postgres_name_refresh(unsigned ttl_ms);

/* The addresses of a host that is a number already; false: it is a name. Never blocks. */
bool postgres_name_is_number(const char *host, char address[POSTGRES_ADDRESS_BYTES]);

#endif
