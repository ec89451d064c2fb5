/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sessions: whatever the way to a tree, it is the same tree, and can be read with no index.
 */
#include <malloc.h>

#include "base/log.h"
#include "format/xattr.h"
#include "index/index.h"
#include "sessionmodel.h"

#define SMALL_PARAMS ((struct chunk_params){ 1024, 4096, 16384 })

/* A snapshot that outlives its session. */
struct kept {
	struct snapshot snap;
	struct buf xattrs;
	struct packer_stats stats;
};

static void kept_release(struct kept *k)
{
	buf_release(&k->xattrs);
}

static struct session *session_of(struct storestand *s, bool is_large)
{
	struct session_options o = { .store = &s->store,
				     .chunk = SMALL_PARAMS,
				     .is_large = is_large };
	struct session *x;

	assert_ok(session_new(&o, &x));
	return x;
}

/* Ends the session, which is freed; the index learns of its packs. */
static void keep(struct session *x, const struct tree_root *base_links, struct kept *ret)
{
	*ret = (struct kept){ 0 };
	assert_ok(session_finish(x, base_links, &ret->snap));
	buf_put(&ret->xattrs, ret->snap.root.xattrs.list.data, ret->snap.root.xattrs.list.len);
	ret->snap.root.xattrs.list = buf_span(&ret->xattrs);
	packer_stats(session_packer(x), &ret->stats);
	packer_tell_index(session_packer(x));
	session_free(x);
}

static void assert_same_tree(const struct snapshot *a, const struct snapshot *b)
{
	assert_memory_equal(&a->root.dir.id, &b->root.dir.id, sizeof(a->root.dir.id));
	assert_memory_equal(&a->links.id, &b->links.id, sizeof(a->links.id));
	assert_true(inode_equal(&a->root, &b->root));
}

static struct mfile *random_tree(struct prng *r, unsigned changes)
{
	struct mfile *root = mfile_new(r, FT_DIR);

	mtree_change(r, root, changes);
	return root;
}

static void a_tree_is_the_same_whatever_the_way_to_it(void **state)
{
	struct storestand *s = *state;
	struct prng r = { 1 };

	for (unsigned round = 0; round < 20; round++) {
		struct mfile *now = random_tree(&r, 1 + (unsigned)prng_below(&r, 200));
		struct session *x = session_of(s, round % 2);
		struct kept at;

		mtree_say(x, now);
		keep(x, NULL, &at);
		for (unsigned step = 0; step < 6; step++) {
			struct mfile *before = now;
			struct kept next, scratch;

			now = mfile_copy(before);
			mtree_change(&r, now, (unsigned)prng_below(&r, 30));
			x = session_of(s, step % 2);
			mtree_say_changes(x, s, before, &at.snap.root.dir, now);
			keep(x, &at.snap.links, &next);

			x = session_of(s, false);
			mtree_say(x, now);
			keep(x, NULL, &scratch);
			assert_same_tree(&next.snap, &scratch.snap);
			mfile_unref(before);
			kept_release(&at);
			kept_release(&scratch);
			at = next;
		}
		kept_release(&at);
		mfile_unref(now);
	}
}

/* Every directory below has a place in its parent's hints. */
static void assert_hints_are_whole(struct storestand *s, const struct tree_root *dir)
{
	struct reader_source source = reader_source(s->store.reader, &s->acc);
	struct tree_cursor c;

	assert_true(oid_is_null(&dir->id) || dir->loc.state == LOC_AT);
	tree_cursor_init(&c, TREE_DIR, &source.base);
	assert_ok(tree_seek_ordinal(&c, dir, 0));
	while (!c.is_end) {
		struct dirent_rec d;

		node_dirent(tree_leaf(&c), tree_index(&c), &d);
		if (!d.has_link && d.inode.type == FT_DIR)
			assert_hints_are_whole(s, &d.inode.dir);
		if (!d.has_link && d.inode.type == FT_REG && d.inode.content.size > 0)
			assert_int_equal(d.inode.content.loc.state, LOC_AT);
		assert_ok(tree_next(&c));
	}
	tree_cursor_release(&c);
}

/* A machine that knows nothing of the store reads all of it, and is never told where to look but by
 * hints. */
static void hints_lead_everywhere(void **state)
{
	struct storestand *s = *state;
	struct prng r = { 2 };

	for (unsigned round = 0; round < 12; round++) {
		struct mfile *root = random_tree(&r, 400);
		struct session *x = session_of(s, round % 2);
		struct reader_stats stats;
		struct kept at;

		mtree_say(x, root);
		keep(x, NULL, &at);
		assert_int_equal(at.snap.root.dir.loc.state, LOC_AT);
		assert_int_equal(at.snap.links.loc.state, LOC_AT);
		storestand_move(s);
		fault_backend_reset_counts(s->store.backend);
		assert_tree_is(s, &at.snap, root);
		reader_stats(s->store.reader, &stats);
		assert_int_equal(stats.refetches_by_index, 0);
		assert_int_equal(stats.bad, 0);
		assert_int_equal(storestand_counts(s).calls[FAULT_LIST], 0);
		kept_release(&at);
		mfile_unref(root);
	}
}

static void hints_lead_through_trees_that_were_edited(void **state)
{
	struct storestand *s = *state;
	struct prng r = { 3 };
	struct mfile *now = random_tree(&r, 500);
	struct session *x = session_of(s, false);
	struct kept at;

	mtree_say(x, now);
	keep(x, NULL, &at);
	for (unsigned step = 0; step < 8; step++) {
		struct mfile *before = now;
		struct kept next;

		now = mfile_copy(before);
		mtree_change(&r, now, 20);
		x = session_of(s, step % 2);
		mtree_say_changes(x, s, before, &at.snap.root.dir, now);
		keep(x, &at.snap.links, &next);
		kept_release(&at);
		at = next;
		mfile_unref(before);
		storestand_move(s);
		fault_backend_reset_counts(s->store.backend);
		assert_tree_is(s, &at.snap, now);
		assert_int_equal(storestand_counts(s).calls[FAULT_LIST], 0);
		assert_hints_are_whole(s, &at.snap.root.dir);
	}
	kept_release(&at);
	mfile_unref(now);
}

/* A directory that comes twice in a commit is stored once, and both names lead to it. */
static void hints_lead_to_what_is_there_twice(void **state)
{
	struct storestand *s = *state;

	for (unsigned round = 0; round < 2; round++) {
		struct prng r = { 11 + round };
		struct mfile *root = mfile_new(&r, FT_DIR), *dir = mfile_new(&r, FT_DIR), *twice;
		struct session *x = session_of(s, round);
		struct kept at;

		mtree_change(&r, dir, 60);
		twice = mfile_new(&r, FT_DIR);
		mtree_put(twice, "a", dir);
		mtree_put(twice, "b", mfile_copy(dir));
		mtree_put(root, "x", twice);
		mtree_put(root, "y", mfile_copy(twice));
		mtree_say(x, root);
		keep(x, NULL, &at);
		storestand_move(s);
		fault_backend_reset_counts(s->store.backend);
		assert_tree_is(s, &at.snap, root);
		assert_int_equal(storestand_counts(s).calls[FAULT_LIST], 0);
		assert_hints_are_whole(s, &at.snap.root.dir);
		kept_release(&at);
		mfile_unref(root);
	}
}

static void the_same_tree_again_stores_nothing(void **state)
{
	struct storestand *s = *state;
	struct prng r = { 4 };
	struct mfile *root = random_tree(&r, 500);
	struct session *x = session_of(s, false);
	struct kept first, again;
	unsigned packs;

	mtree_say(x, root);
	keep(x, NULL, &first);
	assert_true(first.stats.chunks > 100);
	packs = storestand_packs(s);
	x = session_of(s, true);
	mtree_say(x, root);
	keep(x, NULL, &again);
	assert_same_tree(&first.snap, &again.snap);
	assert_int_equal(again.stats.chunks, 0);
	assert_int_equal(again.stats.nodes, 0);
	assert_int_equal(storestand_packs(s), packs);
	kept_release(&first);
	kept_release(&again);
	mfile_unref(root);
}

/* Nor does a part of it that comes whole, as a restored directory does. */
static void a_directory_that_is_put_whole_costs_its_entry(void **state)
{
	struct storestand *s = *state;
	struct prng r = { 5 };
	struct mfile *root = random_tree(&r, 300);
	struct session *x = session_of(s, false);
	struct kept first, second;
	struct inode ino;

	mtree_say(x, root);
	keep(x, NULL, &first);
	x = session_of(s, false);
	assert_ok(session_dir_begin(x, NULL));
	ino = first.snap.root;
	assert_ok(session_put(x, span_str("copy"), &ino));
	assert_ok(session_dir_end(x, span_of(NULL, 0), &ino));
	keep(x, &first.snap.links, &second);
	assert_int_equal(second.stats.chunks, 0);
	assert_int_equal(second.stats.nodes, 1);
	assert_int_equal(second.snap.root.dir.sum.files, first.snap.root.dir.sum.files);
	kept_release(&first);
	kept_release(&second);
	mfile_unref(root);
}

/* @count files of @size bytes each, of which no two are equal. */
static int say_files(struct session *x, unsigned count, uint32_t size, uint64_t seed)
{
	uint8_t *bytes = malloc(size);
	struct prng r = { seed };
	int e = session_dir_begin(x, NULL);

	for (unsigned i = 0; e == 0 && i < count; i++) {
		struct inode ino = { .type = FT_REG, .mode = 0644 };
		struct content_source *src;
		char name[16];

		prng_fill(&r, bytes, size);
		snprintf(name, sizeof(name), "%08u", i);
		assert_ok(content_of_bytes(span_of(bytes, size), &src));
		e = session_put_file(x, span_str(name), &ino, src);
	}
	if (e == 0)
		e = session_dir_end(x, span_of(NULL, 0), &(struct inode){ .type = FT_DIR });
	free(bytes);
	return e;
}

static void a_small_commit_is_one_pack(void **state)
{
	struct storestand *s = *state;
	struct session *x = session_of(s, false);
	struct kept k;

	assert_ok(say_files(x, 2000, 3000, 1));
	keep(x, NULL, &k);
	assert_true(k.stats.nodes > 3);
	assert_int_equal(k.stats.packs, 1);
	kept_release(&k);
}

/* Packs of nodes alone, where readers of metadata fetch nothing else. */
static void a_large_commit_keeps_its_nodes_apart(void **state)
{
	struct storestand *s = *state;

	for (unsigned i = 0; i < 2; i++) {
		/* One that was thought large, and one that turns out to be. */
		struct session *x = session_of(s, i == 0);
		struct kept k;

		assert_ok(say_files(x, i == 0 ? 100 : 3000, 16000, i));
		keep(x, NULL, &k);
		assert_int_equal(k.stats.packs, i == 0 ? 2 : 3);
		assert_int_equal(k.snap.root.dir.loc.state, LOC_AT);
		kept_release(&k);
	}
	assert_int_equal(storestand_packs(s), 5);
}

/* Nodes of many names with little behind them do not all wait in memory. */
static void a_commit_of_many_names_keeps_its_nodes_apart(void **state)
{
	struct storestand *s = *state;
	struct session *x = session_of(s, false);
	struct content_source *src;
	struct kept k;

	assert_ok(session_dir_begin(x, NULL));
	assert_ok(content_of_bytes(span_str("one chunk"), &src));
	assert_ok(session_put_file(x, span_str("a"), &(struct inode){ .type = FT_REG }, src));
	for (unsigned i = 0; i < 50000; i++) {
		char name[128];

		snprintf(name, sizeof(name), "b%0100u", i);
		assert_ok(session_put(x, span_str(name), &(struct inode){ .type = FT_FIFO }));
	}
	assert_ok(session_dir_end(x, span_of(NULL, 0), &(struct inode){ .type = FT_DIR }));
	keep(x, NULL, &k);
	assert_int_equal(k.stats.packs, 2);
	kept_release(&k);
}

static void an_empty_tree_is_a_commit_too(void **state)
{
	struct storestand *s = *state;
	struct session *x = session_of(s, false);
	struct kept k;

	assert_ok(session_dir_begin(x, NULL));
	assert_ok(session_dir_end(x, span_of(NULL, 0), &(struct inode){ .type = FT_DIR }));
	keep(x, NULL, &k);
	assert_true(oid_is_null(&k.snap.root.dir.id));
	assert_true(oid_is_null(&k.snap.links.id));
	assert_int_equal(k.stats.packs, 0);
	kept_release(&k);
}

static void a_walk_that_ends_in_the_middle_is_no_snapshot(void **state)
{
	struct storestand *s = *state;
	struct session *x = session_of(s, false);
	struct snapshot snap;

	assert_ok(session_dir_begin(x, NULL));
	assert_ok(session_dir_begin(x, NULL));
	assert_ok(session_dir_end(x, span_str("d"), &(struct inode){ .type = FT_DIR }));
	assert_int_equal(session_finish(x, NULL, &snap), -EIO);
	session_free(x);
}

static void names_that_do_not_ascend_are_refused(void **state)
{
	static const char *const pairs[][2] = { { "b", "a" }, { "a", "a" }, { "a", "." } };
	struct storestand *s = *state;

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		struct session *x = session_of(s, false);
		struct inode ino = { .type = FT_FIFO };

		assert_ok(session_dir_begin(x, NULL));
		assert_ok(session_put(x, span_str(pairs[i][0]), &ino));
		assert_int_equal(session_put(x, span_str(pairs[i][1]), &ino), -EINVAL);
		session_free(x);
	}
}

/*
 * Contents in another order than names.
 */

struct taken {
	uint64_t tags[64];
	struct content contents[64];
	uint8_t inlined[64][INLINE_MAX];
	size_t count;
	int error;
};

static int take(void *ctx, uint64_t tag, const struct content *c)
{
	struct taken *t = ctx;

	t->tags[t->count] = tag;
	t->contents[t->count] = *c;
	if (c->inlined.len > 0)
		memcpy(t->inlined[t->count], c->inlined.data, c->inlined.len);
	t->contents[t->count].inlined.data = t->inlined[t->count];
	t->count++;
	return t->error;
}

static void contents_may_come_before_their_entries(void **state)
{
	struct storestand *s = *state;
	struct taken t = { .error = 0 };
	struct session_options o = {
		.store = &s->store, .chunk = SMALL_PARAMS, .stored = take, .stored_ctx = &t
	};
	uint8_t *bytes = malloc(64 * 5000);
	struct prng r = { 6 };
	struct session *x;
	struct kept k, want;

	prng_fill(&r, bytes, 64 * 5000);
	assert_ok(session_new(&o, &x));
	for (size_t i = 0; i < 64; i++) {
		struct content_source *src;

		assert_ok(content_of_bytes(span_of(bytes, i * 5000), &src));
		assert_ok(session_store(x, 1000 - i, src));
	}
	assert_ok(session_settle(x));
	assert_int_equal(t.count, 64);
	for (int pass = 0; pass < 2; pass++) {
		if (pass == 1)
			x = session_of(s, false);
		assert_ok(session_dir_begin(x, NULL));
		for (size_t i = 0; i < 64; i++) {
			struct inode ino = { .type = FT_REG, .content = t.contents[i] };
			struct content_source *src;
			char name[8];

			snprintf(name, sizeof(name), "%02zu", i);
			assert_int_equal(t.tags[i], 1000 - i);
			assert_int_equal(t.contents[i].size, i * 5000);
			assert_ok(content_of_bytes(span_of(bytes, i * 5000), &src));
			if (pass == 0) {
				assert_ok(session_put(x, span_str(name), &ino));
				src->free(src);
			} else {
				assert_ok(session_put_file(x, span_str(name), &ino, src));
			}
		}
		assert_ok(session_dir_end(x, span_of(NULL, 0), &(struct inode){ .type = FT_DIR }));
		keep(x, NULL, pass ? &want : &k);
	}
	assert_same_tree(&k.snap, &want.snap);
	kept_release(&k);
	kept_release(&want);

	/* Who takes them may refuse. */
	t = (struct taken){ .error = -EDQUOT };
	assert_ok(session_new(&o, &x));
	for (int e = 0; e == 0;) {
		struct content_source *src;

		assert_ok(content_of_bytes(span_of(bytes, 5000), &src));
		e = session_store(x, 1, src);
		if (e == 0)
			e = session_settle(x);
		assert_true(e == 0 || e == -EDQUOT);
	}
	session_free(x);
	free(bytes);
}

/*
 * What goes wrong.
 */

static void a_file_that_cannot_be_read_is_as_if_it_had_not_been_said(void **state)
{
	struct storestand *s = *state;
	uint8_t *bytes = new0(uint8_t, 300000);
	struct session *x = session_of(s, false);
	struct inode ino = { .type = FT_REG };
	struct kept with, without;

	assert_ok(session_dir_begin(x, NULL));
	for (int64_t call = 1; call <= 3; call++) {
		struct madecounts counts = { .fail_in = call };
		struct madepiece p = { .kind = PIECE_DATA, .len = 300000, .bytes = bytes };

		assert_int_equal(
			session_put_file(x, span_str("a"), &ino, made_source(&p, 1, &counts)),
			-EUCLEAN);
		assert_int_equal(counts.freed, 1);
	}
	assert_ok(session_put(x, span_str("a"), &(struct inode){ .type = FT_FIFO }));
	assert_ok(session_dir_end(x, span_of(NULL, 0), &(struct inode){ .type = FT_DIR }));
	keep(x, NULL, &with);

	x = session_of(s, false);
	assert_ok(session_dir_begin(x, NULL));
	assert_ok(session_put(x, span_str("a"), &(struct inode){ .type = FT_FIFO }));
	assert_ok(session_dir_end(x, span_of(NULL, 0), &(struct inode){ .type = FT_DIR }));
	keep(x, NULL, &without);
	assert_same_tree(&with.snap, &without.snap);
	kept_release(&with);
	kept_release(&without);
	free(bytes);
}

static int write_some(struct storestand *s, uint64_t seed, const atomic_bool *cancelled)
{
	_cleanup_(session_freep) struct session *x = NULL;
	struct session_options o = { .store = &s->store,
				     .chunk = CHUNK_PARAMS_DEFAULT,
				     .cancelled = cancelled };
	struct snapshot snap;
	int r = session_new(&o, &x);

	if (r == 0)
		r = say_files(x, 1400, 30000, seed);
	return r < 0 ? r : session_finish(x, NULL, &snap);
}

static void whatever_call_fails_the_error_comes_out(void **state)
{
	static const enum fault_op ops[] = { FAULT_GET_ALL, FAULT_PUT_BEGIN, FAULT_PUT_WRITE,
					     FAULT_PUT_END };
	struct storestand *s = *state;
	struct fault_counts all;
	uint64_t seed = 1;

	assert_ok(write_some(s, seed++, NULL));
	all = storestand_counts(s);
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		/* Of many writes some: the first, the last, and every tenth. */
		for (uint64_t nth = 1; nth <= all.calls[ops[i]]; nth++) {
			struct fault f = { .op = ops[i],
					   .kind = FAULT_FAIL,
					   .nth = nth,
					   .times = 1,
					   .error = -EDQUOT };

			if (nth > 2 && nth % 50 != 0 && nth < all.calls[ops[i]])
				continue;
			assert_ok(fault_backend_add(s->store.backend, &f));
			assert_int_equal(write_some(s, seed++, NULL), -EDQUOT);
			fault_backend_clear(s->store.backend);
		}
	}
	assert_ok(write_some(s, seed++, NULL));
}

struct canceller {
	atomic_bool cancelled;
	unsigned after_us;
};

static void *cancel_soon(void *arg)
{
	struct canceller *c = arg;

	usleep(c->after_us);
	c->cancelled = true;
	return NULL;
}

static void who_cancels_is_let_go(void **state)
{
	struct storestand *s = *state;
	uint64_t seed = 1;
	unsigned ended = 0;

	for (unsigned us = 0; us < 60000; us += 4000) {
		struct canceller c = { .after_us = us };
		pthread_t t;
		int r;

		assert_ok(thread_start(&t, "cancel", cancel_soon, &c));
		r = write_some(s, seed++, &c.cancelled);
		assert_true(r == 0 || r == -ECANCELED);
		ended += r != 0;
		pthread_join(t, NULL);
	}
	assert_true(ended > 0);
}

static size_t resident(void)
{
	size_t pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%*u %zu", &pages), 1);
	fclose(f);
	return pages * 4096;
}

/* 100,000 files of 2 KiB: 200 MB go through, and little stays. */
static void many_small_files_do_not_grow_the_memory(void **state)
{
	struct storestand *s = *state;
	struct session *x = session_of(s, true);
	struct kept k;
	size_t before, after;

	malloc_trim(0);
	before = resident();
	assert_ok(say_files(x, 100000, 2048, 7));
	after = resident();
	keep(x, NULL, &k);
	assert_int_equal(k.stats.chunks, 100000);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	assert_true(after < before + 96 * MiB);
#else
	assert_true(after > 0 && before > 0);
#endif
	kept_release(&k);
}

#define T(name) cmocka_unit_test_setup_teardown(name, storestand_set_up, storestand_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First, before others have left holes in the heap. */
		cmocka_unit_test_setup_teardown(many_small_files_do_not_grow_the_memory,
						storestand_set_up_on_disk, storestand_tear_down),
		T(a_tree_is_the_same_whatever_the_way_to_it),
		T(hints_lead_everywhere),
		T(hints_lead_through_trees_that_were_edited),
		T(hints_lead_to_what_is_there_twice),
		T(the_same_tree_again_stores_nothing),
		T(a_directory_that_is_put_whole_costs_its_entry),
		T(a_small_commit_is_one_pack),
		T(a_large_commit_keeps_its_nodes_apart),
		T(a_commit_of_many_names_keeps_its_nodes_apart),
		T(an_empty_tree_is_a_commit_too),
		T(a_walk_that_ends_in_the_middle_is_no_snapshot),
		T(names_that_do_not_ascend_are_refused),
		T(contents_may_come_before_their_entries),
		T(a_file_that_cannot_be_read_is_as_if_it_had_not_been_said),
		T(whatever_call_fails_the_error_comes_out),
		T(who_cancels_is_let_go),
	};

	log_set_quiet(true);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
