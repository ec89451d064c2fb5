/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A reader gives what an id says or an error, whatever hints, packs and the network do; it asks the
 * store no more often than it must, and keeps its budget. Contents of files: test_content.c.
 */
#include "reader_world.h"

static void wait_for_spill(struct world *w, const struct oid *id)
{
	struct deadline dl = deadline_in_ms(5000);
	uint32_t len;

	while (cache_len(w->cache, OID_CHUNK, id, &len) < 0 && deadline_check(&dl) == 0)
		usleep(1000);
}

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

static void a_good_copy_is_found_when_the_one_hinted_at_is_damaged(void **state)
{
	struct world *w = *state;
	struct oid id = chunk_add(w, 1, 9000);
	struct id128 first = w->pack->name;
	struct loc hint;

	log_set_quiet(true);
	pack_store(w);
	/* The index knows the damaged one first. */
	pack_tell_index(w);
	hint = made_pack_loc(w->pack, 0);
	pack_next(w);
	chunk_add(w, 1, 9000);
	pack_store(w);
	pack_tell_index(w);
	fault_add(w, (struct fault){ .op = FAULT_GET,
				     .kind = FAULT_FLIP,
				     .prefix = pack_key(&first).s,
				     .at = 500 });
	assert_ok(chunk_read(w, 1, 9000, &id, &hint, NULL));
	log_set_quiet(false);
	/* And nothing new relies on it. */
	assert_true(index_is_suspect(w->index, &first));
	assert_false(index_is_suspect(w->index, &w->pack->name));
}

static void a_reply_that_was_damaged_is_asked_for_again_later(void **state)
{
	struct world *w = *state;
	struct oid id = chunk_add(w, 1, 9000);
	struct loc at;

	log_set_quiet(true);
	pack_store(w);
	pack_tell_index(w);
	at = made_pack_loc(w->pack, 0);
	fault_add(w, (struct fault){ .op = FAULT_GET,
				     .kind = FAULT_FLIP,
				     .prefix = "packs/",
				     .at = 500,
				     .times = 1 });
	assert_int_equal(chunk_read(w, 1, 9000, &id, &at, NULL), -EBADMSG);
	assert_int_equal(stats_of(w).bad, 1);
	/* Not at once: it is remembered. But no damaged bytes are. */
	assert_int_equal(chunk_read(w, 1, 9000, &id, &at, NULL), -EBADMSG);
	{
		struct oid other = chunk_add(w, 1, 9000);

		assert_memory_equal(&other, &id, sizeof(id));
	}
	reader_restart(w);
	assert_ok(chunk_read(w, 1, 9000, &id, &at, NULL));
	log_set_quiet(false);
}

static void a_damaged_reply_does_its_neighbours_no_harm(void **state)
{
	/* Of the pack: in the frame's header, in the second chunk. */
	static const uint64_t places[] = { 40, 32 + 24 + 2 * 37 + 8 + 1500 };
	struct world *w = *state;
	struct oid a = chunk_add(w, 1, 1000), b = chunk_add(w, 3, 1000);

	log_set_quiet(true);
	pack_store(w);
	pack_tell_index(w);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		reader_restart(w);
		fault_add(w, (struct fault){ .op = FAULT_GET,
					     .kind = FAULT_FLIP,
					     .at = places[i],
					     .times = 1 });
		assert_int_equal(chunk_read(w, 1, 1000, &a, NULL, NULL), i == 0 ? -EBADMSG : 0);
		assert_ok(chunk_read(w, 3, 1000, &b, NULL, NULL));
	}
	log_set_quiet(false);
}

static void damage_is_told_from_absence(void **state)
{
	struct world *w = *state;
	struct oid id = chunk_add(w, 1, 1000);
	struct loc at;

	log_set_quiet(true);
	pack_store(w);
	at = made_pack_loc(w->pack, 0);
	/* No frame is where the hint leads. Without a footer nobody else says that there was. */
	fault_add(w, (struct fault){ .op = FAULT_GET, .kind = FAULT_FLIP, .at = 40 });
	fault_add(w, (struct fault){ .op = FAULT_LIST, .kind = FAULT_CUT, .times = 2 });
	assert_int_equal(chunk_read(w, 1, 1000, &id, &at, NULL), -ENOENT);
	pack_tell_index(w);
	reader_restart(w);
	assert_int_equal(chunk_read(w, 1, 1000, &id, &at, NULL), -EBADMSG);
	/* The same place is not tried twice. */
	assert_int_equal(counts_of(w).calls[FAULT_GET], 1);
	log_set_quiet(false);
}

static void what_is_damaged_is_not_kept_on_the_disk(void **state)
{
	struct world *w = *state;
	struct oid good = chunk_add(w, 1, 1000), lie = sample_oid(&w->random);
	uint8_t junk[1000] = { 0 };

	made_pack_add(w->pack, OID_CHUNK, &lie, span_of(junk, sizeof(junk)));
	pack_store(w);
	pack_tell_index(w);
	log_set_quiet(true);
	assert_ok(cache_open(w->cache_fd, w->index, 64 * MiB, &w->cache));
	for (int i = 0; i < 2; i++) {
		reader_restart(w);
		assert_int_equal(chunk_read(w, 1, 1000, &lie, NULL, NULL), -EBADMSG);
		assert_ok(chunk_read(w, 1, 1000, &good, NULL, NULL));
		wait_for_spill(w, &good);
	}
	log_set_quiet(false);
}

static void packs_as_they_came_are_kept_within_bounds_too(void **state)
{
	enum {
		N = 100,
		LEN = 100001
	};
	struct world *w = *state;
	struct loc first;

	for (uint64_t i = 0; i < N; i++)
		chunk_add(w, 2 * i + 1, LEN);
	pack_store(w);
	reader_start(w, 1, 1);
	first = made_pack_loc(w->pack, 0);
	for (size_t i = 0; i < N; i++) {
		struct loc at = made_pack_loc(w->pack, i);

		assert_ok(chunk_read(w, 2 * i + 1, LEN, &w->pack->entries[i].id, &at, NULL));
	}
	fault_backend_reset_counts(w->backend);
	assert_ok(chunk_read(w, 1, LEN, &w->pack->entries[0].id, &first, NULL));
	assert_int_equal(counts_of(w).calls[FAULT_GET], 1);
}

static void no_damaged_byte_of_a_pack_reaches_anyone(void **state)
{
	struct world *w = *state;
	struct oid chunks[3], node;
	struct loc hints[4];
	struct key key;
	int right = 0, refused = 0;

	/* A frame that compresses, one that does not, and one of nodes. */
	chunks[0] = chunk_add(w, 0, 600);
	made_pack_cut(w->pack);
	chunks[1] = chunk_add(w, 1, 200);
	chunks[2] = chunk_add(w, 3, 40);
	made_pack_cut(w->pack);
	node = node_add(w, 4);
	pack_store(w);
	for (size_t i = 0; i < 4; i++)
		hints[i] = made_pack_loc(w->pack, i);
	key = pack_key(&w->pack->name);
	log_set_quiet(true);
	for (size_t at = 0; at < w->pack->bytes.len; at++) {
		static const uint32_t lens[] = { 600, 200, 40 };
		struct node *n;
		int r;

		w->pack->bytes.data[at] ^= 0x10;
		assert_ok(w->inner->ops->put(w->inner, key.s, buf_span(&w->pack->bytes), NULL));
		reader_start(w, MiB, MiB);
		for (size_t i = 0; i < 3; i++) {
			const uint64_t number = i == 2 ? 3 : i;

			/* (chunk_read() compares what it gets) */
			r = chunk_read(w, number, lens[i], &chunks[i], at % 2 ? &hints[i] : NULL,
				       NULL);
			assert_true(r == 0 || r == -EBADMSG || r == -ENOENT);
			*(r == 0 ? &right : &refused) += 1;
		}
		r = reader_node(w->reader, &node, &hints[3], NULL, &n);
		assert_true(r == 0 || r == -EBADMSG || r == -ENOENT);
		if (r == 0) {
			assert_memory_equal(&n->id, &node, sizeof(node));
			node_unref(n);
		}
		w->pack->bytes.data[at] ^= 0x10;
		/* What the index learned of the damaged pack is of no use for the next. */
		index_free(w->index);
		assert_int_equal(unlinkat(w->index_fd, "identity", 0), 0);
		assert_ok(index_open(w->index_fd, &WORLD_STORE, GiB, &w->index));
	}
	assert_true(right > 0 && refused > 0);
	log_set_quiet(false);
}

static void a_cut_pack_is_refused_wherever_it_is_cut(void **state)
{
	struct world *w = *state;
	struct oid ids[2] = { chunk_add(w, 0, 900), chunk_add(w, 1, 300000) };
	struct key key;

	pack_store(w);
	key = pack_key(&w->pack->name);
	log_set_quiet(true);
	for (size_t len = 0; len < w->pack->bytes.len; len += len < 1500 ? 13 : 30011) {
		assert_ok(w->inner->ops->put(w->inner, key.s, span_of(w->pack->bytes.data, len),
					     NULL));
		reader_start(w, MiB, MiB);
		for (uint64_t i = 0; i < 2; i++) {
			struct loc at = made_pack_loc(w->pack, i);
			int r = chunk_read(w, i, i ? 300000 : 900, &ids[i], &at, NULL);

			assert_true(r == -EBADMSG || r == -ENOENT ||
				    (r == 0 && len >= at.offset + at.frame_len));
		}
	}
	log_set_quiet(false);
}

/* A chunk under an id that is not its own, with all else in order. */
static void a_lying_item_is_refused_and_its_neighbours_are_not(void **state)
{
	struct world *w = *state;
	struct oid good = chunk_add(w, 1, 1000), lie = sample_oid(&w->random);
	uint8_t junk[1000] = { 0 };

	made_pack_add(w->pack, OID_CHUNK, &lie, span_of(junk, sizeof(junk)));
	made_pack_add(w->pack, OID_NODE, &lie, span_of(junk, sizeof(junk)));
	pack_store(w);
	pack_tell_index(w);
	log_set_quiet(true);
	assert_int_equal(chunk_read(w, 1, 1000, &lie, NULL, NULL), -EBADMSG);
	assert_ok(chunk_read(w, 1, 1000, &good, NULL, NULL));
	{
		struct node *n;

		assert_int_equal(reader_node(w->reader, &lie, NULL, NULL, &n), -EBADMSG);
		/* A chunk is no node. */
		assert_int_equal(reader_node(w->reader, &good, NULL, NULL, &n), -ENOENT);
	}
	log_set_quiet(false);
}

static void a_failing_backend_is_no_verdict(void **state)
{
	struct world *w = *state;
	struct oid id = chunk_add(w, 1, 1000);
	struct loc at;

	pack_store(w);
	at = made_pack_loc(w->pack, 0);
	fault_add(w,
		  (struct fault){ .op = FAULT_GET, .kind = FAULT_FAIL, .error = -EIO, .times = 1 });
	assert_int_equal(chunk_read(w, 1, 1000, &id, &at, NULL), -EIO);
	assert_ok(chunk_read(w, 1, 1000, &id, &at, NULL));
}

/* Many who want something at once. */
struct seeker {
	struct world *world;
	pthread_t thread;
	uint64_t n;
	uint32_t len;
	struct oid id;
	struct loc at;
	struct access acc;
	int result;
};

static void *seek(void *arg)
{
	struct seeker *s = arg;

	s->result = chunk_read(s->world, s->n, s->len, &s->id, &s->at, &s->acc);
	return NULL;
}

static void seek_all(struct seeker *all, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_ok(thread_start(&all[i].thread, "seek", seek, &all[i]));
	for (size_t i = 0; i < n; i++)
		pthread_join(all[i].thread, NULL);
}

static void many_who_want_one_frame_fetch_it_once(void **state)
{
	enum {
		THREADS = 8
	};
	struct world *w = *state;
	struct seeker all[THREADS];

	for (uint64_t i = 0; i < THREADS; i++)
		chunk_add(w, i, 3000);
	chunk_add(w, THREADS, 800000 + 1);
	chunk_add(w, THREADS + 1, 800000);
	pack_store(w);
	fault_add(w, (struct fault){ .op = FAULT_GET, .kind = FAULT_DELAY, .delay_ms = 100 });
	/* Different chunks of a small frame; then one large one. */
	for (int large = 0; large < 2; large++) {
		fault_backend_reset_counts(w->backend);
		for (uint64_t i = 0; i < THREADS; i++) {
			size_t k = large ? THREADS + 1 : i;

			all[i] = (struct seeker){
				.world = w,
				.n = k,
				.len = large ? 800000 : 3000,
				.id = w->pack->entries[k].id,
				.at = made_pack_loc(w->pack, k),
			};
			access_init(&all[i].acc, w->reader, true);
		}
		seek_all(all, THREADS);
		for (int i = 0; i < THREADS; i++)
			assert_ok(all[i].result);
		assert_int_equal(counts_of(w).calls[FAULT_GET], 1);
	}
}

static void who_waits_longer_goes_on_when_the_first_gives_up(void **state)
{
	struct world *w = *state;
	struct seeker all[2];
	struct oid id = chunk_add(w, 1, 3000);

	pack_store(w);
	fault_add(w, (struct fault){
			     .op = FAULT_GET, .kind = FAULT_DELAY, .delay_ms = 60000, .times = 1 });
	for (int i = 0; i < 2; i++) {
		all[i] = (struct seeker){ .world = w, .n = 1, .len = 3000, .id = id };
		all[i].at = made_pack_loc(w->pack, 0);
		access_init(&all[i].acc, w->reader, true);
	}
	all[0].acc.deadline = deadline_in_ms(100);
	assert_ok(thread_start(&all[0].thread, "seek", seek, &all[0]));
	usleep(30000);
	assert_ok(thread_start(&all[1].thread, "seek", seek, &all[1]));
	pthread_join(all[0].thread, NULL);
	assert_int_equal(all[0].result, -ETIME);
	pthread_join(all[1].thread, NULL);
	assert_ok(all[1].result);
}

static void a_waiter_keeps_to_his_own_deadline(void **state)
{
	struct world *w = *state;
	struct seeker first = { .world = w, .n = 1, .len = 3000 };
	struct access acc;
	int64_t start;

	first.id = chunk_add(w, 1, 3000);
	pack_store(w);
	first.at = made_pack_loc(w->pack, 0);
	access_init(&first.acc, w->reader, true);
	fault_add(w, (struct fault){ .op = FAULT_GET, .kind = FAULT_DELAY, .delay_ms = 60000 });
	assert_ok(thread_start(&first.thread, "seek", seek, &first));
	usleep(20000);
	access_init(&acc, w->reader, true);
	acc.deadline = deadline_in_ms(50);
	start = now_ns();
	assert_int_equal(chunk_read(w, 1, 3000, &first.id, &first.at, &acc), -ETIME);
	assert_true(now_ns() - start < 3000000000);
	fault_backend_clear(w->backend);
	pthread_join(first.thread, NULL);
	assert_ok(first.result);
}

static void memory_stays_within_its_budget(void **state)
{
	enum {
		N = 100000,
		LEN = 700,
		NODES = 2000
	};
	struct world *w = *state;
	struct oid *ids = calloc(N, sizeof(*ids));
	uint64_t chunk_max = 0, node_max = 0;

	for (uint64_t i = 0; i < N; i++)
		ids[i] = chunk_add(w, i, LEN);
	for (uint64_t i = 0; i < NODES; i++)
		node_add(w, i);
	pack_store(w);
	reader_start(w, 500000, 2000000);
	for (uint64_t i = 0; i < N; i++) {
		/* Mostly in order, at times anywhere. */
		uint64_t k = i % 100 == 99 ? prng_below(&w->random, N) : i;
		struct loc at = made_pack_loc(w->pack, k);

		assert_ok(chunk_read(w, k, LEN, &ids[k], &at, NULL));
		chunk_max = MAX(chunk_max, stats_of(w).chunk_memory);
	}
	for (uint64_t i = 0; i < NODES; i++) {
		struct loc at = made_pack_loc(w->pack, N + i);
		struct node *n;

		assert_ok(reader_node(w->reader, &w->pack->entries[N + i].id, &at, NULL, &n));
		node_unref(n);
		node_max = MAX(node_max, stats_of(w).node_memory);
	}
	assert_in_range(chunk_max, 1000000, 2000000);
	assert_in_range(node_max, 250000, 500000);
	free(ids);
}

static void who_holds_a_chunk_keeps_it_when_memory_lets_go(void **state)
{
	struct world *w = *state;
	struct oid a = chunk_add(w, 1, 500000), b = chunk_add(w, 2, 500000);
	uint8_t *want = malloc(500000);
	struct blob *held, *other;

	pack_store(w);
	pack_tell_index(w);
	reader_start(w, 1000, 1000);
	assert_ok(reader_chunk(w->reader, &a, NULL, NULL, &held));
	assert_ok(reader_chunk(w->reader, &b, NULL, NULL, &other));
	chunk_fill(1, want, 500000);
	assert_memory_equal(held->data, want, 500000);
	blob_unref(held);
	blob_unref(other);
	free(want);
}

static void an_offered_node_is_at_hand(void **state)
{
	struct world *w = *state;
	_cleanup_buf_ struct buf item = { 0 };
	struct oid id = node_item(5, &item);
	struct access acc;
	struct node *n;

	assert_ok(node_parse(&id, buf_span(&item), &n));
	reader_offer_node(w->reader, n);
	access_init(&acc, w->reader, false);
	access_at_hand(&acc);
	assert_ok(reader_node(w->reader, &id, NULL, &acc, &n));
	node_unref(n);
	access_release(&acc);
}

static void at_hand_is_what_is_in_memory_and_the_rest_is_wanted(void **state)
{
	struct world *w = *state;
	struct oid chunk = chunk_add(w, 1, 3000), node = node_add(w, 2);
	struct loc chunk_at, node_at;
	struct access acc;
	struct node *n;

	pack_store(w);
	chunk_at = made_pack_loc(w->pack, 0);
	node_at = made_pack_loc(w->pack, 1);
	access_init(&acc, w->reader, true);
	access_at_hand(&acc);
	assert_int_equal(chunk_read(w, 1, 3000, &chunk, &chunk_at, &acc), -EAGAIN);
	assert_int_equal(counts_of(w).calls[FAULT_GET], 0);
	assert_true(acc.want.set);
	assert_int_equal(acc.want.kind, OID_CHUNK);
	assert_memory_equal(&acc.want.id, &chunk, sizeof(chunk));
	assert_ok(access_wait(&acc));
	access_at_hand(&acc);
	assert_ok(chunk_read(w, 1, 3000, &chunk, &chunk_at, &acc));
	/* Nothing is wanted now: the -EAGAIN of somebody else is not ours to satisfy. */
	assert_int_equal(access_wait(&acc), -EAGAIN);

	access_at_hand(&acc);
	assert_ok(reader_node(w->reader, &node, &node_at, &acc, &n)); /* of the same frame */
	node_unref(n);
	access_release(&acc);
}

static void a_memory_too_small_does_not_make_the_retry_endless(void **state)
{
	struct world *w = *state;
	struct oid chunks[3], nodes[20];
	struct access acc;
	int rounds = 0, r;

	for (uint64_t i = 0; i < 3; i++)
		chunks[i] = chunk_add(w, i, 300000);
	for (uint64_t i = 0; i < 20; i++) {
		nodes[i] = node_add(w, i);
		made_pack_cut(w->pack);
	}
	pack_store(w);
	pack_tell_index(w);
	reader_start(w, 1, 1);
	access_init(&acc, w->reader, true);
	/* One attempt needs them all. */
	do {
		access_at_hand(&acc);
		r = 0;
		for (uint64_t i = 0; r == 0 && i < 3; i++)
			r = chunk_read(w, i, 300000, &chunks[i], NULL, &acc);
		for (uint64_t i = 0; r == 0 && i < 20; i++) {
			struct node *n;

			r = reader_node(w->reader, &nodes[i], NULL, &acc, &n);
			if (r == 0)
				node_unref(n);
		}
		assert_in_range(++rounds, 1, 30);
	} while (r == -EAGAIN && (r = access_wait(&acc)) == 0);
	assert_ok(r);
	access_release(&acc);
}

static void who_must_not_wait_is_sent_away(void **state)
{
	struct world *w = *state;
	struct oid a = chunk_add(w, 1, 3000), b;
	struct loc at;
	struct access acc;

	made_pack_cut(w->pack);
	b = chunk_add(w, 2, 3000);
	pack_store(w);
	at = made_pack_loc(w->pack, 0);
	access_init(&acc, w->reader, false);
	access_at_hand(&acc);
	assert_int_equal(chunk_read(w, 1, 3000, &a, &at, &acc), -EAGAIN);
	assert_int_equal(access_wait(&acc), -EAGAIN);
	assert_int_equal(counts_of(w).calls[FAULT_GET], 0);
	/* Somebody else's look brought the frame's neighbour. */
	assert_ok(chunk_read(w, 1, 3000, &a, &at, NULL));
	at = made_pack_loc(w->pack, 1);
	access_at_hand(&acc);
	assert_int_equal(chunk_read(w, 2, 3000, &b, &at, &acc), -EAGAIN);
	assert_ok(access_wait(&acc));
	access_at_hand(&acc);
	assert_ok(chunk_read(w, 2, 3000, &b, &at, &acc));
	assert_int_equal(counts_of(w).calls[FAULT_GET], 1);
	access_release(&acc);
}

static void what_was_fetched_is_on_the_disk_and_reads_without_the_store(void **state)
{
	struct world *w = *state;
	struct oid small = chunk_add(w, 1, 3000), large, node = node_add(w, 2);
	uint8_t *want = malloc(500000), *got = malloc(500000);
	struct access acc;
	struct node *n;

	large = chunk_add(w, 3, 500000);
	pack_store(w);
	pack_tell_index(w);
	assert_ok(cache_open(w->cache_fd, w->index, 64 * MiB, &w->cache));
	reader_restart(w);
	assert_ok(chunk_read(w, 1, 3000, &small, NULL, NULL));
	assert_ok(chunk_read(w, 3, 500000, &large, NULL, NULL));
	wait_for_spill(w, &small);
	wait_for_spill(w, &large);

	reader_restart(w);
	fault_add(w, (struct fault){ .op = FAULT_GET, .kind = FAULT_FAIL, .error = -EIO });
	assert_ok(chunk_read(w, 1, 3000, &small, NULL, NULL));
	assert_ok(reader_node(w->reader, &node, NULL, NULL, &n));
	node_unref(n);
	chunk_fill(3, want, 500000);
	assert_ok(reader_read(w->reader, &large, NULL, 123456, 5000, got, NULL));
	assert_memory_equal(got, want + 123456, 5000);
	assert_true(stats_of(w).disk_hits >= 3);

	/* The disk is no store: who must not wait may look there. */
	reader_restart(w);
	access_init(&acc, w->reader, false);
	access_at_hand(&acc);
	assert_int_equal(chunk_read(w, 3, 500000, &large, NULL, &acc), -EAGAIN);
	assert_ok(access_wait(&acc));
	access_at_hand(&acc);
	assert_ok(chunk_read(w, 3, 500000, &large, NULL, &acc));
	access_release(&acc);
	free(want);
	free(got);
}

static void a_damaged_disk_is_no_worse_than_none(void **state)
{
	struct world *w = *state;
	struct oid id = chunk_add(w, 1, 300000);
	uint8_t junk[300000] = { 0 };

	pack_store(w);
	pack_tell_index(w);
	assert_ok(cache_open(w->cache_fd, w->index, 64 * MiB, &w->cache));
	reader_restart(w);
	assert_ok(chunk_read(w, 1, 300000, &id, NULL, NULL));
	wait_for_spill(w, &id);
	{
		int fd = openat(w->cache_fd, "00000001", O_RDWR);

		assert_true(fd >= 0);
		assert_ok(pwrite_all(fd, junk, sizeof(junk), 0));
		close(fd);
	}
	reader_restart(w);
	assert_ok(chunk_read(w, 1, 300000, &id, NULL, NULL));
	assert_int_equal(stats_of(w).disk_hits, 0);
}

static void a_prefetched_chunk_is_there_when_it_is_wanted(void **state)
{
	struct world *w = *state;
	struct oid id = chunk_add(w, 1, 300000), gone = sample_oid(&w->random);
	struct deadline dl = deadline_in_ms(5000);
	struct loc at;

	pack_store(w);
	at = made_pack_loc(w->pack, 0);
	reader_prefetch(w->reader, &gone, NULL); /* nobody hears of it */
	reader_prefetch(w->reader, &id, &at);
	while (stats_of(w).chunk_memory == 0 && deadline_check(&dl) == 0)
		usleep(1000);
	fault_add(w, (struct fault){ .op = FAULT_GET, .kind = FAULT_FAIL, .error = -EIO });
	assert_ok(chunk_read(w, 1, 300000, &id, &at, NULL));
	assert_int_equal(stats_of(w).chunk_hits, 1);
	assert_int_equal(stats_of(w).bad, 0);
	/* A flood of them is not all queued, and ends with the reader. */
	fault_add(w, (struct fault){ .op = FAULT_LIST, .kind = FAULT_DELAY, .delay_ms = 60000 });
	for (int i = 0; i < 1000; i++) {
		gone = sample_oid(&w->random);
		reader_prefetch(w->reader, &gone, &at);
	}
}

struct crowd {
	struct world *world;
	pthread_t thread;
	uint64_t seed;
	const struct oid *ids;
	int failed;
};

enum {
	CROWD_CHUNKS = 400,
	CROWD_LEN = 5000
};

static void *crowd(void *arg)
{
	struct crowd *c = arg;
	struct prng p = { c->seed };

	for (int i = 0; i < 2000; i++) {
		uint64_t k = prng_below(&p, CROWD_CHUNKS);
		struct loc at = made_pack_loc(c->world->pack, k);

		if (k % 7 == 0)
			at.offset += 3;
		c->failed += chunk_read(c->world, k, CROWD_LEN, &c->ids[k], &at, NULL) != 0;
		if (k % 5 == 0)
			reader_prefetch(c->world->reader, &c->ids[(k + 1) % CROWD_CHUNKS], NULL);
	}
	return NULL;
}

static void threads_read_at_once_from_a_small_memory(void **state)
{
	struct world *w = *state;
	struct oid ids[CROWD_CHUNKS];
	struct crowd all[4];

	for (uint64_t i = 0; i < CROWD_CHUNKS; i++)
		ids[i] = chunk_add(w, i, CROWD_LEN);
	pack_store(w);
	pack_tell_index(w);
	assert_ok(cache_open(w->cache_fd, w->index, MiB, &w->cache));
	reader_start(w, 10000, 500000);
	for (int i = 0; i < 4; i++) {
		all[i] = (struct crowd){ .world = w, .seed = 60 + (uint64_t)i, .ids = ids };
		assert_ok(thread_start(&all[i].thread, "crowd", crowd, &all[i]));
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(all[i].thread, NULL);
		assert_int_equal(all[i].failed, 0);
	}
	assert_int_equal(stats_of(w).bad, 0);
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)

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
		TEST(a_good_copy_is_found_when_the_one_hinted_at_is_damaged),
		TEST(a_reply_that_was_damaged_is_asked_for_again_later),
		TEST(a_damaged_reply_does_its_neighbours_no_harm),
		TEST(damage_is_told_from_absence),
		TEST(what_is_damaged_is_not_kept_on_the_disk),
		TEST(packs_as_they_came_are_kept_within_bounds_too),
		TEST(no_damaged_byte_of_a_pack_reaches_anyone),
		TEST(a_cut_pack_is_refused_wherever_it_is_cut),
		TEST(a_lying_item_is_refused_and_its_neighbours_are_not),
		TEST(a_failing_backend_is_no_verdict),
		TEST(many_who_want_one_frame_fetch_it_once),
		TEST(who_waits_longer_goes_on_when_the_first_gives_up),
		TEST(a_waiter_keeps_to_his_own_deadline),
		TEST(memory_stays_within_its_budget),
		TEST(who_holds_a_chunk_keeps_it_when_memory_lets_go),
		TEST(an_offered_node_is_at_hand),
		TEST(at_hand_is_what_is_in_memory_and_the_rest_is_wanted),
		TEST(a_memory_too_small_does_not_make_the_retry_endless),
		TEST(who_must_not_wait_is_sent_away),
		TEST(what_was_fetched_is_on_the_disk_and_reads_without_the_store),
		TEST(a_damaged_disk_is_no_worse_than_none),
		TEST(a_prefetched_chunk_is_there_when_it_is_wanted),
		TEST(threads_read_at_once_from_a_small_memory),
		TEST(reading_costs_this_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
