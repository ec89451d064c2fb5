/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How long a pack may take to be stored. What it holds is test_packer.c's.
 */
#include "backend/backend.h"
#include "check.h"
#include "sample.h"
#include "write/packfile.h"

enum {
	FRAME = 1 << 20,
};

/* A memory backend that notes how long a put would wait. */
struct witness {
	struct backend_ops ops; /* the backend's, but for put */
	int (*put)(struct backend *b, const char *key, struct span data, const struct deadline *dl);
	int64_t patience_ns;
};

static int note_patience(struct backend *b, const char *key, struct span data,
			 const struct deadline *dl)
{
	struct witness *w = container_of(b->ops, struct witness, ops);

	w->patience_ns = dl->at_ns - now_ns();
	return w->put(b, key, data, dl);
}

/* Stores a pack of @frames MiB; how many seconds it might have taken. */
static int64_t patience_for(size_t frames)
{
	_cleanup_(backend_freep) struct backend *b = NULL;
	_cleanup_free_ uint8_t *frame = calloc(1, FRAME);
	struct prng random = { 1 };
	const struct span none = span_of(NULL, 0);
	_cleanup_buf_ struct buf spare = { 0 };
	struct packfile p;
	struct witness w;
	uint32_t at;

	assert_ok(memory_backend_new(&b));
	w = (struct witness){ .ops = *b->ops, .put = b->ops->put };
	w.ops.put = note_patience;
	b->ops = &w.ops;
	b->is_local = false;
	assert_ok(packfile_open(b, &spare, &p));
	for (size_t i = 0; i < frames; i++) {
		struct frame_item item = { .id = sample_oid(&random), .len = FRAME };

		assert_ok(packfile_add(&p, &item, 1, span_of(frame, FRAME), none, &at));
	}
	assert_ok(packfile_close(&p));
	packfile_release(&p);
	return w.patience_ns / 1000000000;
}

static void a_pack_may_take_as_long_as_its_share_of_a_slow_link_needs(void **state)
{
	/* four at a time over 10 Mbit/s */
	assert_true(patience_for(32) >= 32 * FRAME / (10000000 / 8 / 4));
}

static void a_small_pack_is_not_waited_for_so_long(void **state)
{
	assert_in_range(patience_for(0), 25, 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pack_may_take_as_long_as_its_share_of_a_slow_link_needs),
		cmocka_unit_test(a_small_pack_is_not_waited_for_so_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
