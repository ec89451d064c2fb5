/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Exporting to a local directory.
 *
 *	walk (this thread) --> tasks --> workers --> done --> this thread
 *
 * The walk makes directories as it meets them and hands out files. Of a hard-linked file the first
 * name is written and the others are links to it, made when all files are there. A directory is
 * complete when nothing in it is pending; then it gets its attributes. An export that is stopped
 * leaves files that are whole and directories that are not complete; the next one goes on from
 * there.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/hash.h"
#include "base/htab.h"
#include "base/log.h"
#include "base/thread.h"
#include "transfer/attributes.h"
#include "transfer/export.h"
#include "transfer/outdir.h"

enum {
	TASKS_PER_THREAD = 64,
	TASKS_MAX = 512, /* each may hold a directory open */
	WAIT_MS = 100,
};

/* A hard-linked file, under the name that is written. */
struct outlink {
	struct hnode node;
	struct id128 id;
	struct outdir *dir; /* pending once */
	uint8_t name[FILE_NAME_MAX + 1];
	int error; /* why it could not be written */
};

/* One more name for it. */
struct later_name {
	struct outlink *link;
	struct outdir *dir; /* pending once */
	uint8_t name[FILE_NAME_MAX + 1];
};

/* A file with one of the workers. */
struct task {
	struct job job;
	struct list link; /* of those that are done */
	struct walk *walk;
	struct outdir *dir; /* held, and pending once */
	struct outlink *outlink; /* NULL: no hard link */
	uint8_t name[FILE_NAME_MAX + 1];
	struct file_task file;
};

/* A directory that is being walked through. */
struct level {
	struct tree_cursor cursor;
	struct outdir *dir; /* pending once */
};

struct walk {
	struct export *x;
	struct pool *pool;
	struct outdirs dirs;
	struct level *levels; /* a stack; owned */
	size_t depth, cap;
	struct htab links; /* struct outlink */
	struct later_name *later; /* owned */
	size_t later_count, later_cap;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list done; /* tasks; guarded by lock */
	unsigned tasks, tasks_max; /* not harvested */
	atomic_bool stop; /* the user wants it, or something went wrong */
};

static bool is_stopped(struct walk *w)
{
	if (report_is_cancelled(&w->x->report))
		w->stop = true;
	return w->stop;
}

/* Something is left out: a name in a directory, or with "" the directory itself. */
static int skip(struct walk *w, const struct outdir *d, struct span name, int error)
{
	const char *dest = w->x->req->dest;
	_cleanup_buf_ struct buf path = { 0 }, whole = { 0 };
	int r = outdir_path(d, name, &path);

	if (r < 0)
		return r;
	buf_printf(&whole, "%s/%s", dest, (const char *)path.data);
	return buf_failed(&whole) ? -ENOMEM
				  : report_skip(&w->x->report, (const char *)whole.data, error);
}

static int complete(struct walk *w, struct outdir *d)
{
	struct place *p = &w->x->place;
	_cleanup_buf_ struct buf xattrs = { 0 };
	int lost = 0, fd, r;

	r = xattrs_load(w->x->store->reader, &d->inode.xattrs, &p->access, &xattrs);
	fd = r < 0 ? r : outdir_hold(&w->dirs, d);
	if (fd >= 0) {
		struct attributed a = {
			.fd = fd,
			.may_inherit = d->may_inherit,
			.ino = &d->inode,
			.xattrs = buf_span(&xattrs),
		};

		r = attributes_set(&a, &lost);
		outdir_let_go(d);
	}
	if (fd < 0 || r < 0 || lost < 0)
		return skip(w, d, span_of(NULL, 0), fd < 0 ? fd : r < 0 ? r : lost);
	return 0;
}

/* One thing less is pending: the directory may be complete, and then those above. */
static int settle(struct walk *w, struct outdir *d)
{
	int r = 0;

	while (d && --d->pending == 0) {
		struct outdir *up = d->up;
		int e = w->stop ? 0 : complete(w, d);

		r = r < 0 ? r : e;
		outdir_free(&w->dirs, d);
		d = up;
	}
	return r;
}

static void task_run(struct job *j)
{
	struct task *t = container_of(j, struct task, job);
	struct walk *w = t->walk;

	file_task_run(&t->file);
	pthread_mutex_lock(&w->lock);
	list_append(&w->done, &t->link);
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

static struct outlink *find_link(struct walk *w, const struct id128 *id)
{
	htab_for_each (n, &w->links, hash_bytes(id->b, sizeof(id->b))) {
		struct outlink *l = container_of(n, struct outlink, node);

		if (id128_equal(&l->id, id))
			return l;
	}
	return NULL;
}

static void task_free(struct task *t)
{
	outdir_let_go(t->dir);
	node_unref(t->file.leaf);
	free(t);
}

/* What a worker is done with. */
static int harvest_task(struct walk *w, struct task *t)
{
	struct outdir *dir = t->dir;
	int error = t->file.error, r = 0, e;

	if (error < 0 && t->outlink)
		t->outlink->error = error;
	if (error == 0)
		report_add(&w->x->report, 1, 0);
	if (error == 0)
		error = t->file.lost;
	if (error < 0 && !w->stop)
		r = skip(w, dir, span_str((const char *)t->name), error);
	task_free(t);
	w->tasks--;
	e = settle(w, dir);
	return r < 0 ? r : e;
}

/* Waits until at most @max tasks are under way. */
static int harvest(struct walk *w, unsigned max)
{
	int r = 0;

	do {
		struct task *t;

		pthread_mutex_lock(&w->lock);
		if (w->tasks > max && list_is_empty(&w->done))
			cond_wait_until(&w->wake, &w->lock, NULL, WAIT_MS);
		t = list_first(&w->done, struct task, link);
		if (t)
			list_remove(&t->link);
		pthread_mutex_unlock(&w->lock);
		if (t) {
			int e = harvest_task(w, t);

			r = r < 0 ? r : e;
		}
		if (r < 0)
			w->stop = true;
		is_stopped(w);
		report_tell(&w->x->report, false);
	} while (w->tasks > max);
	return r;
}

/* Hands a file out. Its inode borrows from @leaf. */
static int put_file(struct walk *w, struct outdir *d, struct span name, const struct inode *ino,
		    struct node *leaf, struct outlink *link)
{
	struct task *t = new0(struct task, 1);
	int fd;

	if (!t)
		return -ENOMEM;
	fd = outdir_hold(&w->dirs, d);
	if (fd < 0) {
		free(t);
		return skip(w, d, name, fd);
	}
	memcpy(t->name, name.data, name.len);
	t->job.run = task_run;
	t->walk = w;
	t->dir = d;
	t->outlink = link;
	t->file = (struct file_task){
		.dirfd = fd,
		.name = (const char *)t->name,
		.may_inherit = d->may_inherit,
		.siblings = d->inode.dir,
		.inode = *ino,
		.leaf = node_ref(leaf),
		.store = w->x->store,
		.report = &w->x->report,
		.cancelled = &w->stop,
	};
	d->pending++;
	w->tasks++;
	pool_submit(w->pool, &t->job);
	return harvest(w, w->tasks_max);
}

static int put_later(struct walk *w, struct outdir *d, struct span name, struct outlink *link)
{
	struct later_name *l;

	if (w->later_count == w->later_cap) {
		size_t cap = MAX(2 * w->later_cap, (size_t)64);

		l = reallocarray(w->later, cap, sizeof(*l));
		if (!l)
			return -ENOMEM;
		w->later = l;
		w->later_cap = cap;
	}
	l = &w->later[w->later_count++];
	*l = (struct later_name){ .link = link, .dir = d };
	memcpy(l->name, name.data, name.len);
	d->pending++;
	return 0;
}

/* A hard-linked file's first name: it will be looked for again. */
static int new_link(struct walk *w, struct outdir *d, const struct dirent_rec *e,
		    struct outlink **ret)
{
	struct outlink *l = new0(struct outlink, 1);

	if (!l)
		return -ENOMEM;
	l->id = e->link;
	l->dir = d;
	memcpy(l->name, e->name.data, e->name.len);
	if (htab_insert(&w->links, &l->node, hash_bytes(l->id.b, sizeof(l->id.b))) < 0) {
		free(l);
		return -ENOMEM;
	}
	d->pending++;
	*ret = l;
	return 0;
}

static int put_linked(struct walk *w, struct outdir *d, const struct dirent_rec *e)
{
	struct place *p = &w->x->place;
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	struct outlink *l = find_link(w, &e->link);
	struct link_rec rec;
	int r;

	if (l)
		return put_later(w, d, e->name, l);
	r = links_lookup(&p->source.base, &p->commit.links, &e->link, &leaf, &rec);
	if (r < 0)
		return skip(w, d, e->name, r == -ENOENT ? -EIO : r);
	r = new_link(w, d, e, &l);
	return r < 0 ? r : put_file(w, d, e->name, &rec.inode, leaf, l);
}

/* Goes into a directory that was made; what is pending for it is the walk. */
static int descend(struct walk *w, struct outdir *d)
{
	struct level *l;
	int r;

	if (w->depth == w->cap) {
		size_t cap = MAX(2 * w->cap, (size_t)16);

		l = reallocarray(w->levels, cap, sizeof(*l));
		if (!l)
			return -ENOMEM;
		w->levels = l;
		w->cap = cap;
	}
	l = &w->levels[w->depth++];
	l->dir = d;
	tree_cursor_init(&l->cursor, TREE_DIR, &w->x->place.source.base);
	r = tree_seek_ordinal(&l->cursor, &d->inode.dir, 0);
	return r < 0 ? skip(w, d, span_of(NULL, 0), r) : 0;
}

static int ascend(struct walk *w)
{
	struct level *l = &w->levels[--w->depth];

	tree_cursor_release(&l->cursor);
	return settle(w, l->dir);
}

static int put_dir(struct walk *w, struct outdir *up, const struct dirent_rec *e, struct node *leaf)
{
	struct outdir *d;
	int r = outdir_make(&w->dirs, up, e->name, &e->inode, leaf, &d);

	if (r < 0)
		return skip(w, up, e->name, r);
	r = descend(w, d);
	/* Not gone into: nothing else will ever settle it. */
	if (r < 0 && (w->depth == 0 || w->levels[w->depth - 1].dir != d)) {
		w->stop = true;
		settle(w, d);
	}
	return r;
}

/* The next entry of the lowest directory. */
static int step(struct walk *w)
{
	struct level *l = &w->levels[w->depth - 1];
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	struct outdir *dir = l->dir;
	struct dirent_rec e;
	int r;

	if (l->cursor.is_end)
		return ascend(w);
	leaf = node_ref((struct node *)tree_leaf(&l->cursor));
	node_dirent(leaf, tree_index(&l->cursor), &e);
	r = tree_next(&l->cursor);
	if (r < 0)
		r = skip(w, dir, span_of(NULL, 0), r);
	if (r < 0)
		return r;
	if (e.has_link)
		return put_linked(w, dir, &e);
	return e.inode.type == FT_DIR ? put_dir(w, dir, &e, leaf)
				      : put_file(w, dir, e.name, &e.inode, leaf, NULL);
}

/* One more name of a file that is there. */
static int make_name(struct walk *w, struct later_name *l)
{
	struct outlink *link = l->link;
	int from, to, r = link->error;

	from = r < 0 ? r : outdir_hold(&w->dirs, link->dir);
	if (from < 0)
		return from;
	to = outdir_hold(&w->dirs, l->dir);
	r = to < 0 ? to
		   : link_file(from, (const char *)link->name, to, (const char *)l->name,
			       &l->dir->inode.dir, &w->x->place.source.base);
	outdir_let_go(link->dir);
	if (to >= 0)
		outdir_let_go(l->dir);
	return r;
}

static int make_names(struct walk *w)
{
	int r = 0;

	for (size_t i = 0; i < w->later_count; i++) {
		struct later_name *l = &w->later[i];
		int e = is_stopped(w) ? -ECANCELED : make_name(w, l);

		if (e == 0)
			report_add(&w->x->report, 1, 0);
		else if (!w->stop)
			r = skip(w, l->dir, span_str((const char *)l->name), e);
		if (r < 0)
			w->stop = true;
		e = settle(w, l->dir);
		r = r < 0 ? r : e;
		report_tell(&w->x->report, false);
	}
	w->later_count = 0;
	return r;
}

struct settling {
	struct walk *w;
	int r;
};

static void settle_link(struct hnode *n, void *ctx)
{
	struct outlink *l = container_of(n, struct outlink, node);
	struct settling *s = ctx;
	int r = settle(s->w, l->dir);

	s->r = s->r < 0 ? s->r : r;
	free(l);
}

/* What has been begun is brought to its end, whole or not. */
static int finish(struct walk *w, int r)
{
	struct settling s = { .w = w };
	int e;

	if (r < 0)
		w->stop = true;
	while (w->depth > 0)
		ascend(w);
	e = harvest(w, 0);
	r = r < 0 ? r : e;
	e = make_names(w);
	r = r < 0 ? r : e;
	if (r < 0)
		w->stop = true;
	htab_walk(&w->links, settle_link, &s);
	htab_release(&w->links);
	r = r < 0 ? r : s.r;
	return r == 0 && w->stop ? -ECANCELED : r;
}

static void walk_init(struct walk *w, struct export *x)
{
	*w = (struct walk){ .x = x };
	outdirs_init(&w->dirs);
	list_init(&w->done);
	pthread_mutex_init(&w->lock, NULL);
	cond_init(&w->wake);
}

static void walk_release(struct walk *w)
{
	pool_free(w->pool);
	free(w->levels);
	free(w->later);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->wake);
}

/* The destination, made unless it is there. */
static int open_dest(const char *dest)
{
	int fd;

	if (mkdir(dest, 0700) < 0 && errno != EEXIST)
		return log_errno(-errno, "%s", dest);
	fd = open(dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return log_errno(errno == ENOTDIR ? -EEXIST : -errno, "%s", dest);
	return fd;
}

static int export_dir(struct export *x, struct walk *w)
{
	unsigned threads = x->report.o->threads ?: cpu_count();
	struct outdir *top;
	int fd = open_dest(x->req->dest), r;

	if (fd < 0)
		return fd;
	r = pool_new("export", threads, &w->pool);
	if (r < 0) {
		close(fd);
		return r;
	}
	w->tasks_max = MIN(threads * TASKS_PER_THREAD, (unsigned)TASKS_MAX);
	r = outdir_of(fd, &x->inode, x->leaf, &top);
	if (r < 0)
		return r;
	r = descend(w, top);
	if (w->depth == 0) {
		outdir_free(&w->dirs, top);
		return r;
	}
	while (r == 0 && w->depth > 0 && !is_stopped(w))
		r = step(w);
	return finish(w, r);
}

/* A file is written to where the path says. */
static int export_file(struct export *x)
{
	const char *dest = x->req->dest, *slash = strrchr(dest, '/');
	_cleanup_free_ char *dir = slash ? strndup(dest, (size_t)(slash - dest) + 1) : strdup(".");
	struct file_task t = {
		.name = slash ? slash + 1 : dest,
		.may_inherit = true,
		.inode = x->inode,
		.store = x->store,
		.report = &x->report,
		.cancelled = x->report.o->cancelled,
	};
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (!dir)
		return -ENOMEM;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return log_errno(-errno, "%s", dir);
	if (!file_name_is_valid(span_str(t.name)) ||
	    (fstatat(fd, t.name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)))
		return log_fail(-EEXIST, "%s: a file cannot take the place of a directory", dest);
	t.dirfd = fd;
	file_task_run(&t);
	if (t.error == -ECANCELED)
		return t.error;
	if (t.error == 0)
		report_add(&x->report, 1, 0);
	if (t.error < 0 || t.lost < 0)
		return log_errno(t.error ?: t.lost, "%s", dest);
	return 0;
}

int export_local(struct export *x)
{
	struct walk w;
	int r;

	if (x->inode.type != FT_DIR)
		return export_file(x);
	walk_init(&w, x);
	r = export_dir(x, &w);
	walk_release(&w);
	return r;
}
