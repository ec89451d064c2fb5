/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What view_diff() tells of commits and heads, against models of them.
 */
#include "head/diff.h"
#include "headmodel.h"
#include "headstand.h"

enum {
	TOLD_MAX = 4096,
	PATH_ROOM = 512,
};

struct told {
	char path[PATH_ROOM];
	enum diff_what what;
	bool is_staged; /* of bytes that have no id yet */
};

struct story {
	struct told told[TOLD_MAX];
	unsigned count;
};

static void tell(struct story *s, const char *path, enum diff_what what)
{
	struct told *t = &s->told[s->count++];

	assert_true(s->count <= TOLD_MAX);
	assert_true(strlen(path) < PATH_ROOM);
	*t = (struct told){ .what = what };
	memcpy(t->path, path, strlen(path));
}

static const struct model_entry *entry_of(const struct model_file *dir, const char *name)
{
	for (unsigned i = 0; i < dir->count; i++)
		if (strcmp(dir->entries[i].name, name) == 0)
			return &dir->entries[i];
	return NULL;
}

static void compare_files(const struct model_file *a, const struct model_file *b, const char *path,
			  struct story *s);

static void compare_dirs(const struct model_file *a, const struct model_file *b, const char *path,
			 struct story *s)
{
	for (unsigned i = 0; i < a->count; i++) {
		const struct model_entry *e = &a->entries[i], *f = entry_of(b, e->name);
		_cleanup_free_ char *below = strf("%s%s%s", path, *path ? "/" : "", e->name);

		if (!f)
			tell(s, below, DIFF_REMOVED);
		else
			compare_files(e->file, f->file, below, s);
	}
	for (unsigned i = 0; i < b->count; i++) {
		_cleanup_free_ char *below =
			strf("%s%s%s", path, *path ? "/" : "", b->entries[i].name);

		if (!entry_of(a, b->entries[i].name))
			tell(s, below, DIFF_ADDED);
	}
}

static void compare_files(const struct model_file *a, const struct model_file *b, const char *path,
			  struct story *s)
{
	if (a->type != b->type) {
		tell(s, path, DIFF_TYPE);
		return;
	}
	if (a->type == FT_LNK
		    ? strcmp(a->target, b->target) != 0
		    : a->size != b->size || (a->size > 0 && memcmp(a->data, b->data, a->size) != 0))
		tell(s, path, DIFF_CONTENT);
	else if (a->mode != b->mode || strcmp(a->xattr, b->xattr) != 0)
		tell(s, path, DIFF_ATTRS);
	if (a->type == FT_DIR)
		compare_dirs(a, b, path, s);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct told *)a)->path, ((const struct told *)b)->path);
}

static int hear(const struct diff_item *d, void *ctx)
{
	char path[PATH_ROOM];

	assert_true(d->path.len < PATH_ROOM);
	memcpy(path, d->path.data, d->path.len);
	path[d->path.len] = '\0';
	tell(ctx, path, d->what);
	if (d->what == DIFF_CONTENT && (oid_is_null(&d->a->id) || oid_is_null(&d->b->id)))
		((struct story *)ctx)->told[((struct story *)ctx)->count - 1].is_staged = true;
	return 0;
}

/* What was written over with the same bytes counts as changed until it is committed. */
static void forgive(struct story *got, const struct story *want)
{
	unsigned n = 0;

	for (unsigned i = 0; i < got->count; i++) {
		const struct told *t = &got->told[i];

		if (!t->is_staged ||
		    bsearch(t, want->told, want->count, sizeof(*t), by_path) != NULL)
			got->told[n++] = *t;
	}
	got->count = n;
}

static void assert_diff(struct headstand *s, struct vnode *a, struct vnode *b,
			const struct model_file *x, const struct model_file *y)
{
	static struct story want, got;

	want.count = got.count = 0;
	compare_dirs(x, y, "", &want);
	assert_ok(view_diff(a, b, &s->acc, hear, &got));
	qsort(want.told, want.count, sizeof(want.told[0]), by_path);
	qsort(got.told, got.count, sizeof(got.told[0]), by_path);
	forgive(&got, &want);
	for (unsigned i = 0; i < MIN(want.count, got.count); i++) {
		assert_string_equal(got.told[i].path, want.told[i].path);
		assert_int_equal(got.told[i].what, want.told[i].what);
	}
	assert_int_equal(got.count, want.count);
}

static void walk(uint64_t seed)
{
	struct headstand s = stand_make();
	struct model_file *former = NULL;
	struct oid before = { 0 };
	struct model m;

	model_init(&m, seed);
	for (unsigned round = 0; round < 12; round++) {
		struct vnode *now, *then;
		struct oid id;

		for (unsigned i = 0; i < 60; i++)
			model_step(&m, s.root, s.vnodes, &s.acc);
		if (former) {
			then = stand_commit_root(&s, &before);
			assert_diff(&s, then, s.root, former, m.root);
			assert_diff(&s, s.root, then, m.root, former);
			vnode_unref(s.vnodes, then);
		}
		id = stand_commit(&s, NULL);
		/* Nothing is in memory any more. */
		stand_close(&s);
		stand_open(&s);
		now = stand_commit_root(&s, &id);
		assert_diff(&s, now, s.root, m.root, m.root);
		if (former) {
			then = stand_commit_root(&s, &before);
			assert_diff(&s, then, now, former, m.root);
			vnode_unref(s.vnodes, then);
			model_unref(former);
		}
		vnode_unref(s.vnodes, now);
		former = model_copy(m.root);
		before = id;
	}
	model_unref(former);
	model_release(&m);
	stand_remove(&s);
}

static void differences_are_those_of_the_models(void **state)
{
	for (uint64_t seed = 1; seed <= 4; seed++)
		walk(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(differences_are_those_of_the_models),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
