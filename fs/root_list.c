/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Listings above the views. A listing is of one moment: when it is read from its start, the names
 * are put together, and positions are places among them.
 */
#include "object/refs.h"
#include "root_parts.h"

enum {
	INO_UNKNOWN = 0xffffffff, /* a listing that tells types only, as libfuse has it */
};

struct name_list {
	char **names; /* owned, as each */
	size_t count, cap;
};

/* An open directory; its address is the kernel's handle. Used by one request at a time: the kernel
 * sees to that. */
struct root_dir {
	struct list link;
	uint64_t node;
	struct name_list list;
	bool is_filled;
};

static void list_release(struct name_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->names[i]);
	free(l->names);
	*l = (struct name_list){ 0 };
}

static int list_add(struct name_list *l, const char *name)
{
	char *copy;

	if (l->count == l->cap) {
		size_t cap = MAX(2 * l->cap, (size_t)32);
		char **p = reallocarray(l->names, cap, sizeof(*p));

		if (!p)
			return -ENOMEM;
		l->names = p;
		l->cap = cap;
	}
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	l->names[l->count++] = copy;
	return 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A branch and a commit of one name are one entry. */
static void list_sort(struct name_list *l)
{
	size_t kept = 0;

	if (l->count > 0)
		qsort(l->names, l->count, sizeof(*l->names), compare);
	for (size_t i = 0; i < l->count; i++) {
		if (kept > 0 && strcmp(l->names[kept - 1], l->names[i]) == 0)
			free(l->names[i]);
		else
			l->names[kept++] = l->names[i];
	}
	l->count = kept;
}

/* For refs' listings, of which a positive result is the end. */
struct filling {
	struct call *c;
	const struct repo_ref *repo;
	struct access *acc;
	struct name_list *list;
	struct name_list named; /* ids that have a name */
	int result;
};

static int add_name(const char *name, void *ctx)
{
	struct filling *f = ctx;

	f->result = list_add(f->list, name);
	return f->result < 0;
}

/* A name, and what it names: that is not listed again. */
static int add_commit_name(const char *name, void *ctx)
{
	struct filling *f = ctx;
	struct refs_wait w = refs_wait_of(f->acc);
	_cleanup_ref_ struct ref ref = { 0 };
	char hex[OID_HEX];
	struct etag tag;
	int r;

	r = refs_get(f->c->fs->store->refs, &f->repo->rec.id, REF_NAME, name, &w, &ref, &tag);
	if (r == -ENOENT)
		return 0;
	/* A record that cannot be read keeps no other name from being listed. */
	if (r == -EBADMSG || r == -ENOTSUP)
		return add_name(name, f);
	if (r == 0)
		r = list_add(&f->named, oid_hex(&ref.target, hex));
	if (r == 0)
		r = list_add(f->list, name);
	f->result = r;
	return r < 0;
}

static int add_unnamed(const char *id, void *ctx)
{
	struct filling *f = ctx;
	char shown[OID_HEX];
	struct oid oid;

	if (f->named.count > 0 &&
	    bsearch(&id, f->named.names, f->named.count, sizeof(*f->named.names), compare))
		return 0;
	if (oid_parse(span_str(id), &oid) < 0)
		return 0;
	oid_hex(&oid, shown);
	shown[refs_short_id(f->c->fs->store->refs, &f->repo->rec.id, &oid)] = '\0';
	return add_name(shown, ctx);
}

static int fill_repo(struct filling *f)
{
	struct refs *refs = f->c->fs->store->refs;
	struct refs_wait w = refs_wait_of(f->acc);
	const struct id128 *id = &f->repo->rec.id;
	int r = refs_list(refs, id, REF_BRANCH, &w, add_name, f);

	if (r >= 0 && f->result == 0)
		r = refs_list(refs, id, REF_NAME, &w, add_name, f);
	if (r >= 0 && f->result == 0)
		r = heads_list_left(f->c->fs->heads, id, &w, add_name, f);
	if (r >= 0 && f->result == 0)
		add_name("commits", f);
	return r;
}

static int fill_commits(struct filling *f)
{
	struct refs *refs = f->c->fs->store->refs;
	struct refs_wait w = refs_wait_of(f->acc);
	const struct id128 *id = &f->repo->rec.id;
	int r = refs_list(refs, id, REF_NAME, &w, add_commit_name, f);

	list_sort(&f->named);
	if (r >= 0 && f->result == 0)
		r = refs_list_commits(refs, id, &w, add_unnamed, f);
	list_release(&f->named);
	return r;
}

static int fill_repo_node(struct filling *f, uint64_t node, struct repo_ref *x)
{
	int r = repo_of_node(f->c, node, f->acc, x);

	if (r < 0)
		return r;
	if (is_commits(node)) {
		realm_saw_more(x->realm);
		return fill_commits(f);
	}
	r = realm_saw_top_list(x->realm, x->repo->name, f->acc);
	if (r == 0)
		r = fill_repo(f);
	return r < 0 ? r : realm_saw_top_list(x->realm, x->repo->name, f->acc);
}

static int fill_top(struct filling *f)
{
	_cleanup_realm_ struct realm *k = realm_hold(f->c->fs->root, f->c->node);
	struct refs_wait w = refs_wait_of(f->acc);
	int r;

	if (!k)
		return -ESTALE;
	r = realm_saw_top_list(k, "", f->acc);
	if (r == 0)
		r = refs_list_repos(f->c->fs->store->refs, &w, add_name, f);
	if (r >= 0 && f->result == 0)
		r = heads_list_left(f->c->fs->heads, NULL, &w, add_name, f);
	return r < 0 ? r : realm_saw_top_list(k, "", f->acc);
}

static void fill_pfs_dir(struct filling *f)
{
	static const char *const names[] = { "control", "run", "stats" };

	for (size_t i = 0; i < ARRAY_SIZE(names) && f->result == 0; i++)
		add_name(names[i], f);
}

static int fill(struct call *c, struct root_dir *d, struct access *acc)
{
	_cleanup_repo_ref_ struct repo_ref x = { 0 };
	struct name_list list = { 0 };
	struct filling f = { .c = c, .repo = &x, .acc = acc, .list = &list };
	int r = 0;

	if (root_local(d->node) == ROOT_OWN_TOP)
		r = fill_top(&f);
	else if (root_local(d->node) == ROOT_OWN_PFS_DIR)
		fill_pfs_dir(&f);
	else if (is_repo(d->node))
		r = fill_repo_node(&f, d->node, &x);
	else
		r = runs_list(c->fs->root, d->node, add_name, &f);
	r = MIN(r, f.result);
	if (r < 0) {
		list_release(&list);
		return r;
	}
	list_sort(&list);
	list_release(&d->list);
	d->list = list;
	d->is_filled = true;
	return 0;
}

int root_opendir(struct call *c, struct access *acc)
{
	struct root *root = c->fs->root;
	struct fuse_file_info fi = { 0 };
	struct root_dir *d;

	if (root_local(c->node) == ROOT_OWN_CONTROL || root_local(c->node) == ROOT_OWN_STATS)
		return -ENOTDIR;
	d = new0(struct root_dir, 1);
	if (!d)
		return -ENOMEM;
	d->node = c->node;
	pthread_mutex_lock(&root->lock);
	list_append(&root->dirs, &d->link);
	pthread_mutex_unlock(&root->lock);
	fi.fh = (uint64_t)(uintptr_t)d;
	if (call_reply_open(c, &fi) < 0)
		root_closedir(root, fi.fh);
	return 0;
}

void root_closedir(struct root *root, uint64_t handle)
{
	struct root_dir *d = (struct root_dir *)(uintptr_t)handle;

	pthread_mutex_lock(&root->lock);
	list_remove(&d->link);
	pthread_mutex_unlock(&root->lock);
	list_release(&d->list);
	free(d);
}

void root_dirs_free(struct root *root)
{
	list_for_each_safe (d, &root->dirs, struct root_dir, link)
		root_closedir(root, (uint64_t)(uintptr_t)d);
}

/* Adds an entry to the answer; false: it is full. */
static bool put_entry(struct call *c, bool plus, const char *name, mode_t type, uint64_t ino,
		      uint64_t next, uint8_t *out, size_t *used)
{
	/* The kernel looks names up itself here: they are to be believed for a moment only. */
	struct fuse_entry_param e = { .attr = { .st_ino = ino, .st_mode = type } };
	char *at = (char *)out + *used;
	size_t left = c->len - *used, n;

	n = plus ? fuse_add_direntry_plus(c->req, at, left, name, &e, (off_t)next)
		 : fuse_add_direntry(c->req, at, left, name, &e.attr, (off_t)next);
	if (n > left)
		return false;
	*used += n;
	return true;
}

static mode_t type_of(uint64_t dir, const char *name)
{
	if (root_local(dir) == ROOT_OWN_PFS_DIR)
		return strcmp(name, "run") == 0 ? S_IFDIR : S_IFREG;
	if (is_run(dir))
		return strcmp(name, "root") == 0 ? S_IFDIR : S_IFREG;
	return S_IFDIR;
}

/* The directory that it is in. */
static uint64_t parent_of(uint64_t dir)
{
	enum root_own up = is_run(dir)			      ? ROOT_OWN_RUNS
			   : root_local(dir) == ROOT_OWN_RUNS ? ROOT_OWN_PFS_DIR
							      : ROOT_OWN_TOP;

	return root_own_node(root_realm(dir), up);
}

int root_readdir(struct call *c, struct access *acc)
{
	struct root_dir *d = (struct root_dir *)(uintptr_t)c->fh;
	bool plus = c->op->id == FS_OP_READDIRPLUS;
	uint8_t *out = call_memory(c, c->len);
	size_t used = 0;
	int r;

	if (!out)
		return -ENOMEM;
	if (c->off == 0 || !d->is_filled) {
		r = fill(c, d, acc);
		if (r < 0)
			return r;
	}
	for (uint64_t at = c->off; at < d->list.count + 2; at++) {
		static const char *const dots[] = { ".", ".." };
		const char *name = at < 2 ? dots[at] : d->list.names[at - 2];
		mode_t type = at < 2 ? S_IFDIR : type_of(d->node, name);
		uint64_t ino = root_node_ino(c->fs->root, at == 1 ? parent_of(d->node) : d->node);

		if (!put_entry(c, plus, name, type, at < 2 ? ino : INO_UNKNOWN, at + 1, out, &used))
			break;
	}
	call_reply_bytes(c, out, used);
	return 0;
}
