/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The end of a run: results, tree, outputs (outputs.c), record (RUNS.md, section 1).
 *
 * What each step has come to is in the note, a file of the run's directory, before the next one
 * begins. So a step that failed, or whose process was killed, is taken again:
 *
 *	{"status", "request", "ended",		how it ended
 *	 "outputs": [{..., "result"}],		results: commits of what was changed
 *	 "redirected": [{"repo", "branch", "path", "commit"}]	files that its stdout and stderr
 *						are, and have changed
 *	 "tree": {...},				the tree is stored
 *	 "is_checked": true,			outputs were looked at for conflicts, before any moves
 *	 "is_refused": true,			there are some: all are kept
 *	 "outputs": [{"doing", "published", "kept"}]	each output, one after the other
 *	 "taken": {BRANCH'S ID: true},		the mount's head has what was published there
 *	 "is_stored": true,			the record is complete
 *	 "late": [{"repo", "branch"}]}		changed since the end, and has no output
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "record/fields.h"
#include "record/trees.h"
#include "run/parts.h"

enum {
	ERRORS_MAX = 50,
	EXTRAS = 3, /* files of the run's directory that its tree has */
};

int run_note_save(struct run *run)
{
	int r = run_file_write(run, "note", run->note);

	if (r < 0)
		return log_errno(r, "run %s: what it has come to cannot be noted", run->id.s);
	run->is_noted = true;
	return 0;
}

void run_note_error(struct run *run, const char *text)
{
	json_t *all = json_object_get(run->note, "error");

	if (!all) {
		all = json_array();
		json_object_set_new(run->note, "error", all);
	}
	if (json_array_size(all) < ERRORS_MAX)
		json_array_append_new(all, json_string(text));
}

static const char *status_of(const json_t *request)
{
	const json_t *exit = json_object_get(request, "exit");

	if (!request)
		return "lost";
	if (json_object_get(request, "signal"))
		return "killed";
	if (!json_is_integer(exit))
		return "lost";
	return json_integer_value(exit) == 0 ? "ok" : "failed";
}

/* Is all known that a repetition needs? */
static bool is_repeatable(const struct run *run, const json_t *request)
{
	return !oid_is_null(&run->memo) && !atomic_load(&run->is_spoiled) &&
	       json_is_true(json_object_get(request, "memo")) &&
	       strcmp(status_of(request), "ok") == 0;
}

int run_note_end(struct run *run, const json_t *request)
{
	struct timespec now = now_wall();
	char text[TIME_TEXT];

	run->note = json_pack("{s:s, s:s}", "status", status_of(request), "ended",
			      time_text(now.tv_sec, (uint32_t)now.tv_nsec, text));
	if (!run->note)
		return -ENOMEM;
	/* The note and the request go in different threads. */
	if (request && json_object_set_new(run->note, "request", json_deep_copy(request)) < 0)
		return -ENOMEM;
	if (seen_error(run->seen) < 0)
		run_note_error(run, "what it has seen could not be logged to the end");
	else if (is_repeatable(run, request) &&
		 json_object_set_new(run->note, "memo",
				     json_pack("{s:o}", "key", json_of_oid(&run->memo))) < 0)
		return -ENOMEM;
	run_note_save(run);
	return 0;
}

bool run_has_status(const struct run *run, const char *status)
{
	return strcmp(field_text(run->note, "status"), status) == 0;
}

/* Another mount has removed the repo, which had no commit. */
static int lose_output(struct run *run, const struct run_head *h)
{
	_cleanup_free_ char *text = strf("the repo %s was removed meanwhile: what was written to "
					 "it is kept nowhere",
					 h->repo);

	if (!text)
		return -ENOMEM;
	log_warning("run %s: %s", run->id.s, text);
	run_note_error(run, text);
	run_set_unpublished(run);
	return 0;
}

/* A branch's part of the record; NULL where there is nothing to tell of it. */
static int output_of(struct run *run, struct run_head *h, struct access *acc, json_t **ret)
{
	const struct commit_meta meta = { .key = span_str("pfs.run"),
					  .value = span_str(run->id.s) };
	const struct pin_request req = { .message = "made by a run",
					 .meta = &meta,
					 .meta_count = 1 };
	struct oid result = h->pinned;
	json_t *out;
	bool is_new;
	int r = 0;

	*ret = NULL;
	if (h->view && view_is_head(h->view))
		r = head_pin(h->view, &req, acc, &result, &is_new);
	if (r == -ESTALE)
		return lose_output(run, h);
	if (r < 0)
		return log_errno(r, "run %s: what it has made of %s/%s cannot be committed yet",
				 run->id.s, h->repo, h->branch);
	if (oid_equal(&result, &h->pinned) && !h->is_late)
		return 0;
	out = json_pack("{s:s, s:o, s:s, s:o, s:o}", "repo", h->repo, "repo_id",
			json_of_id128(&h->repo_id), "branch", h->branch, "branch_id",
			json_of_id128(&h->branch_id), "pinned", json_of_oid(&h->pinned));
	if (out && !oid_equal(&result, &h->pinned))
		json_object_set_new(out, "result", json_of_oid(&result));
	if (out && !oid_equal(&h->committed, &h->pinned))
		json_object_set_new(out, "committed", json_of_oid(&h->committed));
	*ret = out;
	return out ? 0 : -ENOMEM;
}

static int results(struct run *run, struct access *acc)
{
	_cleanup_free_ struct run_head **heads = NULL;
	json_t *outputs;
	ssize_t n;
	int r = 0;

	if (json_object_get(run->note, "outputs"))
		return 0;
	n = run_heads(run, &heads);
	if (n < 0)
		return (int)n;
	outputs = json_array();
	for (ssize_t i = 0; r == 0 && i < n; i++) {
		json_t *out = NULL;

		r = output_of(run, heads[i], acc, &out);
		if (r == 0 && out && json_array_append_new(outputs, out) < 0)
			r = -ENOMEM;
	}
	if (r < 0 || json_object_set(run->note, "outputs", outputs) < 0) {
		json_decref(outputs);
		return r < 0 ? r : -ENOMEM;
	}
	json_decref(outputs);
	return run_note_save(run);
}

/* The run's branches, with what it has made of them; @paths is for what was redirected. */
static int branches_of(struct run *run, struct run_head *const *heads, size_t n, struct buf *paths,
		       struct run_branch *ret)
{
	json_t *outputs = json_object_get(run->note, "outputs"), *out;
	size_t k;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < n; i++) {
		ret[i] = (struct run_branch){
			.repo = heads[i]->repo,
			.branch = heads[i]->branch,
			.repo_id = heads[i]->repo_id,
			.pinned = heads[i]->pinned,
		};
		r = run_redirected_of(run, heads[i], paths, ret[i].redirected);
		ret[i].redirected_count = (unsigned)MAX(r, 0);
	}
	r = MIN(r, 0);
	json_array_foreach (outputs, k, out)
		for (size_t i = 0; r == 0 && i < n; i++)
			if (strcmp(ret[i].repo, field_text(out, "repo")) == 0 &&
			    strcmp(ret[i].branch, field_text(out, "branch")) == 0)
				r = field_oid(out, "result", &ret[i].result);
	return r;
}

/* Files of the run's directory that become part of its tree. */
static size_t extras(struct run *run, struct run_extra ret[EXTRAS])
{
	static const char *const names[EXTRAS] = { "environment.json", "stdout", "stderr" };
	size_t n = 0;

	for (size_t i = 0; i < EXTRAS; i++) {
		int fd = openat(run->dirfd, names[i], O_RDONLY | O_CLOEXEC);
		struct stat st;

		if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0)
			ret[n++] = (struct run_extra){ .name = names[i], .fd = fd };
		else if (fd >= 0)
			close(fd);
	}
	return n;
}

static int tree(struct run *run, struct access *acc)
{
	_cleanup_free_ struct run_head **heads = NULL;
	_cleanup_free_ struct run_branch *branches = NULL;
	struct run_extra extra[EXTRAS];
	struct buf paths[RUN_REDIRECTED_MAX] = { 0 };
	struct tree_root root;
	size_t count;
	ssize_t n;
	int r;

	if (json_object_get(run->note, "tree"))
		return 0;
	n = run_heads(run, &heads);
	branches = n < 0 ? NULL : reallocarray(NULL, (size_t)n + 1, sizeof(*branches));
	if (!branches)
		return -ENOMEM;
	count = extras(run, extra);
	r = branches_of(run, heads, (size_t)n, paths, branches);
	if (r == 0)
		r = run_tree_write(run->runs->opts.store, run->seen, branches, (size_t)n, extra,
				   count, acc, &root);
	for (size_t i = 0; i < count; i++)
		if (extra[i].fd >= 0)
			close(extra[i].fd);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		buf_release(&paths[i]);
	if (r == -EBADMSG) {
		/* It will not get better. */
		run_note_error(run, "the log of what it has seen is damaged");
		json_object_set_new(run->note, "tree", json_null());
	} else if (r < 0) {
		return log_errno(r, "run %s: what it has seen cannot be stored yet", run->id.s);
	} else {
		json_object_set_new(run->note, "tree", run_tree_json(&root));
	}
	return json_object_get(run->note, "tree") ? run_note_save(run) : -ENOMEM;
}

int run_settle(struct run *run, struct access *acc)
{
	int r = run->is_noted ? 0 : run_note_save(run);

	if (r == 0)
		r = results(run, acc);
	if (r == 0)
		r = run_note_redirected(run, acc);
	if (r == 0)
		r = tree(run, acc);
	if (r == 0)
		r = run_settle_outputs(run, acc);
	return r < 0 ? r : run_store_end(run, acc);
}

json_t *run_answer(struct run *run)
{
	json_t *a =
		json_pack("{s:s, s:s}", "id", run->id.s, "status", field_text(run->note, "status"));
	json_t *v;

	if (a && (v = json_object_get(run->note, "outputs")))
		json_object_set_new(a, "outputs", json_deep_copy(v));
	if (a && (v = json_object_get(run->note, "memo")))
		json_object_set_new(a, "memo", json_deep_copy(v));
	if (a && (v = json_object_get(run->note, "error")))
		json_object_set_new(a, "error", json_deep_copy(v));
	return a;
}
