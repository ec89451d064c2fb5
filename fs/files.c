/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Open files and directories, in lists, so that a snapshot finds those that are written to and the
 * end of the mount finds all.
 */
#include "files.h"

#include <fcntl.h>

#include "base/log.h"
#include "notify.h"

enum {
	WINDOW_MIN = 1 << 20,
	WINDOW_MAX = 16 << 20,
	WRITE_BACK_MS = 60000, /* twice what a page may take to be read */
	SLACK = 2 << 20, /* how far reads of one reader overtake each other */
};

struct files {
	struct fs *fs; /* borrowed */
	pthread_mutex_t lock;
	struct list written; /* open for writing; guarded by lock, as all below */
	struct list read;
	struct list dirs;
	uint64_t count;
};

int files_new(struct fs *fs, struct files **ret)
{
	struct files *f = new0(struct files, 1);

	if (!f)
		return -ENOMEM;
	f->fs = fs;
	pthread_mutex_init(&f->lock, NULL);
	list_init(&f->written);
	list_init(&f->read);
	list_init(&f->dirs);
	*ret = f;
	return 0;
}

void files_close_all(struct files *f)
{
	if (!f)
		return;
	list_for_each_safe (x, &f->written, struct open_file, link)
		files_close(f, x);
	list_for_each_safe (x, &f->read, struct open_file, link)
		files_close(f, x);
	list_for_each_safe (x, &f->dirs, struct open_dir, link)
		files_closedir(f, x);
}

void files_free(struct files *f)
{
	if (!f)
		return;
	files_close_all(f);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static void add(struct files *f, struct list *where, struct list *link)
{
	WITH_LOCK(&f->lock);

	list_append(where, link);
	f->count++;
}

static void take_out(struct files *f, struct list *link)
{
	WITH_LOCK(&f->lock);

	list_remove(link);
	f->count--;
}

int files_open(struct files *f, struct vnode *v, int flags, struct access *acc,
	       struct open_file **ret)
{
	struct open_file *file = new0(struct open_file, 1);
	int r;

	if (!file)
		return -ENOMEM;
	r = view_open(v, flags, acc);
	if (r < 0) {
		free(file);
		return r;
	}
	file->vnode = v;
	file->flags = flags;
	add(f, (flags & O_ACCMODE) == O_RDONLY ? &f->read : &f->written, &file->link);
	*ret = file;
	return 0;
}

void files_close(struct files *f, struct open_file *file)
{
	take_out(f, &file->link);
	view_close(file->vnode, file->flags);
	free(file);
}

int files_opendir(struct files *f, struct vnode *v, struct access *acc, struct open_dir **ret)
{
	struct open_dir *dir = new0(struct open_dir, 1);
	int r;

	if (!dir)
		return -ENOMEM;
	r = view_opendir(v, acc, &dir->handle);
	if (r < 0) {
		free(dir);
		return r;
	}
	dir->vnode = v;
	vnode_ref(f->fs->vnodes, v);
	add(f, &f->dirs, &dir->link);
	*ret = dir;
	return 0;
}

void files_closedir(struct files *f, struct open_dir *dir)
{
	take_out(f, &dir->link);
	view_closedir(dir->handle);
	vnode_unref(f->fs->vnodes, dir->vnode);
	free(dir);
}

/* The nodes of @view that are open for writing, each with a reference. */
static size_t written_nodes(struct files *f, struct view *view, struct vnode ***ret)
{
	size_t n = 0, cap = 0;

	*ret = NULL;
	WITH_LOCK(&f->lock);

	list_for_each (x, &f->written, struct open_file, link)
		cap += !view || x->vnode->view == view;
	if (cap > 0)
		*ret = malloc(cap * sizeof(**ret));
	if (!*ret)
		return 0;
	list_for_each (x, &f->written, struct open_file, link) {
		if (view && x->vnode->view != view)
			continue;
		vnode_ref(f->fs->vnodes, x->vnode);
		(*ret)[n++] = x->vnode;
	}
	return n;
}

/* The kernel waits for pages that are being read, maybe from a store that does not answer. */
static int await_write_back(struct files *f, const struct deadline *dl)
{
	struct deadline most = deadline_in_ms(WRITE_BACK_MS);
	int r;

	if (dl) {
		most.at_ns = MIN(most.at_ns, dl->at_ns);
		most.cancelled = dl->cancelled;
	}
	r = notify_wait(f->fs->notify, &most);
	return r == -ETIME ? log_fail(r, "the kernel does not write back what is mapped in time: "
					 "somebody reads what the store does not give")
			   : r;
}

int files_write_back(struct files *f, struct view *view, const struct deadline *dl)
{
	_cleanup_free_ struct vnode **nodes = NULL;
	size_t n = written_nodes(f, view, &nodes);

	for (size_t i = 0; i < n; i++) {
		notify_flush_file(f->fs->notify, vnode_id(nodes[i]));
		vnode_unref(f->fs->vnodes, nodes[i]);
	}
	return n > 0 ? await_write_back(f, dl) : 0;
}

void files_read_ahead(struct open_file *file, uint64_t off, size_t len, struct access *acc)
{
	uint64_t at = file->read_to, end = off + len, fetched = file->fetched_to;
	uint32_t window = file->window;
	bool is_sequential = at > 0 && off + SLACK >= at && off <= at + SLACK;

	file->read_to = end;
	if (!is_sequential) {
		file->window = 0;
		file->fetched_to = 0;
		return;
	}
	if (fetched > end + window / 2)
		return;
	window = MAX(window * 2, (uint32_t)WINDOW_MIN);
	window = MIN(window, (uint32_t)WINDOW_MAX);
	fetched = MAX(fetched, end);
	file->fetched_to = view_prefetch(file->vnode, fetched, end + window - fetched, acc);
	file->window = window;
}

uint64_t files_count(struct files *f)
{
	WITH_LOCK(&f->lock);

	return f->count;
}
