/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Listings of a head: a name nobody touches comes exactly once, whatever else happens.
 */
#include "headstand.h"
#include "prng.h"

enum {
	NAMES = 4000,
};

/* One listing in small steps: how often each name came. */
struct seen {
	unsigned char times[NAMES];
	uint64_t pos;
	bool is_end;
	unsigned left; /* in this step */
};

static int see(const struct dir_item *e, void *ctx)
{
	struct seen *s = ctx;
	char name[32];
	unsigned n;

	if (s->left == 0)
		return 1;
	s->left--;
	s->pos = e->next_pos;
	snprintf(name, sizeof(name), "%.*s", (int)e->name.len, (const char *)e->name.data);
	assert_int_equal(sscanf(name, "n%u", &n), 1);
	s->times[n]++;
	s->is_end = false;
	return 0;
}

static void step(struct headstand *h, struct dir_handle *d, struct seen *s, unsigned count)
{
	s->left = count;
	s->is_end = true;
	assert_ok(view_readdir(d, s->pos, false, &h->acc, see, s));
	s->is_end = s->left > 0;
}

static void make(struct headstand *s, unsigned n)
{
	struct new_file f = { .mode = S_IFREG | 0644 };
	struct vnode *v;
	struct stat st;
	char name[16];

	snprintf(name, sizeof(name), "n%u", n);
	assert_ok(view_create(s->root, span_str(name), &f, &s->acc, &v, &st));
	vnode_unref(s->vnodes, v);
}

static void drop(struct headstand *s, unsigned n)
{
	char name[16];

	snprintf(name, sizeof(name), "n%u", n);
	assert_ok(view_unlink(s->root, span_str(name), &s->acc));
}

/*
 * Even names are left alone; odd ones come and go while listings with one-entry reads are under
 * way, and commits move all of them from the layers into the base.
 */
static void untouched_names_come_once(void **state)
{
	struct headstand s = stand_make();
	struct prng rng = { 11 };
	bool there[NAMES];

	for (unsigned i = 0; i < NAMES; i++) {
		make(&s, i);
		there[i] = true;
		if (i == NAMES / 3)
			stand_commit(&s, NULL);
	}
	for (unsigned round = 0; round < 6; round++) {
		struct seen seen = { .pos = 0 };
		struct dir_handle *d;

		assert_ok(view_opendir(s.root, &s.acc, &d));
		while (!seen.is_end) {
			unsigned n = (unsigned)prng_below(&rng, NAMES) | 1;

			step(&s, d, &seen, 1 + (unsigned)prng_below(&rng, 3));
			if (there[n])
				drop(&s, n);
			else
				make(&s, n);
			there[n] = !there[n];
			if (prng_below(&rng, 600) == 0)
				stand_commit(&s, NULL);
		}
		view_closedir(d);
		for (unsigned i = 0; i < NAMES; i += 2)
			if (seen.times[i] != 1)
				fail_msg("round %u: n%u came %u times", round, i, seen.times[i]);
	}
	stand_remove(&s);
}

static void a_position_leads_back_to_the_same_names(void **state)
{
	struct headstand s = stand_make();
	struct prng rng = { 12 };
	uint64_t *pos = new0(uint64_t, NAMES + 1);
	struct seen all = { .pos = 0 };
	struct dir_handle *d;
	unsigned n = 0;

	assert_non_null(pos);
	for (unsigned i = 0; i < NAMES; i++) {
		make(&s, i);
		if (i == NAMES / 2)
			stand_commit(&s, NULL);
	}
	assert_ok(view_opendir(s.root, &s.acc, &d));
	while (!all.is_end) {
		pos[n++] = all.pos;
		step(&s, d, &all, 1);
		assert_true(n <= NAMES + 1);
	}
	for (unsigned i = 0; i < 200; i++) {
		unsigned from = (unsigned)prng_below(&rng, NAMES);
		struct seen rest = { .pos = pos[from] };
		unsigned count = 0;

		while (!rest.is_end)
			step(&s, d, &rest, 500);
		for (unsigned k = 0; k < NAMES; k++)
			count += rest.times[k];
		assert_int_equal(count, NAMES - from);
	}
	view_closedir(d);
	free(pos);
	stand_remove(&s);
}

static void a_removed_directory_lists_nothing(void **state)
{
	struct headstand s = stand_make();
	struct new_file f = { .mode = S_IFDIR | 0755 };
	struct seen seen = { .pos = 0 };
	struct dir_handle *d;
	struct vnode *v;
	struct stat st;

	assert_ok(view_create(s.root, span_str("d"), &f, &s.acc, &v, &st));
	assert_ok(view_opendir(v, &s.acc, &d));
	assert_ok(view_rmdir(s.root, span_str("d"), &s.acc));
	step(&s, d, &seen, 10);
	assert_true(seen.is_end);
	f.mode = S_IFREG | 0644;
	assert_int_equal(view_create(v, span_str("x"), &f, &s.acc, &v, &st), -ENOENT);
	view_closedir(d);
	vnode_unref(s.vnodes, v);
	stand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(untouched_names_come_once),
		cmocka_unit_test(a_position_leads_back_to_the_same_names),
		cmocka_unit_test(a_removed_directory_lists_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
