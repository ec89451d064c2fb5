/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of realms, and what of them is counted.
 *
 * A realm is in use while the kernel knows a node of it above the views (pins), something works in
 * it (holds: a conversation that has a run, an operation), a realm in it is not gone, or there is a
 * vnode of one of its views.
 */
#include "realm.h"

#include <stdio.h>
#include <unistd.h>

#include "root_parts.h"

int realms_init(struct root *r)
{
	struct realm *k = new0(struct realm, 1);

	if (!k)
		return -ENOMEM;
	k->root = r;
	list_init(&k->link);
	if (htab_insert(&r->realms, &k->by_number, 0) < 0) {
		free(k);
		return -ENOMEM;
	}
	r->plain = k;
	return 0;
}

/* Of what the process had when the mount ended: it is not the kernel's any more. */
void realms_free(struct root *r)
{
	list_for_each_safe (k, &r->realm_list, struct realm, link) {
		if (k->is_ended)
			run_forgotten(k->run);
		run_unref(k->run);
		free(k);
	}
	free(r->plain);
	htab_release(&r->realms);
}

struct realm *realm_find(struct root *r, uint32_t number)
{
	htab_for_each (n, &r->realms, number)
		return container_of(n, struct realm, by_number);
	return NULL;
}

/* Under the lock: a number that no realm has; 0: there is none. */
static uint32_t free_number(struct root *r)
{
	for (uint32_t i = 0; i < ROOT_REALM_MAX; i++) {
		r->next_realm = r->next_realm % ROOT_REALM_MAX + 1;
		if (!realm_find(r, r->next_realm))
			return r->next_realm;
	}
	return 0;
}

static int add(struct root *r, struct realm *k)
{
	WITH_LOCK(&r->lock);

	if (htab_reserve(&r->realms, 1) < 0)
		return -ENOMEM;
	k->number = free_number(r);
	if (!k->number)
		return -EMFILE;
	k->parent->children++;
	htab_insert(&r->realms, &k->by_number, k->number);
	list_append(&r->realm_list, &k->link);
	return 0;
}

int realm_make(struct root *r, struct run *run, struct realm *parent, struct realm **ret)
{
	struct realm *k = new0(struct realm, 1);
	int e;

	if (!k)
		return -ENOMEM;
	k->root = r;
	k->parent = parent;
	k->run = run_ref(run);
	k->holds = 1;
	e = add(r, k);
	if (e < 0) {
		run_unref(run);
		free(k);
		return e;
	}
	*ret = k;
	return 0;
}

struct realm *realm_hold(struct root *r, uint64_t node)
{
	struct realm *k;

	WITH_LOCK(&r->lock);

	k = realm_find(r, root_realm(node));
	if (k)
		k->holds++;
	return k;
}

void realm_put(struct realm *k)
{
	WITH_LOCK(&k->root->lock);

	k->holds--;
}

struct run *realm_run(const struct realm *k)
{
	return k->run;
}

void realm_seal(struct realm *k)
{
	atomic_store(&k->is_sealed, true);
	/* Each is a few stores, or one write. */
	while (atomic_load(&k->noting) > 0)
		usleep(50);
}

void realm_end(struct realm *k)
{
	WITH_LOCK(&k->root->lock);

	k->is_ended = true;
	k->root->has_ended_one = true;
	pthread_cond_signal(&k->root->wake);
}

/* R and R/commits of each repo that the kernel knows. */
struct naming {
	struct realm *realm;
	struct vnode_stale *all;
	size_t n, max;
};

static void put_name(struct naming *x, uint64_t node, uint64_t parent, const char *name)
{
	struct vnode_stale *s = &x->all[x->n];

	if (x->n == x->max)
		return;
	x->n++;
	*s = (struct vnode_stale){ .id = node, .parent = parent, .by_name = true };
	snprintf(s->name, sizeof(s->name), "%s", name);
}

static void name_repo(struct hnode *h, void *ctx)
{
	const struct root_repo *repo = container_of(h, struct root_repo, by_number);
	struct naming *x = ctx;

	if (repo->realm != x->realm->number)
		return;
	if (repo->pins[1] > 0)
		put_name(x, commits_node(repo), repo_node(repo), "commits");
	if (repo->pins[0] > 0)
		put_name(x, repo_node(repo), root_own_node(repo->realm, ROOT_OWN_TOP), repo->name);
}

static void name_views(struct naming *x)
{
	list_for_each (a, &x->realm->root->alias_list, struct alias, link)
		if (a->is_private && root_realm(a->parent) == x->realm->number &&
		    view_is_visited(a->view))
			put_name(x, a->root_id, a->parent, a->text);
}

size_t realm_names(struct realm *k, struct vnode_stale **ret)
{
	static const struct {
		const char *name;
		enum root_own node, parent;
	} own[] = {
		{ "control", ROOT_OWN_CONTROL, ROOT_OWN_PFS_DIR },
		{ "stats", ROOT_OWN_STATS, ROOT_OWN_PFS_DIR },
		{ "run", ROOT_OWN_RUNS, ROOT_OWN_PFS_DIR },
		{ ".pfs", ROOT_OWN_PFS_DIR, ROOT_OWN_TOP },
	};
	struct root *r = k->root;
	struct naming x = { .realm = k };
	struct run_id id = *run_id(k->run);

	WITH_LOCK(&r->lock);

	x.max = r->aliases.count + 2 * r->by_number.count + ARRAY_SIZE(own) + 1;
	x.all = calloc(x.max, sizeof(*x.all));
	if (!x.all)
		return 0;
	name_views(&x);
	htab_walk(&r->by_number, name_repo, &x);
	put_name(&x, run_dir_node(k, k), root_own_node(k->number, ROOT_OWN_RUNS), id.s);
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		put_name(&x, root_own_node(k->number, own[i].node),
			 root_own_node(k->number, own[i].parent), own[i].name);
	*ret = x.all;
	return x.n;
}
