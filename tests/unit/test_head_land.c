/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is done to a head between the publication of its commit and its landing, where other
 * threads come in and where a process may end.
 */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "headmodel.h"
#include "headstand.h"

/* Called once, when a branch has been moved; the process may end in it. */
static void (*published)(struct headstand *s);
static struct headstand *stand;
static const struct backend_ops *inner_ops;

static int swap_and_tell(struct backend *b, const char *key, const struct etag *tag,
			 struct span data, const struct deadline *dl, struct etag *ret_tag)
{
	int r = inner_ops->swap(b, key, tag, data, dl, ret_tag);

	if (r == 0 && published && strncmp(key, "heads/", 6) == 0) {
		void (*fn)(struct headstand *) = published;

		published = NULL;
		fn(stand);
	}
	return r;
}

static struct backend *telling(struct backend *b)
{
	static struct backend_ops ops;

	inner_ops = b->ops;
	ops = *b->ops;
	ops.swap = swap_and_tell;
	b->ops = &ops;
	return b;
}

static struct headstand make_stand(void)
{
	struct headstand s = stand_make();

	stand_close(&s);
	s.layer = telling;
	stand_open(&s);
	return s;
}

/* The commit's own access is in use. */
static struct access other_access(struct headstand *s)
{
	struct access acc;

	access_init(&acc, s->store->reader, true);
	acc.deadline = DEADLINE_NEVER;
	return acc;
}

static void put_text(struct headstand *s, struct vnode *v, const char *text)
{
	assert_ok(view_open(v, O_RDWR, &s->acc));
	assert_ok(view_write(v, 0, span_str(text), false, false, &s->acc));
	view_close(v, O_RDWR);
}

static void assert_text(struct headstand *s, const char *path, const char *want)
{
	char got[64] = { 0 };
	struct vnode *v;
	struct stat st;

	assert_ok(view_walk(s->root, span_str(path), &s->acc, &v, &st));
	assert_int_equal(st.st_size, strlen(want));
	assert_ok(view_open(v, O_RDONLY, &s->acc));
	assert_int_equal(view_read(v, 0, sizeof(got) - 1, got, &s->acc), strlen(want));
	view_close(v, O_RDONLY);
	vnode_unref(s->vnodes, v);
	assert_string_equal(got, want);
}

/* Runs @work in a process that ends when @then is done; the stand is open again afterwards. */
static void until_published(struct headstand *s, void (*work)(struct headstand *s),
			    void (*then)(struct headstand *s))
{
	int status;
	pid_t pid;

	stand_close(s);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		stand_open(s);
		stand = s;
		work(s);
		published = then;
		stand_commit(s, NULL);
		_exit(1); /* it was not published */
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	stand_open(s);
}

static void fill_dir(struct headstand *s)
{
	struct vnode *d = stand_create(s, s->root, "d", S_IFDIR | 0755);
	struct vnode *f = stand_create(s, d, "f", S_IFREG | 0644);

	put_text(s, f, "what the commit has");
	vnode_unref(s->vnodes, f);
	vnode_unref(s->vnodes, d);
}

/* Somebody still has the directory when the process ends. */
static void move_out_and_end(struct headstand *s)
{
	struct access acc = other_access(s);
	struct vnode *d;
	struct stat st;

	assert_ok(view_lookup(s->root, span_str("d"), &acc, &d, &st));
	assert_ok(view_rename(d, span_str("f"), s->root, span_str("g"), 0, &acc));
	assert_ok(view_rmdir(s->root, span_str("d"), &acc));
	_exit(0);
}

static void what_left_a_directory_before_it_went_lands_after_a_kill(void **state)
{
	struct headstand s = make_stand();

	until_published(&s, fill_dir, move_out_and_end);
	assert_text(&s, "g", "what the commit has");
	stand_commit(&s, NULL);
	assert_text(&s, "g", "what the commit has");
	stand_commit(&s, NULL);
	stand_close(&s);
	stand_open(&s);
	assert_text(&s, "g", "what the commit has");
	stand_remove(&s);
}

static struct vnode *nameless;

static void name_it(struct headstand *s)
{
	struct access acc = other_access(s);
	struct stat st;

	assert_ok(view_link(nameless, s->root, span_str("f"), &acc, &st));
	access_release(&acc);
}

static void a_file_that_is_given_a_name_during_a_commit_keeps_its_bytes(void **state)
{
	struct headstand s = make_stand();
	struct new_file f = { .mode = S_IFREG | 0644 };
	struct stat st;

	stand = &s;
	vnode_unref(s.vnodes, stand_create(&s, s.root, "other", S_IFREG | 0644));
	assert_ok(view_tmpfile(s.root, &f, &s.acc, &nameless, &st));
	put_text(&s, nameless, "of no name");
	published = name_it;
	stand_commit(&s, NULL);
	assert_null(published);
	assert_text(&s, "f", "of no name");
	vnode_unref(s.vnodes, nameless);
	stand_close(&s);
	stand_open(&s);
	assert_text(&s, "f", "of no name");
	stand_commit(&s, NULL);
	assert_text(&s, "f", "of no name");
	stand_remove(&s);
}

static unsigned files;

static void name_of(unsigned i, char ret[16])
{
	snprintf(ret, 16, "f%u", i);
}

static void change_all(struct headstand *s)
{
	struct setattr a = { .what = SETATTR_MODE, .mode = 0600 };
	struct access acc = other_access(s);
	char name[16];

	for (unsigned i = 0; i < files; i++) {
		struct vnode *v;
		struct stat st;

		name_of(i, name);
		assert_ok(view_lookup(s->root, span_str(name), &acc, &v, &st));
		assert_ok(view_setattr(v, &a, &acc, &st));
		vnode_unref(s->vnodes, v);
	}
	access_release(&acc);
}

/* PFS_LONG=1: more than one change of the table could hold. */
static void however_much_changes_during_a_commit_it_lands(void **state)
{
	struct headstand s = make_stand();
	char name[16];

	files = getenv("PFS_LONG") ? 500000 : 2500;
	stand = &s;
	for (unsigned i = 0; i < files; i++) {
		struct vnode *v;

		name_of(i, name);
		v = stand_create(&s, s.root, name, S_IFREG | 0644);
		if (i % 50 == 0)
			put_text(&s, v, name);
		vnode_unref(s.vnodes, v);
	}
	published = change_all;
	stand_commit(&s, NULL);
	assert_null(published);
	stand_close(&s);
	stand_open(&s);
	for (unsigned i = 0; i < files; i++) {
		struct vnode *v;
		struct stat st;

		name_of(i, name);
		assert_text(&s, name, i % 50 == 0 ? name : "");
		assert_ok(view_lookup(s.root, span_str(name), &s.acc, &v, &st));
		assert_int_equal(st.st_mode, S_IFREG | 0600);
		vnode_unref(s.vnodes, v);
	}
	stand_remove(&s);
}

/* What a kernel holds of a head: files it has looked up, those without a name among them. */
struct held {
	struct vnode *v[4096]; /* references */
	unsigned count;
	struct vnode *dir; /* being listed */
};

static int hold_one(const struct dir_item *e, void *ctx)
{
	struct held *h = ctx;

	if (h->count < ARRAY_SIZE(h->v)) {
		vnode_ref(stand->vnodes, e->vnode);
		h->v[h->count++] = e->vnode;
	}
	return 0;
}

static void hold_all(struct headstand *s, struct access *acc, struct held *h)
{
	h->count = 0;
	vnode_ref(s->vnodes, s->root);
	h->v[h->count++] = s->root;
	for (unsigned i = 0; i < h->count; i++) {
		struct dir_handle *d;

		if (h->v[i]->type != FT_DIR)
			continue;
		assert_ok(view_opendir(h->v[i], acc, &d));
		assert_ok(view_readdir(d, 0, true, acc, hold_one, h));
		view_closedir(d);
	}
}

static void let_go(struct headstand *s, struct held *h)
{
	while (h->count > 0)
		vnode_unref(s->vnodes, h->v[--h->count]);
}

static struct model model;
static struct held held;
static struct prng own;
static unsigned before, meanwhile; /* steps */
static bool is_to_end;

static void step(struct headstand *s, struct access *acc, unsigned n)
{
	while (n-- > 0)
		model_step(&model, s ? s->root : NULL, s ? s->vnodes : NULL, acc);
}

static void step_meanwhile(struct headstand *s)
{
	struct access acc = other_access(s);

	hold_all(s, &acc, &held);
	step(s, &acc, meanwhile);
	if (is_to_end)
		_exit(0);
	model_check(model.root, s->root, s->vnodes, &acc);
	access_release(&acc);
}

static void step_before(struct headstand *s)
{
	step(s, &s->acc, before);
}

/* So that something is to be committed. */
static void touch(struct headstand *s)
{
	struct setattr a = { .what = SETATTR_MTIME };
	struct stat st;

	assert_int_equal(clock_gettime(CLOCK_REALTIME, &a.mtime), 0);
	assert_ok(view_setattr(s->root, &a, &s->acc, &st));
}

static void random_operations_before_a_landing_agree_with_a_model(void **state)
{
	bool is_long = getenv("PFS_LONG");
	struct headstand s = make_stand();

	model_init(&model, 11);
	own = (struct prng){ 12 };
	stand = &s;
	for (unsigned round = 0; round < (is_long ? 1000 : 60); round++) {
		before = (unsigned)prng_below(&own, 60);
		meanwhile = (unsigned)prng_below(&own, 60);
		is_to_end = prng_below(&own, 2) == 0;
		touch(&s);
		if (is_to_end) {
			until_published(&s, step_before, step_meanwhile);
			step(NULL, NULL, before + meanwhile);
		} else {
			step_before(&s);
			published = step_meanwhile;
			stand_commit(&s, NULL);
			assert_null(published);
		}
		model_check(model.root, s.root, s.vnodes, &s.acc);
		let_go(&s, is_to_end ? &(struct held){ 0 } : &held);
		if (prng_below(&own, 3) == 0) {
			step(&s, &s.acc, meanwhile);
			stand_commit(&s, NULL);
			model_check(model.root, s.root, s.vnodes, &s.acc);
		}
	}
	model_release(&model);
	stand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_left_a_directory_before_it_went_lands_after_a_kill),
		cmocka_unit_test(a_file_that_is_given_a_name_during_a_commit_keeps_its_bytes),
		cmocka_unit_test(however_much_changes_during_a_commit_it_lands),
		cmocka_unit_test(random_operations_before_a_landing_agree_with_a_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
