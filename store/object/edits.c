/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The list of object/edits.h, the last first.
 */
#include "object/edits.h"

struct edit {
	struct edit *next;
	bool is_there;
	char name[];
};

void edits_add(struct edits *e, const char *name, bool is_there)
{
	size_t size = strlen(name) + 1;
	struct edit *x = malloc(sizeof(*x) + size);

	if (!x)
		return;
	memcpy(x->name, name, size);
	x->is_there = is_there;
	x->next = e->last;
	e->last = x;
}

static struct edit *reversed(struct edit *last)
{
	struct edit *first = NULL;

	while (last) {
		struct edit *x = last;

		last = x->next;
		x->next = first;
		first = x;
	}
	return first;
}

struct finding *edits_apply(struct edits *e, struct finding *list)
{
	e->last = reversed(e->last);
	for (struct edit *x = e->last; x; x = x->next) {
		struct finding *more;

		if (finding_with(list, x->name, x->is_there, &more) < 0)
			break;
		finding_unref(list);
		list = more;
	}
	edits_release(e);
	return list;
}

void edits_release(struct edits *e)
{
	while (e->last) {
		struct edit *x = e->last;

		e->last = x->next;
		free(x);
	}
}
