/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A mount that runs are begun in.
 */
#pragma once

#include "followstand.h"
#include "record/archive.h"
#include "run/run.h"

struct runstand {
	struct headstand h;
	struct runs *runs;
};

static inline void runstand_open_runs(struct runstand *s)
{
	struct runs_options o = { .store = s->h.store, .heads = s->h.heads, .vnodes = s->h.vnodes };

	assert_ok(runs_open(&o, &s->runs));
}

static inline struct runstand runstand_make(void)
{
	struct runstand s = { .h = stand_make() };

	runstand_open_runs(&s);
	return s;
}

/* As a killed process and the next one. */
static inline _unused_ void runstand_remount(struct runstand *s)
{
	runs_free(s->runs);
	remount(&s->h);
	runstand_open_runs(s);
}

static inline void runstand_remove(struct runstand *s)
{
	runs_free(s->runs);
	stand_remove(&s->h);
}

/* A run of `true` in the view of @parent (NULL: none), with more fields: "'out': ['r/main']". */
static inline struct run *runstand_begin_in(struct runstand *s, struct run *parent,
					    const char *fields)
{
	_cleanup_free_ char *text =
		strf("{\"argv\": [\"true\"], \"cwd\": \"/\", \"user\": \"u\"%s%s}",
		     *fields ? ", " : "", fields);
	json_t *request;
	struct run *run;

	for (char *p = text; *p; p++)
		if (*p == '\'')
			*p = '"';
	request = json_loads(text, 0, NULL);
	assert_non_null(request);
	assert_ok(run_begin(s->runs, request, 0, 0, parent, &s->h.acc, &run));
	json_decref(request);
	return run;
}

static inline _unused_ struct run *runstand_begin(struct runstand *s, const char *fields)
{
	return runstand_begin_in(s, NULL, fields);
}

/* Ends it with that exit status; what it was answered is the caller's. */
static inline _unused_ json_t *runstand_end(struct runstand *s, struct run *run, int exit)
{
	json_t *request = json_pack("{s:i}", "exit", exit), *answer = NULL;

	assert_ok(run_end(run, request, &s->h.acc, &answer));
	json_decref(request);
	assert_non_null(answer);
	return answer;
}

static inline _unused_ const char *status_in(const json_t *answer)
{
	return json_string_value(json_object_get(answer, "status"));
}

/* The root of a branch as the run has it. */
static inline _unused_ struct vnode *runstand_root(struct runstand *s, struct run *run,
						   const char *branch)
{
	struct vnode *root;
	struct view *v;

	assert_ok(run_branch(run, "r", branch, &s->h.acc, &v));
	assert_ok(view_root(v, &root));
	view_unref(v);
	return root;
}

/* The run writes a file of its branch. */
static inline _unused_ void runstand_write(struct runstand *s, struct run *run, const char *branch,
					   const char *name, const char *text)
{
	struct vnode *root = runstand_root(s, run, branch), *v;
	struct stat st;

	if (view_lookup(root, span_str(name), &s->h.acc, &v, &st) < 0)
		v = stand_create(&s->h, root, name, S_IFREG | 0644);
	put_text(&s->h, v, text);
	vnode_unref(s->h.vnodes, v);
	vnode_unref(s->h.vnodes, root);
}

/* What a file below @root has; NULL: it is not there. malloc'ed. */
static inline _unused_ char *text_below(struct runstand *s, struct vnode *root, const char *path)
{
	struct vnode *v;
	struct stat st;
	char *text;

	if (view_walk(root, span_str(path), &s->h.acc, &v, &st) < 0)
		return NULL;
	text = calloc(1, (size_t)st.st_size + 1);
	assert_ok(view_open(v, O_RDONLY, &s->h.acc));
	assert_int_equal(view_read(v, 0, (size_t)st.st_size, text, &s->h.acc), st.st_size);
	view_close(v, O_RDONLY);
	vnode_unref(s->h.vnodes, v);
	return text;
}

/* What the run's branch has under @path now. */
static inline _unused_ void assert_in_run(struct runstand *s, struct run *run, const char *path,
					  const char *want)
{
	struct vnode *root = runstand_root(s, run, "main");
	_cleanup_free_ char *got = text_below(s, root, path);

	vnode_unref(s->h.vnodes, root);
	if (want)
		assert_non_null(got);
	if (want)
		assert_string_equal(got, want);
	else
		assert_null(got);
}

/* Where a branch is, as the store has it. -ENOENT: nowhere. */
static inline _unused_ int tip_of_branch(struct runstand *s, const char *branch, struct oid *ret)
{
	struct refs_wait w = { .may_wait = true, .fresh = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	_cleanup_ref_ struct ref ref = { 0 };
	struct etag tag;
	int r;

	assert_ok(refs_repo(s->h.store->refs, "r", &w, &rec));
	r = refs_get(s->h.store->refs, &rec.id, REF_BRANCH, branch, &w, &ref, &tag);
	*ret = ref.target;
	return r;
}

/* What a branch's last commit has under @path. */
static inline _unused_ char *text_on_branch(struct runstand *s, const char *branch,
					    const char *path)
{
	struct vnode *root;
	struct oid tip;
	char *text;

	assert_ok(tip_of_branch(s, branch, &tip));
	root = stand_commit_root(&s->h, &tip);
	text = text_below(s, root, path);
	vnode_unref(s->h.vnodes, root);
	return text;
}

static inline _unused_ void assert_on_branch(struct runstand *s, const char *branch,
					     const char *path, const char *want)
{
	_cleanup_free_ char *got = text_on_branch(s, branch, path);

	if (want)
		assert_non_null(got);
	if (want)
		assert_string_equal(got, want);
	else
		assert_null(got);
}

/* Until nothing of the run is left in the state directory. */
static inline _unused_ void wait_until_gone(struct runstand *s, const struct run_id *id)
{
	_cleanup_free_ char *dir = strf("%s/runs/%s", s->h.state, id->s);
	struct deadline dl = deadline_in_ms(120 * 1000);

	while (access(dir, F_OK) == 0) {
		assert_ok(deadline_check(&dl));
		usleep(2000);
	}
}

static inline _unused_ char *kept_branch(const struct run *run)
{
	return strf("run-%s", run_id(run)->s);
}

static inline _unused_ struct commit_result commit_main(struct runstand *s)
{
	const struct commit_request req = { 0 };
	struct commit_result res;

	assert_ok(head_commit(s->h.head, &req, &s->h.acc, &res));
	return res;
}
