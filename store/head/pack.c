/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From frozen layers to trees: a walk down their names, in order, says to a session what changed.
 *
 * Frozen layers do not change, so no lock is held. What no layer names is not visited: the walk
 * costs what the changes cost.
 */
#include "base/log.h"
#include "head/commit.h"

/* A directory on the way down. */
struct walk_dir {
	uint64_t ino;
	struct file f;
	struct buf name; /* in its parent */
	struct buf last; /* the name that was visited last, and a NUL once one was */
};

struct walk {
	struct head *head;
	struct layers layers;
	struct session *session;
	struct access *acc;
	struct walk_dir *dirs; /* a stack; owned */
	size_t count, cap;
};

static int push(struct walk *w, struct span name, uint64_t ino, struct file *f)
{
	struct walk_dir *d;

	if (w->count == w->cap) {
		size_t cap = MAX(2 * w->cap, (size_t)16);

		d = reallocarray(w->dirs, cap, sizeof(*d));
		if (!d)
			return -ENOMEM;
		w->dirs = d;
		w->cap = cap;
	}
	d = &w->dirs[w->count++];
	*d = (struct walk_dir){ .ino = ino, .f = *f };
	*f = (struct file){ 0 };
	buf_put(&d->name, name.data, name.len);
	if (buf_failed(&d->name))
		return -ENOMEM;
	return session_dir_begin(w->session, &d->f.rec.inode.dir);
}

static void pop(struct walk *w)
{
	struct walk_dir *d = &w->dirs[--w->count];

	file_release(&d->f);
	buf_release(&d->name);
	buf_release(&d->last);
}

/* The first name of a directory at or above @from that any layer has: -ENOENT at the end. */
static int next_name(struct walk *w, struct walk_dir *d, struct buf *ret)
{
	bool found = false;

	for (unsigned i = 0; i < w->layers.count; i++) {
		struct record_key prefix = key_prefix_u64(w->layers.id[i], 'e', d->ino);
		_cleanup_buf_ struct buf key = { 0 }, value = { 0 }, from = { 0 };
		struct span name;
		int r;

		buf_put(&from, prefix.b, prefix.len);
		buf_put(&from, d->last.data, d->last.len);
		if (buf_failed(&from))
			return -ENOMEM;
		r = table_next(w->head->heads->table, key_span(&prefix), buf_span(&from), &key,
			       &value);
		if (r == -ENOENT)
			continue;
		if (r < 0)
			return r;
		name = key_rest(buf_span(&key), KEY_AFTER_OBJECT);
		if (found && span_cmp(name, buf_span(ret)) >= 0)
			continue;
		found = true;
		buf_clear(ret);
		buf_put(ret, name.data, name.len);
	}
	return !found ? -ENOENT : buf_failed(ret) ? -ENOMEM : 0;
}

/* The bytes of a file in frozen layers. */
struct frozen_source {
	struct content_source base;
	struct head *head;
	struct layers layers;
	struct access *acc;
	uint64_t ino;
	struct file f; /* owned */
	struct content piece; /* what the last piece lent out */
};

static struct frozen_source *source_of(struct content_source *s)
{
	return container_of(s, struct frozen_source, base);
}

static int frozen_piece(struct content_source *s, uint64_t off, struct piece *ret)
{
	struct frozen_source *x = source_of(s);
	struct shown shown;
	int r = extents_shown(x->head, &x->layers, x->ino, &x->f, off, &shown);

	if (r < 0)
		return r;
	*ret = (struct piece){ .kind = PIECE_DATA, .len = shown.len };
	if (shown.source == EXTENT_HOLE) {
		ret->kind = PIECE_HOLE;
	} else if (shown.source == EXTENT_CONTENT) {
		x->piece = shown.content;
		ret->kind = PIECE_CONTENT;
		ret->content = &x->piece;
		ret->content_off = shown.content_off;
	}
	return 0;
}

static int frozen_read(struct content_source *s, uint64_t off, size_t len, void *buf)
{
	struct frozen_source *x = source_of(s);
	uint8_t *out = buf;

	while (len > 0) {
		struct shown shown;
		size_t n;
		int r = extents_shown(x->head, &x->layers, x->ino, &x->f, off, &shown);

		if (r < 0)
			return r;
		n = MIN(len, (size_t)shown.len);
		if (shown.source == EXTENT_HOLE) {
			memset(out, 0, n);
		} else if (shown.source == EXTENT_STAGED) {
			r = staging_read(x->head->heads->staging, shown.place, out, n);
		} else {
			int64_t got = content_read(x->head->view.store->reader, &shown.content,
						   shown.content_off, n, out, x->acc);

			r = got < 0 ? (int)got : (size_t)got == n ? 0 : -EIO;
		}
		if (r < 0)
			return r;
		off += n;
		out += n;
		len -= n;
	}
	return 0;
}

static void frozen_free(struct content_source *s)
{
	struct frozen_source *x = source_of(s);

	file_release(&x->f);
	free(x);
}

static int frozen_source_new(struct walk *w, uint64_t ino, struct file *f,
			     struct content_source **ret)
{
	struct frozen_source *x = new0(struct frozen_source, 1);

	if (!x)
		return -ENOMEM;
	*x = (struct frozen_source){
		.base = {
			.size = f->rec.size,
			.piece = frozen_piece,
			.read = frozen_read,
			.free = frozen_free,
		},
		.head = w->head,
		.layers = w->layers,
		.acc = w->acc,
		.ino = ino,
		.f = *f,
	};
	*f = (struct file){ 0 };
	if (x->f.rec.inode.type == FT_REG && x->f.rec.lower_end > 0)
		x->base.base = &x->f.rec.inode.content;
	*ret = &x->base;
	return 0;
}

/* Is a file's content, through all layers, one that the store has whole? Then it is set. */
static int is_stored(struct walk *w, uint64_t ino, struct file *f, bool *ret)
{
	struct inode *i = &f->rec.inode;
	struct shown s;
	int r;

	*ret = i->type != FT_REG;
	if (*ret)
		return 0;
	if (f->rec.size == 0) {
		i->content = (struct content){ .id = *oid_empty_chunk() };
		*ret = true;
		return 0;
	}
	r = extents_shown(w->head, &w->layers, ino, f, 0, &s);
	if (r < 0)
		return r;
	if (s.source == EXTENT_CONTENT && s.len == f->rec.size && s.content.size == s.len) {
		i->content = s.content;
		*ret = true;
	}
	return 0;
}

static int put_xattrs(struct walk *w, uint64_t ino, struct file *f)
{
	struct record_key k = key_xattrs(f->layer, ino);
	_cleanup_buf_ struct buf list = { 0 };
	int r;

	if (!f->rec.is_xattr_staged)
		return 0;
	r = table_get(w->head->heads->table, key_span(&k), &list);
	return r < 0 ? r : session_xattrs(w->session, buf_span(&list), &f->rec.inode.xattrs);
}

/* A file under its name; takes what @f holds. */
static int put_file(struct walk *w, struct span name, uint64_t ino, struct file *f)
{
	struct content_source *src;
	struct inode i;
	bool stored;
	int r;

	if (f->rec.has_link)
		return session_put_link(w->session, name, f->rec.inode.type, &f->rec.link);
	r = put_xattrs(w, ino, f);
	if (r == 0)
		r = is_stored(w, ino, f, &stored);
	if (r < 0)
		return r;
	if (stored)
		return session_put(w->session, name, &f->rec.inode);
	/* The inode's spans borrow what the source now owns. */
	i = f->rec.inode;
	r = frozen_source_new(w, ino, f, &src);
	return r < 0 ? r : session_put_file(w->session, name, &i, src);
}

static int put_link(struct walk *w, const struct id128 *link, uint64_t ino)
{
	_cleanup_file_ struct file f = { 0 };
	struct content_source *src;
	struct inode i;
	uint32_t nlink;
	bool stored;
	int r;

	if (ino == 0)
		return session_unlink(w->session, link);
	r = load_from(w->head, &w->layers, ino, &f);
	if (r == 0)
		r = put_xattrs(w, ino, &f);
	if (r == 0)
		r = is_stored(w, ino, &f, &stored);
	if (r < 0)
		return r;
	if (stored)
		return session_link(w->session, link, f.rec.nlink, &f.rec.inode);
	i = f.rec.inode;
	nlink = f.rec.nlink;
	r = frozen_source_new(w, ino, &f, &src);
	return r < 0 ? r : session_link_file(w->session, link, nlink, &i, src);
}

static int visit(struct walk *w, struct walk_dir *d, struct span name)
{
	_cleanup_file_ struct file f = { 0 };
	struct entry_rec e;
	int r;

	r = entry_get(w->head, &w->layers, d->ino, name, &e);
	if (r < 0)
		return r;
	if (e.ino == 0)
		return session_remove(w->session, name);
	r = load_from(w->head, &w->layers, e.ino, &f);
	if (r < 0)
		return r == -ENOENT ? log_fail(-EIO, "%s/%s: a name without a record",
					       w->head->view.repo_name, w->head->branch_name)
				    : r;
	if (f.rec.inode.type == FT_DIR)
		return push(w, name, e.ino, &f);
	return put_file(w, name, e.ino, &f);
}

static int leave(struct walk *w, struct walk_dir *d)
{
	int r = put_xattrs(w, d->ino, &d->f);

	if (r == 0)
		r = session_dir_end(w->session, buf_span(&d->name), &d->f.rec.inode);
	pop(w);
	return r;
}

static int walk_names(struct walk *w)
{
	_cleanup_buf_ struct buf name = { 0 };

	while (w->count > 0) {
		struct walk_dir *d = &w->dirs[w->count - 1];
		int r = next_name(w, d, &name);

		if (r == -ENOENT) {
			r = leave(w, d);
		} else if (r == 0) {
			buf_clear(&d->last);
			buf_put(&d->last, name.data, name.len);
			buf_put_u8(&d->last, 0);
			r = buf_failed(&d->last) ? -ENOMEM : visit(w, d, buf_span(&name));
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* Newer layers first: what one said of a link, an older one need not. */
static int is_said(struct walk *w, unsigned newer, const struct id128 *link)
{
	for (unsigned i = 0; i < newer; i++) {
		struct record_key k = key_link(w->layers.id[i], link);
		_cleanup_buf_ struct buf raw = { 0 };
		int r = table_get(w->head->heads->table, key_span(&k), &raw);

		if (r != -ENOENT)
			return r < 0 ? r : 1;
	}
	return 0;
}

static int walk_links(struct walk *w, unsigned at)
{
	struct record_key prefix = key_prefix(w->layers.id[at], 'l');
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	int r;

	while ((r = table_step(w->head->heads->table, key_span(&prefix), &key, &value)) == 0) {
		struct cursor c = cursor_of(key_rest(buf_span(&key), prefix.len));
		struct id128 link = rd_id128(&c);

		r = is_said(w, at, &link);
		if (r == 0)
			r = put_link(w, &link, key_u64_at(buf_span(&value), 0));
		if (r < 0)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

int head_pack(struct head *h, struct session *s, struct access *acc, struct snapshot *ret)
{
	struct walk w = { .head = h, .layers = h->frozen, .session = s, .acc = acc };
	_cleanup_file_ struct file root = { 0 };
	int r;

	r = load_from(h, &w.layers, root_ino(&h->view), &root);
	if (r == -ENOENT) {
		/* Nothing has changed below: only a commit of an unborn branch comes here. */
		root.rec.inode = h->view.base.root;
		r = 0;
	}
	if (r == 0)
		r = push(&w, span_of(NULL, 0), root_ino(&h->view), &root);
	if (r == 0)
		r = walk_names(&w);
	for (unsigned i = 0; r == 0 && i < w.layers.count; i++)
		r = walk_links(&w, i);
	if (r == 0)
		r = session_finish(s, &h->view.base.commit.links, ret);
	while (w.count > 0)
		pop(&w);
	free(w.dirs);
	return r;
}
