/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Trees for tests of sessions (sessionmodel.h).
 */
#include "sessionmodel.h"

#include "format/xattr.h"

enum {
	SIZE_MAX_RARE = 300000,
	SIZE_MAX_MOSTLY = 3000,
	NAMES_MOSTLY = 12,
};

struct mfile *mfile_new(struct prng *r, uint8_t type)
{
	struct mfile *f = new0(struct mfile, 1);

	f->refs = 1;
	f->type = type;
	f->version = (uint32_t)prng_u64(r);
	f->size = (uint32_t)prng_below(r, prng_below(r, 20) ? SIZE_MAX_MOSTLY : SIZE_MAX_RARE);
	return f;
}

void mfile_unref(struct mfile *f)
{
	if (!f || --f->refs > 0)
		return;
	for (size_t i = 0; i < f->count; i++)
		mfile_unref(f->names[i].file);
	free(f->names);
	free(f);
}

struct mfile *mfile_copy(const struct mfile *f)
{
	struct mfile *c;

	if (f->type != FT_DIR) {
		((struct mfile *)f)->refs++;
		return (struct mfile *)f;
	}
	c = new0(struct mfile, 1);
	*c = *f;
	c->refs = 1;
	c->names = new0(struct mname, f->count + 1);
	for (size_t i = 0; i < f->count; i++) {
		c->names[i] = f->names[i];
		c->names[i].file = mfile_copy(f->names[i].file);
	}
	return c;
}

static struct mname *find(const struct mfile *dir, const char *name)
{
	for (size_t i = 0; i < dir->count; i++)
		if (strcmp(dir->names[i].name, name) == 0)
			return &dir->names[i];
	return NULL;
}

static int cmp_names(const void *a, const void *b)
{
	return strcmp(((const struct mname *)a)->name, ((const struct mname *)b)->name);
}

void mtree_put(struct mfile *dir, const char *name, struct mfile *f)
{
	struct mname *n = find(dir, name);

	if (n) {
		mfile_unref(n->file);
		n->file = f;
		return;
	}
	dir->names = realloc(dir->names, (dir->count + 1) * sizeof(*n));
	assert_non_null(dir->names);
	n = &dir->names[dir->count++];
	snprintf(n->name, sizeof(n->name), "%s", name);
	n->file = f;
	qsort(dir->names, dir->count, sizeof(*n), cmp_names);
}

static void drop(struct mfile *dir, size_t i)
{
	mfile_unref(dir->names[i].file);
	dir->count--;
	memmove(&dir->names[i], &dir->names[i + 1], (dir->count - i) * sizeof(dir->names[0]));
}

static struct mfile *some_dir(struct prng *r, struct mfile *root)
{
	while (root->count > 0 && prng_below(r, 4)) {
		struct mfile *f = root->names[prng_below(r, root->count)].file;

		if (f->type == FT_DIR)
			root = f;
	}
	return root;
}

/* Some file below that is no directory; NULL: none was met. */
static struct mfile *some_file(struct prng *r, struct mfile *root)
{
	for (unsigned i = 0; i < 20; i++) {
		struct mfile *dir = some_dir(r, root);
		struct mfile *f = dir->count ? dir->names[prng_below(r, dir->count)].file : NULL;

		if (f && f->type != FT_DIR)
			return f;
	}
	return NULL;
}

static void some_name(struct prng *r, char name[64])
{
	snprintf(name, 64, "%c%llu", (char)('a' + prng_below(r, 26)),
		 (unsigned long long)prng_below(r, NAMES_MOSTLY));
}

/* A change must not show in older trees that share the file: it becomes another. All its names in
 * this tree go over. */
static void replace(struct mfile *dir, const struct mfile *old, struct mfile *fresh)
{
	for (size_t i = 0; i < dir->count; i++) {
		struct mname *n = &dir->names[i];

		if (n->file == old) {
			fresh->refs++;
			mfile_unref(n->file);
			n->file = fresh;
		} else if (n->file->type == FT_DIR) {
			replace(n->file, old, fresh);
		}
	}
}

static void change_file(struct prng *r, struct mfile *root)
{
	struct mfile *f = some_file(r, root), *fresh;

	if (!f)
		return;
	fresh = mfile_new(r, f->type);
	fresh->has_link = f->has_link;
	fresh->link = f->link;
	replace(root, f, fresh);
	mfile_unref(fresh);
}

/* One more name for a file. */
static void link_file(struct prng *r, struct mfile *root)
{
	struct mfile *f = some_file(r, root), *fresh, *dir = some_dir(r, root);
	char name[64];

	if (!f)
		return;
	some_name(r, name);
	if (find(dir, name))
		return;
	fresh = mfile_new(r, f->type);
	fresh->version = f->version;
	fresh->size = f->size;
	fresh->has_link = true;
	fresh->link = f->has_link ? f->link : (struct id128){ { 0 } };
	if (!f->has_link)
		prng_fill(r, fresh->link.b, sizeof(fresh->link.b));
	replace(root, f, fresh);
	mtree_put(dir, name, fresh);
}

void mtree_change(struct prng *r, struct mfile *root, unsigned changes)
{
	static const uint8_t types[] = { FT_REG, FT_REG, FT_REG, FT_LNK, FT_FIFO, FT_CHR, FT_SOCK };

	for (unsigned i = 0; i < changes; i++) {
		struct mfile *dir = some_dir(r, root);
		char name[64];

		some_name(r, name);
		switch (prng_below(r, 8)) {
		case 0:
			if (dir->count > 0)
				drop(dir, prng_below(r, dir->count));
			break;
		case 1:
			mtree_put(dir, name, mfile_new(r, FT_DIR));
			break;
		case 2:
			dir->version++;
			break;
		case 3:
			change_file(r, root);
			break;
		case 4:
			link_file(r, root);
			break;
		default:
			mtree_put(dir, name, mfile_new(r, types[prng_below(r, ARRAY_SIZE(types))]));
		}
	}
}

/*
 * What a file is, from its version.
 */

struct made_inode {
	struct inode ino;
	struct buf xattrs, target;
	struct madepiece piece;
};

static void make_xattrs(struct prng *r, struct buf *ret)
{
	static const uint8_t value[5000];

	buf_clear(ret);
	if (prng_below(r, 4) == 0)
		assert_ok(
			xattr_append(ret, span_str("user.a"), span_of(value, prng_below(r, 200))));
	if (prng_below(r, 16) == 0)
		assert_ok(xattr_append(ret, span_str("user.large"), span_of(value, sizeof(value))));
}

/* The inode without its content, and what that is. */
static void make_inode(const struct mfile *f, struct made_inode *ret)
{
	struct prng r = { f->version };

	*ret = (struct made_inode){ 0 };
	ret->ino = (struct inode){
		.type = f->type,
		.mode = prng_below(&r, 07777),
		.uid = (uint32_t)prng_below(&r, 3),
		.mtime = { (int64_t)prng_below(&r, 1ull << 34), 5 },
		.ctime = { -1, 999999999 },
	};
	make_xattrs(&r, &ret->xattrs);
	if (f->type == FT_CHR)
		ret->ino.dev.major = (uint32_t)prng_below(&r, 300);
	if (f->type == FT_LNK) {
		buf_printf(&ret->target, "../%u", f->version);
		ret->ino.content.inlined = buf_span(&ret->target);
		ret->ino.content.size = ret->target.len;
	}
	if (f->type == FT_REG && f->size > 0) {
		uint8_t *bytes = malloc(f->size);

		prng_fill(&r, bytes, f->size);
		ret->piece =
			(struct madepiece){ .kind = PIECE_DATA, .len = f->size, .bytes = bytes };
	}
}

static void made_inode_release(struct made_inode *m)
{
	buf_release(&m->xattrs);
	buf_release(&m->target);
	free((void *)m->piece.bytes);
}

static struct content_source *source_of(const struct made_inode *m)
{
	static struct madecounts counts;
	struct content_source *src;

	counts = (struct madecounts){ 0 };
	src = made_source(&m->piece, m->piece.len ? 1 : 0, &counts);
	src->stored = NULL;
	return src;
}

static uint32_t count_names(const struct mfile *dir, const struct id128 *link)
{
	uint32_t n = 0;

	for (size_t i = 0; i < dir->count; i++) {
		const struct mfile *f = dir->names[i].file;

		if (f->type == FT_DIR)
			n += count_names(f, link);
		else if (f->has_link && id128_equal(&f->link, link))
			n++;
	}
	return n;
}

/* The first of its names: the record is said there. */
static bool is_first(const struct mfile *dir, const struct id128 *link, const struct mname *name,
		     bool *found)
{
	for (size_t i = 0; i < dir->count && !*found; i++) {
		const struct mfile *f = dir->names[i].file;

		if (f->type == FT_DIR) {
			if (is_first(f, link, name, found))
				return true;
		} else if (f->has_link && id128_equal(&f->link, link)) {
			*found = true;
			return &dir->names[i] == name;
		}
	}
	return false;
}

/* Some things are said in the other way that there is. @root: its hard links are said with their
 * first names; NULL: they are not. */
static void say_file(struct session *s, const struct mfile *root, const struct mname *n)
{
	const struct mfile *f = n->file;
	struct span name = span_str(n->name);
	struct made_inode m;
	bool found = false;

	make_inode(f, &m);
	assert_ok(session_xattrs(s, buf_span(&m.xattrs), &m.ino.xattrs));
	if (f->has_link && root && is_first(root, &f->link, n, &found)) {
		uint32_t count = count_names(root, &f->link), said = f->version % 3 ? count : 77;

		if (f->type == FT_REG)
			assert_ok(session_link_file(s, &f->link, said, &m.ino, source_of(&m)));
		else
			assert_ok(session_link(s, &f->link, said, &m.ino));
		if (said != count)
			assert_ok(session_link_names(s, &f->link, count));
	}
	if (f->has_link)
		assert_ok(session_put_link(s, name, f->type, &f->link));
	else if (f->type == FT_REG)
		assert_ok(session_put_file(s, name, &m.ino, source_of(&m)));
	else
		assert_ok(session_put(s, name, &m.ino));
	made_inode_release(&m);
}

static void end_dir(struct session *s, const struct mname *n)
{
	struct made_inode m;

	make_inode(n->file, &m);
	assert_ok(session_xattrs(s, buf_span(&m.xattrs), &m.ino.xattrs));
	assert_ok(session_dir_end(s, span_str(n->name), &m.ino));
	made_inode_release(&m);
}

static void say_dir(struct session *s, const struct mfile *root, const struct mname *dir)
{
	assert_ok(session_dir_begin(s, NULL));
	for (size_t i = 0; i < dir->file->count; i++) {
		const struct mname *n = &dir->file->names[i];

		if (n->file->type == FT_DIR)
			say_dir(s, root, n);
		else
			say_file(s, root, n);
	}
	end_dir(s, dir);
}

void mtree_say(struct session *s, const struct mfile *root)
{
	struct mname n = { .file = (struct mfile *)root };

	say_dir(s, root, &n);
}

static bool is_same_dir(const struct mfile *a, const struct mfile *b)
{
	if (a->version != b->version || a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct mfile *x = a->names[i].file, *y = b->names[i].file;

		if (strcmp(a->names[i].name, b->names[i].name) != 0)
			return false;
		if (x != y && (x->type != FT_DIR || y->type != FT_DIR || !is_same_dir(x, y)))
			return false;
	}
	return true;
}

struct saying {
	struct session *s;
	struct storestand *stand;
	const struct mfile *root;
};

static struct tree_root child_tree(struct saying *y, const struct tree_root *base, const char *name)
{
	struct reader_source source = reader_source(y->stand->store.reader, &y->stand->acc);
	struct dirent_rec d;
	struct node *leaf;

	assert_ok(dir_lookup(&source.base, base, span_str(name), &leaf, &d));
	assert_int_equal(d.inode.type, FT_DIR);
	node_unref(leaf);
	return d.inode.dir;
}

static void say_changed_dir(struct saying *y, const struct mfile *before,
			    const struct tree_root *base, const struct mname *now)
{
	size_t i = 0, j = 0;

	assert_ok(session_dir_begin(y->s, base));
	while (i < before->count || j < now->file->count) {
		const struct mname *a = i < before->count ? &before->names[i] : NULL;
		const struct mname *b = j < now->file->count ? &now->file->names[j] : NULL;
		int c = !a ? 1 : !b ? -1 : strcmp(a->name, b->name);

		i += c <= 0;
		j += c >= 0;
		if (c < 0) {
			assert_ok(session_remove(y->s, span_str(a->name)));
		} else if (b->file->type != FT_DIR) {
			if (c > 0 || a->file != b->file || b->file->has_link)
				say_file(y->s, NULL, b);
		} else if (c > 0 || a->file->type != FT_DIR) {
			say_dir(y->s, NULL, b);
		} else if (!is_same_dir(a->file, b->file)) {
			struct tree_root below = child_tree(y, base, a->name);

			say_changed_dir(y, a->file, &below, b);
		}
	}
	end_dir(y->s, now);
}

/* Links of the old tree that the new one lacks. */
static void drop_links(struct saying *y, const struct mfile *dir)
{
	for (size_t i = 0; i < dir->count; i++) {
		const struct mfile *f = dir->names[i].file;

		if (f->type == FT_DIR)
			drop_links(y, f);
		else if (f->has_link && count_names(y->root, &f->link) == 0)
			assert_ok(session_unlink(y->s, &f->link));
	}
}

/* Every link of the new tree: what has changed in it does not show where its names are. */
static void say_all_links(struct saying *y, const struct mfile *dir)
{
	for (size_t i = 0; i < dir->count; i++) {
		const struct mname *n = &dir->names[i];
		struct made_inode m;
		bool found = false;

		if (n->file->type == FT_DIR)
			say_all_links(y, n->file);
		if (!n->file->has_link || !is_first(y->root, &n->file->link, n, &found))
			continue;
		make_inode(n->file, &m);
		assert_ok(session_xattrs(y->s, buf_span(&m.xattrs), &m.ino.xattrs));
		if (n->file->type == FT_REG)
			assert_ok(session_link_file(y->s, &n->file->link,
						    count_names(y->root, &n->file->link), &m.ino,
						    source_of(&m)));
		else
			assert_ok(session_link(y->s, &n->file->link,
					       count_names(y->root, &n->file->link), &m.ino));
		made_inode_release(&m);
	}
}

void mtree_say_changes(struct session *s, struct storestand *stand, const struct mfile *before,
		       const struct tree_root *base, const struct mfile *now)
{
	struct saying y = { s, stand, now };
	struct mname n = { .file = (struct mfile *)now };

	say_changed_dir(&y, before, base, &n);
	drop_links(&y, before);
	say_all_links(&y, now);
}

static void assert_content_reads(struct storestand *stand, const struct content *c,
				 struct span want)
{
	uint8_t *got = content_bytes(stand, c);

	assert_int_equal(c->size, want.len);
	assert_memory_equal(got, want.data, want.len);
	free(got);
}

static void assert_inode_is(struct storestand *stand, const struct inode *ino,
			    const struct mfile *f)
{
	_cleanup_buf_ struct buf list = { 0 };
	struct made_inode m;

	make_inode(f, &m);
	assert_int_equal(ino->type, f->type);
	assert_int_equal(ino->mode, m.ino.mode);
	assert_int_equal(ino->uid, m.ino.uid);
	assert_memory_equal(&ino->mtime.sec, &m.ino.mtime.sec, 8);
	assert_int_equal(ino->ctime.nsec, 999999999);
	assert_ok(xattrs_load(stand->store.reader, &ino->xattrs, &stand->acc, &list));
	assert_int_equal(list.len, m.xattrs.len);
	if (list.len > 0)
		assert_memory_equal(list.data, m.xattrs.data, list.len);
	if (f->type == FT_CHR)
		assert_int_equal(ino->dev.major, m.ino.dev.major);
	if (f->type == FT_REG)
		assert_content_reads(stand, &ino->content, span_of(m.piece.bytes, m.piece.len));
	if (f->type == FT_LNK)
		assert_content_reads(stand, &ino->content, buf_span(&m.target));
	made_inode_release(&m);
}

static void assert_dir_reads(struct storestand *stand, const struct snapshot *snap,
			     const struct tree_root *dir, const struct mfile *want,
			     const struct mfile *root)
{
	struct reader_source source = reader_source(stand->store.reader, &stand->acc);
	struct tree_cursor c;

	tree_cursor_init(&c, TREE_DIR, &source.base);
	assert_ok(tree_seek_ordinal(&c, dir, 0));
	for (size_t i = 0; i < want->count; i++) {
		const struct mfile *f = want->names[i].file;
		struct dirent_rec d;
		struct link_rec l;
		struct node *leaf;

		assert_false(c.is_end);
		node_dirent(tree_leaf(&c), tree_index(&c), &d);
		assert_true(span_equal(d.name, span_str(want->names[i].name)));
		assert_int_equal(d.has_link, f->has_link);
		if (d.has_link) {
			assert_true(id128_equal(&d.link, &f->link));
			assert_ok(links_lookup(&source.base, &snap->links, &d.link, &leaf, &l));
			assert_int_equal(l.nlink, count_names(root, &d.link));
			assert_inode_is(stand, &l.inode, f);
			node_unref(leaf);
		} else {
			assert_inode_is(stand, &d.inode, f);
		}
		if (f->type == FT_DIR)
			assert_dir_reads(stand, snap, &d.inode.dir, f, root);
		assert_ok(tree_next(&c));
	}
	assert_true(c.is_end);
	tree_cursor_release(&c);
}

void assert_tree_is(struct storestand *stand, const struct snapshot *snap, const struct mfile *root)
{
	assert_inode_is(stand, &snap->root, root);
	assert_dir_reads(stand, snap, &snap->root.dir, root, root);
}
