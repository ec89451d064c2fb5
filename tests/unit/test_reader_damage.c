/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A reader gives what an id says or an error, whatever hints, packs and the network do.
 */
#include "reader_world.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
