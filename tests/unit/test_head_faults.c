/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Heads over a backend that fails, and with no room left.
 */
#include <unistd.h>

#include "backend/fault.h"
#include "headmodel.h"
#include "headstand.h"

enum {
	ROUNDS = 27, /* of faults, each kind at each place */
	ROOM = 8 << 20,
};

static struct backend *faults;

static struct backend *under_faults(struct backend *inner)
{
	struct backend *b;

	assert_ok(fault_backend_new(inner, &b));
	faults = b;
	return b;
}

/* A commit that fails leaves the head as it is; one that says it succeeded has what was there. */
static void try_commit(struct headstand *s, struct model *m)
{
	struct commit_request req = { 0 };
	struct commit_result res;
	int r;

	r = head_commit(s->head, &req, &s->acc, &res);
	fault_backend_clear(faults);
	model_check(m->root, s->root, s->vnodes, &s->acc);
	if (r == 0) {
		struct vnode *root = stand_commit_root(s, &res.id);

		model_check(m->root, root, s->vnodes, &s->acc);
		vnode_unref(s->vnodes, root);
	}
}

static void commits_under(enum fault_kind kind, uint64_t seed)
{
	static const enum fault_op ops[] = {
		FAULT_GET,	 FAULT_GET_ALL, FAULT_HEAD, FAULT_PUT,	FAULT_PUT_BEGIN,
		FAULT_PUT_WRITE, FAULT_PUT_END, FAULT_SWAP, FAULT_LIST,
	};
	struct headstand s = stand_make();
	struct model m;

	stand_close(&s);
	s.layer = under_faults;
	stand_open(&s);
	model_init(&m, seed);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct fault f = {
			.kind = kind,
			.op = ops[round % ARRAY_SIZE(ops)],
			.nth = 1 + round / ARRAY_SIZE(ops),
			.times = round % 3,
			.error = -EIO,
		};

		for (unsigned i = 0; i < 40; i++)
			model_step(&m, s.root, s.vnodes, &s.acc);
		assert_ok(fault_backend_add(faults, &f));
		try_commit(&s, &m);
		if (round % 4 == 3) {
			stand_close(&s);
			stand_open(&s);
			model_check(m.root, s.root, s.vnodes, &s.acc);
		}
	}
	try_commit(&s, &m);
	{
		struct oid id = stand_commit(&s, "last");
		struct vnode *root = stand_commit_root(&s, &id);

		model_check(m.root, root, s.vnodes, &s.acc);
		vnode_unref(s.vnodes, root);
	}
	model_release(&m);
	stand_remove(&s);
}

static void a_failing_backend_loses_nothing(void **state)
{
	for (uint64_t seed = 1; seed <= 3; seed++)
		commits_under(FAULT_FAIL, seed);
}

static void lost_replies_lose_nothing(void **state)
{
	for (uint64_t seed = 4; seed <= 6; seed++)
		commits_under(FAULT_LOSE_REPLY, seed);
}

static void a_file_with_many_xattrs_changes_while_a_commit_is_stuck(void **state)
{
	static char value[900];
	struct fault f = { .kind = FAULT_FAIL, .op = FAULT_PUT_BEGIN, .error = -EIO };
	struct fault g = { .kind = FAULT_FAIL, .op = FAULT_PUT, .error = -EIO };
	struct setattr a = { .what = SETATTR_MODE | SETATTR_KILL_PRIV, .mode = 0600 };
	struct headstand s = stand_make();
	struct commit_request req = { 0 };
	struct vnode *v;
	struct stat st;
	struct commit_result res;

	stand_close(&s);
	s.layer = under_faults;
	stand_open(&s);
	v = stand_create(&s, s.root, "f", S_IFREG | 0644);
	memset(value, 'v', sizeof(value));
	assert_ok(view_setxattr(v, span_str("user.a"), span_of(value, sizeof(value)), 0, false,
				&s.acc));
	assert_ok(view_setxattr(v, span_str("user.b"), span_of(value, sizeof(value)), 0, false,
				&s.acc));
	assert_ok(fault_backend_add(faults, &f));
	assert_ok(fault_backend_add(faults, &g));
	assert_int_equal(head_commit(s.head, &req, &s.acc, &res), -EIO);
	assert_ok(view_setattr(v, &a, &s.acc, &st));
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_ok(view_open(v, O_WRONLY, &s.acc));
	assert_ok(view_write(v, 0, span_str("x"), false, true, &s.acc));
	view_close(v, O_WRONLY);
	vnode_unref(s.vnodes, v);
	stand_remove(&s);
}

/* Room */

/* Appends noise until an error, which is returned; *@ret_written: the bytes. */
static int fill(struct headstand *s, struct vnode *v, uint64_t *ret_written)
{
	static uint8_t noise[65536];
	struct prng p = { 9 };
	uint64_t off = 0;
	int r;

	prng_fill(&p, noise, sizeof(noise));
	assert_ok(view_open(v, O_WRONLY, &s->acc));
	do {
		r = view_write(v, off, span_of(noise, sizeof(noise)), false, false, &s->acc);
		off += r == 0 ? sizeof(noise) : 0;
	} while (r == 0 && off < 4 * ROOM);
	view_close(v, O_WRONLY);
	*ret_written = off;
	return r;
}

static struct headstand small_stand(void)
{
	struct headstand s = stand_make();

	stand_close(&s);
	s.disk_bytes = ROOM;
	stand_open(&s);
	return s;
}

static void a_full_stage_refuses_writes_and_nothing_else(void **state)
{
	struct headstand s = small_stand();
	struct setattr cut = { .what = SETATTR_SIZE, .size = ROOM / 2 };
	struct vnode *a = stand_create(&s, s.root, "a", S_IFREG | 0644), *b;
	uint64_t n, more;
	struct stat st;

	assert_int_equal(fill(&s, a, &n), -ENOSPC);
	assert_true(n >= ROOM / 2 && n <= ROOM);
	assert_ok(view_getattr(a, &s.acc, &st));
	assert_int_equal(st.st_size, n);
	/* Names, modes and sizes change all the same. */
	b = stand_create(&s, s.root, "b", S_IFREG | 0644);
	assert_ok(view_rename(s.root, span_str("b"), s.root, span_str("c"), 0, &s.acc));
	assert_ok(view_setattr(a, &cut, &s.acc, &st));
	/* What was cut off can be had again. */
	assert_int_equal(fill(&s, b, &more), -ENOSPC);
	assert_true(more >= ROOM / 4);
	/* A commit empties the stage. */
	stand_commit(&s, NULL);
	assert_ok(view_unlink(s.root, span_str("c"), &s.acc));
	vnode_unref(s.vnodes, b);
	b = stand_create(&s, s.root, "d", S_IFREG | 0644);
	assert_int_equal(fill(&s, b, &more), -ENOSPC);
	assert_true(more >= ROOM / 2);
	assert_ok(view_unlink(s.root, span_str("d"), &s.acc));
	assert_ok(view_unlink(s.root, span_str("a"), &s.acc));
	vnode_unref(s.vnodes, a);
	vnode_unref(s.vnodes, b);
	stand_remove(&s);
}

static void a_large_file_that_was_cut_short_leaves_nothing(void **state)
{
	struct headstand s = small_stand();
	struct setattr cut = { .what = SETATTR_SIZE, .size = 0 };
	struct vnode *a = stand_create(&s, s.root, "a", S_IFREG | 0644);
	struct heads_stats before, after;
	struct stat st;
	uint64_t n;

	heads_stats(s.heads, &before);
	for (unsigned i = 0; i < 5; i++) {
		static uint8_t bytes[3 << 20];
		struct prng p = { i };

		prng_fill(&p, bytes, sizeof(bytes));
		assert_ok(view_open(a, O_WRONLY, &s.acc));
		assert_ok(view_write(a, 1, span_of(bytes, sizeof(bytes)), false, false, &s.acc));
		view_close(a, O_WRONLY);
		assert_ok(view_setattr(a, &cut, &s.acc, &st));
		assert_ok(view_setattr(a, &(struct setattr){ .what = SETATTR_MODE, .mode = i + 1 },
				       &s.acc, &st));
		stand_commit(&s, NULL);
	}
	for (unsigned i = 0; i < 1000; i++) {
		assert_ok(view_fsync(s.root));
		heads_stats(s.heads, &after);
		if (after.staged == before.staged)
			break;
		usleep(1000);
	}
	assert_int_equal(after.staged, before.staged);
	assert_int_equal(fill(&s, a, &n), -ENOSPC);
	vnode_unref(s.vnodes, a);
	stand_remove(&s);
}

static void room_comes_back_at_the_last_close(void **state)
{
	struct headstand s = small_stand();
	struct vnode *a = stand_create(&s, s.root, "a", S_IFREG | 0644),
		     *b = stand_create(&s, s.root, "b", S_IFREG | 0644);
	uint64_t n, more;

	assert_ok(view_open(a, O_RDWR, &s.acc));
	assert_int_equal(fill(&s, a, &n), -ENOSPC);
	assert_ok(view_unlink(s.root, span_str("a"), &s.acc));
	assert_int_equal(fill(&s, b, &more), -ENOSPC);
	assert_true(more < ROOM / 4);
	view_close(a, O_RDWR);
	vnode_unref(s.vnodes, a);
	assert_int_equal(fill(&s, b, &more), -ENOSPC);
	assert_true(more >= ROOM / 2);
	vnode_unref(s.vnodes, b);
	stand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failing_backend_loses_nothing),
		cmocka_unit_test(lost_replies_lose_nothing),
		cmocka_unit_test(a_full_stage_refuses_writes_and_nothing_else),
		cmocka_unit_test(room_comes_back_at_the_last_close),
		cmocka_unit_test(a_large_file_that_was_cut_short_leaves_nothing),
		cmocka_unit_test(a_file_with_many_xattrs_changes_while_a_commit_is_stuck),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
