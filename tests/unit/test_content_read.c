/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A file's content reads as it was written, whatever it is made of, and never as anything else.
 */
#include "format/hint.h"
#include "format/xattr.h"
#include "reader_world.h"
#include "tree/edit.h"

enum {
	FILE_MAX_LEN = 3 << 20
};

/* Nodes go into the world's pack, as a packer would put them. */
struct pack_sink {
	struct node_sink base;
	struct world *world;
};

static int sink_put(struct node_sink *s, struct span canon, const struct entry_hint *hints,
		    uint32_t n, struct oid *ret_id, struct loc *ret_loc)
{
	struct world *w = container_of(s, struct pack_sink, base)->world;
	_cleanup_buf_ struct buf item = { 0 };

	buf_put_u32(&item, (uint32_t)canon.len);
	buf_put(&item, canon.data, canon.len);
	hint_put(&item, hints, n);
	assert_false(buf_failed(&item));
	*ret_id = oid_of(OID_NODE, canon.data, canon.len);
	made_pack_add(w->pack, OID_NODE, ret_id, buf_span(&item));
	/* Its place is not known yet: the index will tell. */
	*ret_loc = LOC_NOWHERE;
	return 0;
}

static int no_node(struct node_source *s, const struct oid *id, const struct loc *hint,
		   struct node **ret)
{
	return -ENOENT;
}

/* A file in memory, and the content that it becomes. */
struct made_file {
	uint8_t *bytes;
	uint64_t size;
	struct content content;
};

static void file_free(struct made_file *f)
{
	free(f->bytes);
}

/* Cuts a file into extents at random: chunks of @chunk_max at most, and holes. */
static void file_make(struct world *w, uint64_t size, uint32_t chunk_max, struct made_file *f)
{
	struct pack_sink sink = { .base = { .put = sink_put }, .world = w };
	struct node_source source = { .get = no_node };
	_cleanup_(tree_edit_freep) struct tree_edit *e = NULL;
	struct prng *p = &w->random;
	struct tree_root root;
	bool was_hole = false;

	f->bytes = calloc(1, size);
	f->size = size;
	assert_ok(tree_edit_new(TREE_EXTENTS, &source, &sink.base, NULL, &e));
	for (uint64_t at = 0; at < size;) {
		uint64_t left = size - at, len = 1 + prng_below(p, MIN(left, (uint64_t)chunk_max));
		struct extent_rec x = { .is_hole = !was_hole && prng_below(p, 4) == 0 };
		/* Holes begin and end at blocks, so chunks before them do. */
		uint64_t next = ALIGN_UP(at + len, 4096ul);

		len = next < size ? next - at : left;
		if (len > chunk_max && !x.is_hole)
			len = MIN(left, (uint64_t)ALIGN_DOWN(chunk_max, 4096u));
		x.len = len;
		if (!x.is_hole) {
			prng_fill(p, f->bytes + at, len);
			x.id = made_pack_add_chunk(w->pack, span_of(f->bytes + at, len));
			x.loc = LOC_NOWHERE;
			f->content.data += len;
		}
		was_hole = x.is_hole;
		assert_ok(extents_edit_put(e, &x));
		at += len;
	}
	assert_ok(tree_edit_finish(e, &root));
	f->content.kind = CONTENT_EXTENTS;
	f->content.id = root.id;
	f->content.size = size;
	f->content.loc = LOC_NOWHERE;
}

static void assert_reads(struct world *w, const struct made_file *f, uint64_t off, size_t len,
			 struct access *acc)
{
	uint8_t *got = malloc(len + 1);
	uint64_t want = off < f->size ? MIN((uint64_t)len, f->size - off) : 0;
	int64_t n = content_read(w->reader, &f->content, off, len, got, acc);

	if (n != (int64_t)want)
		fail_msg("%zu bytes at %llu of %llu: %lld", len, (unsigned long long)off,
			 (unsigned long long)f->size, (long long)n);
	assert_memory_equal(got, f->bytes + off, want);
	free(got);
}

static void extents_and_holes_read_as_the_file(void **state)
{
	static const uint32_t chunk_max[] = { 4096, 20000, 300000 };
	struct world *w = *state;
	struct made_file files[3] = { 0 };

	for (size_t i = 0; i < 3; i++)
		file_make(w, 1000000 + 12345 * i, chunk_max[i], &files[i]);
	pack_store(w);
	pack_tell_index(w);
	for (size_t i = 0; i < 3; i++) {
		struct made_file *f = &files[i];

		assert_reads(w, f, 0, f->size + 100, NULL);
		assert_reads(w, f, f->size - 1, 10, NULL);
		assert_reads(w, f, f->size, 10, NULL);
		assert_reads(w, f, f->size + 1000000, 10, NULL);
		assert_reads(w, f, 5, 0, NULL);
		for (int k = 0; k < 300; k++)
			assert_reads(w, f, prng_below(&w->random, f->size),
				     prng_below(&w->random, k % 10 ? 10000 : 300000), NULL);
		file_free(f);
	}
}

static void at_hand_a_read_that_spans_many_chunks_comes_to_an_end(void **state)
{
	struct world *w = *state;
	struct made_file f = { 0 };
	struct access acc;
	uint8_t *got = malloc(FILE_MAX_LEN);
	int rounds = 0;
	int64_t n;

	file_make(w, 400000, 70000, &f);
	pack_store(w);
	pack_tell_index(w);
	reader_start(w, 1, 1);
	access_init(&acc, w->reader, true);
	do {
		access_at_hand(&acc);
		n = content_read(w->reader, &f.content, 0, f.size, got, &acc);
		rounds++;
	} while (n == -EAGAIN && (n = access_wait(&acc)) == 0 && rounds < 1000);
	assert_int_equal(n, (int64_t)f.size);
	assert_memory_equal(got, f.bytes, f.size);
	access_release(&acc);
	file_free(&f);
	free(got);
}

static void the_chunks_of_one_read_come_side_by_side(void **state)
{
	struct world *w = *state;
	struct made_file f = { 0 };
	int64_t start;

	file_make(w, FILE_MAX_LEN, 300000, &f);
	made_pack_cut(w->pack);
	pack_store(w);
	pack_tell_index(w);
	assert_reads(w, &f, 0, 1, NULL); /* the nodes are here */
	fault_add(w, (struct fault){ .op = FAULT_GET, .kind = FAULT_DELAY, .delay_ms = 60 });
	start = now_ns();
	assert_reads(w, &f, 0, f.size, NULL);
	/* One after another they would take this long. */
	assert_true(now_ns() - start < (int64_t)counts_of(w).calls[FAULT_GET] * 60000000 * 9 / 10);
	file_free(&f);
}

static void a_prefetch_brings_what_it_says(void **state)
{
	struct world *w = *state;
	struct made_file f = { 0 };
	struct deadline dl = deadline_in_ms(5000);
	struct access acc;
	uint8_t byte;

	file_make(w, 500000, 200000, &f);
	pack_store(w);
	pack_tell_index(w);
	access_init(&acc, w->reader, false);
	/* No node is here: nothing is asked for. */
	assert_int_equal(content_prefetch(w->reader, &f.content, 0, 500000), 0);
	assert_int_equal(counts_of(w).calls[FAULT_GET], 0);
	assert_reads(w, &f, 0, 1, NULL);
	assert_int_equal(content_prefetch(w->reader, &f.content, 450000, 50000), 500000);
	do
		access_at_hand(&acc);
	while (content_read(w->reader, &f.content, 499999, 1, &byte, &acc) == -EAGAIN &&
	       deadline_check(&dl) == 0);
	assert_int_equal(byte, f.bytes[499999]);
	access_release(&acc);
	file_free(&f);
}

static void one_chunk_is_read_as_long_as_the_file_says(void **state)
{
	struct world *w = *state;
	uint8_t want[5000], got[6000];
	struct content c = { .id = chunk_add(w, 1, 5000), .size = 5000, .data = 5000 };

	pack_store(w);
	c.loc = made_pack_loc(w->pack, 0);
	chunk_fill(1, want, 5000);
	assert_int_equal(content_read(w->reader, &c, 0, 6000, got, NULL), 5000);
	assert_memory_equal(got, want, 5000);
	assert_int_equal(content_read(w->reader, &c, 4990, 100, got, NULL), 10);
	assert_memory_equal(got, want + 4990, 10);
	/* A file that claims to be longer than its chunk. */
	c.size = 5001;
	assert_int_equal(content_read(w->reader, &c, 0, 5001, got, NULL), -EBADMSG);
	c.size = UINT64_MAX;
	assert_int_equal(content_read(w->reader, &c, 0, 10, got, NULL), -EBADMSG);
}

static void an_empty_file_needs_nothing(void **state)
{
	struct world *w = *state;
	struct content c = { .id = *oid_empty_chunk() };
	uint8_t byte;

	assert_int_equal(content_read(w->reader, &c, 0, 1, &byte, NULL), 0);
	assert_int_equal(counts_of(w).calls[FAULT_LIST], 0);
}

static void inlined_bytes_are_believed_when_they_are_right(void **state)
{
	struct world *w = *state;
	uint8_t bytes[100], wrong[100], got[100];
	struct content c = { .id = chunk_add(w, 1, 100), .size = 100 };

	pack_store(w);
	chunk_fill(1, bytes, 100);
	memset(wrong, 7, 100);
	c.loc = made_pack_loc(w->pack, 0);
	c.inlined = span_of(bytes, 100);
	assert_int_equal(content_read(w->reader, &c, 10, 100, got, NULL), 90);
	assert_memory_equal(got, bytes + 10, 90);
	assert_int_equal(counts_of(w).calls[FAULT_GET], 0);

	c.inlined = span_of(wrong, 100);
	assert_int_equal(content_read(w->reader, &c, 0, 100, got, NULL), 100);
	assert_memory_equal(got, bytes, 100);
	assert_int_equal(counts_of(w).calls[FAULT_GET], 1);
	c.inlined = span_of(bytes, 50);
	assert_int_equal(content_read(w->reader, &c, 0, 100, got, NULL), 100);
	assert_memory_equal(got, bytes, 100);
}

static void a_tree_that_is_not_the_files_is_refused(void **state)
{
	struct world *w = *state;
	struct made_file f = { 0 };
	uint8_t *got = malloc(FILE_MAX_LEN);
	struct content c;

	file_make(w, 300000, 50000, &f);
	pack_store(w);
	pack_tell_index(w);
	c = f.content;
	c.size += 4096;
	assert_int_equal(content_read(w->reader, &c, 0, c.size, got, NULL), -EBADMSG);
	c.size = UINT64_MAX;
	assert_int_equal(content_read(w->reader, &c, 1ull << 60, 10, got, NULL), -EBADMSG);
	c = f.content;
	c.id = sample_oid(&w->random);
	log_set_quiet(true);
	assert_int_equal(content_read(w->reader, &c, 0, 10, got, NULL), -EIO);
	log_set_quiet(false);
	file_free(&f);
	free(got);
}

static void xattrs_come_from_where_they_lie(void **state)
{
	struct world *w = *state;
	_cleanup_buf_ struct buf list = { 0 }, large = { 0 }, got = { 0 };
	struct xattrs x = { 0 };
	struct span value = span_str("value");
	uint8_t big[5000] = { 1 };
	struct span big_value = span_of(big, sizeof(big));

	assert_ok(xattrs_load(w->reader, &x, NULL, &got));
	assert_int_equal(got.len, 0);
	assert_ok(xattr_set((struct span){ 0 }, span_str("user.a"), &value, &list));
	x.list = buf_span(&list);
	assert_ok(xattrs_load(w->reader, &x, NULL, &got));
	assert_true(span_equal(buf_span(&got), buf_span(&list)));

	assert_ok(xattr_set(buf_span(&list), span_str("user.b"), &big_value, &large));
	x = (struct xattrs){ .large_len = (uint32_t)large.len };
	x.large = made_pack_add_chunk(w->pack, buf_span(&large));
	pack_store(w);
	pack_tell_index(w);
	assert_ok(xattrs_load(w->reader, &x, NULL, &got));
	assert_true(span_equal(buf_span(&got), buf_span(&large)));
	x.large_len--;
	assert_int_equal(xattrs_load(w->reader, &x, NULL, &got), -EBADMSG);
	x.large = sample_oid(&w->random);
	log_set_quiet(true);
	assert_int_equal(xattrs_load(w->reader, &x, NULL, &got), -EIO);
	log_set_quiet(false);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(extents_and_holes_read_as_the_file),
		TEST(at_hand_a_read_that_spans_many_chunks_comes_to_an_end),
		TEST(the_chunks_of_one_read_come_side_by_side),
		TEST(a_prefetch_brings_what_it_says),
		TEST(one_chunk_is_read_as_long_as_the_file_says),
		TEST(an_empty_file_needs_nothing),
		TEST(inlined_bytes_are_believed_when_they_are_right),
		TEST(a_tree_that_is_not_the_files_is_refused),
		TEST(xattrs_come_from_where_they_lie),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
