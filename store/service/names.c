/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Lists of names.
 */
#include "service/names.h"

#include "base/log.h"

void names_release(struct names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->items[i]);
	free(n->items);
	*n = (struct names){ 0 };
}

int names_add(const char *name, struct names *n)
{
	char *copy = strdup(name);

	if (n->count == n->cap) {
		size_t cap = MAX(2 * n->cap, (size_t)16);
		char **items = reallocarray(n->items, cap, sizeof(*items));

		if (!items) {
			free(copy);
			return -ENOMEM;
		}
		n->items = items;
		n->cap = cap;
	}
	if (!copy)
		return -ENOMEM;
	n->items[n->count++] = copy;
	return 0;
}

static int add(const char *name, void *ctx)
{
	return names_add(name, ctx);
}

int names_of_repos(struct request *q, struct names *ret)
{
	struct refs_wait w = request_fresh_wait(q);
	int r;

	do {
		names_release(ret);
		r = refs_list_repos(q->service->store->refs, &w, add, ret);
	} while (request_settles(q, &w, r));
	return r;
}

int names_of_refs(struct request *q, const struct id128 *repo, enum ref_kind kind,
		  struct names *ret)
{
	struct refs_wait w = request_fresh_wait(q);
	int r;

	do {
		names_release(ret);
		r = refs_list(q->service->store->refs, repo, kind, &w, add, ret);
	} while (request_settles(q, &w, r));
	return r;
}

int names_of_commits(struct request *q, const struct id128 *repo, struct names *ret)
{
	struct refs_wait w = request_fresh_wait(q);
	int r;

	do {
		names_release(ret);
		r = refs_list_commits(q->service->store->refs, repo, &w, add, ret);
	} while (request_settles(q, &w, r));
	return r;
}

int names_pass_over(const char *name, int r, int *first)
{
	if (r != -EBADMSG && r != -ENOTSUP)
		return r;
	if (*first == 0)
		*first = log_fail(-EBADMSG, "the record of `%s` %s", name,
				  r == -EBADMSG ? "is damaged" : "is of a newer version");
	return 0;
}

int names_refuse(const char *name)
{
	return log_fail(
		-EINVAL,
		"`%s` is not a name: 1 to 100 of A-Z a-z 0-9 . _ - are, not starting with . "
		"or -, not `commits`, and not 8 or more hex digits with a letter among them, "
		"which would read as an id",
		name);
}

static int cmp_named(const void *a, const void *b)
{
	const struct named_commit *x = a, *y = b;

	return oid_cmp(&x->id, &y->id) ?: strcmp(x->name, y->name);
}

int name_map_load(struct request *q, const struct id128 *repo, struct name_map *ret)
{
	_cleanup_name_map_ struct name_map m = { 0 };
	int r = names_of_refs(q, repo, REF_NAME, &m.names);

	if (r < 0)
		return r;
	m.items = new0(struct named_commit, m.names.count + 1);
	if (!m.items)
		return -ENOMEM;
	for (size_t i = 0; i < m.names.count; i++) {
		_cleanup_ref_ struct ref ref = { 0 };
		struct refs_wait w = request_wait(q);

		r = refs_get(q->service->store->refs, repo, REF_NAME, m.names.items[i], &w, &ref,
			     NULL);
		/* A damaged one is complained of by who asks for it. */
		if (r == -ENOENT || r == -EBADMSG || r == -ENOTSUP)
			continue;
		if (r < 0)
			return r;
		m.items[m.count++] =
			(struct named_commit){ .id = ref.target, .name = m.names.items[i] };
	}
	qsort(m.items, m.count, sizeof(*m.items), cmp_named);
	*ret = m;
	m = (struct name_map){ 0 };
	return 0;
}

void name_map_release(struct name_map *m)
{
	names_release(&m->names);
	free(m->items);
}

const struct named_commit *name_map_find(const struct name_map *m, const struct oid *id)
{
	size_t lo = 0, hi = m->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (oid_cmp(&m->items[mid].id, id) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < m->count && oid_equal(&m->items[lo].id, id) ? &m->items[lo] : NULL;
}
