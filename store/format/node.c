/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Nodes of trees, of format/node.h.
 *
 * A node is read twice: once whole, when every rule is checked and the places of its entries are
 * written down; then entry by entry, as they are asked for. The second reading goes through the
 * same readers and cannot fail.
 */
#include "format/node.h"

#include "format/envelope.h"
#include "format/hint.h"

#define NODE_MAGIC "pfsN"

enum {
	COUNT_AT = ENVELOPE_HEAD_SIZE + 4, /* behind kind, level, reserved */
	HEADER_SIZE = COUNT_AT + 4,
	ENTRY_SIZE_MIN = 9, /* a hole */
};

/* An entry of any kind of node, as far as all have it. */
struct entry {
	struct span key;
	struct tree_sum sum;
	bool is_hole;
};

static bool child_key_is_valid(uint8_t kind, struct span key)
{
	return kind == TREE_DIR ? file_name_is_valid(key) : key.len == sizeof(struct id128);
}

static int child_read(struct cursor *c, uint8_t kind, struct child_rec *ret)
{
	struct child_rec r = { 0 };

	if (kind != TREE_EXTENTS) {
		r.key = rd_str16(c, FILE_NAME_MAX);
		if (!child_key_is_valid(kind, r.key))
			return -EBADMSG;
	}
	r.id = rd_oid(c);
	if (kind == TREE_DIR) {
		r.sum = dir_sum_read(c);
	} else {
		r.sum.items = rd_u64(c);
		if (kind == TREE_EXTENTS) {
			r.sum.bytes = rd_u64(c);
			r.sum.data = rd_u64(c);
		}
	}
	if (cursor_failed(c) || oid_is_null(&r.id) || r.sum.items == 0 || r.sum.data > r.sum.bytes)
		return -EBADMSG;
	*ret = r;
	return 0;
}

void child_put(struct buf *b, enum tree_kind kind, const struct child_rec *c)
{
	if (kind != TREE_EXTENTS)
		buf_put_str16(b, c->key);
	buf_put_oid(b, &c->id);
	if (kind == TREE_DIR) {
		dir_sum_put(b, &c->sum);
		return;
	}
	buf_put_u64(b, c->sum.items);
	if (kind == TREE_EXTENTS) {
		buf_put_u64(b, c->sum.bytes);
		buf_put_u64(b, c->sum.data);
	}
}

static struct tree_sum extent_sum(const struct extent_rec *x)
{
	return (struct tree_sum){ .items = 1, .bytes = x->len, .data = x->is_hole ? 0 : x->len };
}

static int entry_read(struct cursor *c, uint8_t kind, uint8_t level, struct entry *ret)
{
	const uint8_t *start = c->p;
	struct dirent_rec d;
	struct link_rec l;
	struct extent_rec x;
	struct child_rec r;

	if (level > 0) {
		if (child_read(c, kind, &r) < 0)
			return -EBADMSG;
		*ret = (struct entry){ .key = r.key, .sum = r.sum };
		return 0;
	}
	switch (kind) {
	case TREE_DIR:
		if (dirent_read(c, &d) < 0)
			return -EBADMSG;
		*ret = (struct entry){ .key = d.name, .sum = inode_sum(&d.inode, d.has_link) };
		return 0;
	case TREE_LINKS:
		if (link_read(c, &l) < 0)
			return -EBADMSG;
		*ret = (struct entry){ .key = span_of(start, sizeof(l.link)), .sum.items = 1 };
		return 0;
	case TREE_EXTENTS:
		if (extent_read(c, &x) < 0)
			return -EBADMSG;
		*ret = (struct entry){ .sum = extent_sum(&x), .is_hole = x.is_hole };
		return 0;
	}
	return -EBADMSG;
}

static int header_read(struct cursor *c, struct node *n)
{
	uint16_t reserved;
	int r;

	r = envelope_head_read(c, NODE_MAGIC);
	n->kind = rd_u8(c);
	n->level = rd_u8(c);
	reserved = rd_u16(c);
	n->count = rd_u32(c);
	if (r < 0 || cursor_failed(c) || n->kind < TREE_DIR || n->kind > TREE_EXTENTS ||
	    n->level >= TREE_LEVELS || reserved != 0 || n->count == 0 ||
	    n->count > cursor_left(c) / ENTRY_SIZE_MIN)
		return -EBADMSG;
	if (n->count > 1 && cursor_left(c) > NODE_MAX)
		return -EBADMSG;
	return 0;
}

/* Reads all entries of n->bytes from behind the header on; fills in @at and the sum. */
static int entries_index(struct node *n, struct cursor *c)
{
	struct entry e, last = { 0 };

	for (uint32_t i = 0; i < n->count; i++) {
		n->at[i] = (uint32_t)(c->p - n->bytes);
		if (entry_read(c, n->kind, n->level, &e) < 0)
			return -EBADMSG;
		if (n->kind != TREE_EXTENTS && span_cmp(last.key, e.key) >= 0)
			return -EBADMSG;
		if (last.is_hole && e.is_hole)
			return -EBADMSG;
		n->sum = tree_sum_add(n->sum, e.sum);
		last = e;
	}
	n->at[n->count] = n->canon_len;
	return cursor_at_end(c) ? 0 : -EBADMSG;
}

/* Hints in no shape at all are as good as none: only -ENOMEM is an error. */
static int hints_attach(struct node *n, struct span raw)
{
	_cleanup_free_ uint32_t *at = NULL;

	if (raw.len == 0)
		return 0;
	at = malloc((n->count + (size_t)1) * sizeof(*at));
	if (!at)
		return -ENOMEM;
	if (hint_index(raw, n->count, at, &n->packs) < 0)
		return 0;
	n->packs_at = n->canon_len + HINT_PACKS_AT;
	for (uint32_t i = 0; i <= n->count; i++)
		at[i] += n->canon_len;
	n->hint_at = TAKE_PTR(at);
	return 0;
}

void node_entry_hint(const struct node *n, uint32_t i, struct entry_hint *ret)
{
	struct cursor c;

	*ret = (struct entry_hint){ 0 };
	if (!n->hint_at)
		return;
	c = cursor_of(span_of(n->bytes + n->hint_at[i], n->hint_at[i + 1] - n->hint_at[i]));
	hint_entry_read(&c, span_of(n->bytes + n->packs_at, n->packs * sizeof(struct id128)), ret);
}

static int node_new(const struct oid *id, struct span canon, struct span hint, struct node **ret)
{
	_cleanup_(node_unrefp) struct node *n = NULL;
	struct cursor c;
	int r;

	if (canon.len > UINT32_MAX)
		return -EBADMSG;
	if (hint.len > NODE_HINT_MAX)
		hint.len = 0;
	n = new0(struct node, 1);
	if (!n)
		return -ENOMEM;
	atomic_init(&n->refs, 1);
	n->id = *id;
	n->canon_len = (uint32_t)canon.len;

	c = cursor_of(canon);
	r = header_read(&c, n);
	if (r < 0)
		return r;
	n->bytes = malloc(canon.len + hint.len);
	n->at = malloc((n->count + (size_t)1) * sizeof(*n->at));
	if (!n->bytes || !n->at)
		return -ENOMEM;
	memcpy(n->bytes, canon.data, canon.len);
	if (hint.len > 0)
		memcpy(n->bytes + canon.len, hint.data, hint.len);

	c = cursor_of(span_of(n->bytes + HEADER_SIZE, canon.len - HEADER_SIZE));
	r = entries_index(n, &c);
	if (r < 0)
		return r;
	r = hints_attach(n, span_of(n->bytes + canon.len, hint.len));
	if (r < 0)
		return r;
	*ret = TAKE_PTR(n);
	return 0;
}

int node_parse(const struct oid *id, struct span item, struct node **ret)
{
	struct cursor c = cursor_of(item);
	struct span canon = rd_bytes(&c, rd_u32(&c));
	struct span hint = rd_bytes(&c, cursor_left(&c));
	struct oid found;

	if (cursor_failed(&c))
		return -EBADMSG;
	found = oid_of(OID_NODE, canon.data, canon.len);
	if (!oid_equal(&found, id))
		return -EBADMSG;
	return node_new(id, canon, hint, ret);
}

int node_of_canon(struct span canon, struct span hint, struct node **ret)
{
	struct oid id = oid_of(OID_NODE, canon.data, canon.len);

	return node_new(&id, canon, hint, ret);
}

struct node *node_ref(struct node *n)
{
	atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
	return n;
}

void node_unref(struct node *n)
{
	if (!n || atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel) > 1)
		return;
	free(n->bytes);
	free(n->at);
	free(n->hint_at);
	free(n);
}

size_t node_footprint(const struct node *n)
{
	size_t places = n->count + (size_t)1;
	size_t size = sizeof(*n) + n->canon_len + places * sizeof(*n->at);

	if (n->hint_at)
		size += n->hint_at[n->count] - n->canon_len + places * sizeof(*n->hint_at);
	return size;
}

struct span node_entry_bytes(const struct node *n, uint32_t i)
{
	return span_of(n->bytes + n->at[i], n->at[i + 1] - n->at[i]);
}

static struct cursor entry_cursor(const struct node *n, uint32_t i)
{
	return cursor_of(node_entry_bytes(n, i));
}

void node_dirent(const struct node *n, uint32_t i, struct dirent_rec *ret)
{
	struct cursor c = entry_cursor(n, i);
	struct entry_hint h;

	dirent_read(&c, ret);
	if (!ret->has_link) {
		node_entry_hint(n, i, &h);
		inode_hint_set(&ret->inode, &h);
	}
}

void node_link(const struct node *n, uint32_t i, struct link_rec *ret)
{
	struct cursor c = entry_cursor(n, i);
	struct entry_hint h;

	link_read(&c, ret);
	node_entry_hint(n, i, &h);
	inode_hint_set(&ret->inode, &h);
}

void node_extent(const struct node *n, uint32_t i, struct extent_rec *ret)
{
	struct cursor c = entry_cursor(n, i);
	struct entry_hint h;

	extent_read(&c, ret);
	node_entry_hint(n, i, &h);
	if (!ret->is_hole)
		ret->loc = h.loc;
}

void node_child(const struct node *n, uint32_t i, struct child_rec *ret)
{
	struct cursor c = entry_cursor(n, i);
	struct entry_hint h;

	child_read(&c, n->kind, ret);
	node_entry_hint(n, i, &h);
	ret->loc = h.loc;
}

struct span node_key(const struct node *n, uint32_t i)
{
	struct cursor c = entry_cursor(n, i);

	if (n->kind == TREE_EXTENTS)
		return (struct span){ 0 };
	if (n->level > 0)
		return rd_str16(&c, FILE_NAME_MAX);
	return n->kind == TREE_DIR ? rd_str8(&c, FILE_NAME_MAX)
				   : rd_bytes(&c, sizeof(struct id128));
}

struct tree_sum node_entry_sum(const struct node *n, uint32_t i)
{
	struct cursor c = entry_cursor(n, i);
	struct entry e = { 0 };

	entry_read(&c, n->kind, n->level, &e);
	return e.sum;
}

uint32_t node_search(const struct node *n, struct span key, bool *ret_equal)
{
	uint32_t low = 0, high = n->count;

	*ret_equal = false;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int order = span_cmp(node_key(n, mid), key);

		if (order < 0) {
			low = mid + 1;
		} else {
			high = mid;
			*ret_equal |= order == 0;
		}
	}
	return low;
}

int node_check_child(const struct node *parent, uint32_t i, const struct node *child)
{
	struct tree_sum promised = node_entry_sum(parent, i);

	if (child->kind != parent->kind || child->level + 1 != parent->level ||
	    !tree_sum_equal(&promised, &child->sum))
		return -EBADMSG;
	return span_equal(node_key(parent, i), node_key(child, 0)) ? 0 : -EBADMSG;
}

void node_canon_begin(struct buf *b, enum tree_kind kind, uint8_t level)
{
	envelope_head_put(b, NODE_MAGIC);
	buf_put_u8(b, (uint8_t)kind);
	buf_put_u8(b, level);
	buf_put_u16(b, 0);
	buf_put_u32(b, 0);
}

void node_canon_end(struct buf *b, uint32_t count)
{
	buf_set_u32(b, COUNT_AT, count);
}
