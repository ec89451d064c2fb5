/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Nodes above the views: which there are, what they look like, what is in them.
 */
#include <sys/xattr.h>
#include <unistd.h>

#include "base/hash.h"
#include "control.h"
#include "entry.h"
#include "object/refs.h"
#include "root_parts.h"

#define COMMITS "commits"
#define PFS_DIR ".pfs"

enum {
	INO_FIRST = 16, /* below are the mount's own */
	INO_TOP = 1,
	INO_PFS_DIR = 2,
	INO_CONTROL = 3,
	INO_STATS = 4,
	INO_RUNS = 5,
	DIR_SIZE = 4096,
};

int root_new(struct fs *fs, struct root **ret)
{
	struct root *r = new0(struct root, 1);

	if (!r)
		return -ENOMEM;
	r->fs = fs;
	pthread_mutex_init(&r->lock, NULL);
	list_init(&r->alias_list);
	list_init(&r->dirs);
	list_init(&r->run_files);
	list_init(&r->realm_list);
	cond_init(&r->wake);
	if (realms_init(r) < 0) {
		root_free(r);
		return -ENOMEM;
	}
	r->next_number = ROOT_FIRST;
	r->started = now_wall();
	*ret = r;
	return 0;
}

static void free_repo(struct hnode *n, void *ctx)
{
	free(container_of(n, struct root_repo, by_number));
}

void root_free(struct root *r)
{
	if (!r)
		return;
	realms_stop(r);
	root_dirs_free(r);
	run_files_free(r);
	aliases_free(r);
	realms_free(r);
	htab_release(&r->by_name);
	htab_walk(&r->by_number, free_repo, NULL);
	htab_release(&r->by_number);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

struct refs_wait refs_wait_of(const struct access *acc)
{
	return (struct refs_wait){ .may_wait = acc->may_wait, .deadline = acc->deadline };
}

/* Under the lock. */
static void drop_if_unused(struct root *r, struct root_repo *repo)
{
	if (repo->refs > 0 || repo->pins[0] > 0 || repo->pins[1] > 0)
		return;
	htab_remove(&r->by_number, &repo->by_number);
	htab_remove(&r->by_name, &repo->by_name);
	free(repo);
}

static struct root_repo *by_number(struct root *r, uint64_t node)
{
	uint64_t number = root_local(node) & ~(uint64_t)ROOT_REPO_BIT;

	htab_for_each (n, &r->by_number, number)
		return container_of(n, struct root_repo, by_number);
	return NULL;
}

static uint64_t name_hash(const char *name)
{
	return hash_bytes(name, strlen(name));
}

/* Under the lock: the repo's node, made if need be. */
static struct root_repo *by_name(struct root *r, uint32_t realm, const char *name,
				 const struct id128 *id)
{
	uint64_t hash = name_hash(name) ^ realm;
	struct root_repo *repo;

	htab_for_each (n, &r->by_name, hash) {
		repo = container_of(n, struct root_repo, by_name);
		if (repo->realm == realm && strcmp(repo->name, name) == 0 &&
		    id128_equal(&repo->id, id))
			return repo;
	}
	if (htab_reserve(&r->by_number, 1) < 0 || htab_reserve(&r->by_name, 1) < 0)
		return NULL;
	repo = new0(struct root_repo, 1);
	if (!repo)
		return NULL;
	repo->number = r->next_number;
	repo->realm = realm;
	repo->id = *id;
	memcpy(repo->name, name, strlen(name) + 1);
	r->next_number += 2;
	htab_insert(&r->by_number, &repo->by_number, repo->number);
	htab_insert(&r->by_name, &repo->by_name, hash);
	return repo;
}

void repo_ref_release(struct repo_ref *x)
{
	repo_rec_release(&x->rec);
	if (x->repo) {
		WITH_LOCK(&x->root->lock);

		x->repo->refs--;
		drop_if_unused(x->root, x->repo);
	}
	if (x->realm)
		realm_put(x->realm);
}

int repo_of_name(struct call *c, const char *name, struct access *acc, struct repo_ref *ret)
{
	_cleanup_repo_ref_ struct repo_ref x = { .root = c->fs->root };
	struct refs_wait w = refs_wait_of(acc);
	int r;

	if (!object_name_is_valid(name))
		return -ENOENT;
	x.realm = realm_hold(x.root, c->node);
	if (!x.realm)
		return -ESTALE;
	r = heads_repo(c->fs->heads, name, &w, &x.rec);
	if (r < 0)
		return r;
	pthread_mutex_lock(&x.root->lock);
	x.repo = by_name(x.root, x.realm->number, name, &x.rec.id);
	if (x.repo)
		x.repo->refs++;
	pthread_mutex_unlock(&x.root->lock);
	if (!x.repo)
		return -ENOMEM;
	*ret = x;
	x = (struct repo_ref){ 0 };
	return 0;
}

int repo_of_node(struct call *c, uint64_t node, struct access *acc, struct repo_ref *ret)
{
	_cleanup_repo_ref_ struct repo_ref x = { .root = c->fs->root };
	struct refs_wait w = refs_wait_of(acc);
	int r;

	if (!is_repo(node))
		return -ENOTDIR;
	x.realm = realm_hold(x.root, node);
	if (!x.realm)
		return -ESTALE;
	pthread_mutex_lock(&x.root->lock);
	x.repo = by_number(x.root, node);
	if (x.repo)
		x.repo->refs++;
	pthread_mutex_unlock(&x.root->lock);
	if (!x.repo)
		return -ESTALE;
	r = heads_repo(c->fs->heads, x.repo->name, &w, &x.rec);
	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	if (!id128_equal(&x.rec.id, &x.repo->id))
		return -ESTALE;
	*ret = x;
	x = (struct repo_ref){ 0 };
	return 0;
}

void root_pin(struct root *r, uint64_t node)
{
	WITH_LOCK(&r->lock);

	realm_find(r, root_realm(node))->pins++;
	if (is_repo(node))
		by_number(r, node)->pins[is_commits(node)]++;
}

void root_forget(struct root *r, uint64_t node, uint64_t n)
{
	struct root_repo *repo;
	struct realm *k;

	if (node == ROOT_TOP)
		return;
	WITH_LOCK(&r->lock);

	k = realm_find(r, root_realm(node));
	if (k)
		k->pins -= MIN(n, k->pins);
	repo = is_repo(node) ? by_number(r, node) : NULL;
	if (!repo)
		return;
	repo->pins[is_commits(node)] -= MIN(n, repo->pins[is_commits(node)]);
	drop_if_unused(r, repo);
}

static uint64_t repo_ino(const struct id128 *id, bool commits)
{
	uint64_t h = xxh64(id->b, sizeof(id->b), commits);

	return h < INO_FIRST ? h + INO_FIRST : h;
}

uint64_t root_node_ino(struct root *r, uint64_t node)
{
	static const uint8_t own[] = {
		[ROOT_OWN_PFS_DIR] = INO_PFS_DIR, [ROOT_OWN_CONTROL] = INO_CONTROL,
		[ROOT_OWN_STATS] = INO_STATS,	  [ROOT_OWN_RUNS] = INO_RUNS,
		[ROOT_OWN_TOP] = INO_TOP,
	};
	struct root_repo *repo;

	if (root_local(node) < ARRAY_SIZE(own))
		return own[root_local(node)];
	if (is_run(node))
		return run_ino(r, node);
	WITH_LOCK(&r->lock);

	repo = by_number(r, node);
	return repo ? repo_ino(&repo->id, is_commits(node)) : INO_TOP;
}

static bool is_file(uint64_t node)
{
	return root_local(node) == ROOT_OWN_CONTROL || root_local(node) == ROOT_OWN_STATS;
}

/* What belongs to the mount and to no repo. */
static struct stat own_stat(struct fs *fs, uint64_t node)
{
	struct stat st = {
		.st_ino = root_node_ino(fs->root, node),
		.st_uid = geteuid(),
		.st_gid = getegid(),
		.st_nlink = 2,
		.st_mode = S_IFDIR | 0755,
		.st_size = DIR_SIZE,
		.st_blksize = DIR_SIZE,
	};

	st.st_mtim = st.st_ctim = st.st_atim = fs->root->started;
	if (root_local(node) == ROOT_OWN_TOP && geteuid() == 0 && fs->opts->allow_other)
		st.st_mode = S_IFDIR | S_ISVTX | 0777;
	if (is_file(node)) {
		st.st_mode = S_IFREG | (root_local(node) == ROOT_OWN_CONTROL ? 0666 : 0444);
		st.st_nlink = 1;
		st.st_size = 0;
	}
	return st;
}

static struct stat repo_stat(const struct repo_ref *x, bool commits)
{
	struct timespec created = { x->rec.created.sec, x->rec.created.nsec };

	return (struct stat){
		.st_ino = repo_ino(&x->rec.id, commits),
		.st_mode = S_IFDIR | x->rec.root_mode,
		.st_nlink = 2,
		.st_uid = x->rec.root_uid,
		.st_gid = x->rec.root_gid,
		.st_size = DIR_SIZE,
		.st_blksize = DIR_SIZE,
		.st_mtim = created,
		.st_ctim = created,
		.st_atim = created,
	};
}

int reply_node(struct call *c, uint64_t node, const struct stat *st, double timeout)
{
	struct fuse_entry_param e = {
		.ino = node,
		.attr = *st,
		.attr_timeout = timeout,
		.entry_timeout = timeout,
	};

	root_pin(c->fs->root, node);
	if (call_reply_entry(c, &e) < 0)
		root_forget(c->fs->root, node, 1);
	return 0;
}

int reply_own(struct call *c, struct realm *k, enum root_own own)
{
	uint64_t node = root_own_node(k->number, own);
	struct stat st = own_stat(c->fs, node);

	return reply_node(c, node, &st, ROOT_TIMEOUT);
}

int reply_repo(struct call *c, struct repo_ref *x, bool commits)
{
	struct stat st = repo_stat(x, commits);

	return reply_node(c, commits ? commits_node(x->repo) : repo_node(x->repo), &st,
			  ROOT_TIMEOUT);
}

int reply_view_root(struct call *c, struct vnode *root, struct access *acc)
{
	struct stat st;
	int r = view_getattr(root, acc, &st);

	if (r == 0)
		reply_entry(c, root, &st, ROOT_TIMEOUT);
	vnode_unref(c->fs->vnodes, root);
	return r;
}

static int lookup_top(struct call *c, struct realm *k, struct access *acc)
{
	_cleanup_repo_ref_ struct repo_ref x = { 0 };
	const char *name = (const char *)c->name.data;
	int r;

	if (strcmp(name, PFS_DIR) == 0)
		return reply_own(c, k, ROOT_OWN_PFS_DIR);
	r = repo_of_name(c, name, acc, &x);
	if (r == 0 || r == -ENOENT)
		realm_saw_top_name(k, "", name, r == 0);
	return r < 0 ? r : reply_repo(c, &x, false);
}

static int lookup_repo(struct call *c, struct access *acc)
{
	_cleanup_repo_ref_ struct repo_ref x = { 0 };
	const char *name = (const char *)c->name.data;
	struct vnode *root;
	int r;

	r = repo_of_node(c, c->node, acc, &x);
	if (r < 0)
		return r;
	if (!is_commits(c->node) && strcmp(name, COMMITS) == 0)
		return reply_repo(c, &x, true);
	r = alias_resolve(c, &x, c->node, name, acc, &root);
	if (!is_commits(c->node) && (r == 0 || r == -ENOENT))
		realm_saw_top_name(x.realm, x.repo->name, name, r == 0);
	else if (r == -ENOENT)
		realm_saw_more(x.realm);
	return r < 0 ? r : reply_view_root(c, root, acc);
}

static int lookup_pfs_dir(struct call *c, struct realm *k)
{
	const char *name = (const char *)c->name.data;

	if (strcmp(name, "control") == 0)
		return reply_own(c, k, ROOT_OWN_CONTROL);
	if (strcmp(name, "stats") == 0)
		return reply_own(c, k, ROOT_OWN_STATS);
	return strcmp(name, "run") == 0 ? reply_own(c, k, ROOT_OWN_RUNS) : -ENOENT;
}

/* "." and "..", which only NFS would ask for. */
static int lookup_dots(struct call *c, struct realm *k, struct access *acc)
{
	_cleanup_repo_ref_ struct repo_ref x = { 0 };
	bool is_up = c->name.len == 2;
	enum root_own up = root_local(c->node) == ROOT_OWN_RUNS ? ROOT_OWN_PFS_DIR : ROOT_OWN_TOP;
	int r;

	if (is_run(c->node))
		return is_up ? reply_own(c, k, ROOT_OWN_RUNS) : -ESTALE;
	if (!is_repo(c->node) || (is_up && !is_commits(c->node)))
		return reply_own(c, k, is_up ? up : (enum root_own)root_local(c->node));
	r = repo_of_node(c, c->node, acc, &x);
	return r < 0 ? r : reply_repo(c, &x, !is_up && is_commits(c->node));
}

int root_lookup(struct call *c, struct access *acc)
{
	_cleanup_realm_ struct realm *k = realm_hold(c->fs->root, c->node);
	const char *name = (const char *)c->name.data;

	if (!k)
		return -ESTALE;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return lookup_dots(c, k, acc);
	if (is_run(c->node))
		return run_lookup(c);
	switch (root_local(c->node)) {
	case ROOT_OWN_TOP:
		return lookup_top(c, k, acc);
	case ROOT_OWN_PFS_DIR:
		return lookup_pfs_dir(c, k);
	case ROOT_OWN_RUNS:
		return runs_lookup(c, k);
	default:
		return lookup_repo(c, acc);
	}
}

int root_getattr(struct call *c, struct access *acc)
{
	_cleanup_repo_ref_ struct repo_ref x = { 0 };
	struct stat st;
	int r;

	if (is_run(c->node))
		return run_getattr(c);
	if (!is_repo(c->node)) {
		st = own_stat(c->fs, c->node);
	} else {
		r = repo_of_node(c, c->node, acc, &x);
		if (r < 0)
			return r;
		st = repo_stat(&x, is_commits(c->node));
	}
	call_reply_attr(c, &st, ROOT_TIMEOUT);
	return 0;
}

int root_getxattr(struct call *c, struct access *acc)
{
	_cleanup_repo_ref_ struct repo_ref x = { 0 };
	int r;

	if (!is_repo(c->node) || !span_equal(c->name, span_str("user.pfs.repo")))
		return -ENODATA;
	r = repo_of_node(c, c->node, acc, &x);
	return r < 0 ? r : reply_value(c, span_str(x.repo->name));
}
