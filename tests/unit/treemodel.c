/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The models of treemodel.h.
 */
#include "treemodel.h"

#include "check.h"
#include "tree/boundary.h"

struct span named_key(const struct named *n)
{
	return span_of(n->name, n->len);
}

static struct loc loc_of(uint32_t value)
{
	return (struct loc){ .state = LOC_AT,
			     .pack = { { (uint8_t)(value % 3) } },
			     .offset = value,
			     .frame_len = value / 2 };
}

static struct oid id_of(uint32_t value)
{
	struct oid id = { { 1 } };

	memcpy(id.b + 4, &value, sizeof(value));
	return id;
}

struct dirent_rec named_dirent(const struct named *n)
{
	static const uint8_t bytes[INLINE_MAX];
	struct dirent_rec d = {
		.name = named_key(n),
		.inode = { .type = FT_REG, .mode = 0644, .mtime = { n->value, 1 } },
	};
	struct content content = { .id = id_of(n->value),
				   .size = 1000 + n->value % 1000,
				   .loc = loc_of(n->value) };

	content.data = content.size;
	switch ((enum shape)n->shape) {
	case SHAPE_INLINE:
		content.size = content.data = 1 + n->value % INLINE_MAX;
		content.inlined = span_of(bytes, content.size);
		break;
	case SHAPE_LINKED:
		d.has_link = true;
		memcpy(d.link.b, &n->value, sizeof(n->value));
		d.inode = (struct inode){ .type = FT_REG };
		return d;
	case SHAPE_DIR:
		d.inode.type = FT_DIR;
		d.inode.dir = (struct tree_root){ id_of(n->value),
						  loc_of(n->value),
						  { 1 + n->value, 0, n->value, n->value, 0,
						    n->value % 2 } };
		return d;
	case SHAPE_SYMLINK:
		d.inode.type = FT_LNK;
		break;
	case SHAPE_FIFO:
		d.inode.type = FT_FIFO;
		return d;
	case SHAPE_XATTRS:
		d.inode.xattrs.list = span_of("\1a\1\0\0\0x\1b\2\0\0\0xy", 15);
		break;
	case SHAPE_MIB_OF_XATTRS:
		d.inode.xattrs = (struct xattrs){ .large_len = XATTR_LIST_LIMIT,
						  .large = id_of(n->value),
						  .loc = loc_of(n->value + 1) };
		break;
	default:
		break;
	}
	d.inode.content = content;
	return d;
}

size_t dir_model_find(const struct dir_model *m, struct span key, bool *ret_equal)
{
	size_t low = 0, high = m->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (span_cmp(named_key(&m->names[mid]), key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*ret_equal = low < m->count && span_equal(named_key(&m->names[low]), key);
	return low;
}

void dir_model_release(struct dir_model *m)
{
	free(m->names);
	*m = (struct dir_model){ 0 };
}

void dir_model_put(struct dir_model *m, const struct named *n)
{
	bool is_there;
	size_t i = dir_model_find(m, named_key(n), &is_there);

	if (!is_there) {
		if (m->count == m->cap) {
			m->cap = MAX(64u, 2 * m->cap);
			m->names = realloc(m->names, m->cap * sizeof(*m->names));
			assert_non_null(m->names);
		}
		memmove(m->names + i + 1, m->names + i, (m->count - i) * sizeof(*m->names));
		m->count++;
	}
	m->names[i] = *n;
}

void dir_model_remove(struct dir_model *m, struct span key)
{
	bool is_there;
	size_t i = dir_model_find(m, key, &is_there);

	if (!is_there)
		return;
	m->count--;
	memmove(m->names + i, m->names + i + 1, (m->count - i) * sizeof(*m->names));
}

void dir_model_copy(const struct dir_model *m, struct dir_model *ret)
{
	*ret = *m;
	ret->names = malloc(MAX((size_t)1, m->cap) * sizeof(*m->names));
	assert_non_null(ret->names);
	if (m->count > 0)
		memcpy(ret->names, m->names, m->count * sizeof(*m->names));
}

struct tree_edit *edit_of(struct nodestore *s, enum tree_kind kind, const struct tree_root *base)
{
	struct tree_edit *e;

	assert_int_equal(tree_edit_new(kind, &s->source, &s->sink, base, &e), 0);
	return e;
}

struct tree_root dir_build(struct nodestore *s, const struct dir_model *m)
{
	_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_DIR, NULL);
	struct tree_root root;

	for (size_t i = 0; i < m->count; i++) {
		struct dirent_rec d = named_dirent(&m->names[i]);

		assert_int_equal(dir_edit_put(e, &d), 0);
	}
	assert_int_equal(tree_edit_finish(e, &root), 0);
	return root;
}

static bool loc_equal(const struct loc *a, const struct loc *b)
{
	return a->state == b->state && a->offset == b->offset && a->frame_len == b->frame_len &&
	       a->item == b->item && id128_equal(&a->pack, &b->pack);
}

static void assert_same_dirent(const struct dirent_rec *a, const struct dirent_rec *b)
{
	struct entry_hint ha, hb;

	assert_true(span_equal(a->name, b->name));
	assert_int_equal(a->has_link, b->has_link);
	assert_true(id128_equal(&a->link, &b->link));
	assert_true(inode_equal(&a->inode, &b->inode));
	ha = inode_hint_get(&a->inode);
	hb = inode_hint_get(&b->inode);
	assert_true(loc_equal(&ha.loc, &hb.loc));
	assert_true(loc_equal(&ha.xattr_loc, &hb.xattr_loc));
	assert_true(span_equal(ha.inlined, hb.inlined));
}

static void assert_same_root(const struct tree_root *root, const struct tree_root *bulk)
{
	assert_memory_equal(root->id.b, bulk->id.b, OID_SIZE);
	assert_true(tree_sum_equal(&root->sum, &bulk->sum));
	assert_int_equal(root->loc.offset, bulk->loc.offset);
}

void assert_dir_is(struct nodestore *s, const struct tree_root *root, const struct dir_model *m)
{
	_cleanup_(tree_cursor_release) struct tree_cursor c;
	struct tree_root bulk = dir_build(s, m);
	size_t i = 0;
	int r;

	assert_same_root(root, &bulk);
	assert_int_equal(root->sum.items, m->count);
	tree_cursor_init(&c, TREE_DIR, &s->source);
	for (r = tree_seek_ordinal(&c, root, 0); r == 0 && !c.is_end; r = tree_next(&c)) {
		struct dirent_rec want = named_dirent(&m->names[i++]), got;

		node_dirent(tree_leaf(&c), tree_index(&c), &got);
		assert_same_dirent(&got, &want);
	}
	assert_int_equal(r, 0);
	assert_int_equal(i, m->count);
	assert_int_equal(s->misleading, 0);
}

/* Does a key end nodes of one of these levels, for entries of that size? */
static bool ends_nodes(struct span key, unsigned from, unsigned to, size_t entry_size)
{
	for (unsigned level = from; level <= to; level++) {
		if (boundary_after(NODE_MIN, entry_size, key, level))
			return true;
	}
	return false;
}

static bool has_style(struct span key, enum key_style style)
{
	switch (style) {
	case KEYS_NEVER:
	case KEYS_NEVER_VARIED:
		return !ends_nodes(key, 0, 3, 400);
	case KEYS_ALWAYS:
		return ends_nodes(key, 0, 0, 40);
	case KEYS_TALL:
		return ends_nodes(key, 0, 0, 200) && !ends_nodes(key, 1, 3, 400);
	default:
		return true;
	}
}

struct named random_named(struct prng *rnd, enum key_style style, uint64_t number)
{
	struct named n = { .shape = (uint8_t)prng_below(rnd, SHAPES),
			   .value = (uint32_t)prng_below(rnd, 1000000) };

	switch (style) {
	case KEYS_LONG:
	case KEYS_TALL:
		n.len = (uint8_t)(200 + number % 56);
		break;
	case KEYS_NEVER_VARIED:
		n.len = (uint8_t)(16 + number % 41);
		break;
	default:
		n.len = 16;
	}
	memset(n.name, '=', n.len);
	for (unsigned salt = 0; salt < 10000; salt++) {
		char head[12];

		snprintf(head, sizeof(head), "%06u.%04u", (unsigned)number % 1000000, salt);
		memcpy(n.name, head, 11);
		if (has_style(named_key(&n), style))
			break;
	}
	return n;
}

void extent_model_release(struct extent_model *m)
{
	free(m->x);
	*m = (struct extent_model){ 0 };
}

void extent_model_put(struct extent_model *m, const struct extent_rec *x)
{
	if (m->count > 0 && x->is_hole && m->x[m->count - 1].is_hole) {
		m->x[m->count - 1].len += x->len;
		return;
	}
	if (m->count == m->cap) {
		m->cap = MAX(64u, 2 * m->cap);
		m->x = realloc(m->x, m->cap * sizeof(*m->x));
		assert_non_null(m->x);
	}
	m->x[m->count++] = *x;
}

struct tree_root extents_build(struct nodestore *s, const struct extent_model *m)
{
	_cleanup_(tree_edit_freep) struct tree_edit *e = edit_of(s, TREE_EXTENTS, NULL);
	struct tree_root root;

	for (size_t i = 0; i < m->count; i++)
		assert_int_equal(extents_edit_put(e, &m->x[i]), 0);
	assert_int_equal(tree_edit_finish(e, &root), 0);
	return root;
}

void assert_extents_are(struct nodestore *s, const struct tree_root *root,
			const struct extent_model *m)
{
	_cleanup_(tree_cursor_release) struct tree_cursor c;
	struct tree_root bulk = extents_build(s, m);
	uint64_t start = 0;
	size_t i = 0;
	int r;

	assert_same_root(root, &bulk);
	tree_cursor_init(&c, TREE_EXTENTS, &s->source);
	for (r = tree_seek_byte(&c, root, 0, &start); r == 0 && !c.is_end; r = tree_next(&c)) {
		const struct extent_rec *want = &m->x[i++];
		struct extent_rec got;

		node_extent(tree_leaf(&c), tree_index(&c), &got);
		assert_int_equal(got.is_hole, want->is_hole);
		assert_int_equal(got.len, want->len);
		assert_true(got.is_hole || oid_equal(&got.id, &want->id));
		assert_true(got.is_hole || loc_equal(&got.loc, &want->loc));
	}
	assert_int_equal(r, 0);
	assert_int_equal(i, m->count);
	assert_int_equal(s->misleading, 0);
}

struct extent_rec random_extent(struct prng *rnd, enum id_style style)
{
	struct extent_rec x = { .len = 1 + prng_below(rnd, 100000) };
	uint32_t value;

	if (prng_below(rnd, style == IDS_SPARSE ? 2 : 8) == 0) {
		x.is_hole = true;
		x.len *= HOLE_ALIGN;
		return x;
	}
	do {
		value = (uint32_t)prng_below(rnd, style == IDS_FEW ? 3 : 1u << 30);
		x.id = id_of(value);
	} while (style >= IDS_NEVER &&
		 ends_nodes(span_of(x.id.b, OID_SIZE), 0, 0, 41) != (style == IDS_ALWAYS));
	x.loc = loc_of(value);
	return x;
}

size_t tree_edges(struct nodestore *s, enum tree_kind kind, const struct tree_root *root,
		  unsigned level, size_t *ret, size_t max)
{
	_cleanup_(tree_cursor_release) struct tree_cursor c;
	size_t n = 0;
	int r;

	tree_cursor_init(&c, kind, &s->source);
	r = tree_seek_ordinal(&c, root, 0);
	for (size_t at = 0; r == 0 && !c.is_end; at++, r = tree_next(&c)) {
		bool is_edge = at > 0;

		for (unsigned k = 0; k <= level && is_edge; k++)
			is_edge = k < c.depth && c.path[c.depth - 1 - k].i == 0;
		if (is_edge && n < max)
			ret[n++] = at;
	}
	assert_int_equal(r, 0);
	return n;
}
