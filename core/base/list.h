/* list.h - doubly linked list of nodes that live inside their objects. A node is on at most one list;
 * where a state is a list, the list is the state. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list { struct list *next, *prev; };

#define LIST_ENTRY(node, type, field) ((type *)(void *)((char *)(node) - offsetof(type, field)))
#define LIST_EACH(head, at) for (struct list *at = (head)->next; at != (head); at = at->next)
/* The current node may be removed inside the loop. */
#define LIST_EACH_SAFE(head, at, after)                                                                                \
    for (struct list *at = (head)->next, *after = at->next; at != (head); at = after, after = at->next)

static inline void list_init(struct list *list) { list->next = list->prev = list; }
static inline bool list_is_empty(const struct list *list) { return list->next == list; }
static inline void list_insert(struct list *before, struct list *node)
{
    node->prev = before->prev;
    node->next = before;
    before->prev->next = node;
    before->prev = node;
}
static inline void list_push_back(struct list *list, struct list *node) { list_insert(list, node); }
static inline void list_push_front(struct list *list, struct list *node) { list_insert(list->next, node); }
static inline void list_remove(struct list *node)   /* fine for a node that is on no list but initialised */
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}
static inline struct list *list_pop_front(struct list *list)   /* NULL when empty */
{
    struct list *node = list->next;
    if (node == list)
        return NULL;
    list_remove(node);
    return node;
}
static inline struct list *list_peek(const struct list *list) { return list->next == list ? NULL : list->next; }

#endif
