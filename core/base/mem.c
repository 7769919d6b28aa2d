/* mem.c - the heap with accounts: who holds how many bytes.
 *
 * DESIGN  A block is a 16-byte head (size, tag, guard) and then the caller's bytes. Every thread has an account of
 *         its own, a signed number for each tag: allocating adds to the account of the thread that allocates, freeing
 *         takes from that of the thread that frees. One account may go below zero; the sum over all is what is live.
 *         The numbers are written by their thread only, with plain stores (relaxed, so readers see whole words).
 *         An account outlives its thread: it stays on the list with its numbers, and the next new thread goes on with
 *         it.
 * HOLDS   sum over accounts = live bytes, exact whenever no other thread is within a call of this file.
 *         Accounts are never freed; there are as many as there ever were threads at one time.
 */
#include "base/mem.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define GUARD_LIVE 0x6b636977u
#define GUARD_DEAD 0xdeadb10cu

struct head {
    size_t bytes;
    uint32_t tag;
    uint32_t guard;
};
_Static_assert(sizeof(struct head) == 16 && sizeof(struct head) % _Alignof(max_align_t) == 0, "blocks stay aligned");

struct account {
    int64_t live[MEM_TAGS];
    struct account *next;
    bool is_taken;
} __attribute__((aligned(64))); /* no two threads on one cache line */

static const char *const names[MEM_TAGS] = {
    [MEM_BASE] = "base",     [MEM_LOOP] = "loop",   [MEM_HTTP] = "http",     [MEM_METRICS] = "metrics",
    [MEM_CACHE] = "cache",   [MEM_REDIS] = "redis", [MEM_SQL] = "sql",       [MEM_POSTGRES] = "postgres",
    [MEM_SQLITE] = "sqlite", [MEM_SERVE] = "serve", [MEM_SCRIPT] = "script", [MEM_LUA] = "lua",
    [MEM_APP] = "app",
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct account *accounts; /* under lock */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_thread_end;
static __thread struct account *mine;
static __thread unsigned fail_in;

/* Runs at the end of a thread. Should a later destructor allocate or free, account_take gives it an account again. */
static void account_leave(void *arg)
{
    struct account *account = arg;
    mine = NULL;
    pthread_mutex_lock(&lock);
    account->is_taken = false;
    pthread_mutex_unlock(&lock);
}

static void make_key(void)
{
    if (pthread_key_create(&at_thread_end, account_leave) != 0)
        abort();
}

static struct account *account_find_free(void)
{
    for (struct account *account = accounts; account; account = account->next)
        if (!account->is_taken)
            return account;
    struct account *account = aligned_alloc(_Alignof(struct account), sizeof *account);
    if (!account)
        abort(); /* there is nowhere to write the bill; the program has not got 192 bytes */
    memset(account, 0, sizeof *account);
    account->next = accounts;
    accounts = account;
    return account;
}

static __attribute__((noinline)) struct account *account_take(void)
{
    pthread_once(&once, make_key);
    pthread_mutex_lock(&lock);
    struct account *account = account_find_free();
    account->is_taken = true;
    pthread_mutex_unlock(&lock);
    mine = account;
    pthread_setspecific(at_thread_end, account);
    return account;
}

static inline void bill(uint32_t tag, int64_t bytes)
{
    struct account *account = mine ? mine : account_take();
    int64_t *live = &account->live[tag];
    __atomic_store_n(live, __atomic_load_n(live, __ATOMIC_RELAXED) + bytes, __ATOMIC_RELAXED);
}

static inline bool must_fail(void) { return __builtin_expect(fail_in != 0, 0) && --fail_in == 0; }

static inline struct head *head_of(void *ptr)
{
    struct head *head = (struct head *)ptr - 1;
    assert(head->guard == GUARD_LIVE);
    return head;
}

static inline void *head_fill(struct head *head, uint32_t tag, size_t bytes)
{
    *head = (struct head){ .bytes = bytes, .tag = tag, .guard = GUARD_LIVE };
    bill(tag, (int64_t)bytes);
    return head + 1;
}

void *mem_alloc(enum mem_tag tag, size_t bytes)
{
    assert(tag < MEM_TAGS);
    if (must_fail() || bytes > PTRDIFF_MAX - sizeof(struct head))
        return NULL;
    struct head *head = malloc(sizeof *head + bytes);
    return head ? head_fill(head, tag, bytes) : NULL;
}

void *mem_zero(enum mem_tag tag, size_t bytes)
{
    assert(tag < MEM_TAGS);
    if (must_fail() || bytes > PTRDIFF_MAX - sizeof(struct head))
        return NULL;
    struct head *head = calloc(1, sizeof *head + bytes);
    return head ? head_fill(head, tag, bytes) : NULL;
}

void *mem_grow(enum mem_tag tag, void *ptr, size_t bytes)
{
    if (!ptr)
        return mem_alloc(tag, bytes);
    struct head *old = head_of(ptr);
    if (must_fail() || bytes > PTRDIFF_MAX - sizeof(struct head))
        return NULL;
    int64_t more = (int64_t)bytes - (int64_t)old->bytes;
    struct head *head = realloc(old, sizeof *head + bytes);
    if (!head)
        return NULL;
    head->bytes = bytes;
    bill(head->tag, more);
    return head + 1;
}

char *mem_dup(enum mem_tag tag, const char *data, size_t len)
{
    char *copy = mem_alloc(tag, len + 1);
    if (!copy)
        return NULL;
    if (len)
        memcpy(copy, data, len);
    copy[len] = '\0';
    return copy;
}

void mem_free(void *ptr)
{
    if (!ptr)
        return;
    struct head *head = head_of(ptr);
    head->guard = GUARD_DEAD;
    bill(head->tag, -(int64_t)head->bytes);
    free(head);
}

size_t mem_live_tag(enum mem_tag tag)
{
    assert(tag < MEM_TAGS);
    int64_t live = 0;
    pthread_mutex_lock(&lock);
    for (struct account *account = accounts; account; account = account->next)
        live += __atomic_load_n(&account->live[tag], __ATOMIC_RELAXED);
    pthread_mutex_unlock(&lock);
    return live > 0 ? (size_t)live : 0; /* below zero only in passing, when a block moved between threads as we read */
}

size_t mem_live(void)
{
    size_t live = 0;
    for (unsigned tag = 0; tag < MEM_TAGS; tag++)
        live += mem_live_tag((enum mem_tag)tag);
    return live;
}

const char *mem_tag_name(enum mem_tag tag) { return tag < MEM_TAGS ? names[tag] : "unknown"; }

size_t mem_report(FILE *out)
{
    size_t total = 0;
    for (unsigned tag = 0; tag < MEM_TAGS; tag++) {
        size_t live = mem_live_tag((enum mem_tag)tag);
        if (live)
            fprintf(out, "memory: %zu bytes live in %s\n", live, names[tag]);
        total += live;
    }
    return total;
}

void mem_fail_after(unsigned n) { fail_in = n; }
