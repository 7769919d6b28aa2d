/* subscription.c - the queue of one subscriber: filled on the listening loop, emptied on its own.
 *
 * DESIGN  Notes are copied in and the subscriber's loop is told, once. A queue that overflows is dropped whole and becomes a gap, as does
 *         everything queued when the connection is lost: a gap covers what was before it. What the subscriber does not take now
 *         stays first, and nothing more is offered until it resumes.
 * HOLDS   Everything changes under the mutex of listen; callbacks run without it. One that is posted or delivering is buried, not freed.
 * Path:   postgres/listen > [postgres/subscription] > script/listen
 */
#include "postgres/subscription.h"

#include "base/mem.h"

#include <string.h>

struct note {
    struct list node;
    int pid;
    size_t len;
    char payload[];
};

/* --- the queue; mutex held ------------------------------------------------------------------------------------- */

static void post(struct postgres_subscription *subscription)
{
    if (subscription->is_posted || subscription->is_gone)
        return;
    subscription->is_posted = true;
    loop_post(subscription->loop, &subscription->task);
}

static void drop_notes(struct postgres_subscription *subscription)
{
    for (struct list *node; (node = list_pop_front(&subscription->notes));)
        mem_free(LIST_ENTRY(node, struct note, node));
    subscription->note_count = 0;
    subscription->note_bytes = 0;
}

/* is_loss: something may really have been missed, not only that LISTEN holds for the first time. */
void postgres_subscription_gap(struct postgres_subscription *subscription, bool is_loss)
{
    drop_notes(subscription);
    subscription->has_gap = true;
    if (is_loss)
        metric_add(subscription->listen->meter->gaps, 1);
    post(subscription);
}

void postgres_subscription_note(struct postgres_subscription *subscription, struct str payload, int pid)
{
    bool has_room = subscription->note_count < POSTGRES_NOTES_MAX &&
                    subscription->note_bytes + payload.len <= POSTGRES_NOTES_BYTES_MAX;
    struct note *note = has_room ? mem_alloc(MEM_POSTGRES, sizeof *note + payload.len) : NULL;
    if (!note) {
        postgres_subscription_gap(subscription, /* is_loss= */ true);
        return;
    }
    note->pid = pid;
    note->len = payload.len;
    if (payload.len)
        memcpy(note->payload, payload.data, payload.len);
    list_push_back(&subscription->notes, &note->node);
    subscription->note_count++;
    subscription->note_bytes += payload.len;
    post(subscription);
}

/* Frees what nobody points to any more; the last one may let the engine close. */
void postgres_subscription_free_if_over(struct postgres_subscription *subscription)
{
    if (!subscription->is_gone || subscription->is_posted || subscription->is_delivering)
        return;
    subscription->listen->subscriptions--;
    drop_notes(subscription);
    mem_free(subscription);
}

/* --- delivery, on the subscriber's loop ----------------------------------------------------------------------- */

static struct note *pop_note(struct postgres_subscription *subscription)
{
    struct list *node = list_pop_front(&subscription->notes);
    if (!node)
        return NULL;
    struct note *note = LIST_ENTRY(node, struct note, node);
    subscription->note_count--;
    subscription->note_bytes -= note->len;
    return note;
}

static bool tell_gap(struct postgres_subscription *subscription)
{
    subscription->has_gap = false;
    pthread_mutex_unlock(&subscription->listen->mutex);
    bool is_taken = subscription->listener.on_gap(subscription->listener.arg);
    pthread_mutex_lock(&subscription->listen->mutex);
    subscription->has_gap |= !is_taken;
    return is_taken;
}

static bool tell_note(struct postgres_subscription *subscription, struct note *note)
{
    pthread_mutex_unlock(&subscription->listen->mutex);
    bool is_taken = subscription->listener.on_note(subscription->listener.arg, str_make(note->payload, note->len),
                                                   note->pid);
    pthread_mutex_lock(&subscription->listen->mutex);
    if (is_taken || subscription->has_gap) { /* a gap has come meanwhile, and covers it */
        mem_free(note);
        return is_taken;
    }
    list_push_front(&subscription->notes, &note->node);
    subscription->note_count++;
    subscription->note_bytes += note->len;
    return false;
}

void postgres_subscription_deliver(void *arg)
{
    struct postgres_subscription *subscription = arg;
    struct postgres_listen *listen = subscription->listen;
    pthread_mutex_lock(&listen->mutex);
    subscription->is_posted = false;
    subscription->is_delivering = true;
    while (!subscription->is_gone && !subscription->is_held) {
        struct note *note = subscription->has_gap ? NULL : pop_note(subscription);
        if (!note && !subscription->has_gap)
            break;
        bool is_taken = note ? tell_note(subscription, note) : tell_gap(subscription);
        subscription->is_held |= !is_taken;
    }
    subscription->is_delivering = false;
    postgres_subscription_free_if_over(subscription);
    pthread_mutex_unlock(&listen->mutex);
}

void postgres_subscription_resume(struct sql_subscription *base)
{
    struct postgres_subscription *subscription = (struct postgres_subscription *)base;
    pthread_mutex_lock(&subscription->listen->mutex);
    subscription->is_held = false;
    if (subscription->has_gap || subscription->note_count)
        post(subscription);
    pthread_mutex_unlock(&subscription->listen->mutex);
}
