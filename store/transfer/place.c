/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Places in commits (transfer/place.h).
 */
#include "transfer/place.h"

#include "object/store.h"

static void begin(struct place *p, struct store *store, const atomic_bool *cancelled)
{
	*p = (struct place){ .store = store };
	access_init(&p->access, store->reader, true);
	p->access.deadline.cancelled = cancelled;
	p->source = reader_source(store->reader, &p->access);
}

int place_init(struct place *p, struct store *store, struct span object,
	       const atomic_bool *cancelled)
{
	int r;

	begin(p, store, cancelled);
	buf_put(&p->object, object.data, object.len);
	r = buf_failed(&p->object) ? -ENOMEM : commit_read(buf_span(&p->object), NULL, &p->commit);
	if (r == 0)
		p->root = p->commit.root;
	return r;
}

void place_init_unborn(struct place *p, struct store *store, const struct repo_rec *repo,
		       const atomic_bool *cancelled)
{
	begin(p, store, cancelled);
	p->root = (struct inode){
		.type = FT_DIR,
		.mode = repo->root_mode,
		.uid = repo->root_uid,
		.gid = repo->root_gid,
		.mtime = repo->created,
		.ctime = repo->created,
	};
}

void place_release(struct place *p)
{
	for (size_t i = 0; i < p->dir_count; i++)
		node_unref(p->dirs[i].leaf);
	free(p->dirs);
	node_unref(p->leaf);
	commit_release(&p->commit);
	buf_release(&p->object);
	if (p->store)
		access_release(&p->access);
	*p = (struct place){ 0 };
}

const struct tree_root *place_tree(const struct place *p)
{
	bool is_dir = p->exists && !p->entry.has_link && p->entry.inode.type == FT_DIR;

	return is_dir ? &p->entry.inode.dir : NULL;
}

/* What was found becomes the directory to look in. */
static int step_down(struct place *p)
{
	struct place_dir *dirs, *d;

	if (!p->exists)
		return -ENOENT;
	if (!place_tree(p))
		return -ENOTDIR;
	dirs = reallocarray(p->dirs, p->dir_count + 1, sizeof(*dirs));
	if (!dirs)
		return -ENOMEM;
	p->dirs = dirs;
	d = &dirs[p->dir_count++];
	*d = (struct place_dir){ .name_len = p->name_len,
				 .inode = p->entry.inode,
				 .leaf = TAKE_PTR(p->leaf) };
	memcpy(d->name, p->name, p->name_len);
	return 0;
}

static int look_up(struct place *p, struct span name)
{
	int r = step_down(p);

	if (r < 0)
		return r;
	memcpy(p->name, name.data, name.len);
	p->name_len = name.len;
	r = dir_lookup(&p->source.base, &p->dirs[p->dir_count - 1].inode.dir, name, &p->leaf,
		       &p->entry);
	p->exists = r == 0;
	return r == -ENOENT ? 0 : r;
}

int place_find(struct place *p, const char *path)
{
	p->exists = true;
	p->entry = (struct dirent_rec){ .inode = p->root };
	while (*path) {
		struct span name = span_of(path, strcspn(path, "/"));
		int r = 0;

		if (name.len > FILE_NAME_MAX)
			return -ENAMETOOLONG;
		if (name.len > 0)
			r = file_name_is_valid(name) ? look_up(p, name) : -EINVAL;
		if (r < 0)
			return r;
		path += name.len + (path[name.len] == '/');
	}
	return 0;
}

int place_inode(struct place *p, struct node **ret_leaf, struct inode *ret)
{
	struct link_rec rec;
	int r;

	if (!p->entry.has_link) {
		*ret_leaf = p->leaf ? node_ref(p->leaf) : NULL;
		*ret = p->entry.inode;
		return 0;
	}
	r = links_lookup(&p->source.base, &p->commit.links, &p->entry.link, ret_leaf, &rec);
	if (r < 0)
		return r == -ENOENT ? -EIO : r;
	*ret = rec.inode;
	return 0;
}

int place_enter(const struct place *p, struct session *s)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->dir_count; i++)
		r = session_dir_begin(s, &p->dirs[i].inode.dir);
	return r;
}

int place_leave(const struct place *p, struct session *s)
{
	int r = 0;

	for (size_t i = p->dir_count; r == 0 && i-- > 0;) {
		const struct place_dir *d = &p->dirs[i];
		struct inode ino = d->inode;

		if (i + 1 == p->dir_count && !p->exists)
			ino.mtime = ino.ctime = inode_time_of(now_wall());
		r = session_dir_end(s, span_of(d->name, d->name_len), &ino);
	}
	return r;
}
