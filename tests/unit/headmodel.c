/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The model of headmodel.h.
 */
#include "headmodel.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/xattr.h>

static struct model_file *file_new(uint8_t type, uint16_t mode)
{
	struct model_file *f = new0(struct model_file, 1);

	assert_non_null(f);
	f->refs = 1;
	f->type = type;
	f->mode = mode;
	f->nlink = type == FT_DIR ? 2 : 1;
	return f;
}

void model_unref(struct model_file *f)
{
	if (!f || --f->refs > 0)
		return;
	for (unsigned i = 0; i < f->count; i++)
		model_unref(f->entries[i].file);
	free(f->data);
	free(f);
}

void model_init(struct model *m, uint64_t seed)
{
	*m = (struct model){ .prng = { seed }, .root = file_new(FT_DIR, 0755) };
}

void model_release(struct model *m)
{
	model_unref(m->root);
}

/* Copies made so far, so that links stay links. */
struct copies {
	const struct model_file *from[4096];
	struct model_file *to[4096];
	unsigned count;
};

static struct model_file *copy_file(const struct model_file *f, struct copies *c)
{
	struct model_file *x;

	for (unsigned i = 0; i < c->count; i++) {
		if (c->from[i] == f) {
			c->to[i]->refs++;
			return c->to[i];
		}
	}
	x = file_new(f->type, f->mode);
	assert_true(c->count < ARRAY_SIZE(c->from));
	c->from[c->count] = f;
	c->to[c->count++] = x;
	x->nlink = f->nlink;
	x->size = f->size;
	memcpy(x->xattr, f->xattr, sizeof(x->xattr));
	memcpy(x->target, f->target, sizeof(x->target));
	if (f->size > 0) {
		x->data = malloc(f->size);
		assert_non_null(x->data);
		memcpy(x->data, f->data, f->size);
	}
	x->count = f->count;
	for (unsigned i = 0; i < f->count; i++) {
		x->entries[i] = f->entries[i];
		x->entries[i].file = copy_file(f->entries[i].file, c);
	}
	return x;
}

struct model_file *model_copy(const struct model_file *root)
{
	struct copies *c = new0(struct copies, 1);
	struct model_file *x;

	assert_non_null(c);
	x = copy_file(root, c);
	free(c);
	return x;
}

static struct model_entry *find(struct model_file *dir, const char *name)
{
	for (unsigned i = 0; i < dir->count; i++)
		if (strcmp(dir->entries[i].name, name) == 0)
			return &dir->entries[i];
	return NULL;
}

static void add(struct model_file *dir, const char *name, struct model_file *f)
{
	struct model_entry *e = &dir->entries[dir->count++];

	snprintf(e->name, sizeof(e->name), "%s", name);
	e->file = f;
	dir->nlink += f->type == FT_DIR;
}

/* Takes the entry out; its reference passes to the caller. */
static struct model_file *cut(struct model_file *dir, struct model_entry *e)
{
	struct model_file *f = e->file;

	dir->nlink -= f->type == FT_DIR;
	*e = dir->entries[--dir->count];
	return f;
}

/* A place in the tree: a directory, in the model and (if there is one) in the view. */
struct spot {
	struct model_file *dir;
	struct vnode *v; /* a reference, or NULL */
};

struct doing {
	struct model *m;
	struct vnode *root;
	struct vnode_table *t;
	struct access *acc;
};

static void spot_release(struct doing *d, struct spot *s)
{
	if (s->v)
		vnode_unref(d->t, s->v);
}

/* A directory found by going down at random. */
static struct spot draw_dir(struct doing *d)
{
	struct spot s = { d->m->root, d->root };

	if (s.v)
		vnode_ref(d->t, s.v);
	for (unsigned depth = 0; depth < 6; depth++) {
		struct model_entry *e;
		struct vnode *next;
		struct stat st;

		if (s.dir->count == 0 || prng_below(&d->m->prng, 3) == 0)
			break;
		e = &s.dir->entries[prng_below(&d->m->prng, s.dir->count)];
		if (e->file->type != FT_DIR)
			continue;
		if (s.v) {
			assert_ok(view_lookup(s.v, span_str(e->name), d->acc, &next, &st));
			vnode_unref(d->t, s.v);
			s.v = next;
		}
		s.dir = e->file;
	}
	return s;
}

static void draw_name(struct doing *d, char name[32])
{
	snprintf(name, 32, "n%u", (unsigned)prng_below(&d->m->prng, MODEL_NAMES));
}

static struct vnode *look(struct doing *d, const struct spot *s, const char *name)
{
	struct vnode *v;
	struct stat st;

	assert_ok(view_lookup(s->v, span_str(name), d->acc, &v, &st));
	return v;
}

static void do_create(struct doing *d)
{
	static const uint8_t types[] = { FT_REG, FT_REG, FT_REG, FT_DIR, FT_DIR, FT_LNK, FT_FIFO };
	uint8_t type = types[prng_below(&d->m->prng, ARRAY_SIZE(types))];
	uint16_t mode = type == FT_LNK ? 0777 : 0600 | prng_below(&d->m->prng, 0200);
	struct spot s = draw_dir(d);
	struct model_entry *e;
	struct model_file *f;
	char name[32];

	draw_name(d, name);
	e = find(s.dir, name);
	f = file_new(type, mode);
	if (type == FT_LNK)
		snprintf(f->target, sizeof(f->target), "to/%s/%u", name,
			 (unsigned)prng_below(&d->m->prng, 1000));
	if (s.v) {
		struct new_file nf = { .mode = file_type_to_mode(type) | mode,
				       .link = span_str(f->target) };
		struct vnode *v;
		struct stat st;
		int r = view_create(s.v, span_str(name), &nf, d->acc, &v, &st);

		assert_int_equal(r, e ? -EEXIST : 0);
		if (r == 0) {
			assert_int_equal(st.st_mode, nf.mode);
			vnode_unref(d->t, v);
		}
	}
	if (e)
		model_unref(f);
	else
		add(s.dir, name, f);
	spot_release(d, &s);
}

static void do_remove(struct doing *d)
{
	struct spot s = draw_dir(d);
	struct model_entry *e;
	char name[32];
	int want = 0;

	draw_name(d, name);
	e = find(s.dir, name);
	if (e && e->file->type == FT_DIR) {
		want = e->file->count ? -ENOTEMPTY : 0;
		if (s.v)
			assert_int_equal(view_rmdir(s.v, span_str(name), d->acc), want);
	} else {
		want = e ? 0 : -ENOENT;
		if (s.v)
			assert_int_equal(view_unlink(s.v, span_str(name), d->acc), want);
	}
	if (e && want == 0) {
		struct model_file *f = cut(s.dir, e);

		f->nlink--;
		model_unref(f);
	}
	spot_release(d, &s);
}

static bool is_below(const struct model_file *dir, const struct model_file *of)
{
	if (dir == of)
		return true;
	for (unsigned i = 0; i < of->count; i++)
		if (of->entries[i].file->type == FT_DIR && is_below(dir, of->entries[i].file))
			return true;
	return false;
}

/* What rename(2) says, before it does anything. */
static int rename_answer(struct spot *a, struct model_entry *from, struct spot *b,
			 struct model_entry *to, unsigned flags)
{
	bool dir = from && from->file->type == FT_DIR;

	if (!from)
		return -ENOENT;
	if (dir && is_below(b->dir, from->file))
		return -EINVAL;
	if (!to)
		return flags & RENAME_EXCHANGE ? -ENOENT : 0;
	if (flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (flags & RENAME_EXCHANGE)
		return to->file->type == FT_DIR && is_below(a->dir, to->file) ? -EINVAL : 0;
	if (dir && to->file->type != FT_DIR)
		return -ENOTDIR;
	if (!dir && to->file->type == FT_DIR)
		return -EISDIR;
	return to->file->type == FT_DIR && to->file->count ? -ENOTEMPTY : 0;
}

static void rename_model(struct spot *a, const char *from, struct spot *b, const char *to,
			 unsigned flags)
{
	struct model_file *x = find(a->dir, from)->file, *y;
	struct model_entry *e = find(b->dir, to);

	if (e && e->file == x)
		return;
	x = cut(a->dir, find(a->dir, from));
	e = find(b->dir, to);
	y = e ? cut(b->dir, e) : NULL;
	add(b->dir, to, x);
	if (y && flags & RENAME_EXCHANGE) {
		add(a->dir, from, y);
	} else if (y) {
		y->nlink--;
		model_unref(y);
	}
}

static void do_rename(struct doing *d)
{
	static const unsigned flags[] = { 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	unsigned flag = flags[prng_below(&d->m->prng, ARRAY_SIZE(flags))];
	struct spot a = draw_dir(d), b = draw_dir(d);
	char from[32], to[32];
	int want, r;

	draw_name(d, from);
	draw_name(d, to);
	want = rename_answer(&a, find(a.dir, from), &b, find(b.dir, to), flag);
	if (want == 0 && b.dir->count == MODEL_NAMES && !find(b.dir, to))
		want = 1; /* no room in the model */
	if (want <= 0 && a.v) {
		r = view_rename(a.v, span_str(from), b.v, span_str(to), flag, d->acc);
		if (r != want)
			fail_msg("rename %s to %s with %u: %d, not %d", from, to, flag, r, want);
	}
	if (want == 0)
		rename_model(&a, from, &b, to, flag);
	spot_release(d, &a);
	spot_release(d, &b);
}

static void do_link(struct doing *d)
{
	struct spot a = draw_dir(d), b = draw_dir(d);
	struct model_entry *e, *there;
	char from[32], to[32];

	draw_name(d, from);
	draw_name(d, to);
	e = find(a.dir, from);
	there = find(b.dir, to);
	if (e && e->file->type != FT_DIR) {
		if (a.v) {
			struct vnode *v = look(d, &a, from);
			struct stat st;

			assert_int_equal(view_link(v, b.v, span_str(to), d->acc, &st),
					 there ? -EEXIST : 0);
			vnode_unref(d->t, v);
		}
		if (!there) {
			e->file->nlink++;
			e->file->refs++;
			add(b.dir, to, e->file);
		}
	}
	spot_release(d, &a);
	spot_release(d, &b);
}

static void resize(struct model_file *f, size_t size)
{
	if (size == 0) {
		free(f->data);
		f->data = NULL;
	} else {
		f->data = realloc(f->data, size);
		assert_non_null(f->data);
		if (size > f->size)
			memset(f->data + f->size, 0, size - f->size);
	}
	f->size = size;
}

/* A regular file, drawn; NULL when what was drawn is none. */
static struct model_file *draw_file(struct doing *d, struct spot *s, char name[32])
{
	struct model_entry *e;

	*s = draw_dir(d);
	draw_name(d, name);
	e = find(s->dir, name);
	return e && e->file->type == FT_REG ? e->file : NULL;
}

/* A number below @n, mostly one that others hit too: extents are to meet at their edges. */
static uint64_t draw_edge(struct doing *d, uint64_t n)
{
	static const unsigned steps[] = { 1, 700, 4096, 4096 };
	unsigned step = steps[prng_below(&d->m->prng, ARRAY_SIZE(steps))];

	return prng_below(&d->m->prng, n) / step * step;
}

static size_t draw_len(struct doing *d)
{
	static const size_t max[] = { 100, 5000, 70000, 200000 };
	size_t m = max[prng_below(&d->m->prng, ARRAY_SIZE(max))];

	if (d->m->big_files && prng_below(&d->m->prng, 30) == 0)
		m = 1500000;
	return MAX(draw_edge(d, m), (uint64_t)1);
}

static void do_write(struct doing *d)
{
	struct spot s;
	char name[32];
	struct model_file *f = draw_file(d, &s, name);
	size_t len = draw_len(d);
	uint64_t off = prng_below(&d->m->prng, 3) ? draw_edge(d, 60000) : 0;
	bool append = prng_below(&d->m->prng, 3) == 0;
	uint8_t *bytes = malloc(len);

	assert_non_null(bytes);
	prng_fill(&d->m->prng, bytes, len);
	if (f && append)
		off = f->size;
	if (f && off + len <= MODEL_FILE_MAX) {
		if (s.v) {
			struct vnode *v = look(d, &s, name);

			assert_ok(view_open(v, O_RDWR, d->acc));
			assert_ok(view_write(v, append ? 0 : off, span_of(bytes, len), append,
					     false, d->acc));
			view_close(v, O_RDWR);
			vnode_unref(d->t, v);
		}
		if (off + len > f->size)
			resize(f, off + len);
		memcpy(f->data + off, bytes, len);
	}
	free(bytes);
	spot_release(d, &s);
}

static void do_truncate(struct doing *d)
{
	struct spot s;
	char name[32];
	struct model_file *f = draw_file(d, &s, name);
	size_t size = prng_below(&d->m->prng, 3) ? draw_len(d) : 0;

	if (f) {
		if (s.v) {
			struct setattr a = { .what = SETATTR_SIZE, .size = size };
			struct vnode *v = look(d, &s, name);
			struct stat st;

			assert_ok(view_setattr(v, &a, d->acc, &st));
			assert_int_equal(st.st_size, size);
			vnode_unref(d->t, v);
		}
		resize(f, size);
	}
	spot_release(d, &s);
}

static void do_punch(struct doing *d)
{
	struct spot s;
	char name[32];
	struct model_file *f = draw_file(d, &s, name);
	uint64_t off = draw_edge(d, 60000);
	size_t len = draw_len(d);

	if (f) {
		if (s.v) {
			struct vnode *v = look(d, &s, name);

			assert_ok(view_open(v, O_RDWR, d->acc));
			assert_ok(view_fallocate(v, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
						 len, d->acc));
			view_close(v, O_RDWR);
			vnode_unref(d->t, v);
		}
		if (off < f->size)
			memset(f->data + off, 0, MIN(len, f->size - off));
	}
	spot_release(d, &s);
}

static void do_copy(struct doing *d)
{
	struct spot a, b;
	char from[32], to[32];
	struct model_file *x = draw_file(d, &a, from), *y = draw_file(d, &b, to);
	uint64_t from_off = prng_below(&d->m->prng, 2) ? draw_edge(d, 70000) : 0;
	uint64_t to_off = prng_below(&d->m->prng, 2) ? draw_edge(d, 70000) : 0;
	size_t len = draw_len(d);
	size_t n = x && from_off < x->size ? MIN(len, x->size - from_off) : 0;

	if (x && y && x != y && to_off + n <= MODEL_FILE_MAX) {
		if (a.v) {
			struct vnode *v = look(d, &a, from), *w = look(d, &b, to);

			assert_ok(view_open(v, O_RDONLY, d->acc));
			assert_ok(view_open(w, O_RDWR, d->acc));
			assert_int_equal(view_copy_range(v, from_off, w, to_off, len, d->acc), n);
			view_close(v, O_RDONLY);
			view_close(w, O_RDWR);
			vnode_unref(d->t, v);
			vnode_unref(d->t, w);
		}
		if (n > 0 && to_off + n > y->size)
			resize(y, to_off + n);
		if (n > 0)
			memcpy(y->data + to_off, x->data + from_off, n);
	}
	spot_release(d, &a);
	spot_release(d, &b);
}

static void do_attrs(struct doing *d)
{
	struct spot s = draw_dir(d);
	uint16_t mode = prng_below(&d->m->prng, 01000);
	unsigned x = prng_below(&d->m->prng, 4);
	struct model_entry *e;
	char name[32], value[64];

	draw_name(d, name);
	snprintf(value, sizeof(value), "v%u", (unsigned)prng_below(&d->m->prng, 1000));
	e = find(s.dir, name);
	if (e && e->file->type != FT_LNK) {
		struct vnode *v = s.v ? look(d, &s, name) : NULL;
		struct setattr a = { .what = SETATTR_MODE, .mode = mode };
		struct stat st;

		if (x < 2 && v)
			assert_ok(view_setattr(v, &a, d->acc, &st));
		if (x < 2)
			e->file->mode = mode;
		if (x == 2 && v)
			assert_ok(view_setxattr(v, span_str("user.x"), span_str(value), 0, false,
						d->acc));
		if (x == 2)
			memcpy(e->file->xattr, value, sizeof(value));
		if (x == 3 && v)
			assert_int_equal(view_removexattr(v, span_str("user.x"), d->acc),
					 e->file->xattr[0] ? 0 : -ENODATA);
		if (x == 3)
			e->file->xattr[0] = '\0';
		if (v)
			vnode_unref(d->t, v);
	}
	spot_release(d, &s);
}

void model_step(struct model *m, struct vnode *root, struct vnode_table *t, struct access *acc)
{
	static void (*const ops[])(struct doing *) = {
		do_create, do_create,	do_create, do_create, do_write,	 do_write,
		do_write,  do_write,	do_remove, do_remove, do_rename, do_rename,
		do_link,   do_truncate, do_punch,  do_copy,   do_attrs,
	};
	struct doing d = { m, root, t, acc };

	ops[prng_below(&m->prng, ARRAY_SIZE(ops))](&d);
}

/* What did not match, for a message. */
struct mismatch {
	char what[768];
};

static bool miss(struct mismatch *x, const char *path, const char *what, long got, long want)
{
	snprintf(x->what, sizeof(x->what), "%s: %s is %ld, not %ld", path, what, got, want);
	return false;
}

struct listing {
	char names[MODEL_NAMES + 4][32];
	unsigned count;
};

static int list_name(const struct dir_item *e, void *ctx)
{
	struct listing *l = ctx;

	if (l->count < ARRAY_SIZE(l->names))
		snprintf(l->names[l->count++], sizeof(l->names[0]), "%.*s", (int)e->name.len,
			 (const char *)e->name.data);
	return 0;
}

static bool same_file(const struct model_file *want, struct vnode *v, const struct stat *st,
		      struct vnode_table *t, struct access *acc, const char *path,
		      struct mismatch *x);

static bool same_dir(const struct model_file *want, struct vnode *v, struct vnode_table *t,
		     struct access *acc, const char *path, struct mismatch *x)
{
	struct listing l = { .count = 0 };
	struct dir_handle *h;

	assert_ok(view_opendir(v, acc, &h));
	assert_ok(view_readdir(h, 0, false, acc, list_name, &l));
	view_closedir(h);
	if (l.count != want->count)
		return miss(x, path, "the number of names", l.count, want->count);
	for (unsigned i = 0; i < want->count; i++) {
		const struct model_entry *e = &want->entries[i];
		char below[256];
		struct vnode *n;
		struct stat st;
		bool same, listed = false;
		int r = view_lookup(v, span_str(e->name), acc, &n, &st);

		snprintf(below, sizeof(below), "%s/%s", path, e->name);
		for (unsigned k = 0; k < l.count; k++)
			listed |= strcmp(l.names[k], e->name) == 0;
		if (r < 0)
			return miss(x, below, "its look-up", r, 0);
		same = listed ? same_file(e->file, n, &st, t, acc, below, x)
			      : miss(x, below, "it in the list", 0, 1);
		vnode_unref(t, n);
		if (!same)
			return false;
	}
	return true;
}

static bool same_bytes(const struct model_file *want, struct vnode *v, struct access *acc,
		       const char *path, struct mismatch *x)
{
	uint8_t *bytes = malloc(want->size + 10);
	int64_t n;
	bool same;

	assert_non_null(bytes);
	assert_ok(view_open(v, O_RDONLY, acc));
	n = view_read(v, 0, want->size + 10, bytes, acc);
	view_close(v, O_RDONLY);
	same = n == (int64_t)want->size;
	if (!same)
		miss(x, path, "the length read", n, (long)want->size);
	for (size_t i = 0; same && i < want->size; i++) {
		if (bytes[i] != want->data[i]) {
			miss(x, path, "the place of a wrong byte", (long)i, -1);
			same = false;
		}
	}
	free(bytes);
	return same;
}

static bool same_xattr(const struct model_file *want, struct vnode *v, struct access *acc,
		       const char *path, struct mismatch *x)
{
	_cleanup_buf_ struct buf value = { 0 };
	int r = view_getxattr(v, span_str("user.x"), acc, &value);

	if (!want->xattr[0])
		return r == -ENODATA || miss(x, path, "user.x", r, -ENODATA);
	return (r == 0 && span_equal(buf_span(&value), span_str(want->xattr))) ||
	       miss(x, path, "user.x", r, 0);
}

static bool same_file(const struct model_file *want, struct vnode *v, const struct stat *st,
		      struct vnode_table *t, struct access *acc, const char *path,
		      struct mismatch *x)
{
	mode_t mode = file_type_to_mode(want->type) | want->mode;

	if (st->st_mode != mode)
		return miss(x, path, "the mode", st->st_mode, mode);
	if (st->st_nlink != want->nlink)
		return miss(x, path, "nlink", (long)st->st_nlink, want->nlink);
	if (want->type == FT_REG && st->st_size != (off_t)want->size)
		return miss(x, path, "the size", st->st_size, (long)want->size);
	if (!same_xattr(want, v, acc, path, x))
		return false;
	if (want->type == FT_DIR)
		return same_dir(want, v, t, acc, path, x);
	if (want->type == FT_REG)
		return same_bytes(want, v, acc, path, x);
	if (want->type == FT_LNK) {
		_cleanup_buf_ struct buf target = { 0 };

		assert_ok(view_readlink(v, acc, &target));
		return span_equal(buf_span(&target), span_str(want->target)) ||
		       miss(x, path, "the target", 0, 1);
	}
	return true;
}

bool model_matches(const struct model_file *want, struct vnode *dir, struct vnode_table *t,
		   struct access *acc)
{
	struct mismatch x;

	return same_dir(want, dir, t, acc, "", &x);
}

void model_check(const struct model_file *want, struct vnode *dir, struct vnode_table *t,
		 struct access *acc)
{
	struct mismatch x;

	if (!same_dir(want, dir, t, acc, "", &x))
		fail_msg("%s", x.what);
}
