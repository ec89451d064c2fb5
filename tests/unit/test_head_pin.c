/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Pins of a head: what they hold, and that a pinned head is to whoever asks what it would be
 * without.
 */
#include <pthread.h>

#include "backend/fault.h"
#include "followstand.h"
#include "head/pin.h"
#include "head/record.h"

static const struct pin_request plain;

static void put(struct headstand *s, struct vnode *root, const char *name, const char *text)
{
	struct vnode *v;
	struct stat st;

	if (view_lookup(root, span_str(name), &s->acc, &v, &st) < 0)
		v = stand_create(s, root, name, S_IFREG | 0644);
	put_text(s, v, text);
	vnode_unref(s->vnodes, v);
}

/* What @name is in a commit. */
static void assert_has(struct headstand *s, const struct oid *id, const char *name,
		       const char *text)
{
	struct vnode *root = stand_commit_root(s, id), *v;
	char bytes[64] = "";
	struct stat st;

	assert_ok(view_lookup(root, span_str(name), &s->acc, &v, &st));
	assert_ok(view_open(v, O_RDONLY, &s->acc));
	assert_int_equal(view_read(v, 0, sizeof(bytes), bytes, &s->acc), strlen(text));
	assert_string_equal(bytes, text);
	view_close(v, O_RDONLY);
	vnode_unref(s->vnodes, v);
	vnode_unref(s->vnodes, root);
}

static struct oid pin(struct headstand *s, bool want_new)
{
	struct oid id;
	bool is_new;

	assert_ok(head_pin(s->head, &plain, &s->acc, &id, &is_new));
	assert_int_equal(is_new, want_new);
	return id;
}

static struct commit load_commit(struct headstand *s, const struct oid *id, struct buf *object)
{
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct commit c;

	assert_ok(refs_repo(s->store->refs, "r", &w, &rec));
	assert_ok(refs_commit(s->store->refs, &rec.id, id, &w, object));
	assert_ok(commit_read(buf_span(object), id, &c));
	return c;
}

/* @id's only parent is @want; null: it has none. */
static void assert_parent(struct headstand *s, const struct oid *id, const struct oid *want)
{
	_cleanup_buf_ struct buf object = { 0 };
	struct commit c = load_commit(s, id, &object);

	assert_int_equal(c.parent_count, !oid_is_null(want));
	if (c.parent_count)
		assert_true(oid_equal(&c.parents[0], want));
	commit_release(&c);
}

static struct oid tip(struct headstand *s)
{
	_cleanup_(head_status_release) struct head_status st = { 0 };

	assert_ok(head_status(s->head, &st));
	return st.tip;
}

static bool is_dirty(struct headstand *s)
{
	_cleanup_(head_status_release) struct head_status st = { 0 };

	assert_ok(head_status(s->head, &st));
	return st.is_dirty;
}

static void a_pin_is_a_commit_of_what_is_there_and_moves_no_branch(void **state)
{
	struct headstand s = stand_make();
	struct oid base, p;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	put(&s, s.root, "a", "two");
	p = pin(&s, true);
	assert_has(&s, &p, "a", "two");
	assert_parent(&s, &p, &base);
	base = tip(&s);
	assert_has(&s, &base, "a", "one");
	assert_true(is_dirty(&s));
	stand_remove(&s);
}

static void a_pin_says_that_it_is_one(void **state)
{
	struct headstand s = stand_make();
	const struct commit_meta meta = { span_str("pfs.run"), span_str("20260101-000000-aaaa") };
	const struct pin_request req = { .message = "why", .meta = &meta, .meta_count = 1 };
	_cleanup_buf_ struct buf object = { 0 };
	struct commit c;
	struct oid id;
	bool is_new;

	put(&s, s.root, "a", "one");
	assert_ok(head_pin(s.head, &req, &s.acc, &id, &is_new));
	c = load_commit(&s, &id, &object);
	assert_true(span_equal(c.message, span_str("why")));
	assert_int_equal(c.meta_count, 3);
	assert_true(span_equal(c.meta[0].key, span_str("pfs.branch")));
	assert_true(span_equal(c.meta[1].key, span_str("pfs.pin")));
	assert_true(span_equal(c.meta[1].value, span_str("1")));
	assert_true(span_equal(c.meta[2].key, span_str("pfs.run")));
	commit_release(&c);
	stand_remove(&s);
}

static int is_id(const char *hex, void *ctx)
{
	char wanted[OID_HEX];

	return strcmp(hex, oid_hex(ctx, wanted)) == 0;
}

static struct resolved resolve(struct refs *refs, const char *text)
{
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct resolved x;

	assert_ok(refs_repo(refs, "r", &w, &rec));
	assert_ok(refs_resolve(refs, &rec.id, text, &w, &x));
	return x;
}

/* It is listed among the pins alone, and found by its id and by digits of it. */
static void assert_is_pin(struct refs *refs, struct oid *id)
{
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct resolved x;
	char hex[OID_HEX];

	assert_ok(refs_repo(refs, "r", &w, &rec));
	assert_int_equal(refs_list_commits(refs, &rec.id, &w, is_id, id), 0);
	assert_int_equal(refs_list_pins(refs, &rec.id, &w, is_id, id), 1);
	oid_hex(id, hex);
	x = resolve(refs, hex);
	assert_true(oid_equal(&x.commit, id));
	hex[40] = '\0';
	x = resolve(refs, hex);
	assert_true(oid_equal(&x.commit, id));
}

static void a_pin_is_not_among_the_commits_and_is_found_all_the_same(void **state)
{
	struct headstand s = stand_make();
	_cleanup_free_ char *elsewhere = NULL;
	struct store_options o = { .threads = 1 };
	struct store *other;
	struct oid base, p;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	put(&s, s.root, "a", "two");
	p = pin(&s, true);
	assert_is_pin(s.store->refs, &p);
	remount(&s);
	assert_is_pin(s.store->refs, &p);
	elsewhere = strf("%s/elsewhere", s.state);
	o.state_dir = elsewhere;
	assert_ok(store_open(s.store->backend->url, &o, &other));
	assert_is_pin(other->refs, &p);
	store_free(other);
	assert_has(&s, &p, "a", "two");
	assert_parent(&s, &p, &base);
	stand_remove(&s);
}

static void a_pin_of_a_clean_head_is_its_last_commit(void **state)
{
	struct headstand s = stand_make();
	struct oid id = pin(&s, false), base;

	assert_true(oid_is_null(&id));
	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	id = pin(&s, false);
	assert_true(oid_equal(&id, &base));
	assert_false(is_dirty(&s));
	stand_remove(&s);
}

static void a_pin_with_nothing_new_is_the_last_one(void **state)
{
	struct headstand s = stand_make();
	struct oid p, q;

	put(&s, s.root, "a", "one");
	p = pin(&s, true);
	q = pin(&s, false);
	assert_true(oid_equal(&p, &q));
	stand_close(&s);
	stand_open(&s);
	q = pin(&s, false);
	assert_true(oid_equal(&p, &q));
	put(&s, s.root, "b", "x");
	assert_ok(view_unlink(s.root, span_str("b"), &s.acc));
	q = pin(&s, true); /* the root's times */
	assert_false(oid_equal(&p, &q));
	stand_remove(&s);
}

static void a_later_pin_has_the_same_parent_and_not_the_former_pin(void **state)
{
	struct headstand s = stand_make();
	struct oid base, p, q;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	put(&s, s.root, "a", "two");
	p = pin(&s, true);
	put(&s, s.root, "b", "three");
	q = pin(&s, true);
	assert_false(oid_equal(&p, &q));
	assert_parent(&s, &q, &base);
	assert_has(&s, &q, "a", "two");
	assert_has(&s, &q, "b", "three");
	stand_remove(&s);
}

static void a_commit_after_pins_has_none_in_its_history(void **state)
{
	struct headstand s = stand_make();
	struct oid base, id, now;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	put(&s, s.root, "a", "two");
	pin(&s, true);
	/* With nothing over the pin, and with something. */
	id = stand_commit(&s, "named");
	assert_parent(&s, &id, &base);
	assert_has(&s, &id, "a", "two");
	assert_false(is_dirty(&s));
	now = tip(&s);
	assert_true(oid_equal(&now, &id));
	put(&s, s.root, "a", "333");
	pin(&s, true);
	put(&s, s.root, "b", "four");
	base = id;
	id = stand_commit(&s, NULL);
	assert_parent(&s, &id, &base);
	assert_has(&s, &id, "a", "333");
	assert_has(&s, &id, "b", "four");
	stand_remove(&s);
}

static void the_first_commit_after_a_pin_of_an_unborn_branch_has_no_parent(void **state)
{
	struct headstand s = stand_make();
	const struct oid none = { 0 };
	struct oid p, id;

	put(&s, s.root, "a", "one");
	p = pin(&s, true);
	assert_parent(&s, &p, &none);
	id = head_committed(s.head);
	assert_true(oid_is_null(&id));
	id = stand_commit(&s, NULL);
	assert_parent(&s, &id, &none);
	assert_has(&s, &id, "a", "one");
	stand_remove(&s);
}

/* Takes the name away and brings back all that it has changed. */
static void revert(struct headstand *s, const char *name, const struct stat *was)
{
	struct setattr a = { .what = SETATTR_MTIME | SETATTR_CTIME };
	struct stat st;

	assert_ok(view_unlink(s->root, span_str(name), &s->acc));
	a.mtime = was->st_mtim;
	a.ctime = was->st_ctim;
	assert_ok(view_setattr(s->root, &a, &s->acc, &st));
}

static void a_head_goes_back_to_its_commit_when_all_was_reverted(void **state)
{
	struct headstand s = stand_make();
	struct commit_request req = { .name = "v1" };
	struct commit_result res;
	struct oid base, id;
	struct stat was;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	assert_ok(view_getattr(s.root, &s.acc, &was));
	put(&s, s.root, "b", "two");
	pin(&s, true);
	revert(&s, "b", &was);
	id = pin(&s, true);
	assert_true(oid_equal(&id, &base));
	assert_false(is_dirty(&s));
	/* The same by a commit. */
	put(&s, s.root, "b", "two");
	pin(&s, true);
	revert(&s, "b", &was);
	assert_ok(head_commit(s.head, &req, &s.acc, &res));
	assert_false(res.is_new);
	assert_true(oid_equal(&res.id, &base));
	assert_false(is_dirty(&s));
	stand_remove(&s);
}

static struct id128 repo_of(struct headstand *s)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };

	assert_ok(refs_repo(s->store->refs, "r", &w, &rec));
	return rec.id;
}

/* From here on it is about another branch, made at @id. */
static struct vnode *branch_root(struct headstand *s, const char *name, const struct oid *id,
				 struct view **ret)
{
	struct id128 repo = repo_of(s);
	struct vnode *root;

	assert_ok(refs_create_branch(s->store->refs, &repo, name, id, NULL));
	assert_ok(heads_get(s->heads, "r", name, &s->acc, ret));
	assert_ok(view_root(*ret, &root));
	return root;
}

static void a_pinned_head_follows_nobody_until_it_is_committed(void **state)
{
	struct headstand s = stand_make(), o;
	struct oid target, id;

	put(&s, s.root, "a", "one");
	stand_commit(&s, NULL);
	o = other_mount(&s);
	put(&o, o.root, "c", "other");
	target = stand_commit(&o, NULL);
	put(&s, s.root, "b", "three");
	pin(&s, true);
	assert_int_equal(head_follow(s.head, &target, &s.acc), 0);
	assert_text(&s, "b", "three");
	/* The commit is merged with what the other has, without the pin. */
	stand_commit(&s, NULL);
	assert_text(&s, "c", "other");
	id = tip(&s);
	assert_has(&s, &id, "b", "three");
	assert_has(&s, &id, "c", "other");
	leave(&o);
	stand_remove(&s);
}

static void a_branch_whose_head_is_pinned_cannot_be_removed(void **state)
{
	struct headstand s = stand_make();
	const struct pin_request req = { 0 };
	struct deadline dl = DEADLINE_NEVER;
	struct id128 repo = repo_of(&s);
	struct vnode *root;
	struct view *v;
	struct oid id;
	bool is_new;

	put(&s, s.root, "a", "one");
	id = stand_commit(&s, NULL);
	root = branch_root(&s, "try", &id, &v);
	put(&s, root, "b", "two");
	assert_ok(head_pin(v, &req, &s.acc, &id, &is_new));
	assert_int_equal(heads_remove(s.heads, &repo, "try", &dl), -ENOTEMPTY);
	assert_ok(view_unlink(root, span_str("b"), &s.acc));
	assert_int_equal(heads_remove(s.heads, &repo, "try", &dl), -ENOTEMPTY);
	vnode_unref(s.vnodes, root);
	view_unref(v);
	stand_remove(&s);
}

static void a_pinned_head_is_what_it_was_after_a_restart(void **state)
{
	struct headstand s = stand_make();
	struct oid base, committed, p, q, id;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	put(&s, s.root, "a", "two");
	p = pin(&s, true);
	stand_close(&s);
	stand_open(&s);
	committed = head_committed(s.head);
	assert_true(oid_equal(&committed, &base));
	q = view_commit(s.head);
	assert_true(oid_equal(&q, &p));
	assert_true(is_dirty(&s));
	id = stand_commit(&s, NULL);
	assert_parent(&s, &id, &base);
	assert_has(&s, &id, "a", "two");
	stand_remove(&s);
}

static void the_commit_that_files_tell_of_is_the_committed_one(void **state)
{
	struct headstand s = stand_make();
	_cleanup_buf_ struct buf text = { 0 };
	char hex[OID_HEX];
	struct oid base;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	put(&s, s.root, "a", "two");
	pin(&s, true);
	assert_ok(view_getxattr(s.root, span_str("user.pfs.commit"), &s.acc, &text));
	assert_true(span_equal(buf_span(&text), span_str(oid_hex(&base, hex))));
	stand_remove(&s);
}

static void a_head_that_only_has_files_without_a_name_has_nothing_to_pin(void **state)
{
	struct headstand s = stand_make();
	struct new_file f = { .mode = S_IFREG | 0600 };
	struct oid base, id;
	struct vnode *v;
	char bytes[8] = "";
	struct stat st;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	assert_ok(view_tmpfile(s.root, &f, &s.acc, &v, &st));
	assert_ok(view_open(v, O_RDWR, &s.acc));
	assert_ok(view_write(v, 0, span_str("secret"), false, false, &s.acc));
	id = pin(&s, false);
	assert_true(oid_equal(&id, &base));
	put(&s, s.root, "b", "two");
	pin(&s, true);
	assert_int_equal(view_read(v, 0, sizeof(bytes), bytes, &s.acc), 6);
	assert_string_equal(bytes, "secret");
	view_close(v, O_RDWR);
	vnode_unref(s.vnodes, v);
	stand_remove(&s);
}

/* Counts in one branch, then in the other. */
struct counting {
	struct headstand *s;
	struct vnode *file[2];
	atomic_bool stop;
};

static void *keep_counting(void *arg)
{
	struct counting *c = arg;
	struct access acc;

	access_init(&acc, c->s->store->reader, true);
	acc.deadline = DEADLINE_NEVER;
	while (!c->stop)
		for (unsigned i = 0; i < 2; i++) {
			assert_ok(view_open(c->file[i], O_RDWR, &acc));
			assert_ok(view_write(c->file[i], 0, span_str("x"), true, false, &acc));
			view_close(c->file[i], O_RDWR);
		}
	access_release(&acc);
	return NULL;
}

static uint64_t size_in(struct headstand *s, const struct oid *id, const char *name)
{
	struct vnode *root = stand_commit_root(s, id), *v;
	struct stat st;

	assert_ok(view_lookup(root, span_str(name), &s->acc, &v, &st));
	vnode_unref(s->vnodes, v);
	vnode_unref(s->vnodes, root);
	return (uint64_t)st.st_size;
}

static void all_heads_are_pinned_at_one_instant(void **state)
{
	struct headstand s = stand_make();
	struct counting c = { .s = &s };
	struct view *other;
	struct vnode *root;
	pthread_t thread;
	struct oid id;

	c.file[0] = stand_create(&s, s.root, "n", S_IFREG | 0644);
	id = stand_commit(&s, NULL);
	root = branch_root(&s, "try", &id, &other);
	assert_ok(view_unlink(root, span_str("n"), &s.acc));
	c.file[1] = stand_create(&s, root, "n", S_IFREG | 0644);
	assert_ok(pthread_create(&thread, NULL, keep_counting, &c));
	for (unsigned i = 0; i < 40; i++) {
		struct pinned *p;
		uint64_t n[2];
		size_t count;

		assert_ok(heads_pin(s.heads, &plain, &s.acc, &p, &count));
		assert_int_equal(count, 2);
		assert_string_equal(p[0].branch_name, "main");
		assert_string_equal(p[1].branch_name, "try");
		for (unsigned k = 0; k < 2; k++) {
			assert_string_equal(p[k].repo_name, "r");
			assert_true(oid_equal(&p[k].committed, &id));
			n[k] = size_in(&s, &p[k].commit, "n");
		}
		assert_true(n[0] == n[1] || n[0] == n[1] + 1);
		free(p);
	}
	c.stop = true;
	pthread_join(thread, NULL);
	for (unsigned k = 0; k < 2; k++)
		vnode_unref(s.vnodes, c.file[k]);
	vnode_unref(s.vnodes, root);
	view_unref(other);
	stand_remove(&s);
}

/* Two who pin all heads, and one who commits each, all at once. */
struct crowd {
	struct headstand *s;
	struct view *other;
	unsigned who;
};

static void *pin_or_commit(void *arg)
{
	struct crowd *c = arg;
	const struct commit_request req = { 0 };
	struct commit_result res;
	struct pinned *p;
	struct access acc;
	size_t count;

	access_init(&acc, c->s->store->reader, true);
	acc.deadline = DEADLINE_NEVER;
	for (unsigned i = 0; i < 30; i++) {
		if (c->who < 2) {
			assert_ok(heads_pin(c->s->heads, &plain, &acc, &p, &count));
			free(p);
			continue;
		}
		assert_ok(head_commit(c->s->head, &req, &acc, &res));
		assert_ok(head_commit(c->other, &req, &acc, &res));
	}
	access_release(&acc);
	return NULL;
}

static void who_pins_and_who_commits_wait_for_one_another_and_not_for_ever(void **state)
{
	struct headstand s = stand_make();
	struct crowd c[3];
	pthread_t thread[3];
	struct view *other;
	struct vnode *root;
	char name[16];
	struct oid id;

	put(&s, s.root, "a", "one");
	id = stand_commit(&s, NULL);
	root = branch_root(&s, "try", &id, &other);
	for (unsigned i = 0; i < 3; i++) {
		c[i] = (struct crowd){ &s, other, i };
		assert_ok(pthread_create(&thread[i], NULL, pin_or_commit, &c[i]));
	}
	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		put(&s, i % 2 ? root : s.root, name, "x");
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	id = stand_commit(&s, NULL);
	assert_has(&s, &id, "f198", "x");
	vnode_unref(s.vnodes, root);
	view_unref(other);
	stand_remove(&s);
}

static struct backend *faults;

static struct backend *under_faults(struct backend *inner)
{
	assert_ok(fault_backend_new(inner, &faults));
	return faults;
}

static void a_pin_that_cannot_be_stored_changes_nothing(void **state)
{
	struct headstand s = stand_make();
	const struct fault f = { .op = FAULT_PUT, .error = -EIO };
	struct pinned *p = NULL;
	struct oid base, id;
	bool is_new;
	size_t n;

	put(&s, s.root, "a", "one");
	base = stand_commit(&s, NULL);
	stand_close(&s);
	s.layer = under_faults;
	stand_open(&s);
	/* More often than as many can be kept apart. */
	for (unsigned i = 0; i < 2 * RECORD_FROZEN_MAX; i++) {
		char text[8];

		snprintf(text, sizeof(text), "%03u", i);
		put(&s, s.root, "a", text);
		assert_ok(fault_backend_add(faults, &f));
		assert_int_equal(head_pin(s.head, &plain, &s.acc, &id, &is_new), -EIO);
		assert_int_equal(heads_pin(s.heads, &plain, &s.acc, &p, &n), -EIO);
		fault_backend_clear(faults);
		assert_text(&s, "a", text);
		id = head_committed(s.head);
		assert_true(oid_equal(&id, &base));
	}
	put(&s, s.root, "b", "two");
	id = pin(&s, true);
	assert_has(&s, &id, "a", "011");
	assert_has(&s, &id, "b", "two");
	assert_parent(&s, &id, &base);
	stand_remove(&s);
}

static void what_has_not_changed_is_pinned_without_the_store(void **state)
{
	static const enum fault_op ops[] = { FAULT_GET, FAULT_GET_ALL, FAULT_HEAD,
					     FAULT_PUT, FAULT_SWAP,    FAULT_LIST };
	struct headstand s = stand_make();
	struct pinned *p = NULL;
	struct view *other;
	struct vnode *root;
	struct oid id, pins[2];
	size_t n;
	bool is_new;

	put(&s, s.root, "a", "one");
	id = stand_commit(&s, NULL);
	root = branch_root(&s, "try", &id, &other);
	put(&s, root, "a", "two");
	put(&s, s.root, "a", "333");
	pins[0] = pin(&s, true);
	assert_ok(head_pin(other, &plain, &s.acc, &pins[1], &is_new));
	vnode_unref(s.vnodes, root);
	view_unref(other);
	stand_close(&s);
	s.layer = under_faults;
	stand_open(&s); /* which opens main, and not try */
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		assert_ok(
			fault_backend_add(faults, &(struct fault){ .op = ops[i], .error = -EIO }));
	assert_ok(heads_pin(s.heads, &plain, &s.acc, &p, &n));
	assert_int_equal(n, 2);
	assert_true(oid_equal(&p[0].commit, &pins[0]));
	assert_true(oid_equal(&p[1].commit, &pins[1]));
	free(p);
	fault_backend_clear(faults);
	stand_remove(&s);
}

static void a_head_of_before_there_were_pins_has_its_base_committed(void **state)
{
	struct head_rec rec = { .repo_name = span_str("r"), .branch_name = span_str("main") }, got;
	const size_t added = OID_SIZE + 1;
	_cleanup_buf_ struct buf b = { 0 };

	rec.base.b[0] = 7;
	rec.branch.b[0] = 9;
	head_rec_put(&b, &rec);
	assert_ok(head_rec_read(buf_span(&b), &got));
	assert_true(oid_is_null(&got.committed));
	b.len -= added;
	assert_ok(head_rec_read(buf_span(&b), &got));
	assert_true(oid_equal(&got.committed, &rec.base));
	assert_true(id128_equal(&got.numbers, &rec.branch));
	assert_false(got.is_private);
	b.len--;
	assert_int_equal(head_rec_read(buf_span(&b), &got), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pin_is_a_commit_of_what_is_there_and_moves_no_branch),
		cmocka_unit_test(a_pin_says_that_it_is_one),
		cmocka_unit_test(a_pin_is_not_among_the_commits_and_is_found_all_the_same),
		cmocka_unit_test(a_pin_of_a_clean_head_is_its_last_commit),
		cmocka_unit_test(a_pin_with_nothing_new_is_the_last_one),
		cmocka_unit_test(a_later_pin_has_the_same_parent_and_not_the_former_pin),
		cmocka_unit_test(a_commit_after_pins_has_none_in_its_history),
		cmocka_unit_test(the_first_commit_after_a_pin_of_an_unborn_branch_has_no_parent),
		cmocka_unit_test(a_head_goes_back_to_its_commit_when_all_was_reverted),
		cmocka_unit_test(a_pinned_head_follows_nobody_until_it_is_committed),
		cmocka_unit_test(a_branch_whose_head_is_pinned_cannot_be_removed),
		cmocka_unit_test(a_pinned_head_is_what_it_was_after_a_restart),
		cmocka_unit_test(the_commit_that_files_tell_of_is_the_committed_one),
		cmocka_unit_test(a_head_that_only_has_files_without_a_name_has_nothing_to_pin),
		cmocka_unit_test(all_heads_are_pinned_at_one_instant),
		cmocka_unit_test(who_pins_and_who_commits_wait_for_one_another_and_not_for_ever),
		cmocka_unit_test(a_pin_that_cannot_be_stored_changes_nothing),
		cmocka_unit_test(what_has_not_changed_is_pinned_without_the_store),
		cmocka_unit_test(a_head_of_before_there_were_pins_has_its_base_committed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
