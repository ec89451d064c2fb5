/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Importing a tar stream.
 *
 * Contents are stored as they pass; the entries wait in memory (tartree.h) until the stream has
 * ended, and are then said in order. A directory that the stream does not tell of is as it was in
 * the base, or new.
 */
#include <unistd.h>

#include "transfer/basewalk.h"
#include "transfer/import.h"
#include "transfer/tar.h"
#include "transfer/tartree.h"

struct tar_import {
	struct import *im;
	struct tar_reader *in; /* owned */
	struct tartree tree;
	struct basewalk base;
};

/*
 * Contents.
 */

/* The content of the entry that the reader is at. */
struct entry_source {
	struct content_source base;
	struct tar_reader *in; /* borrowed */
	struct report *report;
	struct tar_entry entry;
	size_t range; /* where the last piece was found */
};

static struct entry_source *entry_source_of(struct content_source *s)
{
	return container_of(s, struct entry_source, base);
}

static int entry_piece(struct content_source *s, uint64_t off, struct piece *ret)
{
	struct entry_source *x = entry_source_of(s);
	const struct tar_range *all = x->entry.ranges, *at;

	if (!x->entry.is_sparse) {
		*ret = (struct piece){ .kind = PIECE_DATA, .len = s->size - off };
		return 0;
	}
	/* The first range that ends behind @off. */
	while (x->range > 0 && all[x->range - 1].off + all[x->range - 1].len > off)
		x->range--;
	while (x->range < x->entry.range_count && all[x->range].off + all[x->range].len <= off)
		x->range++;
	at = x->range < x->entry.range_count ? &all[x->range] : NULL;
	if (!at || at->off > off)
		*ret = (struct piece){ .kind = PIECE_HOLE, .len = (at ? at->off : s->size) - off };
	else
		*ret = (struct piece){ .kind = PIECE_DATA, .len = at->off + at->len - off };
	return 0;
}

static int entry_read(struct content_source *s, uint64_t off, size_t len, void *buf)
{
	struct entry_source *x = entry_source_of(s);
	int r = tar_reader_read(x->in, off, len, buf);

	if (r < 0)
		return r;
	report_add(x->report, 0, len);
	report_tell(x->report, false);
	return 0;
}

static void entry_free(struct content_source *s)
{
	free(entry_source_of(s));
}

static int store_content(struct tar_import *t, const struct tar_entry *e, struct tarfile *f)
{
	struct entry_source *x = new0(struct entry_source, 1);

	if (!x)
		return -ENOMEM;
	*x = (struct entry_source){
		.base = { .size = e->inode.content.size,
			  .piece = entry_piece,
			  .read = entry_read,
			  .free = entry_free },
		.in = t->in,
		.report = &t->im->report,
		.entry = *e,
	};
	return session_store(t->im->session, (uintptr_t)f, &x->base);
}

/* A content is stored; it goes to the file it is of. */
static int take_content(void *ctx, uint64_t tag, const struct content *c)
{
	struct tarfile *f = (struct tarfile *)(uintptr_t)tag;

	f->inode.content = *c;
	return tarfile_own(f);
}

/*
 * The stream.
 */

static int skip(struct tar_import *t, struct span path, int error)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_put(&b, path.data, path.len);
	buf_put_u8(&b, 0);
	return buf_failed(&b) ? -ENOMEM : report_skip(&t->im->report, (const char *)b.data, error);
}

static int take_link(struct tar_import *t, const struct tar_entry *e)
{
	struct tarfile *f;
	int r = tartree_find(&t->tree, e->same_as, &f);

	if (r == 0)
		r = tartree_put(&t->tree, e->path, false, f, &f);
	return r < 0 ? skip(t, e->path, r) : 0;
}

static int take_entry(struct tar_import *t, const struct tar_entry *e)
{
	struct tarfile *f;
	int r;

	r = tartree_put(&t->tree, e->path, e->inode.type == FT_DIR, NULL, &f);
	if (r < 0)
		return skip(t, e->path, r);
	f->is_told = true;
	f->inode = e->inode;
	r = session_xattrs(t->im->session, e->xattrs, &f->inode.xattrs);
	if (r == 0)
		r = tarfile_own(f);
	return r < 0 || f->inode.type != FT_REG ? r : store_content(t, e, f);
}

static int read_stream(struct tar_import *t)
{
	struct report *report = &t->im->report;
	struct tar_entry e;
	int more, error, r = 0;

	while (r == 0 && (more = tar_reader_next(t->in, &e, &error)) != 0) {
		if (more < 0)
			return more;
		if (error < 0)
			r = skip(t, e.path, error);
		else
			r = e.same_as.len > 0 ? take_link(t, &e) : take_entry(t, &e);
		if (e.inode.type != FT_DIR)
			report_add(report, 1, 0);
		report_tell(report, false);
	}
	if (r == 0)
		r = session_settle(t->im->session);
	return r < 0 ? r : tartree_sort(&t->tree);
}

/*
 * The tree, twice: for the hard links' ids, and for the session.
 */

static struct span name_of(const struct tarname *n)
{
	return span_of(n->name, n->len);
}

static bool is_directory(const struct tarname *n)
{
	return n->file->inode.type == FT_DIR;
}

/* What the base has under that name: 1, 0, or an error. */
static int find_base(struct tar_import *t, const struct tarname *n, struct dirent_rec *ret)
{
	const struct place *p = &t->im->place;

	if (n->up)
		return basewalk_find(&t->base, name_of(n), ret);
	*ret = p->entry;
	return p->exists;
}

/* Calls for every directory before and after what is in it, and for every file. */
struct tar_visitor {
	int (*enter)(struct tar_import *t, const struct tarname *n);
	int (*leave)(struct tar_import *t, const struct tarname *n);
	int (*file)(struct tar_import *t, const struct tarname *n);
};

static int visit(struct tar_import *t, const struct tar_visitor *v)
{
	const struct tarname *n = t->tree.root;
	int r = v->enter(t, n);

	while (r == 0 && n) {
		if (report_is_cancelled(&t->im->report))
			return -ECANCELED;
		if (is_directory(n) && n->below) {
			n = n->below;
		} else {
			if (is_directory(n))
				r = v->leave(t, n);
			while (r == 0 && n && !n->beside) {
				n = n->up;
				r = n ? v->leave(t, n) : 0;
			}
			n = n ? n->beside : NULL;
		}
		if (r == 0 && n)
			r = is_directory(n) ? v->enter(t, n) : v->file(t, n);
	}
	return r;
}

/* With keep only what the stream has too is replaced, and directories are not. */
static int lose(struct tar_import *t, const struct tarname *n, const struct dirent_rec *there)
{
	bool stays = is_directory(n) && dirent_tree(there);

	return !t->im->req->keep || stays ? 0 : import_lose(t->im, there);
}

static int scan_enter(struct tar_import *t, const struct tarname *n)
{
	struct dirent_rec there;
	int found = find_base(t, n, &there), r;

	if (found < 0)
		return found;
	r = found ? lose(t, n, &there) : 0;
	return r < 0 ? r : basewalk_enter(&t->base, found ? dirent_tree(&there) : NULL);
}

static int scan_leave(struct tar_import *t, const struct tarname *n)
{
	basewalk_leave(&t->base);
	return 0;
}

static int scan_file(struct tar_import *t, const struct tarname *n)
{
	struct dirent_rec there;
	int found = find_base(t, n, &there), r;

	if (found < 0)
		return found;
	r = found ? lose(t, n, &there) : 0;
	if (r < 0 || n->file->names < 2)
		return r;
	return linkmap_name(&t->im->links, 0, (uintptr_t)n->file,
			    found && there.has_link ? &there.link : NULL);
}

static int scan(struct tar_import *t)
{
	static const struct tar_visitor v = { scan_enter, scan_leave, scan_file };
	struct place *p = &t->im->place;
	int r = 0;

	t->base.links_only = true;
	if (!t->im->req->keep && p->exists)
		r = import_lose(t->im, &p->entry);
	if (r == 0)
		r = visit(t, &v);
	return r < 0 ? r : linkmap_settle(&t->im->links, &p->source.base, &p->commit.links);
}

/* A directory that only its files told of. */
static int settle_untold(struct tarfile *f, const struct dirent_rec *there)
{
	struct inode ino = {
		.type = FT_DIR,
		.mode = 0755,
		.uid = geteuid(),
		.gid = getegid(),
		.mtime = inode_time_of(now_wall()),
	};

	ino.ctime = ino.mtime;
	if (there)
		ino = there->inode;
	ino.dir = (struct tree_root){ 0 };
	f->inode = ino;
	return tarfile_own(f);
}

static int put_enter(struct tar_import *t, const struct tarname *n)
{
	struct dirent_rec there;
	const struct tree_root *tree;
	int found = find_base(t, n, &there), r;

	if (found < 0)
		return found;
	tree = found ? dirent_tree(&there) : NULL;
	r = n->file->is_told ? 0 : settle_untold(n->file, tree ? &there : NULL);
	if (r == 0)
		r = basewalk_enter(&t->base, tree);
	return r < 0 ? r
		     : session_dir_begin(t->im->session,
					 t->im->req->keep ? basewalk_dir(&t->base) : NULL);
}

static int put_leave(struct tar_import *t, const struct tarname *n)
{
	basewalk_leave(&t->base);
	return session_dir_end(t->im->session, n->up ? name_of(n) : place_name(&t->im->place),
			       &n->file->inode);
}

static int put_file(struct tar_import *t, const struct tarname *n)
{
	struct session *s = t->im->session;
	struct linked *link = NULL;
	int r = 0;

	if (n->file->names > 1)
		link = linkmap_find(&t->im->links, 0, (uintptr_t)n->file);
	if (!link)
		return session_put(s, name_of(n), &n->file->inode);
	if (link->state == LINKED_NEW)
		r = session_link(s, &link->id, link->count, &n->file->inode);
	link->state = LINKED_PUT;
	link->put++;
	return r < 0 ? r : session_put_link(s, name_of(n), n->file->inode.type, &link->id);
}

static int put(struct tar_import *t)
{
	static const struct tar_visitor v = { put_enter, put_leave, put_file };
	struct import *im = t->im;
	struct place *p = &im->place;
	int r;

	t->base.links_only = false;
	r = place_enter(p, im->session);
	if (r == 0)
		r = visit(t, &v);
	if (r == 0)
		r = place_leave(p, im->session);
	return r < 0 ? r
		     : linkmap_finish(&im->links, &p->source.base, &p->commit.links, im->session);
}

int import_tar(struct import *im)
{
	struct tar_import t = { .im = im, .base = { .source = &im->place.source.base } };
	int r;

	im->stored = take_content;
	r = tar_reader_new(im->req->fd, im->report.o->cancelled, &t.in);

	if (r == 0)
		r = tartree_init(&t.tree);
	if (r == 0)
		r = import_begin(im, UINT64_MAX);
	if (r == 0)
		r = read_stream(&t);
	if (r == 0)
		r = scan(&t);
	if (r == 0)
		r = put(&t);
	tar_reader_free(t.in);
	tartree_release(&t.tree);
	basewalk_release(&t.base);
	return r;
}
