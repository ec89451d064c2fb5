/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Nodes, as bytes.
 */

#include "base/text.h"
#include "check.h"
#include "format/node.h"
#include "format/xattr.h"
#include "golden.h"

static const struct oid some_id = { { 1, 2, 3 } };

static struct inode a_file(uint64_t size)
{
	return (struct inode){ .type = FT_REG,
			       .mode = 0644,
			       .content = { .id = some_id, .size = size, .data = size } };
}

/* A node being made by hand. */
struct draft {
	struct buf canon;
	uint32_t count;
};

static struct draft draft_of(enum tree_kind kind, uint8_t level)
{
	struct draft d = { 0 };

	node_canon_begin(&d.canon, kind, level);
	return d;
}

static void draft_name(struct draft *d, const char *name)
{
	struct dirent_rec e = { .name = span_str(name), .inode = a_file(10) };

	dirent_put(&d->canon, &e);
	d->count++;
}

static void draft_link(struct draft *d, uint8_t first)
{
	struct link_rec l = { .link = { { first } }, .nlink = 2, .inode = a_file(10) };

	link_put(&d->canon, &l);
	d->count++;
}

static void draft_extent(struct draft *d, bool is_hole, uint64_t len)
{
	struct extent_rec x = { .is_hole = is_hole, .len = len, .id = some_id };

	extent_put(&d->canon, &x);
	d->count++;
}

static void draft_child(struct draft *d, enum tree_kind kind, struct span key, struct tree_sum sum)
{
	struct child_rec c = { .key = key, .id = some_id, .sum = sum };

	child_put(&d->canon, kind, &c);
	d->count++;
}

/* Parses and frees it. */
static int draft_end(struct draft *d, struct node **ret)
{
	struct node *n = NULL;
	int r;

	node_canon_end(&d->canon, d->count);
	assert_false(buf_failed(&d->canon));
	r = node_of_canon(buf_span(&d->canon), (struct span){ 0 }, &n);
	buf_release(&d->canon);
	if (ret)
		*ret = n;
	else
		node_unref(n);
	return r;
}

static void get_hex_line(FILE *f, struct buf *ret)
{
	_cleanup_free_ char *line = NULL;
	size_t cap = 0, n;

	assert_true(golden_line(f, &line, &cap));
	n = strlen(line) / 2;
	buf_clear(ret);
	assert_int_equal(hex_decode(line, 2 * n, buf_extend(ret, n)), 0);
}

/* The golden leaf as an item of a frame; where its canonical part ends. */
static struct oid golden_leaf(struct buf *item)
{
	_cleanup_buf_ struct buf canon = { 0 }, hint = { 0 }, id = { 0 };
	FILE *f = golden_open("leaf.txt");
	struct oid o;

	assert_non_null(f);
	get_hex_line(f, &canon);
	get_hex_line(f, &hint);
	get_hex_line(f, &id);
	fclose(f);
	buf_put_u32(item, (uint32_t)canon.len);
	buf_put(item, canon.data, canon.len);
	buf_put(item, hint.data, hint.len);
	memcpy(o.b, id.data, sizeof(o.b));
	return o;
}

static size_t canon_len(const struct buf *item)
{
	struct cursor c = cursor_of(buf_span(item));

	return rd_u32(&c);
}

static void the_golden_leaf_reads_as_it_always_did(void **state)
{
	static const char *const names[] = { "dir",  "empty",	"fifo",	  "linked",
					     "null", "regular", "sparse", "symlink" };
	_cleanup_(node_unrefp) struct node *n = NULL;
	_cleanup_buf_ struct buf item = { 0 };
	struct oid id = golden_leaf(&item);
	struct dirent_rec d[8];
	struct xattr x;
	struct cursor c;

	assert_int_equal(node_parse(&id, buf_span(&item), &n), 0);
	assert_int_equal(n->kind, TREE_DIR);
	assert_int_equal(n->level, 0);
	assert_int_equal(n->count, ARRAY_SIZE(names));
	assert_true(tree_sum_equal(&n->sum,
				   &(struct tree_sum){ 8, 2, 10, 15 + 5 + (1ull << 40), 0, true }));
	for (uint32_t i = 0; i < n->count; i++) {
		node_dirent(n, i, &d[i]);
		assert_true(span_equal(d[i].name, span_str(names[i])));
		assert_true(span_equal(node_key(n, i), d[i].name));
		assert_int_equal(d[i].has_link, i == 3);
		if (i != 3)
			assert_int_equal(d[i].inode.mtime.sec, i + 1 - (i > 3));
	}

	assert_int_equal(d[0].inode.dir.sum.files, 4);
	assert_int_equal(d[0].inode.dir.loc.pack.b[0], 0xa0);
	assert_int_equal(d[0].inode.dir.loc.offset, 4096);
	assert_int_equal(d[0].inode.dir.loc.frame_len, 777);
	assert_int_equal(d[0].inode.dir.loc.item, 2);
	assert_true(oid_is_null(&d[1].inode.dir.id));
	c = cursor_of(d[2].inode.xattrs.list);
	assert_true(xattr_next(&c, &x) && span_equal(x.value, span_str("xyz")));
	assert_int_equal(d[3].link.b[15], 9);
	assert_int_equal(d[3].inode.type, FT_REG);
	assert_int_equal(d[4].inode.dev.minor, 3);
	assert_true(span_equal(d[5].inode.content.inlined, span_str("hello")));
	assert_int_equal(d[5].inode.content.loc.pack.b[0], 0xb0);
	assert_int_equal(d[6].inode.content.kind, CONTENT_EXTENTS);
	assert_int_equal(d[6].inode.content.loc.frame_len, 0);
	assert_int_equal(d[6].inode.content.loc.item, 65535);
	assert_int_equal(d[7].inode.content.loc.state, LOC_NONE);
	assert_true(span_equal(d[7].inode.content.inlined, span_str("dir")));
}

static void the_golden_leaf_is_written_as_it_always_was(void **state)
{
	_cleanup_(node_unrefp) struct node *n = NULL;
	_cleanup_buf_ struct buf item = { 0 }, canon = { 0 }, hint = { 0 };
	struct oid id = golden_leaf(&item);
	struct entry_hint hints[8];
	struct dirent_rec d;

	assert_int_equal(node_parse(&id, buf_span(&item), &n), 0);
	node_canon_begin(&canon, TREE_DIR, 0);
	for (uint32_t i = 0; i < n->count; i++) {
		node_dirent(n, i, &d);
		dirent_put(&canon, &d);
		hints[i] = d.has_link ? (struct entry_hint){ 0 } : inode_hint_get(&d.inode);
	}
	node_canon_end(&canon, n->count);
	hint_put(&hint, hints, n->count);

	assert_true(span_equal(buf_span(&canon), span_of(item.data + 4, canon_len(&item))));
	assert_true(span_equal(buf_span(&hint),
			       span_of(item.data + 4 + canon.len, item.len - 4 - canon.len)));
}

static void any_changed_byte_of_the_canonical_part_is_refused(void **state)
{
	_cleanup_buf_ struct buf item = { 0 };
	struct oid id = golden_leaf(&item);
	struct node *n;

	for (size_t i = 0; i < 4 + canon_len(&item); i++) {
		item.data[i] ^= 1;
		assert_int_equal(node_parse(&id, buf_span(&item), &n), -EBADMSG);
		item.data[i] ^= 1;
	}
	for (size_t len = 0; len < 4 + canon_len(&item); len++)
		assert_int_equal(node_parse(&id, span_of(item.data, len), &n), -EBADMSG);
	id.b[31] ^= 1;
	assert_int_equal(node_parse(&id, buf_span(&item), &n), -EBADMSG);
}

/* The entries alone, written again, with the header they had. */
static void assert_is_canonical(const struct node *n, struct span canon)
{
	_cleanup_buf_ struct buf b = { 0 };

	node_canon_begin(&b, n->kind, n->level);
	for (uint32_t i = 0; i < n->count; i++) {
		struct child_rec c;
		struct dirent_rec d;

		if (n->level > 0) {
			node_child(n, i, &c);
			child_put(&b, n->kind, &c);
		} else if (n->kind == TREE_DIR) {
			node_dirent(n, i, &d);
			dirent_put(&b, &d);
		} else {
			struct span s = node_entry_bytes(n, i);

			buf_put(&b, s.data, s.len);
		}
	}
	node_canon_end(&b, n->count);
	assert_true(span_equal(buf_span(&b), canon));
}

/* With an id that fits, which an adversary can have. */
static void no_two_byte_strings_are_the_same_node(void **state)
{
	_cleanup_buf_ struct buf item = { 0 };
	unsigned accepted = 0, refused = 0;
	struct span canon;

	golden_leaf(&item);
	canon = span_of(item.data + 4, canon_len(&item));
	for (size_t i = 0; i < 256 * canon.len; i++) {
		uint8_t *byte = item.data + 4 + i / 256, was = *byte;
		struct node *n = NULL;

		*byte = (uint8_t)i;
		if (node_of_canon(canon, (struct span){ 0 }, &n) == 0) {
			assert_is_canonical(n, canon);
			accepted++;
		} else {
			refused++;
		}
		node_unref(n);
		*byte = was;
	}
	assert_true(accepted > 10000 && refused > 10000);
}

static void a_broken_hint_part_is_no_hint_part(void **state)
{
	_cleanup_buf_ struct buf item = { 0 };
	struct oid id = golden_leaf(&item);
	size_t hint_at = 4 + canon_len(&item);
	unsigned without = 0;

	for (size_t i = 256 * hint_at; i < 256 * item.len; i++) {
		_cleanup_(node_unrefp) struct node *n = NULL;
		uint8_t was = item.data[i / 256];
		struct dirent_rec d;

		item.data[i / 256] = (uint8_t)i;
		assert_int_equal(node_parse(&id, buf_span(&item), &n), 0);
		without += !n->hint_at;
		for (uint32_t k = 0; k < n->count; k++)
			node_dirent(n, k, &d);
		item.data[i / 256] = was;
	}
	assert_true(without > 1000);
	for (size_t len = hint_at; len < item.len; len++) {
		_cleanup_(node_unrefp) struct node *n = NULL;
		struct entry_hint h;

		assert_int_equal(node_parse(&id, span_of(item.data, len), &n), 0);
		node_entry_hint(n, 0, &h);
		assert_int_equal(h.loc.state, LOC_NONE);
		assert_int_equal(h.inlined.len, 0);
	}
}

static void a_hint_part_over_its_limit_is_no_hint_part(void **state)
{
	/* Nothing else is wrong with it: a full pack table, and content for each of the eight. */
	enum {
		PACKS = UINT16_MAX,
		EACH = 1 + 2 + INLINE_MAX
	};

	for (unsigned inlined = 0; inlined <= 8; inlined += 8) {
		_cleanup_(node_unrefp) struct node *n = NULL;
		_cleanup_buf_ struct buf item = { 0 };
		static const uint8_t zeroes[16 * PACKS];
		struct oid id = golden_leaf(&item);
		size_t hint_at = 4 + canon_len(&item);

		item.len = hint_at;
		buf_put_u8(&item, 1);
		buf_put_u8(&item, 0);
		buf_put_u16(&item, PACKS);
		buf_put(&item, zeroes, sizeof(zeroes));
		for (unsigned i = 0; i < 8; i++) {
			buf_put_u8(&item, i < inlined ? 4 : 0);
			if (i < inlined)
				buf_put_str16(&item, span_of(zeroes, INLINE_MAX));
		}
		assert_int_equal(item.len - hint_at > NODE_HINT_MAX, inlined > 0);
		assert_int_equal(node_parse(&id, buf_span(&item), &n), 0);
		assert_int_equal(n->hint_at == NULL, inlined > 0);
		assert_int_equal(node_footprint(n) < 4096, inlined > 0);
	}
}

static void headers_that_are_wrong_are_refused(void **state)
{
	static const struct {
		uint8_t at, value;
	} cases[] = {
		{ 0, 'P' }, { 4, 2 },  { 4, 0 },  { 5, 1 },  { 6, 1 },	{ 7, 0x80 }, { 8, 0 },
		{ 8, 4 },   { 8, 2 },  { 8, 3 },  { 9, 1 },  { 9, 16 }, { 9, 255 },  { 10, 1 },
		{ 11, 1 },  { 12, 0 }, { 12, 1 }, { 12, 3 }, { 15, 1 }, { 15, 255 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct draft d = draft_of(TREE_DIR, 0);
		struct node *n;

		draft_name(&d, "a");
		draft_name(&d, "b");
		node_canon_end(&d.canon, d.count);
		assert_int_not_equal(d.canon.data[cases[i].at], cases[i].value);
		d.canon.data[cases[i].at] = cases[i].value;
		if (node_of_canon(buf_span(&d.canon), (struct span){ 0 }, &n) != -EBADMSG)
			fail_msg("case %zu was accepted", i);
		buf_release(&d.canon);
	}
}

static void an_empty_node_is_none(void **state)
{
	struct draft d = draft_of(TREE_DIR, 0);

	assert_int_equal(draft_end(&d, NULL), -EBADMSG);
}

static void names_must_ascend(void **state)
{
	static const struct {
		const char *first, *second;
		int r;
	} cases[] = {
		{ "a", "b", 0 },	   { "a", "ab", 0 },	   { "a", "\xff", 0 },
		{ "b", "a", -EBADMSG },	   { "a", "a", -EBADMSG }, { "ab", "a", -EBADMSG },
		{ "\xff", "a", -EBADMSG },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct draft d = draft_of(TREE_DIR, 0);

		draft_name(&d, cases[i].first);
		draft_name(&d, cases[i].second);
		assert_int_equal(draft_end(&d, NULL), cases[i].r);
	}
	for (uint8_t second = 1; second < 4; second++) {
		struct draft d = draft_of(TREE_LINKS, 0);

		draft_link(&d, 2);
		draft_link(&d, second);
		assert_int_equal(draft_end(&d, NULL), second > 2 ? 0 : -EBADMSG);
	}
}

static void two_holes_do_not_lie_side_by_side(void **state)
{
	struct draft d = draft_of(TREE_EXTENTS, 0);
	_cleanup_(node_unrefp) struct node *n = NULL;
	struct extent_rec x;

	draft_extent(&d, true, 4096);
	draft_extent(&d, false, 100);
	draft_extent(&d, false, 100);
	draft_extent(&d, true, 4096);
	assert_int_equal(draft_end(&d, &n), 0);
	assert_true(tree_sum_equal(&n->sum,
				   &(struct tree_sum){ .items = 4, .bytes = 8392, .data = 200 }));
	assert_int_equal(node_key(n, 1).len, 0);
	node_extent(n, 1, &x);
	assert_true(!x.is_hole && x.len == 100 && oid_equal(&x.id, &some_id));

	d = draft_of(TREE_EXTENTS, 0);
	draft_extent(&d, true, 4096);
	draft_extent(&d, true, 4096);
	assert_int_equal(draft_end(&d, NULL), -EBADMSG);
}

static void children_of_every_kind_read_as_they_were_written(void **state)
{
	static const uint8_t link[16] = { 7 };
	struct tree_sum sums[] = {
		[TREE_DIR] = { 5, 2, 100, 1000, 0, true },
		[TREE_LINKS] = { .items = 6 },
		[TREE_EXTENTS] = { .items = 7, .bytes = 100, .data = 50 },
	};
	struct span keys[] = {
		[TREE_DIR] = span_str("name"),
		[TREE_LINKS] = span_of(link, sizeof(link)),
		[TREE_EXTENTS] = { 0 },
	};

	for (enum tree_kind kind = TREE_DIR; kind <= TREE_EXTENTS; kind++) {
		struct draft d = draft_of(kind, 15);
		_cleanup_(node_unrefp) struct node *n = NULL;
		struct child_rec c;

		draft_child(&d, kind, keys[kind], sums[kind]);
		assert_int_equal(draft_end(&d, &n), 0);
		node_child(n, 0, &c);
		assert_true(span_equal(c.key, keys[kind]));
		assert_true(span_equal(node_key(n, 0), keys[kind]));
		assert_true(oid_equal(&c.id, &some_id));
		assert_true(tree_sum_equal(&c.sum, &sums[kind]));
		assert_true(tree_sum_equal(&n->sum, &sums[kind]));
		assert_int_equal(c.loc.state, LOC_NONE);
	}
}

static void children_that_cannot_be_are_refused(void **state)
{
	struct tree_sum one = { .items = 1 };
	struct tree_sum none = { 0 }, subdirs = { .items = 1, .subdirs = 2 };
	struct tree_sum data = { .items = 1, .bytes = 1, .data = 2 };
	struct child_rec null = { .key = span_str("a"), .sum = one };
	static const struct {
		const char *key;
		int r;
	} keys[] = { { "a", 0 }, { "", -EBADMSG }, { "..", -EBADMSG }, { "a/b", -EBADMSG } };
	struct draft d;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		d = draft_of(TREE_DIR, 1);
		draft_child(&d, TREE_DIR, span_str(keys[i].key), one);
		assert_int_equal(draft_end(&d, NULL), keys[i].r);
	}
	d = draft_of(TREE_LINKS, 1);
	draft_child(&d, TREE_LINKS, span_str("not sixteen"), one);
	assert_int_equal(draft_end(&d, NULL), -EBADMSG);
	d = draft_of(TREE_DIR, 1);
	draft_child(&d, TREE_DIR, span_str("a"), none);
	assert_int_equal(draft_end(&d, NULL), -EBADMSG);
	d = draft_of(TREE_DIR, 1);
	draft_child(&d, TREE_DIR, span_str("a"), subdirs);
	assert_int_equal(draft_end(&d, NULL), -EBADMSG);
	d = draft_of(TREE_EXTENTS, 1);
	draft_child(&d, TREE_EXTENTS, (struct span){ 0 }, data);
	assert_int_equal(draft_end(&d, NULL), -EBADMSG);
	d = draft_of(TREE_DIR, 1);
	child_put(&d.canon, TREE_DIR, &null);
	d.count = 1;
	assert_int_equal(draft_end(&d, NULL), -EBADMSG);
	d = draft_of(TREE_DIR, 1);
	draft_child(&d, TREE_DIR, span_str("a"), one);
	draft_child(&d, TREE_DIR, span_str("a"), one);
	assert_int_equal(draft_end(&d, NULL), -EBADMSG);
}

static void a_node_is_no_larger_than_a_node_may_be(void **state)
{
	/* Together exactly as much. */
	enum {
		CHUNKS = 3196,
		HOLES = 4
	};

	_Static_assert(CHUNKS * 41 + HOLES * 9 == NODE_MAX, "sizes of extents");
	for (unsigned more = 0; more < 2; more++) {
		struct draft d = draft_of(TREE_EXTENTS, 0);

		for (unsigned i = 0; i < CHUNKS; i++) {
			draft_extent(&d, false, 1);
			if (i < HOLES + more)
				draft_extent(&d, true, 1);
		}
		assert_int_equal(draft_end(&d, NULL), more ? -EBADMSG : 0);
	}
}

static void sums_stop_at_the_top(void **state)
{
	struct tree_sum huge = { .items = UINT64_MAX, .bytes = UINT64_MAX, .data = UINT64_MAX - 1 };
	struct draft d = draft_of(TREE_EXTENTS, 1);
	_cleanup_(node_unrefp) struct node *n = NULL;

	draft_child(&d, TREE_EXTENTS, (struct span){ 0 }, huge);
	draft_child(&d, TREE_EXTENTS, (struct span){ 0 }, huge);
	assert_int_equal(draft_end(&d, &n), 0);
	assert_true(tree_sum_equal(&n->sum, &(struct tree_sum){ .items = UINT64_MAX,
								.bytes = UINT64_MAX,
								.data = UINT64_MAX }));
}

static void search_finds_the_first_that_is_not_below(void **state)
{
	static const struct {
		const char *key;
		uint32_t i;
		bool is_equal;
	} cases[] = {
		{ "a", 0 },	   { "b", 0, true }, { "ba", 1 }, { "d", 1, true },
		{ "dd", 2, true }, { "de", 3 },	     { "z", 3 },
	};
	struct draft d = draft_of(TREE_DIR, 0);
	_cleanup_(node_unrefp) struct node *n = NULL;

	draft_name(&d, "b");
	draft_name(&d, "d");
	draft_name(&d, "dd");
	assert_int_equal(draft_end(&d, &n), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool is_equal;

		assert_int_equal(node_search(n, span_str(cases[i].key), &is_equal), cases[i].i);
		assert_int_equal(is_equal, cases[i].is_equal);
	}
}

static void a_child_is_what_its_parent_says(void **state)
{
	struct draft leaf = draft_of(TREE_DIR, 0), other = draft_of(TREE_LINKS, 0);
	_cleanup_(node_unrefp) struct node *child = NULL, *parent = NULL, *links = NULL;
	_cleanup_(node_unrefp) struct node *wrong_key = NULL, *wrong_sum = NULL,
					   *wrong_level = NULL;
	struct draft d = draft_of(TREE_DIR, 1);
	struct tree_sum sum;

	draft_name(&leaf, "b");
	draft_name(&leaf, "c");
	draft_link(&other, 1);
	assert_int_equal(draft_end(&leaf, &child), 0);
	assert_int_equal(draft_end(&other, &links), 0);
	sum = child->sum;

	draft_child(&d, TREE_DIR, span_str("b"), sum);
	assert_int_equal(draft_end(&d, &parent), 0);
	assert_int_equal(node_check_child(parent, 0, child), 0);
	assert_int_equal(node_check_child(parent, 0, links), -EBADMSG);
	assert_int_equal(node_check_child(parent, 0, parent), -EBADMSG);

	d = draft_of(TREE_DIR, 1);
	draft_child(&d, TREE_DIR, span_str("a"), sum);
	assert_int_equal(draft_end(&d, &wrong_key), 0);
	assert_int_equal(node_check_child(wrong_key, 0, child), -EBADMSG);
	d = draft_of(TREE_DIR, 2);
	draft_child(&d, TREE_DIR, span_str("b"), sum);
	assert_int_equal(draft_end(&d, &wrong_level), 0);
	assert_int_equal(node_check_child(wrong_level, 0, child), -EBADMSG);
	sum.bytes++;
	d = draft_of(TREE_DIR, 1);
	draft_child(&d, TREE_DIR, span_str("b"), sum);
	assert_int_equal(draft_end(&d, &wrong_sum), 0);
	assert_int_equal(node_check_child(wrong_sum, 0, child), -EBADMSG);
}

static void a_node_lives_until_its_last_reference_goes(void **state)
{
	struct draft d = draft_of(TREE_DIR, 0);
	struct node *n;

	draft_name(&d, "a");
	assert_int_equal(draft_end(&d, &n), 0);
	assert_ptr_equal(node_ref(n), n);
	node_unref(n);
	assert_true(span_equal(node_key(n, 0), span_str("a")));
	node_unref(n);
	node_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_golden_leaf_reads_as_it_always_did),
		cmocka_unit_test(the_golden_leaf_is_written_as_it_always_was),
		cmocka_unit_test(any_changed_byte_of_the_canonical_part_is_refused),
		cmocka_unit_test(no_two_byte_strings_are_the_same_node),
		cmocka_unit_test(a_broken_hint_part_is_no_hint_part),
		cmocka_unit_test(a_hint_part_over_its_limit_is_no_hint_part),
		cmocka_unit_test(headers_that_are_wrong_are_refused),
		cmocka_unit_test(an_empty_node_is_none),
		cmocka_unit_test(names_must_ascend),
		cmocka_unit_test(two_holes_do_not_lie_side_by_side),
		cmocka_unit_test(children_of_every_kind_read_as_they_were_written),
		cmocka_unit_test(children_that_cannot_be_are_refused),
		cmocka_unit_test(a_node_is_no_larger_than_a_node_may_be),
		cmocka_unit_test(sums_stop_at_the_top),
		cmocka_unit_test(search_finds_the_first_that_is_not_below),
		cmocka_unit_test(a_child_is_what_its_parent_says),
		cmocka_unit_test(a_node_lives_until_its_last_reference_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
