/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The check of lmdbpages.h: a walk over the trees of a snapshot, with nothing taken on trust.
 *
 * LMDB believes its pages: an offset that points out of one is followed, a free page that is in use
 * is given out again. So all that it believes is checked here:
 *
 *	meta page	root of the free pages' tree, root of the main tree, last page, transaction
 *	branch, leaf	header, offsets of nodes from its front, nodes from its end
 *	node		key, and a child's page number, or data, or the page where long data begin,
 *			or a tree's root (a named database, the duplicates of a key), or a small
 *			page with duplicates
 *	free record	key: a transaction; data: a count and so many page numbers, descending
 *
 * Integers are the machine's own, as LMDB writes them. Each page but the meta pages is reached
 * exactly once: in a tree, or in a free record.
 * Trees are walked with a stack as deep as LMDB's, and nest three deep (main, named, duplicates).
 */
#include "index/lmdbpages.h"

#include "base/cursor.h"

enum {
	META_MAGIC = 0xbeefc0de,
	META_VERSION = 1,

	PAGE_HEADER = 16,
	NODE_HEADER = 8,
	DB_SIZE = 48,
	LEVELS_MAX = 32,
	PAGE_SIZE_MIN = 512,
	PAGE_SIZE_MAX = 32768,
	KEY_MAX_SIZE = 511,

	/* flags of a page */
	PAGE_BRANCH = 0x01,
	PAGE_LEAF = 0x02,
	PAGE_OVERFLOW = 0x04,
	PAGE_META = 0x08,
	PAGE_DIRTY = 0x10, /* set in small pages, and means nothing there */
	PAGE_FIXED = 0x20, /* a leaf of keys of one size, without nodes */
	PAGE_SMALL = 0x40, /* in a node */

	/* of a node in a leaf */
	NODE_OVERFLOW = 0x01,
	NODE_TREE = 0x02,
	NODE_DUPLICATES = 0x04,

	/* of a database */
	DB_DUPLICATES = 0x04,
	DB_INTEGER_KEYS = 0x08,
	DB_FIXED = 0x10,
	DB_FLAGS_KNOWN = DB_DUPLICATES | DB_INTEGER_KEYS | DB_FIXED,
	ENV_FLAGS = 0x4001, /* an environment's own, kept with the free pages' tree */
};

#define NO_PAGE UINT64_MAX

struct db {
	uint32_t fixed_size; /* of keys in fixed leaves; of pages, in the free pages' tree */
	uint16_t flags;
	uint16_t depth;
	uint64_t root;
};

struct meta {
	struct db free, main;
	uint64_t last_page;
	uint64_t txnid;
};

/* What is being walked. */
enum tree {
	TREE_FREE,
	TREE_MAIN,
	TREE_NAMED,
	TREE_DUPLICATES,
};

struct check {
	struct span file;
	uint32_t page_size;
	uint64_t last_page;
	uint8_t *seen; /* a bit a page; owned */
	uint64_t seen_count;
};

struct page {
	const uint8_t *p;
	uint32_t size;
	uint32_t count;
	uint16_t flags, lower, upper, fixed_size;
};

struct node {
	struct span key;
	uint64_t child; /* in a branch */
	uint16_t flags; /* in a leaf, as all below */
	uint64_t data_size;
	struct span data; /* in the node itself */
};

static uint16_t rd_native16(struct cursor *c)
{
	uint16_t v;

	rd_copy(c, &v, sizeof(v));
	return v;
}

static uint32_t rd_native32(struct cursor *c)
{
	uint32_t v;

	rd_copy(c, &v, sizeof(v));
	return v;
}

static uint64_t rd_native64(struct cursor *c)
{
	uint64_t v;

	rd_copy(c, &v, sizeof(v));
	return v;
}

static struct db rd_db(struct cursor *c)
{
	struct db db = {
		.fixed_size = rd_native32(c),
		.flags = rd_native16(c),
		.depth = rd_native16(c),
	};

	rd_bytes(c, 4 * sizeof(uint64_t)); /* counts that LMDB only reports */
	db.root = rd_native64(c);
	return db;
}

static int read_meta(struct span page, struct meta *ret)
{
	struct cursor c = cursor_of(page);
	struct meta m;
	uint16_t flags;
	uint32_t magic, version;

	rd_bytes(&c, 10);
	flags = rd_native16(&c);
	rd_bytes(&c, 4);
	magic = rd_native32(&c);
	version = rd_native32(&c);
	rd_bytes(&c, 2 * sizeof(uint64_t)); /* address and size of a map */
	m.free = rd_db(&c);
	m.main = rd_db(&c);
	m.last_page = rd_native64(&c);
	m.txnid = rd_native64(&c);
	if (cursor_failed(&c) || !(flags & PAGE_META) || magic != META_MAGIC ||
	    version != META_VERSION)
		return -EBADMSG;
	*ret = m;
	return 0;
}

static int read_meta_page(struct span file, unsigned i, uint32_t page_size, struct meta *ret)
{
	if (file.len < (size_t)(i + 1) * page_size)
		return -EBADMSG;
	return read_meta(span_of(file.data + (size_t)i * page_size, page_size), ret);
}

int lmdb_metas_check(struct span file, uint64_t file_size)
{
	struct meta first, m;
	uint32_t page_size;
	int r;

	r = read_meta_page(file, 0, PAGE_SIZE_MIN, &first);
	if (r < 0)
		return r;
	page_size = first.free.fixed_size;
	if (page_size < PAGE_SIZE_MIN || page_size > PAGE_SIZE_MAX || (page_size & (page_size - 1)))
		return -EBADMSG;
	for (unsigned i = 0; i < 2; i++) {
		r = read_meta_page(file, i, page_size, &m);
		if (r < 0)
			return r;
		/* What lies beyond the file's end is free, and so is listed in it. */
		if (m.free.fixed_size != page_size ||
		    m.last_page > file_size / page_size + file_size / sizeof(uint64_t))
			return -EBADMSG;
		/* A transaction writes the meta page of its parity. */
		if (m.txnid > 0 && m.txnid % 2 != i)
			return -EBADMSG;
	}
	return 0;
}

/* Notes that a page is in use, or free. */
static int claim(struct check *c, uint64_t page)
{
	if (page < 2 || page > c->last_page || (c->seen[page / 8] & 1 << page % 8))
		return -EBADMSG;
	c->seen[page / 8] |= (uint8_t)(1 << page % 8);
	c->seen_count++;
	return 0;
}

static int read_page(const uint8_t *p, uint32_t size, struct page *ret)
{
	struct cursor c = cursor_of(span_of(p, size));
	struct page page = { .p = p, .size = size };

	rd_bytes(&c, sizeof(uint64_t));
	page.fixed_size = rd_native16(&c);
	page.flags = rd_native16(&c);
	page.lower = rd_native16(&c);
	page.upper = rd_native16(&c);
	if (cursor_failed(&c) || page.lower < PAGE_HEADER || page.lower % 2 ||
	    page.upper < page.lower || page.upper > size)
		return -EBADMSG;
	page.count = (page.lower - PAGE_HEADER) / 2;
	*ret = page;
	return page.count > 0 ? 0 : -EBADMSG;
}

/* Reaches a page of a tree for the first time. */
static int enter_page(struct check *c, uint64_t number, struct page *ret)
{
	struct cursor cursor;
	const uint8_t *p;
	int r;

	r = claim(c, number);
	if (r < 0)
		return r;
	if (c->file.len / c->page_size <= number)
		return -EBADMSG;
	p = c->file.data + number * c->page_size;
	cursor = cursor_of(span_of(p, c->page_size));
	if (rd_native64(&cursor) != number)
		return -EBADMSG;
	return read_page(p, c->page_size, ret);
}

static int read_node(const struct page *p, uint32_t i, struct node *ret)
{
	struct cursor c = cursor_of(span_of(p->p, p->size));
	struct node n = { 0 };
	uint16_t at, lo, hi, key_size;
	uint64_t inside;

	rd_bytes(&c, PAGE_HEADER + 2 * i);
	at = rd_native16(&c);
	if (at < p->upper || at % 2)
		return -EBADMSG;
	c = cursor_of(span_of(p->p, p->size));
	rd_bytes(&c, at);
	lo = rd_native16(&c);
	hi = rd_native16(&c);
	n.flags = rd_native16(&c);
	key_size = rd_native16(&c);
	n.key = rd_bytes(&c, key_size);
	if (key_size > KEY_MAX_SIZE)
		return -EBADMSG;
	if (p->flags & PAGE_BRANCH) {
		n.child = lo | (uint64_t)hi << 16 | (uint64_t)n.flags << 32;
	} else {
		n.data_size = lo | (uint64_t)hi << 16;
		inside = n.flags & NODE_OVERFLOW ? sizeof(uint64_t) : n.data_size;
		n.data = rd_bytes(&c, inside);
	}
	if (cursor_failed(&c))
		return -EBADMSG;
	*ret = n;
	return 0;
}

/* Nodes lie in the page, and no two at one place. */
static int check_nodes(const struct page *p)
{
	uint8_t taken[PAGE_SIZE_MAX / 8 / 2] = { 0 }; /* by two bytes */
	struct node n;
	int r;

	for (uint32_t i = 0; i < p->count; i++) {
		const uint8_t *end;
		size_t from;

		r = read_node(p, i, &n);
		if (r < 0)
			return r;
		end = p->flags & PAGE_BRANCH ? n.key.data + n.key.len : n.data.data + n.data.len;
		from = (size_t)(n.key.data - p->p) - NODE_HEADER;
		for (size_t at = from / 2; at < DIV_ROUND_UP((size_t)(end - p->p), 2); at++) {
			if (taken[at / 8] & 1 << at % 8)
				return -EBADMSG;
			taken[at / 8] |= (uint8_t)(1 << at % 8);
		}
	}
	return 0;
}

/* Data that begin on a page of their own. */
static int check_overflow(struct check *c, const struct node *n, struct span *ret_data)
{
	struct cursor cursor = cursor_of(n->data);
	uint64_t number = rd_native64(&cursor), first;
	uint16_t flags;
	uint32_t pages;
	const uint8_t *p;
	int r = 0;

	if (c->file.len / c->page_size <= number)
		return -EBADMSG;
	p = c->file.data + number * c->page_size;
	cursor = cursor_of(span_of(p, c->page_size));
	first = rd_native64(&cursor);
	rd_native16(&cursor);
	flags = rd_native16(&cursor);
	pages = rd_native32(&cursor);
	if (first != number || flags != PAGE_OVERFLOW || pages == 0 ||
	    pages > c->file.len / c->page_size - number ||
	    PAGE_HEADER + n->data_size > (uint64_t)pages * c->page_size)
		return -EBADMSG;
	for (uint32_t i = 0; i < pages && r == 0; i++)
		r = claim(c, number + i);
	*ret_data = span_of(p + PAGE_HEADER, n->data_size);
	return r;
}

/* The pages that one transaction freed. */
static int check_free_record(struct check *c, struct span data)
{
	struct cursor cursor = cursor_of(data);
	uint64_t count = rd_native64(&cursor), last = UINT64_MAX;

	if (cursor_failed(&cursor) || count > cursor_left(&cursor) / sizeof(uint64_t))
		return -EBADMSG;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t page = rd_native64(&cursor);
		int r;

		if (page >= last)
			return -EBADMSG;
		last = page;
		r = claim(c, page);
		if (r < 0)
			return r;
	}
	return 0;
}

static int compare(const struct db *db, struct span a, struct span b)
{
	uint64_t x = 0, y = 0;

	if (!(db->flags & DB_INTEGER_KEYS))
		return span_cmp(a, b);
	if (a.len == sizeof(uint32_t)) {
		struct cursor ca = cursor_of(a), cb = cursor_of(b);

		x = rd_native32(&ca);
		y = rd_native32(&cb);
	} else {
		struct cursor ca = cursor_of(a), cb = cursor_of(b);

		x = rd_native64(&ca);
		y = rd_native64(&cb);
	}
	return (x > y) - (x < y);
}

/* The order of keys, leaf by leaf and with what branches say between them. */
struct order {
	const struct db *db;
	struct span last; /* the last key of a leaf; no data: none yet */
	struct span floor; /* the next must not be below it; no data: no bound */
};

static int check_key(struct order *o, struct span key)
{
	bool is_integer = o->db->flags & DB_INTEGER_KEYS;

	if (is_integer ? key.len != sizeof(uint32_t) && key.len != sizeof(uint64_t) : key.len == 0)
		return -EBADMSG;
	return is_integer && o->last.data && o->last.len != key.len ? -EBADMSG : 0;
}

static int leaf_key(struct order *o, struct span key)
{
	if (check_key(o, key) < 0)
		return -EBADMSG;
	if (o->last.data && compare(o->db, key, o->last) <= 0)
		return -EBADMSG;
	if (o->floor.data && compare(o->db, key, o->floor) < 0)
		return -EBADMSG;
	o->last = key;
	o->floor = span_of(NULL, 0);
	return 0;
}

static int branch_key(struct order *o, struct span key)
{
	if (check_key(o, key) < 0 || !o->last.data || compare(o->db, key, o->last) <= 0)
		return -EBADMSG;
	o->floor = key;
	return 0;
}

static int check_fixed_leaf(const struct page *p, uint32_t key_size, struct order *o)
{
	if (key_size == 0 || p->fixed_size != key_size ||
	    PAGE_HEADER + (uint64_t)p->count * key_size + (p->upper - p->lower) > p->size)
		return -EBADMSG;
	for (uint32_t i = 0; i < p->count; i++)
		if (leaf_key(o, span_of(p->p + PAGE_HEADER + (size_t)i * key_size, key_size)) < 0)
			return -EBADMSG;
	return 0;
}

/* Duplicates that lie in a page within a node. */
static int check_small_page(const struct db *db, struct span data)
{
	struct db values = { .flags = 0 };
	struct order o = { .db = &values };
	struct node n;
	struct page p;
	int r;

	if (data.len > PAGE_SIZE_MAX)
		return -EBADMSG;
	r = read_page(data.data, (uint32_t)data.len, &p);
	if (r < 0)
		return r;
	p.flags &= (uint16_t)~PAGE_DIRTY;
	if (db->flags & DB_FIXED)
		return p.flags == (PAGE_LEAF | PAGE_SMALL | PAGE_FIXED)
			       ? check_fixed_leaf(&p, p.fixed_size, &o)
			       : -EBADMSG;
	if (p.flags != (PAGE_LEAF | PAGE_SMALL))
		return -EBADMSG;
	r = check_nodes(&p);
	for (uint32_t i = 0; i < p.count && r == 0; i++) {
		r = read_node(&p, i, &n);
		if (r == 0)
			r = n.flags == 0 && n.data_size == 0 ? leaf_key(&o, n.key) : -EBADMSG;
	}
	return r;
}

static int check_tree(struct check *c, enum tree kind, const struct db *db);

static int check_subtree(struct check *c, enum tree kind, struct span data)
{
	struct cursor cursor = cursor_of(data);
	struct db db = rd_db(&cursor);

	if (!cursor_at_end(&cursor) || db.flags & ~DB_FLAGS_KNOWN)
		return -EBADMSG;
	/* It holds the duplicates as keys. */
	if (kind == TREE_DUPLICATES && db.flags & ~DB_FIXED)
		return -EBADMSG;
	return check_tree(c, kind, &db);
}

static int check_leaf_node(struct check *c, enum tree kind, const struct db *db,
			   const struct node *n)
{
	struct span data = n->data;
	int r;

	switch (n->flags) {
	case NODE_OVERFLOW:
		if (kind == TREE_DUPLICATES || db->flags & DB_DUPLICATES)
			return -EBADMSG;
		r = check_overflow(c, n, &data);
		if (r < 0)
			return r;
		break;
	case NODE_TREE:
		return kind == TREE_MAIN ? check_subtree(c, TREE_NAMED, data) : -EBADMSG;
	case NODE_DUPLICATES:
		return db->flags & DB_DUPLICATES ? check_small_page(db, data) : -EBADMSG;
	case NODE_DUPLICATES | NODE_TREE:
		return db->flags & DB_DUPLICATES ? check_subtree(c, TREE_DUPLICATES, data)
						 : -EBADMSG;
	case 0:
		break;
	default:
		return -EBADMSG;
	}
	return kind == TREE_FREE ? check_free_record(c, data) : 0;
}

static int check_leaf(struct check *c, enum tree kind, const struct db *db, const struct page *p,
		      struct order *o)
{
	struct node n;
	int r;

	if (p->flags == (PAGE_LEAF | PAGE_FIXED) && kind == TREE_DUPLICATES)
		return db->flags & DB_FIXED ? check_fixed_leaf(p, db->fixed_size, o) : -EBADMSG;
	if (p->flags != PAGE_LEAF || (kind == TREE_DUPLICATES && db->flags & DB_FIXED))
		return -EBADMSG;
	r = check_nodes(p);
	for (uint32_t i = 0; i < p->count && r == 0; i++) {
		r = read_node(p, i, &n);
		if (r == 0)
			r = leaf_key(o, n.key);
		if (r == 0)
			r = check_leaf_node(c, kind, db, &n);
	}
	return r;
}

struct level {
	struct page page;
	uint32_t i; /* the child to visit next */
};

/* Goes down from a branch: the child's page. */
static int next_child(struct check *c, struct level *at, struct order *o, struct page *ret)
{
	struct node n;
	int r;

	r = read_node(&at->page, at->i, &n);
	/* The first key of a branch says nothing. */
	if (r == 0 && at->i > 0)
		r = branch_key(o, n.key);
	if (r == 0)
		r = enter_page(c, n.child, ret);
	at->i++;
	return r;
}

static int check_tree(struct check *c, enum tree kind, const struct db *db)
{
	struct level path[LEVELS_MAX];
	struct order o = { .db = db };
	unsigned depth = 1;
	int r;

	if (db->root == NO_PAGE)
		return db->depth == 0 ? 0 : -EBADMSG;
	if (db->depth == 0 || db->depth > LEVELS_MAX)
		return -EBADMSG;
	r = enter_page(c, db->root, &path[0].page);
	path[0].i = 0;
	while (r == 0 && depth > 0) {
		struct level *at = &path[depth - 1];

		if (depth == db->depth) {
			r = check_leaf(c, kind, db, &at->page, &o);
			depth--;
			continue;
		}
		/* LMDB does without nodes in a branch only while it writes. */
		if (at->i == 0 && (at->page.flags != PAGE_BRANCH || at->page.count < 2))
			return -EBADMSG;
		if (at->i == 0)
			r = check_nodes(&at->page);
		if (at->i == at->page.count) {
			depth--;
			continue;
		}
		if (r == 0)
			r = next_child(c, at, &o, &path[depth].page);
		path[depth].i = 0;
		depth++;
	}
	return r;
}

static int check_snapshot(struct check *c, const struct meta *m)
{
	struct db free = m->free;
	int r;

	free.flags &= (uint16_t)~ENV_FLAGS;
	if (free.flags != DB_INTEGER_KEYS || m->main.flags & ~DB_FLAGS_KNOWN)
		return -EBADMSG;
	r = check_tree(c, TREE_FREE, &free);
	if (r == 0)
		r = check_tree(c, TREE_MAIN, &m->main);
	if (r < 0)
		return r;
	return c->seen_count == m->last_page - 1 ? 0 : -EBADMSG;
}

int lmdb_pages_check(struct span file, uint64_t txnid)
{
	_cleanup_free_ uint8_t *seen = NULL;
	struct check c = { .file = file };
	struct meta m;
	int r;

	r = lmdb_metas_check(file, file.len);
	if (r < 0)
		return r;
	r = read_meta_page(file, 0, PAGE_SIZE_MIN, &m);
	if (r < 0)
		return r;
	c.page_size = m.free.fixed_size;
	r = read_meta_page(file, txnid & 1, c.page_size, &m);
	if (r < 0)
		return r;
	if (m.txnid != txnid)
		return -EAGAIN;
	c.last_page = m.last_page;
	c.seen = seen = calloc(1, m.last_page / 8 + 1);
	if (!seen)
		return -ENOMEM;
	r = check_snapshot(&c, &m);
	/* A meta page that was being written may have been half of each. */
	if (r == -EBADMSG &&
	    (read_meta_page(file, txnid & 1, c.page_size, &m) < 0 || m.txnid != txnid))
		r = -EAGAIN;
	return r;
}
