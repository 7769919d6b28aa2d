/* random.c - the kernel's random bytes, some at a time.
 *
 * DESIGN  Each thread keeps 512 bytes; what is handed out is wiped at once, so a later look at the memory does not
 *         tell old secrets. After a fork the child throws its bytes away: the parent has the same ones.
 */
#include "base/random.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BUFFER_BYTES 512u

static __thread struct {
    unsigned char bytes[BUFFER_BYTES];
    size_t left; /* the last `left` bytes are fresh */
    unsigned generation;
} pool;
static unsigned generation = 1; /* counts forks; written in the child while it has one thread */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void on_fork(void) { generation++; }

static void watch_forks(void)
{
    if (pthread_atfork(NULL, NULL, on_fork) != 0)
        abort();
}

static void from_kernel(unsigned char *out, size_t len)
{
    while (len) {
        ssize_t got = getrandom(out, len, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort();
        out += got;
        len -= (size_t)got;
    }
}

static void refill(void)
{
    pthread_once(&once, watch_forks);
    from_kernel(pool.bytes, BUFFER_BYTES);
    pool.left = BUFFER_BYTES;
    pool.generation = generation;
}

void random_bytes(void *out, size_t len)
{
    if (len > BUFFER_BYTES) {
        from_kernel(out, len);
        return;
    }
    if (len == 0)
        return;
    if (pool.left < len || pool.generation != generation)
        refill();
    unsigned char *fresh = pool.bytes + BUFFER_BYTES - pool.left;
    memcpy(out, fresh, len);
    explicit_bzero(fresh, len);
    pool.left -= len;
}

uint64_t random_u64(void)
{
    uint64_t value;
    random_bytes(&value, sizeof value);
    return value;
}
