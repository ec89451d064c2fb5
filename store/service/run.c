/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs, for the command that starts one: from its begin to its end in one conversation
 * (run/RUNS.md, section 6).
 */
#include "run/run.h"

#include "base/log.h"
#include "base/text.h"
#include "format/name.h"
#include "record/json_bytes.h"
#include "run/memo.h"
#include "service/address.h"
#include "service/runs.h"
#include "service/verbs.h"

/* For what does not end when its caller goes. */
static void access_init_patient(struct access *acc, const struct request *q)
{
	access_init(acc, q->service->store->reader, true);
	acc->deadline = DEADLINE_NEVER;
	acc->deadline.cancelled = q->who->ending;
}

/* It has no view that anybody could be in. */
static void give_up(struct run *run, struct access *acc)
{
	json_t *answer = NULL;

	run_end(run, NULL, acc, &answer);
	run_forgotten(run);
	json_decref(answer);
	run_unref(run);
}

/* @more: what a run that repeats a former one has come to (taken), or NULL. */
static int answer_begun(struct request *q, const struct run *run, json_t *more)
{
	_cleanup_answer_ struct answer a = more ? (struct answer){ .object = more } : answer_new();
	_cleanup_free_ char *dir = strf(".pfs/run/%s", run_id(run)->s);
	_cleanup_free_ char *root = strf(".pfs/run/%s/root", run_id(run)->s);

	if (!dir || !root)
		return -ENOMEM;
	answer_text(&a, "id", run_id(run)->s);
	answer_text(&a, "dir", dir);
	answer_text(&a, "root", root);
	return request_answer(q, &a);
}

static int answer_output(const char *stream, struct span piece, void *ctx)
{
	_cleanup_answer_ struct answer a = answer_new();

	answer_bytes(&a, stream, piece);
	return request_answer(ctx, &a);
}

/* A repo that there is not is none that he may not enter. */
static int check_repo(struct request *q, const char *repo)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs_wait w = request_wait(q);

	if (!object_name_is_valid(repo) || refs_repo(q->service->store->refs, repo, &w, &rec) < 0)
		return 0;
	return permit_repo(q, repo, &rec, X_OK);
}

static bool may_enter(const char *repo, void *ctx)
{
	bool may = check_repo(ctx, repo) == 0;

	complaint_clear();
	return may;
}

/* With "memo": 1 when a former run was repeated, and all is answered; 0: it is to be run. */
static int repeat(struct request *q, struct run *run)
{
	json_t *around = json_object_get(q->fields, "memo"), *answer = NULL;
	_cleanup_memo_ struct memo former = { 0 };
	_cleanup_access_ struct access acc;
	int r;

	access_init_patient(&acc, q);
	r = json_is_object(around) ? run_repeat(run, around, may_enter, q, &acc, &answer, &former)
				   : 0;
	if (r == 0)
		return 0;
	/* It has no view that anybody could be in. */
	run_forgotten(run);
	if (r < 0)
		return request_fail(r, "the end of the run cannot be stored yet");
	r = answer_begun(q, run, answer);
	if (r == 0)
		r = memo_output(q->service->store, &former, &q->access, answer_output, q);
	return r < 0 ? request_fail(r, "what run %s printed cannot be read", former.id.s) : 1;
}

/* A former run that is done again must be one that the caller may see. */
static int check_may_read(struct request *q, const struct run_id *id)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_row row;
	int r = catalog_row(q->service->store, id, &bytes, &row);

	return r == 0 && !runs_may_see(q, &row)
		       ? log_fail(-EACCES, "the run %s is another user's", id->s)
		       : r;
}

static int check_former(struct request *q, const char *field)
{
	struct run_id id;
	int r;

	if (!json_object_get(q->fields, field))
		return 0;
	r = request_run(q, field, &id);
	if (r == 0)
		r = check_may_read(q, &id);
	if (r == 0 && json_object_set_new(q->fields, field, json_string(id.s)) < 0)
		r = -ENOMEM;
	return r < 0 ? request_fail(r, "the former run cannot be read") : 0;
}

static int check_taken_back(struct request *q)
{
	json_t *ids = json_object_get(q->fields, "take_back"), *text;
	struct run_id id;
	size_t i;
	int r = ids && !json_is_array(ids) ? -EINVAL : 0;

	json_array_foreach (ids, i, text) {
		if (r == 0)
			r = run_id_parse(json_string_value(text) ?: "", &id);
		if (r == 0)
			r = check_may_read(q, &id);
	}
	return r < 0 ? request_fail(r, "what is to be taken back cannot be read") : 0;
}

/* Who may not enter a repo learns nothing of what is in it. */
static int check_outputs(struct request *q)
{
	json_t *out = json_object_get(q->fields, "out"), *item;
	size_t i;
	int r = 0;

	json_array_foreach (out, i, item) {
		const char *text = json_string_value(item) ?: "";
		_cleanup_free_ char *repo = strndup(text, strcspn(text, "/"));

		r = repo ? check_repo(q, repo) : -ENOMEM;
		if (r < 0)
			return r;
	}
	return 0;
}

/* May the caller open what a path of the mount leads to? */
static bool may_open(struct request *q, const json_t *path, int want)
{
	_cleanup_address_ struct address p = { 0 };
	_cleanup_view_ struct view *v = NULL;
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_held_ struct held at = { 0 };
	struct stat st;
	bool may = json_to_bytes(path, &text) == 0 && address_of(q, buf_span(&text), &p) == 0 &&
		   address_callers_view(q, &p, &v) == 0 && address_open(q, &p, v, &at, &st) == 0 &&
		   permit_dir(q, at.vnode, &st, want) == 0;

	complaint_clear();
	return may;
}

/* Streams that the caller says a shell has opened; the record tells of what is there, and so only
 * where he might have done that himself. */
static void check_streams(struct request *q)
{
	static const struct {
		const char *name;
		int want;
	} streams[] = { { "stdin", R_OK }, { "stdout", W_OK }, { "stderr", W_OK } };

	for (size_t i = 0; !q->who->is_owner && i < ARRAY_SIZE(streams); i++) {
		const json_t *at = json_object_get(q->fields, streams[i].name);

		if (at && !may_open(q, json_object_get(at, "pfs"), streams[i].want))
			json_object_del(q->fields, streams[i].name);
	}
}

/* run-begin: fields and answer as in RUNS.md. */
int verb_run_begin(struct request *q)
{
	const struct service *s = q->service;
	const struct service_caller *who = q->who;
	struct run *run;
	int r;

	if (!s->heads)
		return log_fail(-ENXIO, "a run needs a mount: nothing is mounted");
	if (!s->runs)
		return log_fail(-EROFS, "a run is recorded in the store, which is read-only here");
	if (who->run)
		return log_fail(-EBUSY, "the run %s was begun in this conversation, and goes on",
				run_id(who->run)->s);
	r = check_former(q, "rerun");
	if (r == 0)
		r = check_former(q, "update");
	if (r == 0)
		r = check_taken_back(q);
	if (r == 0)
		r = check_outputs(q);
	if (r < 0)
		return r;
	check_streams(q);
	r = run_begin(s->runs, q->fields, who->uid, who->gid, who->within, &q->access, &run);
	if (r < 0)
		return request_fail(r, "the run cannot be begun");
	r = repeat(q, run);
	if (r != 0) {
		run_unref(run);
		return MIN(r, 0);
	}
	complaint_clear();
	r = s->run_begun(run, who, s->ctx);
	if (r < 0) {
		request_fail(r, "the view of the run cannot be made");
		give_up(run, &q->access);
		return r;
	}
	r = answer_begun(q, run, NULL);
	run_unref(run);
	return r;
}

/* The conversation's run, which the request must name. */
static int run_of(struct request *q)
{
	const char *id;
	int r = request_string(q, "id", &id);

	if (r < 0)
		return r;
	if (!q->who->run || strcmp(run_id(q->who->run)->s, id) != 0)
		return log_fail(-ENOENT, "no run %s was begun in this conversation", id);
	return 0;
}

static int answer_config(struct span path, const struct oid *commit, void *ctx)
{
	_cleanup_answer_ struct answer a = answer_new();

	answer_bytes(&a, "path", path);
	answer_oid(&a, "commit", commit);
	return request_answer(ctx, &a);
}

/* run-configs: as in RUNS.md. */
int verb_run_configs(struct request *q)
{
	int r = run_of(q);

	if (r < 0)
		return r;
	q->service->run_ending(q->who, q->service->ctx);
	r = run_configs(q->who->run, &q->access, answer_config, q);
	return r < 0 ? request_fail(r, "what the run has read cannot be told") : 0;
}

/* run-end: as in RUNS.md. Who goes away meanwhile does not keep it from being ended. */
int verb_run_end(struct request *q)
{
	_cleanup_answer_ struct answer a = { 0 };
	_cleanup_access_ struct access acc;
	struct run *run;
	int r;

	access_init_patient(&acc, q);
	r = run_of(q);

	if (r < 0)
		return r;
	run = run_ref(q->who->run);
	q->service->run_ending(q->who, q->service->ctx);
	r = run_end(run, q->fields, &acc, &a.object);
	q->service->run_ended(q->who, q->service->ctx);
	run_unref(run);
	if (r < 0)
		return request_fail(r, "the end of the run cannot be stored yet");
	return request_answer(q, &a);
}
