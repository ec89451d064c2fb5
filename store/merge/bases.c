/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Lowest common ancestors (merge/bases.h).
 *
 * Commits are taken from a heap by descending generation, so that all that descend from one have
 * been seen before it, and what it is known to come before is known whole. One that comes before
 * both sides, and before no other such, is a result; what comes before it is of no interest, and
 * when nothing else is left in the heap, all are found. (As git's paint_down_to_common() does.)
 */
#include "merge/bases.h"

#include "base/heap.h"
#include "base/htab.h"
#include "base/log.h"

enum {
	OF_A = 1,
	OF_B = 2,
	BELOW_RESULT = 4,
};

struct seen {
	struct hnode node;
	struct oid id;
	uint64_t generation;
	unsigned marks;
	unsigned parent_count;
	struct oid *parents; /* owned */
};

struct painting {
	struct refs *refs;
	const struct id128 *repo;
	const struct refs_wait *wait;
	struct htab seen; /* owned, with its elements */
	struct heap heap; /* the youngest first; owned */
	size_t open; /* of these, without BELOW_RESULT */
};

static void seen_free(struct hnode *n, void *ctx)
{
	struct seen *s = container_of(n, struct seen, node);

	free(s->parents);
	free(s);
}

static void painting_release(struct painting *p)
{
	htab_walk(&p->seen, seen_free, NULL);
	htab_release(&p->seen);
	heap_release(&p->heap);
}

static bool is_above(const void *x, const void *y)
{
	const struct seen *a = x, *b = y;

	if (a->generation != b->generation)
		return a->generation > b->generation;
	return oid_cmp(&a->id, &b->id) < 0;
}

static int load(struct painting *p, const struct oid *id, struct seen **ret)
{
	_cleanup_loaded_ struct loaded l = { 0 };
	const struct commit *c = &l.commit;
	struct seen *s;
	int r = refs_load_commit(p->refs, p->repo, id, p->wait, &l);

	if (r < 0)
		return r;
	s = new0(struct seen, 1);
	if (!s)
		return -ENOMEM;
	s->id = *id;
	s->generation = c->generation;
	s->parent_count = c->parent_count;
	s->parents = new0(struct oid, MAX(c->parent_count, 1));
	if (!s->parents || htab_insert(&p->seen, &s->node, oid_hash(id)) < 0) {
		free(s->parents);
		free(s);
		return -ENOMEM;
	}
	memcpy(s->parents, c->parents, c->parent_count * sizeof(struct oid));
	*ret = s;
	return 0;
}

/* A commit comes before what has these marks. @below: the generation that it must be under. */
static int paint(struct painting *p, const struct oid *id, unsigned marks, uint64_t below)
{
	struct seen *s = NULL;
	bool is_new;
	int r = 0;

	htab_for_each (n, &p->seen, oid_hash(id))
		if (oid_equal(&container_of(n, struct seen, node)->id, id))
			s = container_of(n, struct seen, node);
	is_new = !s;
	if (is_new)
		r = load(p, id, &s);
	if (r < 0)
		return r;
	if (s->generation >= below)
		return log_fail(-EBADMSG, "a commit is not younger than its parent");
	if (!is_new) {
		/* Still in the heap: what is above it comes first. */
		if ((marks & BELOW_RESULT) && !(s->marks & BELOW_RESULT))
			p->open--;
		s->marks |= marks;
		return 0;
	}
	s->marks = marks;
	r = heap_push(&p->heap, s);
	if (r == 0 && !(marks & BELOW_RESULT))
		p->open++;
	return r;
}

int merge_bases(struct refs *refs, const struct id128 *repo, const struct oid *a,
		const struct oid *b, const struct refs_wait *w, struct oid ret[MERGE_BASES_MAX],
		unsigned *ret_count)
{
	_cleanup_(painting_release) struct painting p = {
		.refs = refs, .repo = repo, .wait = w, .heap.is_before = is_above
	};
	unsigned count = 0;
	int r = paint(&p, a, OF_A, UINT64_MAX);

	if (r == 0)
		r = paint(&p, b, OF_B, UINT64_MAX);
	while (r == 0 && p.open > 0) {
		struct seen *s = heap_pop(&p.heap);
		unsigned marks = s->marks;

		if (!(marks & BELOW_RESULT))
			p.open--;
		if (marks == (OF_A | OF_B)) {
			if (count == MERGE_BASES_MAX)
				return -E2BIG;
			ret[count++] = s->id;
			marks |= BELOW_RESULT;
		}
		for (unsigned i = 0; r == 0 && i < s->parent_count; i++)
			r = paint(&p, &s->parents[i], marks, s->generation);
	}
	if (r == 0)
		*ret_count = count;
	return r;
}
