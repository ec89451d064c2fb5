/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A reader gives what an id says, wherever it lies, and asks the store no more often than it must.
 * Contents of files: test_content.c.
 */
#include "reader_world.h"

static void a_chunk_is_fetched_once(void **state)
{
	struct world *w = *state;
	struct oid id = chunk_add(w, 1, 5000);
	struct loc at;

	pack_store(w);
	at = made_pack_loc(w->pack, 0);
	assert_ok(chunk_read(w, 1, 5000, &id, &at, NULL));
	assert_int_equal(counts_of(w).calls[FAULT_GET], 1);
	assert_ok(chunk_read(w, 1, 5000, &id, &at, NULL));
	assert_ok(chunk_read(w, 1, 5000, &id, NULL, NULL));
	assert_int_equal(counts_of(w).calls[FAULT_GET], 1);
	assert_int_equal(stats_of(w).chunk_hits, 2);
	assert_int_equal(stats_of(w).chunk_misses, 1);
	assert_int_equal(stats_of(w).fetches, 1);
}

static void parts_are_read_as_they_are_and_no_further(void **state)
{
	struct world *w = *state;
	uint8_t want[5000], got[5000];
	struct oid id = chunk_add(w, 1, 5000);
	struct blob *b;

	pack_store(w);
	pack_tell_index(w);
	chunk_fill(1, want, sizeof(want));
	assert_ok(reader_read(w->reader, &id, NULL, 1234, 3000, got, NULL));
	assert_memory_equal(got, want + 1234, 3000);
	assert_ok(reader_read(w->reader, &id, NULL, 5000, 0, got, NULL));
	assert_int_equal(reader_read(w->reader, &id, NULL, 4000, 1001, got, NULL), -EBADMSG);
	assert_int_equal(reader_read(w->reader, &id, NULL, 5001, 0, got, NULL), -EBADMSG);
	assert_int_equal(reader_read(w->reader, &id, NULL, UINT32_MAX, 2, got, NULL), -EBADMSG);
	assert_ok(reader_chunk(w->reader, &id, NULL, NULL, &b));
	assert_int_equal(b->len, 5000);
	assert_memory_equal(b->data, want, 5000);
	blob_unref(b);
}

static void the_empty_chunk_needs_no_store(void **state)
{
	struct world *w = *state;
	struct blob *b;

	assert_ok(reader_chunk(w->reader, oid_empty_chunk(), NULL, NULL, &b));
	assert_int_equal(b->len, 0);
	blob_unref(b);
	assert_int_equal(counts_of(w).calls[FAULT_LIST], 0);
}

static void a_frame_is_taken_apart_once_for_all_its_items(void **state)
{
	enum {
		N = 60
	};
	struct world *w = *state;
	struct oid chunks[N], nodes[N];
	struct node *n;

	for (uint64_t i = 0; i < N; i++)
		chunks[i] = chunk_add(w, i, 2000);
	for (uint64_t i = 0; i < N; i++)
		nodes[i] = node_add(w, i);
	pack_store(w);
	for (uint64_t i = 0; i < N; i++) {
		struct loc at = made_pack_loc(w->pack, i), node_at = made_pack_loc(w->pack, N + i);

		assert_ok(chunk_read(w, i, 2000, &chunks[i], &at, NULL));
		assert_ok(reader_node(w->reader, &nodes[i], &node_at, NULL, &n));
		assert_memory_equal(&n->id, &nodes[i], sizeof(n->id));
		node_unref(n);
	}
	assert_int_equal(counts_of(w).calls[FAULT_GET], 1);
	assert_int_equal(stats_of(w).node_misses + stats_of(w).chunk_misses, 1);
}

static void small_frames_come_by_the_window(void **state)
{
	enum {
		N = 2000,
		LEN = 2000
	};
	struct world *w = *state;
	struct oid ids[N];
	uint64_t windows;

	for (uint64_t i = 0; i < N; i++)
		ids[i] = chunk_add(w, i, LEN);
	pack_store(w);
	windows = w->pack->bytes.len / (256 << 10) + 1;
	for (uint64_t i = 0; i < N; i++) {
		struct loc at = made_pack_loc(w->pack, i);

		at.frame_len = i % 2 ? at.frame_len : 0;
		assert_ok(chunk_read(w, i, LEN, &ids[i], &at, NULL));
	}
	assert_in_range(counts_of(w).calls[FAULT_GET], 2, windows);
}

static void a_frame_reads_wherever_a_window_cuts_its_header(void **state)
{
	enum {
		CUTS = 80,
		N = 30,
		LEN = 1000,
		WINDOW = 256 << 10
	};
	struct world *w = *state;
	struct oid ids[CUTS];
	uint64_t first[CUTS];
	uint64_t n = 0;

	for (uint32_t cut = 0; cut < CUTS; cut++) {
		/* What does not compress, and with its header ends just before the window does. */
		uint32_t end = (uint32_t)(w->pack->bytes.len + FRAME_HEADER_SIZE(1));

		n |= 1;
		chunk_add(w, n, ALIGN_UP(end + cut + 8, (uint32_t)WINDOW) - end - cut);
		made_pack_cut(w->pack);
		assert_int_equal((w->pack->bytes.len + cut) % WINDOW, 0);
		first[cut] = ++n;
		ids[cut] = chunk_add(w, n++, LEN);
		for (unsigned i = 1; i < N; i++)
			chunk_add(w, n++, LEN);
		made_pack_cut(w->pack);
	}
	pack_store(w);
	for (uint32_t cut = 0; cut < CUTS; cut++) {
		struct loc at = made_pack_loc(w->pack, cut * (N + 1) + 1);

		assert_int_equal((at.offset + cut) % WINDOW, 0);
		at.frame_len = cut % 2 ? at.frame_len : 0;
		assert_ok(chunk_read(w, first[cut], LEN, &ids[cut], &at, NULL));
	}
	/* None had to be looked for elsewhere. */
	assert_int_equal(stats_of(w).refetches_by_index, 0);
}

static void a_large_chunk_is_one_get_of_its_frame(void **state)
{
	enum {
		LEN = 1 << 20
	};
	struct world *w = *state;
	struct oid ids[3];

	for (uint64_t i = 0; i < 3; i++)
		ids[i] = chunk_add(w, i, LEN);
	pack_store(w);
	for (uint64_t i = 1; i < 3; i++) {
		struct loc at = made_pack_loc(w->pack, i);

		fault_backend_reset_counts(w->backend);
		assert_ok(chunk_read(w, i, LEN, &ids[i], &at, NULL));
		if (at.frame_len > 200000) {
			assert_int_equal(counts_of(w).calls[FAULT_GET], 1);
			assert_int_equal(counts_of(w).read, at.frame_len);
		}
	}
	/* Without its length: a window, and the rest. */
	reader_restart(w);
	{
		struct loc at = made_pack_loc(w->pack, 1);

		at.frame_len = 0;
		assert_ok(chunk_read(w, 1, LEN, &ids[1], &at, NULL));
		assert_int_equal(counts_of(w).calls[FAULT_GET], 2);
	}
}

/* Whatever a hint says, the chunk is found. */
static void assert_found_by(struct world *w, uint64_t n, uint32_t len, const struct oid *id,
			    struct loc hint, const char *what)
{
	int r;

	reader_restart(w);
	r = chunk_read(w, n, len, id, &hint, NULL);
	if (r < 0)
		fail_msg("with a hint that %s: %d", what, r);
}

static void a_wrong_hint_costs_a_look_and_no_more(void **state)
{
	struct world *w = *state;
	struct oid ids[40];
	uint32_t lens[40];

	for (uint64_t i = 0; i < 40; i++) {
		lens[i] = i % 10 == 9 ? 700000 : 9000;
		ids[i] = chunk_add(w, i, lens[i]);
	}
	pack_store(w);
	pack_tell_index(w);
	for (uint64_t i = 0; i < 40; i++) {
		struct loc at = made_pack_loc(w->pack, i), h;

		assert_found_by(w, i, lens[i], &ids[i], at, "is right");
		h = at;
		h.pack = sample_id128(&w->random);
		assert_found_by(w, i, lens[i], &ids[i], h, "names no pack");
		assert_int_equal(stats_of(w).refetches_by_index, 1);
		h = at;
		h.offset += 17;
		assert_found_by(w, i, lens[i], &ids[i], h, "leads into a frame");
		h = at;
		h.offset = made_pack_loc(w->pack, (i + 15) % 40).offset;
		assert_found_by(w, i, lens[i], &ids[i], h, "leads to another frame");
		h = at;
		h.offset = (uint32_t)w->pack->bytes.len - 20;
		assert_found_by(w, i, lens[i], &ids[i], h, "leads to the end");
		h = at;
		h.offset = UINT32_MAX;
		assert_found_by(w, i, lens[i], &ids[i], h, "leads nowhere");
		h = at;
		h.offset = 0;
		assert_found_by(w, i, lens[i], &ids[i], h, "leads to the header");
		h = at;
		h.frame_len = 0;
		assert_found_by(w, i, lens[i], &ids[i], h, "has no length");
		h = at;
		h.frame_len = 30;
		assert_found_by(w, i, lens[i], &ids[i], h, "has a short length");
		h = at;
		h.frame_len = 250000;
		assert_found_by(w, i, lens[i], &ids[i], h, "has a wrong length");
		h = at;
		h.frame_len = UINT32_MAX;
		assert_found_by(w, i, lens[i], &ids[i], h, "has an endless length");
		h = at;
		h.item = (uint16_t)(at.item + 1);
		assert_found_by(w, i, lens[i], &ids[i], h, "names the next item");
		h = at;
		h.item = UINT16_MAX;
		assert_found_by(w, i, lens[i], &ids[i], h, "names no item");
		h = at;
		h.state = LOC_PENDING;
		assert_found_by(w, i, lens[i], &ids[i], h, "is not yet one");
		h = LOC_NOWHERE;
		assert_found_by(w, i, lens[i], &ids[i], h, "is none");
	}
}

static void without_hint_and_index_the_footers_lead_there(void **state)
{
	struct world *w = *state;
	struct oid id = chunk_add(w, 1, 9000), node = node_add(w, 2);
	struct node *n;

	pack_store(w);
	assert_ok(chunk_read(w, 1, 9000, &id, NULL, NULL));
	assert_int_equal(counts_of(w).calls[FAULT_LIST], 2);
	assert_ok(reader_node(w->reader, &node, NULL, NULL, &n));
	node_unref(n);
}

static void what_is_missing_is_said_once_and_not_looked_for_again_at_once(void **state)
{
	struct world *w = *state;
	struct oid id = sample_oid(&w->random);
	struct loc hint = { .pack = sample_id128(&w->random), .offset = 32, .state = LOC_AT };
	struct content c = { .id = id, .size = 100, .loc = hint };
	struct access acc;
	uint8_t buf[100];
	struct node *n;

	log_set_quiet(true);
	assert_int_equal(chunk_read(w, 1, 100, &id, &hint, NULL), -ENOENT);
	fault_backend_reset_counts(w->backend);
	for (int i = 0; i < 10; i++)
		assert_int_equal(chunk_read(w, 1, 100, &id, &hint, NULL), -ENOENT);
	assert_int_equal(counts_of(w).calls[FAULT_GET] + counts_of(w).calls[FAULT_LIST], 0);
	assert_int_equal(reader_node(w->reader, &id, NULL, NULL, &n), -ENOENT);

	/* Where -ENOENT would read as "no such name". */
	assert_int_equal(content_read(w->reader, &c, 0, 100, buf, NULL), -EIO);
	access_init(&acc, w->reader, true);
	access_at_hand(&acc);
	assert_int_equal(chunk_read(w, 1, 100, &id, &hint, &acc), -EAGAIN);
	assert_int_equal(access_wait(&acc), -EIO);
	access_release(&acc);
	log_set_quiet(false);
}

static void reading_costs_this_much(void **state)
{
	enum {
		N = 10000,
		LEN = 2048,
		LOOKS = 300000
	};
	struct world *w = *state;
	struct oid *ids = calloc(N, sizeof(*ids)), big;
	struct backend_options create = { .create = true };
	struct scratch dir = scratch_make();
	struct backend *files;
	uint8_t buf[4096];
	int64_t start;

	for (uint64_t i = 0; i < N; i++)
		ids[i] = chunk_add(w, i, LEN);
	big = chunk_add(w, N, 512 << 10);
	assert_ok(file_backend_open(dir.path, &create, &files));
	made_pack_store(w->pack, files);
	reader_free(w->reader);
	w->reader = NULL;
	assert_ok(reader_new(&(struct reader_options){ .backend = files,
						       .index = w->index,
						       .node_bytes = 8 * MiB,
						       .chunk_bytes = 32 * MiB,
						       .fetch_threads = 1 },
			     &w->reader));
	start = now_ns();
	for (uint64_t i = 0; i < N; i++) {
		struct loc at = made_pack_loc(w->pack, i);

		assert_ok(reader_read(w->reader, &ids[i], &at, 0, LEN, buf, NULL));
	}
	print_message("  cold, 10,000 chunks of 2 KiB: %.0f chunks/s\n",
		      N * 1e9 / (double)(now_ns() - start));
	{
		struct loc at = made_pack_loc(w->pack, N);

		assert_ok(reader_read(w->reader, &big, &at, 0, 4096, buf, NULL));
	}
	start = now_ns();
	for (uint32_t i = 0; i < LOOKS; i++)
		assert_ok(reader_read(w->reader, &big, NULL, (i * 4096) % (508 << 10), 4096, buf,
				      NULL));
	print_message("  4 KiB from memory: %.0f ns\n", (double)(now_ns() - start) / LOOKS);
	reader_free(w->reader);
	w->reader = NULL;
	backend_free(files);
	scratch_remove(&dir);
	free(ids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_chunk_is_fetched_once),
		TEST(parts_are_read_as_they_are_and_no_further),
		TEST(the_empty_chunk_needs_no_store),
		TEST(a_frame_is_taken_apart_once_for_all_its_items),
		TEST(small_frames_come_by_the_window),
		TEST(a_frame_reads_wherever_a_window_cuts_its_header),
		TEST(a_large_chunk_is_one_get_of_its_frame),
		TEST(a_wrong_hint_costs_a_look_and_no_more),
		TEST(without_hint_and_index_the_footers_lead_there),
		TEST(what_is_missing_is_said_once_and_not_looked_for_again_at_once),
		TEST(reading_costs_this_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
