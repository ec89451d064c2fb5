/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Two mounts that change one branch by turns, at random, each following the other, against the
 * model of a tree; and files that are held on both all the while: none ever shows what was done
 * elsewhere, none has the number of another, and numbers outlive a mount.
 */
#include "base/hash.h"
#include "followstand.h"
#include "headmodel.h"
#include "nosync.h"

enum {
	TURNS = 120,
	STEPS_MAX = 12, /* of a turn */
	HELD = 24, /* on each mount */
	PATH_DEPTH = 6,
	RESTARTS = 10, /* one in so many turns */
	SEEDS = 4,
};

struct held {
	struct vnode *v; /* a reference; NULL: none */
	bool is_open;
	uint64_t was; /* what it had in it */
	off_t size;
};

struct side {
	struct headstand s;
	struct held held[HELD];
	uint64_t numbers; /* a sum over all names and their inode numbers */
};

static uint64_t content_of(struct side *side, struct held *h, off_t *ret_size)
{
	struct access *acc = &side->s.acc;
	struct stat st;
	uint64_t sum = 0;
	uint8_t *bytes;
	int64_t n;

	assert_ok(view_getattr(h->v, acc, &st));
	*ret_size = st.st_size;
	if (!h->is_open)
		return 0;
	bytes = malloc((size_t)st.st_size + 1);
	assert_non_null(bytes);
	n = view_read(h->v, 0, (size_t)st.st_size + 1, bytes, acc);
	assert_int_equal(n, st.st_size);
	sum = hash_bytes(bytes, (size_t)n);
	free(bytes);
	return sum;
}

static void remember(struct side *side)
{
	for (unsigned i = 0; i < HELD; i++)
		if (side->held[i].v)
			side->held[i].was = content_of(side, &side->held[i], &side->held[i].size);
}

static void assert_as_remembered(struct side *side)
{
	for (unsigned i = 0; i < HELD; i++) {
		struct held *h = &side->held[i];
		off_t size;

		if (!h->v)
			continue;
		assert_int_equal(content_of(side, h, &size), h->was);
		if (h->v->type != FT_DIR)
			assert_int_equal(size, h->size);
	}
}

static void let_go(struct side *side, struct held *h)
{
	if (!h->v)
		return;
	if (h->is_open)
		view_close(h->v, O_RDONLY);
	vnode_unref(side->s.vnodes, h->v);
	*h = (struct held){ 0 };
}

/* Some file or directory, as the model has them. */
static void take(struct side *side, struct held *h, const struct model *m, struct prng *p)
{
	const struct model_file *f = m->root;
	struct vnode *at = side->s.root;
	struct stat st;

	vnode_ref(side->s.vnodes, at);
	for (unsigned depth = 0; depth < PATH_DEPTH && f->type == FT_DIR && f->count > 0; depth++) {
		const struct model_entry *e = &f->entries[prng_below(p, f->count)];
		struct vnode *next;

		assert_ok(view_lookup(at, span_str(e->name), &side->s.acc, &next, &st));
		vnode_unref(side->s.vnodes, at);
		at = next;
		f = e->file;
		if (f->type == FT_DIR && prng_below(p, 4) == 0)
			break;
	}
	h->v = at;
	h->is_open = at->type == FT_REG && prng_below(p, 4) > 0;
	if (h->is_open)
		assert_ok(view_open(at, O_RDONLY, &side->s.acc));
}

static void change_held(struct side *side, const struct model *m, struct prng *p)
{
	for (unsigned i = 0; i < HELD / 4; i++) {
		struct held *h = &side->held[prng_below(p, HELD)];

		let_go(side, h);
		if (prng_below(p, 4) > 0)
			take(side, h, m, p);
	}
}

/* Everything that has a name: each has one vnode, and a number that nobody else has. */
struct listing {
	struct side *side;
	struct vnode *dir;
};

static void walk(struct side *side, struct vnode *dir);

static int see(const struct dir_item *e, void *ctx)
{
	struct listing *l = ctx;
	struct side *side = l->side;
	struct vnode *v;
	struct stat st;

	assert_ok(view_lookup(l->dir, e->name, &side->s.acc, &v, &st));
	assert_int_equal(st.st_ino, e->ino);
	assert_int_equal(st.st_ino, v->ino);
	side->numbers += hash_bytes(e->name.data, e->name.len) * v->ino + l->dir->ino;
	for (unsigned i = 0; i < HELD; i++) {
		struct vnode *held = side->held[i].v;

		if (held && held != v)
			assert_int_not_equal(held->ino, v->ino);
	}
	if (v->type == FT_DIR)
		walk(side, v);
	vnode_unref(side->s.vnodes, v);
	return 0;
}

static void walk(struct side *side, struct vnode *dir)
{
	struct listing l = { side, dir };
	struct access acc;
	struct dir_handle *h;

	access_init(&acc, side->s.store->reader, true);
	acc.deadline = DEADLINE_NEVER;
	assert_ok(view_opendir(dir, &acc, &h));
	assert_ok(view_readdir(h, 0, false, &acc, see, &l));
	view_closedir(h);
	access_release(&acc);
}

static void turn(struct side *mover, struct side *follower, struct model *m, struct prng *p)
{
	struct headstand *s = &mover->s;
	struct oid before = view_commit(follower->s.head), id;

	remember(follower);
	for (uint64_t n = 1 + prng_below(p, STEPS_MAX); n > 0; n--)
		model_step(m, s->root, s->vnodes, &s->acc);
	id = stand_commit(s, NULL);
	remember(mover);
	if (!oid_equal(&id, &before))
		assert_follows(&follower->s, &id);
	assert_as_remembered(follower);
	assert_as_remembered(mover);
	model_check(m->root, follower->s.root, follower->s.vnodes, &follower->s.acc);
	walk(follower, follower->s.root);
	walk(mover, mover->s.root);
}

static void start_again(struct side *side)
{
	struct oid id = view_commit(side->s.head);
	uint64_t numbers;

	for (unsigned i = 0; i < HELD; i++)
		let_go(side, &side->held[i]);
	side->numbers = 0;
	walk(side, side->s.root);
	numbers = side->numbers;
	remount(&side->s);
	head_follow(side->s.head, &id, &side->s.acc);
	side->numbers = 0;
	walk(side, side->s.root);
	assert_int_equal(side->numbers, numbers);
}

static void take_turns(uint64_t seed)
{
	struct side a = { .s = stand_make() }, b = { 0 };
	struct prng p = { .state = seed };
	struct model m;

	model_init(&m, seed);
	stand_commit(&a.s, NULL);
	b.s = other_mount(&a.s);
	for (unsigned i = 0; i < TURNS; i++) {
		bool is_first = prng_below(&p, 2);

		turn(is_first ? &a : &b, is_first ? &b : &a, &m, &p);
		change_held(&a, &m, &p);
		change_held(&b, &m, &p);
		if (prng_below(&p, RESTARTS) == 0)
			start_again(is_first ? &a : &b);
	}
	for (unsigned i = 0; i < HELD; i++) {
		let_go(&a, &a.held[i]);
		let_go(&b, &b.held[i]);
	}
	model_check(m.root, a.s.root, a.s.vnodes, &a.s.acc);
	model_release(&m);
	leave(&b.s);
	stand_remove(&a.s);
}

static void nobody_who_holds_a_file_sees_what_the_other_mount_did_to_it(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		take_turns(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_who_holds_a_file_sees_what_the_other_mount_did_to_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
