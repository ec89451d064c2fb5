/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Comparing (compare.h): differences come from view_diff() one by one and are held, so that what
 * was renamed can be paired; when they are too many for that they are told as they come.
 *
 * view_diff() has an access of its own: what is looked up for a difference must not disturb it.
 */
#include "service/compare.h"

#include <fcntl.h>

enum {
	HELD_MAX = 50000, /* differences, some 300 bytes each */
	CHUNK = 128 << 10, /* bytes compared at a time */
};

struct comparing {
	struct request *q;
	struct comparison *c;
	struct differences held;
	struct buf parent; /* the directory asked about last, and the answer */
	bool has_parent, may_see;
};

void difference_release(struct difference *x)
{
	free(x->path);
	free(x->from);
}

void differences_release(struct differences *c)
{
	for (size_t i = 0; i < c->count; i++)
		difference_release(&c->items[i]);
	free(c->items);
	*c = (struct differences){ 0 };
}

int differences_add(struct differences *c, const struct difference *x)
{
	struct difference own = *x;

	if (c->count == c->cap) {
		size_t cap = MAX(2 * c->cap, (size_t)64);
		struct difference *items = reallocarray(c->items, cap, sizeof(*items));

		if (!items) {
			difference_release(&own);
			return -ENOMEM;
		}
		c->items = items;
		c->cap = cap;
	}
	c->items[c->count++] = own;
	return 0;
}

void fact_of(const struct stat *st, const struct oid *id, struct fact *ret)
{
	*ret = (struct fact){
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.ino = st->st_ino,
		.nlink = st->st_nlink,
		.size = S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size,
		.mtime = st->st_mtim,
		.id = *id,
	};
}

/* May the caller list the directory @path on a side? */
static int may_list(struct request *q, struct vnode *root, struct span path, bool *ret)
{
	_cleanup_held_ struct held at = { 0 };
	struct stat st;
	int r = address_walk_from(q, root, path, &at, &st);

	if (r == 0)
		r = permit_dir(q, at.vnode, &st, R_OK | X_OK);
	*ret = r == 0;
	return r == -EACCES || r == -ENOENT ? 0 : r;
}

/* May he see the names of the directory that @path is in? */
static int check_parent(struct comparing *x, struct span path, bool *ret)
{
	const uint8_t *slash = path.len ? memrchr(path.data, '/', path.len) : NULL;
	struct span parent = span_of(path.data, slash ? (size_t)(slash - path.data) : 0);
	int r = 0;

	*ret = true;
	if (x->q->who->is_owner)
		return 0;
	if (x->has_parent && span_equal(parent, buf_span(&x->parent))) {
		*ret = x->may_see;
		return 0;
	}
	for (unsigned i = 0; i < 2 && r == 0 && *ret; i++)
		if (x->c->side[i])
			r = may_list(x->q, x->c->side[i], parent, ret);
	if (r < 0)
		return r;
	buf_clear(&x->parent);
	buf_put(&x->parent, parent.data, parent.len);
	x->has_parent = true;
	x->may_see = *ret;
	return buf_failed(&x->parent) ? -ENOMEM : 0;
}

/* Have two files of one size the same bytes? 1, 0, -errno. */
static int same_bytes(struct request *q, struct vnode *const v[2], uint64_t size)
{
	_cleanup_free_ uint8_t *bytes = malloc(2 * CHUNK);
	int r = 1;

	if (!bytes)
		return -ENOMEM;
	for (uint64_t off = 0; r > 0 && off < size; off += CHUNK) {
		size_t len = (size_t)MIN(size - off, (uint64_t)CHUNK);
		int64_t n[2];

		r = request_check(q);
		for (unsigned i = 0; i < 2 && r == 0; i++) {
			n[i] = view_read(v[i], off, len, bytes + i * CHUNK, &q->access);
			if (n[i] < 0)
				r = (int)n[i];
		}
		if (r == 0)
			r = n[0] == n[1] && memcmp(bytes, bytes + CHUNK, (size_t)n[0]) == 0;
	}
	return r;
}

static int same_bytes_opened(struct request *q, struct vnode *const v[2], uint64_t size)
{
	int r = view_open(v[0], O_RDONLY, &q->access);

	if (r < 0)
		return r;
	r = view_open(v[1], O_RDONLY, &q->access);
	if (r == 0) {
		r = same_bytes(q, v, size);
		view_close(v[1], O_RDONLY);
	}
	view_close(v[0], O_RDONLY);
	return r;
}

/* Every extended attribute with its value, in order. */
static int load_xattrs(struct request *q, struct vnode *v, struct buf *ret)
{
	_cleanup_buf_ struct buf names = { 0 };
	struct cursor c;
	int r = view_listxattr(v, &q->access, &names);

	c = cursor_of(buf_span(&names));
	while (r == 0 && cursor_left(&c) > 0) {
		_cleanup_buf_ struct buf value = { 0 };
		struct span name = span_str((const char *)c.p);

		rd_bytes(&c, name.len + 1);
		r = view_getxattr(v, name, &q->access, &value);
		buf_put_str8(ret, name);
		buf_put_str32(ret, buf_span(&value));
	}
	return r == 0 && buf_failed(ret) ? -ENOMEM : r;
}

/* Mode, owner, extended attributes: 1, 0, -errno. */
static int same_attrs(struct request *q, struct vnode *const v[2], const struct stat st[2])
{
	_cleanup_buf_ struct buf a = { 0 }, b = { 0 };
	int r;

	if (st[0].st_mode != st[1].st_mode || st[0].st_uid != st[1].st_uid ||
	    st[0].st_gid != st[1].st_gid)
		return 0;
	r = load_xattrs(q, v[0], &a);
	if (r == 0)
		r = load_xattrs(q, v[1], &b);
	return r < 0 ? r : span_equal(buf_span(&a), buf_span(&b));
}

/*
 * How two vnodes of one type differ, when their content is not known to be the same: an uncommitted
 * file may have been written anew with the same bytes. 0: not at all.
 */
static int how_they_differ(struct request *q, struct vnode *const v[2], const struct stat st[2],
			   const struct oid id[2])
{
	bool is_known = !oid_is_null(&id[0]) && !oid_is_null(&id[1]);
	int r = 1;

	if (S_ISREG(st[0].st_mode) && !(is_known && oid_equal(&id[0], &id[1]))) {
		if (is_known || st[0].st_size != st[1].st_size)
			return DIFF_CONTENT;
		r = same_bytes_opened(q, v, (uint64_t)st[0].st_size);
	} else if (S_ISLNK(st[0].st_mode)) {
		r = oid_equal(&id[0], &id[1]);
	} else if (S_ISCHR(st[0].st_mode) || S_ISBLK(st[0].st_mode)) {
		r = st[0].st_rdev == st[1].st_rdev;
	}
	if (r <= 0)
		return r < 0 ? r : DIFF_CONTENT;
	r = same_attrs(q, v, st);
	return r < 0 ? r : r ? 0 : DIFF_ATTRS;
}

/* The same of a path on both sides. */
static int look_again(struct comparing *x, const struct diff_item *d)
{
	_cleanup_held_ struct held a = { 0 }, b = { 0 };
	struct vnode *v[2];
	struct stat st[2];
	struct oid id[2] = { d->a->id, d->b->id };
	int r = address_walk_from(x->q, x->c->side[0], d->path, &a, &st[0]);

	if (r == 0)
		r = address_walk_from(x->q, x->c->side[1], d->path, &b, &st[1]);
	if (r < 0) /* it changes meanwhile */
		return r == -ENOENT || r == -ENOTDIR ? DIFF_CONTENT : r;
	v[0] = a.vnode;
	v[1] = b.vnode;
	return how_they_differ(x->q, v, st, id);
}

static int tell(struct comparing *x)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < x->held.count; i++)
		r = x->c->fn(&x->held.items[i], x->c->ctx);
	differences_release(&x->held);
	return r;
}

/* Takes the strings of @d. */
static int keep(struct comparing *x, const struct difference *d)
{
	int r = differences_add(&x->held, d);

	if (r == 0 && x->held.count > HELD_MAX)
		x->c->is_plain = true;
	return r == 0 && x->c->is_plain ? tell(x) : r;
}

static int hold(struct comparing *x, const struct diff_side *a, const struct diff_side *b,
		struct span path, int what)
{
	struct difference d = { .what = (uint8_t)what, .has = { a, b }, .path_len = path.len };

	if (a)
		fact_of(&a->st, &a->id, &d.side[0]);
	if (b)
		fact_of(&b->st, &b->id, &d.side[1]);
	d.path = strndup((const char *)path.data, path.len);
	return d.path ? keep(x, &d) : -ENOMEM;
}

static int found(const struct diff_item *d, void *ctx)
{
	struct comparing *x = ctx;
	bool may_see = false;
	int what = (int)d->what;
	int r = request_check(x->q);

	if (r == 0)
		r = check_parent(x, d->path, &may_see);
	if (r < 0)
		return r;
	if (!may_see) {
		x->c->hidden++;
		return 0;
	}
	if (what == DIFF_CONTENT && S_ISREG(d->a->st.st_mode) &&
	    (oid_is_null(&d->a->id) || oid_is_null(&d->b->id)))
		what = look_again(x, d);
	return what <= 0 ? what : hold(x, d->a, d->b, d->path, what);
}

/* The two things themselves. */
static int compare_tops(struct comparing *x, bool *ret_go_down)
{
	struct request *q = x->q;
	struct vnode *const *v = x->c->side;
	struct diff_side side[2] = { 0 };
	struct stat st[2];
	struct oid id[2];
	int what = DIFF_TYPE, r = 0;

	for (unsigned i = 0; i < 2 && r == 0; i++) {
		r = view_getattr(v[i], &q->access, &st[i]);
		if (r == 0)
			r = view_content_id(v[i], &q->access, &id[i]);
		if (r == 0 && S_ISDIR(st[i].st_mode))
			r = permit_dir(q, v[i], &st[i], R_OK | X_OK);
		side[i] = (struct diff_side){ .ino = st[i].st_ino, .st = st[i], .id = id[i] };
	}
	if (r < 0)
		return r;
	if ((st[0].st_mode & S_IFMT) == (st[1].st_mode & S_IFMT))
		what = how_they_differ(q, v, st, id);
	*ret_go_down = S_ISDIR(st[0].st_mode) && what != DIFF_TYPE;
	return what <= 0 ? what : hold(x, &side[0], &side[1], span_str("."), what);
}

/* Against nothing: all that is in the directory was added. */
static int add_entry(const struct fact *f, struct span path, void *ctx)
{
	struct comparing *x = ctx;
	struct difference d = { .what = DIFF_ADDED, .path_len = path.len };
	int r;

	d.has[1] = true;
	d.side[1] = *f;
	d.path = strndup((const char *)path.data, path.len);
	if (!d.path)
		return -ENOMEM;
	r = keep(x, &d);
	return r != 0 ? r : 1;
}

static int compare_both(struct comparing *x)
{
	struct request *q = x->q;
	_cleanup_access_ struct access walk;
	bool go_down = false;
	int r;

	access_init(&walk, q->service->store->reader, true);
	walk.deadline = q->access.deadline;
	r = compare_tops(x, &go_down);
	if (r < 0 || !go_down)
		return r;
	return view_diff(x->c->side[0], x->c->side[1], &walk, found, x);
}

/* All of the second side is new. */
static int compare_one(struct comparing *x)
{
	struct request *q = x->q;
	struct vnode *v = x->c->side[1];
	struct diff_side side = { 0 };
	int r = view_getattr(v, &q->access, &side.st);

	if (r == 0 && !S_ISDIR(side.st.st_mode)) {
		r = view_content_id(v, &q->access, &side.id);
		return r < 0 ? r : hold(x, NULL, &side, span_str("."), DIFF_ADDED);
	}
	if (r == 0)
		r = permit_dir(q, v, &side.st, R_OK | X_OK);
	if (r == 0)
		r = walk_below(q, v, span_str(""), add_entry, x);
	differences_sort(&x->held);
	return r;
}

int compare(struct request *q, struct comparison *c)
{
	struct comparing x = { .q = q, .c = c };
	int r = c->side[0] ? compare_both(&x) : compare_one(&x);

	if (r == 0 && !c->is_plain)
		r = find_renames(q, c, &x.held);
	if (r == 0)
		r = tell(&x);
	differences_release(&x.held);
	buf_release(&x.parent);
	return r;
}
