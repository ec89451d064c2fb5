/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which view is under which path. A commit gets a view for each path, which must stay the same as
 * long as the kernel knows anything in it; a branch's is its head.
 *
 * Aliases are kept until there are many; then those go whose views nobody else holds.
 */
#include <stdio.h>

#include "base/hash.h"
#include "base/log.h"
#include "root_parts.h"

enum {
	SWEEP_MIN = 64,
};

static uint64_t path_hash(uint64_t parent, const char *text)
{
	return hash_bytes(text, strlen(text)) ^ hash_u64(parent);
}

/* Under the lock. */
static struct alias *find(struct root *r, uint64_t parent, const char *text)
{
	htab_for_each (n, &r->aliases, path_hash(parent, text)) {
		struct alias *a = container_of(n, struct alias, node);

		if (a->parent == parent && strcmp(a->text, text) == 0)
			return a;
	}
	return NULL;
}

/* Under the lock: to @gone, to be freed without it. */
static void take_out(struct root *r, struct alias *a, struct list *gone)
{
	if (!a->is_retired)
		htab_remove(&r->aliases, &a->node);
	list_remove(&a->link);
	list_append(gone, &a->link);
}

/* Under the lock: the path leads elsewhere now. A realm is not gone before all its views are. */
static void retire(struct root *r, struct alias *a, struct list *gone)
{
	if (!a->is_private || !view_is_visited(a->view)) {
		take_out(r, a, gone);
		return;
	}
	htab_remove(&r->aliases, &a->node);
	a->is_retired = true;
}

static void free_all(struct root *r, struct list *gone)
{
	list_for_each_safe (a, gone, struct alias, link) {
		if (oid_is_null(&a->commit) && !a->is_private)
			refs_use_branch(r->fs->store->refs, &a->repo, a->text, false);
		view_unref(a->view);
		free(a);
	}
}

/* Under the lock. */
static void sweep(struct root *r, struct list *gone)
{
	if (r->aliases.count < r->sweep_at)
		return;
	list_for_each_safe (a, &r->alias_list, struct alias, link)
		if (view_is_unused(a->view))
			take_out(r, a, gone);
	r->sweep_at = MAX(2 * r->aliases.count, (size_t)SWEEP_MIN);
}

/* The view of the commit that is under the path already, with a reference, or NULL. */
static struct view *known(struct root *r, uint64_t parent, const char *text, const struct oid *id)
{
	struct alias *a;

	WITH_LOCK(&r->lock);

	a = find(r, parent, text);
	return a && oid_equal(&a->commit, id) ? view_ref(a->view) : NULL;
}

/*
 * Under the lock: @view is under the path from now on (*@ret_is_new), unless there is one of the
 * same commit (or branch) already: that is returned. NULL: no memory.
 */
static struct view *put(struct root *r, const struct id128 *repo, uint64_t parent, const char *text,
			const struct oid *id, struct view *view, struct list *gone,
			bool *ret_is_new)
{
	struct alias *a = find(r, parent, text);

	if (a && (a->view == view || (!oid_is_null(id) && oid_equal(&a->commit, id))))
		return a->view;
	if (a)
		retire(r, a, gone);
	sweep(r, gone);
	a = new0(struct alias, 1);
	if (!a || htab_insert(&r->aliases, &a->node, path_hash(parent, text)) < 0) {
		free(a);
		return NULL;
	}
	a->repo = *repo;
	a->parent = parent;
	a->is_private = root_realm(parent) != 0;
	a->commit = *id;
	a->view = view_ref(view);
	snprintf(a->text, sizeof(a->text), "%s", text);
	list_append(&r->alias_list, &a->link);
	*ret_is_new = true;
	return a->view;
}

/* Takes the reference to @view and gives one to what is under the path. */
static int settle(const struct repo_ref *repo, uint64_t parent, const char *text,
		  const struct oid *id, struct view *view, struct view **ret)
{
	struct root *r = repo->root;
	bool is_new = false;
	struct list gone;
	struct view *v;

	list_init(&gone);
	pthread_mutex_lock(&r->lock);
	v = put(r, &repo->rec.id, parent, text, id, view, &gone, &is_new);
	if (v)
		view_ref(v);
	pthread_mutex_unlock(&r->lock);
	view_unref(view);
	free_all(r, &gone);
	if (!v)
		return -ENOMEM;
	if (is_new && oid_is_null(id) && root_realm(parent) == 0)
		refs_use_branch(r->fs->store->refs, &repo->rec.id, text, true);
	*ret = v;
	return 0;
}

static int branch_view(struct call *c, const struct repo_ref *repo, uint64_t parent,
		       const char *text, struct access *acc, struct view **ret)
{
	const struct oid none = { 0 };
	struct run *run = realm_run(repo->realm);
	struct view *v;
	int r = run ? run_branch(run, repo->repo->name, text, acc, &v)
		    : heads_get(c->fs->heads, repo->repo->name, text, acc, &v);

	if (r < 0)
		return r;
	return settle(repo, parent, text, &none, v, ret);
}

static int commit_view(struct call *c, const struct repo_ref *repo, uint64_t parent,
		       const char *text, const struct oid *id, struct access *acc,
		       struct view **ret)
{
	struct store *store = c->fs->store;
	_cleanup_buf_ struct buf object = { 0 };
	struct refs_wait w = refs_wait_of(acc);
	struct view *v = known(c->fs->root, parent, text, id);
	int r;

	if (v) {
		*ret = v;
		return 0;
	}
	r = refs_commit(store->refs, &repo->rec.id, id, &w, &object);
	if (r == 0)
		r = view_of_commit(store, c->fs->vnodes, repo->repo->name, buf_span(&object), &v);
	return r < 0 ? r : settle(repo, parent, text, id, v, ret);
}

/* "B@{TIME}". A run sees one state of the world: what a branch was when some clock showed something
 * is no part of that. */
static int resolve_time(const struct repo_ref *repo, const char *text, const struct refs_wait *w,
			struct resolved *ret)
{
	int r;

	/* It may be a long way back. */
	if (!w->may_wait)
		return -EAGAIN;
	if (realm_run(repo->realm))
		return log_fail(-ENOENT, "%s/%s: a run cannot look at a time; name the commit",
				repo->repo->name, text);
	r = refs_resolve(repo->root->fs->store->refs, &repo->rec.id, text, w, ret);
	return r == -EINVAL ? log_fail(-ENOENT,
				       "%s/%s: that is no time; main@{1h} or "
				       "main@{2026-01-15T14:00} would be",
				       repo->repo->name, text)
			    : r;
}

/* R/ has no "B@N"; in commits/ a name is a commit's, whatever branches there are. */
static int resolve(struct call *c, const struct repo_ref *repo, uint64_t parent, const char *text,
		   struct access *acc, struct resolved *ret)
{
	struct refs *refs = c->fs->store->refs;
	struct refs_wait w = refs_wait_of(acc);
	_cleanup_ref_ struct ref ref = { 0 };
	struct etag tag;
	int r;

	if (refs_has_time(text))
		return resolve_time(repo, text, &w, ret);
	if (!is_commits(parent))
		return strchr(text, '@') ? -ENOENT
					 : refs_resolve(refs, &repo->rec.id, text, &w, ret);
	if (object_name_is_valid(text)) {
		r = refs_get(refs, &repo->rec.id, REF_NAME, text, &w, &ref, &tag);
		*ret = (struct resolved){ .commit = ref.target };
		if (r != -ENOENT)
			return r;
	}
	r = refs_resolve(refs, &repo->rec.id, text, &w, ret);
	return r == 0 && ret->is_branch ? -ENOENT : r;
}

/* A branch is noted by its name, a commit by its id, whatever leads to it. */
static void place_root(const struct repo_ref *repo, uint64_t parent, const struct resolved *to,
		       const char *text, struct vnode *root)
{
	char hex[OID_HEX], top[2 * OBJECT_NAME_MAX + OID_HEX];
	bool is_alias = !to->is_branch && strcmp(oid_hex(&to->commit, hex), text) != 0;

	snprintf(top, sizeof(top), "%s/%s", repo->repo->name,
		 to->is_branch ? text : oid_hex(&to->commit, hex));
	realm_place_root(repo->realm, root, top);
	if (is_alias && !is_commits(parent))
		realm_saw_commit_name(repo->realm, repo->repo->name, text, hex);
	else if (is_alias)
		realm_saw_more(repo->realm);
}

static void alias_told(struct root *r, uint64_t parent, const char *text, const struct vnode *root)
{
	struct alias *a;

	WITH_LOCK(&r->lock);

	a = find(r, parent, text);
	if (a)
		a->root_id = vnode_id(root);
}

int alias_resolve(struct call *c, const struct repo_ref *repo, uint64_t parent, const char *text,
		  struct access *acc, struct vnode **ret)
{
	struct resolved to;
	struct view *v;
	int r;

	r = resolve(c, repo, parent, text, acc, &to);
	/* What is uncommitted in a branch that another mount has removed is not lost. */
	if (r == -ENOENT && !is_commits(parent) && object_name_is_valid(text)) {
		to = (struct resolved){ .is_branch = true };
		r = 0;
	}
	if (r < 0)
		return r;
	r = to.is_branch ? branch_view(c, repo, parent, text, acc, &v)
			 : commit_view(c, repo, parent, text, &to.commit, acc, &v);
	if (r < 0)
		return r;
	realm_own_view(repo->realm, v);
	r = view_root(v, ret);
	if (r == 0 && realm_run(repo->realm)) {
		place_root(repo, parent, &to, text, *ret);
		alias_told(repo->root, parent, text, *ret);
	}
	view_unref(v);
	return r;
}

void alias_forget(struct root *r, uint64_t parent, const char *text)
{
	struct list gone;
	struct alias *a;

	list_init(&gone);
	pthread_mutex_lock(&r->lock);
	a = find(r, parent, text);
	if (a)
		take_out(r, a, &gone);
	pthread_mutex_unlock(&r->lock);
	free_all(r, &gone);
}

bool aliases_are_visited(struct root *r, const struct realm *k)
{
	list_for_each (a, &r->alias_list, struct alias, link)
		if (a->is_private && root_realm(a->parent) == k->number && view_is_visited(a->view))
			return true;
	return false;
}

void aliases_drop(struct root *r, uint32_t realm)
{
	struct list gone;

	list_init(&gone);
	pthread_mutex_lock(&r->lock);
	list_for_each_safe (a, &r->alias_list, struct alias, link) {
		if (!a->is_private || root_realm(a->parent) != realm)
			continue;
		view_set_owner(a->view, NULL);
		take_out(r, a, &gone);
	}
	pthread_mutex_unlock(&r->lock);
	free_all(r, &gone);
}

void aliases_free(struct root *r)
{
	free_all(r, &r->alias_list);
	htab_release(&r->aliases);
}

uint64_t root_parent(struct root *r, const struct view *view)
{
	WITH_LOCK(&r->lock);

	list_for_each (a, &r->alias_list, struct alias, link)
		if (a->view == view)
			return a->parent;
	return 0;
}

struct view *root_head(struct root *r, const struct id128 *repo, const char *branch)
{
	WITH_LOCK(&r->lock);

	list_for_each (a, &r->alias_list, struct alias, link)
		if (oid_is_null(&a->commit) && !a->is_private && id128_equal(&a->repo, repo) &&
		    strcmp(a->text, branch) == 0)
			return view_ref(a->view);
	return NULL;
}

size_t root_heads(struct root *r, struct root_head **ret)
{
	size_t n = 0;

	WITH_LOCK(&r->lock);

	*ret = malloc(MAX(r->aliases.count, (size_t)1) * sizeof(**ret));
	if (!*ret)
		return 0;
	list_for_each (a, &r->alias_list, struct alias, link) {
		if (!oid_is_null(&a->commit) || a->is_private)
			continue;
		(*ret)[n].view = view_ref(a->view);
		(*ret)[n].repo = a->repo;
		memcpy((*ret)[n].branch, a->text, sizeof((*ret)[n].branch));
		n++;
	}
	return n;
}
