/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What service/service.h promises, asked of a head without a kernel.
 */
#include <jansson.h>

#include "head/pin.h"
#include "headmodel.h"
#include "headstand.h"
#include "service/service.h"

enum {
	OTHER = 1000
};

/* A conversation: what was answered, and what the kernel would have been told. */
struct talk {
	struct headstand *stand;
	struct service service;
	struct service_caller who;
	json_t *lines; /* owned; but the last */
	json_t *last; /* owned */
	unsigned told;
	unsigned stop_after; /* lines; 0: never */
};

static void count_told(uint64_t vnode, const char *name, void *ctx)
{
	struct talk *t = ctx;

	t->told++;
}

static int take(const char *line, size_t len, void *ctx)
{
	struct talk *t = ctx;
	json_error_t err;
	json_t *j = json_loadb(line, len, 0, &err);

	assert_non_null(j);
	assert_null(memchr(line, '\n', len));
	assert_null(t->last);
	if (json_object_get(j, "ok") || json_object_get(j, "error"))
		t->last = j;
	else
		json_array_append_new(t->lines, j);
	return t->stop_after && json_array_size(t->lines) >= t->stop_after ? -EPIPE : 0;
}

static void forget(struct talk *t)
{
	json_decref(t->lines);
	json_decref(t->last);
	t->lines = json_array();
	t->last = NULL;
}

/* Asks, and returns the errno of the answer. */
static int ask_raw(struct talk *t, const char *text, size_t len)
{
	forget(t);
	assert_ok(service_run(&t->service, &t->who, text, len, take, t));
	assert_non_null(t->last);
	if (json_object_get(t->last, "ok"))
		return 0;
	assert_true(json_string_length(
			    json_object_get(json_object_get(t->last, "error"), "message")) > 0);
	return -(int)json_integer_value(
		json_object_get(json_object_get(t->last, "error"), "errno"));
}

static int _printf_(2, 3) ask(struct talk *t, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	assert_true(vasprintf(&text, fmt, ap) > 0);
	va_end(ap);
	return ask_raw(t, text, strlen(text));
}

static const char *text_of(const json_t *line, const char *field)
{
	return json_string_value(json_object_get(line, field)) ?: "";
}

/* The answer's lines as "change path" or "renamed from path", one behind the other. */
static char *told_of(struct talk *t)
{
	struct buf b = { 0 };
	json_t *line;
	size_t i;

	json_array_foreach (t->lines, i, line) {
		if (!json_object_get(line, "change"))
			continue;
		buf_printf(&b, "%s %s%s%s;", text_of(line, "change"), text_of(line, "from"),
			   json_object_get(line, "from") ? " " : "", text_of(line, "path"));
	}
	buf_put_u8(&b, 0);
	return (char *)b.data;
}

static void assert_told(struct talk *t, const char *want)
{
	_cleanup_free_ char *got = told_of(t);

	assert_string_equal(got, want);
}

static int set_up(void **state)
{
	struct headstand *s = new0(struct headstand, 1);
	struct talk *t = new0(struct talk, 1);

	*s = stand_make();
	*t = (struct talk){ .stand = s, .who = { .is_owner = true } };
	t->service = (struct service){ .store = s->store,
				       .heads = s->heads,
				       .vnodes = s->vnodes,
				       .changed = count_told,
				       .ctx = t };
	*state = t;
	return 0;
}

static int tear_down(void **state)
{
	struct talk *t = *state;

	json_decref(t->lines);
	json_decref(t->last);
	stand_remove(t->stand);
	free(t->stand);
	free(t);
	return 0;
}

/* The directory of @path below the head's root, made if need be; and its last part. */
static struct vnode *dir_of(struct talk *t, const char *path, const char **ret_name)
{
	struct headstand *s = t->stand;
	struct vnode *at = s->root, *next;
	const char *slash;
	struct stat st;

	vnode_ref(s->vnodes, at);
	for (; (slash = strchr(path, '/')); path = slash + 1) {
		struct span name = span_of(path, (size_t)(slash - path));
		struct new_file f = { .mode = S_IFDIR | 0755 };

		if (view_lookup(at, name, &s->acc, &next, &st) < 0)
			assert_ok(view_create(at, name, &f, &s->acc, &next, &st));
		vnode_unref(s->vnodes, at);
		at = next;
	}
	*ret_name = path;
	return at;
}

static void write_file(struct talk *t, const char *path, const char *text)
{
	struct headstand *s = t->stand;
	struct new_file f = { .mode = S_IFREG | 0644 };
	struct setattr none = { .what = SETATTR_SIZE };
	const char *name;
	struct vnode *dir = dir_of(t, path, &name), *v;
	struct stat st;

	if (view_lookup(dir, span_str(name), &s->acc, &v, &st) < 0)
		assert_ok(view_create(dir, span_str(name), &f, &s->acc, &v, &st));
	assert_ok(view_open(v, O_RDWR, &s->acc));
	assert_ok(view_setattr(v, &none, &s->acc, &st));
	assert_ok(view_write(v, 0, span_str(text), false, false, &s->acc));
	view_close(v, O_RDWR);
	vnode_unref(s->vnodes, v);
	vnode_unref(s->vnodes, dir);
}

static void remove_path(struct talk *t, const char *path)
{
	const char *name;
	struct vnode *dir = dir_of(t, path, &name);

	assert_ok(head_remove_tree(dir, span_str(name), &t->stand->acc));
	vnode_unref(t->stand->vnodes, dir);
}

static void move(struct talk *t, const char *from, const char *to)
{
	const char *a, *b;
	struct vnode *x = dir_of(t, from, &a), *y = dir_of(t, to, &b);

	assert_ok(view_rename(x, span_str(a), y, span_str(b), 0, &t->stand->acc));
	vnode_unref(t->stand->vnodes, x);
	vnode_unref(t->stand->vnodes, y);
}

static void set_mode(struct talk *t, const char *path, mode_t mode, uid_t uid)
{
	struct headstand *s = t->stand;
	struct setattr a = { .what = SETATTR_MODE | SETATTR_UID, .mode = mode, .uid = uid };
	struct vnode *v;
	struct stat st;

	assert_ok(view_walk(s->root, span_str(path), &s->acc, &v, &st));
	assert_ok(view_setattr(v, &a, &s->acc, &st));
	vnode_unref(s->vnodes, v);
}

static void what_is_no_request_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"{",
		"[]",
		"1",
		"\"log\"",
		"null",
		"{}",
		"{\"verb\": 1}",
		"{} {}",
		"{\"a\": 1, \"a\": 2, \"verb\": \"info\"}",
		"\xff",
		"{\"verb\": \"log\"}",
		"{\"verb\": \"log\", \"path\": 1}",
		"{\"verb\": \"log\", \"path\": {\"hex\": \"0\"}}",
		"{\"verb\": \"log\", \"path\": {\"hex\": \"zz\"}}",
		"{\"verb\": \"log\", \"path\": \"r\", \"limit\": -1}",
		"{\"verb\": \"commit\", \"path\": \"r\", \"meta\": {\"a\": 1}}",
		"{\"verb\": \"commit\", \"path\": \"r\", \"meta\": []}",
		"{\"verb\": \"commit\", \"path\": \"r\", \"message\": \"a\\u0000b\"}",
	};
	struct talk *t = *state;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(ask_raw(t, texts[i], strlen(texts[i])), -EINVAL);
	assert_int_equal(ask(t, "{\"verb\": \"fly\"}"), -EOPNOTSUPP);
}

static void nesting_without_end_is_refused(void **state)
{
	static char deep[1 << 20];

	memset(deep, '[', sizeof(deep));
	assert_int_equal(ask_raw(*state, deep, sizeof(deep)), -EINVAL);
}

static void a_caller_who_wants_no_more_ends_the_answer(void **state)
{
	static const char request[] = "{\"verb\": \"status\", \"path\": \"r\"}";
	struct talk *t = *state;

	for (char name[] = "a"; name[0] < 'z'; name[0]++)
		write_file(t, name, "x");
	t->stop_after = 3;
	forget(t);
	assert_int_equal(service_run(&t->service, &t->who, request, strlen(request), take, t),
			 -EPIPE);
	assert_int_equal(json_array_size(t->lines), 3);
	assert_null(t->last);
}

static void a_caller_who_is_gone_is_not_worked_for(void **state)
{
	struct talk *t = *state;
	atomic_bool gone = true;

	write_file(t, "f", "x");
	assert_ok(ask(t, "{\"verb\": \"commit\", \"path\": \"r\"}"));
	t->who.cancelled = &gone;
	assert_int_equal(ask(t, "{\"verb\": \"log\", \"path\": \"r/main\"}"), -ECANCELED);
}

static void a_path_leads_to_branches_names_ids_and_prefixes(void **state)
{
	static const char *const paths[] = { "r/first",	     "/r/first/", "r//commits/first",
					     "r/main",	     "r",	  "r/commits",
					     "r/main@first", "r/./main/." };
	struct talk *t = *state;
	char id[65];

	write_file(t, "f", "x");
	assert_ok(ask(t, "{\"verb\": \"commit\", \"path\": \"r\", \"name\": \"first\"}"));
	snprintf(id, sizeof(id), "%s", text_of(json_array_get(t->lines, 0), "id"));
	for (size_t i = 0; i < ARRAY_SIZE(paths) - 1; i++) {
		assert_ok(ask(t, "{\"verb\": \"log\", \"path\": \"%s\"}", paths[i]));
		assert_string_equal(text_of(json_array_get(t->lines, 0), "id"), id);
	}
	assert_ok(ask(t, "{\"verb\": \"log\", \"path\": \"r/%s\"}", id));
	assert_ok(ask(t, "{\"verb\": \"log\", \"path\": \"r/%s\"}",
		      text_of(json_array_get(t->lines, 0), "short_id")));
	assert_ok(ask(t, "{\"verb\": \"show\", \"path\": \"r/first/f\"}"));
	assert_int_equal(ask(t, "{\"verb\": \"show\", \"path\": \"r/first/../f\"}"), -EINVAL);
	assert_int_equal(ask(t, "{\"verb\": \"show\", \"path\": \"r/first/f/g\"}"), -ENOTDIR);
	assert_int_equal(ask(t, "{\"verb\": \"show\", \"path\": \"r/first/g\"}"), -ENOENT);
	assert_int_equal(ask(t, "{\"verb\": \"show\", \"path\": \"r/none\"}"), -ENOENT);
	assert_int_equal(ask(t, "{\"verb\": \"show\", \"path\": \"none\"}"), -ENOENT);
	assert_int_equal(ask(t, "{\"verb\": \"show\", \"path\": \"\"}"), -ENOENT);
}

static void names_that_are_not_utf8_go_both_ways(void **state)
{
	struct talk *t = *state;
	json_t *path;

	write_file(t, "\xff\xfe/\xc0", "x");
	assert_ok(ask(t, "{\"verb\": \"status\", \"path\": {\"hex\": \"722f6d61696e2ffffe\"}}"));
	path = json_object_get(json_array_get(t->lines, 1), "path");
	assert_string_equal(text_of(path, "hex"), "c0");
}

static void a_commit_says_whether_it_is_new(void **state)
{
	struct talk *t = *state;
	char id[65];

	write_file(t, "f", "x");
	assert_ok(ask(t, "{\"verb\": \"commit\", \"path\": \"r/main\"}"));
	assert_true(json_is_true(json_object_get(json_array_get(t->lines, 0), "is_new")));
	snprintf(id, sizeof(id), "%s", text_of(json_array_get(t->lines, 0), "id"));
	assert_ok(ask(t, "{\"verb\": \"commit\", \"path\": \"r/main\", \"name\": \"n\"}"));
	assert_true(json_is_false(json_object_get(json_array_get(t->lines, 0), "is_new")));
	assert_string_equal(text_of(json_array_get(t->lines, 0), "id"), id);
	assert_ok(ask(t, "{\"verb\": \"names\", \"repo\": \"r\"}"));
	assert_string_equal(text_of(json_array_get(t->lines, 0), "commit"), id);
	assert_int_equal(ask(t, "{\"verb\": \"commit\", \"path\": \"r/n\"}"), -EROFS);
}

static const char *line_text(struct talk *t, size_t i, const char *field)
{
	return text_of(json_array_get(t->lines, i), field);
}

static void what_both_have_changed_is_said_and_settled(void **state)
{
	struct talk *t = *state;
	struct headstand *s = t->stand;
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	struct commit_request req = { 0 };
	struct commit_result theirs;
	struct view *other;
	struct vnode *root, *f;
	struct repo_rec rec;
	struct stat st;
	struct oid first, now;

	write_file(t, "f", "1");
	first = stand_commit(s, NULL);
	assert_ok(refs_repo(s->store->refs, "r", &w, &rec));
	assert_ok(ask(t, "{\"verb\": \"branch-create\", \"repo\": \"r\", \"branch\": \"b\"}"));
	assert_ok(heads_get(s->heads, "r", "b", &s->acc, &other));
	assert_ok(view_root(other, &root));
	assert_ok(view_walk(root, span_str("f"), &s->acc, &f, &st));
	assert_ok(view_open(f, O_WRONLY, &s->acc));
	assert_ok(view_write(f, 0, span_str("theirs"), false, false, &s->acc));
	view_close(f, O_WRONLY);
	assert_ok(head_commit(other, &req, &s->acc, &theirs));
	/* Their branch's commit becomes main's, as another machine's would. */
	assert_ok(refs_move_branch(s->store->refs, &rec.id, "main", NULL, &first, &theirs.id, NULL,
				   &now));
	write_file(t, "f", "ours");
	assert_ok(ask(t, "{\"verb\": \"commit\", \"path\": \"r\"}"));
	assert_string_equal(line_text(t, 0, "standing"), "diverged");
	assert_ok(ask(t, "{\"verb\": \"status\", \"path\": \"r\"}"));
	assert_string_equal(line_text(t, 0, "standing"), "diverged");
	assert_string_equal(line_text(t, 1, "conflict"), "both-changed");
	assert_string_equal(line_text(t, 1, "path"), "f");
	assert_int_equal(ask(t, "{\"verb\": \"merge\", \"path\": \"r\", \"prefer\": \"mine\"}"),
			 -EINVAL);
	assert_ok(ask(t, "{\"verb\": \"merge\", \"path\": \"r\", \"prefer\": \"ours\"}"));
	assert_string_equal(line_text(t, 0, "standing"), "on-branch");
	assert_ok(ask(t, "{\"verb\": \"log\", \"path\": \"r\"}"));
	assert_int_equal(json_array_size(t->lines), 4);
	vnode_unref(s->vnodes, f);
	vnode_unref(s->vnodes, root);
	view_unref(other);
	repo_rec_release(&rec);
}

static void the_log_of_a_hard_linked_file_has_what_changed_it_by_any_name(void **state)
{
	struct talk *t = *state;
	struct headstand *s = t->stand;
	struct vnode *v;
	struct stat st;

	write_file(t, "d/a", "1");
	assert_ok(view_walk(s->root, span_str("d/a"), &s->acc, &v, &st));
	assert_ok(view_link(v, s->root, span_str("b"), &s->acc, &st));
	vnode_unref(s->vnodes, v);
	stand_commit(s, NULL);
	write_file(t, "b", "2");
	stand_commit(s, NULL);
	write_file(t, "other", "1");
	stand_commit(s, NULL);
	assert_ok(ask(t, "{\"verb\": \"log\", \"path\": \"r/main/d/a\"}"));
	assert_int_equal(json_array_size(t->lines), 2);
	assert_ok(ask(t, "{\"verb\": \"log\", \"path\": \"r/main/d\"}"));
	assert_int_equal(json_array_size(t->lines), 2);
}

static void what_moved_is_told_as_renamed(void **state)
{
	struct talk *t = *state;

	write_file(t, "a/one", "one");
	write_file(t, "a/two", "two");
	write_file(t, "b/three", "three");
	write_file(t, "plain", "plain");
	stand_commit(t->stand, "first");
	move(t, "plain", "moved");
	move(t, "a/one", "new/deep/one");
	move(t, "b", "c");
	remove_path(t, "a");
	assert_ok(ask(t, "{\"verb\": \"diff\", \"a\": \"r/first\", \"b\": \"r/main\"}"));
	assert_told(t, "removed a;renamed b c;renamed plain moved;added new;"
		       "renamed a/one new/deep/one;");
	stand_commit(t->stand, "second");
	assert_ok(ask(t, "{\"verb\": \"diff\", \"a\": \"r/first\", \"b\": \"r/second\"}"));
	assert_told(t, "removed a;renamed b c;renamed plain moved;added new;"
		       "renamed a/one new/deep/one;");
}

/* A pin, whose id nobody asks about. */
static void pin(struct headstand *s)
{
	const struct pin_request plain = { 0 };
	struct oid id;
	bool is_new;

	assert_ok(head_pin(s->head, &plain, &s->acc, &id, &is_new));
	assert_true(is_new);
}

static void assert_status(struct talk *t, bool is_dirty, const char *want)
{
	json_t *first;

	assert_ok(ask(t, "{\"verb\": \"status\", \"path\": \"r/main\"}"));
	first = json_array_get(t->lines, 0);
	assert_int_equal(json_is_true(json_object_get(first, "is_dirty")), is_dirty);
	assert_false(json_is_true(json_object_get(first, "is_behind")));
	assert_string_equal(text_of(first, "standing"), "on-branch");
	assert_told(t, want);
}

static void a_pinned_head_is_told_of_as_one_that_is_not(void **state)
{
	struct talk *t = *state;
	const char *want = "removed a;renamed b c;modified f;renamed plain moved;added new;"
			   "renamed a/one new/deep/one;";

	write_file(t, "x", "all is new");
	pin(t->stand);
	assert_status(t, true, "added x;");
	remove_path(t, "x");
	write_file(t, "a/one", "one");
	write_file(t, "a/two", "two");
	write_file(t, "b/three", "three");
	write_file(t, "f", "six");
	write_file(t, "plain", "plain");
	stand_commit(t->stand, "first");
	assert_status(t, false, "");
	move(t, "plain", "moved");
	move(t, "a/one", "new/deep/one");
	pin(t->stand);
	move(t, "b", "c");
	remove_path(t, "a");
	write_file(t, "f", "ten");
	assert_status(t, true, want);
	pin(t->stand);
	assert_status(t, true, want);
	assert_ok(ask(t, "{\"verb\": \"diff\", \"a\": \"r/first\", \"b\": \"r/main\"}"));
	assert_told(t, want);
	assert_ok(ask(t, "{\"verb\": \"log\", \"path\": \"r/main\"}"));
	assert_int_equal(json_array_size(t->lines), 1);
	assert_int_equal(ask(t, "{\"verb\": \"branch-remove\", \"repo\": \"r\", \"branch\": "
				"\"main\"}"),
			 -EBUSY);
	assert_ok(ask(t, "{\"verb\": \"restore\", \"from\": \"r/main\"}"));
	assert_status(t, true, "");
	write_file(t, "g", "new");
	pin(t->stand);
	assert_ok(ask(t, "{\"verb\": \"sync\"}"));
	assert_true(json_is_true(json_object_get(json_array_get(t->lines, 0), "is_dirty")));
	assert_ok(ask(t, "{\"verb\": \"commit\", \"path\": \"r/main\"}"));
	assert_true(json_is_true(json_object_get(json_array_get(t->lines, 0), "is_new")));
	assert_status(t, false, "");
	assert_ok(ask(t, "{\"verb\": \"diff\", \"a\": \"r/first\", \"b\": \"r/main\"}"));
	assert_told(t, "added g;");
	assert_ok(ask(t, "{\"verb\": \"log\", \"path\": \"r/main\"}"));
	assert_int_equal(json_array_size(t->lines), 2);
}

static void a_directory_that_was_moved_and_changed_is_not_renamed_as_a_whole(void **state)
{
	struct talk *t = *state;

	write_file(t, "a/one", "one");
	write_file(t, "a/two", "two");
	stand_commit(t->stand, "first");
	move(t, "a", "b");
	write_file(t, "b/two", "else");
	assert_ok(ask(t, "{\"verb\": \"diff\", \"a\": \"r/first\", \"b\": \"r/main\"}"));
	assert_told(t, "removed a;added b;renamed a/one b/one;");
}

static void many_equal_files_are_paired_by_name_and_soon(void **state)
{
	enum {
		N = 2000
	};
	struct talk *t = *state;
	int64_t start;
	char path[32];

	for (unsigned i = 0; i < N; i++) {
		snprintf(path, sizeof(path), "a/%u", i);
		write_file(t, path, "equal");
	}
	write_file(t, "a/keep", "k");
	stand_commit(t->stand, "first");
	for (unsigned i = 0; i < N; i++) {
		char to[32];

		snprintf(path, sizeof(path), "a/%u", i);
		snprintf(to, sizeof(to), "b/x%u", i);
		move(t, path, to);
	}
	start = now_ns();
	assert_ok(ask(t, "{\"verb\": \"diff\", \"a\": \"r/first/a\", \"b\": \"r/main/b\"}"));
	assert_true(now_ns() - start < 5000000000);
	assert_int_equal(json_array_size(t->lines), N + 2); /* and a/keep, and the summary */
}

static void restoring_makes_a_head_just_as_the_commit_was(void **state)
{
	struct talk *t = *state;
	struct headstand *s = t->stand;

	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct model m;
		struct model_file *then;
		char name[16];

		snprintf(name, sizeof(name), "seed-%u", (unsigned)seed);
		/* The head is emptied by restoring an empty directory. */
		model_init(&m, seed);
		if (seed > 1) {
			assert_ok(ask(t, "{\"verb\": \"restore\", \"from\": \"r/empty\", "
					 "\"to\": \"r/main\"}"));
		} else {
			stand_commit(s, "empty");
		}
		model_check(m.root, s->root, s->vnodes, &s->acc);
		for (unsigned i = 0; i < 150; i++)
			model_step(&m, s->root, s->vnodes, &s->acc);
		stand_commit(s, name);
		then = model_copy(m.root);
		for (unsigned i = 0; i < 150; i++) {
			model_step(&m, s->root, s->vnodes, &s->acc);
			if (i == 75)
				stand_commit(s, NULL);
		}
		assert_ok(ask(t, "{\"verb\": \"restore\", \"from\": \"r/%s\", \"to\": \"r/main\"}",
			      name));
		model_check(then, s->root, s->vnodes, &s->acc);
		assert_ok(ask(t, "{\"verb\": \"diff\", \"a\": \"r/%s\", \"b\": \"r/main\"}", name));
		assert_told(t, "");
		stand_commit(s, NULL);
		assert_ok(ask(t, "{\"verb\": \"diff\", \"a\": \"r/%s\", \"b\": \"r/main\"}", name));
		assert_told(t, "");
		model_unref(then);
		model_release(&m);
	}
}

static void the_kernel_is_told_of_each_name_that_restoring_changes(void **state)
{
	struct talk *t = *state;

	write_file(t, "a", "1");
	write_file(t, "b", "1");
	stand_commit(t->stand, "first");
	write_file(t, "a", "2");
	remove_path(t, "b");
	write_file(t, "c", "1");
	t->told = 0;
	assert_ok(ask(t, "{\"verb\": \"restore\", \"from\": \"r/first\"}"));
	assert_true(t->told >= 3);
	t->told = 0;
	assert_ok(ask(t, "{\"verb\": \"restore\", \"from\": \"r/first\"}"));
	assert_int_equal(t->told, 0);
}

static void without_a_mount_a_branch_is_its_last_commit(void **state)
{
	struct talk *t = *state;

	write_file(t, "f", "1");
	stand_commit(t->stand, "first");
	write_file(t, "f", "2");
	t->service.heads = NULL;
	assert_ok(ask(t, "{\"verb\": \"diff\", \"a\": \"r/first\", \"b\": \"r/main\"}"));
	assert_told(t, "");
	assert_int_equal(ask(t, "{\"verb\": \"restore\", \"from\": \"r/first/f\"}"), -EOPNOTSUPP);
	assert_ok(ask(t, "{\"verb\": \"commit\", \"path\": \"r\", \"name\": \"again\"}"));
	assert_ok(ask(t, "{\"verb\": \"names\", \"repo\": \"r\"}"));
	assert_int_equal(json_array_size(t->lines), 2);
}

static void others_are_held_to_the_permission_bits(void **state)
{
	static const struct {
		const char *request;
		int want; /* the bits that it takes; 0: it is the owner's alone */
	} asked[] = {
		{ "{\"verb\": \"branches\", \"repo\": \"r\"}", 5 },
		{ "{\"verb\": \"names\", \"repo\": \"r\"}", 5 },
		{ "{\"verb\": \"log\", \"path\": \"r\"}", 5 },
		{ "{\"verb\": \"show\", \"path\": \"r\"}", 5 },
		{ "{\"verb\": \"status\", \"path\": \"r\"}", 5 },
		{ "{\"verb\": \"diff\", \"a\": \"r/first\", \"b\": \"r\"}", 5 },
		{ "{\"verb\": \"branch-create\", \"repo\": \"r\", \"branch\": \"b\"}", 3 },
		{ "{\"verb\": \"branch-rename\", \"repo\": \"r\", \"from\": \"b\", \"to\": \"c\"}",
		  3 },
		{ "{\"verb\": \"branch-remove\", \"repo\": \"r\", \"branch\": \"c\"}", 3 },
		{ "{\"verb\": \"commit\", \"path\": \"r\"}", 7 },
		{ "{\"verb\": \"restore\", \"from\": \"r/first\"}", 0 },
		{ "{\"verb\": \"repo-config\", \"repo\": \"r\", \"mode\": \"0777\"}", 0 },
		{ "{\"verb\": \"repo-remove\", \"repo\": \"r\"}", 0 },
	};
	struct talk *t = *state;

	write_file(t, "f", "1");
	stand_commit(t->stand, "first");
	for (unsigned bits = 0; bits < 8; bits++) {
		t->who = (struct service_caller){ .is_owner = true };
		assert_ok(ask(t,
			      "{\"verb\": \"repo-config\", \"repo\": \"r\", \"mode\": \"07%o%o\"}",
			      bits, bits));
		t->who = (struct service_caller){ .uid = OTHER, .gid = OTHER };
		for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
			int want = asked[i].want;
			bool may = want && ((int)bits & want) == want;
			int r = ask_raw(t, asked[i].request, strlen(asked[i].request));

			if (may != (r == 0) || (!may && r != -EACCES && r != -EPERM))
				fail_msg("mode %o: %s: %d", bits, asked[i].request, r);
		}
	}
}

static void groups_count(void **state)
{
	struct talk *t = *state;
	gid_t group = 0;

	assert_ok(ask(t, "{\"verb\": \"repo-config\", \"repo\": \"r\", \"mode\": \"0750\"}"));
	t->who = (struct service_caller){ .uid = OTHER, .gid = OTHER };
	assert_int_equal(ask(t, "{\"verb\": \"log\", \"path\": \"r\"}"), -EACCES);
	t->who.groups = &group;
	t->who.group_count = 1;
	assert_ok(ask(t, "{\"verb\": \"log\", \"path\": \"r\"}"));
}

static void what_lies_in_private_directories_is_not_told(void **state)
{
	struct talk *t = *state;

	write_file(t, "open/f", "1");
	write_file(t, "private/f", "1");
	write_file(t, "private/sub/f", "1");
	set_mode(t, "private", 0700, 0);
	stand_commit(t->stand, "first");
	write_file(t, "open/f", "2");
	write_file(t, "private/f", "2");
	write_file(t, "private/sub/f", "2");
	t->who = (struct service_caller){ .uid = OTHER, .gid = OTHER };
	assert_ok(ask(t, "{\"verb\": \"diff\", \"a\": \"r/first\", \"b\": \"r/main\"}"));
	assert_told(t, "modified open/f;");
	assert_int_equal(
		json_integer_value(json_object_get(
			json_object_get(json_array_get(t->lines, 1), "summary"), "hidden")),
		2);
	assert_int_equal(ask(t, "{\"verb\": \"show\", \"path\": \"r/main/private/f\"}"), -EACCES);
	assert_int_equal(ask(t, "{\"verb\": \"log\", \"path\": \"r/main/private/f\"}"), -ENOENT);
	assert_int_equal(ask(t, "{\"verb\": \"diff\", \"a\": \"r/first/private\", "
				"\"b\": \"r/main/private\"}"),
			 -EACCES);
	t->who.uid = 0;
	assert_int_equal(ask(t, "{\"verb\": \"show\", \"path\": \"r/main/private/f\"}"), 0);
}

static void a_repo_with_changes_or_commits_stays(void **state)
{
	struct talk *t = *state;

	write_file(t, "f", "1");
	assert_int_equal(ask(t, "{\"verb\": \"repo-remove\", \"repo\": \"r\"}"), -ENOTEMPTY);
	stand_commit(t->stand, NULL);
	assert_int_equal(ask(t, "{\"verb\": \"repo-remove\", \"repo\": \"r\"}"), -ENOTEMPTY);
	write_file(t, "f", "2");
	stand_commit(t->stand, NULL);
	assert_ok(ask(t, "{\"verb\": \"log\", \"path\": \"r\"}"));
	assert_int_equal(json_array_size(t->lines), 2);
}

static void a_new_repo_is_its_makers(void **state)
{
	struct talk *t = *state;
	const json_t *line;

	if (geteuid() != 0)
		skip();
	t->who = (struct service_caller){ .uid = OTHER, .gid = OTHER + 1 };
	assert_ok(ask(t, "{\"verb\": \"repo-create\", \"repo\": \"q\", \"mode\": \"0700\"}"));
	line = json_array_get(t->lines, 0);
	assert_int_equal(json_integer_value(json_object_get(line, "uid")), OTHER);
	assert_int_equal(json_integer_value(json_object_get(line, "gid")), OTHER + 1);
	assert_string_equal(text_of(line, "mode"), "0700");
	t->who.uid = OTHER + 2;
	t->who.gid = OTHER + 2;
	assert_int_equal(ask(t, "{\"verb\": \"repo-remove\", \"repo\": \"q\"}"), -EPERM);
	t->who.uid = OTHER;
	assert_ok(ask(t, "{\"verb\": \"repo-remove\", \"repo\": \"q\"}"));
}

static void stats_count_what_is_shared_and_compressed(void **state)
{
	struct talk *t = *state;
	_cleanup_free_ char *text = malloc(200001);
	const json_t *s;

	memset(text, 'a', 200000);
	text[200000] = '\0';
	write_file(t, "a", text);
	write_file(t, "b", text);
	stand_commit(t->stand, "first");
	write_file(t, "c", "x");
	stand_commit(t->stand, "second");
	assert_ok(ask(t, "{\"verb\": \"stats\", \"store\": true}"));
	s = json_object_get(json_array_get(t->lines, 0), "store");
	assert_int_equal(json_integer_value(json_object_get(s, "commits")), 2);
	assert_int_equal(json_integer_value(json_object_get(s, "commit_bytes")), 800001);
	assert_in_range(json_integer_value(json_object_get(s, "unique_bytes")), 1, 200001);
	assert_in_range(json_integer_value(json_object_get(s, "stored_bytes")), 1, 20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		T(what_is_no_request_is_refused),
		T(nesting_without_end_is_refused),
		T(a_caller_who_wants_no_more_ends_the_answer),
		T(a_caller_who_is_gone_is_not_worked_for),
		T(a_path_leads_to_branches_names_ids_and_prefixes),
		T(names_that_are_not_utf8_go_both_ways),
		T(a_commit_says_whether_it_is_new),
		T(what_both_have_changed_is_said_and_settled),
		T(the_log_of_a_hard_linked_file_has_what_changed_it_by_any_name),
		T(what_moved_is_told_as_renamed),
		T(a_pinned_head_is_told_of_as_one_that_is_not),
		T(a_directory_that_was_moved_and_changed_is_not_renamed_as_a_whole),
		T(many_equal_files_are_paired_by_name_and_soon),
		T(restoring_makes_a_head_just_as_the_commit_was),
		T(the_kernel_is_told_of_each_name_that_restoring_changes),
		T(without_a_mount_a_branch_is_its_last_commit),
		T(others_are_held_to_the_permission_bits),
		T(groups_count),
		T(what_lies_in_private_directories_is_not_told),
		T(a_repo_with_changes_or_commits_stays),
		T(a_new_repo_is_its_makers),
		T(stats_count_what_is_shared_and_compressed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
