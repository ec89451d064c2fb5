/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A doubly linked list whose links lie in the elements. The list owns nothing.
 */
#pragma once

#include "base/defs.h"

struct list {
	struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_is_empty(const struct list *l)
{
	return l->next == l;
}

/* Puts @n before @pos; with the head as @pos that is the list's end. */
static inline void list_insert(struct list *pos, struct list *n)
{
	n->prev = pos->prev;
	n->next = pos;
	pos->prev->next = n;
	pos->prev = n;
}

static inline void list_append(struct list *head, struct list *n)
{
	list_insert(head, n);
}

static inline void list_prepend(struct list *head, struct list *n)
{
	list_insert(head->next, n);
}

/* Takes @n out and leaves it a list of its own, so that removing it twice does no harm. */
static inline void list_remove(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

#define list_entry(p, type, member) container_of(p, type, member)

#define list_first(head, type, member) \
	(list_is_empty(head) ? NULL : list_entry((head)->next, type, member))

#define list_for_each(var, head, type, member)                                           \
	for (type *var = list_entry((head)->next, type, member); &var->member != (head); \
	     var = list_entry(var->member.next, type, member))

/* As list_for_each(), and the current element may be removed. */
#define list_for_each_safe(var, head, type, member)                         \
	for (type *var = list_entry((head)->next, type, member),            \
		  *var##_next = list_entry(var->member.next, type, member); \
	     &var->member != (head);                                        \
	     var = var##_next, var##_next = list_entry(var->member.next, type, member))
